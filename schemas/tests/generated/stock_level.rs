// The entity `stock_level`, version 1.0.0: written by `lockstep contract gen rust`; edit the contract instead.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The stock of one product at one location.
///
/// Its key is `product_id`, `location`.
/// The rule `reserved_in_stock` is checked by the gate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StockLevel {
    /// The product.
    #[schemars(length(min = 1, max = 64))]
    pub product_id: String,
    /// Where it lies.
    #[schemars(length(min = 1, max = 64))]
    pub location: String,
    /// How many lie there. At least 0.
    #[schemars(range(min = 0))]
    pub on_hand: i64,
    /// How many of them are promised to orders. At least 0.
    #[schemars(range(min = 0))]
    pub reserved: i64,
    /// When the numbers were last known to be right.
    pub counted_at: Timestamp,
}
