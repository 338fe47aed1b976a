//! What the account says of its objects, asked once and kept.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use lockstep_core::{Error, Result, Shape};

use crate::client::Api;
use crate::refusal::Refusal;
use crate::table::Table;

/// The tables of an account.
#[derive(Debug)]
pub(crate) struct Tables {
    api: Api,
    known: RwLock<HashMap<String, Arc<Table>>>,
}

impl Tables {
    pub(crate) fn new(api: Api) -> Tables {
        Tables {
            api,
            known: RwLock::default(),
        }
    }

    /// A table, as it was described when it was last asked for; none where it was not yet.
    pub(crate) fn known(&self, name: &str) -> Option<Arc<Table>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(name).cloned()
    }

    /// A table, as it was described when it was last asked for.
    pub(crate) async fn get(&self, name: &str) -> Result<Arc<Table>> {
        match self.known(name) {
            Some(table) => Ok(table),
            None => self.look(name).await,
        }
    }

    /// A table, as it is described now.
    pub(crate) async fn look(&self, name: &str) -> Result<Arc<Table>> {
        let described = match self.api.describe(name).await? {
            Ok(described) => described,
            Err(refusal) => return Err(gone(name, &refusal)),
        };
        let table = Arc::new(Table::of(name, &described)?);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(name.to_owned(), Arc::clone(&table));
        Ok(table)
    }

    /// A table is not what it was described as: it is asked for again when it is needed next.
    pub(crate) fn forget(&self, name: &str) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.remove(name);
    }

    /// The shapes of tables, as they are described now.
    pub(crate) async fn discover(&self, names: &[String]) -> Result<Vec<Arc<Shape>>> {
        let mut shapes = Vec::with_capacity(names.len());
        for name in names {
            shapes.push(self.look(name).await?.shape());
        }
        Ok(shapes)
    }
}

/// There is no such object, or nobody may see it.
pub(crate) fn gone(name: &str, refusal: &Refusal) -> Error {
    Error::unsupported(format!(
        "`{name}` is no object that can be read: {}",
        refusal.words(std::iter::empty())
    ))
    .code(lockstep_core::contract::drift::GONE)
    .help("give its API name (`Account`, `Order_Line__c`), and let the integration's user read it")
}
