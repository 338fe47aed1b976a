//! One edit as a statement and as an entry of the journal.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{Columns, Outcome};
use crate::db::{Db, insert_sql};
use crate::journal::Edit;
use crate::record::{Entity, Key, Record};
use crate::shape::source;

/// A statement that must touch one row.
pub(super) struct Statement {
    pub(super) sql: String,
    pub(super) values: Vec<Value>,
}

/// One transaction on one system, before it happens.
pub(super) struct Deed {
    pub(super) system: &'static str,
    pub(super) statements: Vec<Statement>,
    pub(super) edits: Vec<Edit>,
}

/// One row's change: the statement and what the journal says of it.
pub(super) struct Write {
    entity: Entity,
    statement: Statement,
    edits: Vec<Edit>,
}

impl Deed {
    /// A transaction of these writes, which all belong to one system.
    pub(super) fn of(writes: Vec<Write>) -> Option<Deed> {
        let system = writes.first()?.entity.owner();
        let mut deed = Deed {
            system,
            statements: Vec::new(),
            edits: Vec::new(),
        };
        for write in writes {
            deed.statements.push(write.statement);
            deed.edits.extend(write.edits);
        }
        Some(deed)
    }

    /// Runs its statements, each of which must find the one row that it is about.
    pub(super) fn perform(&self, db: &mut Db) -> Result<()> {
        for statement in &self.statements {
            let touched = db
                .execute(&statement.sql, &statement.values)
                .with_context(|| format!("`{}` failed on {}", statement.sql, self.system))?;
            ensure!(
                touched == 1,
                "`{}` touched {touched} rows on {} where the journal knows one",
                statement.sql,
                self.system
            );
        }
        Ok(())
    }

    /// A statement that concerns no record, on a table that nobody maps.
    pub(super) fn aside(system: &'static str, sql: &str, values: Vec<Value>) -> Deed {
        let statement = Statement {
            sql: sql.to_owned(),
            values,
        };
        Deed {
            system,
            statements: vec![statement],
            edits: Vec::new(),
        }
    }
}

impl Write {
    /// Gives a record a good version: an insert where there was none before, an update of the columns that differ otherwise.
    pub(super) fn put(entity: Entity, before: Option<&Record>, record: Record) -> Option<Write> {
        let key = entity.key(&record)?;
        let row = source(entity).to_row(&record);
        let statement = match before {
            None => insert(entity, &row),
            Some(before) => {
                let old = source(entity).to_row(before);
                let mut changed = row;
                changed.retain(|column, value| old.get(column) != Some(value));
                update(entity, before, &changed)?
            }
        };
        let mut edits = Vec::new();
        let old_key = before.and_then(|before| entity.key(before));
        edits.extend(
            old_key
                .filter(|old| *old != key)
                .map(|old| entry(entity, old, Outcome::Gone)),
        );
        edits.push(entry(entity, key, Outcome::Good(record)));
        // A change of the key is one edit, told in two entries.
        if let [gone, _] = &mut edits[..] {
            gone.counts = false;
        }
        Some(Write {
            entity,
            statement,
            edits,
        })
    }

    /// Gives a record a version that breaks its contract: `record` with one column out of order.
    pub(super) fn spoil(
        entity: Entity,
        before: Option<&Record>,
        record: &Record,
        (column, value): (&str, Value),
        reason: &str,
    ) -> Option<Write> {
        let key = entity.key(record)?;
        let mut row = source(entity).to_row(record);
        row.insert(column.to_owned(), value);
        let statement = match before {
            None => insert(entity, &row),
            Some(before) => update(entity, before, &row)?,
        };
        Some(Write {
            entity,
            statement,
            edits: vec![entry(entity, key, Outcome::Broken(reason.to_owned()))],
        })
    }

    /// Gives a broken record a good version again: every column is written anew.
    pub(super) fn mend(entity: Entity, record: Record) -> Option<Write> {
        let key = entity.key(&record)?;
        let statement = update(entity, &record, &source(entity).to_row(&record))?;
        Some(Write {
            entity,
            statement,
            edits: vec![entry(entity, key, Outcome::Good(record))],
        })
    }

    /// Removes a record.
    pub(super) fn remove(entity: Entity, record: &Record) -> Option<Write> {
        let key = entity.key(record)?;
        let (condition, values) = identify(entity, record);
        let sql = format!("DELETE FROM {} WHERE {condition}", source(entity).name);
        Some(Write {
            entity,
            statement: Statement { sql, values },
            edits: vec![entry(entity, key, Outcome::Gone)],
        })
    }

    /// Changes columns that are not the contract's; what that means for the record is `outcome`.
    pub(super) fn set(
        entity: Entity,
        record: &Record,
        columns: [(&str, Value); 1],
        outcome: Outcome,
        counts: bool,
    ) -> Option<Write> {
        let key = entity.key(record)?;
        let columns = columns
            .into_iter()
            .map(|(column, value)| (column.to_owned(), value));
        let statement = update(entity, record, &columns.collect())?;
        let mut edit = entry(entity, key, outcome);
        edit.counts = counts;
        Some(Write {
            entity,
            statement,
            edits: vec![edit],
        })
    }
}

fn entry(entity: Entity, key: Key, outcome: Outcome) -> Edit {
    Edit {
        entity,
        key,
        outcome,
        counts: true,
    }
}

fn insert(entity: Entity, row: &Columns) -> Statement {
    Statement {
        sql: insert_sql(source(entity).name, row),
        values: row.values().cloned().collect(),
    }
}

fn update(entity: Entity, before: &Record, columns: &Columns) -> Option<Statement> {
    if columns.is_empty() {
        return None;
    }
    let (condition, key) = identify(entity, before);
    let sets: Vec<String> = columns
        .keys()
        .map(|column| format!("{column} = ?"))
        .collect();
    let sql = format!(
        "UPDATE {} SET {} WHERE {condition}",
        source(entity).name,
        sets.join(", ")
    );
    let mut values: Vec<Value> = columns.values().cloned().collect();
    values.extend(key);
    Some(Statement { sql, values })
}

fn identify(entity: Entity, record: &Record) -> (String, Vec<Value>) {
    let table = source(entity);
    let row = table.to_row(record);
    let columns = table.key_columns();
    let conditions: Vec<String> = columns
        .iter()
        .map(|column| format!("{column} = ?"))
        .collect();
    let values = columns
        .iter()
        .map(|column| row.get(*column).cloned().unwrap_or(json!(null)));
    (conditions.join(" AND "), values.collect())
}
