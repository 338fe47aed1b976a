//! What was paid: the entity `payment`, owned by billing.

use jiff::Timestamp;
use lockstep_core::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Currency;

/// One payment towards one invoice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Payment {
    /// Identifies the payment everywhere.
    pub id: String,
    /// The invoice that is paid.
    pub invoice_id: String,
    /// What was paid, above zero, with two digits after the point.
    pub amount: Decimal,
    /// The currency of the amount.
    pub currency: Currency,
    /// How it was paid.
    pub method: PaymentMethod,
    /// When the payment arrived.
    pub received_at: Timestamp,
}

/// A way of paying.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PaymentMethod {
    /// By card.
    Card,
    /// By bank transfer.
    Transfer,
    /// By check.
    Check,
}
