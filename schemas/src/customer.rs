//! Who buys: the entity `customer`, owned by the CRM.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One person or company that buys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Customer {
    /// Identifies the customer everywhere.
    pub id: String,
    /// The name a person or company goes by. Personal.
    pub name: String,
    /// The market segment; the list is open, so this is a text.
    pub segment: String,
    /// Where mail reaches the customer, if known. Personal.
    pub email: Option<String>,
    /// The country as ISO 3166-1 alpha-2 code.
    pub country: String,
    /// State or province.
    pub state: String,
    /// City.
    pub city: String,
    /// Postal code as text, since a leading zero counts.
    pub postal_code: String,
    /// The sales region.
    pub region: Region,
    /// Whether the customer may place orders.
    pub active: bool,
}

/// A sales region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Region {
    /// The middle states.
    Central,
    /// The eastern states.
    East,
    /// The southern states.
    South,
    /// The western states.
    West,
}
