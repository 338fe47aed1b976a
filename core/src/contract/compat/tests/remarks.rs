//! What stands beside a contract and only people read, and words that mean the same.

use super::*;
use crate::contract::{Loaded, NoLibrary, load};
use crate::diagnostic::Severity::{self, Error, Info};

const TEXT: &str = "apiVersion: v3.1.0
kind: DataContract
id: thing
version: 1.0.0
status: active
domain: sales
tags: [one]
price: {priceAmount: 1, priceCurrency: EUR, priceUnit: month}
support:
  - {channel: '#things', url: https://example.org/things}
team:
  members:
    - {username: ann, role: owner, name: Ann}
slaProperties:
  - {property: latency, value: 4, unit: h, element: thing.at}
schema:
  - name: thing
    physicalName: t_thing
    customProperties:
      - {property: lockstep.owner, value: erp}
    quality:
      - {name: positive, type: custom, engine: cel, implementation: n > 0, description: Counted.}
    properties:
      - {name: id, logicalType: string, primaryKey: true, required: true, businessName: Number}
      - {name: n, logicalType: integer}
      - {name: at, logicalType: timestamp}
";

fn read(text: &str) -> Loaded {
    load("thing.odcs.yaml", text, &NoLibrary).unwrap()
}

fn found(old: &str, new: &str) -> Vec<(&'static str, Severity, String)> {
    let (old, new) = (read(old), read(new));
    let around = Circumstances {
        today: jiff::civil::date(2026, 1, 1),
        consumers: &[],
        dead: &[],
    };
    let side = |loaded: &'static Loaded| side(&loaded.contract, &loaded.places);
    let (old, new) = (Box::leak(Box::new(old)), Box::leak(Box::new(new)));
    let report = review(side(new), Some(side(old)), &[], &around);
    let findings = report.findings.into_iter();
    findings
        .map(|finding| (finding.rule, finding.severity, finding.pointer))
        .collect()
}

fn edited(from: &str, to: &str) -> Vec<(&'static str, Severity, String)> {
    assert!(TEXT.contains(from), "{from}");
    found(TEXT, &TEXT.replace(from, to))
}

pub(super) fn rules() -> Vec<&'static str> {
    let found = edited("domain: sales", "domain: care");
    found.into_iter().map(|(rule, ..)| rule).collect()
}

#[test]
fn what_only_people_read_is_told_and_asks_for_no_version() {
    for (from, to, pointer) in [
        ("domain: sales", "domain: care", "/domain"),
        ("tags: [one]", "tags: [one, two]", "/tags"),
        ("priceAmount: 1", "priceAmount: 2", "/price"),
        ("org/things", "org/all", "/support/#things"),
        ("name: Ann", "name: Anne", "/team/ann"),
        ("t_thing", "thing", "/physicalName"),
        (
            "businessName: Number",
            "businessName: No.",
            "/fields/id/businessName",
        ),
        ("Counted.", "Counts.", "/rules/positive/description"),
        ("    properties:", "    properties: # why\n", ""),
    ] {
        let expected: Vec<_> = [("LSC-REMARK", Info, pointer.to_owned())]
            .into_iter()
            .filter(|(_, _, pointer)| !pointer.is_empty())
            .collect();
        assert_eq!(edited(from, to), expected, "{from}");
    }
}

#[test]
fn an_expression_with_other_blanks_is_the_same_rule() {
    let found = edited("n > 0", "\"n  >\\n 0\"");
    assert_eq!(
        found,
        [("LSC-VERSION-UNCHANGED", Error, "/version".to_owned())]
    );
    let other = edited("n > 0", "n > 1");
    assert_eq!(other[0].0, "LSC-RULE-CHANGED");
}

#[test]
fn a_promised_freshness_is_told_once() {
    let with = TEXT.replace("version: 1.0.0", "version: 1.1.0");
    let level = "  - {property: latency, value: 4, unit: h, element: thing.at}\n";
    let without = TEXT.replace(level, "  - {property: retention, value: 4, unit: d}\n");
    let told: Vec<&str> = found(&without, &with)
        .iter()
        .map(|(rule, ..)| *rule)
        .collect();
    assert_eq!(told, ["LSC-LEVEL-LOOSENED", "LSC-LEVEL-TIGHTENED"]);
    let tighter: Vec<&str> = found(TEXT, &with.replace("value: 4", "value: 2"))
        .iter()
        .map(|(rule, ..)| *rule)
        .collect();
    assert_eq!(tighter, ["LSC-LEVEL-TIGHTENED"]);
}

#[test]
fn lanes_may_change_with_the_major() {
    let lanes = |count: u32, version: &str| {
        let contract = contract(version, vec![text("a")]);
        Contract {
            lanes: count,
            ..contract
        }
    };
    let places = Places::default();
    let around = Circumstances {
        today: jiff::civil::date(2026, 1, 1),
        consumers: &[],
        dead: &[],
    };
    let (old, minor, major) = (lanes(8, "1.0.0"), lanes(16, "1.1.0"), lanes(16, "2.0.0"));
    for (new, expected) in [(&minor, Error), (&major, Info)] {
        let report = review(side(new, &places), Some(side(&old, &places)), &[], &around);
        let lanes = report
            .findings
            .iter()
            .find(|finding| finding.rule == "LSC-LANES");
        assert_eq!(lanes.map(|finding| finding.severity), Some(expected));
    }
}
