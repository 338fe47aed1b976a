//! The sink's statements for one target, as text.
//!
//! Rows go into a temporary table first, whose columns have the target's own types, and from there into the target with a few statements, however many rows there are.
//! `INSERT … ON DUPLICATE KEY UPDATE` would be shorter, but it takes a row for the same when any unique index says so, fires triggers for rows that stay as they are, and burns numbers of `AUTO_INCREMENT`.
//! Every write is quiet where the row already holds the values, compared to the letter whatever the column's collation, so that a business system's triggers see real changes only.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lockstep_core::{Error, Result, Shape};

use crate::catalog::{ColumnInfo, Table};
use crate::convert::Form;
use crate::names::quote;

/// Gives every target's temporary table a name of its own.
static STAGES: AtomicU64 = AtomicU64::new(0);

/// A target's columns and statements.
#[derive(Debug)]
pub(crate) struct Target {
    /// The shape they were made for.
    pub(crate) shape: Arc<Shape>,
    /// The table's columns, by position in the shape.
    pub(crate) columns: Vec<ColumnInfo>,
    /// The temporary table: columns `c0` and so on for those of the shape, `o0` and so on for an old key.
    pub(crate) stage: String,
    /// Makes it.
    pub(crate) create_stage: String,
    /// Empties it.
    pub(crate) clear_stage: String,
    /// Removes the rows whose keys are in `o0` and so on.
    pub(crate) delete: String,
    /// Writes whole rows into those that are there.
    pub(crate) rewrite: Option<String>,
    /// Writes whole rows that are not there.
    pub(crate) insert: String,
    /// Removes every row.
    pub(crate) clear: String,
    /// Tells whether a row of the temporary table is missing in the target.
    pub(crate) missing: String,
    /// The table's name in SQL.
    table: String,
}

impl Target {
    /// Writes the statements for a target.
    ///
    /// # Errors
    /// A column that is not there or cannot be written, a key without a unique index that rows can be found by.
    pub(crate) fn new(table: &Table, shape: &Arc<Shape>) -> Result<Target> {
        if table.kind != "BASE TABLE" && table.kind != "SYSTEM VERSIONED" {
            return Err(Error::config(format!(
                "`{}` is a {}, not a table",
                table.spelled,
                table.kind.to_lowercase()
            ))
            .help("name the table itself"));
        }
        let positions = shape
            .names()
            .map(|name| writable(table, name))
            .collect::<Result<Vec<_>>>()?;
        let key: Vec<usize> = shape.key.iter().map(|column| positions[*column]).collect();
        if table.unique_over(&key).is_none() {
            return Err(Error::config(no_unique(table)).help(no_unique_help(table, shape)));
        }
        if let Some(lax) = key
            .iter()
            .map(|column| &table.columns[*column])
            .find(|column| column.is_lax())
        {
            return Err(lax_key(table, lax));
        }
        let stage = quote(&format!(
            "lockstep_stage_{}",
            STAGES.fetch_add(1, Ordering::Relaxed)
        ));
        let columns: Vec<ColumnInfo> = positions
            .iter()
            .map(|position| table.columns[*position].clone())
            .collect();
        let name = |column: usize| quote(&columns[column].name);
        let all: Vec<usize> = (0..columns.len()).collect();
        let mut staged: Vec<String> = all
            .iter()
            .map(|column| staged(&columns[*column], 'c', *column))
            .collect();
        staged.extend(
            shape
                .key
                .iter()
                .map(|column| self::staged(&columns[*column], 'o', *column)),
        );
        let target = table.quoted();
        let is = |which: char| {
            let terms = shape
                .key
                .iter()
                .map(|column| format!("t.{} = s.{which}{column}", name(*column)));
            terms.collect::<Vec<_>>().join(" AND ")
        };
        let absent = format!(
            "{stage} AS s LEFT JOIN {target} AS t ON {} WHERE t.{} IS NULL",
            is('c'),
            name(shape.key[0])
        );
        let into: Vec<String> = all.iter().map(|column| name(*column)).collect();
        let from: Vec<String> = all.iter().map(|column| format!("s.c{column}")).collect();
        let mut made = Target {
            create_stage: format!(
                "CREATE TEMPORARY TABLE {stage} ({}) ENGINE = InnoDB",
                staged.join(", ")
            ),
            clear_stage: format!("DELETE FROM {stage}"),
            delete: format!(
                "DELETE t FROM {stage} AS s STRAIGHT_JOIN {target} AS t ON {}",
                is('o')
            ),
            insert: format!(
                "INSERT INTO {target} ({}) SELECT {} FROM {absent}",
                into.join(", "),
                from.join(", ")
            ),
            clear: format!("DELETE FROM {target}"),
            missing: format!("SELECT 1 FROM {absent} LIMIT 1"),
            shape: Arc::clone(shape),
            rewrite: None,
            table: target,
            stage,
            columns,
        };
        made.rewrite = made.update(&all);
        Ok(made)
    }

    /// Writes the columns of `set` into rows that are there, found by key; none where nothing but the key is written.
    pub(crate) fn update(&self, set: &[usize]) -> Option<String> {
        let written: Vec<usize> = set
            .iter()
            .copied()
            .filter(|column| !self.shape.key.contains(column))
            .collect();
        if written.is_empty() {
            return None;
        }
        let differs: Vec<String> = written.iter().map(|column| self.differs(*column)).collect();
        Some(format!(
            "UPDATE {} AS s STRAIGHT_JOIN {} AS t ON {} SET {} WHERE {}",
            self.stage,
            self.table,
            self.key_is("t", 'c'),
            self.assign(&written),
            differs.join(" OR ")
        ))
    }

    /// Gives rows their new keys, unless another row already has one, and writes the columns of `set`.
    pub(crate) fn rekey(&self, set: &[usize]) -> String {
        format!(
            "UPDATE {} AS s STRAIGHT_JOIN {table} AS t ON {} LEFT JOIN {table} AS b ON {} SET {} WHERE b.{} IS NULL",
            self.stage,
            self.key_is("t", 'o'),
            self.key_is("b", 'c'),
            self.assign(set),
            self.name(self.shape.key[0]),
            table = self.table,
        )
    }

    fn name(&self, column: usize) -> String {
        quote(&self.columns[column].name)
    }

    fn key_is(&self, alias: &str, which: char) -> String {
        let terms = self
            .shape
            .key
            .iter()
            .map(|column| format!("{alias}.{} = s.{which}{column}", self.name(*column)));
        terms.collect::<Vec<_>>().join(" AND ")
    }

    fn assign(&self, set: &[usize]) -> String {
        let terms = set
            .iter()
            .map(|column| format!("t.{} = s.c{column}", self.name(*column)));
        terms.collect::<Vec<_>>().join(", ")
    }

    fn differs(&self, column: usize) -> String {
        let (left, right) = (format!("t.{}", self.name(column)), format!("s.c{column}"));
        let known = &self.columns[column];
        // MySQL's own JSON has no bytes to compare.
        if known.form.is_textual() && known.charset.is_some() {
            return format!("NOT (CAST({left} AS BINARY) <=> CAST({right} AS BINARY))");
        }
        format!("NOT ({left} <=> {right})")
    }
}

/// A column of the temporary table: of the type, but without any check or default.
fn staged(column: &ColumnInfo, which: char, place: usize) -> String {
    let text = match (&column.charset, &column.collation) {
        (Some(charset), Some(collation)) => format!(" CHARACTER SET {charset} COLLATE {collation}"),
        _ => String::new(),
    };
    format!("{which}{place} {}{text} NULL", column.declared)
}

/// The position of a column that can be written.
fn writable(table: &Table, name: &str) -> Result<usize> {
    let position = table.column(name)?;
    if table.columns[position].generated {
        return Err(Error::config(format!(
            "column `{name}` of table `{}` is generated and cannot be written",
            table.spelled
        ))
        .help("take it out of the mapping's written columns"));
    }
    Ok(position)
}

/// Says that rows cannot be found.
fn no_unique(table: &Table) -> String {
    format!(
        "table `{}` has no unique index over exactly the columns that identify a record",
        table.spelled
    )
}

/// The statement that mends it.
fn no_unique_help(table: &Table, shape: &Shape) -> String {
    let names: Vec<&str> = shape
        .key
        .iter()
        .map(|column| shape.columns[*column].name.as_str())
        .collect();
    let quoted: Vec<String> = names.iter().map(|name| quote(name)).collect();
    let index: String = format!("{}_lockstep", names.join("_"))
        .chars()
        .take(60)
        .collect();
    let text = names
        .iter()
        .filter_map(|name| table.position(name))
        .find(|at| {
            let column = &table.columns[*at];
            column.form == Form::Text && !column.declared.starts_with("varchar")
        });
    let why = match text {
        Some(at) => format!(
            " (column {} has to be a varchar first)",
            quote(&table.columns[at].name)
        ),
        None => String::new(),
    };
    format!(
        "run: CREATE UNIQUE INDEX {} ON {} ({}){why}",
        quote(&index),
        table.quoted(),
        quoted.join(", ")
    )
}

/// Says that the target would take two records for one.
fn lax_key(table: &Table, column: &ColumnInfo) -> Error {
    let name = &column.name;
    Error::config(format!(
        "key column `{name}` of table `{}` has collation {}, which does not compare to the letter, so records whose keys differ only to the eye of the contract would overwrite each other",
        table.spelled,
        column.collation.as_deref().unwrap_or_default()
    ))
    .help(format!(
        "run: ALTER TABLE {} MODIFY {} {} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin{}, or map the key to a column that compares to the letter",
        table.quoted(),
        quote(name),
        column.declared,
        if column.nullable { "" } else { " NOT NULL" }
    ))
}
