//! An update told by what it changed, as the cells of a row.
//!
//! Exact or nothing: a column whose new value the description does not hold whole is left for somebody who can look the document up as it was at that very time.

use lockstep_core::{Cell, Row, Value};
use mongodb::bson::{RawBsonRef, RawDocument};

use crate::columns::{Field, Fields};
use crate::record::{key, within};

/// What the description says of the row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Patch {
    /// The identity, and the columns that changed.
    pub(crate) row: Row,
    /// Whether nothing else changed in any column.
    pub(crate) is_whole: bool,
}

/// How a path that was changed lies to a column's.
enum Lies<'p> {
    /// Elsewhere.
    Apart,
    /// At the column or above it; the names that lead on to the column.
    Above(&'p [String]),
    /// Within the column's value.
    Within,
}

/// Reads an `updateDescription`.
pub(crate) fn read(
    fields: &Fields,
    id: Option<RawBsonRef<'_>>,
    description: &RawDocument,
) -> Patch {
    let mut patch = Patch {
        row: key(fields, id),
        is_whole: true,
    };
    // A name with a dot in it would be taken for a path, and older servers do not say which is which.
    let told = description.get_document("disambiguatedPaths");
    let sure = told.as_ref().is_ok_and(|paths| paths.is_empty());
    patch.is_whole &= sure || told.is_err();
    patch.is_whole &= updated(fields, description, sure, &mut patch.row).is_some();
    patch.is_whole &= removed(fields, description, sure, &mut patch.row).is_some();
    patch.is_whole &= truncated(fields, description).is_some();
    patch
}

/// Fields with new values; nothing where a column is changed within.
fn updated(known: &Fields, description: &RawDocument, sure: bool, row: &mut Row) -> Option<()> {
    let mut exact = Some(());
    let Ok(fields) = description.get_document("updatedFields") else {
        return exact;
    };
    for element in fields.iter_elements() {
        let element = element.ok()?;
        for (at, field) in affected(known, element.key().as_str()) {
            match lies(element.key().as_str(), field) {
                Lies::Apart => {}
                Lies::Within => exact = None,
                Lies::Above(_) if !sure && element.key().as_str().contains('.') => exact = None,
                Lies::Above(rest) => match element.value() {
                    Ok(value) => row.0[at] = Cell::Set(within(value, rest, field)),
                    Err(_) => exact = None,
                },
            }
        }
    }
    exact
}

/// Fields that are gone.
fn removed(known: &Fields, description: &RawDocument, sure: bool, row: &mut Row) -> Option<()> {
    let mut exact = Some(());
    let Ok(fields) = description.get_array("removedFields") else {
        return exact;
    };
    for name in fields {
        let name = name.ok()?.as_str()?;
        for (at, field) in affected(known, name) {
            match lies(name, field) {
                Lies::Apart => {}
                Lies::Within => exact = None,
                Lies::Above(_) if !sure && name.contains('.') => exact = None,
                Lies::Above(_) => row.0[at] = Cell::Set(Value::Null),
            }
        }
    }
    exact
}

/// Lists that were cut.
fn truncated(known: &Fields, description: &RawDocument) -> Option<()> {
    let Ok(lists) = description.get_array("truncatedArrays") else {
        return Some(());
    };
    for list in lists {
        let name = list.ok()?.as_document()?.get_str("field").ok()?;
        for (_, field) in affected(known, name) {
            if !matches!(lies(name, field), Lies::Apart) {
                return None;
            }
        }
    }
    Some(())
}

/// The columns that share the first name of a path.
fn affected<'t>(fields: &'t Fields, path: &str) -> impl Iterator<Item = (usize, &'t Field)> {
    let first = path.split('.').next().unwrap_or(path);
    let places = fields.by_name.get(first).into_iter().flatten();
    places.map(|at| (*at, &fields.list[*at]))
}

fn lies<'p>(changed: &str, field: &'p Field) -> Lies<'p> {
    let mut rest = field.path.as_slice();
    for part in changed.split('.') {
        match rest.split_first() {
            None => return Lies::Within,
            Some((name, more)) if name == part => rest = more,
            Some(_) => return Lies::Apart,
        }
    }
    Lies::Above(rest)
}

#[cfg(test)]
mod tests {
    use mongodb::bson::{RawDocumentBuf, rawdoc};

    use super::*;
    use crate::columns::Table;
    use crate::convert::Form;

    fn table() -> Fields {
        let table = Table::made(&[
            ("_id", Form::Int { narrow: false }),
            ("name", Form::Text),
            ("address", Form::Json),
            ("address.city", Form::Text),
            ("tags", Form::Json),
        ]);
        table.fields
    }

    fn of(description: &RawDocumentBuf) -> (Vec<Option<Value>>, bool) {
        let patch = read(&table(), Some(RawBsonRef::Int32(5)), description);
        let cells = patch.row.0.iter().map(|cell| cell.value().cloned());
        (cells.skip(1).collect(), patch.is_whole)
    }

    #[test]
    fn what_changed_is_told_and_nothing_else() {
        let text = |text: &str| Some(Value::text(text));
        let json = |text: &str| Some(Value::Json(text.into()));
        let null = Some(Value::Null);
        for (description, cells, is_whole) in [
            (
                rawdoc! { "updatedFields": { "name": "a", "other": 1 }, "removedFields": ["tags"], "truncatedArrays": [] },
                [text("a"), None, None, null.clone()],
                true,
            ),
            (
                rawdoc! { "updatedFields": { "address": { "city": "Ulm" } }, "removedFields": ["x.y"] },
                [None, json(r#"{"city":"Ulm"}"#), text("Ulm"), None],
                true,
            ),
            (
                rawdoc! { "updatedFields": { "address": 7 } },
                [None, json("7"), null.clone(), None],
                true,
            ),
            (
                rawdoc! { "removedFields": ["address"] },
                [None, null.clone(), null, None],
                true,
            ),
            // The document as a whole is not told.
            (
                rawdoc! { "updatedFields": { "address.city": "Ulm" }, "disambiguatedPaths": {} },
                [None, None, text("Ulm"), None],
                false,
            ),
            // It may be a field of this very name.
            (
                rawdoc! { "updatedFields": { "address.city": "Ulm" } },
                [None, None, None, None],
                false,
            ),
            (
                rawdoc! { "updatedFields": { "address.city": "Ulm", "name": "a" }, "disambiguatedPaths": { "address.city": ["address.city"] } },
                [text("a"), None, None, None],
                false,
            ),
            (
                rawdoc! { "updatedFields": { "tags.0": 1 } },
                [None, None, None, None],
                false,
            ),
            (
                rawdoc! { "removedFields": ["address.zip"] },
                [None, None, None, None],
                false,
            ),
            (
                rawdoc! { "truncatedArrays": [{ "field": "tags", "newSize": 1 }] },
                [None, None, None, None],
                false,
            ),
            (
                rawdoc! { "updatedFields": { "name": "a" }, "disambiguatedPaths": { "a.b": ["a.b"] } },
                [text("a"), None, None, None],
                false,
            ),
        ] {
            assert_eq!(
                of(&description),
                (cells.to_vec(), is_whole),
                "{description:?}"
            );
        }
    }
}
