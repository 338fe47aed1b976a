//! Writes changes inside a transaction: upsert, partial update, key change, delete, truncate.
//!
//! Knows nothing of transactions, progress or batches; a change that the target refuses is told from a target that does not work.

use std::collections::HashMap;
use std::sync::Arc;

use lockstep_core::change::Op;
use lockstep_core::{Cell, Change, Error, Result, Row, Shape};
use rusqlite::{CachedStatement, Connection, ErrorCode};

use crate::catalog::Table;
use crate::client::failure;
use crate::convert;
use crate::statements::Statements;

/// Writes changes of a transaction.
pub(crate) struct Writer<'a> {
    conn: &'a Connection,
    targets: &'a mut Targets,
    /// The upsert in use: most batches are runs of whole rows of one target.
    upsert: Option<(Arc<Shape>, CachedStatement<'a>)>,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(conn: &'a Connection, targets: &'a mut Targets) -> Self {
        Writer {
            conn,
            targets,
            upsert: None,
        }
    }

    pub(crate) fn write(&mut self, change: &Change) -> Result<(), Failed> {
        let target = self
            .targets
            .of(self.conn, &change.shape)
            .map_err(Failed::Stop)?;
        match change.op {
            Op::Truncated => {
                self.conn.execute(&target.clear, [])?;
                Ok(())
            }
            Op::Deleted => {
                let key = key_of(target, &change.row)?;
                run(self.conn, &target.delete, target, &[], &key)?;
                Ok(())
            }
            Op::Snapshot | Op::Created | Op::Updated => {
                key_of(target, &change.row)?;
                match old_key(target, change) {
                    Some(old) => self.rekey(change, &old),
                    None if whole(&change.shape, &change.row) => self.upsert(change),
                    None => self.update(change),
                }
            }
        }
    }

    fn upsert(&mut self, change: &Change) -> Result<(), Failed> {
        let target = self
            .targets
            .of(self.conn, &change.shape)
            .map_err(Failed::Stop)?;
        let ready = matches!(&self.upsert, Some((shape, _)) if Arc::ptr_eq(shape, &target.shape));
        if !ready {
            let statement = self.conn.prepare_cached(&target.upsert)?;
            self.upsert = Some((Arc::clone(&target.shape), statement));
        }
        let Some((_, statement)) = &mut self.upsert else {
            return Ok(());
        };
        for (i, kind) in target.kinds.iter().enumerate() {
            if let Some(value) = change.row.value(i) {
                statement.raw_bind_parameter(i + 1, convert::write(value, *kind))?;
            }
        }
        statement.raw_execute()?;
        Ok(())
    }

    /// Writes the columns that were sent, and only those.
    fn update(&mut self, change: &Change) -> Result<(), Failed> {
        let target = self
            .targets
            .of(self.conn, &change.shape)
            .map_err(Failed::Stop)?;
        let sql = target.update(&sent(&change.shape, &change.row));
        if run(self.conn, &sql, target, &change.row.0, &[])? > 0 {
            return Ok(());
        }
        let key = key_of(target, &change.row)?;
        if exists(self.conn, target, &key)? {
            return Ok(());
        }
        Err(Failed::Refused(
            "the target has no such row, and only some of its columns were sent: a whole row is needed".to_owned(),
        ))
    }

    /// Moves a row to its new key. Where both rows exist the old one goes, and the new one is written.
    fn rekey(&mut self, change: &Change, old: &[&Cell]) -> Result<(), Failed> {
        let target = self
            .targets
            .of(self.conn, &change.shape)
            .map_err(Failed::Stop)?;
        let sql = target.rekey(&sent(&change.shape, &change.row));
        if run(self.conn, &sql, target, &change.row.0, old)? > 0 {
            return Ok(());
        }
        run(self.conn, &target.delete, target, &[], old)?;
        if whole(&change.shape, &change.row) {
            self.upsert(change)
        } else {
            self.update(change)
        }
    }
}

/// The statements of every target, by table.
#[derive(Default)]
pub(crate) struct Targets(HashMap<String, Statements>);

impl Targets {
    /// The statements for a shape, made once.
    pub(crate) fn of(&mut self, conn: &Connection, shape: &Arc<Shape>) -> Result<&mut Statements> {
        let known = self
            .0
            .get(&shape.name)
            .is_some_and(|known| Arc::ptr_eq(&known.shape, shape) || known.shape == *shape);
        if !known {
            let table = Table::read(conn, &shape.name)?;
            self.0
                .insert(shape.name.clone(), Statements::new(&table, shape)?);
        }
        self.0
            .get_mut(&shape.name)
            .ok_or_else(|| Error::unexpected("the target's statements were not kept"))
    }
}

/// Why a change was not written.
pub(crate) enum Failed {
    /// The target refuses this change.
    Refused(String),
    /// Nothing can be written.
    Stop(Error),
}

impl From<rusqlite::Error> for Failed {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig) => {
                Failed::Refused(reason(&error))
            }
            _ => Failed::Stop(failure("cannot write to the file", error)),
        }
    }
}

/// SQLite names the constraint, never a value of the row.
fn reason(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqliteFailure(_, Some(message)) => message.clone(),
        other => other.to_string(),
    }
}

/// Runs a statement on a row's cells, with an old or a lone key behind them; gives the rows it touched.
fn run(
    conn: &Connection,
    sql: &str,
    target: &Statements,
    row: &[Cell],
    key: &[&Cell],
) -> rusqlite::Result<usize> {
    let mut statement = conn.prepare_cached(sql)?;
    let last = statement.parameter_count();
    let row_width = if row.is_empty() {
        0
    } else {
        target.kinds.len()
    };
    for (i, cell) in row.iter().enumerate().take(row_width) {
        if let (Some(value), true) = (cell.value(), i < last) {
            statement.raw_bind_parameter(i + 1, convert::write(value, target.kinds[i]))?;
        }
    }
    bind_key(&mut statement, target, key, row_width)?;
    let touched = statement.raw_execute();
    // The statement goes back to the cache without the row's values.
    statement.clear_bindings();
    touched
}

fn exists(conn: &Connection, target: &Statements, key: &[&Cell]) -> rusqlite::Result<bool> {
    let mut statement = conn.prepare_cached(&target.exists)?;
    bind_key(&mut statement, target, key, 0)?;
    let mut rows = statement.raw_query();
    Ok(rows.next()?.is_some())
}

fn bind_key(
    statement: &mut rusqlite::Statement<'_>,
    target: &Statements,
    key: &[&Cell],
    behind: usize,
) -> rusqlite::Result<()> {
    for (i, (cell, column)) in key.iter().zip(&target.shape.key).enumerate() {
        if let Some(value) = cell.value() {
            let value = convert::write(value, target.kinds[*column]);
            statement.raw_bind_parameter(behind + i + 1, value)?;
        }
    }
    Ok(())
}

fn sent(shape: &Shape, row: &Row) -> Vec<bool> {
    (0..shape.columns.len())
        .map(|i| !row.cell(i).is_unchanged())
        .collect()
}

fn whole(shape: &Shape, row: &Row) -> bool {
    row.0.len() >= shape.columns.len() && row.is_whole()
}

/// The key's cells, all of them sent and none of them null.
fn key_of<'r>(target: &Statements, row: &'r Row) -> Result<Vec<&'r Cell>, Failed> {
    let cell = |column: &usize| match row.cell(*column) {
        Cell::Set(value) if !value.is_null() => Ok(row.cell(*column)),
        _ => Err(Failed::Refused(format!(
            "key column `{}` holds no value",
            target.shape.columns[*column].name
        ))),
    };
    target.shape.key.iter().map(cell).collect()
}

/// The key that the row had before, if the change gave it another.
fn old_key<'c>(target: &Statements, change: &'c Change) -> Option<Vec<&'c Cell>> {
    let before = change.before.as_ref()?;
    let key = &target.shape.key;
    let cells: Vec<&Cell> = key.iter().map(|column| before.cell(*column)).collect();
    let known = cells
        .iter()
        .all(|cell| cell.value().is_some_and(|value| !value.is_null()));
    let moved = key
        .iter()
        .any(|column| before.cell(*column) != change.row.cell(*column));
    (known && moved).then_some(cells)
}
