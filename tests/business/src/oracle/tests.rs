//! The oracle against a stand-in for Lockstep that copies every version, and against everything that may be wrong with such a copy.

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::db::insert_sql;
use crate::editor::{Pace, edit};
use crate::record::{Key, Record};

/// A stage whose targets were filled by copying, version by version, in order.
struct Copied {
    folder: TempDir,
    world: World,
}

impl Copied {
    fn new(seed: u64) -> Copied {
        let folder = tempfile::tempdir().unwrap();
        let world = World::sample(seed, 60).unwrap();
        systems::create(folder.path(), &world).unwrap();
        let pace = Pace {
            edits: 400,
            seed,
            per_second: None,
        };
        edit(folder.path(), &world, pace, &mut |_| true).unwrap();
        let copied = Copied { folder, world };
        let stories = told(copied.folder.path(), &copied.world).unwrap();
        for (entity, table) in targets() {
            let mut db = copied.open(table.system);
            db.batch("BEGIN").unwrap();
            for (key, story) in stories.of(entity) {
                for step in &story.steps {
                    write(&mut db, table, key, step.record.as_deref());
                }
            }
            db.batch("COMMIT").unwrap();
        }
        copied
    }

    fn open(&self, system: &str) -> Db {
        systems::open(self.folder.path(), system).unwrap()
    }

    fn run(&self, system: &str, sql: &str) {
        assert!(self.open(system).execute(sql, &[]).unwrap() > 0, "{sql}");
    }

    fn judge(&self) -> Judgement {
        judge(self.folder.path(), &self.world, &[]).unwrap()
    }

    fn troubles(&self) -> Vec<Trouble> {
        let findings = self.judge().findings.into_iter();
        findings.map(|finding| finding.what).collect()
    }
}

/// What a sink does: replace the row of a key, or remove it.
fn write(db: &mut Db, table: &Table, key: &Key, record: Option<&Record>) {
    let columns = table.key_columns();
    let conditions: Vec<String> = columns.iter().map(|c| format!("{c} = ?")).collect();
    let condition = conditions.join(" AND ");
    let Some(record) = record else {
        let sql = format!("DELETE FROM {} WHERE {condition}", table.name);
        let fields = table.entity.key_fields().iter().zip(&key.0);
        let record: Record = fields
            .map(|(field, part)| {
                let number = part.parse::<i64>().ok().filter(|_| *field == "line_no");
                let value = number.map_or_else(|| part.as_str().into(), Value::from);
                ((*field).to_owned(), value)
            })
            .collect();
        let row = table.to_row(&record);
        let values: Vec<Value> = columns.iter().map(|column| row[*column].clone()).collect();
        db.execute(&sql, &values).unwrap();
        return;
    };
    let row = table.to_row(record);
    let sets: Vec<String> = row
        .keys()
        .map(|column| format!("{column} = excluded.{column}"))
        .collect();
    let sql = format!(
        "{} ON CONFLICT ({}) DO UPDATE SET {}",
        insert_sql(table.name, &row),
        columns.join(", "),
        sets.join(", ")
    );
    let values: Vec<Value> = row.values().cloned().collect();
    db.execute(&sql, &values).unwrap();
}

#[test]
fn a_faithful_copy_is_clean() {
    let copied = Copied::new(11);
    let judgement = copied.judge();
    assert_eq!(judgement.findings, []);
    assert!(judgement.clean());
    assert!(judgement.changes >= 400);
    assert!(!judgement.broken.is_empty());
    assert!(!judgement.lags().is_empty());
    assert_eq!(differences(copied.folder.path(), &copied.world).unwrap(), 0);
}

#[test]
fn whatever_is_wrong_with_the_state_is_found() {
    let copied = Copied::new(12);
    // A cent too many, a lost row, a row from nowhere, a text that is no date, a computed column that is wrong.
    for (system, sql) in [
        (
            "billing",
            "UPDATE items SET price_cents = price_cents + 1 WHERE id = 7",
        ),
        ("warehouse", "DELETE FROM fact_stock WHERE id = 9"),
        (
            "erp",
            "INSERT INTO ar_payments (payment_ref, invoice_ref, amount, means, received_at)
             VALUES ('Z?', 'R00001', '1', 'card', '2018-01-01T00:00:00Z')",
        ),
        (
            "billing",
            "UPDATE sales_orders SET ordered_on = 'soon' WHERE id = 3",
        ),
        (
            "warehouse",
            "UPDATE dim_customer SET full_address = 'x' WHERE id = 2",
        ),
    ] {
        copied.run(system, sql);
    }
    let judgement = copied.judge();
    let found = |entity, system| {
        let pair = judgement
            .pairs
            .iter()
            .find(|pair| pair.entity == entity && pair.system == system);
        let pair = pair.unwrap();
        (pair.lost, pair.differences)
    };
    assert_eq!(found(Entity::Product, "billing"), (0, 1));
    assert_eq!(found(Entity::StockLevel, "warehouse"), (1, 1));
    assert_eq!(found(Entity::Payment, "erp"), (0, 1));
    // The row nobody can read counts, and so does the record that is missing for it.
    assert_eq!(found(Entity::Order, "billing"), (1, 2));
    assert_eq!(found(Entity::Customer, "warehouse"), (0, 1));
    assert!(!judgement.clean());
}

#[test]
fn a_doubled_write_is_found_although_the_state_is_right() {
    let copied = Copied::new(13);
    copied.run(
        "billing",
        "UPDATE items SET item_code = item_code WHERE id = 7",
    );
    let judgement = copied.judge();
    assert_eq!(judgement.duplicated(), 1);
    assert_eq!(judgement.differences(), 0);
    assert_eq!(copied.troubles(), [Trouble::Doubled]);
    assert!(!judgement.clean());
}

#[test]
fn an_older_version_after_a_newer_one_is_found_although_the_state_is_right() {
    let copied = Copied::new(14);
    let stories = told(copied.folder.path(), &copied.world).unwrap();
    let twice = stories.of(Entity::StockLevel).iter().find(|(_, story)| {
        story.steps.len() > 1 && story.steps.iter().all(|step| step.record.is_some())
    });
    let (key, story) = twice.unwrap();
    let table = table("warehouse", Entity::StockLevel).unwrap();
    let mut db = copied.open("warehouse");
    write(&mut db, table, key, story.steps[0].record.as_deref());
    assert_eq!(copied.judge().lost(), 1, "older than the last version");
    write(&mut db, table, key, story.expected().map(AsRef::as_ref));
    let judgement = copied.judge();
    assert_eq!(judgement.differences(), 0);
    assert!(judgement.disorder() > 0);
    assert!(copied.troubles().contains(&Trouble::OutOfOrder));
}

#[test]
fn a_broken_version_in_a_target_is_found() {
    let copied = Copied::new(15);
    let stories = told(copied.folder.path(), &copied.world).unwrap();
    let broken = stories.broken();
    let stock = broken
        .iter()
        .find(|(entity, _)| *entity == Entity::StockLevel);
    let (_, key) = stock.unwrap();
    let mut db = copied.open("warehouse");
    db.execute(
        "INSERT INTO fact_stock (product_key, location, on_hand, reserved, counted_at)
         VALUES ('PROD:' || ?1, ?2, -3, 0, '2018-01-01 00:00:00')
         ON CONFLICT DO UPDATE SET on_hand = -3",
        &[json!(key.0[0]), json!(key.0[1])],
    )
    .unwrap();
    let judgement = copied.judge();
    assert_eq!(judgement.differences(), 1);
    assert_eq!(judgement.disorder(), 1);
}

#[test]
fn a_source_that_was_tampered_with_makes_the_oracle_speak_up() {
    let copied = Copied::new(16);
    copied.run("erp", "UPDATE products SET title = 'else' WHERE id = 5");
    assert_eq!(copied.troubles(), [Trouble::Journal]);
    assert!(!copied.judge().clean());
}

#[test]
fn an_outage_is_left_out_of_the_latency() {
    let copied = Copied::new(17);
    let whole = Outage {
        from_ms: 0,
        to_ms: i64::MAX,
    };
    let judgement = judge(copied.folder.path(), &copied.world, &[whole]).unwrap();
    assert!(judgement.lags().is_empty());
    assert!(judgement.clean());
}
