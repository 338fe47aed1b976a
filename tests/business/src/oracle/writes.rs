//! Was every write one that should have happened, once and in order? The audit of a target table against the stories of its entity.
//!
//! The writes of one key must be a subsequence of its versions: versions may be skipped (a newer one came in the same batch), never repeated and never taken back.
//! Where a target holds only a part of the fields, two versions may look the same to it; then it may be written once for each.
//! Pure: the writes come in as the triggers saw them.

use std::collections::HashMap;

use super::state::{difference, keyed};
use super::{FINDINGS_MAX, Finding, Trouble};
use crate::record::{Key, Record};
use crate::shape::{Raw, Table};
use crate::story::{Stories, Story};

/// One write, as a target's trigger saw it.
#[derive(Clone, Debug, PartialEq)]
pub struct Audited {
    /// Whether the row went; its image is then the last one.
    pub delete: bool,
    /// The row.
    pub image: Raw,
    /// When, in milliseconds since 1970.
    pub written_ms: i64,
}

/// A time during which the runtime was down, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// When it was killed.
    pub from_ms: i64,
    /// When it answered again.
    pub to_ms: i64,
}

/// What became of a table's writes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Writes {
    /// Edits that arrived.
    pub changes: u64,
    /// Versions written again.
    pub doubled: u64,
    /// Versions written out of order or out of nowhere.
    pub disorder: u64,
    /// Milliseconds from commit to write, sorted; the initial load and whatever overlaps an outage left out.
    pub lags: Vec<i64>,
    /// The first of all that is wrong.
    pub findings: Vec<Finding>,
}

/// Judges a table's writes.
#[must_use]
pub fn judge(table: &Table, stories: &Stories, audit: &[Audited], outages: &[Outage]) -> Writes {
    let mut writes = Writes::default();
    // For each key, how many of its versions lie behind.
    let mut behind: HashMap<Key, usize> = HashMap::new();
    for write in audit {
        let (key, record) = match keyed(table, &write.image) {
            Ok(Some(found)) => found,
            Ok(None) => continue,
            Err(reason) => {
                writes.note(table, Trouble::Unreadable, "?", reason);
                continue;
            }
        };
        let Some(story) = stories.get(table.entity, &key) else {
            let never = "no system ever had such a record".to_owned();
            writes.note(table, Trouble::Unexpected, &key.to_string(), never);
            continue;
        };
        let image = (!write.delete).then_some(record);
        let passed = behind.get(&key).copied().unwrap_or(0);
        match place(table, story, passed, image.as_ref()) {
            Ok(at) => {
                behind.insert(key, at + 1);
                writes.arrived(table, story, at, write, outages);
            }
            Err((trouble, detail)) => writes.note(table, trouble, &key.to_string(), detail),
        }
    }
    writes.lags.sort_unstable();
    writes
}

/// The version that was written, searched behind those that were passed; or what is wrong with it.
fn place(
    table: &Table,
    story: &Story,
    passed: usize,
    image: Option<&Record>,
) -> Result<usize, (Trouble, String)> {
    let is = |at: usize| looks(table, story, at).as_ref() == image;
    let count = story.steps.len();
    if let Some(at) = (passed..count).find(|at| is(*at)) {
        return Ok(at);
    }
    if passed > 0 && is(passed - 1) {
        return Err((Trouble::Doubled, format!("version {passed} of {count}")));
    }
    if let Some(at) = (0..passed).find(|at| is(*at)) {
        let detail = format!("version {} came after version {passed}", at + 1);
        return Err((Trouble::OutOfOrder, detail));
    }
    let current = passed
        .checked_sub(1)
        .and_then(|at| looks(table, story, at))
        .or_else(|| looks(table, story, passed));
    let detail = match (image, current) {
        (Some(image), Some(current)) => difference(&current, image),
        (None, _) => "it was never deleted".to_owned(),
        (Some(_), None) => "it was gone".to_owned(),
    };
    Err((Trouble::Unexpected, detail))
}

/// What a target can see of a version.
fn looks(table: &Table, story: &Story, at: usize) -> Option<Record> {
    let record = story.steps.get(at)?.record.as_ref()?;
    Some(table.project(record))
}

impl Writes {
    fn arrived(
        &mut self,
        table: &Table,
        story: &Story,
        at: usize,
        write: &Audited,
        outages: &[Outage],
    ) {
        let Some(commit_ms) = story.steps.get(at).and_then(|step| step.commit_ms) else {
            return;
        };
        self.changes += 1;
        // Where the next version looks the same, nobody can say which of the two was written.
        let doubtful =
            at + 1 < story.steps.len() && looks(table, story, at) == looks(table, story, at + 1);
        let down =
            |outage: &Outage| commit_ms <= outage.to_ms && write.written_ms >= outage.from_ms;
        if !doubtful && !outages.iter().any(down) {
            self.lags.push((write.written_ms - commit_ms).max(0));
        }
    }

    fn note(&mut self, table: &Table, what: Trouble, key: &str, detail: String) {
        match what {
            Trouble::Doubled => self.doubled += 1,
            _ => self.disorder += 1,
        }
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(Finding {
                what,
                entity: table.entity,
                system: table.system,
                key: key.to_owned(),
                detail,
            });
        }
    }
}
