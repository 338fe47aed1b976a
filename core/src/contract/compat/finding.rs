//! What a comparison found.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value as Json;

use super::{fingerprint, rules};
use crate::contract::{Contract, Direction, Places};
use crate::diagnostic::{Place, Severity};

/// One of the two versions: the contract and where its parts stand.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// The contract.
    pub contract: &'a Contract,
    /// Where its parts stand in its text.
    pub places: &'a Places,
}

/// The answer to whether one set of documents is part of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It is, and that is proved.
    Yes,
    /// Neither could be shown in time; counts as a break.
    Unproven,
    /// It is not, and the witness shows it.
    No,
}

/// The outcome of a comparison.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Report {
    /// The worst verdict of the directions asked for.
    pub verdict: Verdict,
    /// A document that is valid on one side and not on the other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub witness: Option<Json>,
    /// The direction that the witness breaks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub witness_direction: Option<Direction>,
    /// Everything found, in contract order.
    pub findings: Vec<Finding>,
}

/// One difference that matters.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Finding {
    /// The rule's id.
    pub rule: &'static str,
    /// How much it matters under the contract's compatibility mode.
    pub severity: Severity,
    /// The directions that it breaks; none for rules that no record shows.
    pub directions: Vec<Direction>,
    /// What could be proved about it.
    pub verdict: Verdict,
    /// The contract's id.
    pub contract: String,
    /// The entity.
    pub entity: String,
    /// The part that differs, such as `/fields/email/limits/maxLength`.
    pub pointer: String,
    /// What changed, in a sentence; never shows values of records.
    pub message: String,
    /// Where the part stands in the newer text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_place: Option<Place>,
    /// Where the part stands in the older text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old_place: Option<Place>,
    /// The part in the older version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<Json>,
    /// The part in the newer version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<Json>,
    /// A made-up document that shows the break.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub witness: Option<Json>,
    /// The direction that the document breaks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub witness_direction: Option<Direction>,
    /// The systems that it affects.
    pub consumers: Vec<String>,
    /// What to do about it.
    pub hint: String,
    /// The role that may approve it, if it can be approved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approver: Option<&'static str>,
    /// Names this difference for approvals: from rule, contract, part and both sides' values, so that it survives rebases and dies when the change differs.
    pub fingerprint: String,
}

impl Finding {
    /// A finding about a part of two versions, without verdict, values or consumers yet.
    pub(super) fn new(
        rule: &'static str,
        severity: Severity,
        old: Side<'_>,
        new: Side<'_>,
        pointer: impl Into<String>,
        message: impl Into<String>,
    ) -> Finding {
        let pointer = pointer.into();
        Finding {
            rule,
            severity,
            directions: Vec::new(),
            verdict: Verdict::Yes,
            contract: new.contract.id.clone(),
            entity: new.contract.entity.clone(),
            message: message.into(),
            new_place: new.places.at(&pointer).cloned(),
            old_place: old.places.at(&pointer).cloned(),
            pointer,
            old: None,
            new: None,
            witness: None,
            witness_direction: None,
            consumers: Vec::new(),
            hint: rules::hint(rule).to_owned(),
            approver: rules::approver(rule),
            fingerprint: String::new(),
        }
    }

    /// Shows what the part was and is; what is null is not shown.
    pub(super) fn parts(mut self, old: impl Into<Json>, new: impl Into<Json>) -> Finding {
        self.old = Some(old.into()).filter(|old| !old.is_null());
        self.new = Some(new.into()).filter(|new| !new.is_null());
        self.fingerprint = fingerprint::of(&self);
        self
    }

    /// Names the systems that rely on the contract, where the finding is more than a note.
    pub(super) fn affects(&mut self, old: Side<'_>, new: Side<'_>, others: &[String]) {
        if self.severity == Severity::Info {
            return;
        }
        let terms = [&old.contract.terms, &new.contract.terms];
        let named = terms.iter().flat_map(|terms| &terms.consumers);
        self.consumers = named.chain(others).cloned().collect();
        self.consumers.sort();
        self.consumers.dedup();
    }
}

impl Report {
    /// The report of these findings.
    pub(super) fn of(findings: Vec<Finding>) -> Report {
        let verdict = findings.iter().map(|finding| finding.verdict).max();
        let shown = findings.iter().find(|finding| finding.witness.is_some());
        Report {
            verdict: verdict.unwrap_or(Verdict::Yes),
            witness: shown.and_then(|finding| finding.witness.clone()),
            witness_direction: shown.and_then(|finding| finding.witness_direction),
            findings,
        }
    }
}
