//! One finding, wherever it comes from: a contract's text, a comparison, a release, an approval.

use lockstep_core::contract::Direction;
use lockstep_core::contract::compat::{Finding, Verdict};
use lockstep_core::diagnostic::{Diagnostic, Place, Severity};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};

/// One finding.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Item {
    /// The rule's id, such as `LSC-FIELD-REMOVED`, or a code such as `LS-C012`.
    pub rule: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// What is wrong, in a sentence; never shows values of records.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Where it stands now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_place: Option<Place>,
    /// Where it stood in what was compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old_place: Option<Place>,
    /// The contract's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contract: Option<String>,
    /// The entity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entity: Option<String>,
    /// The part of the contract, such as `/fields/email/limits/maxLength`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// The directions that it breaks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub directions: Vec<Direction>,
    /// What could be proved about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// The part as it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<Json>,
    /// The part as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<Json>,
    /// A made-up document that shows the break.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub witness: Option<Json>,
    /// The systems that it affects.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub consumers: Vec<String>,
    /// The role that may approve it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approver: Option<&'static str>,
    /// Names the difference for approvals, or the finding for build servers.
    pub fingerprint: String,
    /// Who approved it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approved: Option<Excuse>,
}

/// An approval that excuses a finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Excuse {
    /// Who approved.
    pub by: String,
    /// In which role.
    pub role: String,
    /// Why.
    pub reason: String,
    /// The last day on which the approval counts.
    pub expires: String,
}

impl Item {
    /// What the rows of a report are sorted by.
    pub(super) fn order(&self) -> impl Ord + '_ {
        let place = self.new_place.as_ref().or(self.old_place.as_ref());
        let place = place.map(|place| (&place.file, place.line, place.column));
        (
            place,
            std::cmp::Reverse(self.severity),
            self.rule,
            self.pointer.as_deref(),
            &self.message,
            &self.fingerprint,
        )
    }

    /// The place to show first, and whether it is one in the older text.
    pub(super) fn place(&self) -> Option<(&Place, bool)> {
        let new = self.new_place.as_ref().map(|place| (place, false));
        new.or(self.old_place.as_ref().map(|place| (place, true)))
    }

    /// `breaks backward and forward, proved`; empty where nothing breaks.
    pub(super) fn breaks(&self) -> String {
        let words: Vec<&str> = self
            .directions
            .iter()
            .map(|direction| direction_word(*direction))
            .collect();
        let how = match self.verdict {
            Some(Verdict::Unproven) => "could not be proved either way, which counts as a break",
            Some(Verdict::No) if self.witness.is_some() => "proved by the witness",
            _ => "",
        };
        match (words.is_empty(), how.is_empty()) {
            (true, true) => String::new(),
            (true, false) => how.to_owned(),
            (false, true) => words.join(" and "),
            (false, false) => format!("{}; {how}", words.join(" and ")),
        }
    }
}

fn direction_word(direction: Direction) -> &'static str {
    match direction {
        Direction::Backward => "backward (new readers, old records)",
        Direction::Forward => "forward (old readers, new records)",
        Direction::Full => "both ways",
    }
}

impl From<Diagnostic> for Item {
    fn from(found: Diagnostic) -> Item {
        let fingerprint = fingerprint(&found);
        Item {
            rule: found.code,
            severity: found.severity,
            message: found.message,
            hint: found.help,
            new_place: found.place,
            old_place: None,
            contract: None,
            entity: None,
            pointer: None,
            directions: Vec::new(),
            verdict: None,
            old: None,
            new: None,
            witness: None,
            consumers: Vec::new(),
            approver: None,
            fingerprint,
            approved: None,
        }
    }
}

impl From<Finding> for Item {
    fn from(found: Finding) -> Item {
        Item {
            rule: found.rule,
            severity: found.severity,
            message: found.message,
            hint: Some(found.hint).filter(|hint| !hint.is_empty()),
            new_place: found.new_place,
            old_place: found.old_place,
            contract: Some(found.contract),
            entity: Some(found.entity),
            pointer: Some(found.pointer),
            directions: found.directions,
            verdict: Some(found.verdict),
            old: found.old,
            new: found.new,
            witness: found.witness,
            consumers: found.consumers,
            approver: found.approver,
            fingerprint: found.fingerprint,
            approved: None,
        }
    }
}

/// Names a finding about a text: the same while its file and words are the same, wherever in the file it stands.
fn fingerprint(found: &Diagnostic) -> String {
    let file = found.place.as_ref().map_or("", |place| place.file.as_str());
    let digest = Sha256::digest(format!("{}\0{file}\0{}", found.code, found.message));
    digest[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
