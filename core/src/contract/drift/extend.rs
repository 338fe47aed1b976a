//! Additions that are taken along: a contract with further fields, its mappings, and the text to put into its file.

use std::fmt::Write as _;

use semver::Version;

use crate::contract::{Class, Contract, Field, Inner};
use crate::gate::Mapping;
use crate::gate::mapping::FieldMap;
use crate::shape::{Column, Shape};
use crate::value::Type;

/// The contract with optional fields for these columns, as `version`.
///
/// Nobody has said yet what the columns hold, so their values are treated as personal: no message shows them.
#[must_use]
pub fn extended(contract: &Contract, columns: &[Column], version: Version) -> Contract {
    let mut extended = contract.clone();
    extended.version = version;
    for column in columns {
        if extended.field(&column.name).is_some() {
            continue;
        }
        let kind = match column.kind {
            // What has no bounds has no written form as a number; as a text it keeps every digit.
            None
            | Some(Type::Decimal {
                precision: None, ..
            }) => Type::Text,
            Some(kind) => kind,
        };
        let field = Field {
            required: false,
            nullable: true,
            class: Class::Personal,
            inner: (column.list && kind == Type::Json).then(anything_listed),
            ..Field::new(column.name.clone(), kind)
        };
        extended.fields.push(field);
    }
    extended
}

/// A list of whatever: no system says how deep its lists are, nor that they hold no null.
fn anything_listed() -> Inner {
    let items = Field {
        required: false,
        nullable: true,
        ..Field::new("items", Type::Json)
    };
    Inner::List {
        items: Box::new(items),
        least: None,
        most: None,
        unique: false,
    }
}

/// Whether a field's documents are lists.
#[must_use]
pub fn is_list(field: &Field) -> bool {
    matches!(field.inner, Some(Inner::List { .. }))
}

/// The mapping with columns of the fields' own names for fields that it does not know.
#[must_use]
pub fn with_columns<'c>(mapping: &Mapping, columns: impl IntoIterator<Item = &'c str>) -> Mapping {
    let mut mapping = mapping.clone();
    for name in columns {
        mapping
            .fields
            .entry(name.to_owned())
            .or_insert_with(|| FieldMap::Column(name.to_owned()));
    }
    mapping
}

/// The table as it is now, without the columns that are new in it and were not taken along: they are told on.
#[must_use]
pub fn as_taken(before: &Shape, now: &Shape, taken: &[Column]) -> Shape {
    let is_known = |column: &Column| {
        before.position(&column.name).is_some()
            || taken.iter().any(|known| known.name == column.name)
    };
    let columns: Vec<Column> = now
        .columns
        .iter()
        .filter(|c| is_known(c))
        .cloned()
        .collect();
    let place = |at: &usize| {
        let name = &now.columns.get(*at)?.name;
        columns.iter().position(|column| column.name == *name)
    };
    let key: Option<Vec<usize>> = now.key.iter().map(place).collect();
    match key {
        Some(key) => Shape {
            name: now.name.clone(),
            columns,
            key,
        },
        // Rows are known by a column that is new: another table could not be told from it.
        None => now.clone(),
    }
}

/// The next minor version.
#[must_use]
pub fn next_minor(version: &Version) -> Version {
    Version::new(version.major, version.minor.saturating_add(1), 0)
}

/// A field as it stands among the `properties` of a contract's file, for its owner to paste.
#[must_use]
pub fn field_yaml(field: &Field) -> String {
    let (logical, physical) = match field.kind {
        Type::Bool => ("boolean", None),
        Type::Int => ("integer", None),
        Type::Decimal {
            precision: Some(p),
            scale,
        } => (
            "number",
            Some(format!("decimal({p},{})", scale.unwrap_or(0))),
        ),
        Type::Float => ("number", Some("double".to_owned())),
        Type::Text | Type::Decimal { .. } => ("string", None),
        Type::Bytes => ("string", Some("bytes".to_owned())),
        Type::Date => ("date", None),
        Type::Time => ("time", None),
        Type::Timestamp => ("timestamp", None),
        Type::Uuid => ("string", Some("uuid".to_owned())),
        Type::Json if is_list(field) => ("array", None),
        Type::Json => ("object", None),
    };
    let mut text = format!("- name: {}\n  logicalType: {logical}\n", field.name);
    if let Some(physical) = physical {
        let _ = writeln!(text, "  physicalType: {physical}");
    }
    let class = field.class.name();
    let _ = writeln!(text, "  classification: {class}");
    if !field.required {
        text.push_str("  required: false\n");
    }
    text
}
