//! Columns as documents show them: by every field's path, what was seen there.

use std::collections::{BTreeSet, HashMap};

use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{RawBsonRef, RawDocument};

use crate::convert::Form;

/// Most columns that are found; a collection of more has field names made of data.
const COLUMNS_MAX: usize = 500;
/// How deep fields within documents become columns of their own.
const DEPTH_MAX: usize = 4;

/// What was seen.
#[derive(Debug, Default)]
pub(crate) struct Sample {
    /// Paths in the order in which they were met, and the kinds of values there.
    paths: Vec<(String, BTreeSet<Seen>)>,
    index: HashMap<String, usize>,
}

/// A kind of value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Seen {
    Bool,
    Int32,
    Int64,
    /// A double that is a whole number.
    Whole,
    Double,
    Decimal,
    Text,
    ObjectId,
    Bytes,
    Uuid,
    Date,
    /// A document, a list, or what only JSON has a form for.
    Other,
}

impl Sample {
    /// Looks at a document.
    pub(crate) fn add(&mut self, document: &RawDocument) {
        self.fields(document, "", 1);
    }

    fn fields(&mut self, document: &RawDocument, lead: &str, depth: usize) {
        for element in document.iter_elements() {
            let Ok(element) = element else { return };
            let name = element.key().as_str();
            // No path leads to such a field; its document as a whole still holds it.
            if name.is_empty() || name.starts_with('$') || name.contains('.') {
                continue;
            }
            let path = format!("{lead}{name}");
            let Some(place) = self.place(&path) else {
                return;
            };
            let Ok(value) = element.value() else {
                continue;
            };
            if let Some(seen) = kind(value) {
                self.paths[place].1.insert(seen);
            }
            if let RawBsonRef::Document(inner) = value
                && depth < DEPTH_MAX
                && path != "_id"
            {
                self.fields(inner, &format!("{path}."), depth + 1);
            }
        }
    }

    fn place(&mut self, path: &str) -> Option<usize> {
        if let Some(place) = self.index.get(path) {
            return Some(*place);
        }
        if self.paths.len() == COLUMNS_MAX {
            return None;
        }
        let place = self.paths.len();
        self.paths.push((path.to_owned(), BTreeSet::new()));
        self.index.insert(path.to_owned(), place);
        Some(place)
    }

    /// The columns, in the order in which they were met.
    pub(crate) fn into_columns(self) -> impl Iterator<Item = (String, Form)> {
        self.paths.into_iter().map(|(path, seen)| {
            let form = form(&seen, path == "_id");
            (path, form)
        })
    }
}

fn kind(value: RawBsonRef<'_>) -> Option<Seen> {
    Some(match value {
        RawBsonRef::Null => return None,
        RawBsonRef::Boolean(_) => Seen::Bool,
        RawBsonRef::Int32(_) => Seen::Int32,
        RawBsonRef::Int64(_) => Seen::Int64,
        RawBsonRef::Double(number) if number.fract() == 0.0 => Seen::Whole,
        RawBsonRef::Double(_) => Seen::Double,
        RawBsonRef::Decimal128(_) => Seen::Decimal,
        RawBsonRef::String(_) => Seen::Text,
        RawBsonRef::ObjectId(_) => Seen::ObjectId,
        RawBsonRef::DateTime(_) => Seen::Date,
        RawBsonRef::Binary(binary) => match binary.subtype {
            BinarySubtype::Generic => Seen::Bytes,
            BinarySubtype::Uuid => Seen::Uuid,
            _ => Seen::Other,
        },
        _ => Seen::Other,
    })
}

/// The form that holds everything that was seen.
fn form(seen: &BTreeSet<Seen>, is_id: bool) -> Form {
    let only = |kinds: &[Seen]| !seen.is_empty() && seen.iter().all(|kind| kinds.contains(kind));
    use Seen::{Decimal, Double, Int32, Int64, Whole};
    match seen.iter().next() {
        _ if only(&[Int32]) => Form::Int { narrow: true },
        _ if only(&[Int32, Int64]) => Form::Int { narrow: false },
        // Old shells write every number as a double, and no double can be a key.
        _ if is_id && only(&[Int32, Int64, Whole]) => Form::Int { narrow: false },
        _ if only(&[Int32, Int64, Whole, Double]) => Form::Float,
        _ if only(&[Int32, Int64, Decimal]) => Form::Decimal,
        Some(kind) if seen.len() == 1 => match kind {
            Seen::Bool => Form::Bool,
            Seen::Text => Form::Text,
            Seen::ObjectId => Form::ObjectId,
            Seen::Bytes => Form::Bytes,
            Seen::Uuid => Form::Uuid,
            Seen::Date => Form::Timestamp,
            _ => Form::Json,
        },
        _ => Form::Any,
    }
}

#[cfg(test)]
mod tests {
    use mongodb::bson::{Decimal128, RawBson, RawDocumentBuf, oid::ObjectId, rawdoc};

    use super::*;

    fn columns(documents: &[RawDocumentBuf]) -> Vec<(String, Form)> {
        let mut sample = Sample::default();
        documents.iter().for_each(|document| sample.add(document));
        sample.into_columns().collect()
    }

    #[test]
    fn a_column_takes_what_was_seen_in_it() {
        let decimal: Decimal128 = "1.5".parse().unwrap();
        let found = columns(&[
            rawdoc! { "_id": 1.0, "n": 1, "m": 1, "d": decimal, "s": "a", "x": "a", "l": [1], "o": { "p": { "q": true } } },
            rawdoc! { "_id": 2_i64, "n": 2_i64, "m": 1.5, "d": 2, "s": RawBson::Null, "x": 1, "late": ObjectId::new() },
        ]);
        let expected = [
            ("_id", Form::Int { narrow: false }),
            ("n", Form::Int { narrow: false }),
            ("m", Form::Float),
            ("d", Form::Decimal),
            ("s", Form::Text),
            ("x", Form::Any),
            ("l", Form::Json),
            ("o", Form::Json),
            ("o.p", Form::Json),
            ("o.p.q", Form::Bool),
            ("late", Form::ObjectId),
        ];
        let expected: Vec<(String, Form)> = expected.map(|(n, f)| (n.to_owned(), f)).into();
        assert_eq!(found, expected);
    }

    #[test]
    fn names_that_no_path_leads_to_are_no_columns() {
        let odd = rawdoc! { "": 1, "$a": 1, "a.b": 1, "c": { "$ref": "x", "$id": 1 } };
        assert_eq!(columns(&[odd]), [("c".to_owned(), Form::Json)]);
    }

    #[test]
    fn columns_are_bounded_in_number_and_depth() {
        let mut wide = RawDocumentBuf::new();
        for i in 0..2000 {
            let name = format!("f{i}");
            let name: mongodb::bson::raw::CString = name.try_into().unwrap();
            wide.append(name, i);
        }
        assert_eq!(columns(&[wide]).len(), COLUMNS_MAX);
        let deep = rawdoc! { "a": { "b": { "c": { "d": { "e": 1 } } } } };
        assert_eq!(columns(&[deep]).last().unwrap().0, "a.b.c.d");
    }
}
