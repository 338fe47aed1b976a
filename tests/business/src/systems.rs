//! The four systems: creating, loading, and seeing every write to the targets.
//!
//! A system is an SQLite file `NAME.db` in the stage's folder, unless the folder holds `NAME.url`, the address of a PostgreSQL database.
//! Each system has its own schema in `systems/*.sql` and assigns its own surrogate keys.
//! This module knows SQL and tables, not what Lockstep does with them.

mod audit;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::json;

use crate::db::Db;
use crate::record::{Entity, text};
use crate::shape::{Raw, Table, source};
use crate::world::World;

pub(crate) use audit::read as written;

/// The systems, in the order in which data flows.
pub const SYSTEMS: [&str; 4] = ["crm", "erp", "billing", "warehouse"];

/// The systems that can be PostgreSQL databases.
pub const POSTGRES: [&str; 2] = ["erp", "warehouse"];

/// The schema of a system, for SQLite and, where it can be one, for a PostgreSQL database.
const SCHEMAS: [(&str, &str, &str); 4] = [
    ("crm", include_str!("systems/crm.sql"), ""),
    (
        "erp",
        include_str!("systems/erp.sql"),
        include_str!("systems/erp.postgres.sql"),
    ),
    ("billing", include_str!("systems/billing.sql"), ""),
    (
        "warehouse",
        include_str!("systems/warehouse.sql"),
        include_str!("systems/warehouse.postgres.sql"),
    ),
];

/// The file of an SQLite system.
#[must_use]
pub fn path(folder: &Path, system: &str) -> PathBuf {
    folder.join(format!("{system}.db"))
}

/// The file that holds the address of a PostgreSQL system.
#[must_use]
pub fn url_path(folder: &Path, system: &str) -> PathBuf {
    folder.join(format!("{system}.url"))
}

/// The connector that knows a system's kind.
#[must_use]
pub fn connector(folder: &Path, system: &str) -> &'static str {
    if url_path(folder, system).exists() {
        "postgres"
    } else {
        "sqlite"
    }
}

/// Creates the four systems in a folder and fills what their owners hold.
///
/// # Errors
/// A file exists already, or a system cannot be written.
pub fn create(folder: &Path, world: &World) -> Result<()> {
    for (system, sqlite, postgres) in SCHEMAS {
        let mut db = match url(folder, system)? {
            Some(url) => Db::postgres(&url)?,
            None => Db::create_sqlite(&path(folder, system))?,
        };
        let schema = match db {
            Db::Sqlite(_) => sqlite,
            Db::Postgres(_) => postgres,
        };
        db.batch(schema)
            .with_context(|| format!("cannot create the tables of {system}"))?;
        load(&mut db, system, world).with_context(|| format!("cannot load {system}"))?;
        audit::install(&mut db, system)?;
    }
    Ok(())
}

/// Opens a system to write to it.
///
/// # Errors
/// There is no such system, or it does not answer.
pub fn open(folder: &Path, system: &str) -> Result<Db> {
    match url(folder, system)? {
        Some(url) => Db::postgres(&url).with_context(|| format!("cannot open {system}")),
        None => Db::sqlite(&path(folder, system)),
    }
}

/// Opens a system to look at it only.
///
/// # Errors
/// There is no such system, or it does not answer.
pub fn look(folder: &Path, system: &str) -> Result<Db> {
    let mut db = open(folder, system)?;
    db.read_only()?;
    Ok(db)
}

/// Opens every system to look at it only.
///
/// # Errors
/// One of them is not there, or does not answer.
pub fn look_at_all(folder: &Path) -> Result<BTreeMap<&'static str, Db>> {
    let systems = SYSTEMS.into_iter();
    systems
        .map(|system| Ok((system, look(folder, system)?)))
        .collect()
}

fn url(folder: &Path, system: &str) -> Result<Option<String>> {
    let file = url_path(folder, system);
    if !file.exists() {
        return Ok(None);
    }
    let url = fs::read_to_string(&file);
    url.map(|url| Some(url.trim().to_owned()))
        .with_context(|| format!("cannot read `{}`", file.display()))
}

/// Every row of a table, without its surrogate key.
///
/// # Errors
/// The table cannot be read.
pub fn rows(db: &mut Db, table: &Table) -> Result<Vec<Raw>> {
    let mut rows = db.query(&format!("SELECT * FROM {}", table.name), &[])?;
    for row in &mut rows {
        row.shift_remove("id");
    }
    Ok(rows)
}

/// The number of rows of an entity in a system.
///
/// # Errors
/// The table cannot be read.
pub fn count(db: &mut Db, table: &Table) -> Result<u64> {
    let only = table.only.map_or_else(String::new, |(column, value)| {
        format!(" WHERE {column} = '{value}'")
    });
    let sql = format!("SELECT count(*) AS count FROM {}{only}", table.name);
    let rows = db.query(&sql, &[])?;
    let count = rows.first().and_then(|row| row["count"].as_u64());
    count.with_context(|| format!("{} cannot be counted", table.name))
}

fn load(db: &mut Db, system: &str, world: &World) -> Result<()> {
    db.batch("BEGIN")?;
    let owned = Entity::ALL
        .into_iter()
        .filter(|entity| entity.owner() == system);
    for entity in owned {
        let table = source(entity);
        let records = world.of(entity).values();
        let rows: Vec<Raw> = records.map(|record| table.to_row(record)).collect();
        db.insert(table.name, &rows)?;
    }
    if system == "crm" {
        let companies = source(Entity::Customer);
        let prospects = world.prospects.values().map(|prospect| {
            let mut row = companies.to_row(prospect);
            row.insert("stage".to_owned(), json!("prospect"));
            row
        });
        db.insert(companies.name, &prospects.collect::<Vec<Raw>>())?;
        load_contacts(db, world)?;
    }
    db.batch("COMMIT")
}

/// One contact per customer, with a telephone number from the range reserved for fiction.
fn load_contacts(db: &mut Db, world: &World) -> Result<()> {
    let sql = "INSERT INTO contacts (company_id, phone, note)
               SELECT id, ?2, 'calls back' FROM companies WHERE account_no = ?1";
    for (at, customer) in world.of(Entity::Customer).values().enumerate() {
        let phone = format!("555-01{:02}", at % 100);
        db.execute(sql, &[json!(text(customer, "id")), json!(phone)])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::plain;

    fn created() -> (tempfile::TempDir, World) {
        let folder = tempfile::tempdir().unwrap();
        let world = World::derive(5).unwrap();
        create(folder.path(), &world).unwrap();
        (folder, world)
    }

    #[test]
    fn the_owners_hold_the_world() {
        let (folder, world) = created();
        for entity in Entity::ALL {
            let table = source(entity);
            let mut db = look(folder.path(), table.system).unwrap();
            assert_eq!(
                count(&mut db, table).unwrap(),
                world.of(entity).len() as u64,
                "{entity}"
            );
            for row in rows(&mut db, table).unwrap() {
                if let Some(record) = table.to_record(&row).unwrap() {
                    let expected = &world.of(entity)[&entity.key(&record).unwrap()];
                    assert_eq!(record, table.project(expected));
                }
            }
        }
    }

    #[test]
    fn the_table_of_tables_and_the_schemas_agree() {
        let (folder, _) = created();
        for table in crate::shape::tables() {
            let mut db = look(folder.path(), table.system).unwrap();
            let columns: Vec<&str> = table.columns.iter().map(|column| column.name).collect();
            let sql = format!("SELECT {} FROM {}", columns.join(", "), table.name);
            db.query(&format!("{sql} LIMIT 0"), &[]).unwrap();
        }
    }

    #[test]
    fn every_write_to_a_target_is_seen() {
        let (folder, world) = created();
        let mut db = open(folder.path(), "erp").unwrap();
        let table = crate::shape::table("erp", Entity::Customer).unwrap();
        let customer = world.of(Entity::Customer).values().next().unwrap();
        db.insert(table.name, &[table.to_row(customer)]).unwrap();
        db.batch("UPDATE partners SET city = city").unwrap();
        db.batch("UPDATE partners SET partner_code = 'P-X'")
            .unwrap();
        db.batch("DELETE FROM partners").unwrap();
        let seen = audit::read(&mut db, table).unwrap();
        let seen: Vec<String> = seen
            .iter()
            .map(|write| {
                let what = if write.delete { "delete" } else { "write" };
                format!("{what} {}", plain(&write.image["partner_code"]))
            })
            .collect();
        let id = text(customer, "id");
        assert_eq!(
            seen,
            [
                format!("write P-{id}"),
                format!("write P-{id}"),
                format!("delete P-{id}"),
                "write P-X".to_owned(),
                "delete P-X".to_owned(),
            ]
        );
    }
}
