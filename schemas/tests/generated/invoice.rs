// The entity `invoice`, version 1.0.0: written by `lockstep contract gen rust`; edit the contract instead.

use jiff::civil::Date;
use lockstep_core::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One invoice for one order.
///
/// Its key is `id`.
/// The rule `due_after_issue` is checked by the gate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Invoice {
    /// Identifies the invoice everywhere.
    #[schemars(length(min = 1, max = 64))]
    pub id: String,
    /// The order that is invoiced.
    #[schemars(length(min = 1, max = 64))]
    pub order_id: String,
    /// The customer who pays.
    #[schemars(length(min = 1, max = 64))]
    pub customer_id: String,
    /// The day of the invoice.
    pub issued_on: Date,
    /// The last day to pay.
    pub due_on: Date,
    /// What is to be paid, in the invoice's currency. At least 0.00.
    pub amount: Decimal,
    /// The currency as ISO 4217 code.
    pub currency: InvoiceCurrency,
    /// How far the invoice is.
    pub status: InvoiceStatus,
}

/// The currency as ISO 4217 code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum InvoiceCurrency {
    /// `USD`
    USD,
}

/// How far the invoice is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum InvoiceStatus {
    /// `draft`
    #[serde(rename = "draft")]
    Draft,
    /// `sent`
    #[serde(rename = "sent")]
    Sent,
    /// `paid`
    #[serde(rename = "paid")]
    Paid,
    /// `void`
    #[serde(rename = "void")]
    Void,
}
