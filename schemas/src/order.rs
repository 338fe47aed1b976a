//! What was ordered: the entity `order`, owned by the ERP.

use jiff::civil::Date;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One order of one customer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Order {
    /// Identifies the order everywhere.
    pub id: String,
    /// The customer who ordered.
    pub customer_id: String,
    /// The day of the order.
    pub order_date: Date,
    /// The day on which it was shipped, once it was; never before the order.
    pub ship_date: Option<Date>,
    /// How it is shipped.
    pub ship_mode: ShipMode,
    /// How far the order is.
    pub status: OrderStatus,
    /// The city it goes to.
    pub ship_city: String,
    /// The state or province it goes to.
    pub ship_state: String,
    /// The postal code it goes to.
    pub ship_postal_code: String,
}

/// A way of shipping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ShipMode {
    /// Two or three days.
    #[serde(rename = "First Class")]
    FirstClass,
    /// The same day.
    #[serde(rename = "Same Day")]
    SameDay,
    /// Up to five days.
    #[serde(rename = "Second Class")]
    SecondClass,
    /// Whenever it fits.
    #[serde(rename = "Standard Class")]
    StandardClass,
}

/// How far an order is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OrderStatus {
    /// Not yet shipped.
    Open,
    /// On its way or there.
    Shipped,
    /// Not to be shipped.
    Cancelled,
}
