// The entity `order_line`, version 1.0.0: written by `lockstep contract gen rust`; edit the contract instead.

use lockstep_core::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One position of an order.
///
/// Its key is `order_id`, `line_no`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderLine {
    /// The order it belongs to.
    #[schemars(length(min = 1, max = 64))]
    pub order_id: String,
    /// The position in the order, from 1. At least 1.
    #[schemars(range(min = 1))]
    pub line_no: i64,
    /// The product that was ordered.
    #[schemars(length(min = 1, max = 64))]
    pub product_id: String,
    /// How many were ordered. At least 1. At most 1000.
    #[schemars(range(min = 1, max = 1000))]
    pub quantity: i64,
    /// The amount after discount, in US dollars. At least 0.0000.
    pub sales: Decimal,
    /// The share that was taken off the list price. At least 0.00. At most 1.00.
    pub discount: Decimal,
    /// What remains after cost, in US dollars; below zero for a loss.
    pub profit: Decimal,
}
