//! What the comparison promises, rule by rule and at random.

mod agreement;
mod fingerprints;
mod generate;
mod migrations;
mod random;
mod remarks;
mod rows;
mod speed;
mod table;

use super::*;
use crate::contract::{Allowed, Contract, Field, Inner, Places, schema};
use crate::value::{Type, Value};

pub(super) fn contract(version: &str, fields: Vec<Field>) -> Contract {
    let mut all = vec![Field::new("id", Type::Text)];
    all.extend(fields);
    Contract::new("thing", version.parse().unwrap(), all)
}

pub(super) fn text(name: &str) -> Field {
    Field::new(name, Type::Text)
}

pub(super) fn with(mut field: Field, edit: impl FnOnce(&mut Field)) -> Field {
    edit(&mut field);
    field
}

pub(super) fn listed(values: &[&str]) -> Option<Allowed> {
    Some(Allowed {
        values: values.iter().map(|&value| Value::text(value)).collect(),
        open: false,
        fallback: None,
    })
}

pub(super) fn inner(inner: Inner) -> Field {
    with(Field::new("a", Type::Json), |field| {
        field.inner = Some(inner);
    })
}

pub(super) fn side<'a>(contract: &'a Contract, places: &'a Places) -> Side<'a> {
    Side { contract, places }
}

/// The reports of both directions; every witness is held against the generated schemas by two validators.
pub(super) fn asked(old: &Contract, new: &Contract) -> (Report, Report) {
    let places = Places::default();
    let [backward, forward] = [Direction::Backward, Direction::Forward]
        .map(|direction| compare(side(old, &places), side(new, &places), direction));
    judged(&backward, old, new);
    judged(&forward, new, old);
    (backward, forward)
}

/// Holds the witnesses of a direction without migrations against both schemas.
pub(super) fn judged(report: &Report, writer: &Contract, reader: &Contract) {
    let shown = |finding: &&Finding| finding.verdict == Verdict::No;
    assert_eq!(
        report.findings.iter().any(|finding| shown(&finding)),
        report.witness.is_some()
    );
    if report.verdict == Verdict::Yes {
        return;
    }
    let writes = Judges::of(&schema::writer(writer));
    let reads = Judges::of(&schema::reader(reader));
    for finding in &report.findings {
        let Some(witness) = &finding.witness else {
            assert_ne!(finding.verdict, Verdict::No, "{finding:#?}");
            continue;
        };
        assert!(writes.hold(witness), "cannot be written: {finding:#?}");
        if finding.rule == "LSC-EXTRA" {
            // Producers meet such a break, and no reader does.
            let sends = Judges::of(&schema::writer(reader));
            assert!(!sends.hold(witness), "can be sent: {finding:#?}");
            continue;
        }
        assert!(!reads.hold(witness), "can be read: {finding:#?}");
    }
}

/// Two validators that must agree.
pub(super) struct Judges {
    one: jsonschema::Validator,
    schemas: boon::Schemas,
    other: boon::SchemaIndex,
}

impl Judges {
    pub(super) fn of(schema: &serde_json::Value) -> Judges {
        let mut schemas = boon::Schemas::new();
        let mut compiler = boon::Compiler::new();
        compiler
            .add_resource("schema.json", schema.clone())
            .unwrap();
        let other = compiler.compile("schema.json", &mut schemas).unwrap();
        Judges {
            one: jsonschema::validator_for(schema).unwrap(),
            schemas,
            other,
        }
    }

    pub(super) fn hold(&self, document: &serde_json::Value) -> bool {
        let one = self.one.is_valid(document);
        let other = self.schemas.validate(document, self.other).is_ok();
        assert_eq!(one, other, "the validators disagree on {document}");
        one
    }
}
