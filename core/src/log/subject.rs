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

/// `ls.pos.<system>`: how far a system is read, and the epoch of its reader.
#[must_use]
pub fn position(system: &str) -> String {
    format!("ls.pos.{system}")
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

/// Tells whether a name may be a token of a subject: letters, digits, `_` and `-`.
#[must_use]
pub fn is_token(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 64
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}
