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
         Safe: stop the runtime, throw the settled events away and start again. With the embedded log, move its files away; with NATS, `nats stream rm LS_SET` is enough, since positions belong to that stream and go with it. \
         Every source is then read anew, and rows that are equal already are not written again. \
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
    (
        "LS-L006",
        "The log's servers cannot be reached, or JetStream is off there or has no leader.\n\
         Check: `log.servers`, the network between here and there, that `jetstream` is on in the server's configuration, and that most servers of a cluster run.\n\
         Safe: nothing is lost; a running Lockstep connects again by itself and goes on where it was.",
    ),
    (
        "LS-L007",
        "The log's servers do not accept the credentials, or do not permit what Lockstep needs.\n\
         Check: `user` and `password`, `token`, `nkey` or `credentials` in `[log]`, certificates in `log.tls`, and the permissions of that user: \
         it publishes to `ls.>`, `$KV.>`, `$O.>`, `$JS.API.>` and `$JS.ACK.>`, and subscribes to `_INBOX.>` and `ls.>`.\n\
         Safe: nothing is lost; mend the credentials or permissions, and a running Lockstep goes on by itself.",
    ),
    (
        "LS-L008",
        "A stream of the log has other settings than Lockstep gave it: somebody changed it by hand, or something else made it.\n\
         Check: `nats stream info STREAM` against the differences in the message.\n\
         Safe: set it back with `nats stream edit`, or, where the stream is not Lockstep's, give Lockstep an account of its own. Limits (`max_age`, `max_bytes`, `replicas`) are put in force by the next start.",
    ),
    (
        "LS-L010",
        "The log lost its newest messages: a stream ends before what Lockstep has stored in it or read from it. A server was restored from a backup, or lost at a power failure what it had acknowledged (`sync` is not `always`).\n\
         Check: what happened to the log's servers and disks; the `sync` that `lockstep status` shows.\n\
         Safe: nothing is skipped; what depends on the lost messages is held. Stop every runtime, throw the settled events away (with NATS `nats stream rm LS_SET`; with the embedded log move its files away) and start again: \
         every source is read anew, and rows that are equal already are not written again. Records that were deleted meanwhile show up in `lockstep verify` as extra.",
    ),
    (
        "LS-L011",
        "Something that is not Lockstep publishes on `ls.pos.<system>`, where Lockstep keeps how far a system is read, and has pushed Lockstep's own messages out.\n\
         Check: `nats stream view LS_POS`, and which users may publish to `ls.>` besides Lockstep: none should.\n\
         Safe: the source is not read any further, so nothing is skipped. Take that permission away, stop every runtime, `nats stream rm LS_POS` and start again: \
         every source is read anew, and rows that are equal already are not written again. Records that were deleted meanwhile show up in `lockstep verify` as extra.",
    ),
    (
        "LS-L012",
        "A stream of the log is gone while Lockstep runs: somebody deleted it, or the servers lost their store.\n\
         Check: `nats stream ls` against the name in the message; the servers' store and who may delete streams.\n\
         Safe: restart Lockstep, which makes the stream again. What was in it is gone: after the start, see `lockstep status` and compare with `lockstep verify`.",
    ),
    (
        "LS-L013",
        "A message that is larger than a server takes at once refers to an object beside its stream (`OBJ_LS_SET`), and that is missing or is not what was stored.\n\
         Check: `nats object ls LS_SET`, the limits of `OBJ_LS_SET`, and who may write there besides Lockstep: none should.\n\
         Safe: nothing is skipped; the flow waits at that message. Restore the object from a backup of the servers' store. \
         Where there is none, stop every runtime, `nats stream rm LS_SET` and start again: every source is read anew, and rows that are equal already are not written again.",
    ),
];

/// The cure of storage that fails, whichever engine it is under.
const STORAGE_HELP: &str = "check free space and permissions of the log's folder; with NATS, that JetStream runs on the servers and their store has room";

/// What a step does about an error of the log.
#[must_use]
pub fn to_error(error: LogError) -> Error {
    let kind = match error {
        LogError::Closed => Kind::Stopped,
        LogError::Storage(_) | LogError::Timeout(_) | LogError::Unreachable { .. } => {
            Kind::Transient
        }
        LogError::Credentials(_) | LogError::Denied(_) => Kind::Unauthorized,
        LogError::InUse { .. }
        | LogError::Differs { .. }
        | LogError::Corrupt { .. }
        | LogError::Missing { .. }
        | LogError::Object { .. }
        | LogError::SetBack { .. } => Kind::Config,
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
        LogError::Storage(_) => ("LS-L001", STORAGE_HELP),
        LogError::SetBack { .. } => (
            "LS-L010",
            "see `lockstep explain LS-L010` for how to read the sources anew",
        ),
        LogError::Object { .. } => (
            "LS-L013",
            "restore the object; see `lockstep explain LS-L013`",
        ),
        LogError::Gap { .. } => ("LS-L003", "see `lockstep explain LS-L003`"),
        LogError::Unreachable { .. } => (
            "LS-L006",
            "start the server, or mend `log.servers`; a running Lockstep goes on by itself",
        ),
        LogError::Credentials(_) | LogError::Denied(_) => (
            "LS-L007",
            "mend the credentials in `[log]`, or the user's permissions on the server",
        ),
        LogError::Differs { .. } => (
            "LS-L008",
            "set the stream back with `nats stream edit`, or see `lockstep explain LS-L008`",
        ),
        LogError::Missing { .. } => (
            "LS-L012",
            "find out who removed it, then restart Lockstep, which makes it again; see `lockstep explain LS-L012`",
        ),
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
        PublishError::Denied(_) => Kind::Unauthorized,
    };
    let error_out =
        Error::new(kind, "a message could not be stored in the log").because(error.clone());
    match error {
        PublishError::Full { .. } => error_out.code("LS-L002").help(
            "make room: raise `log.max_bytes`, lower `log.max_age`, or mend the flow that lags",
        ),
        PublishError::Denied(_) => error_out.code("LS-L007").help(
            "mend the user's permissions on the log's server; see `lockstep explain LS-L007`",
        ),
        PublishError::Storage(_) => error_out.code("LS-L001").help(STORAGE_HELP),
        _ => error_out,
    }
}
