//! Parameters as Stripe takes them: pairs, with brackets for what is nested.

use serde_json::Value as Json;

/// Parameters in their order.
pub(crate) type Pairs = Vec<(String, String)>;

/// How deep documents are written; nothing that Stripe takes is as deep.
const DEPTH_MAX: usize = 16;

/// Appends a document under a name: `a[b]`, `a[0][b]`; a null and an empty list or object are empty, which unsets them.
pub(crate) fn push(pairs: &mut Pairs, name: &str, value: &Json) {
    nested(pairs, name, value, 0);
}

fn nested(pairs: &mut Pairs, name: &str, value: &Json, depth: usize) {
    match value {
        Json::Object(fields) if !fields.is_empty() && depth < DEPTH_MAX => {
            for (field, value) in fields {
                nested(pairs, &format!("{name}[{field}]"), value, depth + 1);
            }
        }
        Json::Array(values) if !values.is_empty() && depth < DEPTH_MAX => {
            for (at, value) in values.iter().enumerate() {
                nested(pairs, &format!("{name}[{at}]"), value, depth + 1);
            }
        }
        Json::String(text) => pairs.push((name.to_owned(), text.clone())),
        Json::Bool(_) | Json::Number(_) => pairs.push((name.to_owned(), value.to_string())),
        Json::Null | Json::Object(_) | Json::Array(_) => {
            pairs.push((name.to_owned(), String::new()));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_nested_stands_in_brackets() {
        let mut pairs = Pairs::new();
        let value = json!({"a": [{"b": 1}, "c"], "d": null, "e": {}, "f": true});
        push(&mut pairs, "x", &value);
        let text: Vec<String> = pairs.iter().map(|(n, v)| format!("{n}={v}")).collect();
        assert_eq!(
            text,
            ["x[a][0][b]=1", "x[a][1]=c", "x[d]=", "x[e]=", "x[f]=true"]
        );
    }

    #[test]
    fn what_is_too_deep_ends_somewhere() {
        let mut value = json!(1);
        for _ in 0..100 {
            value = json!([value]);
        }
        let mut pairs = Pairs::new();
        push(&mut pairs, "x", &value);
        assert_eq!(pairs.len(), 1);
    }
}
