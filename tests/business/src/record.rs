//! Entities, keys and records in contract form, as the oracle and the editor understand them.
//!
//! A record is a map from contract field to canonical JSON: text as it is, integers as numbers, booleans as booleans, decimals as their shortest text, dates as `2017-12-30`, instants as `2017-12-30T18:00:00Z`.
//! Two records are equal exactly when their canonical forms are.
//! This module knows no system and no table.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A record in canonical contract form, by field name.
pub type Record = BTreeMap<String, Value>;

/// A kind of business object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entity {
    /// Who buys.
    Customer,
    /// What is sold.
    Product,
    /// What was ordered when, by whom.
    Order,
    /// One product of an order.
    OrderLine,
    /// How much of a product lies where.
    StockLevel,
    /// What is owed for an order.
    Invoice,
    /// What was paid on an invoice.
    Payment,
}

impl Entity {
    /// Every entity, parents before children.
    pub const ALL: [Entity; 7] = [
        Entity::Customer,
        Entity::Product,
        Entity::Order,
        Entity::OrderLine,
        Entity::StockLevel,
        Entity::Invoice,
        Entity::Payment,
    ];

    /// Its name in contracts and configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Entity::Customer => "customer",
            Entity::Product => "product",
            Entity::Order => "order",
            Entity::OrderLine => "order_line",
            Entity::StockLevel => "stock_level",
            Entity::Invoice => "invoice",
            Entity::Payment => "payment",
        }
    }

    /// The entity of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Entity> {
        Entity::ALL.into_iter().find(|entity| entity.name() == name)
    }

    /// Its key fields, in contract order.
    #[must_use]
    pub fn key_fields(self) -> &'static [&'static str] {
        match self {
            Entity::OrderLine => &["order_id", "line_no"],
            Entity::StockLevel => &["product_id", "location"],
            _ => &["id"],
        }
    }

    /// The system that owns it.
    #[must_use]
    pub fn owner(self) -> &'static str {
        match self {
            Entity::Customer => "crm",
            Entity::Invoice | Entity::Payment => "billing",
            _ => "erp",
        }
    }

    /// The systems that hear of it.
    #[must_use]
    pub fn targets(self) -> &'static [&'static str] {
        match self {
            Entity::Customer => &["erp", "billing", "warehouse"],
            Entity::Product => &["warehouse", "billing"],
            Entity::Order => &["billing", "warehouse", "crm"],
            Entity::OrderLine | Entity::StockLevel => &["warehouse"],
            Entity::Invoice | Entity::Payment => &["warehouse", "erp"],
        }
    }

    /// The key of a record, if all key fields are there.
    #[must_use]
    pub fn key(self, record: &Record) -> Option<Key> {
        let parts = self.key_fields().iter().map(|field| {
            record
                .get(*field)
                .filter(|value| !value.is_null())
                .map(plain)
        });
        parts.collect::<Option<Vec<_>>>().map(Key)
    }
}

impl fmt::Display for Entity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What identifies a record: its key fields in contract order, as text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key(pub Vec<String>);

impl Key {
    /// A key of one field.
    pub fn one(part: impl Into<String>) -> Key {
        Key(vec![part.into()])
    }

    /// The first field, which is the whole key for most entities.
    #[must_use]
    pub fn first(&self) -> &str {
        self.0.first().map_or("", String::as_str)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("|"))
    }
}

/// A value as bare text: strings without quotes, anything else as JSON.
#[must_use]
pub fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The text of a field, empty where there is none.
#[must_use]
pub fn text<'a>(record: &'a Record, field: &str) -> &'a str {
    record.get(field).and_then(Value::as_str).unwrap_or("")
}

/// The integer of a field, 0 where there is none.
#[must_use]
pub fn int(record: &Record, field: &str) -> i64 {
    record.get(field).and_then(Value::as_i64).unwrap_or(0)
}

/// Builds a record from its fields.
#[must_use]
pub fn record<const N: usize>(fields: [(&str, Value); N]) -> Record {
    fields
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}
