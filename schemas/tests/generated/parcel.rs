// The entity `parcel`, version 2.1.0: written by `lockstep contract gen rust`; edit the contract instead.

use jiff::Timestamp;
use jiff::civil::{Date, Time};
use lockstep_core::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// One parcel, `weighed` & *sealed* <script>alert('x')</script> | it's sent.
///
/// Its key is `id`.
/// The rule `light_is_cheap` is checked by the gate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Parcel {
    /// Id.
    pub id: Uuid,
    /// What it is; says 'box' or "bag".
    pub r#type: ParcelType,
    /// Size.
    pub size: Option<ParcelSize>,
    /// Weight. Above 0.
    pub weight: f64,
    /// Price. At least 0.50. At most 999.99.
    #[serde(default = "parcel_price_default")]
    pub price: Decimal,
    /// Pieces. At least 1. At most 99.
    #[serde(default = "parcel_pieces_default")]
    #[schemars(range(min = 1, max = 99))]
    pub pieces: i64,
    /// Sent on. At least 2020-01-01.
    pub sent_on: Date,
    /// Cut off.
    pub cut_off: Option<Time>,
    /// Seen at.
    pub seen_at: Option<Timestamp>,
    /// Fragile.
    #[serde(default = "parcel_fragile_default")]
    pub fragile: bool,
    /// Mail. Classified as personal.
    #[schemars(length(max = 254), regex(pattern = r"^[^@\s]+@[^@\s]+$"))]
    pub mail: Option<String>,
    /// Label. Bytes in base64. At most 64 bytes.
    pub label: Option<String>,
    /// Note.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Camel case.
    #[serde(rename = "camelCase")]
    #[schemars(length(min = 2, max = 10))]
    pub camel_case: String,
    /// Address.
    pub address: ParcelAddress,
    /// Items.
    pub items: Option<Vec<Option<ParcelItemsItem>>>,
    /// Tags.
    pub tags: Vec<Option<String>>,
}

/// What it is; says 'box' or "bag".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ParcelType {
    /// `box`
    #[serde(rename = "box")]
    Box,
    /// `bag`
    #[serde(rename = "bag")]
    Bag,
    /// `2-part`
    #[serde(rename = "2-part")]
    V2Part,
    /// `it's`
    #[serde(rename = "it's")]
    ItS,
}

/// Size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ParcelSize {
    /// `small`
    #[serde(rename = "small")]
    Small,
    /// `large`
    #[serde(rename = "large")]
    Large,
    /// Another one: more may come.
    #[serde(untagged)]
    Other(String),
}

fn parcel_price_default() -> Decimal {
    "4.90".parse().expect("a constant")
}

fn parcel_pieces_default() -> i64 {
    1
}

fn parcel_fragile_default() -> bool {
    false
}

/// Address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ParcelAddress {
    /// Street.
    #[schemars(length(max = 80))]
    pub street: String,
    /// Zip.
    #[schemars(regex(pattern = r"^\d{5}$"))]
    pub zip: String,
    /// Floor.
    pub floor: Option<i64>,
}

/// Items.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ParcelItemsItem {
    /// Sku.
    pub sku: String,
    /// Value.
    pub value: Decimal,
}
