//! The subjects of the log.

/// `ls.set.<entity>.v<major>.<lane>`: what is settled.
#[must_use]
pub fn settled(entity: &str, major: u64, lane: u32) -> String {
    format!("ls.set.{entity}.v{major}.{lane}")
}

/// Every lane of a settled entity.
#[must_use]
pub fn settled_lanes(entity: &str, major: u64) -> String {
    format!("ls.set.{entity}.v{major}.*")
}

/// `ls.set.<entity>.>`: every lane of every major version of an entity.
#[must_use]
pub fn settled_all(entity: &str) -> String {
    format!("ls.set.{entity}.>")
}

/// `ls.pos.<system>`: how far a system is read, and the epoch of its reader.
#[must_use]
pub fn position(system: &str) -> String {
    format!("ls.pos.{system}")
}

/// Everything that programs publish for an inbox: `ls.inbox.<system>.<entity>`.
#[must_use]
pub fn inbox(system: &str) -> String {
    format!("ls.inbox.{system}.>")
}

/// The entity of a message for the inbox of `system`, if its subject names one.
#[must_use]
pub fn inbox_entity<'s>(system: &str, subject: &'s str) -> Option<&'s str> {
    let rest = subject.strip_prefix("ls.inbox.")?.strip_prefix(system)?;
    rest.strip_prefix('.').filter(|entity| is_token(entity))
}

/// `ls.lease.capture.<system>`: who captures a system.
#[must_use]
pub fn capture_lease(system: &str) -> String {
    format!("ls.lease.capture.{system}")
}

/// `ls.lease.deliver.<flow>.<system>`: who delivers a flow into a system.
#[must_use]
pub fn deliver_lease(flow: &str, to: &str) -> String {
    format!("ls.lease.deliver.{flow}.{to}")
}

/// `ls.lease.runtime.<runtime>`: that one of several runtimes is there.
#[must_use]
pub fn runtime_lease(runtime: &str) -> String {
    format!("ls.lease.runtime.{runtime}")
}

/// `ls.dlq.<system>.<entity>`: quarantined changes.
#[must_use]
pub fn quarantine(system: &str, entity: &str) -> String {
    format!("ls.dlq.{system}.{entity}")
}

/// `ls.ctl.capture.<system>`: requests to whoever captures a system.
#[must_use]
pub fn capture_control(system: &str) -> String {
    format!("ls.ctl.capture.{system}")
}

/// `ls.ctl.deliver.<flow>.<system>`: requests to whoever delivers a flow into a system.
#[must_use]
pub fn deliver_control(flow: &str, to: &str) -> String {
    format!("ls.ctl.deliver.{flow}.{to}")
}

/// `ls.ctl.board.<runtime>`: requests to one of several runtimes for what it knows of itself.
#[must_use]
pub fn board(runtime: &str) -> String {
    format!("ls.ctl.board.{runtime}")
}

/// Tells whether a name may be a token of a subject: letters, digits, `_` and `-`.
#[must_use]
pub fn is_token(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 64
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}
