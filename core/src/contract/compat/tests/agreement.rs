//! The table of rules that no record shows, row by row.

use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::contract::{
    Check, Class, Compatibility, Deletes, Deprecation, Handling, Level, Outcome, Personal,
    Reference, Rule, Tolerance, Truth,
};
use crate::diagnostic::Severity::{self, Error, Info, Warning};

type Edit = fn(&mut Contract);

/// What changes between two contracts that are otherwise alike, the rule, its severity and who may approve.
struct Row {
    rule: &'static str,
    severity: Severity,
    approver: Option<&'static str>,
    old: Edit,
    new: Edit,
}

fn base() -> Contract {
    let mut contract = contract("1.0.0", vec![text("a"), text("b")]);
    contract.owner = Some("erp".into());
    contract.terms.consumers = vec!["billing".into()];
    contract
}

fn nothing(_: &mut Contract) {}

fn minor(contract: &mut Contract) {
    contract.version = "1.1.0".parse().unwrap();
}

fn day(text: &str) -> jiff::civil::Date {
    text.parse().unwrap()
}

fn until(text: Option<&str>) -> Option<Deprecation> {
    Some(Deprecation {
        since: None,
        sunset: text.map(day),
        replacement: None,
    })
}

fn level(property: &str, value: serde_json::Value, unit: &str) -> Vec<Level> {
    vec![Level {
        property: property.into(),
        element: None,
        value,
        unit: Some(unit.into()),
    }]
}

fn rule(check: Check, outcome: Outcome, tolerance: Option<Tolerance>) -> Vec<Rule> {
    vec![Rule {
        name: "r".into(),
        field: Some("a".into()),
        check,
        outcome,
        tolerance,
    }]
}

fn between(low: i64, high: i64) -> Check {
    Check::Between(Some(Value::Int(low)), Some(Value::Int(high)))
}

const OWNER: Option<&str> = Some("owner");
const PROTECTION: Option<&str> = Some("dataProtection");
const CONSUMERS: Option<&str> = Some("consumers");

fn row(
    rule: &'static str,
    severity: Severity,
    approver: Option<&'static str>,
    old: Edit,
    new: Edit,
) -> Row {
    Row {
        rule,
        severity,
        approver,
        old,
        new,
    }
}

#[rustfmt::skip]
fn rows() -> Vec<Row> {
    let mut rows = vec![
        // Keys and lanes.
        row("LSC-KEY", Error, OWNER, nothing, |c| c.key = vec![1]),
        row("LSC-KEY", Error, OWNER, |c| c.key = vec![0, 1], |c| c.key = vec![1, 0]),
        row("LSC-KEY-TYPE", Error, OWNER, nothing, |c| c.fields[0].kind = Type::Int),
        row("LSC-LANE-KEY", Error, OWNER, |c| c.key = vec![0, 1], |c| { c.key = vec![0, 1]; c.lane_key = vec![1]; }),
        row("LSC-LANES", Error, OWNER, nothing, |c| c.lanes = 4),
        // Truth.
        row("LSC-OWNER", Error, OWNER, nothing, |c| c.owner = Some("crm".into())),
        row("LSC-OWNER", Error, OWNER, nothing, |c| c.fields[1].owner = Some("crm".into())),
        row("LSC-TRUTH", Error, OWNER, nothing, |c| c.truth = Truth::Latest),
        row("LSC-TRUTH", Error, OWNER, nothing, |c| c.fields[1].truth = Some(Truth::Max)),
        row("LSC-DELETES", Error, OWNER, nothing, |c| c.deletes = Deletes::Ignore),
        row("LSC-MATCH", Warning, OWNER, nothing, |c| c.terms.matching = Some(json!(["email"]))),
        row("LSC-SURVIVORSHIP", Warning, OWNER, nothing, |c| c.terms.survivorship = Some(json!({"a": "latest"}))),
        // Privacy.
        row("LSC-CLASS-WEAKENED", Error, PROTECTION, |c| c.fields[1].class = Class::Personal, nothing),
        row("LSC-CLASS-STRENGTHENED", Warning, PROTECTION, nothing, |c| c.fields[1].class = Class::Personal),
        row("LSC-HANDLING-MISSING", Error, PROTECTION, nothing, |c| c.fields[1].class = Class::Personal),
        row("LSC-HANDLING-WEAKENED", Error, PROTECTION, |c| mask(c, Handling::Mask), |c| mask(c, Handling::Clear)),
        row("LSC-HANDLING-WEAKENED", Error, PROTECTION, |c| mask(c, Handling::Mask), nothing),
        row("LSC-HANDLING-WEAKENED", Error, PROTECTION, |c| mask(c, Handling::Drop), |c| mask(c, Handling::Encrypt)),
        row("LSC-HANDLING-WEAKENED", Error, PROTECTION, |c| mask(c, Handling::Hash), |c| mask(c, Handling::Tokenize)),
        row("LSC-HANDLING-STRENGTHENED", Warning, PROTECTION, nothing, |c| mask(c, Handling::Mask)),
        row("LSC-HANDLING-STRENGTHENED", Warning, PROTECTION, |c| mask(c, Handling::Mask), |c| mask(c, Handling::Hash)),
        row("LSC-PERSONAL-WEAKENED", Error, PROTECTION, |c| about(c, Some("contact"), None), |c| about(c, None, None)),
        row("LSC-PERSONAL-WEAKENED", Error, PROTECTION, |c| about(c, None, Some(30)), |c| about(c, None, Some(60))),
        row("LSC-PERSONAL-STRENGTHENED", Warning, PROTECTION, |c| about(c, None, Some(60)), |c| about(c, None, Some(30))),
        row("LSC-PERSONAL-SUSPECTED", Warning, PROTECTION, nothing, |c| c.fields.push(with(text("homePhone"), |f| f.required = false))),
        row("LSC-PERSONAL-ADDED", Info, PROTECTION, nothing, |c| c.fields.push(with(text("email"), |f| { f.required = false; f.class = Class::Personal; }))),
        // Service levels.
        row("LSC-LEVEL-LOOSENED", Error, CONSUMERS, |c| c.terms.levels = level("retention", json!(3), "y"), |c| c.terms.levels = level("retention", json!(365), "d")),
        row("LSC-LEVEL-LOOSENED", Error, CONSUMERS, |c| c.terms.levels = level("latency", json!(60), "s"), |c| c.terms.levels = level("latency", json!(2), "m")),
        row("LSC-LEVEL-LOOSENED", Error, CONSUMERS, |c| c.terms.levels = level("endOfSupport", json!("2030-01-01"), ""), |c| c.terms.levels = level("endOfSupport", json!("2029-01-01"), "")),
        row("LSC-LEVEL-LOOSENED", Error, CONSUMERS, |c| c.terms.levels = level("availability", json!(99), "%"), nothing),
        row("LSC-LEVEL-TIGHTENED", Warning, OWNER, |c| c.terms.levels = level("latency", json!("4 h"), ""), |c| c.terms.levels = level("latency", json!(1), "h")),
        row("LSC-LEVEL-TIGHTENED", Warning, OWNER, nothing, |c| c.terms.levels = level("latency", json!(1), "h")),
        // Quality.
        row("LSC-RULE-ADDED", Warning, OWNER, nothing, |c| c.rules = rule(Check::NotNull, Outcome::Reject, None)),
        row("LSC-RULE-RENAMED", Info, None, |c| c.rules = rule(Check::NotNull, Outcome::Reject, None), |c| { c.rules = rule(Check::NotNull, Outcome::Reject, None); c.rules[0].name = "other".into(); }),
        row("LSC-RULE-REMOVED", Error, OWNER, |c| c.rules = rule(Check::NotNull, Outcome::Reject, None), nothing),
        row("LSC-RULE-LOOSENED", Error, OWNER, |c| c.rules = rule(Check::NotNull, Outcome::Reject, None), |c| c.rules = rule(Check::NotNull, Outcome::Warn, None)),
        row("LSC-RULE-LOOSENED", Error, OWNER, |c| c.rules = rule(Check::NotNull, Outcome::Reject, None), |c| c.rules = rule(Check::NotNull, Outcome::Reject, Some(Tolerance::Percent(1.0)))),
        row("LSC-RULE-LOOSENED", Error, OWNER, |c| c.rules = rule(between(1, 5), Outcome::Reject, None), |c| c.rules = rule(between(1, 6), Outcome::Reject, None)),
        row("LSC-RULE-LOOSENED", Error, OWNER, |c| c.rules = rule(Check::Fresh { within: 60 }, Outcome::Warn, None), |c| c.rules = rule(Check::Fresh { within: 120 }, Outcome::Warn, None)),
        row("LSC-RULE-LOOSENED", Error, OWNER, |c| c.rules = rule(Check::Matches("^a$".into()), Outcome::Warn, None), |c| c.rules = rule(Check::Matches("^a+$".into()), Outcome::Warn, None)),
        row("LSC-RULE-TIGHTENED", Warning, OWNER, |c| c.rules = rule(between(1, 5), Outcome::Reject, None), |c| c.rules = rule(between(2, 5), Outcome::Halt, None)),
        row("LSC-RULE-TIGHTENED", Warning, OWNER, |c| c.rules = rule(Check::Unique(vec!["a".into(), "b".into()]), Outcome::Warn, None), |c| c.rules = rule(Check::Unique(vec!["a".into()]), Outcome::Warn, None)),
        row("LSC-RULE-CHANGED", Error, OWNER, |c| c.rules = rule(between(1, 5), Outcome::Reject, None), |c| c.rules = rule(between(2, 6), Outcome::Reject, None)),
        row("LSC-RULE-CHANGED", Error, OWNER, |c| c.rules = rule(Check::Holds("a != b".into()), Outcome::Reject, None), |c| c.rules = rule(Check::Holds("a < b".into()), Outcome::Reject, None)),
        row("LSC-OUTCOME-LOOSENED", Error, OWNER, |c| c.fields[1].outcome = Outcome::Reject, nothing),
        row("LSC-OUTCOME-TIGHTENED", Warning, OWNER, nothing, |c| c.fields[1].outcome = Outcome::Halt),
        row("LSC-UNIQUE-ADDED", Warning, OWNER, nothing, |c| c.fields[1].unique = true),
        row("LSC-UNIQUE-REMOVED", Error, OWNER, |c| c.fields[1].unique = true, nothing),
        row("LSC-REFERENCE-ADDED", Warning, OWNER, nothing, refers),
        row("LSC-REFERENCE-REMOVED", Error, OWNER, refers, nothing),
        // The promise itself.
        row("LSC-COMPATIBILITY-WEAKENED", Error, OWNER, nothing, |c| promise(c, Some(Direction::Backward), true)),
        row("LSC-COMPATIBILITY-WEAKENED", Error, OWNER, nothing, |c| promise(c, Some(Direction::Full), false)),
        row("LSC-COMPATIBILITY-WEAKENED", Error, OWNER, nothing, |c| promise(c, None, false)),
        row("LSC-COMPATIBILITY-STRENGTHENED", Info, OWNER, |c| promise(c, Some(Direction::Forward), false), nothing),
        row("LSC-ID", Error, OWNER, nothing, |c| c.id = "other".into()),
        row("LSC-ID", Error, OWNER, nothing, |c| c.entity = "other".into()),
        // Deprecation.
        row("LSC-DEPRECATED", Info, OWNER, nothing, |c| c.fields[1].deprecation = until(Some("2030-01-01"))),
        row("LSC-DEPRECATED", Info, OWNER, nothing, |c| c.terms.deprecation = until(None)),
        row("LSC-SUNSET-EARLIER", Error, CONSUMERS, |c| c.fields[1].deprecation = until(Some("2030-01-01")), |c| c.fields[1].deprecation = until(Some("2029-01-01"))),
        row("LSC-REMOVED-EARLY", Error, CONSUMERS, |c| c.fields[1].deprecation = until(Some("2030-01-01")), |c| _ = c.fields.remove(1)),
        row("LSC-NAME-REUSED", Error, OWNER, |c| c.terms.reserved = vec!["c".into()], |c| { c.terms.reserved = vec!["c".into()]; c.fields.push(text("c")); }),
        row("LSC-RESERVED-DROPPED", Warning, OWNER, |c| c.terms.reserved = vec!["c".into()], nothing),
        // Words.
        row("LSC-DESCRIPTION", Info, None, nothing, |c| c.description = Some("Words.".into())),
        row("LSC-DESCRIPTION", Info, None, nothing, |c| c.fields[1].description = Some("Words.".into())),
        row("LSC-TERMS", Info, None, nothing, |c| c.terms.status = Some("retired".into())),
        row("LSC-TERMS", Info, None, nothing, |c| c.terms.approvers = BTreeMap::from([("owner".to_owned(), vec!["ann".to_owned()])])),
    ];
    // Every change of an agreement is told apart from a change of versions.
    for row in &mut rows {
        assert!(row.rule.starts_with("LSC-"));
    }
    rows
}

fn mask(contract: &mut Contract, handling: Handling) {
    contract.fields[1]
        .handling
        .insert("billing".into(), handling);
}

fn about(contract: &mut Contract, category: Option<&str>, days: Option<u64>) {
    let category = category.map(str::to_owned);
    contract.fields[1].personal = Some(Personal {
        category,
        subject: None,
        retention_days: days,
    });
}

fn refers(contract: &mut Contract) {
    contract.fields[1].reference = Some(Reference {
        entity: "customer".into(),
        field: "id".into(),
    });
}

fn promise(contract: &mut Contract, direction: Option<Direction>, transitive: bool) {
    contract.terms.compatibility = Compatibility {
        direction,
        transitive,
    };
}

fn around() -> Circumstances<'static> {
    Circumstances {
        today: jiff::civil::date(2026, 1, 1),
        consumers: &[],
        dead: &[],
    }
}

fn reviewed(old: &Contract, new: &Contract) -> Report {
    let places = Places::default();
    review(side(new, &places), Some(side(old, &places)), &[], &around())
}

fn sides(row: &Row) -> (Contract, Contract) {
    let (mut old, mut new) = (base(), base());
    (row.old)(&mut old);
    (row.new)(&mut new);
    minor(&mut new);
    (old, new)
}

/// Every rule that these tests see.
pub(super) fn rules() -> Vec<&'static str> {
    let mut met: Vec<&str> = Vec::new();
    for row in rows() {
        let (old, new) = sides(&row);
        met.extend(
            reviewed(&old, &new)
                .findings
                .iter()
                .map(|finding| finding.rule),
        );
    }
    for (old, new, _) in versions() {
        met.extend(
            reviewed(&old, &new)
                .findings
                .iter()
                .map(|finding| finding.rule),
        );
    }
    let places = Places::default();
    let old = base();
    met.push(added(side(&old, &places)).rule);
    met.extend(
        removed(side(&old, &places), &around())
            .iter()
            .map(|finding| finding.rule),
    );
    met.push(release_edited(side(&old, &places), None, None).rule);
    met
}

#[test]
fn every_row_is_found_with_its_severity_and_approver() {
    for row in rows() {
        let (old, new) = sides(&row);
        let report = reviewed(&old, &new);
        let found = report
            .findings
            .iter()
            .find(|finding| finding.rule == row.rule);
        let found = found.unwrap_or_else(|| panic!("{} is not found: {report:#?}", row.rule));
        assert_eq!(
            (found.severity, found.approver),
            (row.severity, row.approver),
            "{found:#?}"
        );
        assert!(!found.hint.is_empty() && !found.fingerprint.is_empty());
        if found.severity > Info {
            assert_eq!(found.consumers, ["billing"], "{found:#?}");
        }
        // The other way round it is not the same finding, and a contract beside itself has none.
        assert!(reviewed(&old, &old).findings.is_empty());
    }
}

/// Two versions, and what is found about the step between them.
type Step = (Contract, Contract, Option<(&'static str, Severity)>);

fn versions() -> Vec<Step> {
    let at = |version: &str, edit: Edit| {
        let mut contract = base();
        edit(&mut contract);
        contract.version = version.parse().unwrap();
        contract
    };
    let added: Edit = |c| c.fields.push(with(text("c"), |f| f.required = false));
    let broken: Edit = |c| c.fields.push(text("c"));
    let free: Edit = |c| {
        promise(c, None, false);
        c.fields.push(text("c"));
    };
    let words: Edit = |c| c.description = Some("Words.".into());
    let unpromised: Edit = |c| promise(c, None, false);
    vec![
        (
            at("1.0.0", nothing),
            at("1.1.0", broken),
            Some(("LSC-VERSION-MAJOR", Error)),
        ),
        (at("1.0.0", nothing), at("2.0.0", broken), None),
        // A pre-release may change.
        (at("1.0.0-rc.1", nothing), at("1.0.0", broken), None),
        (at("1.0.0-rc.1", nothing), at("1.0.0-rc.2", broken), None),
        (at("0.1.0", nothing), at("0.2.0", broken), None),
        (
            at("0.1.0", nothing),
            at("0.1.1", broken),
            Some(("LSC-VERSION-MAJOR", Error)),
        ),
        (
            at("1.0.0", unpromised),
            at("1.1.0", free),
            Some(("LSC-VERSION-MAJOR", Warning)),
        ),
        (
            at("1.0.0", nothing),
            at("1.0.1", added),
            Some(("LSC-VERSION-MINOR", Error)),
        ),
        (at("1.0.0", nothing), at("1.1.0", added), None),
        (at("0.1.0", nothing), at("0.1.1", added), None),
        (
            at("1.0.0", nothing),
            at("1.0.0", added),
            Some(("LSC-VERSION-UNCHANGED", Error)),
        ),
        (
            at("1.0.0", nothing),
            at("1.0.0", words),
            Some(("LSC-VERSION-UNCHANGED", Error)),
        ),
        (at("1.0.0", nothing), at("1.0.1", words), None),
        (
            at("1.1.0", nothing),
            at("1.0.0", added),
            Some(("LSC-VERSION-LOWERED", Error)),
        ),
        (
            at("1.0.0", nothing),
            at("1.1.0", |c| c.key = vec![1]),
            Some(("LSC-VERSION-MAJOR", Error)),
        ),
    ]
}

#[test]
fn the_version_says_how_much_changed() {
    for (old, new, expected) in versions() {
        let report = reviewed(&old, &new);
        let found = report
            .findings
            .iter()
            .find(|finding| finding.rule.starts_with("LSC-VERSION"));
        let found = found.map(|finding| (finding.rule, finding.severity));
        assert_eq!(found, expected, "{} → {}", old.version, new.version);
        if let Some((rule, _)) = expected.filter(|(rule, _)| *rule != "LSC-VERSION-LOWERED") {
            let next = Bump::needed(&report.findings).after(&old.version);
            let raised = Contract {
                version: next,
                ..new
            };
            let again = reviewed(&old, &raised).findings;
            assert!(
                !again.iter().any(|finding| finding.rule == rule),
                "{}",
                raised.version
            );
        }
    }
}

#[test]
fn breaks_are_notes_after_a_major_step_and_without_a_promise() {
    let errors = |old: &Contract, new: &Contract| {
        let findings = reviewed(old, new).findings;
        findings
            .into_iter()
            .filter(|f| f.severity == Error)
            .map(|f| f.rule)
            .collect::<Vec<_>>()
    };
    let mut new = base();
    new.fields.push(text("c"));
    minor(&mut new);
    assert_eq!(
        errors(&base(), &new),
        ["LSC-FIELD-ADDED-REQUIRED", "LSC-VERSION-MAJOR"]
    );
    let major = Contract {
        version: "2.0.0".parse().unwrap(),
        ..new.clone()
    };
    assert_eq!(errors(&base(), &major), Vec::<&str>::new());
    let mut old = base();
    promise(&mut old, None, false);
    promise(&mut new, None, false);
    assert_eq!(errors(&old, &new), Vec::<&str>::new());
}

#[test]
fn a_transitive_promise_counts_every_release() {
    let tier = |default: bool| {
        let mut contract = base();
        contract.fields.push(with(text("tier"), |f| {
            f.default = default.then(|| Value::text("x"));
        }));
        contract
    };
    let places = Places::default();
    let at = |version: &str, contract: Contract| Contract {
        version: version.parse().unwrap(),
        ..contract
    };
    let (first, second, mut third) = (
        at("1.0.0", base()),
        at("1.1.0", tier(true)),
        at("1.2.0", tier(false)),
    );
    let ask = |new: &Contract| {
        let releases = [side(&second, &places), side(&first, &places)];
        let report = review(side(new, &places), None, &releases, &around());
        let errors = report
            .findings
            .into_iter()
            .filter(|finding| finding.severity == Error);
        errors.map(|finding| finding.rule).collect::<Vec<_>>()
    };
    assert_eq!(ask(&third), ["LSC-DEFAULT-REMOVED", "LSC-VERSION-MAJOR"]);
    promise(&mut third, Some(Direction::Full), false);
    assert_eq!(ask(&third), ["LSC-COMPATIBILITY-WEAKENED"]);
}

#[test]
fn a_name_that_an_old_release_used_is_not_free() {
    let places = Places::default();
    let with_c = |kind| {
        let mut contract = base();
        contract
            .fields
            .push(with(Field::new("c", kind), |f| f.required = false));
        contract
    };
    let at = |version: &str, contract: Contract| Contract {
        version: version.parse().unwrap(),
        ..contract
    };
    let (first, second) = (at("1.0.0", with_c(Type::Int)), at("1.1.0", base()));
    let releases = [side(&first, &places), side(&second, &places)];
    let ask = |new: &Contract| review(side(new, &places), None, &releases, &around());
    let report = ask(&at("1.2.0", with_c(Type::Text)));
    let found = report
        .findings
        .iter()
        .find(|finding| finding.rule == "LSC-NAME-REUSED")
        .unwrap();
    assert_eq!(found.verdict, Verdict::No);
    assert!(found.witness.is_some());
    let same = ask(&at("1.2.0", with_c(Type::Int)));
    assert!(
        same.findings
            .iter()
            .all(|finding| finding.rule != "LSC-NAME-REUSED")
    );
}

#[test]
fn a_sunset_that_has_come_frees_the_field() {
    let mut old = base();
    old.fields[1].deprecation = until(Some("2025-12-31"));
    old.fields[1].required = false;
    let mut new = base();
    new.fields.remove(1);
    minor(&mut new);
    let worst = reviewed(&old, &new)
        .findings
        .iter()
        .map(|finding| finding.severity)
        .max();
    assert_eq!(worst, Some(Info));
}

#[test]
fn a_change_that_concerns_nobody_names_nobody() {
    let mut old = base();
    let mut new = base();
    for contract in [&mut old, &mut new] {
        contract.terms.consumers.clear();
    }
    new.fields.push(text("c"));
    let consumers = ["warehouse".to_owned()];
    let around = Circumstances {
        consumers: &consumers,
        ..around()
    };
    let places = Places::default();
    let report = review(side(&new, &places), Some(side(&old, &places)), &[], &around);
    let named = |rule: &str| {
        &report
            .findings
            .iter()
            .find(|finding| finding.rule == rule)
            .unwrap()
            .consumers
    };
    assert_eq!(*named("LSC-FIELD-ADDED-REQUIRED"), ["warehouse"]);
}

#[test]
fn names_that_sound_personal_are_known() {
    use crate::contract::compat::govern::suspect;
    for (name, part) in [
        ("email", Some("email")),
        ("customerEmail", Some("email")),
        ("date_of_birth", Some("date of birth")),
        ("ship_street", Some("street")),
        ("phoneNumber", Some("phone number")),
        ("status", None),
        ("email_count_x", Some("email")),
        ("microphone", None),
        ("sexton", None),
    ] {
        assert_eq!(suspect(name), part, "{name}");
    }
}

/// To mend a reference that never led anywhere is no break; to take away one that did is.
#[test]
fn a_dead_reference_may_be_mended() {
    let to = |entity: &str| Reference {
        entity: entity.into(),
        field: "id".into(),
    };
    let dead = [to("customers")];
    let with = |entity: Option<&str>| {
        let mut contract = base();
        contract.fields[1].reference = entity.map(to);
        contract.rules = entity.map_or_else(Vec::new, |entity| {
            let check = Check::Exists {
                entity: entity.into(),
                field: "id".into(),
            };
            rule(check, Outcome::Quarantine, None)
        });
        minor(&mut contract);
        contract
    };
    let table = [
        (Some("customers"), Some("customer"), &dead[..], Warning),
        (Some("customers"), None, &dead, Info),
        (Some("customers"), Some("customer"), &[], Error),
        (Some("customer"), Some("client"), &dead, Error),
        (Some("customer"), None, &dead, Error),
    ];
    let places = Places::default();
    for (was, is, dead, expected) in table {
        let (mut old, new) = (with(was), with(is));
        old.version = base().version;
        let around = Circumstances { dead, ..around() };
        let report = review(side(&new, &places), Some(side(&old, &places)), &[], &around);
        let mut of = Vec::new();
        for finding in &report.findings {
            if finding.rule.contains("REFERENCE") || finding.rule.contains("RULE") {
                of.push(finding.severity);
            }
        }
        assert_eq!(of, [expected; 2], "{was:?} {is:?} {report:#?}");
    }
}
