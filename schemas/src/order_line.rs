//! What an order consists of: the entity `order_line`, owned by the ERP.

use lockstep_core::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One position of an order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderLine {
    /// The order it belongs to; it chooses the lane.
    pub order_id: String,
    /// The position in the order, from 1.
    pub line_no: i64,
    /// The product that was ordered.
    pub product_id: String,
    /// How many were ordered, 1 to 1000.
    pub quantity: i64,
    /// The amount after discount, in US dollars, with four digits after the point.
    pub sales: Decimal,
    /// The share that was taken off the list price, 0.00 to 1.00.
    pub discount: Decimal,
    /// What remains after cost, with four digits after the point; below zero for a loss.
    pub profit: Decimal,
}
