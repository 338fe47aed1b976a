//! Documents as rows.
//!
//! A field that is missing is null. A field within something that is no document is missing.

use lockstep_core::{Cell, Row, Value};
use mongodb::bson::{RawBsonRef, RawDocument};

use crate::columns::{Field, Fields, ID};
use crate::convert::{identity, read, unfit};
use crate::json::{Names, Unfit};

/// The row of a whole document.
pub(crate) fn row(fields: &Fields, document: &RawDocument) -> Row {
    let mut row = Row::of(vec![Value::Null; fields.list.len()]);
    let mut names = Names::default();
    for element in document.iter_elements() {
        let Ok(element) = element else {
            // What follows cannot be read; what came before can.
            for (field, cell) in fields.list.iter().zip(&mut row.0) {
                if matches!(cell, Cell::Set(Value::Null)) {
                    *cell = spoilt(field, Unfit::Broken);
                }
            }
            break;
        };
        let name = element.key().as_str();
        let is_new = names.add(name);
        for at in fields.by_name.get(name).into_iter().flatten() {
            let field = &fields.list[*at];
            row.0[*at] = match element.value() {
                _ if !is_new => spoilt(field, Unfit::Twice),
                Ok(value) => Cell::Set(within(value, &field.path[1..], field)),
                Err(_) => spoilt(field, Unfit::Broken),
            };
        }
    }
    row
}

/// The row of which nothing but the identity is known.
pub(crate) fn key(fields: &Fields, id: Option<RawBsonRef<'_>>) -> Row {
    let mut row = Row::unchanged(fields.list.len());
    for (at, field) in fields.list.iter().enumerate() {
        if field.path == [ID] {
            let value = id.map_or(Value::Null, |id| identity(id, field.form));
            row.0[at] = Cell::Set(value);
        }
    }
    row
}

/// The value of a column, from a value on its path and the names that follow.
pub(crate) fn within(value: RawBsonRef<'_>, path: &[String], field: &Field) -> Value {
    let Some((name, rest)) = path.split_first() else {
        return if field.path == [ID] {
            identity(value, field.form)
        } else {
            read(value, field.form)
        };
    };
    let RawBsonRef::Document(document) = value else {
        return Value::Null;
    };
    match only(document, name) {
        Ok(Some(value)) => within(value, rest, field),
        Ok(None) => Value::Null,
        Err(why) => unfit(field.form, &why.to_string()),
    }
}

/// The only field of a name.
pub(crate) fn only<'d>(
    document: &'d RawDocument,
    name: &str,
) -> Result<Option<RawBsonRef<'d>>, Unfit> {
    let mut found = None;
    for element in document.iter_elements() {
        let element = element.map_err(|_| Unfit::Broken)?;
        if element.key().as_str() != name {
            continue;
        }
        if found.is_some() {
            return Err(Unfit::Twice);
        }
        found = Some(element.value().map_err(|_| Unfit::Broken)?);
    }
    Ok(found)
}

fn spoilt(field: &Field, why: Unfit) -> Cell {
    Cell::Set(unfit(field.form, &why.to_string()))
}

#[cfg(test)]
mod tests {
    use mongodb::bson::{RawDocumentBuf, rawdoc};
    use proptest::prelude::*;

    use super::*;
    use crate::columns::Table;
    use crate::convert::Form;

    fn table() -> Fields {
        let table = Table::made(&[
            ("_id", Form::Int { narrow: false }),
            ("name", Form::Text),
            ("address", Form::Json),
            ("address.city", Form::Text),
        ]);
        table.fields
    }

    #[test]
    fn columns_are_found_by_their_path() {
        let document = rawdoc! { "x": 1, "_id": 5, "address": { "city": "Ulm", "zip": 1 } };
        let expected = Row::of([
            Value::Int(5),
            Value::Null,
            Value::Json(r#"{"city":"Ulm","zip":1}"#.into()),
            Value::text("Ulm"),
        ]);
        assert_eq!(row(&table(), &document), expected);
        let no_document = row(&table(), &rawdoc! { "_id": 5, "address": "Ulm" });
        assert_eq!(no_document.value(3), Some(&Value::Null));
    }

    #[test]
    fn a_field_that_stands_twice_is_no_value() {
        let twice =
            rawdoc! { "_id": 5, "name": "a", "name": "b", "address": { "city": 1, "city": 2 } };
        let row = row(&table(), &twice);
        for at in [1, 2, 3] {
            assert!(matches!(row.value(at), Some(Value::Bytes(_))), "{row:?}");
        }
        assert_eq!(row.value(0), Some(&Value::Int(5)));
    }

    #[test]
    fn text_that_is_no_text_spoils_its_own_column_only() {
        let mut bytes =
            rawdoc! { "_id": 5, "name": "abc", "address": { "city": "Ulm" } }.into_bytes();
        let at = bytes.windows(3).position(|part| part == b"abc").unwrap();
        bytes[at] = 0xff;
        let document = RawDocumentBuf::from_bytes(bytes).unwrap();
        let row = row(&table(), &document);
        assert!(matches!(row.value(1), Some(Value::Bytes(_))));
        assert_eq!(row.value(3), Some(&Value::text("Ulm")));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let length = u32::try_from(bytes.len() + 5).unwrap().to_le_bytes();
            let framed = [&length[..], &bytes, &[0]].concat();
            if let Ok(document) = RawDocument::from_bytes(&framed) {
                let _ = row(&table(), document);
            }
        }

        #[test]
        fn a_spoilt_document_never_panics(at in 4_usize..60, byte: u8) {
            let good = rawdoc! { "_id": 5, "name": "abc", "address": { "city": ["Ulm", 1.5], "x": {} } };
            let mut bytes = good.into_bytes();
            let at = at.min(bytes.len() - 2);
            bytes[at] = byte;
            if let Ok(document) = RawDocument::from_bytes(&bytes) {
                let _ = row(&table(), document);
            }
        }
    }
}
