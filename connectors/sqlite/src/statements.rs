//! The sink's statements for one target, as text.
//!
//! Every write is quiet where the row already holds the values, compared to the letter whatever the column's collation, so that a business system's triggers see real changes only.

use std::collections::HashMap;
use std::sync::Arc;

use lockstep_core::{Error, Result, Shape, Type};

use crate::catalog::{Table, TableKind};
use crate::client::quote;

/// A target's statements. Parameters are numbered by the shape's columns; an old key follows behind them.
#[derive(Debug)]
pub(crate) struct Statements {
    /// The shape they were made for.
    pub(crate) shape: Arc<Shape>,
    /// The types of the columns as the table declares them.
    pub(crate) kinds: Vec<Option<Type>>,
    /// Writes a whole row.
    pub(crate) upsert: String,
    /// Removes the row of a key, given as the only parameters.
    pub(crate) delete: String,
    /// Looks for the row of a key, given as the only parameters.
    pub(crate) exists: String,
    /// Removes every row.
    pub(crate) clear: String,
    /// Writes some columns, by which ones.
    updates: HashMap<Vec<bool>, Arc<str>>,
    /// Moves a row from its old key, and writes some columns.
    moves: HashMap<Vec<bool>, Arc<str>>,
}

/// Most column sets that are remembered per target; more would only be a waste of memory.
const SETS_MAX: usize = 64;

impl Statements {
    /// Writes the statements for a target.
    ///
    /// # Errors
    /// A column that is not there or cannot be written, a key without a unique index.
    pub(crate) fn new(table: &Table, shape: &Arc<Shape>) -> Result<Statements> {
        let positions = resolve(table, shape)?;
        let key: Vec<usize> = shape.key.iter().map(|column| positions[*column]).collect();
        let unique = table.unique_over(&key).ok_or_else(|| {
            let help = no_unique_help(table, shape);
            Error::config(no_unique(table)).help(help)
        })?;
        let name = quote(&table.name);
        let names: Vec<String> = shape.names().map(quote).collect();
        let is_rowid = table.rowid_is_key && key == table.key;
        let conflict: Vec<String> = unique
            .iter()
            .map(|(column, collation)| {
                let column = quote(&table.columns[*column].name);
                // The rowid has no index, so it is named without a collation; an index is matched by its own.
                if is_rowid {
                    column
                } else {
                    format!("{column} COLLATE {}", quote(collation))
                }
            })
            .collect();
        // Under a collation other than the binary one a row may be found by another spelling of its key, which is then written too.
        let lax = unique.iter().any(|(_, collation)| collation != "BINARY");
        let set: Vec<usize> = (0..names.len())
            .filter(|column| lax || !shape.key.contains(column))
            .collect();
        let key_is = |from: usize| -> String {
            let terms = shape.key.iter().enumerate();
            let terms = terms.map(|(i, column)| format!("{} = ?{}", names[*column], from + i));
            terms.collect::<Vec<_>>().join(" AND ")
        };
        let by_key = key_is(1);
        Ok(Statements {
            upsert: upsert(&name, &names, &conflict, &set),
            delete: format!("DELETE FROM {name} WHERE {by_key}"),
            exists: format!("SELECT 1 FROM {name} WHERE {by_key}"),
            clear: format!("DELETE FROM {name}"),
            kinds: positions
                .iter()
                .map(|column| table.columns[*column].kind)
                .collect(),
            shape: Arc::clone(shape),
            updates: HashMap::new(),
            moves: HashMap::new(),
        })
    }

    /// The statement that writes the columns of `set`, by key: quiet where they are equal.
    pub(crate) fn update(&mut self, set: &[bool]) -> Arc<str> {
        if let Some(sql) = self.updates.get(set) {
            return Arc::clone(sql);
        }
        let columns: Vec<usize> = self.written(set).collect();
        let name = quote(&self.shape.name);
        let assign = self.assign(&columns);
        let differs: Vec<String> = columns
            .iter()
            .map(|column| {
                format!(
                    "{} IS NOT ?{} COLLATE BINARY",
                    self.name(*column),
                    column + 1
                )
            })
            .collect();
        let sql = if columns.is_empty() {
            // Nothing but the key: nothing to write, yet the row must be there.
            format!(
                "UPDATE {name} SET {} WHERE 0 AND {}",
                self.assign(&self.shape.key),
                self.key_is(None, 0)
            )
        } else {
            format!(
                "UPDATE {name} SET {assign} WHERE {} AND ({})",
                self.key_is(None, 0),
                differs.join(" OR ")
            )
        };
        remember(&mut self.updates, set, sql)
    }

    /// The statement that gives the row of the old key its new one, unless another row already has it, and writes the columns of `set`.
    pub(crate) fn rekey(&mut self, set: &[bool]) -> Arc<str> {
        if let Some(sql) = self.moves.get(set) {
            return Arc::clone(sql);
        }
        let columns: Vec<usize> = (0..self.kinds.len())
            .filter(|column| set[*column])
            .collect();
        let name = quote(&self.shape.name);
        let old = self.kinds.len() + 1;
        let sql = format!(
            "UPDATE {name} SET {} WHERE {} AND NOT EXISTS (SELECT 1 FROM {name} AS x WHERE {} AND NOT ({}))",
            self.assign(&columns),
            self.key_is(None, old),
            self.key_is(Some("x"), 0),
            self.key_is(Some("x"), old),
        );
        remember(&mut self.moves, set, sql)
    }

    fn written<'a>(&'a self, set: &'a [bool]) -> impl Iterator<Item = usize> + 'a {
        (0..self.kinds.len()).filter(|column| set[*column] && !self.shape.key.contains(column))
    }

    fn assign(&self, columns: &[usize]) -> String {
        let term = |column: &usize| format!("{} = ?{}", self.name(*column), column + 1);
        columns.iter().map(term).collect::<Vec<_>>().join(", ")
    }

    /// Compares the key with its parameters in the row, or, from `old` on, behind it.
    fn key_is(&self, alias: Option<&str>, old: usize) -> String {
        let prefix = alias.map(|alias| format!("{alias}.")).unwrap_or_default();
        let terms = self.shape.key.iter().enumerate().map(|(i, column)| {
            let parameter = if old == 0 { column + 1 } else { old + i };
            format!("{prefix}{} = ?{parameter}", self.name(*column))
        });
        terms.collect::<Vec<_>>().join(" AND ")
    }

    fn name(&self, column: usize) -> String {
        quote(&self.shape.columns[column].name)
    }
}

fn remember(into: &mut HashMap<Vec<bool>, Arc<str>>, set: &[bool], sql: String) -> Arc<str> {
    let sql: Arc<str> = sql.into();
    if into.len() >= SETS_MAX {
        into.clear();
    }
    into.insert(set.to_vec(), Arc::clone(&sql));
    sql
}

fn upsert(table: &str, names: &[String], conflict: &[String], set: &[usize]) -> String {
    let marks: Vec<String> = (1..=names.len()).map(|i| format!("?{i}")).collect();
    let lead = format!(
        "INSERT INTO {table} AS t ({}) VALUES ({}) ON CONFLICT ({})",
        names.join(", "),
        marks.join(", "),
        conflict.join(", ")
    );
    if set.is_empty() {
        return format!("{lead} DO NOTHING");
    }
    let assign: Vec<String> = set
        .iter()
        .map(|column| format!("{0} = excluded.{0}", names[*column]))
        .collect();
    let differs: Vec<String> = set
        .iter()
        .map(|column| format!("t.{0} IS NOT excluded.{0} COLLATE BINARY", names[*column]))
        .collect();
    format!(
        "{lead} DO UPDATE SET {} WHERE {}",
        assign.join(", "),
        differs.join(" OR ")
    )
}

/// The table's positions of the shape's columns.
fn resolve(table: &Table, shape: &Shape) -> Result<Vec<usize>> {
    let name = &table.name;
    if table.kind != TableKind::Table {
        return Err(Error::config(format!(
            "`{name}` is a view or a virtual table and cannot be written safely"
        ))
        .help("name the table that holds the rows"));
    }
    let position = |column: &str| {
        let position = table.position(column).ok_or_else(|| {
            let known = table.columns.iter().map(|column| column.name.as_str());
            Error::config(format!("table `{name}` has no column `{column}`"))
                .help(lockstep_core::diagnostic::suggestion(column, known))
        })?;
        if table.columns[position].generated {
            return Err(Error::config(format!(
                "column `{column}` of table `{name}` is generated and cannot be written"
            ))
            .help("take it out of the mapping's written columns"));
        }
        Ok(position)
    };
    shape.names().map(position).collect()
}

/// Says that an upsert has nothing to go by.
pub(crate) fn no_unique(table: &Table) -> String {
    format!(
        "table `{}` has no unique index over exactly the columns that identify a record",
        table.name
    )
}

/// The statement that mends it.
pub(crate) fn no_unique_help(table: &Table, shape: &Shape) -> String {
    let key: Vec<&str> = shape
        .key
        .iter()
        .map(|column| shape.columns[*column].name.as_str())
        .collect();
    let quoted: Vec<String> = key.iter().map(|name| quote(name)).collect();
    let index = format!("{}_{}_key", table.name, key.join("_"));
    format!(
        "run: CREATE UNIQUE INDEX {} ON {} ({})",
        quote(&index),
        quote(&table.name),
        quoted.join(", ")
    )
}
