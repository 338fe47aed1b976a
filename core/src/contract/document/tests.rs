//! A contract that is written and read again is the same contract, and any data survives as YAML.

use proptest::prelude::*;

use super::*;
use crate::contract::sample::contracts;
use crate::contract::{NoLibrary, load};

/// Any JSON data, with texts that YAML is known to trip over.
fn data() -> impl Strategy<Value = Json> {
    let text = prop_oneof![
        "\\PC{0,12}",
        "[ -~\\n\\t]{0,20}",
        "[a-z:#'\" \\[\\]{},&*!|>%@`?-]{0,8}",
        Just("\u{85}\u{2028}\u{feff}\r\u{0}\u{7f}\u{1b}".to_owned()),
        Just("one\ntwo\n".to_owned()),
        Just("  indented\nlines".to_owned()),
    ];
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        (-1e9..1e9).prop_map(|n: f64| Json::from(n)),
        text.clone().prop_map(Json::from),
    ];
    leaf.prop_recursive(4, 30, 5, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Json::from),
            proptest::collection::vec((text.clone(), inner), 0..5)
                .prop_map(|entries| Json::Object(entries.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_contract_survives_its_document(contract in contracts()) {
        let text = yaml(&write(&contract));
        let again = load("c.odcs.yaml", &text, &NoLibrary);
        let again = again.unwrap_or_else(|found| panic!("{found:#?}\n{text}"));
        prop_assert_eq!(&again.contract, &contract, "{}", text);
        // JSON is YAML, too: the form that lock files have.
        let json = load("c.json", &format!("{:#}", write(&contract)), &NoLibrary).unwrap();
        prop_assert_eq!(json.contract, contract);
    }

    #[test]
    fn data_survives_as_yaml(data in data()) {
        let text = yaml(&data);
        let again = load::tree("x", &text);
        let again = again.unwrap_or_else(|found| panic!("{found:#?}\n{text}")).to_json();
        prop_assert_eq!(again, data, "{}", text);
    }
}

#[test]
fn a_new_contract_reads_like_one_that_a_person_wrote() {
    let mut contract = Contract::new(
        "ticket",
        semver::Version::new(1, 0, 0),
        vec![
            Field::new("id", Type::Text),
            Field::new("state", Type::Text),
        ],
    );
    contract.terms.status = Some("draft".to_owned());
    contract.owner = Some("helpdesk".to_owned());
    contract.fields[1].allowed = Some(super::super::Allowed {
        values: vec![Value::text("open"), Value::text("no")],
        open: false,
        fallback: None,
    });
    assert_eq!(
        yaml(&write(&contract)),
        "\
apiVersion: v3.1.0
kind: DataContract
id: ticket
version: 1.0.0
status: draft
schema:
  - name: ticket
    logicalType: object
    customProperties:
      - property: lockstep.owner
        value: helpdesk
    properties:
      - name: id
        logicalType: string
        primaryKey: true
        required: true
      - name: state
        logicalType: string
        required: true
        customProperties:
          - property: lockstep.enum
            value: [open, 'no']
"
    );
}
