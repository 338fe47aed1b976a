//! Paths of requests: fixed words that may be shown, and values that are encoded and hidden.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What needs no encoding in a segment of a path.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A path under the base address of a client, or a whole address of the same host.
///
/// [`path!`](crate::path) writes one: literals are fixed words, expressions are values.
#[derive(Clone, Default)]
pub struct Path {
    pub(crate) text: String,
    pub(crate) shown: String,
    pub(crate) unusable: bool,
}

impl Path {
    /// Adds fixed words, slashes included.
    #[must_use]
    pub fn then(mut self, words: &str) -> Self {
        let words = words.trim_matches('/');
        self.push(words);
        self.show(words);
        self
    }

    /// Adds a value as one segment, whatever is in it; messages do not show it.
    ///
    /// An empty value, `.` and `..` would name another resource: a request with such a path is refused.
    #[must_use]
    pub fn value(mut self, value: impl fmt::Display) -> Self {
        let value = value.to_string();
        self.unusable |= matches!(value.as_str(), "" | "." | "..");
        let encoded = utf8_percent_encode(&value, SEGMENT).to_string();
        self.push(&encoded);
        self.show("…");
        self
    }

    fn push(&mut self, part: &str) {
        if !self.text.is_empty() {
            self.text.push('/');
        }
        self.text.push_str(part);
    }

    fn show(&mut self, part: &str) {
        if !self.shown.is_empty() {
            self.shown.push('/');
        }
        self.shown.push_str(part);
    }
}

/// A path as it is written; of segments that look like values, messages show nothing.
impl From<&str> for Path {
    fn from(text: &str) -> Self {
        let path = text.split(['?', '#']).next().unwrap_or_default();
        let path = match path.split_once("://") {
            Some((_, rest)) => rest.split_once('/').map_or("", |(_, path)| path),
            None => path,
        };
        let shown: Vec<&str> = path
            .trim_matches('/')
            .split('/')
            .map(|segment| if is_word(segment) { segment } else { "…" })
            .collect();
        Path {
            text: text.to_owned(),
            shown: shown.join("/"),
            unusable: false,
        }
    }
}

impl From<String> for Path {
    fn from(text: String) -> Self {
        Path::from(text.as_str())
    }
}

impl From<&String> for Path {
    fn from(text: &String) -> Self {
        Path::from(text.as_str())
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// Whether a segment is a word of an API (`customers`, `v1`, `2024-10`) and not somebody's id.
fn is_word(segment: &str) -> bool {
    let version = segment.strip_prefix('v').unwrap_or(segment);
    segment.len() <= 40
        && (segment
            .bytes()
            .all(|b| b.is_ascii_alphabetic() || matches!(b, b'_' | b'-' | b'.' | b'$'))
            || (version.len() <= 5
                && version
                    .bytes()
                    .all(|b| b.is_ascii_digit() || matches!(b, b'.'))))
}

/// Writes a [`Path`]: literals are fixed words, anything else is a value that is encoded as one segment and never shown.
///
/// ```
/// let id = "a/b";
/// let path = lockstep_http_client::path!["v1/customers", id, "orders"];
/// assert_eq!(format!("{path:?}"), "v1/customers/…/orders");
/// ```
#[macro_export]
macro_rules! path {
    (@ $path:expr;) => { $path };
    (@ $path:expr; $words:literal $(, $($rest:tt)*)?) => {
        $crate::path!(@ $path.then($words); $($($rest)*)?)
    };
    (@ $path:expr; $value:expr $(, $($rest:tt)*)?) => {
        $crate::path!(@ $path.value(&$value); $($($rest)*)?)
    };
    ($($all:tt)*) => { $crate::path!(@ $crate::Path::default(); $($all)*) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_one_segment_and_are_not_shown() {
        let path = path!["v1/things/", "ä/?#../x", "parts"];
        assert_eq!(
            path.text, "v1/things/ä/?#../x/parts",
            "literals are fixed words"
        );
        let id = "ä/?#../x";
        let path = path!["v1/things/", id, "parts"];
        assert_eq!(path.text, "v1/things/%C3%A4%2F%3F%23..%2Fx/parts");
        assert_eq!(path.shown, "v1/things/…/parts");
        assert!(!path.unusable);
        for id in ["", ".", ".."] {
            assert!(path!["things", id].unusable, "{id:?}");
        }
    }

    #[test]
    fn written_paths_hide_what_looks_like_an_id() {
        for (text, shown) in [
            ("/v1/customers/cus_123?email=a@b.c", "v1/customers/…"),
            ("https://host/x/y/anna@example.com", "x/y/…"),
            ("services/data/v60.0/query", "services/data/v60.0/query"),
            ("orders/1234567", "orders/…"),
        ] {
            assert_eq!(Path::from(text).shown, shown, "{text}");
        }
    }
}
