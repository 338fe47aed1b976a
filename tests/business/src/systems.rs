//! The four SQLite files: creating, loading, and seeing every write to the targets.
//!
//! Each system has its own schema in `systems/*.sql` and assigns its own surrogate keys.
//! Every target table carries triggers that put each write into the table `audit`, so that a doubled or a stale write is seen although an upsert would hide it.
//! This module knows SQL and tables, not what Lockstep does with them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use rusqlite::types::{Value as Sql, ValueRef};
use rusqlite::{Connection, OpenFlags, params_from_iter};
use serde_json::{Value, json};

use crate::record::{Entity, text};
use crate::shape::{Raw, Table, source, tables};
use crate::world::World;

/// The systems, in the order in which data flows.
pub const SYSTEMS: [&str; 4] = ["crm", "erp", "billing", "warehouse"];

/// How long a connection of the stage waits for another writer.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

const SCHEMAS: [(&str, &str); 4] = [
    ("crm", include_str!("systems/crm.sql")),
    ("erp", include_str!("systems/erp.sql")),
    ("billing", include_str!("systems/billing.sql")),
    ("warehouse", include_str!("systems/warehouse.sql")),
];

/// The file of a system.
#[must_use]
pub fn path(folder: &Path, system: &str) -> PathBuf {
    folder.join(format!("{system}.db"))
}

/// Creates the four systems in a folder and fills what their owners hold.
///
/// # Errors
/// A file exists already, or cannot be written.
pub fn create(folder: &Path, world: &World) -> Result<()> {
    for (system, schema) in SCHEMAS {
        let file = path(folder, system);
        anyhow::ensure!(!file.exists(), "`{}` exists already", file.display());
        let mut db = Connection::open(&file)
            .with_context(|| format!("cannot create `{}`", file.display()))?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        db.execute_batch(schema)?;
        load(&mut db, system, world)?;
        db.execute_batch(&audit(&db, system)?)?;
    }
    Ok(())
}

/// Opens a system to write to it.
///
/// # Errors
/// There is no such file, or it is no database.
pub fn open(folder: &Path, system: &str) -> Result<Connection> {
    connect(folder, system, OpenFlags::SQLITE_OPEN_READ_WRITE)
}

/// Opens a system to look at it only.
///
/// # Errors
/// There is no such file, or it is no database.
pub fn look(folder: &Path, system: &str) -> Result<Connection> {
    let db = connect(folder, system, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    db.pragma_update(None, "query_only", true)?;
    Ok(db)
}

fn connect(folder: &Path, system: &str, flags: OpenFlags) -> Result<Connection> {
    let file = path(folder, system);
    let db = Connection::open_with_flags(&file, flags)
        .with_context(|| format!("cannot open `{}`", file.display()))?;
    db.busy_timeout(BUSY_TIMEOUT)?;
    db.pragma_update(None, "foreign_keys", true)?;
    Ok(db)
}

/// Every row of a table, without its surrogate key.
///
/// # Errors
/// The table cannot be read.
pub fn rows(db: &Connection, table: &Table) -> Result<Vec<Raw>> {
    let mut statement = db.prepare(&format!("SELECT * FROM {}", table.name))?;
    let names: Vec<String> = statement
        .column_names()
        .into_iter()
        .map(str::to_owned)
        .collect();
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let mut raw = Raw::new();
        for (at, name) in names.iter().enumerate().filter(|(_, name)| *name != "id") {
            raw.insert(name.clone(), from_sql(row.get_ref(at)?));
        }
        found.push(raw);
    }
    Ok(found)
}

/// The number of rows of an entity in a system.
///
/// # Errors
/// The table cannot be read.
pub fn count(db: &Connection, table: &Table) -> Result<u64> {
    let only = table.only.map_or_else(String::new, |(column, value)| {
        format!(" WHERE {column} = '{value}'")
    });
    let sql = format!("SELECT count(*) FROM {}{only}", table.name);
    let count: i64 = db.query_row(&sql, [], |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

/// A JSON value as SQLite stores it.
#[must_use]
pub fn to_sql(value: &Value) -> Sql {
    match value {
        Value::Null => Sql::Null,
        Value::Bool(value) => Sql::Integer(i64::from(*value)),
        Value::Number(number) => match number.as_i64() {
            Some(int) => Sql::Integer(int),
            None => Sql::Real(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => Sql::Text(text.clone()),
        other => Sql::Text(other.to_string()),
    }
}

fn from_sql(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(int) => json!(int),
        ValueRef::Real(real) => json!(real),
        ValueRef::Text(text) => Value::from(String::from_utf8_lossy(text)),
        // No table here holds bytes: an object is what no translation accepts.
        ValueRef::Blob(bytes) => json!({ "bytes": bytes.len() }),
    }
}

/// The statement that inserts rows with the columns of `row`.
#[must_use]
pub fn insert_sql(table: &str, row: &Raw) -> String {
    let columns: Vec<&str> = row.keys().map(String::as_str).collect();
    let marks = vec!["?"; columns.len()].join(", ");
    format!(
        "INSERT INTO {table} ({}) VALUES ({marks})",
        columns.join(", ")
    )
}

fn load(db: &mut Connection, system: &str, world: &World) -> Result<()> {
    let tx = db.transaction()?;
    let owned = Entity::ALL
        .into_iter()
        .filter(|entity| entity.owner() == system);
    for entity in owned {
        let table = source(entity);
        for record in world.of(entity).values() {
            insert(&tx, table.name, &table.to_row(record))?;
        }
    }
    if system == "crm" {
        let companies = source(Entity::Customer);
        for prospect in world.prospects.values() {
            let mut row = companies.to_row(prospect);
            row.insert("stage".to_owned(), json!("prospect"));
            insert(&tx, companies.name, &row)?;
        }
        load_contacts(&tx, world)?;
    }
    tx.commit()?;
    Ok(())
}

fn insert(db: &Connection, table: &str, row: &Raw) -> Result<()> {
    let mut statement = db.prepare_cached(&insert_sql(table, row))?;
    statement.execute(params_from_iter(row.values().map(to_sql)))?;
    Ok(())
}

/// One contact per customer, with a telephone number from the range reserved for fiction.
fn load_contacts(db: &Connection, world: &World) -> Result<()> {
    let mut statement = db.prepare(
        "INSERT INTO contacts (company_id, phone, note)
         SELECT id, ?2, 'calls back' FROM companies WHERE account_no = ?1",
    )?;
    for (at, customer) in world.of(Entity::Customer).values().enumerate() {
        let phone = format!("555-01{:02}", at % 100);
        statement.execute((text(customer, "id"), phone))?;
    }
    Ok(())
}

/// The audit table of a system and the triggers of all its target tables.
fn audit(db: &Connection, system: &str) -> Result<String> {
    let mut sql = String::from(
        "CREATE TABLE audit (
            seq        INTEGER PRIMARY KEY AUTOINCREMENT,
            tbl        TEXT NOT NULL,
            key        TEXT NOT NULL,
            op         TEXT NOT NULL,
            image      TEXT NOT NULL,
            written_ms INTEGER NOT NULL
        );\n",
    );
    let targets = tables()
        .iter()
        .filter(|table| table.system == system && table.entity.owner() != system);
    for table in targets {
        sql.push_str(&triggers(db, table)?);
    }
    Ok(sql)
}

fn triggers(db: &Connection, table: &Table) -> Result<String> {
    let mut statement = db.prepare("SELECT name FROM pragma_table_info(?1) WHERE name <> 'id'")?;
    let columns = statement.query_map([table.name], |row| row.get::<_, String>(0))?;
    let columns = columns.collect::<rusqlite::Result<Vec<_>>>()?;
    let name = table.name;
    let write = |row: &str, op: &str| {
        let image: Vec<String> = columns
            .iter()
            .map(|column| format!("'{column}', {row}.{column}"))
            .collect();
        let key: Vec<String> = table
            .key_columns()
            .iter()
            .map(|column| format!("{row}.{column}"))
            .collect();
        format!(
            "INSERT INTO audit (tbl, key, op, image, written_ms)
             SELECT '{name}', json_array({}), '{op}', json_object({}),
                    CAST(unixepoch('subsec') * 1000 AS INTEGER)",
            key.join(", "),
            image.join(", ")
        )
    };
    let moved: Vec<String> = table
        .key_columns()
        .iter()
        .map(|column| format!("OLD.{column} IS NOT NEW.{column}"))
        .collect();
    Ok(format!(
        "CREATE TRIGGER audit_{name}_insert AFTER INSERT ON {name} BEGIN {insert}; END;
         CREATE TRIGGER audit_{name}_update AFTER UPDATE ON {name} BEGIN
             {leave} WHERE {moved};
             {update};
         END;
         CREATE TRIGGER audit_{name}_delete AFTER DELETE ON {name} BEGIN {delete}; END;\n",
        insert = write("NEW", "insert"),
        leave = write("OLD", "delete"),
        moved = moved.join(" OR "),
        update = write("NEW", "update"),
        delete = write("OLD", "delete"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let db = look(folder.path(), table.system).unwrap();
            assert_eq!(
                count(&db, table).unwrap(),
                world.of(entity).len() as u64,
                "{entity}"
            );
            for row in rows(&db, table).unwrap() {
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
        for table in tables() {
            let db = look(folder.path(), table.system).unwrap();
            let columns: Vec<&str> = table.columns.iter().map(|column| column.name).collect();
            let sql = format!("SELECT {} FROM {}", columns.join(", "), table.name);
            db.prepare(&sql).unwrap();
        }
    }

    #[test]
    fn every_write_to_a_target_is_seen() {
        let (folder, world) = created();
        let db = open(folder.path(), "erp").unwrap();
        let table = crate::shape::table("erp", Entity::Customer).unwrap();
        let customer = world.of(Entity::Customer).values().next().unwrap();
        insert(&db, table.name, &table.to_row(customer)).unwrap();
        db.execute("UPDATE partners SET city = city", []).unwrap();
        db.execute("UPDATE partners SET partner_code = 'P-X'", [])
            .unwrap();
        db.execute("DELETE FROM partners", []).unwrap();
        let mut statement = db
            .prepare("SELECT op || ' ' || key FROM audit ORDER BY seq")
            .unwrap();
        let seen = statement.query_map([], |row| row.get::<_, String>(0));
        let seen: Vec<String> = seen.unwrap().map(Result::unwrap).collect();
        let id = text(customer, "id");
        assert_eq!(
            seen,
            [
                format!("insert [\"P-{id}\"]"),
                format!("update [\"P-{id}\"]"),
                format!("delete [\"P-{id}\"]"),
                "update [\"P-X\"]".to_owned(),
                "delete [\"P-X\"]".to_owned(),
            ]
        );
    }
}
