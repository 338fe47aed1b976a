//! The check of records as JSON text, straight from their bytes.
//!
//! The verdict is the writer schema's, and the compiled check's on the same record in typed form.
//! Nothing is built but what rules look at.

use std::fmt::Display;

use super::fault::{Broken, Fault, Path};
use super::scan::{Malformed, Next, Scanner};
use super::tally::Tally;
use super::{Checker, Violation};
use crate::contract::{Contract, Outcome, wire};
use crate::error::Result;
use crate::shape::Row;
use crate::value::{Cell, Type};

/// Checks records as JSON text.
#[derive(Debug)]
pub struct LineChecker {
    checker: Checker,
    /// The types of the fields whose values are read, for rules and for the caller.
    needed: Vec<Option<Type>>,
    row: Row,
    is_read: bool,
}

impl LineChecker {
    /// Compiles a contract's checks; the values of the fields at `also` can be asked for after each record.
    ///
    /// # Errors
    /// A pattern or rule that does not compile; a contract that was loaded from its text has none.
    pub fn compile(contract: &Contract, also: &[usize]) -> Result<LineChecker> {
        let checker = Checker::compile(contract)?;
        let mut needed = vec![None; contract.fields.len()];
        let inputs = checker.rules.iter().flat_map(|rule| rule.inputs().iter());
        for at in inputs.chain(also) {
            if let (Some(slot), Some(field)) = (needed.get_mut(*at), contract.fields.get(*at)) {
                *slot = Some(field.kind);
            }
        }
        Ok(LineChecker {
            row: Row::unchanged(contract.fields.len()),
            is_read: false,
            checker,
            needed,
        })
    }

    /// The compiled check of typed records.
    #[must_use]
    pub fn checker(&self) -> &Checker {
        &self.checker
    }

    /// Whether the last text was a record, sound or not.
    #[must_use]
    pub fn is_read(&self) -> bool {
        self.is_read
    }

    /// The values read from the last record; those of other fields are unchanged.
    #[must_use]
    pub fn row(&self) -> &Row {
        &self.row
    }

    /// Checks one record and counts what is wrong with it; `at` says where it stands. Gives the severest outcome.
    ///
    /// Of a patch, which is not `whole`, nothing is required.
    pub fn check(
        &mut self,
        json: &[u8],
        whole: bool,
        at: &dyn Display,
        tally: &mut Tally,
    ) -> Option<Outcome> {
        let mut worst = None;
        let whole_text = std::cell::OnceCell::new();
        let mut sink = |fault: Fault<'_>| {
            // What cannot be read to its end has no faults but that.
            if !whole_text.get_or_init(|| is_json(json)) {
                return;
            }
            worst = worst.max(Some(fault.check.outcome));
            tally.fault(&fault, at);
        };
        let (row, read) = self.read(json, whole, &mut sink);
        self.row = row;
        self.is_read = read.is_ok();
        match read {
            Err(malformed) => {
                let violation = not_a_record(malformed);
                worst = worst.max(Some(violation.outcome));
                tally.violation(&violation, at);
            }
            Ok(at_fault) => {
                for violation in self.checker.broken_rules(&self.row, whole, &at_fault) {
                    worst = worst.max(Some(violation.outcome));
                    tally.violation(&violation, at);
                }
            }
        }
        tally.record(worst);
        worst
    }

    /// Checks one record, giving what is wrong with it, at most [`super::VIOLATIONS_MAX`].
    pub fn violations(&mut self, json: &[u8], whole: bool) -> Vec<Violation> {
        let mut found = Vec::new();
        let whole_text = std::cell::OnceCell::new();
        let mut sink = |fault: Fault<'_>| {
            if *whole_text.get_or_init(|| is_json(json)) && found.len() < super::VIOLATIONS_MAX {
                found.push(fault.violation());
            }
        };
        let (row, read) = self.read(json, whole, &mut sink);
        self.row = row;
        self.is_read = read.is_ok();
        match read {
            Err(malformed) => found.push(not_a_record(malformed)),
            Ok(at_fault) => found.extend(self.checker.broken_rules(&self.row, whole, &at_fault)),
        }
        found
    }

    /// Reads a record, telling its faults; gives the values that rules look at and the positions of the fields at fault.
    fn read(
        &mut self,
        json: &[u8],
        whole: bool,
        sink: &mut dyn FnMut(Fault<'_>),
    ) -> (Row, std::result::Result<Vec<usize>, Malformed>) {
        let mut row = std::mem::take(&mut self.row);
        row.0.fill(Cell::Unchanged);
        let text = match std::str::from_utf8(json) {
            Ok(text) => text,
            Err(error) => {
                let malformed = Malformed {
                    at: error.valid_up_to(),
                    what: "the text is not UTF-8",
                };
                return (row, Err(malformed));
            }
        };
        let fields = self.checker.fields();
        let mut at_fault = Vec::new();
        // Faults are told before the member they are about is over.
        let faulty = std::cell::Cell::new(false);
        let mut missing = Vec::new();
        let mut scan = Scanner::new(text);
        let read = match scan.next() {
            Ok(Next::Object) => self.checker.record.members(
                &mut scan,
                &Path::Record,
                0,
                &mut |position, text| {
                    if faulty.take() {
                        at_fault.push(position);
                    } else if let Some(kind) = self.needed[position] {
                        // What passed the check can be read; what cannot is not judged by rules.
                        row.0[position] = wire::read(kind, text).map_or(Cell::Unchanged, Cell::Set);
                    }
                },
                &mut |fault| {
                    let top = matches!(fault.path, Path::Member(Path::Record, _));
                    match fault.broken {
                        Broken::Missing if top && !whole => return,
                        Broken::Missing if top => missing.push(fault.check.name.clone()),
                        Broken::Unknown | Broken::Twice if top => {}
                        _ => faulty.set(true),
                    }
                    sink(fault);
                },
            ),
            Ok(_) => Err(Malformed {
                at: 0,
                what: "a record is an object",
            }),
            Err(malformed) => Err(malformed),
        };
        let named = |name: String| fields.iter().position(|field| field.name == name);
        at_fault.extend(missing.into_iter().filter_map(named));
        let read = read.and_then(|()| scan.end());
        if read.is_err() {
            row.0.fill(Cell::Unchanged);
        }
        (row, read.map(|()| at_fault))
    }
}

impl Checker {
    /// Checks a row in contract shape and counts what is wrong with it; `at` says where it stands. Gives the severest outcome.
    ///
    /// What is `known` to be wrong already is counted too, and fields that it names are not judged again.
    pub fn count(
        &self,
        row: &Row,
        whole: bool,
        known: &[Violation],
        at: &dyn Display,
        tally: &mut Tally,
    ) -> Option<Outcome> {
        let mut worst = super::worst(known);
        let mut at_fault = Vec::new();
        for violation in known {
            tally.violation(violation, at);
        }
        for (position, check) in self.fields().iter().enumerate() {
            let named = |violation: &Violation| violation.field.as_deref() == Some(&*check.name);
            if known.iter().any(named) {
                at_fault.push(position);
                continue;
            }
            let mut sink = |fault: Fault<'_>| {
                if at_fault.last() != Some(&position) {
                    at_fault.push(position);
                }
                worst = worst.max(Some(fault.check.outcome));
                tally.fault(&fault, at);
            };
            match row.cell(position) {
                Cell::Set(value) => check.check(value, &mut sink),
                Cell::Unchanged if whole && check.required => check.missing(&mut sink),
                Cell::Unchanged => {}
            }
        }
        for violation in self.broken_rules(row, whole, &at_fault) {
            worst = worst.max(Some(violation.outcome));
            tally.violation(&violation, at);
        }
        tally.record(worst);
        worst
    }
}

/// Hands over the items of a list, or the one value that a text holds, each with its offset.
///
/// # Errors
/// The text is not JSON, with the line and why; what stands before that place has been handed over.
pub fn items(
    text: &str,
    each: &mut dyn FnMut(&str, usize),
) -> std::result::Result<(), (u64, String)> {
    let mut scan = Scanner::new(text);
    let mut read = || {
        let start = scan.start();
        if scan.next()? != Next::List {
            scan.skip(0)?;
            each(scan.since(start), start);
            return scan.end();
        }
        let mut first = scan.enter(0)?;
        while scan.item(&mut first)? {
            let start = scan.start();
            scan.skip(1)?;
            each(scan.since(start), start);
        }
        scan.end()
    };
    read().map_err(|malformed| {
        let line = 1 + text.as_bytes()[..malformed.at]
            .iter()
            .filter(|b| **b == b'\n')
            .count();
        (line as u64, malformed.what.to_string())
    })
}

/// The value of one member of an object, as a contract's type has it; `None` where there is none of that form.
#[must_use]
pub fn member(json: &str, name: &str, kind: Type) -> Option<crate::value::Value> {
    let mut scan = Scanner::new(json);
    if scan.next().ok()? != Next::Object {
        return None;
    }
    let mut first = scan.enter(0).ok()?;
    while let Some(found) = scan.member(&mut first).ok()? {
        let start = scan.start();
        scan.skip(1).ok()?;
        if found == name {
            return wire::read(kind, scan.since(start));
        }
    }
    None
}

/// Whether a text is JSON to its end, whatever it says.
fn is_json(json: &[u8]) -> bool {
    std::str::from_utf8(json).is_ok_and(|text| {
        let mut scan = Scanner::new(text);
        scan.skip(0).and_then(|()| scan.end()).is_ok()
    })
}

fn not_a_record(malformed: Malformed) -> Violation {
    Violation {
        field: None,
        rule: "json".to_owned(),
        message: format!(
            "not a JSON record: byte {}: {}",
            malformed.at, malformed.what
        ),
        outcome: Outcome::Quarantine,
    }
}
