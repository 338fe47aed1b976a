//! What the account says of its objects, asked once and kept.

use std::collections::HashMap;
use std::sync::Arc;

use lockstep_core::Result;
use serde_json::Value as Json;
use tokio::sync::Mutex;

use crate::client::Api;
use crate::config::{ColumnType, Config};
use crate::convert::Form;
use crate::table::{Property, Table};

/// The tables of an account.
#[derive(Debug)]
pub(crate) struct Tables {
    api: Api,
    config: Config,
    known: Mutex<HashMap<String, Arc<Table>>>,
}

impl Tables {
    pub(crate) fn new(api: Api, config: Config) -> Tables {
        Tables {
            api,
            config,
            known: Mutex::default(),
        }
    }

    /// A table, as it was described when it was first asked for.
    pub(crate) async fn get(&self, name: &str) -> Result<Arc<Table>> {
        if let Some(table) = self.known.lock().await.get(name) {
            return Ok(Arc::clone(table));
        }
        self.look(name).await
    }

    /// A table, as it is described now.
    pub(crate) async fn look(&self, name: &str) -> Result<Arc<Table>> {
        let described = self.api.properties(name).await?;
        let described = described.map(|all| all.iter().filter_map(property).collect());
        let more = self.config.columns.get(name).into_iter().flatten();
        let more: Vec<(String, Form)> = more
            .map(|(name, kind)| (name.clone(), Form::from(*kind)))
            .collect();
        let table = Arc::new(Table::of(name, described, &more));
        let mut known = self.known.lock().await;
        known.insert(name.to_owned(), Arc::clone(&table));
        Ok(table)
    }
}

fn property(described: &Json) -> Option<Property> {
    let word = |name: &str| described.get(name).and_then(Json::as_str);
    let is = |value: Option<&Json>| value == Some(&Json::Bool(true));
    let modification = described.get("modificationMetadata");
    Some(Property {
        name: word("name")?.to_owned(),
        form: Form::of(word("type").unwrap_or_default()),
        is_filled: is(described.get("calculated"))
            || is(modification.and_then(|all| all.get("readOnlyValue"))),
        is_unique: is(described.get("hasUniqueValue")),
    })
}

impl From<ColumnType> for Form {
    fn from(kind: ColumnType) -> Form {
        match kind {
            ColumnType::Bool => Form::Bool,
            ColumnType::Decimal => Form::Decimal,
            ColumnType::Text => Form::Text,
            ColumnType::Date => Form::Date,
            ColumnType::Timestamp => Form::Instant,
        }
    }
}
