// The entity `customer`, version 1.0.0: written by `lockstep contract gen rust`; edit the contract instead.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One person or company that buys.
///
/// Its key is `id`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Customer {
    /// Identifies the customer everywhere.
    #[schemars(length(min = 1, max = 64))]
    pub id: String,
    /// The name a person or company goes by. Classified as personal.
    #[schemars(length(min = 1, max = 200))]
    pub name: String,
    /// The market segment. More may come.
    pub segment: CustomerSegment,
    /// Where mail reaches the customer, if known. Classified as personal.
    #[schemars(length(max = 254), regex(pattern = r"^[^@\s]+@[^@\s]+\.[^@\s]+$"))]
    pub email: Option<String>,
    /// The country as ISO 3166-1 alpha-2 code.
    #[schemars(regex(pattern = "^[A-Z]{2}$"))]
    pub country: String,
    /// State or province.
    #[schemars(length(min = 1, max = 100))]
    pub state: String,
    /// City.
    #[schemars(length(min = 1, max = 100))]
    pub city: String,
    /// Postal code as text, since a leading zero counts.
    #[schemars(length(min = 1, max = 20))]
    pub postal_code: String,
    /// The sales region.
    pub region: CustomerRegion,
    /// Whether the customer may place orders.
    pub active: bool,
}

/// The market segment. More may come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CustomerSegment {
    /// `Consumer`
    Consumer,
    /// `Corporate`
    Corporate,
    /// `Home Office`
    #[serde(rename = "Home Office")]
    HomeOffice,
    /// Another one: more may come.
    #[serde(untagged)]
    Other(String),
}

/// The sales region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CustomerRegion {
    /// `Central`
    Central,
    /// `East`
    East,
    /// `South`
    South,
    /// `West`
    West,
}
