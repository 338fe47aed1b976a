//! Two databases with one table each, and the configuration that joins them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use rusqlite::{Connection, params};

/// The contract of the table: ten fields of every common kind.
const CONTRACT: &str = include_str!("../sale.odcs.yaml");

const SOURCE: &str = "CREATE TABLE sales (id INTEGER PRIMARY KEY, customer TEXT NOT NULL, product TEXT NOT NULL, \
    quantity INTEGER NOT NULL, price_cents INTEGER NOT NULL, status TEXT NOT NULL, note TEXT, \
    sold_on TEXT NOT NULL, changed_at TEXT NOT NULL, revision INTEGER NOT NULL)";
const TARGET: &str = "CREATE TABLE facts (sale_no INTEGER PRIMARY KEY, buyer TEXT NOT NULL, item TEXT NOT NULL, \
    qty INTEGER NOT NULL, price TEXT NOT NULL, state TEXT NOT NULL, remark TEXT, \
    day TEXT NOT NULL, changed TEXT NOT NULL, revision INTEGER NOT NULL)";

const CONFIG: &str = r#"
contracts = "contracts"

[log]
path = "lockstep.log"

[values.states]
O = "open"
S = "shipped"

[systems.shop]
connector = "sqlite"
path = "shop.db"

[systems.shop.map.sale]
table = "sales"
[systems.shop.map.sale.fields]
id = "id"
customer = "customer"
product = "product"
quantity = "quantity"
price = { column = "price_cents", scale = 2 }
status = { column = "status", values = "states" }
note = "note"
sold_on = "sold_on"
changed_at = "changed_at"
revision = "revision"

[systems.mart]
connector = "sqlite"
path = "mart.db"

[systems.mart.map.sale]
table = "facts"
[systems.mart.map.sale.fields]
id = "sale_no"
customer = "buyer"
product = "item"
quantity = "qty"
price = "price"
status = "state"
note = "remark"
sold_on = "day"
changed_at = "changed"
revision = "revision"

[flows.sales]
entity = "sale"
from = "shop"
to = ["mart"]
"#;

/// A folder with everything that a run needs.
pub(super) struct Stage {
    folder: PathBuf,
}

impl Stage {
    /// Makes the databases; the source with `rows` rows.
    pub(super) fn create(folder: &Path, rows: u64) -> Result<Stage> {
        fs::create_dir_all(folder.join("contracts"))?;
        fs::write(folder.join("contracts/sale.odcs.yaml"), CONTRACT)?;
        fs::write(folder.join("lockstep.toml"), CONFIG)?;
        let stage = Stage {
            folder: folder.to_owned(),
        };
        let mut source = stage.source()?;
        source.pragma_update(None, "journal_mode", "wal")?;
        source.execute_batch(SOURCE)?;
        let transaction = source.transaction()?;
        for id in 1..=rows {
            insert(&transaction, id)?;
        }
        transaction.commit()?;
        let target = stage.target()?;
        target.pragma_update(None, "journal_mode", "wal")?;
        target.execute_batch(TARGET)?;
        Ok(stage)
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn source(&self) -> Result<Connection> {
        open(&self.folder.join("shop.db"))
    }

    pub(super) fn target(&self) -> Result<Connection> {
        open(&self.folder.join("mart.db"))
    }

    /// Commits `changes` changes, 60 % inserts, 30 % updates, 10 % deletes, and one last update of row 1 to revision `mark`.
    pub(super) fn change(
        &self,
        rows: u64,
        changes: u64,
        per_transaction: u64,
        mark: u64,
    ) -> Result<()> {
        let mut source = self.source()?;
        let (mut next, mut done) = (rows + 1, 0);
        while done < changes {
            let transaction = source.transaction()?;
            for _ in 0..per_transaction.min(changes - done) {
                // A fixed step through the rows spreads edits evenly and repeats exactly.
                let id = 2 + (done * 7919) % (rows - 1);
                match done % 10 {
                    0..6 => {
                        insert(&transaction, next)?;
                        next += 1;
                    }
                    6..9 => {
                        transaction
                            .prepare_cached("UPDATE sales SET quantity = quantity + 1, revision = revision + 1 WHERE id = ?1")?
                            .execute([id])?;
                    }
                    _ => {
                        transaction
                            .prepare_cached("DELETE FROM sales WHERE id = ?1")?
                            .execute([id])?;
                    }
                }
                done += 1;
            }
            transaction.commit()?;
        }
        source.execute("UPDATE sales SET revision = ?1 WHERE id = 1", [mark])?;
        Ok(())
    }

    /// Whether the target holds what the source holds: counted and summed by SQL on both sides.
    pub(super) fn equal(&self) -> Result<bool> {
        let of = |db: &Connection, sql: &str| -> Result<(i64, i64, i64, i64)> {
            Ok(db.query_row(sql, [], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            })?)
        };
        let source = of(
            &self.source()?,
            "SELECT count(*), CAST(total(id) AS INTEGER), CAST(total(quantity) AS INTEGER), CAST(total(revision) AS INTEGER) FROM sales",
        )?;
        let target = of(
            &self.target()?,
            "SELECT count(*), CAST(total(sale_no) AS INTEGER), CAST(total(qty) AS INTEGER), CAST(total(revision) AS INTEGER) FROM facts",
        )?;
        Ok(source == target)
    }

    /// The revision of row 1 in the target, which the source changes last.
    pub(super) fn mark(target: &Connection) -> Option<u64> {
        target
            .query_row("SELECT revision FROM facts WHERE sale_no = 1", [], |row| {
                row.get(0)
            })
            .ok()
    }
}

fn open(path: &Path) -> Result<Connection> {
    let db = Connection::open(path)?;
    db.busy_timeout(std::time::Duration::from_secs(30))?;
    Ok(db)
}

fn insert(db: &Connection, id: u64) -> Result<()> {
    let status = if id.is_multiple_of(3) { "S" } else { "O" };
    let note = id
        .is_multiple_of(4)
        .then(|| format!("call before delivery, door {}", id % 97));
    db.prepare_cached("INSERT INTO sales VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 1)")?
        .execute(params![
            id,
            format!("customer-{:06}", id % 50_000),
            format!("FUR-BO-{:08}", id % 2_000),
            id % 20 + 1,
            id * 37 % 1_000_000,
            status,
            note,
            format!("20{:02}-{:02}-{:02}", id % 25, id % 12 + 1, id % 28 + 1),
            format!(
                "2026-{:02}-{:02}T{:02}:00:00Z",
                id % 12 + 1,
                id % 28 + 1,
                id % 24
            ),
        ])?;
    Ok(())
}
