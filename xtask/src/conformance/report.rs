//! Reading the runner's report: one outcome for every check of the kit that ran for a connector.
//!
//! Only the shape that cargo-nextest writes is read (one `testcase` element each, its words escaped), and whatever is not so is an error instead of a gap.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::repository::Metadata;

/// How one check of one harness ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Passed,
    /// The harness declares that its connector cannot do this, in these words.
    Declared(String),
    /// Failed, or skipped for want of a system.
    Unknown,
}

/// One check of one harness of a connector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) connector: String,
    pub(crate) direction: String,
    pub(crate) check: String,
    pub(crate) ending: Ending,
}

/// Where `.config/nextest.toml` lets the report be written: below the workspace, wherever cargo builds.
pub(crate) fn path(metadata: &Metadata) -> PathBuf {
    metadata
        .workspace_root
        .join("target/nextest/default/junit.xml")
}

/// The outcomes of all connectors in the report.
pub(crate) fn outcomes(report: &str, metadata: &Metadata) -> Result<Vec<Outcome>> {
    let connectors: Vec<&str> = metadata
        .members()
        .filter(|(folder, _)| folder.starts_with("connectors/"))
        .map(|(_, package)| package.name.as_str())
        .collect();
    let mut outcomes = Vec::new();
    for case in report.split("<testcase ").skip(1) {
        let name = attribute(case, "name")?;
        let class = attribute(case, "classname")?;
        let Some((package, _binary)) = class.split_once("::") else {
            continue; // Unit tests: their class is the package alone.
        };
        let mut path = name.rsplit("::");
        let (Some(check), Some(direction)) = (path.next(), path.next()) else {
            continue;
        };
        if connectors.contains(&package) && ["source", "sink", "reader"].contains(&direction) {
            outcomes.push(Outcome {
                connector: package.trim_start_matches("lockstep-").to_owned(),
                direction: direction.to_owned(),
                check: check.to_owned(),
                ending: ending(case),
            });
        }
    }
    Ok(outcomes)
}

fn ending(case: &str) -> Ending {
    let case = case.split("</testcase>").next().unwrap_or(case);
    let says = |word: &str| {
        let lines = case.split(['\n', '>']).map(str::trim);
        let mut said = lines.filter_map(|line| line.strip_prefix(word));
        said.next()
            .map(|rest| rest.split('<').next().unwrap_or(rest).trim().to_owned())
    };
    if case.contains("<failure") || case.contains("<error") || says("skipped:").is_some() {
        return Ending::Unknown;
    }
    says("declared:").map_or(Ending::Passed, Ending::Declared)
}

fn attribute<'c>(case: &'c str, name: &str) -> Result<&'c str> {
    let tag = case.split('>').next().unwrap_or(case);
    // With the space before it, `name` is not found in `classname`.
    let tag = tag.strip_prefix(&format!("{name}=\"")).or_else(|| {
        let start = tag.split_once(&format!(" {name}=\""));
        start.map(|(_, rest)| rest)
    });
    tag.and_then(|rest| rest.split('"').next())
        .with_context(|| format!("a test in the report has no {name}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn checks_of_connectors_are_read_and_nothing_else() {
        let package = |name: &str, folder: &str| {
            json!({"name": name, "id": name, "manifest_path": format!("/r/{folder}/Cargo.toml"),
                "version": "0", "source": null, "license": null, "targets": [], "dependencies": []})
        };
        let metadata = serde_json::from_value(json!({
            "packages": [
                package("lockstep-acme", "connectors/acme"),
                package("lockstep-tests", "tests"),
            ],
            "workspace_root": "/r", "target_directory": "/r/target",
        }))
        .unwrap();
        let report = r#"<testsuites><testsuite name="lockstep-acme::conformance">
            <testcase name="keyed::sink::twice_is_once" classname="lockstep-acme::conformance" time="0.1">
                <system-err>noise
</system-err>
            </testcase>
            <testcase name="sink::stale_progress_is_fenced" classname="lockstep-acme::conformance">
                <system-err>declared: the sink keeps no progress
declared: again</system-err>
            </testcase>
            <testcase name="reader::a" classname="lockstep-acme::conformance">
                <system-err>skipped: no server
</system-err>
            </testcase>
            <testcase name="reader::b" classname="lockstep-acme::conformance">
                <failure message="no" type="test failure"/>
            </testcase>
            <testcase name="trouble::c" classname="lockstep-acme::conformance"/>
            <testcase name="sink::tests::d" classname="lockstep-acme"/>
            <testcase name="sink::e" classname="lockstep-tests::e2e"/>
        </testsuite></testsuites>"#;

        let read: Vec<_> = outcomes(report, &metadata)
            .unwrap()
            .into_iter()
            .map(|outcome| {
                assert_eq!(outcome.connector, "acme");
                (outcome.direction, outcome.check, outcome.ending)
            })
            .collect();

        let declared = Ending::Declared("the sink keeps no progress".to_owned());
        let expected = [
            ("sink", "twice_is_once", Ending::Passed),
            ("sink", "stale_progress_is_fenced", declared),
            ("reader", "a", Ending::Unknown),
            ("reader", "b", Ending::Unknown),
        ];
        let expected = expected.map(|(d, c, ending)| (d.to_owned(), c.to_owned(), ending));
        assert_eq!(read, expected);
        assert!(outcomes("<testcase time=\"1\">", &metadata).is_err());
    }
}
