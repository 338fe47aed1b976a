//! Striking secrets out of texts that others wrote: errors of connectors and parsers, lines of the log.
//!
//! Values that `${…}` brought into a loaded configuration are remembered for the life of the process, so that not even a connector's own log line shows one.

use std::borrow::Cow;
use std::sync::{PoisonError, RwLock};

use lockstep_core::connector::Secret;

/// Values of at least this many characters are struck wherever they stand; shorter ones, which are part of most texts, only where they stand alone.
const ANYWHERE_MIN: usize = 4;

/// Most values remembered; a configuration has a handful.
const REMEMBERED_MAX: usize = 1000;

/// The values of every configuration that was loaded.
static REMEMBERED: RwLock<Vec<Secret<String>>> = RwLock::new(Vec::new());

/// Remembers values for [`strike`].
pub(super) fn remember<'s>(secrets: impl Iterator<Item = &'s Secret<String>>) {
    let mut known = REMEMBERED.write().unwrap_or_else(PoisonError::into_inner);
    for secret in secrets {
        let new = known.iter().all(|one| one.expose() != secret.expose());
        if new && known.len() < REMEMBERED_MAX {
            known.push(secret.clone());
        }
    }
}

/// The text without any value that a loaded configuration brought in.
pub(crate) fn strike(text: &str) -> Cow<'_, str> {
    let known = REMEMBERED.read().unwrap_or_else(PoisonError::into_inner);
    if known.is_empty() {
        return Cow::Borrowed(text);
    }
    let values = known.iter().map(|secret| secret.expose().as_str());
    Cow::Owned(redact(text, values))
}

/// The text with every occurrence of the values struck out, plain or escaped.
pub(crate) fn redact<'s>(text: &str, values: impl Iterator<Item = &'s str>) -> String {
    let mut values: Vec<String> = values
        .flat_map(written_ways)
        .filter(|value| !value.is_empty())
        .collect();
    // The longest first, so that no part of a longer one is left over.
    values.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
    values.dedup();
    let mut text = text.to_owned();
    for value in &values {
        if value.chars().count() >= ANYWHERE_MIN {
            text = text.replace(value, "[secret]");
        } else {
            text = replace_alone(&text, value);
        }
    }
    text
}

/// A value as it is, as `{:?}` writes it and as JSON does.
fn written_ways(value: &str) -> [String; 3] {
    let json = serde_json::Value::from(value).to_string();
    let json = json
        .strip_prefix('"')
        .and_then(|json| json.strip_suffix('"'));
    let json = json.unwrap_or(value).to_owned();
    [value.to_owned(), value.escape_debug().to_string(), json]
}

/// Strikes a short value where no letter or digit stands beside it.
fn replace_alone(text: &str, value: &str) -> String {
    let alone = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric());
    let mut struck = String::with_capacity(text.len());
    let mut done = 0;
    for (at, found) in text.match_indices(value) {
        let end = at + found.len();
        if alone(text[..at].chars().next_back()) && alone(text[end..].chars().next()) {
            struck.push_str(&text[done..at]);
            struck.push_str("[secret]");
            done = end;
        }
    }
    struck.push_str(&text[done..]);
    struck
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn short_values_are_struck_where_they_stand_alone() {
        let text = "a cat at 7, port 77: a7 'a'";
        assert_eq!(
            redact(text, ["a", "7"].into_iter()),
            "[secret] cat at [secret], port 77: a7 '[secret]'"
        );
    }

    #[test]
    fn values_are_struck_in_every_way_they_are_written() {
        let value = "pa\"ss\\wo\nd\"";
        let texts = [
            value.to_owned(),
            format!("{value:?}"),
            serde_json::json!([value]).to_string(),
        ];
        for text in texts {
            let struck = redact(&text, [value].into_iter());
            assert!(!struck.contains("pa") && !struck.contains("wo"), "{struck}");
        }
    }

    #[test]
    fn what_is_remembered_is_struck_from_then_on() {
        let secret = Secret::new("only-this-test-knows".to_owned());
        remember([&secret, &secret].into_iter());
        assert_eq!(strike("url?pw=only-this-test-knows&x"), "url?pw=[secret]&x");
    }

    proptest! {
        #[test]
        fn no_value_of_some_length_is_left(before: String, value in "[^\\[\\]secrt]{4,12}", after: String) {
            let struck = redact(&format!("{before}{value}{after}"), [value.as_str()].into_iter());
            prop_assert!(!struck.contains(&value));
        }
    }
}
