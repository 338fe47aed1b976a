//! What is sold: the entity `product`, owned by the ERP.

use lockstep_core::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One thing that can be ordered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Product {
    /// Identifies the product everywhere.
    pub id: String,
    /// The name on offers and invoices.
    pub name: String,
    /// The category, such as Furniture.
    pub category: String,
    /// The category within the category, such as Chairs.
    pub sub_category: String,
    /// The price before discounts, in US dollars, with two digits after the point.
    pub list_price: Decimal,
    /// Whether the product can be ordered.
    pub active: bool,
}
