//! What the server says when it does not write, told in words that hold no value of a document.

use lockstep_core::Error;
use lockstep_core::connector::Outcome;
use mongodb::bson::Document;

use crate::client::write_failure;

/// A column lies within a field that is no document.
const CLOSED: i32 = 28;
/// Codes by which a server refuses what a change asks for, whoever asks again.
const REFUSES: [(i32, &str); 15] = [
    (2, "it holds a value that MongoDB does not take"),
    (9, "it holds a name that MongoDB does not take"),
    (14, "a value has a type that does not fit what stands there"),
    (CLOSED, "a column lies within a field that is no document"),
    (40, "two of its columns lie within each other"),
    (52, "a name begins with `$`"),
    (54, "a name begins with `$`"),
    (55, "a name cannot be stored"),
    (56, "a name is empty"),
    (57, "a name holds a dot"),
    (66, "it would change `_id`, which cannot be changed"),
    (10334, "the document is larger than 16 MB"),
    (17419, "the document would be larger than 16 MB"),
    (17420, "the document would be larger than 16 MB"),
    (15, "it is nested deeper than MongoDB takes"),
];
const DUPLICATE: i32 = 11000;
const VALIDATION: i32 = 121;
/// Most names of a schema's properties that are told.
const NAMES_MAX: usize = 5;

/// Why a batch was not written.
#[derive(Debug)]
pub(crate) enum Failed {
    /// The target refuses this change.
    Refused(usize, Outcome),
    /// The target refuses this change as long as a field above one of its columns is no document.
    Closed(usize, Outcome),
    /// Somebody was in the way; the whole transaction can be tried again.
    Again(Box<mongodb::error::Error>),
    /// Nothing can be written.
    Stop(Error),
}

impl Failed {
    /// Tells what passes from what stays.
    pub(crate) fn of(
        error: mongodb::error::Error,
        stays: impl FnOnce(&mongodb::error::Error) -> Error,
    ) -> Failed {
        if error.contains_label("TransientTransactionError") {
            return Failed::Again(Box::new(error));
        }
        Failed::Stop(stays(&error))
    }

    /// A command that failed as a whole, though perhaps by the fault of its only change.
    pub(crate) fn command(error: mongodb::error::Error, only: Option<usize>) -> Failed {
        let known = crate::client::code(&error).and_then(known);
        match (known, only) {
            (Some(words), Some(place)) => Failed::Refused(place, rejected(words)),
            _ => Failed::of(error, |error| {
                write_failure("cannot write to the database", error)
            }),
        }
    }
}

/// What a write command did.
#[derive(Debug, PartialEq)]
pub(crate) struct Answer {
    /// How many documents it found or made.
    pub(crate) count: usize,
    /// The first statement that was refused, with its code and why.
    pub(crate) refused: Option<(usize, i32, String)>,
}

/// Reads the answer to a write command.
pub(crate) fn answered(reply: &Document) -> Answer {
    let count = reply.get_i32("n").unwrap_or(0);
    let errors = reply.get_array("writeErrors").ok();
    let first = errors.and_then(|errors| errors.first()?.as_document());
    Answer {
        count: usize::try_from(count).unwrap_or(0),
        refused: first.map(|error| {
            let index = error.get_i32("index").unwrap_or(0);
            let code = error.get_i32("code").unwrap_or(0);
            (
                usize::try_from(index).unwrap_or(0),
                code,
                reason(code, error),
            )
        }),
    }
}

/// Whether a code of a statement says that the change is at fault.
pub(crate) fn is_refusal(code: i32) -> bool {
    code == DUPLICATE || code == VALIDATION || known(code).is_some()
}

/// How a statement failed, by its code.
pub(crate) fn refused(place: usize, code: i32, reason: String) -> Failed {
    match code {
        CLOSED => Failed::Closed(place, rejected(reason)),
        _ => Failed::Refused(place, rejected(reason)),
    }
}

pub(crate) fn rejected(reason: impl Into<String>) -> Outcome {
    Outcome::Rejected {
        reason: reason.into(),
    }
}

fn known(code: i32) -> Option<&'static str> {
    let found = REFUSES.iter().find(|(known, _)| *known == code);
    found.map(|(_, words)| *words)
}

fn reason(code: i32, error: &Document) -> String {
    match code {
        DUPLICATE => {
            let empty = Document::new();
            let pattern = error.get_document("keyPattern").unwrap_or(&empty);
            let fields: Vec<&str> = pattern.keys().map(String::as_str).collect();
            format!(
                "another document has the same `{}`, which a unique index forbids (DuplicateKey, 11000)",
                fields.join("`, `")
            )
        }
        VALIDATION => {
            let mut names = Vec::new();
            if let Ok(details) = error.get_document("errInfo") {
                properties(details, &mut names, 0);
            }
            names.truncate(NAMES_MAX);
            let which = match names.is_empty() {
                true => String::new(),
                false => format!(": see `{}`", names.join("`, `")),
            };
            format!("the collection's validator refuses it (DocumentValidationFailure, 121){which}")
        }
        _ => format!(
            "{} ({code})",
            known(code).unwrap_or("the server refuses it")
        ),
    }
}

/// The names of properties in the details of a validator's refusal; values stand there, too, and are left out.
fn properties(details: &Document, names: &mut Vec<String>, depth: usize) {
    if depth > 20 {
        return;
    }
    for (key, value) in details {
        match value {
            mongodb::bson::Bson::String(name) if key == "propertyName" => names.push(name.clone()),
            mongodb::bson::Bson::Array(items) if key == "missingProperties" => {
                names.extend(
                    items
                        .iter()
                        .filter_map(|name| name.as_str().map(str::to_owned)),
                );
            }
            mongodb::bson::Bson::Array(items) if key != "consideredValues" => {
                let inner = items.iter().filter_map(|item| item.as_document());
                inner.for_each(|item| properties(item, names, depth + 1));
            }
            mongodb::bson::Bson::Document(inner) if !is_value(key) => {
                properties(inner, names, depth + 1);
            }
            _ => {}
        }
    }
}

fn is_value(key: &str) -> bool {
    matches!(key, "consideredValue" | "failingDocumentId" | "specifiedAs")
}

#[cfg(test)]
mod tests {
    use mongodb::bson::doc;

    use super::*;

    #[test]
    fn a_refusal_is_told_without_values() {
        let duplicate = doc! { "n": 1, "writeErrors": [{
            "index": 1, "code": 11000, "errmsg": "E11000 dup key: { email: \"secret@x\" }",
            "keyPattern": { "email": 1 }, "keyValue": { "email": "secret@x" },
        }] };
        let invalid = doc! { "n": 0, "writeErrors": [{ "index": 0, "code": 121, "errmsg": "Document failed validation", "errInfo": {
            "failingDocumentId": "secret@x",
            "details": { "operatorName": "$jsonSchema", "schemaRulesNotSatisfied": [
                { "operatorName": "properties", "propertiesNotSatisfied": [{ "propertyName": "email", "details": [{ "consideredValue": { "propertyName": "secret@x" } }] }] },
                { "operatorName": "required", "missingProperties": ["name"] },
            ] },
        } }] };
        for (reply, at, parts) in [
            (duplicate, 1, &["`email`", "11000"][..]),
            (invalid, 0, &["`email`", "`name`", "121"]),
        ] {
            let (index, code, reason) = answered(&reply).refused.unwrap();
            assert_eq!(index, at);
            assert!(
                is_refusal(code) && parts.iter().all(|part| reason.contains(part)),
                "{reason}"
            );
            assert!(!reason.contains("secret"), "{reason}");
        }
        assert_eq!(
            answered(&doc! { "n": 3, "ok": 1 }),
            Answer {
                count: 3,
                refused: None
            }
        );
    }
}
