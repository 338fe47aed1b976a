//! What has to be sent so that an object holds what a row says; pure.
//!
//! Only what differs is sent, so that an object that is right already is not touched and no event of it is made.

use std::collections::BTreeSet;

use lockstep_core::{Row, Shape, Value};
use serde_json::Value as Json;

use crate::convert::{self, Written, find, text};
use crate::form::{self, Pairs};
use crate::table::{Item, Table, Write};

/// A row, ready to be sent.
#[derive(Debug)]
pub(crate) struct Wanted {
    cells: Vec<(Item, Written)>,
}

impl Wanted {
    /// What a row says of an object; cells that are unchanged say nothing.
    ///
    /// # Errors
    /// Why a value cannot stand in its column, without the value.
    pub(crate) fn of(table: &Table, shape: &Shape, row: &Row) -> Result<Wanted, String> {
        let mut cells = Vec::with_capacity(shape.columns.len());
        for (at, column) in shape.columns.iter().enumerate() {
            let Some(value) = row.value(at) else { continue };
            let item = table
                .item(&column.name)
                .map_err(|error| error.to_string())?;
            let written = convert::write(value, &item)?;
            cells.push((item, written));
        }
        Ok(Wanted { cells })
    }

    /// The status that is wanted, where one is.
    pub(crate) fn status(&self) -> Option<&str> {
        self.cells.iter().find_map(|(item, written)| match written {
            Written::Plain(status) if item.write == Write::Act && item.name == "status" => {
                Some(status.as_str())
            }
            _ => None,
        })
    }

    /// Whether a payment is to be recorded that was made elsewhere.
    pub(crate) fn is_paid_elsewhere(&self) -> bool {
        let is = |(item, written): &(Item, Written)| {
            item.name == "paid_out_of_band" && *written == Written::Plain("true".to_owned())
        };
        self.cells.iter().any(is)
    }

    /// Every text that a message of Stripe could quote.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        self.cells.iter().filter_map(|(_, written)| match written {
            Written::Plain(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// A column that refers to another object and is set.
    pub(crate) fn reference(&self, param: Option<&str>) -> Option<&str> {
        let is = |item: &Item| {
            item.form == convert::Form::Reference
                && param.is_none_or(|param| item.param == param || item.name == param)
        };
        let mut set = self
            .cells
            .iter()
            .filter(|(_, written)| *written != Written::Nothing);
        set.find(|(item, _)| is(item))
            .map(|(item, _)| item.name.as_str())
    }

    /// What makes an object.
    pub(crate) fn creation(&self) -> Pairs {
        let mut pairs = Pairs::new();
        for (item, written) in &self.cells {
            if matches!(item.write, Write::Once | Write::Always) && *written != Written::Nothing {
                push(&mut pairs, &item.param, written);
            }
        }
        pairs
    }

    /// What makes an object into what is wanted; nothing where it is that.
    ///
    /// # Errors
    /// What would have to change that cannot.
    pub(crate) fn update(&self, table: &Table, object: &Json) -> Result<Pairs, String> {
        let mut pairs = Pairs::new();
        let mut groups = BTreeSet::new();
        for (item, written) in &self.cells {
            match item.write {
                Write::Never | Write::Act => continue,
                Write::Once | Write::Always => {}
            }
            if item.name == "metadata" {
                self.metadata(item, written, object, &mut pairs);
                continue;
            }
            if is_same(item, written, object) {
                continue;
            }
            match (item.write, written, item.form) {
                // What is not said was never asked for, and a flag cannot be unset.
                (Write::Once, Written::Nothing, _) | (_, Written::Nothing, convert::Form::Bool) => {
                }
                (Write::Once, ..) => {
                    return Err(format!(
                        "`{}` of `{}` can be said only when it is made",
                        item.name, table.kind.table
                    ));
                }
                _ => match group(item) {
                    Some(group) => {
                        groups.insert(group.to_owned());
                    }
                    None => push(&mut pairs, &item.param, written),
                },
            }
        }
        for group in groups {
            self.whole(&group, table, object, &mut pairs);
        }
        Ok(pairs)
    }

    /// The fields within an object that is taken as a whole: what is not said of them stays as it is.
    fn whole(&self, group: &str, table: &Table, object: &Json, pairs: &mut Pairs) {
        if group == "items" {
            let path = ["items", "data", "0", "id"].map(str::to_owned);
            if let Some(id) = find(object, &path).and_then(Json::as_str) {
                pairs.push(("items[0][id]".to_owned(), id.to_owned()));
            }
        }
        for item in table
            .items()
            .filter(|item| self::group(item) == Some(group))
        {
            let said = self.cells.iter().find(|(said, _)| said.name == item.name);
            match said {
                Some((_, Written::Nothing)) if group == "items" => {}
                Some((_, written)) => push(pairs, &item.param, written),
                None if group == "items" => {}
                None => match convert::written(object, item) {
                    Written::Nothing => {}
                    written => push(pairs, &item.param, &written),
                },
            }
        }
    }

    /// Names in the metadata that differ; those that are not wanted are unset.
    fn metadata(&self, item: &Item, written: &Written, object: &Json, pairs: &mut Pairs) {
        let empty = serde_json::Map::new();
        let wanted = match written {
            Written::Document(Json::Object(fields)) => fields,
            _ => &empty,
        };
        let now = find(object, &item.path)
            .and_then(Json::as_object)
            .unwrap_or(&empty);
        for (name, value) in wanted {
            let plain = plain(value);
            if now.get(name).map(self::plain).unwrap_or_default() != plain {
                pairs.push((format!("metadata[{name}]"), plain));
            }
        }
        for (name, value) in now {
            let column = format!("{}{name}", crate::table::METADATA);
            let is_said = self.cells.iter().any(|(item, _)| item.name == column);
            if !wanted.contains_key(name) && !is_said && !plain(value).is_empty() {
                pairs.push((format!("metadata[{name}]"), String::new()));
            }
        }
    }
}

/// What a key bears in the metadata, taken away.
pub(crate) fn release(name: &str) -> (String, String) {
    (format!("metadata[{name}]"), String::new())
}

/// An idempotency key: the same for the same change of the same record, and for nothing else.
pub(crate) fn key(parts: &[&str]) -> String {
    let parts: Vec<Vec<u8>> = parts
        .iter()
        .map(|part| {
            // With its length, so that no two lists of parts are the same bytes.
            let mut bytes = part.len().to_be_bytes().to_vec();
            bytes.extend_from_slice(part.as_bytes());
            bytes
        })
        .collect();
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    let hash = lockstep_http_client::sign::mac(
        lockstep_http_client::sign::Hash::Sha256,
        b"lockstep",
        &parts,
    );
    format!("lockstep-{}", &lockstep_http_client::sign::hex(&hash)[..40])
}

/// The id of an object that was answered.
pub(crate) fn id(object: &Json) -> Option<&str> {
    text(object, crate::table::ID)
}

/// The value of a row's key, as a text; none where it is null.
pub(crate) fn key_text(row: &Row, at: usize) -> Option<String> {
    match row.value(at)? {
        Value::Null => None,
        value => Some(value.to_string()).filter(|text| !text.is_empty()),
    }
}

fn push(pairs: &mut Pairs, param: &str, written: &Written) {
    match written {
        Written::Nothing => pairs.push((param.to_owned(), String::new())),
        Written::Plain(text) => pairs.push((param.to_owned(), text.clone())),
        Written::Document(document) => form::push(pairs, param, document),
    }
}

fn is_same(item: &Item, wanted: &Written, object: &Json) -> bool {
    convert::written(object, item) == *wanted
}

/// The object that a column's field is within, where that is taken as a whole.
fn group(item: &Item) -> Option<&str> {
    let first = item.path.first()?;
    (item.path.len() > 1 && first != "metadata" && item.write == Write::Always).then_some(first)
}

fn plain(value: &Json) -> String {
    match value {
        Json::Null => String::new(),
        Json::String(text) => text.clone(),
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use lockstep_core::{Cell, Column, Type};
    use serde_json::json;

    use super::*;

    fn table(name: &str) -> Table {
        Table::of(name, &serde_json::from_str(r#"{"api_key": "sk"}"#).unwrap()).unwrap()
    }

    fn wanted(table: &Table, cells: &[(&str, Value)]) -> Result<Wanted, String> {
        let shape = Shape {
            name: table.kind.table.to_owned(),
            columns: cells
                .iter()
                .map(|(name, _)| Column::new(*name, Type::Text, true))
                .collect(),
            key: vec![0],
        };
        Wanted::of(
            table,
            &shape,
            &Row::of(cells.iter().map(|(_, value)| value.clone())),
        )
    }

    fn text(pairs: &Pairs) -> String {
        let each: Vec<String> = pairs
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        each.join("&")
    }

    #[test]
    fn only_what_differs_is_sent() {
        let table = table("customers");
        let object = json!({
            "name": "Ann", "email": "a@x", "balance": 0, "preferred_locales": ["de"],
            "address": {"line1": "Here 1", "city": "Bonn", "line2": null},
            "metadata": {"crm_id": "7", "old": "x", "none": ""},
        });
        for (cells, expected) in [
            (
                vec![("name", Value::text("Ann")), ("balance", Value::Int(0))],
                "",
            ),
            (vec![("name", Value::Null)], "name="),
            (vec![("metadata.crm_id", Value::text("7"))], ""),
            (
                vec![("metadata.crm_id", Value::Int(8))],
                "metadata[crm_id]=8",
            ),
            (
                vec![("address.city", Value::text("Ulm"))],
                "address[city]=Ulm&address[line1]=Here 1",
            ),
            (
                vec![
                    ("address.city", Value::Null),
                    ("address.line1", Value::text("Here 1")),
                ],
                "address[city]=&address[line1]=Here 1",
            ),
            (
                vec![(
                    "metadata",
                    Value::Json(r#"{"crm_id": 7, "new": "y"}"#.into()),
                )],
                "metadata[new]=y&metadata[old]=",
            ),
            (
                vec![("preferred_locales", Value::Json(r#"["de"]"#.into()))],
                "",
            ),
            (
                vec![("preferred_locales", Value::Json(r#"["en","fr"]"#.into()))],
                "preferred_locales[0]=en&preferred_locales[1]=fr",
            ),
        ] {
            let pairs = wanted(&table, &cells)
                .unwrap()
                .update(&table, &object)
                .unwrap();
            assert_eq!(text(&pairs), expected, "{cells:?}");
        }
    }

    #[test]
    fn what_can_be_said_only_once_is_not_changed_in_silence() {
        let table = table("prices");
        let object = json!({"unit_amount": 100, "currency": "eur", "active": true});
        let same = wanted(
            &table,
            &[("unit_amount", Value::Int(100)), ("currency", Value::Null)],
        );
        assert!(same.unwrap().update(&table, &object).unwrap().is_empty());
        let other = wanted(&table, &[("unit_amount", Value::Int(200))]).unwrap();
        let why = other.update(&table, &object).unwrap_err();
        assert!(
            why.contains("`unit_amount`") && !why.contains("200"),
            "{why}"
        );
    }

    #[test]
    fn an_item_of_a_subscription_is_changed_and_not_added() {
        let table = table("subscriptions");
        let object =
            json!({"items": {"data": [{"id": "si_1", "price": {"id": "price_1"}, "quantity": 1}]}});
        let cells = [
            ("item.price", Value::text("price_1")),
            ("item.quantity", Value::Int(2)),
        ];
        let wanted = wanted(&table, &cells).unwrap();
        let pairs = wanted.update(&table, &object).unwrap();
        assert_eq!(
            text(&pairs),
            "items[0][id]=si_1&items[0][price]=price_1&items[0][quantity]=2"
        );
        assert_eq!(
            text(&wanted.creation()),
            "items[0][price]=price_1&items[0][quantity]=2"
        );
    }

    #[test]
    fn an_unchanged_cell_says_nothing() {
        let table = table("customers");
        let shape = table.shape();
        let mut row = Row::unchanged(shape.columns.len());
        row.0[1] = Cell::Set(Value::text("Ann"));
        let wanted = Wanted::of(&table, &shape, &row).unwrap();
        assert_eq!(text(&wanted.creation()), "name=Ann");
    }

    #[test]
    fn keys_of_other_records_are_other_keys() {
        let one = key(&["billing", "customers", "a", "b"]);
        assert_eq!(one, key(&["billing", "customers", "a", "b"]));
        assert_ne!(one, key(&["billing", "customers", "ab", ""]));
        assert!(one.len() <= 255);
    }
}
