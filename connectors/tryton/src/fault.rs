//! What Tryton answers instead of a result, by what it means.
//!
//! Over JSON-RPC errors come with status 200, as a list: a word that names their kind and its arguments, or the text and the trace of an exception.
//! Over REST the status tells, and a body in JSON or a page.

use lockstep_core::{Error, Kind};
use serde_json::Value as Json;

/// Most characters of a message of Tryton's that are passed on.
const WORDS_MAX: usize = 300;

/// Why a call has no result.
#[derive(Debug)]
pub(crate) enum Fault {
    /// Tryton refuses what is asked, in words for a person.
    User(String),
    /// Tryton wants a person to confirm something first.
    Warning {
        /// What the confirmation is stored under.
        name: String,
        /// What it asks.
        message: String,
    },
    /// Somebody else changed the record since it was read.
    Concurrency,
    /// What is asked for is not there; the error for a call that names no record.
    Gone(Box<Error>),
    /// The server failed with an exception.
    Exception(String),
    /// Something stands in the way of every call.
    Other(Error),
}

impl Fault {
    /// Reads the member `error` of an answer.
    pub(crate) fn of(error: &Json) -> Fault {
        let text = |json: Option<&Json>| match json {
            Some(Json::String(text)) => shortened(text),
            _ => String::new(),
        };
        let first = error.get(0).and_then(Json::as_str);
        let second = error.get(1);
        let argument = |at: usize| second.and_then(|list| list.get(at));
        match first {
            Some("UserError") => {
                let (message, more): (String, String) = (text(argument(0)), text(argument(1)));
                Fault::User(if more.is_empty() {
                    message
                } else {
                    format!("{message} {more}")
                })
            }
            Some("UserWarning") => Fault::Warning {
                // Stored as it is: a shortened name would confirm nothing.
                name: argument(0).and_then(Json::as_str).unwrap_or("").to_owned(),
                message: text(argument(1)),
            },
            Some("ConcurrencyException") => Fault::Concurrency,
            Some("LoginException") => Fault::Other(
                Error::new(
                    Kind::Unauthorized,
                    "tryton asks for more than a password to log in",
                )
                .help("give Lockstep a user of its own that logs in with a password alone"),
            ),
            Some(_) => Fault::Exception(text(error.get(0))),
            None => Fault::Exception("an error of a shape that is not known".to_owned()),
        }
    }

    /// Reads a refusal in JSON, as REST gives it.
    pub(crate) fn told(told: &Json) -> Fault {
        let text = |name: &str| told.get(name).and_then(Json::as_str).unwrap_or_default();
        let (message, more) = (text("message"), text("description"));
        Fault::User(shortened(format!("{message} {more}").trim()))
    }

    /// The text of an exception.
    pub(crate) fn exception(text: &str) -> Fault {
        Fault::Exception(shortened(text))
    }

    /// Whether the records are at fault, so that a smaller call may go through.
    pub(crate) fn is_of_records(&self) -> bool {
        !matches!(self, Fault::Other(_))
    }

    /// The error for a call that has no record to blame.
    pub(crate) fn error(self, what: &str) -> Error {
        match self {
            Fault::User(message) => Error::invalid(format!("tryton refuses {what}: {message}")),
            Fault::Warning { message, .. } => {
                Error::invalid(format!("tryton wants {what} confirmed: {message}"))
            }
            Fault::Concurrency => Error::transient(format!(
                "{what} is refused: somebody else changed the record in between"
            )),
            Fault::Exception(text) => Error::unexpected(format!("tryton failed at {what}: {text}"))
                .help("the server's log has the whole story"),
            Fault::Gone(error) => *error,
            Fault::Other(error) => error,
        }
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(WORDS_MAX).collect()
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Fault::Other(error)
    }
}

/// A message without the values of a record: what Tryton says often quotes them.
///
/// Single characters stay, because without them no message could be read.
pub(crate) fn without<'a>(message: &str, values: impl Iterator<Item = &'a str>) -> String {
    let mut values: Vec<&str> = values
        .map(str::trim)
        .filter(|value| value.chars().count() > 1)
        .collect();
    // The longest first: else its rest would stay where a shorter one is part of it.
    values.sort_by_key(|value| std::cmp::Reverse(value.len()));
    let mut parts = vec![Ok(message)];
    for value in values {
        let mut next = Vec::with_capacity(parts.len());
        for part in parts {
            let Ok(text) = part else {
                next.push(part);
                continue;
            };
            for (at, piece) in text.split(value).enumerate() {
                if at > 0 {
                    next.push(Err(()));
                }
                next.push(Ok(piece));
            }
        }
        parts = next;
    }
    parts.into_iter().map(|part| part.unwrap_or("…")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn errors_are_told_apart() {
        let user = Fault::of(&json!(["UserError", ["No.", "Because.", null]]));
        assert!(matches!(user, Fault::User(text) if text == "No. Because."));
        let warning = Fault::of(&json!(["UserWarning", ["w1", "Sure?", ""]]));
        assert!(matches!(warning, Fault::Warning { name, .. } if name == "w1"));
        let lock = Fault::of(&json!(["ConcurrencyException", "changed"]));
        assert!(matches!(lock, Fault::Concurrency));
        let login = Fault::of(&json!(["LoginException", ["code", "Code", "char"]]));
        assert!(matches!(login, Fault::Other(error) if error.kind() == Kind::Unauthorized));
        let key = Fault::of(&json!(["'nam'", ""]));
        assert!(matches!(key, Fault::Exception(text) if text == "'nam'"));
        for odd in [json!(null), json!({}), json!([]), json!([1, 2]), json!("x")] {
            assert!(Fault::of(&odd).is_of_records());
        }
    }

    #[test]
    fn a_refusal_over_rest_has_its_words() {
        let told = json!({ "status": 400, "message": "No.", "description": "Because." });
        assert!(matches!(Fault::told(&told), Fault::User(text) if text == "No. Because."));
        assert!(matches!(Fault::told(&json!([])), Fault::User(text) if text.is_empty()));
    }

    #[test]
    fn messages_keep_their_words_and_lose_the_values() {
        let message = r#"The value "O'Neil & Co" for field "Name" in record "C-1 - O'Neil & Co" of "Party" is wrong."#;
        assert_eq!(
            without(message, ["O'Neil & Co", "C-1", "Neil", "", "x"].into_iter()),
            r#"The value "…" for field "Name" in record "… - …" of "Party" is wrong."#
        );
    }

    proptest! {
        #[test]
        fn no_value_is_left(values in prop::collection::vec("[a-c]{2,4}", 0..4), message in "[a-d ]{0,30}") {
            let left = without(&message, values.iter().map(String::as_str));
            for value in &values {
                prop_assert!(!left.contains(value.as_str()), "{left}");
            }
        }
    }
}
