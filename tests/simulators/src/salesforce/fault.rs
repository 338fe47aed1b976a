//! What goes wrong when somebody asks for it.

/// Something that goes wrong with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The calls of the day are used up: 403.
    DayUsed,
    /// Too many long calls at once: 403.
    Busy,
    /// The user may not do that: 403.
    Forbidden,
    /// 429, with the seconds to wait where they are told.
    TooMany(Option<u32>),
    /// 500, and nothing was done.
    Failed,
    /// What was asked for is done, and the answer is 500.
    DoneThenFailed,
    /// A page for people, with 200.
    Html,
    /// A page for people, with 503.
    Maintenance,
    /// The token ends.
    Expired,
    /// Queries forget where they were.
    Forgotten,
    /// Somebody else holds the first record of a collection.
    Locked,
}

/// The faults that are due.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<Due>);

#[derive(Debug)]
struct Due {
    fault: Fault,
    path: String,
    skip: u32,
    times: u32,
}

impl Faults {
    pub(super) fn add(&mut self, fault: Fault, path: &str, skip: u32, times: u32) {
        self.0.push(Due {
            fault,
            path: path.to_owned(),
            skip,
            times,
        });
    }

    /// What goes wrong with a call, if anything does.
    pub(super) fn next(&mut self, path: &str) -> Option<Fault> {
        let due = self.0.iter_mut().find(|due| path.contains(&due.path))?;
        if due.skip > 0 {
            due.skip -= 1;
            return None;
        }
        due.times = due.times.saturating_sub(1);
        let fault = due.fault;
        self.0.retain(|due| due.times > 0);
        Some(fault)
    }
}

impl Fault {
    pub(super) fn named(name: &str) -> Option<Fault> {
        Some(match name {
            "day_used" => Fault::DayUsed,
            "busy" => Fault::Busy,
            "too_many" => Fault::TooMany(None),
            "forbidden" => Fault::Forbidden,
            "failed" => Fault::Failed,
            "done_then_failed" => Fault::DoneThenFailed,
            "html" => Fault::Html,
            "maintenance" => Fault::Maintenance,
            "expired" => Fault::Expired,
            "forgotten" => Fault::Forgotten,
            "locked" => Fault::Locked,
            _ => return None,
        })
    }
}
