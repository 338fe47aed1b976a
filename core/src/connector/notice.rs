//! How a system without a log tells that records may have changed: a growing column, a journal of events, or calls of its own (webhooks).
//!
//! None of them is believed: whatever names a record only has it read again, so that a notice that is late, told twice or out of order does no harm.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::value::Value;

/// How a table tells which of its rows are new, as a connector knows it; a configuration may say otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Growing {
    /// The column that grows with every change of a row; [`Reader::scan`](super::Reader::scan) can order and filter by it.
    pub column: String,
    /// How far behind a change the column, or the system's answer, may come: commits that end late, an index that is written later.
    pub overlap: Duration,
}

/// A record that may have changed, be new or be gone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// Its table.
    pub table: String,
    /// The values of the key that the table declares, in that order.
    pub key: Vec<Value>,
}

/// What a journal told.
#[derive(Clone, Debug, PartialEq)]
pub struct Noticed {
    /// The records, in any order; one may stand in it twice.
    pub notices: Vec<Notice>,
    /// From where the next reading begins; kept by the runtime once these records were read and what came of them is durable.
    pub cursor: String,
    /// Whether more is there already.
    pub more: bool,
}

/// A call of the system to Lockstep, as it came over HTTP.
#[derive(Clone, Debug)]
pub struct Call {
    /// The method, in upper case.
    pub method: String,
    /// The address that the system called, with scheme, host, path and query: some systems sign it.
    pub url: String,
    /// Headers by their names in lower case; the last of several of one name.
    pub headers: BTreeMap<String, String>,
    /// The body, byte by byte as it came: signatures are over exactly these.
    pub body: Vec<u8>,
    /// When it came.
    pub at: jiff::Timestamp,
}

/// What a call was.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Heard {
    /// The records that it names.
    pub notices: Vec<Notice>,
    /// What the system wants answered, where that is more than an empty answer, such as a challenge.
    pub answer: Option<String>,
}
