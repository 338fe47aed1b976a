//! How new records are made, and how records change: always into something they never were.

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};

use super::Editor;
use crate::decimal::{from_units, to_units};
use crate::record::{Entity, Record, int, record, text};
use crate::world::{self, TODAY, date};

impl Editor {
    pub(super) fn make_customer(&mut self) -> Option<Record> {
        let first = self.pick(Entity::Customer, |_| true)?;
        let last = self.pick(Entity::Customer, |_| true)?;
        let first_name = text(&first, "name").split(' ').next().unwrap_or("Ann");
        let last_name = text(&last, "name")
            .split(' ')
            .next_back()
            .unwrap_or("Other");
        let name = format!("{first_name} {last_name}");
        let id = self.fresh(Entity::Customer, "NC-");
        let mut customer = Record::clone(&last);
        customer.insert(
            "email".into(),
            json!(world::email(&name, &id, text(&last, "segment"))),
        );
        customer.insert("id".into(), json!(id));
        customer.insert("name".into(), json!(name));
        customer.insert(
            "country".into(),
            json!(*self.random.pick(&["US", "US", "US", "CA", "MX"])),
        );
        customer.insert("active".into(), json!(true));
        Some(customer)
    }

    pub(super) fn make_product(&mut self) -> Option<Record> {
        let like = self.pick(Entity::Product, |_| true)?;
        let id = self.fresh(Entity::Product, "NEW-PR-");
        let cents = self.random.between(99, 99_999);
        let mut product = Record::clone(&like);
        product.insert("id".into(), json!(id));
        product.insert("name".into(), json!(format!("{} II", text(&like, "name"))));
        product.insert("list_price".into(), json!(from_units(cents, 2)));
        product.insert("active".into(), json!(true));
        Some(product)
    }

    pub(super) fn make_stock(&mut self, product: &Record, location: &str) -> Record {
        let on_hand = self.random.between(10, 300);
        record([
            ("product_id", product["id"].clone()),
            ("location", json!(location)),
            ("on_hand", json!(on_hand)),
            ("reserved", json!(0)),
            ("counted_at", self.moment()),
        ])
    }

    pub(super) fn make_order(&mut self) -> Option<Record> {
        let customer = self.pick(Entity::Customer, |_| true)?;
        let id = self.fresh(Entity::Order, "CA-2018-");
        let day = TODAY.saturating_add(self.random.between(2, 40).days());
        let modes = ["First Class", "Second Class", "Standard Class", "Same Day"];
        Some(record([
            ("id", json!(id)),
            ("customer_id", customer["id"].clone()),
            ("order_date", json!(day)),
            ("ship_date", Value::Null),
            ("ship_mode", json!(*self.random.pick(&modes))),
            ("status", json!("open")),
            ("ship_city", customer["city"].clone()),
            ("ship_state", customer["state"].clone()),
            ("ship_postal_code", customer["postal_code"].clone()),
        ]))
    }

    pub(super) fn make_line(&mut self, order: &Record, number: i64) -> Option<Record> {
        let product = self.pick(Entity::Product, |_| true)?;
        let quantity = self.random.between(1, 14);
        let discount = *self.random.pick(&[0, 0, 10, 15, 20]);
        let cents = to_units(text(&product, "list_price"), 2)?;
        let sales = cents * quantity * (100 - discount);
        Some(record([
            ("order_id", order["id"].clone()),
            ("line_no", json!(number)),
            ("product_id", product["id"].clone()),
            ("quantity", json!(quantity)),
            ("sales", json!(from_units(sales, 4))),
            ("discount", json!(from_units(discount, 2))),
            ("profit", json!(from_units(sales / 5 - 777, 4))),
        ]))
    }

    pub(super) fn make_invoice(&mut self, order: &Record, cents: i64) -> Record {
        let id = self.fresh(Entity::Invoice, "RN");
        let shipped = text(order, "status") == "shipped";
        let issued = date(order, if shipped { "ship_date" } else { "order_date" });
        record([
            ("id", json!(id)),
            ("order_id", order["id"].clone()),
            ("customer_id", order["customer_id"].clone()),
            ("issued_on", json!(issued)),
            ("due_on", json!(issued.saturating_add(30.days()))),
            ("amount", json!(from_units(cents, 2))),
            ("currency", json!("USD")),
            ("status", json!(if shipped { "sent" } else { "draft" })),
        ])
    }

    pub(super) fn make_payment(&mut self, invoice: &Record, cents: i64) -> Record {
        let id = self.fresh(Entity::Payment, "ZN");
        let day: Date =
            date(invoice, "issued_on").saturating_add(self.random.between(1, 20).days());
        world::payment(&id, text(invoice, "id"), cents, day, &mut self.random)
    }

    /// Changes a record's content, never its key, so that it is unlike what it was.
    pub(super) fn change(&mut self, entity: Entity, record: &mut Record) {
        let serial = self.serial() as i64;
        match entity {
            Entity::Customer => self.change_customer(record, serial),
            Entity::Product => {
                let cents = to_units(text(record, "list_price"), 2).unwrap_or(0);
                let price = (cents * self.random.between(90, 115) / 100 + 1).max(1);
                record.insert("list_price".into(), json!(from_units(price, 2)));
                if self.random.one_in(8) {
                    let active = record["active"].as_bool() != Some(true);
                    record.insert("active".into(), json!(active));
                }
            }
            Entity::Order => {
                let streets = [
                    "Springfield",
                    "Fairview",
                    "Greenville",
                    "Bristol",
                    "Clinton",
                ];
                let city = format!("{} {}", self.random.pick(&streets), serial % 90 + 10);
                record.insert("ship_city".into(), json!(city));
                record.insert(
                    "ship_postal_code".into(),
                    json!(format!("{:05}", serial * 37 % 100_000)),
                );
            }
            Entity::OrderLine => {
                let quantity = int(record, "quantity") % 14 + 1;
                let profit = to_units(text(record, "profit"), 4).unwrap_or(0) + serial;
                record.insert("quantity".into(), json!(quantity));
                record.insert("profit".into(), json!(from_units(profit, 4)));
            }
            Entity::StockLevel => {
                let reserved = int(record, "reserved");
                let on_hand = reserved + self.random.between(0, 300);
                record.insert("on_hand".into(), json!(on_hand));
                record.insert("counted_at".into(), self.moment());
            }
            Entity::Invoice => {
                let due = date(record, "issued_on").saturating_add((serial % 90).days());
                let cents = to_units(text(record, "amount"), 2).unwrap_or(0);
                record.insert("due_on".into(), json!(due));
                record.insert(
                    "amount".into(),
                    json!(from_units(cents + self.random.between(1, 500), 2)),
                );
            }
            Entity::Payment => {
                record.insert("received_at".into(), self.moment());
            }
        }
    }

    pub(super) fn change_customer(&mut self, record: &mut Record, serial: i64) {
        let id = format!("{}{serial}", text(record, "id"));
        let email = world::email(text(record, "name"), &id, text(record, "segment"));
        match self.random.below(4) {
            0 => {
                if let Some(other) = self.pick(Entity::Customer, |_| true) {
                    for field in ["state", "city", "postal_code", "region"] {
                        record.insert(field.to_owned(), other[field].clone());
                    }
                }
            }
            1 => {
                let active = record["active"].as_bool() != Some(true);
                record.insert("active".into(), json!(active));
            }
            2 => {
                let segments = ["Consumer", "Corporate", "Home Office"];
                record.insert("segment".into(), json!(*self.random.pick(&segments)));
            }
            _ => {}
        }
        record.insert("email".into(), json!(email));
    }

    /// An instant after all before, to the second.
    pub(super) fn moment(&mut self) -> Value {
        // The first second of 2018.
        let seconds = 1_514_764_800 + self.serial() as i64;
        let at = Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH);
        json!(at.to_string())
    }
}
