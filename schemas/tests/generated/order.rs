// The entity `order`, version 1.0.0: written by `lockstep contract gen rust`; edit the contract instead.

use jiff::civil::Date;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One order of one customer; its lines are the entity order_line.
///
/// Its key is `id`.
/// The rule `ship_after_order` is checked by the gate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Order {
    /// Identifies the order everywhere.
    #[schemars(length(min = 1, max = 64))]
    pub id: String,
    /// The customer who ordered.
    #[schemars(length(min = 1, max = 64))]
    pub customer_id: String,
    /// The day of the order.
    pub order_date: Date,
    /// The day on which it was shipped, once it was.
    pub ship_date: Option<Date>,
    /// How it is shipped.
    pub ship_mode: OrderShipMode,
    /// How far the order is.
    pub status: OrderStatus,
    /// The city it goes to.
    #[schemars(length(min = 1, max = 100))]
    pub ship_city: String,
    /// The state or province it goes to.
    #[schemars(length(min = 1, max = 100))]
    pub ship_state: String,
    /// The postal code it goes to.
    #[schemars(length(min = 1, max = 20))]
    pub ship_postal_code: String,
}

/// How it is shipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OrderShipMode {
    /// `First Class`
    #[serde(rename = "First Class")]
    FirstClass,
    /// `Same Day`
    #[serde(rename = "Same Day")]
    SameDay,
    /// `Second Class`
    #[serde(rename = "Second Class")]
    SecondClass,
    /// `Standard Class`
    #[serde(rename = "Standard Class")]
    StandardClass,
}

/// How far the order is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OrderStatus {
    /// `open`
    #[serde(rename = "open")]
    Open,
    /// `shipped`
    #[serde(rename = "shipped")]
    Shipped,
    /// `cancelled`
    #[serde(rename = "cancelled")]
    Cancelled,
}
