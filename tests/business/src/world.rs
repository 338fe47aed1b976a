//! What the four systems hold before anything happens: the superstore's lines split into entities, and what the data lacks derived by rule.
//!
//! The rules are the section "What is derived" of the README; they depend on the data and a seed alone.
//! This module knows records, not tables.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use jiff::ToSpan;
use jiff::civil::Date;
use serde_json::{Value, json};

use crate::decimal::{div_round, from_units};
use crate::random::Random;
use crate::record::{Entity, Key, Record, int, record, text};
use crate::superstore::{self, Line};

/// The last day of the data: the day on which the systems are found.
pub const TODAY: Date = jiff::civil::date(2017, 12, 30);

/// Records by key.
pub type Records = BTreeMap<Key, Record>;

/// Every record of every entity at the beginning.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct World {
    /// What the owners hold, by entity and key.
    pub records: BTreeMap<Entity, Records>,
    /// Companies that are no customers yet: in the crm's table, and nobody else's business.
    pub prospects: Records,
}

impl World {
    /// Derives the world of a seed from all the data.
    ///
    /// # Errors
    /// The data that was compiled in is damaged.
    pub fn derive(seed: u64) -> Result<World> {
        Ok(World::of_lines(&superstore::lines()?, seed))
    }

    /// Derives a smaller world: the first `customers` in the order of their ids, with all that is theirs.
    ///
    /// # Errors
    /// The data that was compiled in is damaged.
    pub fn sample(seed: u64, customers: usize) -> Result<World> {
        let mut lines = superstore::lines()?;
        let ids: BTreeSet<String> = lines.iter().map(|line| line.customer_id.clone()).collect();
        let kept: BTreeSet<String> = ids.into_iter().take(customers).collect();
        lines.retain(|line| kept.contains(&line.customer_id));
        Ok(World::of_lines(&lines, seed))
    }

    fn of_lines(lines: &[Line], seed: u64) -> World {
        let mut world = World::default();
        world.fill(Entity::Customer, customers(lines, seed));
        world.fill(Entity::Product, products(lines));
        world.fill(Entity::Order, orders(lines, seed));
        world.fill(Entity::OrderLine, order_lines(lines));
        world.fill(Entity::StockLevel, stock(world.of(Entity::Product), seed));
        let invoices = invoices(world.of(Entity::Order), world.of(Entity::OrderLine), seed);
        world.fill(Entity::Invoice, invoices);
        world.fill(Entity::Payment, payments(world.of(Entity::Invoice), seed));
        let prospects = prospects(world.of(Entity::Customer), seed);
        world.prospects = keyed(Entity::Customer, prospects);
        world
    }

    /// The records of an entity.
    #[must_use]
    pub fn of(&self, entity: Entity) -> &Records {
        static NONE: Records = Records::new();
        self.records.get(&entity).unwrap_or(&NONE)
    }

    fn fill(&mut self, entity: Entity, records: Vec<Record>) {
        self.records.insert(entity, keyed(entity, records));
    }
}

fn keyed(entity: Entity, records: Vec<Record>) -> Records {
    let keyed = records.into_iter();
    keyed
        .filter_map(|record| Some((entity.key(&record)?, record)))
        .collect()
}

/// The last line of each group, where a group is what `of` says and last means the latest order, then the latest row.
fn latest(lines: &[Line], of: fn(&Line) -> &str) -> BTreeMap<&str, &Line> {
    let mut latest: BTreeMap<&str, &Line> = BTreeMap::new();
    for line in lines {
        let known = latest.entry(of(line)).or_insert(line);
        if line.order_date >= known.order_date {
            *known = line;
        }
    }
    latest
}

fn customers(lines: &[Line], seed: u64) -> Vec<Record> {
    let year_ago = TODAY.saturating_sub(365.days());
    let latest = latest(lines, |line| &line.customer_id);
    let customers = latest.values().map(|line| {
        let mut random = Random::named(seed, &format!("customer/{}", line.customer_id));
        let email = if random.one_in(16) {
            Value::Null
        } else {
            Value::from(email(&line.customer_name, &line.customer_id, &line.segment))
        };
        record([
            ("id", json!(line.customer_id)),
            ("name", json!(line.customer_name)),
            ("segment", json!(line.segment)),
            ("email", email),
            ("country", json!("US")),
            ("state", json!(line.state)),
            ("city", json!(line.city)),
            ("postal_code", json!(line.postal_code)),
            ("region", json!(line.region)),
            ("active", json!(line.order_date >= year_ago)),
        ])
    });
    customers.collect()
}

/// An address under a domain that is reserved for examples.
pub(crate) fn email(name: &str, id: &str, segment: &str) -> String {
    let name: Vec<String> = name
        .split(' ')
        .map(|word| {
            let letters = word.chars().filter(char::is_ascii_alphanumeric);
            letters.collect::<String>().to_ascii_lowercase()
        })
        .filter(|word| !word.is_empty())
        .collect();
    let number: String = id.chars().filter(char::is_ascii_digit).collect();
    let domain = match segment {
        "Consumer" => "example.com",
        "Corporate" => "example.org",
        _ => "example.net",
    };
    format!("{}.{number}@{domain}", name.join("."))
}

fn products(lines: &[Line]) -> Vec<Record> {
    let two_years_ago = TODAY.saturating_sub(730.days());
    let latest = latest(lines, |line| &line.product_id);
    let products = latest.values().map(|line| {
        // What one piece costs before the discount: sales / quantity / (1 - discount).
        let cents = div_round(line.sales_e4, line.quantity * (100 - line.discount_e2));
        record([
            ("id", json!(line.product_id)),
            ("name", json!(line.product_name)),
            ("category", json!(line.category)),
            ("sub_category", json!(line.sub_category)),
            ("list_price", json!(from_units(cents, 2))),
            ("active", json!(line.order_date >= two_years_ago)),
        ])
    });
    products.collect()
}

fn orders(lines: &[Line], seed: u64) -> Vec<Record> {
    let latest = latest(lines, |line| &line.order_id);
    let orders = latest.values().map(|line| {
        let mut random = Random::named(seed, &format!("order/{}", line.order_id));
        let (status, ship_date) = if random.one_in(64) {
            ("cancelled", Value::Null)
        } else if line.ship_date > TODAY {
            ("open", Value::Null)
        } else {
            ("shipped", json!(line.ship_date))
        };
        record([
            ("id", json!(line.order_id)),
            ("customer_id", json!(line.customer_id)),
            ("order_date", json!(line.order_date)),
            ("ship_date", ship_date),
            ("ship_mode", json!(line.ship_mode)),
            ("status", json!(status)),
            ("ship_city", json!(line.city)),
            ("ship_state", json!(line.state)),
            ("ship_postal_code", json!(line.postal_code)),
        ])
    });
    orders.collect()
}

fn order_lines(lines: &[Line]) -> Vec<Record> {
    let mut numbers: BTreeMap<&str, i64> = BTreeMap::new();
    let records = lines.iter().map(|line| {
        let number = numbers.entry(&line.order_id).or_default();
        *number += 1;
        record([
            ("order_id", json!(line.order_id)),
            ("line_no", json!(*number)),
            ("product_id", json!(line.product_id)),
            ("quantity", json!(line.quantity)),
            ("sales", json!(from_units(line.sales_e4, 4))),
            ("discount", json!(from_units(line.discount_e2, 2))),
            ("profit", json!(from_units(line.profit_e4, 4))),
        ])
    });
    records.collect()
}

fn stock(products: &Records, seed: u64) -> Vec<Record> {
    let mut levels = Vec::new();
    for key in products.keys() {
        let mut random = Random::named(seed, &format!("stock/{key}"));
        for location in ["CENTRAL", "EAST", "SOUTH", "WEST"] {
            if !random.one_in(2) {
                continue;
            }
            let on_hand = random.between(0, 240);
            let counted = format!(
                "2017-12-{:02}T{:02}:{:02}:00Z",
                random.between(1, 30),
                random.between(6, 20),
                random.between(0, 59)
            );
            levels.push(record([
                ("product_id", json!(key.first())),
                ("location", json!(location)),
                ("on_hand", json!(on_hand)),
                ("reserved", json!(random.between(0, on_hand / 4))),
                ("counted_at", json!(counted)),
            ]));
        }
    }
    levels
}

/// The sum of an order's lines in cents, halves rounded up.
pub(crate) fn total_cents<'a>(lines: impl Iterator<Item = &'a Record>) -> i64 {
    let sales = lines.filter_map(|line| crate::decimal::to_units(text(line, "sales"), 4));
    div_round(sales.sum::<i64>(), 100)
}

fn invoices(orders: &Records, lines: &Records, seed: u64) -> Vec<Record> {
    let mut by_order: BTreeMap<&str, Vec<&Record>> = BTreeMap::new();
    for line in lines.values() {
        by_order
            .entry(text(line, "order_id"))
            .or_default()
            .push(line);
    }
    let billed = orders
        .iter()
        .filter(|(_, order)| text(order, "status") != "cancelled");
    let invoices = billed.enumerate().map(|(at, (key, order))| {
        let id = format!("R{:05}", at + 1);
        let mut random = Random::named(seed, &format!("invoice/{id}"));
        let shipped = text(order, "status") == "shipped";
        let issued = date(order, if shipped { "ship_date" } else { "order_date" });
        let due = issued.saturating_add(30.days());
        let status = match () {
            () if !shipped => "draft",
            () if random.one_in(64) => "void",
            () if due <= TODAY && !random.one_in(16) => "paid",
            () => "sent",
        };
        let own = by_order.get(key.first()).into_iter().flatten().copied();
        record([
            ("id", json!(id)),
            ("order_id", json!(key.first())),
            ("customer_id", order["customer_id"].clone()),
            ("issued_on", json!(issued)),
            ("due_on", json!(due)),
            ("amount", json!(from_units(total_cents(own), 2))),
            ("currency", json!("USD")),
            ("status", json!(status)),
        ])
    });
    invoices.collect()
}

fn payments(invoices: &Records, seed: u64) -> Vec<Record> {
    let mut payments = Vec::new();
    let paid = invoices
        .values()
        .filter(|invoice| text(invoice, "status") == "paid");
    for invoice in paid {
        let mut random = Random::named(seed, &format!("payment/{}", text(invoice, "id")));
        let Some(cents) = crate::decimal::to_units(text(invoice, "amount"), 2) else {
            continue;
        };
        let parts = if random.one_in(8) {
            vec![cents * 6 / 10, cents - cents * 6 / 10]
        } else {
            vec![cents]
        };
        for part in parts.into_iter().filter(|part| *part > 0) {
            let id = format!("Z{:05}", payments.len() + 1);
            let day = date(invoice, "issued_on").saturating_add(random.between(1, 30).days());
            payments.push(payment(&id, text(invoice, "id"), part, day, &mut random));
        }
    }
    payments
}

/// A payment of `cents` on a day, its method and time of day drawn.
pub(crate) fn payment(
    id: &str,
    invoice: &str,
    cents: i64,
    day: Date,
    random: &mut Random,
) -> Record {
    let at = format!(
        "{day}T{:02}:{:02}:{:02}Z",
        random.between(7, 19),
        random.between(0, 59),
        random.between(0, 59)
    );
    record([
        ("id", json!(id)),
        ("invoice_id", json!(invoice)),
        ("amount", json!(from_units(cents, 2))),
        ("currency", json!("USD")),
        (
            "method",
            json!(*random.pick(&["card", "card", "transfer", "check"])),
        ),
        ("received_at", json!(at)),
    ])
}

fn prospects(customers: &Records, seed: u64) -> Vec<Record> {
    let known: Vec<&Record> = customers.values().collect();
    if known.is_empty() {
        return Vec::new();
    }
    let mut random = Random::named(seed, "prospects");
    let mut taken: BTreeSet<String> = BTreeSet::new();
    let prospects = (1..=60).filter_map(|number| {
        let name = |record: &&Record, last: bool| -> String {
            let name = text(record, "name");
            let (first, rest) = name.split_once(' ').unwrap_or((name, "Company"));
            if last { rest } else { first }.to_owned()
        };
        let first = name(random.pick(&known), false);
        let whole = format!("{first} {}", name(random.pick(&known), true));
        let mut prospect = (*random.pick(&known)).clone();
        let id = format!("NW-{}", 30_000 + number);
        prospect.insert("id".into(), json!(id));
        prospect.insert("name".into(), json!(whole));
        let address = email(&whole, &id, text(&prospect, "segment"));
        prospect.insert("email".into(), json!(address));
        prospect.insert("active".into(), json!(true));
        taken.insert(whole).then_some(prospect)
    });
    prospects.collect()
}

/// The date in a field; [`TODAY`] where there is none.
pub(crate) fn date(record: &Record, field: &str) -> Date {
    text(record, field).parse().unwrap_or(TODAY)
}

/// Tells whether a record keeps its contract, as far as the translation from its system has not settled that.
///
/// The editor uses it on itself: what it means to be good must be good.
#[must_use]
pub fn keeps_contract(entity: Entity, record: &Record) -> bool {
    let amount = |field, scale| crate::decimal::to_units(text(record, field), scale);
    match entity {
        Entity::Customer => {
            let email = text(record, "email");
            let regions = ["Central", "East", "South", "West"];
            (email.is_empty() || email.split('@').count() == 2)
                && regions.contains(&text(record, "region"))
                && text(record, "city").chars().count() <= 100
        }
        Entity::Product => amount("list_price", 2).is_some_and(|cents| cents >= 0),
        Entity::Order => {
            text(record, "ship_date").is_empty()
                || text(record, "ship_date") >= text(record, "order_date")
        }
        Entity::OrderLine => {
            (1..=1000).contains(&int(record, "quantity"))
                && amount("sales", 4).is_some_and(|sales| sales >= 0)
                && amount("discount", 2).is_some_and(|part| (0..=100).contains(&part))
                && amount("profit", 4).is_some()
        }
        Entity::StockLevel => (0..=int(record, "on_hand")).contains(&int(record, "reserved")),
        Entity::Invoice => {
            text(record, "due_on") >= text(record, "issued_on")
                && amount("amount", 2).is_some_and(|cents| cents >= 0)
        }
        Entity::Payment => amount("amount", 2).is_some_and(|cents| cents > 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_always_gives_the_same_world() {
        let world = World::derive(7).unwrap();
        assert_eq!(world, World::derive(7).unwrap());
        let other = World::derive(8).unwrap();
        assert_ne!(world.of(Entity::StockLevel), other.of(Entity::StockLevel));
        // What the data says does not depend on the seed.
        assert_eq!(world.of(Entity::Product), other.of(Entity::Product));
        assert_eq!(world.of(Entity::OrderLine), other.of(Entity::OrderLine));
    }

    #[test]
    fn the_world_is_as_large_as_the_data() {
        let world = World::derive(1).unwrap();
        let count = |entity| world.of(entity).len();
        assert_eq!(count(Entity::Customer), 793);
        assert_eq!(count(Entity::Product), 1_862);
        assert_eq!(count(Entity::Order), 5_009);
        assert_eq!(count(Entity::OrderLine), 9_994);
        assert!((3_000..4_500).contains(&count(Entity::StockLevel)));
        assert!((4_800..5_009).contains(&count(Entity::Invoice)));
        assert!((4_000..5_500).contains(&count(Entity::Payment)));
        assert!(world.prospects.len() > 50);
    }

    #[test]
    fn everything_at_the_beginning_keeps_its_contract() {
        let world = World::derive(3).unwrap();
        for entity in Entity::ALL {
            for (key, record) in world.of(entity) {
                assert!(keeps_contract(entity, record), "{entity} {key}: {record:?}");
            }
        }
    }

    #[test]
    fn children_have_parents() {
        let world = World::derive(3).unwrap();
        let refers = |child, field: &str, parent| {
            for record in world.of(child).values() {
                let key = Key::one(text(record, field));
                assert!(world.of(parent).contains_key(&key), "{child} → {key}");
            }
        };
        refers(Entity::Order, "customer_id", Entity::Customer);
        refers(Entity::OrderLine, "order_id", Entity::Order);
        refers(Entity::OrderLine, "product_id", Entity::Product);
        refers(Entity::StockLevel, "product_id", Entity::Product);
        refers(Entity::Invoice, "order_id", Entity::Order);
        refers(Entity::Payment, "invoice_id", Entity::Invoice);
    }

    #[test]
    fn warts_follow_the_stated_rule() {
        let lines = superstore::lines().unwrap();
        let world = World::derive(1).unwrap();
        for (id, line) in latest(&lines, |line| &line.customer_id) {
            let newer = lines
                .iter()
                .any(|other| other.customer_id == id && other.order_date > line.order_date);
            assert!(!newer, "{id}");
            let customer = &world.of(Entity::Customer)[&Key::one(id)];
            assert_eq!(text(customer, "city"), line.city);
        }

        let doubled = world.of(Entity::OrderLine).values().filter(|line| {
            text(line, "order_id") == "CA-2016-129714"
                && text(line, "product_id") == "OFF-PA-10001970"
        });
        assert!(
            doubled.count() > 1,
            "two lines of one product stay two lines"
        );
    }
}
