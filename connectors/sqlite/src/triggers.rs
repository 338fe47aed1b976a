//! The triggers that log every change of a table, as text.
//!
//! They run inside other programs, with whatever SQLite those programs carry, so they use nothing younger than SQLite 3.9 and no JSON: every column of the change table takes a value exactly as it is.
//!
//! Three decisions deserve their reasons:
//! - A row's image is read from the table, not from `NEW`: when the business system's own triggers touch the row again, whichever trigger runs last still logs the row as it stands.
//! - `REPLACE` removes rows without firing delete triggers. A row of *another* key that falls to a second unique index is noted before the write and logged as deleted after it, if it is really gone.
//! - A table that the sink is writing to in this very transaction stands in `_lockstep_origin`; its changes are not logged, so they do not come back.

use crate::catalog::{Index, Table};
use crate::client::{literal, quote};

/// Milliseconds since 1970, in every version of SQLite.
pub(crate) const NOW_MS: &str =
    "CAST(round((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER)";

/// The triggers of a table under a capture number, ordered by name.
pub(crate) fn triggers(table: &Table, capture: i64) -> Vec<String> {
    let writer = Writer {
        table,
        capture,
        quoted: quote(&table.name),
    };
    let replacing = replaceable(table);
    let mut all = Vec::new();
    if !replacing.is_empty() {
        all.push(writer.before_insert(&replacing));
        all.push(writer.before_update(&replacing));
    }
    all.push(writer.delete());
    all.push(writer.insert(!replacing.is_empty()));
    all.push(writer.update(!replacing.is_empty()));
    all
}

/// The unique indexes by which a `REPLACE` can remove a row of another key, as far as that can be seen.
fn replaceable(table: &Table) -> Vec<&Vec<(usize, String)>> {
    table
        .unique
        .iter()
        .filter(|index| !index.partial)
        .filter_map(|index| index.columns.as_ref())
        .filter(|columns| !is_key(table, columns))
        .collect()
}

/// The unique indexes by which a `REPLACE` can remove a row unseen: looking through them would need a scan of the table at every write.
pub(crate) fn unseen(table: &Table) -> impl Iterator<Item = &Index> {
    let seen = |index: &&Index| index.partial || index.columns.is_none();
    table.unique.iter().filter(seen)
}

/// Under a binary collation two rows of one key are the same record; under another one `abc` may be replaced by `ABC`.
fn is_key(table: &Table, columns: &[(usize, String)]) -> bool {
    columns.len() == table.key.len()
        && columns
            .iter()
            .all(|(column, collation)| table.key.contains(column) && collation == "BINARY")
}

struct Writer<'a> {
    table: &'a Table,
    capture: i64,
    quoted: String,
}

impl Writer<'_> {
    fn insert(&self, replacing: bool) -> String {
        let body = format!(
            "{}{} FROM {} AS t WHERE {};",
            self.log_replaced(replacing),
            self.log('I', &[self.values("t")]),
            self.quoted,
            self.same_row()
        );
        self.trigger("insert", "AFTER INSERT", &body)
    }

    fn update(&self, replacing: bool) -> String {
        let rekeyed = self.each_key(" OR ", |column| {
            format!("OLD.{column} IS NOT NEW.{column} COLLATE BINARY")
        });
        let body = format!(
            "{replaced}{logged} FROM {table} AS t WHERE {same}; {gone} WHERE ({rekeyed}) AND NOT EXISTS (SELECT 1 FROM {table} AS t WHERE {same});",
            replaced = self.log_replaced(replacing),
            logged = self.log('U', &[self.values("t"), self.values("OLD")]),
            table = self.quoted,
            same = self.same_row(),
            // A trigger of the business system moved the row on before this one ran: its old key is gone all the same.
            gone = self.log('D', &[self.values("OLD")]),
        );
        self.trigger("update", "AFTER UPDATE", &body)
    }

    fn delete(&self) -> String {
        // A trigger of the business system may have put the key back before this one ran.
        let body = format!(
            "{} WHERE NOT EXISTS (SELECT 1 FROM {} AS t WHERE {});",
            self.log('D', &[self.values("OLD")]),
            self.quoted,
            self.same_key("OLD", |column| column.to_owned()),
        );
        self.trigger("delete", "AFTER DELETE", &body)
    }

    fn before_insert(&self, replacing: &[&Vec<(usize, String)>]) -> String {
        let body = self.note_candidates(replacing, "");
        self.trigger("before_insert", "BEFORE INSERT", &body)
    }

    fn before_update(&self, replacing: &[&Vec<(usize, String)>]) -> String {
        let mut columns: Vec<usize> = replacing
            .iter()
            .flat_map(|index| index.iter().map(|(column, _)| *column))
            .filter(|column| !self.table.columns[*column].generated)
            .collect();
        columns.sort_unstable();
        columns.dedup();
        // A generated column moves with any column that it is computed from.
        let generated = replacing
            .iter()
            .flat_map(|index| index.iter())
            .any(|(column, _)| self.table.columns[*column].generated);
        let of = if generated {
            String::new()
        } else {
            let names: Vec<String> = columns.iter().map(|column| self.name(*column)).collect();
            format!(" OF {}", names.join(", "))
        };
        let other = self.each_key(" OR ", |column| {
            format!("t.{column} IS NOT OLD.{column} COLLATE BINARY")
        });
        let body = self.note_candidates(replacing, &format!(" AND ({other})"));
        self.trigger("before_update", &format!("BEFORE UPDATE{of}"), &body)
    }

    fn trigger(&self, what: &str, when: &str, body: &str) -> String {
        format!(
            "CREATE TRIGGER {} {when} ON {} WHEN NOT EXISTS (SELECT 1 FROM _lockstep_origin WHERE tbl = {}) BEGIN {body} END",
            quote(&format!("_lockstep_{}_{what}", self.table.name)),
            self.quoted,
            literal(&self.table.name),
        )
    }

    /// The beginning of a statement that logs images side by side.
    fn log(&self, op: char, images: &[Vec<String>]) -> String {
        let values: Vec<&str> = images.iter().flatten().map(String::as_str).collect();
        format!(
            "INSERT INTO _lockstep_changes(cap, op, at, {}) SELECT {}, '{op}', {NOW_MS}, {}",
            slots(values.len()),
            self.capture,
            values.join(", ")
        )
    }

    fn note_candidates(&self, replacing: &[&Vec<(usize, String)>], more: &str) -> String {
        let mut body = self.forget_candidates();
        for index in replacing {
            let hit: Vec<String> = index
                .iter()
                .map(|(column, collation)| {
                    let name = self.name(*column);
                    format!("t.{name} = NEW.{name} COLLATE {}", quote(collation))
                })
                .collect();
            body.push_str(&format!(
                " INSERT INTO _lockstep_replaced(cap, {}) SELECT {}, {} FROM {} AS t WHERE {}{more};",
                slots(self.table.columns.len()),
                self.capture,
                self.values("t").join(", "),
                self.quoted,
                hit.join(" AND "),
            ));
        }
        body
    }

    fn log_replaced(&self, replacing: bool) -> String {
        if !replacing {
            return String::new();
        }
        let values = (0..self.table.columns.len()).map(|i| format!("r.c{i}"));
        format!(
            "{} FROM _lockstep_replaced AS r WHERE r.cap = {} AND NOT EXISTS (SELECT 1 FROM {} AS t WHERE {}); {} ",
            self.log('D', &[values.collect()]),
            self.capture,
            self.quoted,
            self.same_key("r", |column| {
                let place = self.table.key.iter().find(|key| self.name(**key) == column);
                format!("c{}", place.copied().unwrap_or_default())
            }),
            self.forget_candidates(),
        )
    }

    fn forget_candidates(&self) -> String {
        format!(
            "DELETE FROM _lockstep_replaced WHERE cap = {};",
            self.capture
        )
    }

    /// Finds the row that `NEW` is about, wherever it stands by now.
    fn same_row(&self) -> String {
        match self.table.rowid {
            Some(rowid) => format!("t.{rowid} = NEW.{rowid}"),
            None => self.same_key("NEW", |column| column.to_owned()),
        }
    }

    /// Finds the row of a key: by the index first, then to the letter.
    fn same_key(&self, of: &str, place: impl Fn(&str) -> String) -> String {
        self.each_key(" AND ", |column| {
            let other = place(column);
            if self.table.rowid_is_key {
                format!("t.{column} = {of}.{other}")
            } else {
                format!("t.{column} = {of}.{other} AND t.{column} IS {of}.{other} COLLATE BINARY")
            }
        })
    }

    fn each_key(&self, joiner: &str, term: impl Fn(&str) -> String) -> String {
        let terms = self
            .table
            .key
            .iter()
            .map(|column| term(&self.name(*column)));
        terms.collect::<Vec<_>>().join(joiner)
    }

    fn values(&self, of: &str) -> Vec<String> {
        let columns = 0..self.table.columns.len();
        columns
            .map(|column| format!("{of}.{}", self.name(column)))
            .collect()
    }

    fn name(&self, column: usize) -> String {
        quote(&self.table.columns[column].name)
    }
}

fn slots(count: usize) -> String {
    (0..count)
        .map(|i| format!("c{i}"))
        .collect::<Vec<_>>()
        .join(", ")
}
