//! Tables that keep what was: slowly changing dimensions (type 2) and append-only events.
//!
//! Owns which columns such a table has beside the mapped ones, the statements that write it, and the condition that tells its rows of now.
//! Both kinds are keyed by the record's key and a version that counts up per key, so no statement rewrites a row of the past beyond closing it.
//! Rows travel as one array a column, as in `statements`; the last array is when each change was committed at its source.

use std::fmt::Write as _;
use std::sync::Arc;

use lockstep_core::connector::Finding;
use lockstep_core::diagnostic::Severity;
use lockstep_core::{Error, Result, Shape, Type};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::catalog::Table;
use crate::client::quote;
use crate::convert::oid;
use crate::encode::Encoder;
use crate::statements::Target;

/// How one table is kept.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct History {
    /// `scd2`: each state of a record is a row, with the time it held; `append`: each change of a record is a row.
    #[serde(rename = "history")]
    pub kind: HistoryKind,
    /// The column that counts the rows of one key; `version` where absent.
    #[serde(default = "defaults::version")]
    pub version: String,
    /// With `scd2`, the column that tells since when a state held; `valid_from` where absent.
    #[serde(default = "defaults::valid_from")]
    pub valid_from: String,
    /// With `scd2`, the column that tells until when, null while it holds; `valid_to` where absent.
    #[serde(default = "defaults::valid_to")]
    pub valid_to: String,
    /// With `scd2`, the column that is true while it holds; `is_current` where absent.
    #[serde(default = "defaults::is_current")]
    pub is_current: String,
    /// With `append`, the column that says `created`, `updated` or `deleted`; `operation` where absent.
    #[serde(default = "defaults::operation")]
    pub operation: String,
    /// With `append`, the column that tells when the source committed the change; `committed_at` where absent.
    #[serde(default = "defaults::committed_at")]
    pub committed_at: String,
}

/// What a table keeps of the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HistoryKind {
    /// A slowly changing dimension of type 2.
    Scd2,
    /// Events, to which rows are only ever added.
    Append,
}

/// What is taken where the configuration says nothing.
mod defaults {
    pub(super) fn version() -> String {
        "version".to_owned()
    }
    pub(super) fn valid_from() -> String {
        "valid_from".to_owned()
    }
    pub(super) fn valid_to() -> String {
        "valid_to".to_owned()
    }
    pub(super) fn is_current() -> String {
        "is_current".to_owned()
    }
    pub(super) fn operation() -> String {
        "operation".to_owned()
    }
    pub(super) fn committed_at() -> String {
        "committed_at".to_owned()
    }
}

impl History {
    /// The columns that only such a table has, with what they are declared as.
    pub(crate) fn columns(&self) -> Vec<(&str, &'static str)> {
        match self.kind {
            HistoryKind::Scd2 => vec![
                (&self.version, "bigint NOT NULL"),
                (&self.valid_from, "timestamptz NOT NULL"),
                (&self.valid_to, "timestamptz"),
                (&self.is_current, "boolean NOT NULL"),
            ],
            HistoryKind::Append => vec![
                (&self.version, "bigint NOT NULL"),
                (&self.operation, "text NOT NULL"),
                (&self.committed_at, "timestamptz NOT NULL"),
            ],
        }
    }

    /// Refuses names that are given twice.
    pub(crate) fn check(&self, table: &str) -> Result<()> {
        let columns = self.columns();
        for (place, (name, _)) in columns.iter().enumerate() {
            if name.is_empty() || columns[..place].iter().any(|(other, _)| other == name) {
                return Err(Error::config(format!(
                    "`tables.{table}` gives two of its own columns the name `{name}`"
                ))
                .help("give each of them a name of its own"));
            }
        }
        Ok(())
    }

    /// The table without the columns that are not a record's.
    pub(crate) fn hide(&self, mut table: Table) -> Table {
        let own = self.columns();
        let is_own = |name: &str| own.iter().any(|(own, _)| *own == name);
        let shape = &table.shape;
        let kept: Vec<usize> = (0..shape.columns.len())
            .filter(|place| !is_own(&shape.columns[*place].name))
            .collect();
        table.shape = Arc::new(Shape {
            name: shape.name.clone(),
            columns: kept.iter().map(|at| shape.columns[*at].clone()).collect(),
            key: shape
                .key
                .iter()
                .filter_map(|column| kept.iter().position(|at| at == column))
                .collect(),
        });
        table
    }

    /// The rows of now, in the place of a table's name.
    pub(crate) fn current(&self, table: &Table) -> String {
        let name = table.quoted();
        match self.kind {
            HistoryKind::Scd2 => {
                format!("(SELECT * FROM {name} WHERE {})", quote(&self.is_current))
            }
            HistoryKind::Append => {
                let key = table.shape.key.iter();
                let key = key.map(|at| quote(&table.shape.columns[*at].name));
                let key = key.collect::<Vec<_>>().join(", ");
                let (version, operation) = (quote(&self.version), quote(&self.operation));
                format!(
                    "(SELECT * FROM (SELECT DISTINCT ON ({key}) * FROM {name} ORDER BY {key}, {version} DESC) AS l WHERE l.{operation} <> 'deleted')"
                )
            }
        }
    }

    /// What a table of ours is made with.
    pub(crate) fn declare(&self, name: &str, columns: &str, key: &str) -> String {
        let mut text = format!("CREATE TABLE {name} ({columns}");
        for (own, kind) in self.columns() {
            // Writing to a text cannot fail.
            let _ = write!(text, "{} {kind}, ", quote(own));
        }
        let _ = write!(text, "PRIMARY KEY ({key}, {}))", quote(&self.version));
        if self.kind == HistoryKind::Scd2 {
            let current = quote(&self.is_current);
            let _ = write!(
                text,
                "; CREATE UNIQUE INDEX ON {name} ({key}) WHERE {current}"
            );
        }
        text
    }

    /// What keeps a table from being kept this way.
    pub(crate) fn findings(&self, table: &Table, shape: &Shape) -> Vec<Finding> {
        let name = table.quoted();
        let error = |message: String, help: String| Finding {
            severity: Severity::Error,
            message,
            help,
        };
        let mut findings = Vec::new();
        for (own, kind) in self.columns() {
            let wanted = kind.split(' ').next().unwrap_or_default();
            let found = table.position(own).map(|at| &table.columns[at]);
            if found.is_none_or(|column| !is_kind(column.kind, wanted)) {
                let kind = if found.is_none() { kind } else { wanted };
                findings.push(error(
                    format!("table `{}` keeps a history, but has no column `{own}` of type {wanted}", table.name),
                    format!("run: ALTER TABLE {name} ADD COLUMN {} {kind}; or name another column in `tables.{}`", quote(own), table.name),
                ));
            }
            if shape.names().any(|mapped| mapped == own) {
                findings.push(error(
                    format!("column `{own}` of table `{}` is written by its history, and by the mapping", table.name),
                    "leave it out of the mapping, or give the history's column another name".to_owned(),
                ));
            }
        }
        for column in shape
            .names()
            .filter(|column| table.position(column).is_none())
        {
            findings.push(error(
                format!("table `{}` has no column `{column}`", table.name),
                "add the column, or leave it out of the mapping".to_owned(),
            ));
        }
        if findings.is_empty() && !self.is_keyed(table, shape) {
            let key = shape.key.iter().map(|at| quote(&shape.columns[*at].name));
            let key = key.collect::<Vec<_>>().join(", ");
            findings.push(error(
                format!(
                    "table `{}` has no unique key over the record's key and `{}`",
                    table.name, self.version
                ),
                format!(
                    "run: ALTER TABLE {name} ADD PRIMARY KEY ({key}, {})",
                    quote(&self.version)
                ),
            ));
        }
        findings
    }

    /// Whether rows are told apart by the record's key and the version.
    fn is_keyed(&self, table: &Table, shape: &Shape) -> bool {
        let key = shape
            .key
            .iter()
            .map(|at| table.position(&shape.columns[*at].name));
        let key: Option<Vec<usize>> = key.chain([table.position(&self.version)]).collect();
        key.is_some_and(|key| table.unique_over(&key).is_some())
    }
}

fn is_kind(kind: Type, wanted: &str) -> bool {
    matches!(
        (kind, wanted),
        (Type::Int, "bigint")
            | (Type::Timestamp, "timestamptz")
            | (Type::Bool, "boolean")
            | (Type::Text, "text")
    )
}

/// Writes the time of a change.
pub(crate) fn stamp() -> Encoder {
    Encoder::for_type(oid::TIMESTAMPTZ, -1, Type::Timestamp)
}

/// The statements of a target that keeps a history.
impl Target {
    /// Ends every row of now at a time.
    pub(crate) fn history_clear(&self, history: &History, at: jiff::Timestamp) -> String {
        let (table, from) = (&self.table, format!("{} AS t", self.table));
        match history.kind {
            HistoryKind::Scd2 => format!(
                "UPDATE {from} SET {} WHERE t.{}",
                closing(history, &format!("'{at}'::timestamptz")),
                quote(&history.is_current)
            ),
            HistoryKind::Append => {
                let key = self.keyed("");
                let operation = quote(&history.operation);
                format!(
                    "INSERT INTO {table} ({names}) SELECT {values}, 'deleted', '{at}'::timestamptz, p.{version} + 1 FROM \
                     (SELECT DISTINCT ON ({key}) * FROM {table} ORDER BY {key}, {version} DESC) AS p WHERE p.{operation} <> 'deleted'",
                    names = self.appended(history, true),
                    values = self.kept("p"),
                    version = quote(&history.version),
                )
            }
        }
    }

    /// Ends the rows of some keys. Parameters: the key's columns, in its order, and the times.
    pub(crate) fn history_delete(&self, history: &History) -> String {
        let rows = self.stamped(&[], true, false);
        match history.kind {
            HistoryKind::Scd2 => format!(
                "UPDATE {} AS t SET {} FROM {rows} WHERE {} AND t.{}",
                self.table,
                closing(history, "x.at::timestamptz"),
                self.key_is("t", "o"),
                quote(&history.is_current)
            ),
            HistoryKind::Append => format!(
                "INSERT INTO {} ({}) SELECT {}, 'deleted', x.at::timestamptz, p.{} + 1 FROM {rows} JOIN LATERAL {} AS p ON true",
                self.table,
                self.appended(history, true),
                self.kept("p"),
                quote(&history.version),
                self.live(history, "o"),
            ),
        }
    }

    /// Writes the columns of `set` of rows that are there and differ. Parameters: the columns of `set`, which holds the key, and the times.
    pub(crate) fn history_change(&self, history: &History, set: &[usize]) -> Option<String> {
        let written: Vec<usize> = set
            .iter()
            .copied()
            .filter(|c| !self.shape.key.contains(c))
            .collect();
        if written.is_empty() {
            return None;
        }
        let rows = self.stamped(set, false, false);
        let values = self.mixed(set, "p");
        let version = quote(&history.version);
        Some(match history.kind {
            // The old row is closed before the new one is made of what that returns.
            HistoryKind::Scd2 => format!(
                "WITH x AS MATERIALIZED (SELECT * FROM {rows}), p AS (UPDATE {table} AS t SET {closing} FROM x WHERE {key} AND t.{current} AND ({differs}) RETURNING t.*) \
                 INSERT INTO {table} ({names}) SELECT {values}, p.{valid_to}, NULL, true, p.{version} + 1 FROM x JOIN p ON {joined}",
                table = self.table,
                closing = closing(history, "x.at::timestamptz"),
                key = self.key_is("t", "c"),
                current = quote(&history.is_current),
                differs = self.differs_from("t", &written),
                names = self.appended(history, true),
                valid_to = quote(&history.valid_to),
                joined = self.key_is("p", "c"),
            ),
            HistoryKind::Append => format!(
                "INSERT INTO {} ({}) SELECT {values}, 'updated', x.at::timestamptz, p.{version} + 1 FROM {rows} JOIN LATERAL {} AS p ON true WHERE {}",
                self.table,
                self.appended(history, true),
                self.live(history, "c"),
                self.differs_from("p", &written),
            ),
        })
    }

    /// Makes whole rows of keys that have none now. Parameters: every column, and the times.
    pub(crate) fn history_create(&self, history: &History) -> String {
        let all: Vec<usize> = (0..self.columns.len()).collect();
        let values: Vec<String> = all.iter().map(|column| self.value(*column)).collect();
        let rows = self.stamped(&all, false, false);
        self.fresh_rows(history, &values.join(", "), &rows, "", false)
    }

    /// Makes rows under new keys of those of the old ones. Parameters: the columns of `set`, the old key, and the times.
    pub(crate) fn history_rekey(&self, history: &History, set: &[usize]) -> String {
        let rows = self.stamped(set, true, false);
        let from = format!(" JOIN LATERAL {} AS p ON true", self.live(history, "o"));
        self.fresh_rows(history, &self.mixed(set, "p"), &rows, &from, true)
    }

    fn fresh_rows(
        &self,
        history: &History,
        values: &str,
        rows: &str,
        from: &str,
        others: bool,
    ) -> String {
        let past = |what: &str| {
            let past = self.key_is("h", "c");
            format!(
                "(SELECT max(h.{}) FROM {} AS h WHERE {past})",
                quote(what),
                self.table
            )
        };
        let version = format!("COALESCE({}, 0) + 1", past(&history.version));
        let own = match history.kind {
            HistoryKind::Scd2 => format!(
                "GREATEST(x.at::timestamptz, {}), NULL, true",
                past(&history.valid_to)
            ),
            HistoryKind::Append => "'created', x.at::timestamptz".to_owned(),
        };
        format!(
            "INSERT INTO {} ({}) SELECT {values}, {own}, {version} FROM {rows}{from} WHERE NOT EXISTS (SELECT FROM {} AS l)",
            self.table,
            self.appended(history, others),
            self.live(history, "c"),
        )
    }

    /// The places of keys that have no row now. Parameters: the columns of `set`, and the times.
    pub(crate) fn history_missing(&self, history: &History, set: &[usize]) -> String {
        format!(
            "SELECT x.n FROM {} WHERE NOT EXISTS (SELECT FROM {} AS l) ORDER BY x.n",
            self.stamped(set, false, true),
            self.live(history, "c"),
        )
    }

    /// The row of now of a key of the parameters.
    fn live(&self, history: &History, which: &str) -> String {
        let key = self.key_is("t", which);
        match history.kind {
            HistoryKind::Scd2 => format!(
                "(SELECT t.* FROM {} AS t WHERE {key} AND t.{})",
                self.table,
                quote(&history.is_current)
            ),
            HistoryKind::Append => format!(
                "(SELECT * FROM (SELECT t.* FROM {} AS t WHERE {key} ORDER BY t.{} DESC LIMIT 1) AS l WHERE l.{} <> 'deleted')",
                self.table,
                quote(&history.version),
                quote(&history.operation)
            ),
        }
    }

    /// The columns that an insert names: the mapped ones, the others where they are carried along, and the history's own.
    fn appended(&self, history: &History, others: bool) -> String {
        let mut names: Vec<String> = self
            .columns
            .iter()
            .map(|column| column.name.clone())
            .collect();
        if others {
            names.extend(self.others.iter().cloned());
        }
        let own: &[&String] = match history.kind {
            HistoryKind::Scd2 => &[&history.valid_from, &history.valid_to, &history.is_current],
            HistoryKind::Append => &[&history.operation, &history.committed_at],
        };
        names.extend(own.iter().map(|name| quote(name)));
        names.push(quote(&history.version));
        names.join(", ")
    }

    /// A row's columns as they were.
    fn kept(&self, alias: &str) -> String {
        self.mixed(&[], alias)
    }

    /// A row's columns, those of `set` from the parameters and the others as they were.
    fn mixed(&self, set: &[usize], alias: &str) -> String {
        let value = |column: usize| match set.contains(&column) {
            true => self.value(column),
            false => format!("{alias}.{}", self.columns[column].name),
        };
        let values = (0..self.columns.len()).map(value);
        let others = self.others.iter().map(|name| format!("{alias}.{name}"));
        values.chain(others).collect::<Vec<_>>().join(", ")
    }

    fn keyed(&self, lead: &str) -> String {
        let key = self.shape.key.iter();
        let key = key.map(|column| format!("{lead}{}", self.columns[*column].name));
        key.collect::<Vec<_>>().join(", ")
    }
}

/// Closes a row; a clock that went back does not let it end before it began.
fn closing(history: &History, at: &str) -> String {
    format!(
        "{} = GREATEST({at}, t.{}), {} = false",
        quote(&history.valid_to),
        quote(&history.valid_from),
        quote(&history.is_current)
    )
}
