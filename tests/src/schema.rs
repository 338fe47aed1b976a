//! What a configuration's JSON Schema must say.

use std::collections::BTreeSet;

use serde_json::Value as Json;

/// The names of a schema's settings, each of them described, and marked where it is secret.
pub(crate) fn documented(schema: &Json) -> BTreeSet<String> {
    assert_eq!(
        schema.get("additionalProperties"),
        Some(&Json::Bool(false)),
        "unknown settings must be refused (`deny_unknown_fields`)"
    );
    let settings = schema.get("properties").and_then(Json::as_object);
    let Some(settings) = settings.filter(|settings| !settings.is_empty()) else {
        panic!("the configuration has no settings: {schema}");
    };
    for (name, setting) in settings {
        let text = setting
            .get("description")
            .and_then(Json::as_str)
            .unwrap_or_default();
        assert!(text.len() > 10, "the setting `{name}` has no description");
        let secret = ["password", "secret", "token", "api_key", "private_key"]
            .iter()
            .any(|word| name.contains(word));
        assert!(
            !secret || is_marked(schema, setting),
            "the setting `{name}` holds a secret but is not of type `Secret`"
        );
    }
    settings.keys().cloned().collect()
}

fn is_marked(schema: &Json, setting: &Json) -> bool {
    let text = setting.to_string();
    let referred = setting.get("$ref").and_then(Json::as_str);
    let target = referred.and_then(|path| schema.pointer(path.trim_start_matches('#')));
    text.contains("x-lockstep-secret")
        || target.is_some_and(|target| target.to_string().contains("x-lockstep-secret"))
        || schema.get("$defs").is_some_and(|defs| {
            text.contains("Secret") && defs.to_string().contains("x-lockstep-secret")
        })
}
