//! The table that a mapping needs in a target that has none.

use crate::contract::{Contract, Field};
use crate::gate::{FieldMap, FieldRule, Mapping};
use crate::shape::{Column, Shape};
use crate::value::Type;

/// Why a table cannot be made from a contract.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoTable {
    /// A column is computed, and nothing says its type.
    #[error("the type of the computed column `{0}` is not known")]
    Computed(String),
    /// A field of the key has no column.
    #[error("the field `{0}` is part of the key and has no column")]
    Key(String),
    /// Two fields would be one column.
    #[error("the column `{0}` is mapped twice")]
    Twice(String),
}

/// The table that holds an entity as its mapping writes it: columns in contract order, those of the key first to last its key, null allowed where the contract allows it.
///
/// # Errors
/// A mapping that does not say enough for that.
pub fn table_of(contract: &Contract, mapping: &Mapping) -> Result<Shape, NoTable> {
    if let Some(name) = mapping.columns.keys().next() {
        return Err(NoTable::Computed(name.clone()));
    }
    let mut columns: Vec<Column> = Vec::new();
    let mut place_of = vec![None; contract.fields.len()];
    for (at, field) in contract.fields.iter().enumerate() {
        let Some(rule) = mapping.fields.get(&field.name).map(FieldMap::rule) else {
            continue;
        };
        let Some(name) = &rule.column else { continue };
        if columns.iter().any(|column| column.name == *name) {
            return Err(NoTable::Twice(name.clone()));
        }
        place_of[at] = Some(columns.len());
        let in_key = contract.key.contains(&at);
        columns.push(Column {
            name: name.clone(),
            kind: Some(column_kind(field, &rule)),
            nullable: !in_key && may_be_null(field),
            length: None,
            list: false,
        });
    }
    let key = contract.key.iter().map(|at| {
        let name = || NoTable::Key(contract.fields[*at].name.clone());
        place_of[*at].ok_or_else(name)
    });
    Ok(Shape {
        name: mapping.table.clone(),
        key: key.collect::<Result<_, _>>()?,
        columns,
    })
}

/// A field that a record may leave out is null in the table.
fn may_be_null(field: &Field) -> bool {
    field.nullable || !field.required
}

/// The type of the column that a field is moved to.
#[must_use]
pub fn column_kind(field: &Field, rule: &FieldRule) -> Type {
    if rule.scale.is_some() {
        Type::Int
    } else if rule.values.is_some() || rule.format.is_some() || rule.prefix.is_some() {
        Type::Text
    } else {
        field.kind
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::gate::ColumnMap;

    fn contract() -> Contract {
        let required = |name: &str, kind| Field {
            required: true,
            nullable: false,
            ..Field::new(name, kind)
        };
        let fields = vec![
            required("id", Type::Int),
            required("country", Type::Text),
            required("price", Type::DECIMAL),
            Field {
                nullable: true,
                ..Field::new("note", Type::Text)
            },
        ];
        Contract {
            key: vec![0],
            ..Contract::new("order", semver::Version::new(1, 0, 0), fields)
        }
    }

    fn mapping() -> Mapping {
        let column = |name: &str| FieldMap::Column(name.to_owned());
        let cents = FieldMap::Rule(FieldRule {
            column: Some("cents".into()),
            scale: Some(2),
            ..FieldRule::default()
        });
        let fields = [
            ("id", column("no")),
            ("country", column("land")),
            ("price", cents),
            ("note", column("note")),
        ];
        Mapping {
            table: "orders".into(),
            fields: fields.map(|(name, map)| (name.to_owned(), map)).into(),
            ..Mapping::default()
        }
    }

    #[test]
    fn columns_have_the_types_that_the_mapping_writes() {
        let table = table_of(&contract(), &mapping()).unwrap();
        assert_eq!((table.name.as_str(), &table.key[..]), ("orders", &[0][..]));
        assert_eq!(
            table.columns,
            [
                Column::new("no", Type::Int, false),
                Column::new("land", Type::Text, false),
                Column::new("cents", Type::Int, false),
                Column::new("note", Type::Text, true),
            ]
        );
    }

    #[test]
    fn what_cannot_be_known_is_not_guessed() {
        let mut computed = mapping();
        let cel = ColumnMap { cel: "1".into() };
        computed.columns = BTreeMap::from([("full".to_owned(), cel)]);
        let mut keyless = mapping();
        keyless.fields.remove("id");
        let mut twice = mapping();
        let same = FieldMap::Column("land".into());
        twice.fields.insert("note".to_owned(), same);
        for (mapping, why) in [
            (computed, NoTable::Computed("full".into())),
            (keyless, NoTable::Key("id".into())),
            (twice, NoTable::Twice("land".into())),
        ] {
            assert_eq!(table_of(&contract(), &mapping), Err(why));
        }
    }
}
