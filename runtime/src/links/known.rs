//! Which own id stands for which canonical key, kept in the log for all deliveries and runtimes: what one of them learns, or takes back, all of them know.

use std::sync::Arc;

use lockstep_core::Key;
use lockstep_core::error::{Error, Result};
use lockstep_core::value::Value;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::log::{self, Bucket, Log};

/// The bucket.
const BUCKET: &str = "LS_LINKS";
/// The links of one system.
pub(super) struct Known {
    system: String,
    bucket: Option<Box<dyn Bucket>>,
}

/// A link in the log.
#[derive(Serialize, Deserialize)]
struct Entry {
    id: Value,
}

impl Known {
    /// Opens them; without a log nothing is kept.
    pub(super) async fn open(system: &str, log: Option<&Arc<dyn Log>>) -> Result<Known> {
        let bucket = match log {
            Some(log) => Some(log.bucket(BUCKET).await.map_err(log::to_error)?),
            None => None,
        };
        Ok(Known {
            system: system.to_owned(),
            bucket,
        })
    }

    /// The own id of a record.
    pub(super) async fn get(&self, entity: &str, key: &Value) -> Result<Option<Value>> {
        let Some(name) = self.name(entity, key) else {
            return Ok(None);
        };
        let Some(bucket) = &self.bucket else {
            return Ok(None);
        };
        let entry = bucket.get(&name).await.map_err(log::to_error)?;
        // What cannot be read is asked of the system.
        let entry = entry.and_then(|entry| serde_json::from_slice::<Entry>(&entry.value).ok());
        Ok(entry.map(|entry| entry.id))
    }

    /// Takes note of a record's own id.
    pub(super) async fn set(&self, entity: &str, key: &Value, id: &Value) -> Result<()> {
        let (Some(name), Some(bucket)) = (self.name(entity, key), &self.bucket) else {
            return Ok(());
        };
        if self.get(entity, key).await?.as_ref() == Some(id) {
            return Ok(());
        }
        let entry = Entry { id: id.clone() };
        let value = serde_json::to_vec(&entry)
            .map_err(|error| Error::unexpected("a link cannot be written").because(error))?;
        let put = bucket.put(&name, value.into()).await;
        put.map(drop).map_err(log::to_error)
    }

    /// The record is gone: another one of its key gets another id.
    pub(super) async fn forget(&self, entity: &str, key: &Value) -> Result<()> {
        let Some(name) = self.name(entity, key) else {
            return Ok(());
        };
        match &self.bucket {
            Some(bucket) => bucket.delete(&name).await.map_err(log::to_error),
            None => Ok(()),
        }
    }

    /// A key may hold any bytes, so a digest stands for it.
    fn name(&self, entity: &str, key: &Value) -> Option<String> {
        let key = Key::encode([Some(key)]).ok()?;
        let digest = Sha256::digest(key.as_bytes());
        let digest: String = digest[..16].iter().map(|b| format!("{b:02x}")).collect();
        Some(format!("{}.{entity}.{digest}", self.system))
    }
}
