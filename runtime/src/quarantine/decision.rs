//! What people decide about a quarantined change: try it again, correct it, do without it. Every decision is kept with who, when and why.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use lockstep_core::Row;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::entry::{Answer, Entry, Original, Reason};

/// Most attempts that an entry remembers.
pub(super) const ATTEMPTS_MAX: usize = 20;
/// Most bytes kept of an original.
pub const ORIGINAL_MAX: usize = 128 * 1024;

/// A correction of a held record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Edit {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The columns that it gave another value.
    pub columns: Vec<String>,
    /// The record after it, in the shape in which it is held.
    pub row: Row,
}

/// What was tried with an entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Attempt {
    /// When.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// Who, where somebody said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// What: `retry` or `edit`.
    pub what: Tried,
    /// Why it did not pass; empty where it did.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<Reason>,
}

/// What can be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Tried {
    /// Send it as it is held.
    Retry,
    /// Send it corrected.
    Edit,
}

/// Who closed an entry, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Closing {
    /// Who.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What is asked of whoever runs the step at which an entry stopped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Ask {
    /// Try it again.
    Retry {
        /// The entry.
        id: String,
        /// Who asks.
        #[serde(default)]
        by: Option<String>,
    },
    /// Try it corrected.
    Edit {
        /// The entry.
        id: String,
        /// The correction.
        edit: Edit,
    },
    /// It was closed: whatever waits for that may go on.
    Closed {
        /// The entry.
        id: String,
    },
    /// A rule over the entity's records halts it.
    Halt {
        /// The entry that says so.
        id: String,
    },
    /// A target lacks rows of an entity: its table is to be read again from its first row.
    Refill {
        /// The entity.
        id: String,
        /// Why.
        reason: String,
    },
    /// Whether it is there, and its system answers; about no entry.
    Mark {
        /// How long the system may take.
        within_ms: u64,
    },
}

impl Ask {
    /// Reads a request; a bare id, as older versions send it, is a retry.
    #[must_use]
    pub fn read(body: &[u8]) -> Ask {
        serde_json::from_slice(body).unwrap_or_else(|_| Ask::Retry {
            id: String::from_utf8_lossy(body).into_owned(),
            by: None,
        })
    }

    /// The request as it is sent.
    #[must_use]
    pub fn to_bytes(&self) -> bytes::Bytes {
        // Texts and typed values always serialise.
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    /// The entry, or the entity, that it is about.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Ask::Retry { id, .. }
            | Ask::Edit { id, .. }
            | Ask::Closed { id }
            | Ask::Halt { id }
            | Ask::Refill { id, .. } => id,
            Ask::Mark { .. } => "",
        }
    }

    /// What trying it is called, and who tries; nothing where nothing is tried.
    #[must_use]
    pub fn attempt(&self, answer: &Answer) -> Option<Attempt> {
        let (what, by) = match self {
            Ask::Retry { by, .. } => (Tried::Retry, by.clone()),
            Ask::Edit { edit, .. } => (Tried::Edit, Some(edit.by.clone())),
            Ask::Closed { .. } | Ask::Halt { .. } | Ask::Refill { .. } | Ask::Mark { .. } => {
                return None;
            }
        };
        let reasons = match answer {
            Answer::Rejected { reasons } => reasons.clone(),
            Answer::Done => Vec::new(),
            Answer::Missing | Answer::Closed { .. } | Answer::Failed { .. } => return None,
        };
        Some(Attempt {
            at: Timestamp::now(),
            by,
            what,
            reasons,
        })
    }

    /// The entry as it is to be tried: corrected, where a correction is asked for.
    #[must_use]
    pub fn applied(self, mut entry: Entry) -> Entry {
        if let Ask::Edit { edit, .. } = self {
            // What was too large to be kept is whole again once every column was given.
            entry.held.cut &= !edit.row.is_whole();
            entry.held.raw = None;
            entry.edits.push(edit);
        }
        entry
    }
}

impl Original {
    /// Keeps bytes, or the beginning of very many.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Original {
        Original {
            base64: STANDARD.encode(&bytes[..bytes.len().min(ORIGINAL_MAX)]),
            bytes: bytes.len(),
        }
    }

    /// The bytes, as far as they are kept.
    #[must_use]
    pub fn kept(&self) -> Vec<u8> {
        STANDARD.decode(&self.base64).unwrap_or_default()
    }
}
