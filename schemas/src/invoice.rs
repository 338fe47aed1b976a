//! What is to be paid: the entity `invoice`, owned by billing.

use jiff::civil::Date;
use lockstep_core::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Currency;

/// One invoice for one order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Invoice {
    /// Identifies the invoice everywhere.
    pub id: String,
    /// The order that is invoiced.
    pub order_id: String,
    /// The customer who pays.
    pub customer_id: String,
    /// The day of the invoice.
    pub issued_on: Date,
    /// The last day to pay; never before the invoice.
    pub due_on: Date,
    /// What is to be paid, with two digits after the point.
    pub amount: Decimal,
    /// The currency of the amount.
    pub currency: Currency,
    /// How far the invoice is.
    pub status: InvoiceStatus,
}

/// How far an invoice is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum InvoiceStatus {
    /// Not sent yet.
    Draft,
    /// With the customer.
    Sent,
    /// Settled.
    Paid,
    /// No longer to be paid.
    Void,
}
