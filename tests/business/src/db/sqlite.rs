//! An SQLite file.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rusqlite::types::{Value as Sql, ValueRef};
use rusqlite::{Connection, OpenFlags, params_from_iter};
use serde_json::{Value, json};

use super::insert_sql;
use crate::shape::Raw;

/// How long a connection of the stage waits for another writer.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection to an SQLite file.
#[derive(Debug)]
pub struct Sqlite(Connection);

impl Sqlite {
    pub(super) fn open(file: &Path) -> Result<Sqlite> {
        let db = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_WRITE)
            .with_context(|| format!("cannot open `{}`", file.display()))?;
        db.busy_timeout(BUSY_TIMEOUT)?;
        db.pragma_update(None, "foreign_keys", true)?;
        Ok(Sqlite(db))
    }

    pub(super) fn create(file: &Path) -> Result<Sqlite> {
        ensure!(!file.exists(), "`{}` exists already", file.display());
        let db = Connection::open(file)
            .with_context(|| format!("cannot create `{}`", file.display()))?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        Ok(Sqlite(db))
    }

    pub(super) fn read_only(&self) -> Result<()> {
        Ok(self.0.pragma_update(None, "query_only", true)?)
    }

    pub(super) fn execute(&self, sql: &str, values: &[Value]) -> Result<u64> {
        let mut statement = self.0.prepare_cached(sql)?;
        Ok(statement.execute(params_from_iter(values.iter().map(to_sql)))? as u64)
    }

    pub(super) fn batch(&self, sql: &str) -> Result<()> {
        Ok(self.0.execute_batch(sql)?)
    }

    pub(super) fn query(&self, sql: &str, values: &[Value]) -> Result<Vec<Raw>> {
        let mut statement = self.0.prepare_cached(sql)?;
        let names: Vec<String> = statement
            .column_names()
            .into_iter()
            .map(str::to_owned)
            .collect();
        let mut rows = statement.query(params_from_iter(values.iter().map(to_sql)))?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let mut raw = Raw::new();
            for (at, name) in names.iter().enumerate() {
                raw.insert(name.clone(), from_sql(row.get_ref(at)?));
            }
            found.push(raw);
        }
        Ok(found)
    }

    pub(super) fn insert(&self, table: &str, rows: &[Raw]) -> Result<()> {
        for row in rows {
            let values: Vec<Value> = row.values().cloned().collect();
            self.execute(&insert_sql(table, row), &values)?;
        }
        Ok(())
    }
}

/// A JSON value as SQLite stores it.
fn to_sql(value: &Value) -> Sql {
    match value {
        Value::Null => Sql::Null,
        Value::Bool(value) => Sql::Integer(i64::from(*value)),
        Value::Number(number) => match number.as_i64() {
            Some(int) => Sql::Integer(int),
            None => Sql::Real(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => Sql::Text(text.clone()),
        other => Sql::Text(other.to_string()),
    }
}

fn from_sql(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(int) => json!(int),
        ValueRef::Real(real) => json!(real),
        ValueRef::Text(text) => Value::from(String::from_utf8_lossy(text)),
        // No table here holds bytes: an object is what no translation accepts.
        ValueRef::Blob(bytes) => json!({ "bytes": bytes.len() }),
    }
}
