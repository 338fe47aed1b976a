//! The hunt for a counter-example to every yes, and the trial of every no.

use jsonschema::canonical::{self, Containment};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use serde_json::{Map, Value as Json};

use super::generate::{contracts, pairs, values};
use super::*;
use crate::contract::compat::{members, set};

/// Values that each side takes, as the engine itself makes them up.
fn hints(contracts: [&Contract; 2]) -> Vec<Json> {
    let mut all = Vec::new();
    for contract in contracts {
        for schema in [schema::writer(contract), schema::reader(contract)] {
            for property in schema["properties"].as_object().unwrap().values() {
                all.extend(members::some(&set::Set::read(property), 6).values);
            }
        }
    }
    all
}

/// Looks for a record that may be written and cannot be read.
fn hunt(report: &Report, writer: &Contract, reader: &Contract) {
    judged(report, writer, reader);
    if report.verdict != Verdict::Yes {
        return;
    }
    let (written, read) = (schema::writer(writer), schema::reader(reader));
    let (writes, reads) = (Judges::of(&written), Judges::of(&read));
    let Some(Json::Object(least)) = members::one(&set::Set::read(&written)) else {
        return;
    };
    let try_out = |record: Map<String, Json>| {
        let record = Json::Object(record);
        if writes.hold(&record) {
            assert!(reads.hold(&record), "{record} is a counter-example");
        }
    };
    try_out(least.clone());
    let pool = [values(), hints([writer, reader])].concat();
    for name in ["id", "a", "b", "c", "unknown"] {
        let mut without = least.clone();
        without.shift_remove(name);
        try_out(without);
        // Members do not depend on each other, so only those that may be written are put into records.
        let part = &written["properties"][name];
        let part = if part.is_null() {
            &written["additionalProperties"]
        } else {
            part
        };
        if *part == Json::Bool(false) {
            continue;
        }
        let anything = Json::Bool(true);
        let part =
            jsonschema::validator_for(if part.is_null() { &anything } else { part }).unwrap();
        for value in pool.iter().filter(|value| part.is_valid(value)) {
            let mut record = least.clone();
            record.insert(name.to_owned(), value.clone());
            try_out(record);
        }
    }
}

/// Cases of each property; more on request.
fn cases(few: u32) -> ProptestConfig {
    let asked = std::env::var("LOCKSTEP_CASES")
        .ok()
        .and_then(|text| text.parse().ok());
    ProptestConfig::with_cases(asked.unwrap_or(few))
}

/// What the algebra of another library says; `None` where it cannot tell.
fn algebra(old: &Json, new: &Json) -> Option<bool> {
    let read = |schema| {
        let options = canonical::options()
            .should_validate_formats(false)
            .offline();
        options.canonicalize(schema).ok()
    };
    match read(new)?.covers(&read(old)?).ok()? {
        Containment::Yes => Some(true),
        Containment::No => Some(false),
        Containment::Unknown => None,
    }
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn no_record_contradicts_a_verdict((old, new) in pairs()) {
        let (backward, forward) = asked(&old, &new);
        hunt(&backward, &old, &new);
        hunt(&forward, &new, &old);
    }

    /// Another engine, which knows nothing of ours, says nothing else.
    #[test]
    fn another_algebra_agrees((old, new) in pairs()) {
        let (backward, forward) = asked(&old, &new);
        for (report, writer, reader) in [(backward, &old, &new), (forward, &new, &old)] {
            let said = algebra(&schema::writer(writer), &schema::reader(reader));
            // What producers may send, and bounds in time, are no matter of these two schemas.
            let about_records = report.findings.iter().all(|finding| finding.rule != "LSC-EXTRA");
            prop_assert!(!(report.verdict == Verdict::Yes && said == Some(false)), "a yes is contradicted");
            prop_assert!(!(about_records && report.verdict == Verdict::No && said == Some(true)), "a no is contradicted");
        }
    }

    #[test]
    fn a_contract_understands_itself(contract in contracts()) {
        let (backward, forward) = asked(&contract, &contract);
        prop_assert!(backward.findings.is_empty() && forward.findings.is_empty());
        hunt(&backward, &contract, &contract);
    }
}

/// Most pairs are decided: unproven is for what cannot be written out.
#[test]
fn hardly_anything_stays_unproven() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut unproven = Vec::new();
    for _ in 0..40 {
        let (old, new) = pairs().new_tree(&mut runner).unwrap().current();
        for (report, from, to) in [
            (asked(&old, &new).0, &old, &new),
            (asked(&old, &new).1, &new, &old),
        ] {
            if report.verdict == Verdict::Unproven {
                unproven.push((schema::writer(from), schema::reader(to)));
            }
        }
    }
    println!("{} of 80 are unproven", unproven.len());
    for (old, new) in unproven.iter().take(3) {
        println!("{old}\n{new}\n");
    }
    assert!(unproven.len() < 4, "{} of 80 are unproven", unproven.len());
}
