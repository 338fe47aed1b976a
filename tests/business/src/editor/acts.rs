//! What people do all day: the acts, how often each comes, and how records are made and changed.

use std::sync::Arc;

use anyhow::Result;
use serde_json::json;

use super::Editor;
use super::write::{Deed, Write};
use crate::record::{Entity, Record};

type Act = fn(&mut Editor) -> Result<Option<Vec<Deed>>>;

/// Every act with its weight.
const ACTS: &[(usize, Act)] = &[
    (12, |e| Ok(e.alter_some(Entity::Customer, 1))),
    (4, |e| Ok(e.add(Entity::Customer))),
    (2, |e| Ok(e.win_prospect())),
    (1, |e| e.lose_customer()),
    (2, |e| e.remove_customer()),
    (1, |e| e.rename_customer()),
    (2, |e| Ok(e.note_contact())),
    (2, |e| Ok(e.remark())),
    (8, |e| Ok(e.alter_some(Entity::Product, 6))),
    (3, |e| Ok(e.add_product())),
    (2, |e| e.remove_product()),
    (1, |e| e.rename_product()),
    (8, |e| Ok(e.order())),
    (6, |e| e.ship()),
    (3, |e| Ok(e.alter_some(Entity::Order, 1))),
    (2, |e| Ok(e.cancel())),
    (2, |e| e.remove_order()),
    (1, |e| e.rename_order()),
    (3, |e| Ok(e.alter_some(Entity::OrderLine, 2))),
    (10, |e| Ok(e.alter_some(Entity::StockLevel, 8))),
    (2, |e| Ok(e.remove_stock())),
    (2, |e| Ok(e.revive(Entity::StockLevel))),
    (6, |e| e.invoice()),
    (3, |e| Ok(e.alter_some(Entity::Invoice, 2))),
    (2, |e| e.remove_invoice()),
    (8, |e| e.pay()),
    (2, |e| Ok(e.alter_some(Entity::Payment, 1))),
    (2, |e| Ok(e.revoke_payment())),
    (1, |e| Ok(e.revive(Entity::Payment))),
];

impl Editor {
    /// One act, drawn by weight; nothing where the systems hold nothing it could be done to.
    pub(super) fn act(&mut self) -> Result<Vec<Deed>> {
        let total: usize = ACTS.iter().map(|(weight, _)| weight).sum();
        let mut drawn = self.random.below(total);
        for (weight, act) in ACTS {
            if drawn < *weight {
                return Ok(act(self)?.unwrap_or_default());
            }
            drawn -= weight;
        }
        Ok(Vec::new())
    }

    /// Up to `most` records of an entity get another version, in one transaction.
    pub(super) fn alter_some(&mut self, entity: Entity, most: usize) -> Option<Vec<Deed>> {
        let mut picked: Vec<Arc<Record>> = Vec::new();
        for _ in 0..=self.random.below(most) {
            let record = self.pick(entity, |_| true)?;
            if !picked.contains(&record) {
                picked.push(record);
            }
        }
        let mut writes = Vec::new();
        for record in picked {
            let altered = self.alter(entity, &record);
            writes.extend(altered.and_then(|altered| self.put(entity, Some(&record), altered)));
        }
        one(writes)
    }

    fn add(&mut self, entity: Entity) -> Option<Vec<Deed>> {
        let record = self.make(entity)?;
        one(vec![self.put(entity, None, record)?])
    }

    /// The writes that put another text into one field of some records.
    pub(super) fn referring(
        &self,
        entity: Entity,
        records: &[Arc<Record>],
        field: &str,
        to: &str,
    ) -> Vec<Write> {
        let writes = records.iter().filter_map(|record| {
            let mut changed = Record::clone(record);
            changed.insert(field.to_owned(), json!(to));
            self.put(entity, Some(record), changed)
        });
        writes.collect()
    }

    pub(super) fn refer(
        &self,
        entity: Entity,
        records: &[Arc<Record>],
        field: &str,
        to: &str,
    ) -> Option<Deed> {
        Deed::of(self.referring(entity, records, field, to))
    }
}

/// One transaction of these writes, unless there are none.
pub(super) fn one(writes: Vec<Write>) -> Option<Vec<Deed>> {
    Deed::of(writes).map(|deed| vec![deed])
}
