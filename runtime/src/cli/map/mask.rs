//! What of a row may be shown: personal and secret fields, and the columns they stand in, may not.

use std::collections::BTreeMap;

use lockstep_core::contract::{Class, Contract};
use lockstep_core::gate::{FieldMap, Mapping};
use lockstep_core::{Cell, Row, Shape, Value};
use serde_json::{Map, Value as Json};

use crate::config::redact;

/// Which fields and columns are hidden, and as what.
#[derive(Default)]
pub(super) struct Mask {
    names: BTreeMap<String, Class>,
}

impl Mask {
    /// Hides nothing.
    pub(super) fn none() -> Mask {
        Mask::default()
    }

    /// Hides a contract's protected fields.
    pub(super) fn fields(contract: &Contract) -> Mask {
        let hidden = contract
            .fields
            .iter()
            .filter(|field| field.class >= Class::Personal);
        Mask {
            names: hidden
                .map(|field| (field.name.clone(), field.class))
                .collect(),
        }
    }

    /// Hides the columns of a system that hold a protected field or may have a part in one.
    ///
    /// An expression hides every column it mentions: showing less is the safer mistake.
    pub(super) fn columns(&self, mapping: &Mapping, shape: &Shape) -> Mask {
        let mut names = BTreeMap::new();
        for (field, class) in &self.names {
            match mapping.fields.get(field) {
                Some(FieldMap::Column(column)) => {
                    names.insert(column.clone(), *class);
                }
                Some(FieldMap::Rule(rule)) => {
                    names.extend(rule.column.iter().map(|column| (column.clone(), *class)));
                    let read = rule.read.as_deref().unwrap_or_default();
                    let mentioned = shape.names().filter(|column| read.contains(column));
                    names.extend(mentioned.map(|column| (column.to_owned(), *class)));
                }
                None => {}
            }
            for (column, map) in &mapping.columns {
                if map.cel.contains(field.as_str()) {
                    names.insert(column.clone(), *class);
                }
            }
        }
        Mask { names }
    }

    /// A row as JSON, hidden values replaced by their class; columns that the source did not send are left out.
    pub(super) fn row(&self, shape: &Shape, row: &Row) -> Map<String, Json> {
        let cells = shape.columns.iter().zip(&row.0);
        cells
            .filter_map(|(column, cell)| {
                let value = cell.value()?;
                let shown = match self.names.get(&column.name) {
                    Some(class) if !value.is_null() => Json::from(word(*class)),
                    _ => json(value),
                };
                Some((column.name.clone(), shown))
            })
            .collect()
    }

    /// A text without the hidden values of a row.
    pub(super) fn text(&self, text: &str, shape: &Shape, row: &Row) -> String {
        let hidden: Vec<String> = shape
            .columns
            .iter()
            .zip(&row.0)
            .filter(|(column, _)| self.names.contains_key(&column.name))
            .filter_map(|(_, cell)| match cell {
                Cell::Set(value) if !value.is_null() => Some(value.to_string()),
                _ => None,
            })
            .collect();
        redact(text, hidden.iter().map(String::as_str))
    }
}

fn word(class: Class) -> &'static str {
    match class {
        Class::Secret => "[secret]",
        _ => "[personal]",
    }
}

/// A value as JSON; what JSON has no type for is text, decimals included.
fn json(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(flag) => Json::Bool(*flag),
        Value::Int(number) => Json::from(*number),
        Value::Float(number) => serde_json::Number::from_f64(*number)
            .map_or_else(|| value.to_string().into(), Json::Number),
        other => Json::String(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use lockstep_core::gate::ColumnMap;
    use lockstep_core::gate::mapping::FieldRule;
    use lockstep_core::{Column, Type};

    use super::*;
    use crate::config::toy;

    #[test]
    fn protected_values_are_hidden_wherever_they_stand() {
        let fields = Mask::fields(&toy::contract("customer"));
        let columns = ["first", "last", "place", "label", "nr"];
        let shape = Shape {
            name: "people".to_owned(),
            columns: columns
                .map(|name| Column::new(name, Type::Text, true))
                .into(),
            key: vec![4],
        };
        let mut mapping = Mapping::default();
        let read = FieldRule {
            read: Some("row.first + ' ' + row.last".to_owned()),
            ..FieldRule::default()
        };
        mapping
            .fields
            .insert("name".to_owned(), FieldMap::Rule(read));
        let label = ColumnMap {
            cel: "name + country".to_owned(),
        };
        mapping.columns.insert("label".to_owned(), label);
        let mask = fields.columns(&mapping, &shape);
        let row = Row::of(["Ann", "Lee", "Rome", "Ann LeeIT", "1"].map(Value::text));
        let shown = Json::Object(mask.row(&shape, &row)).to_string();
        assert_eq!(
            shown,
            r#"{"first":"[personal]","last":"[personal]","place":"Rome","label":"[personal]","nr":"1"}"#
        );
        assert_eq!(
            mask.text("`Ann LeeIT` of Rome is no name", &shape, &row),
            "`[secret]` of Rome is no name"
        );
    }
}
