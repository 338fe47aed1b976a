//! Every write to a target, seen by triggers: what an upsert would hide.
//!
//! Each target table carries triggers that put each write into the table `audit`, with the whole row and the moment.

use anyhow::{Context, Result};
use serde_json::json;

use crate::db::Db;
use crate::oracle::writes::Audited;
use crate::record::plain;
use crate::shape::{Table, tables};

/// What PostgreSQL runs on every write; the arguments are the columns that identify a row.
///
/// A change of the key is told as SQLite's triggers tell it: the old row goes, the new one is written.
const POSTGRES: &str = "
CREATE TABLE audit (
    seq        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tbl        text NOT NULL,
    op         text NOT NULL,
    image      jsonb NOT NULL,
    written_ms bigint NOT NULL
);
CREATE FUNCTION audit_write() RETURNS trigger LANGUAGE plpgsql SET timezone = 'UTC' AS $$
DECLARE
    gone   jsonb;
    came   jsonb;
    moved  boolean := false;
    col    text;
    now_ms bigint := floor(extract(epoch FROM clock_timestamp()) * 1000);
BEGIN
    IF TG_OP <> 'INSERT' THEN gone := to_jsonb(OLD) - 'id'; END IF;
    IF TG_OP <> 'DELETE' THEN came := to_jsonb(NEW) - 'id'; END IF;
    IF TG_OP = 'UPDATE' THEN
        FOREACH col IN ARRAY TG_ARGV LOOP
            moved := moved OR gone -> col IS DISTINCT FROM came -> col;
        END LOOP;
    END IF;
    IF TG_OP = 'DELETE' OR moved THEN
        INSERT INTO audit (tbl, op, image, written_ms) VALUES (TG_TABLE_NAME, 'delete', gone, now_ms);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO audit (tbl, op, image, written_ms) VALUES (TG_TABLE_NAME, lower(TG_OP), came, now_ms);
    END IF;
    RETURN NULL;
END $$;
";

const SQLITE: &str = "
CREATE TABLE audit (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    tbl        TEXT NOT NULL,
    op         TEXT NOT NULL,
    image      TEXT NOT NULL,
    written_ms INTEGER NOT NULL
);
";

/// Reads a table's audit, in the order of the writes.
///
/// # Errors
/// The audit cannot be read.
pub(crate) fn read(db: &mut Db, table: &Table) -> Result<Vec<Audited>> {
    let sql = "SELECT op, image, written_ms FROM audit WHERE tbl = ? ORDER BY seq";
    let rows = db.query(sql, &[json!(table.name)])?;
    let audited = rows.into_iter().map(|row| {
        Some(Audited {
            delete: row["op"] == "delete",
            image: serde_json::from_str(&plain(&row["image"])).ok()?,
            written_ms: row["written_ms"].as_i64()?,
        })
    });
    audited
        .collect::<Option<_>>()
        .with_context(|| format!("the audit of {} is damaged", table.name))
}

/// Makes the audit table of a system and the triggers of all its target tables.
pub(super) fn install(db: &mut Db, system: &str) -> Result<()> {
    let mut sql = match db {
        Db::Sqlite(_) => SQLITE,
        Db::Postgres(_) => POSTGRES,
    }
    .to_owned();
    let targets = tables()
        .iter()
        .filter(|table| table.system == system && table.entity.owner() != system);
    for table in targets {
        let triggers = match db {
            Db::Sqlite(_) => sqlite_triggers(db, table)?,
            Db::Postgres(_) => postgres_trigger(table),
        };
        sql.push_str(&triggers);
    }
    db.batch(&sql)
}

fn postgres_trigger(table: &Table) -> String {
    let name = table.name;
    let key: Vec<String> = table
        .key_columns()
        .iter()
        .map(|column| format!("'{column}'"))
        .collect();
    format!(
        "CREATE TRIGGER audit_{name} AFTER INSERT OR UPDATE OR DELETE ON {name}
         FOR EACH ROW EXECUTE FUNCTION audit_write({});\n",
        key.join(", ")
    )
}

fn sqlite_triggers(db: &mut Db, table: &Table) -> Result<String> {
    let sql = "SELECT name FROM pragma_table_info(?1) WHERE name <> 'id'";
    let columns = db.query(sql, &[json!(table.name)])?;
    let columns: Vec<String> = columns.iter().map(|row| plain(&row["name"])).collect();
    let name = table.name;
    let write = |row: &str, op: &str| {
        let image: Vec<String> = columns
            .iter()
            .map(|column| format!("'{column}', {row}.{column}"))
            .collect();
        format!(
            "INSERT INTO audit (tbl, op, image, written_ms)
             SELECT '{name}', '{op}', json_object({}),
                    CAST(unixepoch('subsec') * 1000 AS INTEGER)",
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
