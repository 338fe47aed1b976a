//! The currencies that amounts are in.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A currency, as its ISO 4217 code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Currency {
    /// The US dollar.
    Usd,
}
