//! What an owner relies on when a tool writes in their file: nothing else changes.

use proptest::prelude::*;

use super::*;
use crate::contract::sample::contracts;
use crate::contract::{NoLibrary, load};
use crate::value::Type;

const TEXT: &str = "\
# The orders of everybody.
kind: DataContract
apiVersion: v3.1.0
id: t
version: 1.2.0 # raised by releases
status: active

customProperties:
# other people's
- value: {a: [1, '#']}
  property: acme.thing
schema:
  - properties:
      # the key
      - name: id
        required: true
        primaryKey: true
        logicalType: string
      - {name: email, logicalType: string}
      # how it went
      - logicalType: string
        name: note
        description: |
          Two lines.
            # not a comment

          And more.
        customProperties:
          - property: lockstep.enum
            value:
              - a   # first
              - b
        # after all
    name: thing
# the end
";

#[test]
fn a_version_is_set_in_its_place() {
    let edited = set_version("t", TEXT, &semver::Version::new(2, 0, 0)).unwrap();
    assert_eq!(edited, TEXT.replace("version: 1.2.0 #", "version: 2.0.0 #"));
    let quoted = TEXT.replace("version: 1.2.0", "version: '1.2.0'");
    let edited = set_version("t", &quoted, &semver::Version::new(2, 0, 0)).unwrap();
    assert!(edited.contains("version: '2.0.0' #"));
}

/// The lines that an edit took out and those that it put in.
fn difference(before: &str, after: &str) -> (Vec<String>, Vec<String>) {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let (before, after) = (lines(before), lines(after));
    let only = |these: &[String], others: &[String]| {
        these
            .iter()
            .filter(|line| !others.contains(line))
            .cloned()
            .collect()
    };
    (only(&before, &after), only(&after, &before))
}

#[test]
fn a_custom_property_is_added_or_set_and_nothing_else_moves() {
    type Case<'a> = (Part<'a>, &'a str, Json, &'a [&'a str], &'a [&'a str]);
    let table: &[Case<'_>] = &[
        (
            Part::Contract,
            "lockstep.compatibility",
            json!("full"),
            &[],
            &["- property: lockstep.compatibility", "  value: full"],
        ),
        (
            Part::Contract,
            "acme.thing",
            json!({ "b": 2 }),
            &["- value: {a: [1, '#']}"],
            &["- value:", "    b: 2"],
        ),
        (
            Part::Entity,
            "lockstep.owner",
            json!("erp"),
            &[],
            &[
                "    customProperties:",
                "      - property: lockstep.owner",
                "        value: erp",
            ],
        ),
        (
            Part::Field("email"),
            "lockstep.default",
            json!("a, b"),
            &["      - {name: email, logicalType: string}"],
            &[
                "      - {name: email, logicalType: string, customProperties: [{property: lockstep.default, value: 'a, b'}]}",
            ],
        ),
        (
            Part::Field("note"),
            "lockstep.enum",
            json!(["a", "b", "c"]),
            &[
                "            value:",
                "              - a   # first",
                "              - b",
            ],
            &["            value: [a, b, c]"],
        ),
    ];
    for (part, name, value, gone, new) in table {
        let edited = set_custom("t", TEXT, *part, name, value).unwrap();
        let (out, put) = difference(TEXT, &edited);
        assert_eq!(out, *gone, "{name}: {edited}");
        assert_eq!(put, *new, "{name}: {edited}");
    }
}

#[test]
fn a_property_is_added_after_the_others() {
    let field = Field {
        required: false,
        nullable: true,
        description: Some("Where: there".to_owned()),
        ..Field::new("place", Type::Text)
    };
    let edited = add_field("t", TEXT, &field).unwrap();
    let (out, put) = difference(TEXT, &edited);
    assert_eq!(out, [""; 0]);
    assert_eq!(
        put,
        ["      - name: place", "        description: 'Where: there'"]
    );
    let again = add_field("t", &edited, &field).unwrap_err();
    assert_eq!(again[0].code, "LS-C049");
    assert!(again[0].message.contains("place"));
}

#[test]
fn a_text_is_laid_out_with_all_its_comments() {
    let wanted = "\
# The orders of everybody.
apiVersion: v3.1.0
kind: DataContract
id: t
version: 1.2.0 # raised by releases
status: active

customProperties:
  # other people's
  - property: acme.thing
    value: {a: [1, '#']}
schema:
  - name: thing
    properties:
      # the key
      - name: id
        logicalType: string
        primaryKey: true
        required: true
      - {name: email, logicalType: string}
      # how it went
      - name: note
        description: |
          Two lines.
            # not a comment

          And more.
        logicalType: string
        customProperties:
          - property: lockstep.enum
            value:
              - a   # first
              - b
        # after all
# the end
";
    assert_eq!(format("t", TEXT).unwrap(), wanted);
    assert_eq!(
        format("t", &wanted.replace('\n', "\r\n")).unwrap(),
        wanted.replace('\n', "\r\n")
    );
}

#[test]
fn what_cannot_be_laid_out_safely_is_left_alone() {
    for text in [
        "{kind: DataContract}",
        "a: &x {b: 1}\nc:\n  <<: *x\n  d: 2\n",
        "a:\n  - - b\n",
        "just text",
    ] {
        let found = format("t", text).unwrap_err();
        assert_eq!(found[0].code, "LS-C049", "{text}");
        assert!(found[0].place.is_some() && found[0].help.is_some());
    }
    // A text that is no YAML says so.
    assert_eq!(format("t", "a: [").unwrap_err()[0].code, "LS-C002");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn laying_out_is_done_once_and_changes_no_contract(
        contract in contracts(), comments in proptest::collection::vec((0usize..200, "[a-z]{1,4}", any::<bool>()), 0..6)
    ) {
        let plain = comments.is_empty();
        let mut lines: Vec<String> =
            document::yaml(&document::write(&contract)).lines().map(str::to_owned).collect();
        for (at, text, deep) in comments {
            let at = at % lines.len();
            // A literal text would take the comment for its own.
            let indent = lines[at].len() - lines[at].trim_start().len() + if deep { 2 } else { 0 };
            lines.insert(at, format!("{}# {text}", " ".repeat(indent)));
        }
        let text = lines.join("\n") + "\n";
        let before = load("c", &text, &NoLibrary);
        prop_assert!(!plain || format("c", &text).is_ok(), "{}", text);
        if let Ok(once) = format("c", &text) {
            prop_assert_eq!(&format("c", &once).unwrap(), &once);
            let after = load("c", &once, &NoLibrary);
            match (before, after) {
                (Ok(before), Ok(after)) => prop_assert_eq!(before.contract, after.contract),
                (before, after) => prop_assert_eq!(before.is_err(), after.is_err()),
            }
        }
    }

    #[test]
    fn an_added_field_is_in_the_contract(contract in contracts(), more in contracts()) {
        let text = document::yaml(&document::write(&contract));
        let mut field = more.fields[0].clone();
        field.name = "added".to_owned();
        field.personal = None;
        let edited = add_field("c", &text, &field).unwrap();
        let mut wanted = contract;
        wanted.fields.push(field);
        prop_assert_eq!(load("c", &edited, &NoLibrary).unwrap().contract, wanted);
    }

    #[test]
    fn no_text_breaks_the_tools(
        at in 0usize..900, length in 0usize..20, with in "[ -~\\n]{0,8}|\\PC{0,4}"
    ) {
        let mut text = TEXT.to_owned();
        let from = at.min(text.len());
        let to = (at + length).min(text.len());
        text.replace_range(from..to, &with);
        let _ = format("t", &text);
        let _ = set_version("t", &text, &semver::Version::new(9, 0, 0));
        let _ = set_custom("t", &text, Part::Contract, "acme.thing", &json!({ "x": [1] }));
        let _ = set_custom("t", &text, Part::Entity, "lockstep.owner", &json!("a"));
        let _ = add_field("t", &text, &Field::new("new", Type::Text));
    }
}

#[test]
fn what_cannot_be_laid_out_is_named_where_it_stands() {
    let text = "apiVersion: v3.1.0\nkind: DataContract\nid: a\nversion: 1.0.0\nschema:\n  - name: a\n    properties: [{name: x},\n  {name: y}]\n    tags:\n      -\n        - x\n";
    let laid = format("a.yaml", text);
    if let Err(findings) = laid {
        let place = findings[0].place.as_ref().unwrap();
        assert!(place.line > 5, "{findings:?}");
    }
    let flow = format("a.yaml", "# all in braces\n{id: a}\n").unwrap_err();
    assert_eq!(flow[0].place.as_ref().unwrap().line, 2);
}
