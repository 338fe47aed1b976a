//! The versions of contracts that a log has run, and the tables as they were when all was well.
//!
//! Both are kept in buckets of the log, so that an event of any version can be read for as long as it is kept, whatever became of the contract's file, and so that several runtimes agree.
//! A version is written once: the same version with other contents is refused.
//! Knows neither captures nor deliveries.

mod codes;
mod known;
mod majors;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use lockstep_core::Shape;
use lockstep_core::contract::Contract;
use lockstep_core::contract::migrate::{Fault, Route};
use lockstep_core::error::{Error, Result};
use lockstep_core::log::Channel;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::log::{self, Bucket, Log, LogError};

pub use codes::{CODES, NO_WAY_DOWN, UNKNOWN_VERSION};
pub use known::{Kept, Known, Side, Table, source_key, target_key, terms};
pub(crate) use majors::{older as older_majors, places, today};

/// The bucket of contracts, by `<entity>.<version>`.
pub(crate) const CONTRACTS: &str = "LS_CONTRACTS";
/// The bucket of tables, by where they stand.
pub(crate) const TABLES: &str = "LS_TABLES";
/// How often a lost race for a bucket's key is run again.
const TRIES_MAX: usize = 16;

/// The versions and tables of one log.
pub struct Versions {
    contracts: Box<dyn Bucket>,
    tables: Box<dyn Bucket>,
    known: Mutex<Known>,
}

impl Versions {
    /// Opens the buckets of a log and reads what they hold.
    ///
    /// # Errors
    /// A log that cannot be read or written, or entries that another version of Lockstep wrote.
    pub async fn open(log: &dyn Log) -> Result<Versions> {
        let contracts = log.bucket(CONTRACTS).await.map_err(log::to_error)?;
        let tables = log.bucket(TABLES).await.map_err(log::to_error)?;
        let mut known = Known::default();
        for entry in contracts.list("").await.map_err(log::to_error)? {
            known.add(read(&entry.key, &entry.value)?);
        }
        for entry in tables.list("").await.map_err(log::to_error)? {
            let table = read(&entry.key, &entry.value)?;
            known.tables.insert(entry.key, table);
        }
        Ok(Versions {
            contracts,
            tables,
            known: Mutex::new(known),
        })
    }

    fn inner(&self) -> MutexGuard<'_, Known> {
        // What is known stays true even if a thread died while it looked.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known now.
    #[must_use]
    pub fn known(&self) -> Known {
        self.inner().clone()
    }

    /// Writes a version that is about to run; one that is there already must be the same.
    ///
    /// # Errors
    /// The same version with other contents (`LS-E005`), or a log that cannot be written.
    pub async fn enter(&self, mut kept: Kept) -> Result<()> {
        let key = key(&kept.contract);
        for _ in 0..TRIES_MAX {
            let there = self.contracts.get(&key).await.map_err(log::to_error)?;
            let revision = match &there {
                None => 0,
                Some(entry) => {
                    let there: Kept = read(&key, &entry.value)?;
                    // A file that says the same as what was taken along takes it up.
                    let taken_up = !there.taken.is_empty() && kept.taken.is_empty();
                    if there.digest == kept.digest && !taken_up {
                        self.inner().add(there);
                        return Ok(());
                    }
                    if !there.is_taken_up_by(&kept) {
                        return Err(another(&there, &kept));
                    }
                    kept.took = [there.took, there.taken].concat();
                    entry.revision
                }
            };
            let value = write(&key, &kept)?;
            match self.contracts.update(&key, value, revision).await {
                Ok(_) => {
                    self.inner().add(kept);
                    return Ok(());
                }
                Err(LogError::WrongRevision { .. }) => {}
                Err(error) => return Err(log::to_error(error)),
            }
        }
        Err(Error::transient("others keep writing the same contract"))
    }

    /// Writes a released version that need not run here, unless the log has that version already: what its events were written by counts.
    ///
    /// # Errors
    /// A log that cannot be written.
    pub async fn enter_released(&self, contract: &Arc<Contract>) -> Result<()> {
        let kept = Kept::of(Arc::clone(contract));
        let key = key(contract);
        let known = self.inner().by_urn(&contract.urn()).cloned();
        let there = match known {
            Some(there) => there,
            None => match self.contracts.update(&key, write(&key, &kept)?, 0).await {
                Ok(_) => {
                    self.inner().add(kept);
                    return Ok(());
                }
                Err(LogError::WrongRevision { .. }) => {
                    let entry = self.contracts.get(&key).await.map_err(log::to_error)?;
                    let Some(entry) = entry else {
                        return Err(Error::transient("others write the same contract"));
                    };
                    let there: Kept = read(&key, &entry.value)?;
                    self.inner().add(there.clone());
                    there
                }
                Err(error) => return Err(log::to_error(error)),
            },
        };
        if there.digest != kept.digest {
            let (entity, version) = (&contract.entity, &contract.version);
            tracing::warn!(entity, %version, "the log has this version with other contents than its release; the log's counts for its events");
        }
        Ok(())
    }

    /// The version that an event names, wherever it was entered.
    ///
    /// # Errors
    /// A log that cannot be read.
    pub async fn find(&self, urn: &str) -> Result<Option<Kept>> {
        if let Some(kept) = self.inner().by_urn(urn) {
            return Ok(Some(kept.clone()));
        }
        let Some((entity, version)) = urn
            .strip_prefix("urn:lockstep:contract:")
            .and_then(|rest| rest.split_once(':'))
        else {
            return Ok(None);
        };
        let key = format!("{entity}.{}", version.replace('+', "="));
        if log::rules::check_key(&key).is_err() {
            return Ok(None);
        }
        let Some(entry) = self.contracts.get(&key).await.map_err(log::to_error)? else {
            return Ok(None);
        };
        let kept: Kept = read(&key, &entry.value)?;
        self.inner().add(kept.clone());
        Ok(Some(kept))
    }

    /// What the log says of a table by now: another runtime may have had it since this one looked.
    ///
    /// # Errors
    /// A log that cannot be read.
    pub async fn table(&self, key: &str) -> Result<Option<Table>> {
        let entry = self.tables.get(key).await.map_err(log::to_error)?;
        let table: Option<Table> = entry.map(|entry| read(key, &entry.value)).transpose()?;
        match &table {
            Some(table) => self.inner().tables.insert(key.to_owned(), table.clone()),
            None => self.inner().tables.remove(key),
        };
        Ok(table)
    }

    /// Writes what is known of a table by now.
    ///
    /// # Errors
    /// A log that cannot be written.
    pub async fn keep_table(&self, key: &str, table: Table) -> Result<()> {
        if self.inner().tables.get(key) == Some(&table) {
            return Ok(());
        }
        let value = write(key, &table)?;
        self.tables.put(key, value).await.map_err(log::to_error)?;
        self.inner().tables.insert(key.to_owned(), table);
        Ok(())
    }
}

/// The channels of an entity's versions, and the ways from each to the version that a reader is on.
pub struct Readings {
    system: String,
    to: Arc<Contract>,
    by_urn: BTreeMap<String, Reading>,
}

/// A route between two versions, or why there is none.
pub type Routed = Result<Route, Vec<Fault>>;

/// How events of one version are read.
pub struct Reading {
    /// How they are decoded.
    pub channel: Arc<Channel>,
    /// How they become records of the reader's version; none where they are.
    pub route: Option<Routed>,
}

impl Readings {
    /// The readings of somebody who is on a version.
    #[must_use]
    pub fn new(system: &str, to: Arc<Contract>) -> Readings {
        let own = Reading {
            channel: Arc::new(Channel::new(system, Arc::clone(&to))),
            route: None,
        };
        Readings {
            system: system.to_owned(),
            by_urn: BTreeMap::from([(to.urn(), own)]),
            to,
        }
    }

    /// The reading of a version, if it is known already.
    #[must_use]
    pub fn get(&self, urn: &str) -> Option<&Reading> {
        self.by_urn.get(urn)
    }

    /// The version that the reader is on.
    #[must_use]
    pub fn version(&self) -> &semver::Version {
        &self.to.version
    }

    /// The version that a record was decoded as, with the way from there.
    #[must_use]
    pub fn of_shape(&self, shape: &Arc<Shape>) -> Option<(&semver::Version, Option<&Routed>)> {
        let mut readings = self.by_urn.values();
        let reading = readings.find(|reading| Arc::ptr_eq(&reading.channel.shape, shape))?;
        let version = &reading.channel.contract.version;
        Some((version, reading.route.as_ref()))
    }

    /// Takes note of a version.
    pub fn add(&mut self, contract: &Arc<Contract>, known: &Known) {
        if contract.entity != self.to.entity || self.by_urn.contains_key(&contract.urn()) {
            return;
        }
        let others: Vec<&Contract> = known
            .of(&contract.entity)
            .iter()
            .map(|kept| &*kept.contract)
            .collect();
        let reading = Reading {
            channel: Arc::new(Channel::new(&self.system, Arc::clone(contract))),
            route: Some(Route::between(contract, &self.to, &others)),
        };
        self.by_urn.insert(contract.urn(), reading);
    }
}

/// The key of a contract's version.
fn key(contract: &Contract) -> String {
    // The sign of a build is none that a key may hold.
    let version = contract.version.to_string().replace('+', "=");
    format!("{}.{version}", contract.entity)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn another(there: &Kept, ours: &Kept) -> Error {
    let plain = |digest: &str| digest.trim_start_matches("sha256:").to_owned();
    let short = |digest: &str| plain(digest).chars().take(12).collect::<String>();
    let contract = &ours.contract;
    Error::config(format!(
        "the log ran version {} of `{}` with other contents: {} there, {} in the file",
        contract.version,
        contract.entity,
        short(&there.digest),
        short(&ours.digest)
    ))
    .code("LS-E005")
    .help("raise the version in the contract's file, or restore the file as it was")
}

fn write<T: Serialize>(key: &str, value: &T) -> Result<Bytes> {
    let bytes = serde_json::to_vec(value).map_err(|error| {
        Error::unexpected("what is known of contracts cannot be written")
            .with("key", key)
            .because(error)
    })?;
    Ok(bytes.into())
}

fn read<T: DeserializeOwned>(key: &str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| {
        Error::unexpected(
            "what the log knows of contracts cannot be read; another version of Lockstep wrote it",
        )
        .with("key", key)
        .because(error)
    })
}
