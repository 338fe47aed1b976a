use std::path::PathBuf;

use lockstep_core::contract::Direction;
use lockstep_core::contract::compat::Verdict;
use lockstep_core::diagnostic::{Diagnostic, Place};
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::junit::escaped;
use super::*;
use crate::contract::base::Kind;

const OLD: &str = "id: lockstep-customer\nfields:\n  - name: email\n  - name: note\n";
const NEW: &str = "id: lockstep-customer\nfields:\n  - name: note\n";

/// A report with one finding of every kind.
fn sample() -> Report {
    let file = "contracts/customer/customer.odcs.yaml";
    let place =
        |text: &str, word: &str| Place::in_text(file, text, text.find(word).unwrap(), word.len());
    let removed = Item {
        contract: Some("lockstep-customer".to_owned()),
        entity: Some("customer".to_owned()),
        pointer: Some("/fields/email".to_owned()),
        directions: vec![Direction::Forward],
        verdict: Some(Verdict::No),
        old_place: Some(place(OLD, "name: email")),
        old: Some(json!("text, required")),
        witness: Some(json!({ "id": "a", "note": "`" })),
        consumers: vec!["billing".to_owned(), "erp".to_owned()],
        approver: Some("owner"),
        fingerprint: "1f0c9a27d3b4".to_owned(),
        ..Item::from(
            Diagnostic::error("LSC-FIELD-REMOVED", "field `email` was removed")
                .at(place(NEW, "fields"))
                .help("keep it until nobody reads it"),
        )
    };
    let approved = Item {
        pointer: Some("/fields/note/class".to_owned()),
        fingerprint: "aaaaaaaaaaaa".to_owned(),
        message: "field `note` is public now".to_owned(),
        witness: None,
        approved: Some(Excuse {
            by: "jane@example.com".to_owned(),
            role: "owner".to_owned(),
            reason: "agreed, 100% sure".to_owned(),
            expires: "2027-01-31".to_owned(),
        }),
        ..removed.clone()
    };
    let warning = Diagnostic::warning("LS-C015", "no owner\nis named").at(place(NEW, "id"));
    let nowhere = Diagnostic {
        severity: Severity::Info,
        ..Diagnostic::error("LS-K007", "nothing here")
    };
    let items = vec![Item::from(nowhere), approved, removed, Item::from(warning)];
    let mut report = Report::new("breaking", items, Severity::Error);
    report.against = Some(Base {
        kind: Kind::MergeBase,
        name: "origin/main".to_owned(),
        commit: Some("0123456789abcdef0123456789abcdef01234567".to_owned()),
    });
    report.files = vec![
        file.to_owned(),
        "contracts/order/order.odcs.yaml".to_owned(),
    ];
    report.contracts = 2;
    report.prefix = "sub/".to_owned();
    report.sources.new.insert(file.to_owned(), NEW.into());
    report.sources.old.insert(file.to_owned(), OLD.into());
    report
}

fn test_data(path: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("LOCKSTEP_TEST_DATA").map(PathBuf::from);
    if folder.is_none() {
        lockstep_servers::skip("the public test data (LOCKSTEP_TEST_DATA)");
    }
    folder.map(|folder| folder.join(path))
}

#[test]
fn every_form_shows_the_same_findings() {
    let report = sample();
    for format in <Format as clap::ValueEnum>::value_variants() {
        let name = format!("{format:?}").to_lowercase();
        let text = report.render(*format, Style::default());
        // The version is that of the build.
        let text = text.replace(env!("CARGO_PKG_VERSION"), "0.0.0");
        let text = if matches!(format, Format::Json | Format::Gitlab | Format::Sarif) {
            serde_json::to_string_pretty(&serde_json::from_str::<Json>(&text).unwrap()).unwrap()
        } else {
            text
        };
        insta::assert_snapshot!(name, text);
    }
    let drawn = Style {
        drawn: true,
        colour: false,
    };
    insta::assert_snapshot!("drawn", report.render(Format::Human, drawn));
}

#[test]
fn the_order_of_findings_does_not_depend_on_how_they_came() {
    let report = sample();
    let mut backwards = report.clone();
    backwards.findings.reverse();
    backwards.settle();
    assert_eq!(report.findings, backwards.findings);
    assert_eq!(
        report.counts,
        Counts {
            error: 1,
            warning: 1,
            info: 1,
            approved: 1
        }
    );
    assert!(!report.ok);
}

#[test]
fn what_fails_depends_on_severity_and_approval() {
    let report = |fail_on| {
        Report::new(
            "lint",
            sample()
                .findings
                .into_iter()
                .filter(|item| item.severity != Severity::Error || item.approved.is_some())
                .collect(),
            fail_on,
        )
    };
    assert!(report(Severity::Error).ok);
    assert!(!report(Severity::Warning).ok);
    assert!(!report(Severity::Info).ok);
}

#[test]
fn sarif_is_valid_by_the_official_schema() {
    let Some(folder) = test_data("contracts/sarif-schema") else {
        return;
    };
    let schema = std::fs::read_dir(&folder)
        .unwrap()
        .filter_map(|entry| std::fs::read_to_string(entry.unwrap().path()).ok())
        .find_map(|text| {
            serde_json::from_str::<Json>(&text)
                .ok()
                .filter(|json| json.get("definitions").is_some())
        })
        .expect("a schema in the test data");
    let validator = jsonschema::validator_for(&schema).unwrap();
    for report in [sample(), Report::new("lint", Vec::new(), Severity::Error)] {
        let sarif: Json =
            serde_json::from_str(&report.render(Format::Sarif, Style::default())).unwrap();
        let errors: Vec<String> = validator
            .iter_errors(&sarif)
            .map(|error| format!("{} {error}", error.instance_path()))
            .collect();
        assert_eq!(errors, Vec::<String>::new());
    }
}

#[test]
fn json_is_valid_by_its_published_schema() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../schemas/outputs/contract-report.schema.json");
    let schema: Json = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let report: Json =
        serde_json::from_str(&sample().render(Format::Json, Style::default())).unwrap();
    let errors: Vec<String> = validator
        .iter_errors(&report)
        .map(|error| error.to_string())
        .collect();
    assert_eq!(errors, Vec::<String>::new());
    assert_eq!(report["findings"].as_array().map(Vec::len), Some(4));
}

#[test]
fn names_of_files_are_those_of_the_repository_for_build_servers() {
    let mut report = sample();
    let table = [
        ("a/b.yaml", "sub/a/b.yaml"),
        ("../a.yaml", "a.yaml"),
        ("./x/../a.yaml", "sub/a.yaml"),
        ("/top/sub/a.yaml", "sub/a.yaml"),
        ("/elsewhere/a.yaml", "/elsewhere/a.yaml"),
    ];
    report.top = "/top".to_owned();
    for (file, uri) in table {
        assert_eq!(report.uri(file), uri, "{file}");
    }
}

/// Reads XML far enough to know that it nests and escapes as it must, and gives its texts.
fn texts_of_xml(xml: &str) -> Vec<String> {
    let mut open: Vec<String> = Vec::new();
    let mut texts = Vec::new();
    let mut rest = xml
        .strip_prefix("<?xml version=\"1.0\" encoding=\"UTF-8\"?>")
        .unwrap();
    while let Some(at) = rest.find('<') {
        let text = &rest[..at];
        if !text.trim().is_empty() {
            texts.push(unescaped(text));
        }
        let end = rest[at..].find('>').unwrap() + at;
        let tag = &rest[at + 1..end];
        match (tag.strip_prefix('/'), tag.strip_suffix('/')) {
            (Some(name), _) => assert_eq!(open.pop().as_deref(), Some(name)),
            (None, closed) => {
                let inside = closed.unwrap_or(tag);
                let name = inside.split(' ').next().unwrap().to_owned();
                assert_eq!(inside.matches('"').count() % 2, 0, "{tag}");
                for (i, part) in inside.split('"').enumerate() {
                    if i % 2 == 1 {
                        texts.push(unescaped(part));
                    }
                }
                if closed.is_none() {
                    open.push(name);
                }
            }
        }
        rest = &rest[end + 1..];
    }
    assert!(open.is_empty() && rest.trim().is_empty());
    texts
}

fn unescaped(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        plain += &rest[..at];
        let end = rest[at..].find(';').expect("an entity ends") + at;
        plain.push(match &rest[at + 1..end] {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "apos" => '\'',
            number => {
                let number = number.strip_prefix('#').unwrap().parse().unwrap();
                char::from_u32(number).unwrap()
            }
        });
        rest = &rest[end + 1..];
    }
    plain + rest
}

/// A report of one error whose every text is this one.
fn report_of(text: &str) -> Report {
    let place = Place::in_text(text, "", 0, 1);
    let mut item = Item::from(
        Diagnostic::error("LSC-TEST", text)
            .at(place.clone())
            .help(text),
    );
    item.old_place = Some(place);
    item.pointer = Some(text.to_owned());
    item.witness = Some(json!(text));
    item.consumers = vec![text.to_owned()];
    item.approver = Some("owner");
    Report::new("breaking", vec![item], Severity::Error)
}

proptest! {
    #[test]
    fn xml_holds_any_text(text in any::<String>()) {
        let legal = |c: char| !matches!(c, '\u{0}'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}');
        let expected: String = text.chars().map(|c| if legal(c) { c } else { '\u{fffd}' }).collect();
        let xml = escaped(&text);
        prop_assert!(!xml.contains(['<', '>', '"', '\n']));
        prop_assert_eq!(unescaped(&xml), expected.as_str());
        let texts = texts_of_xml(&report_of(&text).render(Format::Junit, Style::default()));
        prop_assert!(texts.contains(&expected));
    }

    #[test]
    fn a_workflow_command_is_one_line_whatever_it_says(text in "(\\PC|[\n\r:,%]){0,40}") {
        let written = report_of(&text).render(Format::Github, Style::default());
        prop_assert_eq!(written.lines().count(), 1);
        prop_assert!(written.starts_with("::error "));
        let (properties, message) = written["::error ".len()..].split_once("::").unwrap();
        for property in properties.split(',') {
            prop_assert!(property.contains('='), "{}", property);
        }
        prop_assert!(!message.contains('\r'));
    }

    #[test]
    fn no_text_speaks_to_a_terminal_or_a_build_server(text in any::<String>(), drawn in any::<bool>()) {
        let report = report_of(&text);
        for format in [Format::Human, Format::Markdown] {
            let written = report.render(format, Style { drawn, colour: false });
            prop_assert!(!written.chars().any(|c| c.is_control() && c != '\n'), "{:?}", written);
            prop_assert!(!written.lines().any(|line| line.starts_with("::")), "{:?}", written);
        }
    }

    #[test]
    fn every_form_holds_any_text(text in any::<String>()) {
        let report = report_of(&text);
        for format in [Format::Json, Format::Jsonl, Format::Gitlab, Format::Sarif] {
            let written = report.render(format, Style::default());
            prop_assert!(serde_json::from_str::<Json>(&written).is_ok());
        }
    }
}
