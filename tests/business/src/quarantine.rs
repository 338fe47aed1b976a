//! What `lockstep quarantine list --json` says, and whether it is what the journal expects.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde_json::Value;

/// The records in quarantine: entity and key, the parts of a key joined by `|`.
pub type Entries = BTreeSet<(String, String)>;

/// Reads the answer.
///
/// Entries whose `state` is anything but `open` are done with and left out.
///
/// # Errors
/// The answer has another shape.
pub fn read(answer: &Value) -> Result<Entries> {
    let list = answer.get("entries").and_then(Value::as_array);
    let list = list.context("the quarantine's answer holds no `entries`")?;
    let open = |entry: &&Value| entry.get("state").and_then(Value::as_str) == Some("open");
    list.iter().filter(open).map(entry).collect()
}

fn entry(entry: &Value) -> Result<(String, String)> {
    let text = |name: &str| {
        let text = entry.get(name).and_then(Value::as_str);
        text.with_context(|| format!("an entry of the quarantine has no `{name}`"))
    };
    Ok((text("entity")?.to_owned(), text("key")?.to_owned()))
}

/// Says in words how the quarantine differs from the records that are broken in their sources; empty where it does not.
#[must_use]
pub fn compare(expected: &Entries, found: &Entries) -> Vec<String> {
    let told = |entries: Vec<&(String, String)>, what: &str| {
        let total = entries.len();
        let few: Vec<String> = entries
            .iter()
            .take(5)
            .map(|(entity, key)| format!("{entity} {key}"))
            .collect();
        (total > 0).then(|| format!("{total} {what}: {}", few.join(", ")))
    };
    let missing = expected.difference(found).collect();
    let extra = found.difference(expected).collect();
    [
        told(missing, "broken records are not in quarantine"),
        told(extra, "records are in quarantine without being broken"),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// How many entries each entity has.
#[must_use]
pub fn by_entity(entries: &Entries) -> BTreeMap<&str, u64> {
    let mut counts = BTreeMap::new();
    for (entity, _) in entries {
        *counts.entry(entity.as_str()).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_open_entries_count() {
        let entries = read(&json!({ "entries": [
            { "entity": "product", "key": "A", "state": "open" },
            { "entity": "stock_level", "key": "A|EAST", "state": "open" },
            { "entity": "product", "key": "B", "state": "dropped" },
        ]}))
        .unwrap();
        let expected = [("product", "A"), ("stock_level", "A|EAST")];
        let expected: Entries = expected
            .map(|(entity, key)| (entity.to_owned(), key.to_owned()))
            .into();
        assert_eq!(entries, expected);
        assert_eq!(by_entity(&entries)["product"], 1);
    }

    #[test]
    fn what_is_missing_and_what_is_too_much_is_told() {
        let set = |keys: &[&str]| -> Entries {
            let keys = keys.iter();
            keys.map(|key| ("product".to_owned(), (*key).to_owned()))
                .collect()
        };
        assert!(compare(&set(&["A"]), &set(&["A"])).is_empty());
        let told = compare(&set(&["A"]), &set(&["B"]));
        assert_eq!(told.len(), 2);
        assert!(told[0].contains("product A") && told[1].contains("product B"));
    }

    #[test]
    fn another_shape_is_an_error() {
        let nameless = json!({ "entries": [{ "state": "open", "entity": "x" }] });
        for answer in [json!(3), json!({}), json!([]), nameless] {
            assert!(read(&answer).is_err(), "{answer}");
        }
    }
}
