//! JSON Schemas of the configuration file and of what commands print, generated from their types.

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};

use super::{check, connectors, contract, explain, map, quarantine, status, steer};
use crate::config::FileText;

/// Every schema, by its file below `schemas/`.
#[must_use]
pub fn schemas() -> Vec<(&'static str, Schema)> {
    vec![
        ("config/lockstep.toml.schema.json", written::<FileText>()),
        ("outputs/check.schema.json", printed::<check::Checked<'_>>()),
        (
            "outputs/connectors-list.schema.json",
            printed::<connectors::Listed<'_>>(),
        ),
        (
            "outputs/connectors-try.schema.json",
            printed::<connectors::Tried>(),
        ),
        (
            "outputs/contract-approve.schema.json",
            printed::<contract::approve::Approved>(),
        ),
        (
            "outputs/contract-compat.schema.json",
            printed::<lockstep_core::contract::compat::Report>(),
        ),
        (
            "outputs/contract-diff.schema.json",
            printed::<contract::diff::Changelog>(),
        ),
        (
            "outputs/contract-release.schema.json",
            printed::<contract::release::Releases>(),
        ),
        (
            "outputs/contract-report.schema.json",
            printed::<crate::contract::report::Report>(),
        ),
        (
            "outputs/contract-rules.schema.json",
            printed::<contract::rules::Rules>(),
        ),
        (
            "outputs/contract-profile.schema.json",
            printed::<lockstep_core::contract::profile::Profile>(),
        ),
        (
            "outputs/contract-test.schema.json",
            printed::<crate::contract::trial::Tested>(),
        ),
        (
            "outputs/contract-written.schema.json",
            printed::<contract::written::Written>(),
        ),
        (
            "outputs/contract-fmt.schema.json",
            printed::<contract::Laid>(),
        ),
        (
            "outputs/contract-compat-pairs.schema.json",
            printed::<contract::PairLine>(),
        ),
        ("outputs/explain.schema.json", printed::<explain::Pages>()),
        ("outputs/map-try.schema.json", printed::<map::Tried>()),
        (
            "outputs/contract-drift.schema.json",
            printed::<crate::drift::Report>(),
        ),
        (
            "outputs/quarantine-act.schema.json",
            printed::<quarantine::Acted>(),
        ),
        (
            "outputs/quarantine-export.schema.json",
            printed::<quarantine::Line>(),
        ),
        (
            "outputs/quarantine-list.schema.json",
            printed::<quarantine::Listed>(),
        ),
        (
            "outputs/quarantine-show.schema.json",
            printed::<quarantine::Shown>(),
        ),
        ("outputs/status.schema.json", printed::<status::Shown>()),
        ("outputs/steer.schema.json", printed::<steer::Steered>()),
        (
            "outputs/verify.schema.json",
            printed::<crate::verify::Verification>(),
        ),
    ]
}

/// The schema of what somebody writes.
fn written<T: JsonSchema>() -> Schema {
    SchemaGenerator::new(SchemaSettings::draft2020_12()).into_root_schema_for::<T>()
}

/// The schema of what a command prints.
fn printed<T: JsonSchema>() -> Schema {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    SchemaGenerator::new(settings).into_root_schema_for::<T>()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Compares the committed files with the types; `LOCKSTEP_UPDATE=1` writes them instead.
    #[test]
    fn the_committed_schemas_are_those_of_the_types() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas");
        for (file, schema) in schemas() {
            let path = root.join(file);
            let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
            if std::env::var_os("LOCKSTEP_UPDATE").is_some() {
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(&path, text).unwrap();
                continue;
            }
            let committed = std::fs::read_to_string(&path).unwrap_or_default();
            assert_eq!(
                committed, text,
                "schemas/{file} is out of date; run the test with LOCKSTEP_UPDATE=1"
            );
        }
    }
}
