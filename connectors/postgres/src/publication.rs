//! The publication: which tables the server sends changes of.
//!
//! Invariants: a publication names its tables, never all of them; a table is added only once its updates and deletes can be published, because otherwise the business system's own writes would fail.

use std::collections::BTreeMap;

use lockstep_core::{Error, Kind, Result};

use crate::client::{literal, quote};
use crate::stamp::Stamp;
use crate::tables::Captured;
use crate::wire::Connection;

/// The first release that tells generated columns, and that refuses to change rows whose replica identity holds one that a publication does not tell.
const GENERATED_MIN: u32 = 180_000;

/// A publication as the server describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Publication {
    /// What it leaves out of inserts, updates, deletes and truncates.
    pub(crate) silent: Vec<&'static str>,
    /// Whether changes of a partition are told as changes of its table.
    pub(crate) via_root: bool,
    /// Whether it keeps generated columns to itself, on a server that could tell them.
    pub(crate) omits_generated: bool,
    /// What it says of itself that it tells, where it is one of ours that does not tell everything.
    pub(crate) note: Option<String>,
    /// Its tables, by schema and name.
    pub(crate) members: BTreeMap<(String, String), Member>,
}

/// A table of a publication.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Member {
    /// The number of the entry that makes it one: the table's own, its schema's, or the publication's.
    pub(crate) entry: u32,
    /// The columns it tells; all of them where the server knows no lists of columns.
    pub(crate) columns: Option<Vec<String>>,
    /// Whether it leaves rows out.
    pub(crate) filtered: bool,
}

/// Sees to it that the publication tells every change of the tables; gives the positions of those that it did not tell before, and the publication as it is then.
///
/// # Errors
/// What is missing and cannot be added, with the statement that adds it.
pub(crate) async fn ensure(
    conn: &mut Connection,
    name: &str,
    tables: &[Captured],
    version: u32,
) -> Result<(Vec<usize>, Publication)> {
    let found = look(conn, name, version).await?;
    let (sql, changed) = match &found {
        None => (create(name, tables, version), (0..tables.len()).collect()),
        // What it left out by then nobody told, so every table is read again.
        Some(found) if found.is_outdated(tables, version) => {
            (set(name, tables, version), (0..tables.len()).collect())
        }
        Some(found) => {
            if let Some((message, help)) = found.wrong(name, tables, version).into_iter().next() {
                return Err(Error::config(message).help(help));
            }
            let missing = found.missing(tables);
            (
                add(name, missing.iter().map(|table| &tables[*table])),
                missing,
            )
        }
    };
    if let (Some(found), true) = (found, changed.is_empty()) {
        return Ok((changed, found));
    }
    conn.query(&sql)
        .await
        .map_err(|error| denied(error, name, &sql))?;
    let now = look(conn, name, version).await?.unwrap_or_default();
    Ok((changed, now))
}

/// Looks for a publication.
pub(crate) async fn look(
    conn: &mut Connection,
    name: &str,
    version: u32,
) -> Result<Option<Publication>> {
    let name = literal(name);
    let omits = if version >= GENERATED_MIN {
        "pubgencols <> 's'"
    } else {
        "false"
    };
    let sql = format!(
        "SELECT pubinsert, pubupdate, pubdelete, pubtruncate, pubviaroot, {omits}, obj_description(oid, 'pg_publication') FROM pg_publication WHERE pubname = {name}"
    );
    let Some(line) = conn.query(&sql).await?.into_iter().next() else {
        return Ok(None);
    };
    let yes = |i: usize| line.get(i).and_then(Option::as_deref) == Some("t");
    let kinds = ["insert", "update", "delete", "truncate"]
        .into_iter()
        .enumerate();
    let mut found = Publication {
        silent: kinds
            .filter(|(i, _)| !yes(*i))
            .map(|(_, kind)| kind)
            .collect(),
        via_root: yes(4),
        omits_generated: yes(5),
        note: line
            .get(6)
            .cloned()
            .flatten()
            .filter(|note| note.starts_with(NOTE)),
        members: BTreeMap::new(),
    };
    // A column each line: names may hold any separator.
    let (detail, more) = if version >= 150_000 {
        (
            "coalesce(r.oid, s.oid, p.oid), rowfilter IS NOT NULL, a.attname",
            "LEFT JOIN pg_publication_namespace s ON s.pnpubid = p.oid AND s.pnnspid = n.oid LEFT JOIN unnest(t.attnames) a(attname) ON true",
        )
    } else {
        ("coalesce(r.oid, p.oid), false, NULL", "")
    };
    let sql = format!(
        "SELECT t.schemaname, t.tablename, {detail} FROM pg_publication_tables t JOIN pg_publication p ON p.pubname = t.pubname
         JOIN pg_namespace n ON n.nspname = t.schemaname JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.tablename
         LEFT JOIN pg_publication_rel r ON r.prpubid = p.oid AND r.prrelid = c.oid {more} WHERE t.pubname = {name}"
    );
    for line in conn.query(&sql).await? {
        let Ok([schema, table, entry, filtered, column]) = <[Option<String>; 5]>::try_from(line)
        else {
            continue;
        };
        let key = (schema.unwrap_or_default(), table.unwrap_or_default());
        let member = found.members.entry(key).or_default();
        member.entry = entry.and_then(|oid| oid.parse().ok()).unwrap_or(0);
        member.filtered |= filtered.as_deref() == Some("t");
        if let Some(column) = column {
            member.columns.get_or_insert_default().push(column);
        }
    }
    Ok(Some(found))
}

impl Publication {
    /// The tables that it does not tell of.
    pub(crate) fn missing(&self, tables: &[Captured]) -> Vec<usize> {
        (0..tables.len())
            .filter(|table| self.member(&tables[*table]).is_none())
            .collect()
    }

    /// Whether it is one of ours that tells something else than what is wanted now.
    fn is_outdated(&self, tables: &[Captured], version: u32) -> bool {
        self.note.is_some() && self.note != note(tables, version)
    }

    /// What it leaves out, in words, each with the statement that mends it.
    pub(crate) fn wrong(
        &self,
        name: &str,
        tables: &[Captured],
        version: u32,
    ) -> Vec<(String, String)> {
        let is_ours = self.note.is_some();
        let quoted = quote(name);
        let mut wrong = Vec::new();
        if !self.silent.is_empty() {
            wrong.push((
                format!("publication `{name}` leaves out {}", self.silent.join(", ")),
                format!(
                    "ALTER PUBLICATION {quoted} SET (publish = 'insert, update, delete, truncate')"
                ),
            ));
        }
        for table in tables {
            if table.partitioned && !self.via_root {
                wrong.push((
                    format!("publication `{name}` tells changes of table `{}` as those of its partitions", table.name),
                    format!("ALTER PUBLICATION {quoted} SET (publish_via_partition_root = true)"),
                ));
            }
            if table.identified_by_generated && self.omits_generated {
                wrong.push((
                    format!("publication `{name}` keeps generated columns of table `{}` to itself, which its replica identity holds: its rows could not be updated or deleted", table.name),
                    format!("ALTER PUBLICATION {quoted} SET (publish_generated_columns = stored)"),
                ));
            }
            let Some(member) = self.member(table) else {
                continue;
            };
            // One of ours is fitted to what is wanted at the start.
            if is_ours && !self.is_outdated(tables, version) {
                continue;
            }
            if member.filtered && !is_ours {
                wrong.push((
                    format!("publication `{name}` has a row filter on table `{}`, so changes would be missed", table.name),
                    "give Lockstep a publication of its own with `publication`, and filter with `filter` in the mapping".to_owned(),
                ));
            }
            let told = |column: &&str| {
                member
                    .columns
                    .as_ref()
                    .is_none_or(|columns| columns.iter().any(|c| c == column))
            };
            let read = table.read().map(|place| table.columns[place].name.as_str());
            let untold: Vec<&str> = read.filter(|column| !told(column)).collect();
            if !untold.is_empty() && !is_ours {
                wrong.push((
                    format!(
                        "publication `{name}` leaves out columns of table `{}`: {}",
                        table.name,
                        untold.join(", ")
                    ),
                    "give Lockstep a publication of its own with `publication`".to_owned(),
                ));
            }
        }
        wrong
    }

    /// The stamp of a table that was looked at together with the publication.
    pub(crate) fn stamp(&self, table: &Captured) -> Stamp {
        let entry = self.member(table).map_or(0, |member| member.entry);
        Stamp::of(table, entry)
    }

    fn member(&self, table: &Captured) -> Option<&Member> {
        self.members
            .get(&(table.schema.clone(), table.relation.clone()))
    }
}

/// How the note begins that a publication of ours bears which does not tell everything.
const NOTE: &str = "made by Lockstep, tells what is wanted: ";
/// The first release whose publications know columns and conditions.
const NARROW_MIN: u32 = 150_000;

/// The statement that makes a publication.
pub(crate) fn create(name: &str, tables: &[Captured], version: u32) -> String {
    // Messages need a publication and no table.
    let list = match tables {
        [] => String::new(),
        tables => format!(" FOR TABLE {}", narrowed(tables, version)),
    };
    let generated = if version >= GENERATED_MIN {
        ", publish_generated_columns = stored"
    } else {
        ""
    };
    let create = format!(
        "CREATE PUBLICATION {}{list} WITH (publish_via_partition_root = true{generated})",
        quote(name)
    );
    match note(tables, version) {
        Some(note) => format!("{create}; {}", noted(name, Some(&note))),
        None => create,
    }
}

/// The statements that have one of ours tell what is wanted now.
fn set(name: &str, tables: &[Captured], version: u32) -> String {
    let note = note(tables, version);
    format!(
        "ALTER PUBLICATION {} SET TABLE {}; {}",
        quote(name),
        narrowed(tables, version),
        noted(name, note.as_deref())
    )
}

fn noted(name: &str, note: Option<&str>) -> String {
    let note = note.map_or_else(|| "NULL".to_owned(), literal);
    format!("COMMENT ON PUBLICATION {} IS {note}", quote(name))
}

/// The statement that adds tables to one.
pub(crate) fn add<'t>(name: &str, tables: impl Iterator<Item = &'t Captured>) -> String {
    let tables: Vec<_> = tables.map(Captured::only).collect();
    format!(
        "ALTER PUBLICATION {} ADD TABLE {}",
        quote(name),
        tables.join(", ")
    )
}

/// Tables with the columns and rows that are told of them.
fn narrowed(tables: &[Captured], version: u32) -> String {
    let table = |table: &Captured| {
        let said = if version >= NARROW_MIN {
            table.published()
        } else {
            String::new()
        };
        format!("{}{said}", table.only())
    };
    tables.iter().map(table).collect::<Vec<_>>().join(", ")
}

/// What a publication of these tables says of itself; none where it tells everything.
fn note(tables: &[Captured], version: u32) -> Option<String> {
    let is_narrow = |table: &Captured| version >= NARROW_MIN && !table.published().is_empty();
    // The list itself, so that whoever looks at the publication sees what was meant.
    let is_any = tables.iter().any(is_narrow);
    is_any.then(|| format!("{NOTE}{}", narrowed(tables, version)))
}

fn denied(error: Error, name: &str, sql: &str) -> Error {
    if error.kind() != Kind::Unauthorized {
        return error;
    }
    Error::new(
        Kind::Unauthorized,
        format!("publication `{name}` lacks tables, and the role may not add them"),
    )
    .because(error)
    .help(format!("let the tables' owner run: {sql}"))
}
