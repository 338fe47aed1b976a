//! SARIF 2.1.0, which code scanning reads.

use std::collections::BTreeSet;

use lockstep_core::diagnostic::{Place, Severity};
use serde_json::{Map, Value as Json, json};

use super::{Item, Report, clean};

pub(super) fn render(report: &Report) -> Json {
    let ids: BTreeSet<&'static str> = report.findings.iter().map(|item| item.rule).collect();
    let ids: Vec<&'static str> = ids.into_iter().collect();
    let rules: Vec<Json> = ids.iter().map(|id| rule(id)).collect();
    let results: Vec<Json> = report
        .findings
        .iter()
        .map(|item| {
            let index = ids.binary_search(&item.rule).unwrap_or_default();
            result(report, item, index)
        })
        .collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "lockstep",
                "version": env!("CARGO_PKG_VERSION"),
                "informationUri": env!("CARGO_PKG_REPOSITORY"),
                "rules": rules,
            }},
            "automationDetails": { "id": format!("lockstep/contract/{}", report.command) },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn rule(id: &'static str) -> Json {
    let (summary, explanation) = crate::contract::judge::explain(id).unwrap_or_default();
    let mut rule = json!({ "id": id });
    if !summary.is_empty() {
        rule["shortDescription"] = json!({ "text": summary });
        rule["fullDescription"] = json!({ "text": summary });
        rule["help"] = json!({ "text": explanation });
    }
    rule
}

fn result(report: &Report, item: &Item, index: usize) -> Json {
    let level = match item.severity {
        Severity::Info => "note",
        Severity::Warning => "warning",
        Severity::Error => "error",
    };
    let mut text = clean(&item.message);
    if let Some(hint) = &item.hint {
        text += &format!("\nHelp: {}", clean(hint));
    }
    let mut result = json!({
        "ruleId": item.rule,
        "ruleIndex": index,
        "level": level,
        "message": { "text": text },
        "partialFingerprints": { "lockstep/v1": item.fingerprint },
    });
    if let Some((place, _)) = item.place() {
        result["locations"] = json!([location(report, place)]);
    }
    if let (Some(_), Some(old)) = (&item.new_place, &item.old_place) {
        let mut before = location(report, old);
        let base = report.against.as_ref().map_or_else(
            || "the older version".to_owned(),
            |base| clean(&base.words()),
        );
        before["message"] = json!({ "text": format!("before, in {base}") });
        result["relatedLocations"] = json!([before]);
    }
    if let Some(excuse) = &item.approved {
        result["suppressions"] = json!([{
            "kind": "external",
            "status": "accepted",
            "justification": clean(&format!("{} ({}) until {}: {}", excuse.by, excuse.role, excuse.expires, excuse.reason)),
        }]);
    }
    let properties = properties(item);
    if !properties.is_empty() {
        result["properties"] = Json::Object(properties);
    }
    result
}

fn location(report: &Report, place: &Place) -> Json {
    json!({ "physicalLocation": {
        "artifactLocation": { "uri": encoded(&report.uri(&place.file)) },
        "region": { "startLine": place.line.max(1), "startColumn": place.column.max(1) },
    }})
}

/// What SARIF has no word for.
fn properties(item: &Item) -> Map<String, Json> {
    let mut properties = Map::new();
    let mut put = |name: &str, value: Option<Json>| {
        if let Some(value) = value {
            properties.insert(name.to_owned(), value);
        }
    };
    put("contract", item.contract.as_ref().map(|id| json!(id)));
    put(
        "pointer",
        item.pointer.as_ref().map(|pointer| json!(pointer)),
    );
    put("verdict", item.verdict.map(|verdict| json!(verdict)));
    put(
        "directions",
        (!item.directions.is_empty()).then(|| json!(item.directions)),
    );
    put(
        "consumers",
        (!item.consumers.is_empty()).then(|| json!(item.consumers)),
    );
    put("witness", item.witness.clone());
    put("approver", item.approver.map(|role| json!(role)));
    properties
}

/// A path as a relative URI.
fn encoded(path: &str) -> String {
    let mut uri = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            uri += &format!("%{byte:02X}");
        }
    }
    uri
}
