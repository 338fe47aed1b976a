// The entity `payment`, version 1.0.0: written by `lockstep contract gen rust`; edit the contract instead.

use jiff::Timestamp;
use lockstep_core::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One payment towards one invoice.
///
/// Its key is `id`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Payment {
    /// Identifies the payment everywhere.
    #[schemars(length(min = 1, max = 64))]
    pub id: String,
    /// The invoice that is paid.
    #[schemars(length(min = 1, max = 64))]
    pub invoice_id: String,
    /// What was paid, in the payment's currency. Above 0.00.
    pub amount: Decimal,
    /// The currency as ISO 4217 code.
    pub currency: PaymentCurrency,
    /// How it was paid.
    pub method: PaymentMethod,
    /// When the payment arrived.
    pub received_at: Timestamp,
}

/// The currency as ISO 4217 code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PaymentCurrency {
    /// `USD`
    USD,
}

/// How it was paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PaymentMethod {
    /// `card`
    #[serde(rename = "card")]
    Card,
    /// `transfer`
    #[serde(rename = "transfer")]
    Transfer,
    /// `check`
    #[serde(rename = "check")]
    Check,
}
