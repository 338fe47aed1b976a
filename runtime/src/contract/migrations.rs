//! Whether the migrations of a contract lead from one released version to another.
//!
//! `core` compiles steps; this module finds the two versions that each migration names, among the releases and the contract itself.
//! A change is written before its version is made: until then its migration leads to the version that the next release makes, and to no other.

use std::collections::BTreeSet;

use lockstep_core::contract::migrate::{BAD_MIGRATION, Fault, Way};
use lockstep_core::contract::{Contract, Loaded};
use lockstep_core::diagnostic::{Diagnostic, Severity};
use semver::Version;

/// What is wrong with the migrations of a contract whose older versions are known; the others cannot be judged.
#[must_use]
pub fn check(loaded: &Loaded, releases: &[&Contract]) -> Vec<Diagnostic> {
    // A text between two versions has the fields of the one that the next release makes.
    let contract = &Contract {
        version: loaded
            .contract
            .ahead()
            .unwrap_or(&loaded.contract.version)
            .clone(),
        ..loaded.contract.clone()
    };
    let released = |version: &Version| {
        let mut releases = releases.iter().copied();
        releases.find(|release| release.version == *version)
    };
    let mut findings = Vec::new();
    let mut told = BTreeSet::new();
    for (n, migration) in contract.migrations.iter().enumerate() {
        let old = released(&migration.from);
        let new = if migration.to == contract.version {
            Some(contract)
        } else {
            released(&migration.to)
        };
        let (Some(old), Some(new)) = (old, new) else {
            continue;
        };
        let up = Way::up(old, new, &contract.migrations).err();
        let down = Way::down(old, new, &contract.migrations).err();
        let of = |faults: Option<Vec<Fault>>, severity| {
            let faults = faults.unwrap_or_default();
            faults.into_iter().map(move |fault| (fault, severity))
        };
        // Nobody has to go back; but steps that are written have to be right.
        let back = if migration.down.is_empty() {
            Severity::Warning
        } else {
            Severity::Error
        };
        for (fault, severity) in of(up, Severity::Error).chain(of(down, back)) {
            // The migrations on the way between two versions are those of each of them, too.
            if !told.insert((fault.pointer.clone(), fault.message.clone())) {
                continue;
            }
            let own = fault.pointer.starts_with("/migrations/");
            let here = format!("/migrations/{n}");
            let pointer = if own { &fault.pointer } else { &here };
            let place = loaded.places.at(pointer).cloned();
            let severity = if fault.code == BAD_MIGRATION {
                Severity::Error
            } else {
                severity
            };
            findings.push(Diagnostic {
                severity,
                place,
                ..fault.diagnostic(None)
            });
        }
    }
    findings
}

/// Migrations that lead beyond the contract's version and not to `next`, the one that the next release makes.
#[must_use]
pub fn astray(loaded: &Loaded, last: Option<&Version>, next: &Version) -> Vec<Diagnostic> {
    let contract = &loaded.contract;
    let listed = contract.migrations.iter().enumerate();
    let astray = listed.filter(|(_, one)| one.to > contract.version && one.to != *next);
    astray
        .map(|(n, migration)| {
            let to = &migration.to;
            let help = match last {
                None => format!(
                    "nothing was released yet: release {next} as it was before the change, then write the change and its migration"
                ),
                Some(_) if next < to => format!(
                    "write `to: {next}`; to make it {to} all the same, write the contract's `version: {to}`"
                ),
                Some(_) => format!("write `to: {next}`"),
            };
            let message =
                format!("the migration leads to {to}, and the next release is {next}");
            let finding = Diagnostic::error("LS-C044", message).help(help);
            match loaded.places.at(&format!("/migrations/{n}/to")) {
                Some(place) => finding.at(place.clone()),
                None => finding,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use lockstep_core::contract::{NoLibrary, load};

    use super::*;

    fn text(version: &str, name: &str, migrations: &str) -> String {
        format!(
            "apiVersion: v3.1.0\nkind: DataContract\nid: thing\nversion: {version}\nstatus: active\nschema:\n  - name: thing\n    customProperties:\n      - {{property: lockstep.owner, value: erp}}\n{migrations}    properties:\n      - {{name: id, logicalType: string, primaryKey: true, required: true}}\n      - {{name: {name}, logicalType: string, required: true}}\n"
        )
    }

    fn found(up: &str, down: &str) -> Vec<(&'static str, Severity, usize, String)> {
        let migrations = format!(
            "      - property: lockstep.migrations\n        value:\n          - from: 1.0.0\n            to: 2.0.0\n            up:\n              - {up}\n            down: [{down}]\n"
        );
        let load = |text: &str| load("thing.odcs.yaml", text, &NoLibrary).unwrap();
        let old = load(&text("1.0.0", "name", "")).contract;
        let new = load(&text("2.0.0", "title", &migrations));
        assert_eq!(check(&new, &[]), Vec::new(), "nothing to judge by");
        let findings = check(&new, &[&old]).into_iter();
        findings
            .map(|f| {
                let line = f.place.as_ref().map_or(0, |place| place.line);
                (f.code, f.severity, line, f.message)
            })
            .collect()
    }

    #[test]
    fn steps_are_compiled_against_the_versions_that_they_lead_between() {
        let back = "rename: {from: title, to: name}";
        let table = [
            ("rename: {from: name, to: title}", back, None),
            (
                "rename: {from: nmae, to: title}",
                back,
                Some(("LS-E001", Severity::Error, 15, "no field `nmae`")),
            ),
            (
                "compute: {field: title, expression: 'name + 1'}",
                back,
                Some(("LS-E001", Severity::Error, 15, "does not compile")),
            ),
            (
                "compute: {field: title, expression: 'upper(nam'}",
                back,
                Some(("LS-E001", Severity::Error, 15, "does not compile")),
            ),
            (
                "drop: name",
                back,
                Some(("LS-E002", Severity::Error, 12, "`title` is required")),
            ),
            (
                "rename: {from: name, to: title}",
                "",
                Some(("LS-E002", Severity::Warning, 12, "`name` is required")),
            ),
            (
                "rename: {from: name, to: title}",
                "drop: titel",
                Some(("LS-E001", Severity::Error, 16, "no field `titel`")),
            ),
        ];
        for (up, down, expected) in table {
            let down = if down.is_empty() {
                String::new()
            } else {
                format!("{{{down}}}")
            };
            let found = found(up, &down);
            match expected {
                None => assert_eq!(found, Vec::new(), "{up}"),
                Some((code, severity, line, part)) => {
                    let first = &found[0];
                    assert_eq!(
                        (first.0, first.1, first.2),
                        (code, severity, line),
                        "{up} {found:?}"
                    );
                    assert!(first.3.contains(part), "{found:?}");
                }
            }
        }
    }
}
