//! A stand-in for the runtime, so that the stage itself can be tested: it speaks the same command line and copies by comparing whole tables.
//!
//! It is far too slow for real work, knows the oracle's own translation, and does wrong on purpose where `STAND_IN_FAULT` says so:
//! `double` writes every change twice, `lose` never deletes, `dumb` lets broken records pass, `die` ends after a moment.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use lockstep_business::db::{Db, insert_sql};
use lockstep_business::oracle;
use lockstep_business::record::{Entity, Key, Record, plain};
use lockstep_business::shape::{Raw, Table, source};
use lockstep_business::systems;
use lockstep_business::world::keeps_contract;
use serde_json::{Value, json};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let ["-c", file, command @ ..] = &words[..] else {
        bail!("usage: stand-in -c FILE COMMAND");
    };
    let folder = Path::new(file).parent().context("a file has a folder")?;
    let copier = Copier {
        folder: folder.to_owned(),
        fault: std::env::var("STAND_IN_FAULT").unwrap_or_default(),
    };
    let answer = match command[0] {
        "check" => return Ok(()),
        "run" => return copier.run(),
        "status" => copier.status()?,
        "verify" => json!({ "equal": copier.pass()? == 0, "pairs": [] }),
        "quarantine" => copier.quarantine()?,
        other => bail!("no such command `{other}`"),
    };
    writeln!(io::stdout(), "{answer}")?;
    Ok(())
}

struct Copier {
    folder: PathBuf,
    fault: String,
}

/// What a source holds of an entity.
#[derive(Default)]
struct Held {
    good: BTreeMap<Key, Record>,
    broken: BTreeSet<Key>,
}

impl Copier {
    fn run(&self) -> Result<()> {
        if self.fault == "die" {
            bail!("the stand-in was told to die");
        }
        loop {
            let written = self.pass()?;
            let state = if written == 0 { "idle" } else { "behind" };
            std::fs::write(self.folder.join("state.tmp"), state)?;
            std::fs::rename(self.folder.join("state.tmp"), self.folder.join("state"))?;
            sleep(Duration::from_millis(20));
        }
    }

    fn status(&self) -> Result<Value> {
        let state = std::fs::read_to_string(self.folder.join("state"))?;
        let flows = Entity::ALL.map(|entity| {
            json!({ "flow": entity, "entity": entity, "to": entity.targets(), "state": state, "lag_ms": 0 })
        });
        Ok(json!({ "running": true, "flows": flows }))
    }

    fn quarantine(&self) -> Result<Value> {
        let mut entries = Vec::new();
        for entity in Entity::ALL {
            let broken = self.held(entity)?.broken;
            entries.extend(
                broken.into_iter().map(
                    |key| json!({ "entity": entity, "key": key.to_string(), "state": "open" }),
                ),
            );
        }
        Ok(json!({ "entries": entries }))
    }

    /// Brings every target to what its source holds, and says how many rows that took.
    fn pass(&self) -> Result<u64> {
        let mut written = 0;
        for entity in Entity::ALL {
            let held = self.held(entity)?;
            for (_, table) in oracle::targets().filter(|(of, _)| *of == entity) {
                written += self.copy(table, &held)?;
            }
        }
        Ok(written)
    }

    fn held(&self, entity: Entity) -> Result<Held> {
        let table = source(entity);
        let mut db = systems::look(&self.folder, table.system)?;
        let mut held = Held::default();
        for row in systems::rows(&mut db, table)? {
            let key = Key(table
                .key_columns()
                .iter()
                .map(|column| plain(&row[*column]))
                .collect());
            match table.to_record(&row) {
                Ok(None) => {}
                Ok(Some(mut record)) if self.fault == "dumb" || keeps_contract(entity, &record) => {
                    record.insert("currency".to_owned(), json!("USD"));
                    held.good.insert(key, record);
                }
                _ => {
                    held.broken.insert(key);
                }
            }
        }
        Ok(held)
    }

    fn copy(&self, table: &Table, held: &Held) -> Result<u64> {
        let mut db = systems::open(&self.folder, table.system)?;
        let mut there: BTreeMap<Key, (Record, Raw)> = BTreeMap::new();
        for row in systems::rows(&mut db, table)? {
            let record = table.to_record(&row).map_err(anyhow::Error::msg)?;
            let record = record.context("a target's row is of its entity")?;
            let key = table.entity.key(&record).context("a row has a key")?;
            there.insert(key, (record, row));
        }
        db.batch("BEGIN")?;
        let mut written = 0;
        for (key, record) in &held.good {
            let known = there.remove(key);
            if known.is_none_or(|(known, _)| known != table.project(record)) {
                let times = if self.fault == "double" { 2 } else { 1 };
                for _ in 0..times {
                    upsert(&mut db, table, &table.to_row(record))?;
                }
                written += 1;
            }
        }
        let gone = there
            .into_iter()
            .filter(|(key, _)| !held.broken.contains(key) && self.fault != "lose");
        for (_, (_, row)) in gone {
            remove(&mut db, table, &row)?;
            written += 1;
        }
        db.batch("COMMIT")?;
        Ok(written)
    }
}

fn upsert(db: &mut Db, table: &Table, row: &Raw) -> Result<()> {
    let sets: Vec<String> = row
        .keys()
        .map(|column| format!("{column} = excluded.{column}"))
        .collect();
    let sql = format!(
        "{} ON CONFLICT ({}) DO UPDATE SET {}",
        insert_sql(table.name, row),
        table.key_columns().join(", "),
        sets.join(", ")
    );
    let values: Vec<Value> = row.values().cloned().collect();
    db.execute(&sql, &values).map(|_| ())
}

fn remove(db: &mut Db, table: &Table, row: &Raw) -> Result<()> {
    let columns = table.key_columns();
    let conditions: Vec<String> = columns
        .iter()
        .map(|column| format!("{column} = ?"))
        .collect();
    let sql = format!(
        "DELETE FROM {} WHERE {}",
        table.name,
        conditions.join(" AND ")
    );
    let values: Vec<Value> = columns.iter().map(|column| row[*column].clone()).collect();
    db.execute(&sql, &values).map(|_| ())
}
