//! That every change is told, once, and by one judgement.

use std::collections::{BTreeMap, BTreeSet};

use lockstep_core::Type;
use lockstep_core::contract::{Extra, Field, Inner, NoLibrary, lint};
use lockstep_core::diagnostic::{Diagnostic, Severity};
use semver::Version;

use super::*;
use crate::contract::consumers::Consumers;
use crate::contract::judge::{Pair, Setting, compare, told};

/// A contract with every kind of part, in which the test below changes one thing at a time.
const FULL: &str = include_str!("tests/full.odcs.yaml");

fn contract(fields: Vec<Field>) -> Loaded {
    Loaded {
        contract: Contract::new("thing", Version::new(1, 0, 0), fields),
        places: Default::default(),
        findings: Vec::new(),
    }
}

#[test]
fn every_change_is_named_once_and_grouped() {
    let id = || Field::new("id", Type::Text);
    let mut old_name = Field::new("name", Type::Text);
    old_name.limits.max_length = Some(100);
    let mut new_name = old_name.clone();
    new_name.limits.max_length = Some(50);
    new_name.description = Some("What it is called.".to_owned());
    let address = |members: &[&str]| {
        let mut field = Field::new("address", Type::Json);
        let fields = members
            .iter()
            .map(|name| Field::new(*name, Type::Text))
            .collect();
        field.inner = Some(Inner::Object {
            fields,
            extra: Extra::Reject,
        });
        field
    };
    let old = contract(vec![
        id(),
        old_name,
        Field::new("gone", Type::Int),
        address(&["street"]),
    ]);
    let new = contract(vec![
        id(),
        new_name,
        Field::new("fresh", Type::Int),
        address(&["street", "town"]),
    ]);
    let breaches = [Breach {
        pointer: "/fields/gone",
        rule: "LSC-FIELD-REMOVED",
        message: "`gone` is gone",
    }];
    let found: Vec<(Group, String)> = changes(&old, &new, &breaches)
        .into_iter()
        .map(|change| (change.group, change.message))
        .collect();
    let expected = [
        (Group::Breaking, "field `gone` removed (int, required)"),
        (
            Group::Compatible,
            "field `address.town` added (text, required)",
        ),
        (Group::Compatible, "field `fresh` added (int, required)"),
        (
            Group::Compatible,
            "field `name`, limits maxLength changed from `100` to `50`",
        ),
        (
            Group::Documentation,
            "field `name`, description added: `What it is called.`",
        ),
    ];
    let expected: Vec<_> = expected
        .map(|(group, message)| (group, message.to_owned()))
        .to_vec();
    assert_eq!(found, expected);
    assert!(changes(&old, &old, &[]).is_empty());
}

fn read(document: &Json) -> Result<Loaded, Vec<Diagnostic>> {
    let mut linted = lint("full.odcs.yaml", &document.to_string(), &NoLibrary);
    let mut findings = linted.findings;
    findings.retain(|finding| finding.severity == Severity::Error);
    match linted.contracts.pop() {
        Some(loaded) if findings.is_empty() => Ok(loaded),
        _ => Err(findings),
    }
}

/// Words that have a meaning at some key, so that a change to one of them may be sound.
const WORDS: [&str; 18] = [
    "v3.1.0",
    "internal",
    "personal",
    "owner",
    "latest",
    "keep",
    "drop",
    "mask",
    "warning",
    "double",
    "varchar(9)",
    "integer",
    "string",
    "ipv4",
    "2030-01-31",
    "region.code",
    "total > 1",
    "zzz",
];

/// Everything that a document becomes by one change: a value, a key that goes, an entry that goes or moves.
fn mutants(document: &Json) -> Vec<(String, Json)> {
    let mut pointers = vec![String::new()];
    let mut at = 0;
    while at < pointers.len() {
        let pointer = pointers[at].clone();
        at += 1;
        match document.pointer(&pointer) {
            Some(Json::Object(members)) => {
                pointers.extend(members.keys().map(|key| format!("{pointer}/{key}")));
            }
            Some(Json::Array(items)) => {
                pointers.extend((0..items.len()).map(|i| format!("{pointer}/{i}")));
            }
            _ => {}
        }
    }
    let mut all = Vec::new();
    let mut add = |how: String, change: &dyn Fn(&mut Json)| {
        let mut mutant = document.clone();
        change(&mut mutant);
        all.push((how, mutant));
    };
    for pointer in &pointers {
        let set = |value: Json| {
            move |mutant: &mut Json| *mutant.pointer_mut(pointer).unwrap() = value.clone()
        };
        match document.pointer(pointer).unwrap() {
            Json::Bool(flag) => add(format!("{pointer} = {}", !flag), &set((!flag).into())),
            Json::Number(number) => {
                let more = number.as_f64().unwrap() + 1.0;
                let more: Json = match number.as_i64() {
                    Some(number) => (number + 1).into(),
                    None => more.into(),
                };
                add(format!("{pointer} + 1"), &set(more));
            }
            Json::String(text) => {
                for word in WORDS.iter().filter(|word| **word != text) {
                    add(format!("{pointer} = {word}"), &set((*word).into()));
                }
                add(format!("{pointer} longer"), &set(format!("{text}x").into()));
            }
            Json::Array(items) => {
                for i in 0..items.len() {
                    add(format!("{pointer} without {i}"), &|mutant| {
                        let items = mutant.pointer_mut(pointer).unwrap();
                        items.as_array_mut().unwrap().remove(i);
                    });
                    if i > 0 {
                        add(format!("{pointer} with {i} first"), &|mutant| {
                            let items = mutant.pointer_mut(pointer).unwrap();
                            items.as_array_mut().unwrap().swap(i - 1, i);
                        });
                    }
                }
            }
            Json::Object(members) => {
                for key in members.keys() {
                    add(format!("{pointer} without {key}"), &|mutant| {
                        let members = mutant.pointer_mut(pointer).unwrap();
                        members.as_object_mut().unwrap().shift_remove(key);
                    });
                }
            }
            Json::Null => {}
        }
    }
    all
}

/// Whatever one thing changes in a file is told, and what breaks is told as that, by the one judgement.
#[test]
fn every_change_of_a_file_is_told() {
    let document: Json = serde_saphyr::from_str(FULL).unwrap();
    let old = read(&document).unwrap();
    let consumers = Consumers::default();
    let setting = Setting {
        consumers: &consumers,
        today: "2026-06-01".parse().unwrap(),
    };
    let (mut sound, mut broken) = (0, 0);
    let mut replaced: BTreeMap<String, usize> = BTreeMap::new();
    for (how, mutant) in mutants(&document) {
        // Another word at the same place says nothing new.
        let place = how.split(" = ").next().unwrap_or_default().to_owned();
        let times = replaced.entry(place).or_default();
        if *times == 1 {
            continue;
        }
        let Ok(new) = read(&mutant) else { continue };
        *times += usize::from(how.contains(" = "));
        sound += 1;
        let pair = Pair {
            old: Some(&old),
            new: Some(&new),
            releases: Vec::new(),
            dead: Vec::new(),
        };
        let items = compare(&pair, &setting);
        let changes = told(&pair, &items);
        let is_told = !changes.is_empty() || old.contract.version != new.contract.version;
        assert!(is_told, "{how} is not told");
        let breaking: BTreeSet<&str> = changes
            .iter()
            .filter(|change| change.group == Group::Breaking)
            .flat_map(|change| change.rules.iter().copied())
            .collect();
        let errors: BTreeSet<&str> = items
            .iter()
            .filter(|item| item.severity == Severity::Error)
            .map(|item| item.rule)
            .filter(|rule| !rule.starts_with("LSC-VERSION"))
            .collect();
        assert_eq!(breaking, errors, "{how}: {changes:#?}");
        broken += usize::from(!errors.is_empty());
    }
    assert!(sound > 120 && broken > 40, "{sound} sound, {broken} broken");
}
