//! Reads a contract from ODCS v3 YAML.
//!
//! Owns the way from text to [`Contract`] and everything that can be wrong on it: every finding has a place, a stable code ([`CODES`]) and a remedy, and all of them are reported at once.
//! Knows no files: shared types come from a [`Library`]. No text makes it panic, loop or allocate beyond its limits.

mod codes;
mod field;
mod findings;
mod grammar;
mod keys;
mod migrations;
mod odcs;
mod quality;
mod reading;
mod relationships;
mod remarks;
mod terms;
#[cfg(test)]
mod tests;
mod types;
mod values;
pub(super) mod words;
mod written;
pub(super) mod yaml;

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::Contract;
use crate::diagnostic::{Diagnostic, Place};
use findings::Findings;
use reading::Reading;

pub use codes::CODES;
pub use grammar::editor_schema;
pub use yaml::CONTRACT_BYTES_MAX;

/// A contract as it was read.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The contract.
    pub contract: Contract,
    /// Where its parts stand in the text.
    pub places: Places,
    /// Warnings, in the order of the text.
    pub findings: Vec<Diagnostic>,
}

/// The contracts of a text that nothing is to be run from.
#[derive(Clone, Debug, Default)]
pub struct Linted {
    /// Every object that could be read, in the order of the text; none of them has findings of its own.
    pub contracts: Vec<Loaded>,
    /// Everything found. What the standard allows and only running Lockstep needs is a warning.
    pub findings: Vec<Diagnostic>,
}

/// Where the parts of a contract stand in its text, or in the text of a shared type.
///
/// A part is named by a pointer: `/version`, `/id`, `/entity`, `/key`, `/owner`, `/truth`, `/deletes`, `/lanes`, `/laneKey`, `/extra`, `/compatibility`, `/consumers`, `/reserved`, `/deprecation`, `/match`, `/survivorship`, `/status`, `/approvers/<role>`, `/levels/<property>`, `/rules/<name>`, `/migrations/<n>`.
/// A field is `/fields/<name>` with `/type`, `/required`, `/nullable`, `/limits/<option>` by the standard's names, `/allowed`, `/default`, `/class`, `/handling/<system>`, `/personal`, `/owner`, `/truth`, `/unique`, `/reference`, `/deprecation`, `/outcome`, `/extra` below it; inside a document `/fields/address/fields/street`, `/fields/lines/items`, `/fields/labels/values`.
#[derive(Clone, Debug, Default)]
pub struct Places {
    by_pointer: BTreeMap<String, Place>,
    /// What only people read, by pointer; none where the text is frozen, which leaves it out.
    remarks: Option<BTreeMap<String, Json>>,
    /// What stands at the keys that the contract was read from; none where the text is frozen.
    written: Option<BTreeMap<String, Json>>,
}

impl Places {
    /// The place of a part, or of the nearest part that holds it.
    #[must_use]
    pub fn at(&self, pointer: &str) -> Option<&Place> {
        let mut pointer = pointer;
        loop {
            if let Some(place) = self.by_pointer.get(pointer) {
                return Some(place);
            }
            pointer = &pointer[..pointer.rfind('/')?];
        }
    }

    /// What stands in the text and only people read, by pointer: tags, support, servers, names elsewhere, words; `None` where the text is a lock file, which leaves it out.
    #[must_use]
    pub fn remarks(&self) -> Option<&BTreeMap<String, Json>> {
        self.remarks.as_ref()
    }

    /// What stands at the keys that the contract was read from, as it is written: `/status`, `/schema/name`, `/fields/email/physicalType`, `/fields/email/logicalTypeOptions.format`, `/fields/email/lockstep.enum`, under `properties` the names in their order, and under `/` everything; `None` where the text is a lock file.
    ///
    /// Two spellings of one meaning differ here and in no contract.
    #[must_use]
    pub fn written(&self) -> Option<&BTreeMap<String, Json>> {
        self.written.as_ref()
    }

    /// The place of exactly this part.
    #[must_use]
    pub fn exactly(&self, pointer: &str) -> Option<&Place> {
        self.by_pointer.get(pointer)
    }
}

/// Where contracts find the types that they share.
pub trait Library {
    /// The text of a shared type, and the name of its file to show.
    ///
    /// `reference` is `types/<name>`, with more folders between where there are any: letters, digits, `-`, `_` and `/` only.
    /// It stands for the file `<reference>.odcs.yaml` in the folder of the contracts; a library never leaves that folder, by a link either.
    ///
    /// # Errors
    /// Why there is none, in words for a message.
    fn text(&self, reference: &str) -> Result<(String, String), String>;
}

/// A library without types.
#[derive(Clone, Copy, Debug)]
pub struct NoLibrary;

impl Library for NoLibrary {
    fn text(&self, _: &str) -> Result<(String, String), String> {
        Err("no shared types can be read here".to_owned())
    }
}

/// What a text is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// To run the entity: everything that Lockstep needs must be there.
    Run,
    /// To judge the text by the standard.
    Lint,
}

/// Reads and lints a contract; `file` is the name shown in messages.
///
/// # Errors
/// Every finding of severity error, each with its place, together with any warnings.
pub fn load(file: &str, text: &str, library: &dyn Library) -> Result<Loaded, Vec<Diagnostic>> {
    let mut reading = Reading::new(Findings::new(Mode::Run, file, text), library);
    let root = yaml::parse(text, 0, &mut reading.findings);
    let root = root.filter(|root| odcs::document(root, &mut reading.findings));
    let contract = root.and_then(|root| odcs::only(&root, &mut reading));
    match contract {
        Some(contract) if !reading.findings.any_error() => Ok(Loaded {
            contract,
            places: reading.places(),
            findings: reading.findings.finish(),
        }),
        _ => Err(reading.findings.finish()),
    }
}

/// Lints any contract of the standard, one with several objects or without a key included.
///
/// Whoever uses the contracts looks at the findings first: an error may have left a part of them out.
#[must_use]
pub fn lint(file: &str, text: &str, library: &dyn Library) -> Linted {
    let mut reading = Reading::new(Findings::new(Mode::Lint, file, text), library);
    let root = yaml::parse(text, 0, &mut reading.findings);
    let Some(root) = root.filter(|root| odcs::document(root, &mut reading.findings)) else {
        return Linted {
            contracts: Vec::new(),
            findings: reading.findings.finish(),
        };
    };
    let mut contracts = Vec::new();
    for object in odcs::objects(&root, &mut reading.findings) {
        let contract = odcs::contract(&root, object, &mut reading);
        let places = reading.places();
        contracts.extend(contract.map(|contract| Loaded {
            contract,
            places,
            findings: Vec::new(),
        }));
    }
    Linted {
        contracts,
        findings: reading.findings.finish(),
    }
}

/// The tree of a text that may be anything in YAML, for editing it.
pub(super) fn tree(file: &str, text: &str) -> Result<yaml::Node, Vec<Diagnostic>> {
    let mut findings = Findings::new(Mode::Lint, file, text);
    match yaml::parse(text, 0, &mut findings) {
        Some(root) if !findings.any_error() => Ok(root),
        _ => Err(findings.finish()),
    }
}

/// Reads the contract of a lock file whose digest was found to fit.
pub(super) fn lock(file: &str, text: &str) -> Result<Loaded, Vec<Diagnostic>> {
    let mut reading = Reading::new(Findings::new(Mode::Lint, file, text), &NoLibrary);
    let root = yaml::parse_lock(text, &mut reading.findings);
    let root = root.as_ref().and_then(|root| root.get("contract"));
    let root = root.filter(|root| odcs::document(root, &mut reading.findings));
    let contract = root.and_then(|root| odcs::only(root, &mut reading));
    match contract {
        Some(contract) if !reading.findings.any_error() => Ok(Loaded {
            contract,
            places: Places {
                remarks: None,
                written: None,
                ..reading.places()
            },
            findings: Vec::new(),
        }),
        _ => Err(reading.findings.finish()),
    }
}
