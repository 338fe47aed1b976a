//! The log's errors as the one error that the steps exchange.

use lockstep_core::error::{Error, Kind};

use super::{LogError, PublishError};

/// Code → page, for trouble with the log.
pub const CODES: &[(&str, &str)] = &[
    (
        "LS-L001",
        "The log could not write: the disk is full, or its folder may not be written.\n\
         Check: free space and permissions of the folder of `log.path`.\n\
         Safe: nothing is lost; sources wait and go on by themselves once the log can write again.",
    ),
    (
        "LS-L002",
        "The log is at its limit and refuses new messages instead of dropping old ones.\n\
         Check: `lockstep status` for a flow that lags; `log.max_bytes` and `log.max_age`.\n\
         Safe: nothing is lost; sources wait and go on by themselves once there is room.",
    ),
    (
        "LS-L003",
        "A target needs messages that the log no longer keeps, because it was away for longer than `log.max_age`.\n\
         Check: how long the target was away; a longer `log.max_age` for the next time.\n\
         Safe: stop the runtime, move the log's files away and start again: every source is read anew, and rows that are equal already are not written again. \
         Records that were deleted meanwhile show up in `lockstep verify` as extra.",
    ),
    (
        "LS-L004",
        "Another runtime holds the log: one log serves one runtime at a time.\n\
         Check: the process whose id the message gives.\n\
         Safe: stop that process, or give this one another `log.path`; a lock left by a killed process is released by the operating system.",
    ),
    (
        "LS-L005",
        "The log's file is damaged or is not a log.\n\
         Check: that `log.path` names the right file; the disk's health.\n\
         Safe: move the file away and start again: every source is read anew, and rows that are equal already are not written again.",
    ),
];

/// What a step does about an error of the log.
#[must_use]
pub fn to_error(error: LogError) -> Error {
    let kind = match error {
        LogError::Closed => Kind::Stopped,
        LogError::Storage(_) | LogError::Timeout(_) => Kind::Transient,
        LogError::InUse { .. } | LogError::Differs { .. } | LogError::Corrupt { .. } => {
            Kind::Config
        }
        LogError::Gap { .. } => Kind::Unsupported,
        _ => Kind::Unexpected,
    };
    let (code, help) = match &error {
        LogError::InUse { .. } => (
            "LS-L004",
            "stop the other runtime, or choose another `log.path`",
        ),
        LogError::Corrupt { .. } => (
            "LS-L005",
            "move the file away and start again: every source is read anew, nothing is written twice",
        ),
        LogError::Storage(_) => (
            "LS-L001",
            "check free space and permissions of the log's folder",
        ),
        LogError::Gap { .. } => ("LS-L003", "see `lockstep explain LS-L003`"),
        _ => return Error::new(kind, "the log did not do what was asked").because(error),
    };
    Error::new(kind, "the log cannot be used")
        .because(error)
        .code(code)
        .help(help)
}

/// What a step does about a message that was not stored, or may not have been.
#[must_use]
pub fn not_published(error: &PublishError) -> Error {
    let kind = match error {
        PublishError::Full { .. } | PublishError::Storage(_) | PublishError::Unknown(_) => {
            Kind::Transient
        }
        PublishError::WrongLast { .. } => Kind::Unexpected,
        PublishError::Refused(_) => Kind::Invalid,
    };
    let error_out =
        Error::new(kind, "a message could not be stored in the log").because(error.clone());
    match error {
        PublishError::Full { .. } => error_out.code("LS-L002").help(
            "make room: raise `log.max_bytes`, lower `log.max_age`, or mend the flow that lags",
        ),
        PublishError::Storage(_) => error_out
            .code("LS-L001")
            .help("check free space and permissions of the log's folder"),
        _ => error_out,
    }
}
