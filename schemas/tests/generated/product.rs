// The entity `product`, version 1.0.0: written by `lockstep contract gen rust`; edit the contract instead.

use lockstep_core::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One thing that can be ordered.
///
/// Its key is `id`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Product {
    /// Identifies the product everywhere.
    #[schemars(length(min = 1, max = 64))]
    pub id: String,
    /// The name on offers and invoices.
    #[schemars(length(min = 1, max = 300))]
    pub name: String,
    /// The category, such as Furniture.
    #[schemars(length(min = 1, max = 100))]
    pub category: String,
    /// The category within the category, such as Chairs.
    #[schemars(length(min = 1, max = 100))]
    pub sub_category: String,
    /// The price before discounts, in US dollars. At least 0.00.
    pub list_price: Decimal,
    /// Whether the product can be ordered.
    pub active: bool,
}
