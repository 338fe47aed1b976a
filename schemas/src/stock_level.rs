//! What lies where: the entity `stock_level`, owned by the ERP.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The stock of one product at one location.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StockLevel {
    /// The product.
    pub product_id: String,
    /// Where it lies.
    pub location: String,
    /// How many lie there.
    pub on_hand: i64,
    /// How many of them are promised to orders; never more than lie there.
    pub reserved: i64,
    /// When the numbers were last known to be right.
    pub counted_at: Timestamp,
}
