//! What the file declares about a table: columns, key, unique indexes.
//!
//! Knows nothing of capture or of writing; only reads SQLite's own descriptions.

use std::sync::Arc;

use lockstep_core::contract::drift::GONE;
use lockstep_core::diagnostic::suggestion;
use lockstep_core::{Column, Error, Result, Shape, Type};
use rusqlite::{Connection, OptionalExtension};

use crate::client::failure;
use crate::convert;

/// Names that begin so are Lockstep's own tables and triggers.
pub(crate) const RESERVED: &str = "_lockstep_";

/// A table as the file declares it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Table {
    /// Its name as the configuration spells it; SQLite does not mind the case.
    pub(crate) name: String,
    /// Whether it is a table, a view, or something else.
    pub(crate) kind: TableKind,
    /// Its columns in their order, generated ones included.
    pub(crate) columns: Vec<ColumnInfo>,
    /// Positions of the columns that identify a row: the primary key, or else the narrowest unique index over columns that hold no null. Empty where there is none.
    pub(crate) key: Vec<usize>,
    /// The name under which the rowid can be read; none for tables without one, and where columns hide every name.
    pub(crate) rowid: Option<&'static str>,
    /// Whether the rowid is the key, and so never changes by itself.
    pub(crate) rowid_is_key: bool,
    /// Its unique indexes.
    pub(crate) unique: Vec<Index>,
    /// Names of the tables its foreign keys point to.
    pub(crate) parents: Vec<String>,
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TableKind {
    /// A table whose rows SQLite stores.
    Table,
    /// A view.
    View,
    /// A virtual table or a part of one.
    Virtual,
}

/// A column as the file declares it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ColumnInfo {
    /// Its name.
    pub(crate) name: String,
    /// Its type, where the declaration fixes one.
    pub(crate) kind: Option<Type>,
    /// Whether it may hold null.
    pub(crate) nullable: bool,
    /// How long its texts are said to be at most; SQLite itself does not mind.
    pub(crate) length: Option<u32>,
    /// Whether SQLite computes it.
    pub(crate) generated: bool,
    /// Whether a row may leave it out although it may not be null.
    pub(crate) has_default: bool,
}

/// A unique index.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Index {
    /// Its name.
    pub(crate) name: String,
    /// Column positions and collations; none where it is over an expression.
    pub(crate) columns: Option<Vec<(usize, String)>>,
    /// Whether it covers some rows only.
    pub(crate) partial: bool,
}

impl Table {
    /// Reads the declaration of a table, view or virtual table.
    ///
    /// # Errors
    /// A name that is not there, with the nearest one that is.
    pub(crate) fn read(conn: &Connection, name: &str) -> Result<Table> {
        let failed = |error| failure("cannot read the file's schema", error).with("table", name);
        let (kind, without_rowid) = kind_of(conn, name).map_err(failed)?.ok_or_else(|| {
            let known = names(conn).unwrap_or_default();
            Error::config(format!("no such table `{name}`"))
                .code(GONE)
                .help(suggestion(name, known.iter().map(String::as_str)))
        })?;
        let (columns, primary) = columns(conn, name, without_rowid).map_err(failed)?;
        let mut table = Table {
            name: name.to_owned(),
            kind,
            columns,
            key: primary.clone(),
            rowid: None,
            rowid_is_key: false,
            unique: Vec::new(),
            parents: parents(conn, name).map_err(failed)?,
        };
        let has_primary_index = table.read_indexes(conn).map_err(failed)?;
        if kind == TableKind::Table && !without_rowid {
            table.rowid = ["rowid", "_rowid_", "oid"]
                .into_iter()
                .find(|name| table.position(name).is_none());
            // A single INTEGER PRIMARY KEY is the rowid itself, which shows in its having no index.
            table.rowid_is_key = primary.len() == 1 && !has_primary_index;
            if let (true, [column]) = (table.rowid_is_key, primary.as_slice()) {
                table.columns[*column].nullable = false;
                // A row may leave it out: SQLite numbers it.
                table.columns[*column].has_default = true;
            }
        }
        if table.key.is_empty() {
            table.key = table.narrowest_unique();
        }
        Ok(table)
    }

    /// The table in Lockstep's words.
    pub(crate) fn shape(&self) -> Arc<Shape> {
        let columns = self.columns.iter().map(|column| Column {
            name: column.name.clone(),
            kind: column.kind,
            nullable: column.nullable,
            length: column.length,
            list: false,
        });
        Arc::new(Shape {
            name: self.name.clone(),
            columns: columns.collect(),
            key: self.key.clone(),
        })
    }

    /// The position of a column, whatever its case, as SQLite has it.
    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        let same = |column: &ColumnInfo| column.name.eq_ignore_ascii_case(name);
        self.columns.iter().position(same)
    }

    /// The unique index that is exactly over these columns, in any order, and covers every row: what an upsert needs. The rowid counts as one.
    pub(crate) fn unique_over(&self, key: &[usize]) -> Option<Vec<(usize, String)>> {
        if self.rowid_is_key && key == self.key {
            return Some(vec![(key[0], "BINARY".to_owned())]);
        }
        let covers = |columns: &[(usize, String)]| {
            columns.len() == key.len() && columns.iter().all(|(column, _)| key.contains(column))
        };
        self.unique
            .iter()
            .filter(|index| !index.partial)
            .filter_map(|index| index.columns.clone())
            .find(|columns| covers(columns))
    }

    /// Refuses what changes cannot be captured from.
    pub(crate) fn must_be_capturable(&self) -> Result<()> {
        let name = &self.name;
        if name.to_ascii_lowercase().starts_with(RESERVED) {
            return Err(
                Error::config(format!("`{name}` is one of Lockstep's own tables"))
                    .help("name a table of the business system"),
            );
        }
        match self.kind {
            TableKind::Table => {}
            TableKind::View => {
                return Err(Error::config(format!(
                    "`{name}` is a view, which has no changes of its own to capture"
                ))
                .help("name the tables that the view reads"));
            }
            TableKind::Virtual => {
                return Err(Error::config(format!(
                    "`{name}` is a virtual table, on which SQLite allows no triggers"
                ))
                .help("name the table that holds the rows"));
            }
        }
        if self.key.is_empty() {
            return Err(Error::config(format!("table `{name}` has no key: neither a primary key nor a unique index over columns that are NOT NULL"))
                .help(format!("run: CREATE UNIQUE INDEX {} ON {} (<the columns that identify a row>), and declare those columns NOT NULL", crate::client::quote(&format!("{name}_key")), crate::client::quote(name))));
        }
        if self.columns.len() > COLUMNS_MAX {
            return Err(Error::config(format!(
                "table `{name}` has {} columns; at most {COLUMNS_MAX} can be captured",
                self.columns.len()
            ))
            .help("split the table"));
        }
        Ok(())
    }

    /// Reads the unique indexes; tells whether the primary key has one of its own.
    fn read_indexes(&mut self, conn: &Connection) -> rusqlite::Result<bool> {
        let mut list = conn.prepare_cached(
            "SELECT name, origin, partial FROM pragma_index_list(?1) WHERE \"unique\" ORDER BY seq DESC",
        )?;
        let found = list.query_map([&self.name], |row| {
            Ok((
                row.get::<_, String>(0)?,
                row.get::<_, String>(1)?,
                row.get(2)?,
            ))
        })?;
        let mut primary = false;
        for index in found {
            let (name, origin, partial) = index?;
            primary |= origin == "pk";
            let mut info = conn.prepare_cached(
                "SELECT cid, coll FROM pragma_index_xinfo(?1) WHERE key ORDER BY seqno",
            )?;
            let columns = info
                .query_map([&name], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?)))?
                .collect::<rusqlite::Result<Vec<(i64, String)>>>()?;
            let mut placed = Some(Vec::new());
            for (cid, collation) in columns {
                // The list of columns leaves out hidden ones, never plain ones, so their numbers agree for tables.
                match (usize::try_from(cid), &mut placed) {
                    (Ok(column), Some(placed)) if column < self.columns.len() => {
                        placed.push((column, collation));
                    }
                    _ => placed = None,
                }
            }
            self.unique.push(Index {
                name,
                columns: placed,
                partial,
            });
        }
        Ok(primary)
    }

    fn narrowest_unique(&self) -> Vec<usize> {
        self.unique
            .iter()
            .filter(|index| !index.partial)
            .filter_map(|index| index.columns.as_ref())
            .map(|columns| {
                columns
                    .iter()
                    .map(|(column, _)| *column)
                    .collect::<Vec<_>>()
            })
            .filter(|columns| columns.iter().all(|column| !self.columns[*column].nullable))
            .min_by_key(Vec::len)
            .unwrap_or_default()
    }
}

/// Most columns of a captured table: the change table holds two images of a row, and SQLite's limit is 2000 columns.
pub(crate) const COLUMNS_MAX: usize = 900;

/// The names of all tables and views, without SQLite's and Lockstep's own.
fn names(conn: &Connection) -> rusqlite::Result<Vec<String>> {
    conn.prepare_cached(
        "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND name NOT LIKE '\\_lockstep\\_%' ESCAPE '\\'",
    )?
    .query_map([], |row| row.get(0))?
    .collect()
}

fn kind_of(conn: &Connection, name: &str) -> rusqlite::Result<Option<(TableKind, bool)>> {
    let found = conn
        .prepare_cached("SELECT type, wr FROM pragma_table_list WHERE schema = 'main' AND name = ?1 COLLATE NOCASE")?
        .query_row([name], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))
        .optional()?;
    Ok(found.map(|(kind, without_rowid)| {
        let kind = match kind.as_str() {
            "table" => TableKind::Table,
            "view" => TableKind::View,
            _ => TableKind::Virtual,
        };
        (kind, without_rowid)
    }))
}

/// The columns, and the positions of the primary key's in key order.
fn columns(
    conn: &Connection,
    name: &str,
    without_rowid: bool,
) -> rusqlite::Result<(Vec<ColumnInfo>, Vec<usize>)> {
    let mut columns = Vec::new();
    let mut primary: Vec<(i64, usize)> = Vec::new();
    let mut statement = conn.prepare_cached(
        "SELECT name, type, \"notnull\", dflt_value IS NOT NULL, pk, hidden FROM pragma_table_xinfo(?1) WHERE hidden <> 1 ORDER BY cid",
    )?;
    let mut rows = statement.query([name])?;
    while let Some(row) = rows.next()? {
        let place: i64 = row.get(4)?;
        if place > 0 {
            primary.push((place, columns.len()));
        }
        let kind: String = row.get(1)?;
        let not_null: bool = row.get(2)?;
        let hidden: i64 = row.get(5)?;
        columns.push(ColumnInfo {
            name: row.get(0)?,
            length: convert::length(&kind),
            kind: convert::declared(&kind),
            nullable: !(not_null || (without_rowid && place > 0)),
            generated: hidden == 2 || hidden == 3,
            has_default: row.get(3)?,
        });
    }
    primary.sort_unstable();
    Ok((
        columns,
        primary.into_iter().map(|(_, column)| column).collect(),
    ))
}

fn parents(conn: &Connection, name: &str) -> rusqlite::Result<Vec<String>> {
    conn.prepare_cached("SELECT DISTINCT \"table\" FROM pragma_foreign_key_list(?1) ORDER BY 1")?
        .query_map([name], |row| row.get(0))?
        .collect()
}

/// Whether a table or view of this name is there.
pub(crate) fn is_there(conn: &Connection, name: &str) -> rusqlite::Result<bool> {
    Ok(kind_of(conn, name)?.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(sql: &str, name: &str) -> Result<Table> {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(sql).unwrap();
        Table::read(&conn, name)
    }

    fn key(sql: &str) -> Vec<usize> {
        table(sql, "t").unwrap().key
    }

    #[test]
    fn the_key_is_the_primary_key_or_the_narrowest_unique_index_without_nulls() {
        assert_eq!(key("CREATE TABLE t(a, b, PRIMARY KEY (b, a))"), [1, 0]);
        assert_eq!(key("CREATE TABLE t(a, b NOT NULL UNIQUE)"), [1]);
        assert_eq!(
            key("CREATE TABLE t(a NOT NULL, b NOT NULL, c NOT NULL, UNIQUE (a, b), UNIQUE (c))"),
            [2]
        );
        assert!(key("CREATE TABLE t(a UNIQUE, b)").is_empty());
        assert!(
            key("CREATE TABLE t(a NOT NULL); CREATE UNIQUE INDEX i ON t(a) WHERE a > 3").is_empty()
        );
        assert!(key("CREATE TABLE t(a NOT NULL); CREATE UNIQUE INDEX i ON t(lower(a))").is_empty());
    }

    #[test]
    fn an_integer_primary_key_is_the_rowid() {
        let t = table("CREATE TABLE t(id INTEGER PRIMARY KEY, x)", "T").unwrap();
        assert!(t.rowid_is_key && !t.columns[0].nullable);
        assert!(t.unique_over(&[0]).is_some());
        let t = table("CREATE TABLE t(id INT PRIMARY KEY, x)", "t").unwrap();
        assert!(!t.rowid_is_key && t.columns[0].nullable);
        let t = table("CREATE TABLE t(id TEXT PRIMARY KEY, x) WITHOUT ROWID", "t").unwrap();
        assert!(t.rowid.is_none() && !t.columns[0].nullable);
    }

    #[test]
    fn a_column_may_hide_the_rowid() {
        let t = table("CREATE TABLE t(rowid TEXT NOT NULL UNIQUE, _RowID_)", "t").unwrap();
        assert_eq!(t.rowid, Some("oid"));
    }

    #[test]
    fn generated_columns_are_seen() {
        let t = table(
            "CREATE TABLE t(a PRIMARY KEY, b AS (a + 1), c AS (a + 2) STORED)",
            "t",
        )
        .unwrap();
        let generated: Vec<bool> = t.columns.iter().map(|c| c.generated).collect();
        assert_eq!(generated, [false, true, true]);
    }

    #[test]
    fn what_cannot_be_captured_is_refused_with_the_cure() {
        let refused = |sql, name| {
            let error = table(sql, name)
                .and_then(|t| t.must_be_capturable())
                .unwrap_err();
            (
                error.to_string(),
                error.help_text().unwrap_or_default().to_owned(),
            )
        };
        let (message, help) = refused("CREATE TABLE orders(a)", "order");
        assert_eq!(message, "no such table `order`");
        assert_eq!(help, "did you mean `orders`?");
        let (message, help) = refused("CREATE TABLE t(a)", "t");
        assert!(message.starts_with("table `t` has no key"), "{message}");
        assert!(help.contains("CREATE UNIQUE INDEX"), "{help}");
        let (message, _) = refused("CREATE TABLE t(a); CREATE VIEW v AS SELECT * FROM t", "v");
        assert!(message.contains("is a view"), "{message}");
        let (message, _) = refused("CREATE VIRTUAL TABLE f USING fts5(a)", "f");
        assert!(message.contains("virtual"), "{message}");
    }
}
