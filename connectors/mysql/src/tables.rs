//! The tables that a source captures: what the catalog says of them, and how rows of the log fit to it.
//!
//! Columns that the database computes are left out, because targets compute their own.
//! Knows neither transactions nor snapshots.

use std::sync::Arc;

use lockstep_core::connector::Reads;
use lockstep_core::{Error, Result, Row, Shape};
use serde::{Deserialize, Serialize};

use crate::binlog::rows::{Target, Wire};
use crate::binlog::table_map::TableMap;
use crate::catalog::{ColumnInfo, Table};
use crate::charset::Charset;
use crate::convert::Form;
use crate::names::TableName;
use crate::position::RowKey;

/// Engines whose changes can be taken back, and whose rows a snapshot sees as of one instant.
const ENGINES: [&str; 3] = ["innodb", "rocksdb", "ndbcluster"];

/// A captured table.
#[derive(Clone, Debug)]
pub(crate) struct Captured {
    /// Its name as the configuration spells it.
    pub(crate) spelled: String,
    /// Its name as the database has it.
    pub(crate) name: TableName,
    /// Its columns and key.
    pub(crate) shape: Arc<Shape>,
    /// The columns as the catalog declares them, one per column of the shape.
    pub(crate) columns: Vec<ColumnInfo>,
    /// Which columns and rows are wanted.
    pub(crate) reads: Reads,
}

/// How rows of the log become rows of a table's shape.
#[derive(Debug)]
pub(crate) struct Layout {
    /// Which captured table.
    pub(crate) table: usize,
    /// Per column of the log, how it is read.
    pub(crate) wires: Vec<Wire>,
}

/// What a table was when the source last looked at it, kept in the position: so a run knows what happened while nobody looked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    /// How many columns it had, and a digest of their names and types.
    columns: (usize, u32),
}

impl Captured {
    /// What the source needs to know of a table.
    ///
    /// # Errors
    /// What cannot be captured, and how to mend it.
    pub(crate) fn of(table: &Table, reads: Reads) -> Result<Captured> {
        capturable(table)?;
        let kept = |position: &usize| !table.columns[*position].generated;
        let places: Vec<usize> = (0..table.columns.len()).filter(kept).collect();
        let key = table.key().ok_or_else(|| table.no_key())?;
        let place = |column: &usize| places.iter().position(|place| place == column);
        let columns: Vec<ColumnInfo> = places
            .iter()
            .map(|place| table.columns[*place].clone())
            .collect();
        let shape = Shape {
            name: table.spelled.clone(),
            columns: columns.iter().map(ColumnInfo::column).collect(),
            key: key.iter().filter_map(place).collect(),
        };
        if shape.key.len() != key.len() {
            return Err(Error::config(format!(
                "the key of table `{}` holds a column that the database computes",
                table.spelled
            ))
            .help("add a unique index without nulls over other columns"));
        }
        Ok(Captured {
            spelled: table.spelled.clone(),
            name: table.name.clone(),
            columns,
            shape: Arc::new(shape),
            reads,
        })
    }

    /// The positions of the columns that a snapshot reads: those that are wanted, and the key.
    pub(crate) fn read(&self) -> impl Iterator<Item = usize> {
        (0..self.columns.len()).filter(|place| {
            self.reads.wants(&self.columns[*place].name) || self.shape.key.contains(place)
        })
    }

    /// A column by its name.
    pub(crate) fn column(&self, name: &str) -> Result<&ColumnInfo> {
        let found = self.columns.iter().find(|column| column.name == name);
        found.ok_or_else(|| {
            Error::config(format!("table `{}` has no column `{name}`", self.spelled))
                .help("change what is asked of it, or the table")
        })
    }

    /// Refuses a table that became one whose rows no longer say which record they are.
    pub(crate) fn still_fits(&self, newer: &Captured) -> Result<()> {
        let names = |table: &Captured| -> Vec<String> {
            let shape = &table.shape;
            shape
                .key
                .iter()
                .map(|column| shape.columns[*column].name.clone())
                .collect()
        };
        let (was, now) = (names(self), names(newer));
        if was == now {
            return Ok(());
        }
        Err(Error::config(format!(
            "the key of table `{}` changed from ({}) to ({})",
            self.spelled,
            was.join(", "),
            now.join(", ")
        ))
        .help(
            "if the contract's key is still right, start again: the source then takes the new key",
        ))
    }

    /// The key of a whole row.
    pub(crate) fn key(&self, row: &Row) -> Option<RowKey> {
        self.shape
            .key
            .iter()
            .map(|column| row.value(*column).cloned())
            .collect()
    }

    /// What the table is.
    pub(crate) fn stamp(&self) -> Stamp {
        Stamp {
            columns: (self.columns.len(), digest(&self.columns)),
        }
    }
}

/// Refuses what cannot be captured.
fn capturable(table: &Table) -> Result<()> {
    let name = &table.spelled;
    match table.kind.as_str() {
        "BASE TABLE" => {}
        "VIEW" | "SYSTEM VIEW" => {
            return Err(
                Error::config(format!("`{name}` is a view, whose changes no log tells"))
                    .help("name the tables that it reads"),
            );
        }
        "SYSTEM VERSIONED" => {
            return Err(Error::unsupported(format!(
                "table `{name}` keeps its own history, so the log tells old rows as new ones"
            ))
            .help("run: ALTER TABLE … DROP SYSTEM VERSIONING, or capture another table"));
        }
        other => {
            return Err(
                Error::unsupported(format!("`{name}` is a {other}")).help("name ordinary tables")
            );
        }
    }
    let engine = table.engine.clone().unwrap_or_default();
    if !ENGINES.contains(&engine.to_ascii_lowercase().as_str()) {
        return Err(Error::config(format!(
            "table `{name}` is stored by {engine}, which has no transactions: changes that were taken back would be told, and a snapshot would not fit to the log"
        ))
        .help(format!("run: ALTER TABLE {} ENGINE = InnoDB", table.quoted())));
    }
    for column in table.columns.iter().filter(|column| !column.generated) {
        if charset(column).is_none() {
            return Err(Error::unsupported(format!(
                "column `{}` of table `{name}` has character set {}, which cannot be read from the log",
                column.name,
                column.charset.as_deref().unwrap_or_default()
            ))
            .help(format!(
                "run: ALTER TABLE {} CONVERT TO CHARACTER SET utf8mb4",
                table.quoted()
            )));
        }
    }
    Ok(())
}

fn charset(column: &ColumnInfo) -> Option<Charset> {
    match column.charset.as_deref() {
        Some(name) => Charset::named(name),
        // MySQL's JSON has none and is UTF-8; bytes have none and are not read as text.
        None => Some(Charset::Binary),
    }
}

impl Layout {
    /// Fits a table of the log to a captured one; gives also whether their columns are the same.
    ///
    /// # Errors
    /// A log that does not tell names.
    pub(crate) fn of(map: &TableMap, table: usize, captured: &Captured) -> Result<(Layout, bool)> {
        let mut wires = Vec::with_capacity(map.columns.len());
        let mut fitted = 0;
        for column in &map.columns {
            let Some(name) = &column.name else {
                return Err(no_names(captured));
            };
            let mut wire = Wire::of(column);
            if let Some(place) = captured
                .columns
                .iter()
                .position(|known| known.name == *name)
            {
                wire.target = Some(target(&captured.columns[place], place, &column.members));
                fitted += 1;
            }
            wires.push(wire);
        }
        let same = fitted == captured.columns.len();
        Ok((Layout { table, wires }, same))
    }
}

/// The error of a log that does not tell columns' names.
pub(crate) fn no_names(captured: &Captured) -> Error {
    Error::config(format!(
        "the binary log does not name the columns of table `{}`",
        captured.spelled
    ))
    .help("let an administrator run: SET GLOBAL binlog_row_metadata = 'FULL' (and put it into the server's configuration); changes that were written before that cannot be read, so a new life has to begin with a snapshot")
}

fn target(known: &ColumnInfo, place: usize, members: &[Vec<u8>]) -> Target {
    let charset = charset(known).unwrap_or(Charset::Binary);
    // The log's own list is that of the time when the row was written.
    let told: Option<Vec<String>> = members
        .iter()
        .map(|member| charset.decode(member))
        .collect();
    let members = told
        .filter(|told| !told.is_empty())
        .unwrap_or_else(|| known.members.clone());
    Target {
        place,
        form: known.form,
        unsigned: known.unsigned || (known.form == Form::Inet && known.declared == "inet4"),
        charset,
        members,
    }
}

impl Stamp {
    /// Whether columns were retyped, moved, renamed or dropped until the table was as `now` says, which rewrites rows without a word; columns that were added behind are told with the next change of their row.
    pub(crate) fn is_rewritten(&self, now: &Captured) -> bool {
        let (count, was) = self.columns;
        count > now.columns.len() || digest(&now.columns[..count]) != was
    }
}

/// A digest (FNV-1a) of columns; it is kept, so it must never change.
fn digest(columns: &[ColumnInfo]) -> u32 {
    let mut hash = 0x811c_9dc5_u32;
    let mut add = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        }
    };
    for column in columns {
        add(column.name.as_bytes());
        add(&[0]);
        add(column.declared.as_bytes());
        add(&[0]);
        add(column.charset.as_deref().unwrap_or_default().as_bytes());
        add(&[0]);
    }
    hash
}
