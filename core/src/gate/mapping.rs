//! What the configuration says about one entity in one system.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Deserialize;

use super::expression::Expression;

/// How one entity stands in one system: which table, and which column holds which field.
///
/// One mapping serves both directions: reading goes from columns to fields, writing from fields to columns.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    /// The table (or the system's like).
    pub table: String,
    /// Contract field → where it stands. A plain text is a column that is moved as it is.
    #[serde(default)]
    pub fields: BTreeMap<String, FieldMap>,
    /// Column → expression over the contract's fields; written, never read back.
    #[serde(default)]
    pub columns: BTreeMap<String, ColumnMap>,
    /// A CEL expression over the system's columns (`row.<column>`): rows for which it is not true are not this entity's.
    #[serde(default)]
    pub filter: Option<String>,
}

impl Mapping {
    /// The columns that reading needs; none where that cannot be told, because an expression is wrong.
    #[must_use]
    pub fn columns_read(&self) -> Option<BTreeSet<String>> {
        let mut columns = BTreeSet::new();
        let mut expressions: Vec<&str> = self.filter.as_deref().into_iter().collect();
        for map in self.fields.values() {
            match map {
                FieldMap::Column(column) => drop(columns.insert(column.clone())),
                FieldMap::Rule(rule) => {
                    columns.extend(rule.column.clone());
                    expressions.extend(rule.read.as_deref());
                }
            }
        }
        for text in expressions {
            columns.extend(Expression::columns_of(text)?);
        }
        Some(columns)
    }
}

/// Where a contract field stands in a system's table.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum FieldMap {
    /// A column, moved as it is (cast to the contract's type where that loses nothing).
    Column(String),
    /// A column with a translation, or expressions.
    Rule(FieldRule),
}

/// A column with a translation that works both ways, or expressions for one way each.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FieldRule {
    /// The column.
    #[serde(default)]
    pub column: Option<String>,
    /// Name of a value map: the column holds the map's left side, the contract its right side.
    #[serde(default)]
    pub values: Option<String>,
    /// The column holds an integer count of the smallest unit: 2 for cents.
    #[serde(default)]
    pub scale: Option<u32>,
    /// The column holds the value behind this prefix.
    #[serde(default)]
    pub prefix: Option<String>,
    /// The column holds a date or time as text in this strftime format, such as `%d.%m.%Y`.
    #[serde(default)]
    pub format: Option<String>,
    /// The column holds the system's own id of a record of this entity, and the field that record's key.
    #[serde(default)]
    pub link: Option<String>,
    /// A CEL expression over the system's columns (`row.<column>`) that gives the field; read only.
    #[serde(default)]
    pub read: Option<String>,
    /// The value of the field in every record, whatever the system holds; read only.
    #[serde(default)]
    pub constant: Option<serde_json::Value>,
}

/// A column computed from the contract's fields.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ColumnMap {
    /// A CEL expression over the contract's fields, by their names.
    pub cel: String,
}

/// Value maps by name: a system's value → the contract's.
pub type ValueMaps = BTreeMap<String, BTreeMap<String, String>>;

impl FieldMap {
    /// The rule that this is; a plain column is a rule with nothing but the column.
    pub(crate) fn rule(&self) -> Cow<'_, FieldRule> {
        match self {
            FieldMap::Column(column) => Cow::Owned(FieldRule {
                column: Some(column.clone()),
                ..FieldRule::default()
            }),
            FieldMap::Rule(rule) => Cow::Borrowed(rule),
        }
    }
}
