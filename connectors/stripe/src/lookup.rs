//! Finding objects by a value in their metadata, which is where identity from elsewhere stands.
//!
//! The vendor's search is behind by up to a minute, and not every account and server has it.
//! So what was made of late is listed beside it, and where there is no search, everything is.
//! What is found is a hint: whoever uses it reads the object by its id.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use lockstep_core::{Error, Result};
use serde_json::Value as Json;
use tokio::sync::Mutex;

use crate::client::{Api, all};
use crate::convert::text;
use crate::reader::each;
use crate::table::{ID, Kind, Table};

/// How far back objects are listed because the search may not have them yet.
const RECENT_S: i64 = 900;
/// How old a whole listing may be that says that something is not there.
const COMPLETE_MAX: Duration = Duration::from_secs(60);
/// Most values of one search.
const CLAUSES_MAX: usize = 10;

/// Finds objects by their metadata.
#[derive(Debug)]
pub(crate) struct Lookup {
    api: Api,
    most: usize,
    known: Mutex<HashMap<(&'static str, String), Known>>,
    /// The tables of which something was being made when it was last heard of.
    making: std::sync::Mutex<BTreeSet<&'static str>>,
}

/// What is known of one kind of objects by one name of their metadata.
#[derive(Debug, Default)]
struct Known {
    ids: HashMap<String, BTreeSet<String>>,
    /// When it was filled; never, or no longer to be believed, where absent.
    filled: Option<Instant>,
    /// Whether it holds every object.
    complete: bool,
    /// Whether the search was tried and is not there.
    unsearchable: bool,
}

impl Lookup {
    pub(crate) fn new(api: Api, most: usize) -> Lookup {
        Lookup {
            api,
            most,
            known: Mutex::default(),
            making: std::sync::Mutex::default(),
        }
    }

    /// The ids of objects that bear these values, by value; several where several do.
    pub(crate) async fn find(
        &self,
        kind: &'static Kind,
        name: &str,
        values: &[String],
    ) -> Result<BTreeMap<String, BTreeSet<String>>> {
        let mut all_known = self.known.lock().await;
        if self.making().contains(kind.table) {
            for ((table, _), known) in all_known.iter_mut() {
                if *table == kind.table {
                    known.filled = None;
                }
            }
        }
        let known = all_known.entry((kind.table, name.to_owned())).or_default();
        let missing = |known: &Known| -> Vec<String> {
            let unknown = values
                .iter()
                .filter(|value| !known.ids.contains_key(*value));
            unknown.cloned().collect()
        };
        // A server without the search may not take the condition on a listing either, so it is asked first.
        if kind.search
            && !known.unsearchable
            && !self.search(kind, name, &missing(known), known).await?
        {
            (known.unsearchable, known.filled) = (true, None);
        }
        let is_old = known
            .filled
            .is_none_or(|at| known.complete && at.elapsed() > COMPLETE_MAX);
        if known.filled.is_none() || (is_old && !missing(known).is_empty()) {
            self.fill(kind, name, known).await?;
        }
        self.end(kind);
        let found = |value: &String| {
            let ids = known.ids.get(value)?;
            Some((value.clone(), ids.clone()))
        };
        Ok(values.iter().filter_map(found).collect())
    }

    /// Takes note of an object that bears a value.
    pub(crate) async fn learn(&self, kind: &'static Kind, name: &str, value: &str, id: &str) {
        let mut known = self.known.lock().await;
        let known = known.entry((kind.table, name.to_owned())).or_default();
        known
            .ids
            .entry(value.to_owned())
            .or_default()
            .insert(id.to_owned());
    }

    /// Takes note that an object bears a value no longer.
    pub(crate) async fn unlearn(&self, kind: &'static Kind, name: &str, value: &str, id: &str) {
        let mut known = self.known.lock().await;
        let known = known.entry((kind.table, name.to_owned())).or_default();
        if let Some(ids) = known.ids.get_mut(value) {
            ids.remove(id);
            if ids.is_empty() {
                known.ids.remove(value);
            }
        }
    }

    /// An object of a kind is being made; until the end is told, it may be there without anybody knowing.
    pub(crate) fn begin(&self, kind: &'static Kind) {
        self.making().insert(kind.table);
    }

    /// It is known what came of it.
    pub(crate) fn end(&self, kind: &'static Kind) {
        self.making().remove(kind.table);
    }

    fn making(&self) -> std::sync::MutexGuard<'_, BTreeSet<&'static str>> {
        self.making.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lists what the search may not have: what was made of late, or everything.
    async fn fill(&self, kind: &'static Kind, name: &str, known: &mut Known) -> Result<()> {
        let table = Table::bare(kind);
        let mut parameters: Vec<(&str, String)> = kind
            .list
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect();
        let complete = !kind.search || known.unsearchable;
        if !complete {
            let now = self.api.now(all(kind)).await?;
            parameters.push(("created[gte]", (now.as_second() - RECENT_S).to_string()));
        }
        if complete || known.ids.len() > self.most {
            known.ids.clear();
        }
        let (ids, most) = (&mut known.ids, self.most);
        each(&self.api, &table, &parameters, |object| {
            note(ids, object, name);
            if ids.len() > most {
                return Err(Error::unsupported(format!(
                    "`{}` holds more than {most} records with `metadata.{name}`",
                    kind.table
                ))
                .help("raise `listing_max` of the system, and mind the memory that it takes"));
            }
            Ok(())
        })
        .await?;
        known.complete = complete;
        known.filled = Some(Instant::now());
        Ok(())
    }

    /// Searches for values; false where the server does not search.
    async fn search(
        &self,
        kind: &'static Kind,
        name: &str,
        values: &[String],
        known: &mut Known,
    ) -> Result<bool> {
        for some in values.chunks(CLAUSES_MAX) {
            let clauses: Vec<String> = some
                .iter()
                .map(|value| format!("metadata['{}']:'{}'", quoted(name), quoted(value)))
                .collect();
            match self.api.search(kind, &clauses.join(" OR ")).await? {
                Some(found) => found
                    .iter()
                    .for_each(|object| note(&mut known.ids, object, name)),
                None => return Ok(false),
            }
        }
        Ok(true)
    }
}

fn note(ids: &mut HashMap<String, BTreeSet<String>>, object: &Json, name: &str) {
    let value = object
        .get("metadata")
        .and_then(|metadata| text(metadata, name));
    if let (Some(value), Some(id)) = (value.filter(|value| !value.is_empty()), text(object, ID)) {
        ids.entry(value.to_owned())
            .or_default()
            .insert(id.to_owned());
    }
}

/// A text between quotation marks of the search language.
fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\'', "\\'")
}
