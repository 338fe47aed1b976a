//! Records that break their contract: how each entity can be spoilt, and what mends some of them later.

use std::sync::Arc;

use jiff::ToSpan;
use serde_json::{Value, json};

use super::write::{Deed, Write};
use super::{Editor, Outcome};
use crate::db::Db;
use crate::record::{Entity, Key, Record, int, text};
use crate::world::date;

/// A broken record that will get a good version when so many edits are done.
pub(super) struct Repair {
    due: u64,
    entity: Entity,
    record: Record,
}

/// A way to spoil a record: a column, the value that has no business there, and why.
struct Spoil {
    column: &'static str,
    value: fn(&Record) -> Value,
    reason: &'static str,
    on: On,
}

/// The kinds of systems whose columns hold such a value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum On {
    Any,
    /// Where any column holds any text.
    Loose,
    /// Where columns have types, which have odd values of their own.
    Typed,
}

const fn spoil(column: &'static str, value: fn(&Record) -> Value, reason: &'static str) -> Spoil {
    Spoil {
        column,
        value,
        reason,
        on: On::Any,
    }
}

impl Spoil {
    const fn on(mut self, on: On) -> Spoil {
        self.on = on;
        self
    }
}

fn spoils(entity: Entity) -> &'static [Spoil] {
    match entity {
        Entity::Customer => {
            const {
                &[
                    spoil("kind", |_| json!("VIP"), "segment unknown"),
                    spoil("mail", |_| json!("nobody at all"), "email malformed"),
                    spoil("country_name", |_| json!("Atlantis"), "country unknown"),
                    spoil("sales_region", |_| json!("North"), "region not allowed"),
                    spoil("town", |_| json!("o".repeat(5_000)), "city too long"),
                ]
            }
        }
        Entity::Product => {
            const {
                &[
                    spoil("list_price", |_| json!("-5.00"), "list price negative"),
                    spoil("list_price", |_| json!("free"), "list price no number").on(On::Loose),
                    spoil("list_price", |_| json!("NaN"), "list price no number").on(On::Typed),
                ]
            }
        }
        Entity::Order => {
            const {
                &[
                    spoil("shipped_on", too_early, "shipped before ordered"),
                    spoil("status", |_| json!("Q"), "status unknown"),
                    spoil("ordered_on", |_| json!("soon"), "order date no date").on(On::Loose),
                    spoil("ordered_on", |_| json!("-infinity"), "ordered on no day").on(On::Typed),
                ]
            }
        }
        Entity::OrderLine => {
            const {
                &[
                    spoil("qty", |_| json!(0), "quantity below one"),
                    spoil("qty", |_| json!(5_000), "quantity too large"),
                    spoil("rebate", |_| json!("1.50"), "discount above one"),
                    spoil("amount", |_| json!("-3"), "sales negative"),
                ]
            }
        }
        Entity::StockLevel => {
            const {
                &[
                    spoil("qty_on_hand", |_| json!(-3), "stock negative"),
                    spoil("qty_reserved", too_many, "more reserved than on hand"),
                    spoil("counted_at", |_| json!("yesterday"), "count at no instant")
                        .on(On::Loose),
                    spoil("counted_at", |_| json!("infinity"), "count at no instant").on(On::Typed),
                ]
            }
        }
        Entity::Invoice => {
            const {
                &[
                    spoil("due_on", |_| json!("01.01.1999"), "due before issued"),
                    spoil("status", |_| json!("LOST"), "status unknown"),
                    spoil("amount_cents", |_| json!(-100), "amount negative"),
                    spoil("issued_on", |_| json!("31.02.2018"), "issued on no date"),
                ]
            }
        }
        Entity::Payment => {
            const {
                &[
                    spoil("amount_cents", |_| json!(0), "amount not positive"),
                    spoil("method", |_| json!("BTC"), "method unknown"),
                    spoil("received_at", |_| json!("later"), "received at no instant"),
                ]
            }
        }
    }
}

fn too_early(order: &Record) -> Value {
    json!(date(order, "order_date").saturating_sub(3.days()))
}

fn too_many(level: &Record) -> Value {
    json!(int(level, "on_hand") + 10)
}

impl Editor {
    /// Spoils a record that stands, or brings a new one that was never good; six of ten get a good version later.
    pub(super) fn break_something(&mut self) -> Vec<Deed> {
        let entity = *self.random.pick(&Entity::ALL);
        let new = self.random.one_in(4);
        let made = if new {
            self.make(entity).map(|record| (None, record))
        } else {
            let before = self.pick(entity, |_| true);
            before.and_then(|before| {
                let record = self.alter(entity, &before)?;
                Some((Some(before), record))
            })
        };
        let Some((before, record)) = made else {
            return Vec::new();
        };
        let kind = match self.systems.get(entity.owner()) {
            Some(Db::Postgres(_)) => On::Typed,
            _ => On::Loose,
        };
        let ways = spoils(entity).iter();
        let ways: Vec<&Spoil> = ways
            .filter(|way| way.on == On::Any || way.on == kind)
            .collect();
        let way = *self.random.pick(&ways);
        let wrong = (way.column, (way.value)(&record));
        let write = Write::spoil(entity, before.as_deref(), &record, wrong, way.reason);
        if self.random.below(10) < 6 {
            self.repairs.push(Repair {
                due: self.done + 10 + self.random.below(150) as u64,
                entity,
                record,
            });
        }
        write
            .and_then(|write| Deed::of(vec![write]))
            .into_iter()
            .collect()
    }

    /// The repair that is due, if one is.
    pub(super) fn due_repair(&mut self) -> Option<Deed> {
        let due = self
            .repairs
            .iter()
            .position(|repair| repair.due <= self.done)?;
        let repair = self.repairs.swap_remove(due);
        Deed::of(vec![Write::mend(repair.entity, repair.record)?])
    }

    /// A new record of an entity, with parents that are there, under a key that never was.
    pub(super) fn make(&mut self, entity: Entity) -> Option<Record> {
        match entity {
            Entity::Customer => self.make_customer(),
            Entity::Product => self.make_product(),
            Entity::Order => self.make_order(),
            Entity::OrderLine => {
                let order = self.pick(Entity::Order, |_| true)?;
                self.make_line(&order, 500)
            }
            Entity::StockLevel => {
                let product = self.pick(Entity::Product, |_| true)?;
                Some(self.make_stock(&product, "OUTLET"))
            }
            Entity::Invoice => {
                let order = self.pick(Entity::Order, |_| true)?;
                let cents = self.random.between(100, 90_000);
                Some(self.make_invoice(&order, cents))
            }
            Entity::Payment => {
                let invoice = self.pick(Entity::Invoice, |_| true)?;
                Some(self.make_payment(&invoice, 100))
            }
        }
        .filter(|record| {
            entity
                .key(record)
                .is_some_and(|key| self.stories.get(entity, &key).is_none())
        })
    }

    /// A version of a record that it never had: good, and of the same key.
    pub(super) fn alter(&mut self, entity: Entity, record: &Arc<Record>) -> Option<Record> {
        let mut altered = Record::clone(record);
        self.change(entity, &mut altered);
        let key = entity.key(&altered)?;
        let fresh = self
            .stories
            .get(entity, &key)
            .is_none_or(|story| !story.has_been(&altered));
        let good = crate::world::keeps_contract(entity, &altered);
        (fresh && good && altered != **record).then_some(altered)
    }

    /// A record that is gone comes back under its old key, with a content it never had.
    pub(super) fn revive(&mut self, entity: Entity) -> Option<Vec<Deed>> {
        let keys = self.keys.get(&entity)?;
        let drawn: Vec<Key> = (0..200)
            .map(|_| keys[self.random.below(keys.len())].clone())
            .collect();
        let gone = drawn.into_iter().find_map(|key| {
            let story = self.stories.get(entity, &key)?;
            let ended = story.broken.is_none() && story.expected().is_none();
            let last = story
                .steps
                .iter()
                .rev()
                .find_map(|step| step.record.clone());
            last.filter(|last| ended && self.has_parent(entity, last))
        })?;
        let record = self.alter(entity, &gone)?;
        let write = self.put(entity, None, record)?;
        Deed::of(vec![write]).map(|deed| vec![deed])
    }

    fn has_parent(&self, entity: Entity, record: &Record) -> bool {
        let (parent, field) = match entity {
            Entity::StockLevel => (Entity::Product, "product_id"),
            Entity::Payment => (Entity::Invoice, "invoice_id"),
            _ => return true,
        };
        self.alive(parent, &Key::one(text(record, field))).is_some()
    }

    /// The write that touches a column which nobody maps: the record stays as it is.
    pub(super) fn touch(&mut self, customer: &Record) -> Option<Write> {
        let remark = format!("called {} times", self.serial());
        let outcome = Outcome::Good(customer.clone());
        let columns = [("remark", json!(remark))];
        Write::set(Entity::Customer, customer, columns, outcome, false)
    }
}
