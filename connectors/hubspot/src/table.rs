//! Objects of the CRM as tables: their names, their columns, and what stands where in a record.

use std::collections::BTreeMap;
use std::sync::Arc;

use lockstep_core::diagnostic::suggestion;
use lockstep_core::{Column, Error, Result, Row, Shape, Type, Value};
use serde_json::Value as Json;

use crate::convert::{self, Form};

/// The column of HubSpot's own id.
pub(crate) const ID: &str = "id";
/// What columns of associations begin with.
pub(crate) const LINK: &str = "associations.";
/// Where in a record the ids are noted that it is associated with.
pub(crate) const LINKED: &str = "lockstep_linked";

/// The standard objects: table, what events call one of them, and the id of the type.
const STANDARD: [(&str, &str, &str); 7] = [
    ("contacts", "contact", "0-1"),
    ("companies", "company", "0-2"),
    ("deals", "deal", "0-3"),
    ("tickets", "ticket", "0-5"),
    ("products", "product", "0-7"),
    ("line_items", "line_item", "0-8"),
    ("quotes", "quote", "0-14"),
];

/// What is documented of the standard objects, for accounts whose properties cannot be read.
const DOCUMENTED: [(&str, &[(&str, Form)]); 4] = [
    (
        "contacts",
        &[
            ("email", Form::Text),
            ("firstname", Form::Text),
            ("lastname", Form::Text),
            ("phone", Form::Text),
            ("jobtitle", Form::Text),
            ("lifecyclestage", Form::Text),
            ("createdate", Form::Instant),
            ("lastmodifieddate", Form::Instant),
        ],
    ),
    (
        "companies",
        &[
            ("name", Form::Text),
            ("domain", Form::Text),
            ("industry", Form::Text),
            ("country", Form::Text),
            ("numberofemployees", Form::Decimal),
            ("createdate", Form::Instant),
            ("hs_lastmodifieddate", Form::Instant),
        ],
    ),
    (
        "deals",
        &[
            ("dealname", Form::Text),
            ("amount", Form::Decimal),
            ("dealstage", Form::Text),
            ("pipeline", Form::Text),
            ("closedate", Form::Instant),
            ("createdate", Form::Instant),
            ("hs_lastmodifieddate", Form::Instant),
        ],
    ),
    (
        "products",
        &[
            ("name", Form::Text),
            ("description", Form::Text),
            ("price", Form::Decimal),
            ("hs_sku", Form::Text),
            ("createdate", Form::Instant),
            ("hs_lastmodifieddate", Form::Instant),
        ],
    ),
];

/// One property of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Property {
    /// Its name.
    pub(crate) name: String,
    /// How its values stand in records.
    pub(crate) form: Form,
    /// Whether HubSpot fills it.
    pub(crate) is_filled: bool,
    /// Whether no two records bear the same value.
    pub(crate) is_unique: bool,
}

/// One column of a table.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    /// HubSpot's own id.
    Id,
    /// An instant beside the properties.
    Stamp(&'static str),
    /// The first record of another object that this one is associated with.
    Link(String),
    /// A property.
    Property(Property),
}

/// An object of the CRM.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    /// What it is called in paths.
    pub(crate) name: String,
    /// Whether the account itself described it.
    pub(crate) is_described: bool,
    properties: BTreeMap<String, Property>,
}

/// The table of a type in these tables: by the word that events use, or the id of the type, or its name.
pub(crate) fn by_type<'a>(kind: &str, tables: &'a [String]) -> Option<&'a String> {
    let standard = STANDARD
        .iter()
        .find(|(table, word, id)| [*table, *word, *id].contains(&kind));
    let name = standard.map_or(kind, |(table, ..)| *table);
    tables.iter().find(|table| *table == name || *table == kind)
}

/// The property that grows with every change of a record.
pub(crate) fn growing(table: &str) -> &'static str {
    match table {
        "contacts" | "0-1" => "lastmodifieddate",
        _ => "hs_lastmodifieddate",
    }
}

impl Table {
    /// A table of these properties; of the documented ones where the account describes none.
    pub(crate) fn of(
        name: &str,
        described: Option<Vec<Property>>,
        more: &[(String, Form)],
    ) -> Table {
        let is_described = described.is_some();
        let filled = [
            "createdate",
            "lastmodifieddate",
            "hs_lastmodifieddate",
            "hs_object_id",
        ];
        let documented = || {
            let known = DOCUMENTED.iter().find(|(table, _)| *table == name);
            let all = known.map_or(&[][..], |(_, properties)| properties);
            all.iter().map(|(name, form)| Property {
                name: (*name).to_owned(),
                form: *form,
                is_filled: filled.contains(name),
                is_unique: false,
            })
        };
        let mut properties: BTreeMap<String, Property> = described
            .unwrap_or_else(|| documented().collect())
            .into_iter()
            .map(|property| (property.name.clone(), property))
            .collect();
        for (name, form) in more {
            properties.entry(name.clone()).or_insert_with(|| Property {
                name: name.clone(),
                form: *form,
                is_filled: false,
                is_unique: false,
            });
        }
        Table {
            name: name.to_owned(),
            is_described,
            properties,
        }
    }

    /// A column.
    ///
    /// # Errors
    /// A column that the table has not, with the nearest one.
    pub(crate) fn item(&self, column: &str) -> Result<Item> {
        match column {
            ID => return Ok(Item::Id),
            "createdAt" => return Ok(Item::Stamp("createdAt")),
            "updatedAt" => return Ok(Item::Stamp("updatedAt")),
            _ => {}
        }
        if let Some(to) = column.strip_prefix(LINK).filter(|to| !to.is_empty()) {
            return Ok(Item::Link(to.to_owned()));
        }
        if let Some(property) = self.properties.get(column) {
            return Ok(Item::Property(property.clone()));
        }
        let known: Vec<&str> = self.properties.keys().map(String::as_str).collect();
        Err(
            Error::config(format!("`{}` has no property `{column}`", self.name)).help(format!(
                "{}; a token that may not read properties needs them named in `columns`",
                suggestion(column, known)
            )),
        )
    }

    /// Columns by their names.
    ///
    /// # Errors
    /// As [`Table::item`].
    pub(crate) fn items(&self, columns: &[String]) -> Result<Vec<Item>> {
        columns.iter().map(|column| self.item(column)).collect()
    }

    /// The shape of its rows.
    pub(crate) fn shape(&self) -> Arc<Shape> {
        let mut columns = vec![
            Column::new(ID, Type::Text, false),
            Column::new("createdAt", Type::Timestamp, true),
            Column::new("updatedAt", Type::Timestamp, true),
        ];
        let each = self.properties.values();
        columns
            .extend(each.map(|property| Column::new(&property.name, property.form.kind(), true)));
        let to: &[&str] = match self.name.as_str() {
            "contacts" => &["companies"],
            "deals" | "tickets" => &["companies", "contacts"],
            "line_items" => &["deals"],
            _ => &[],
        };
        columns.extend(
            to.iter()
                .map(|to| Column::new(format!("{LINK}{to}"), Type::Text, true)),
        );
        Arc::new(Shape {
            name: self.name.clone(),
            columns,
            key: vec![0],
        })
    }
}

/// The properties that have to be asked for.
pub(crate) fn asked(items: &[Item]) -> Vec<String> {
    let mut names: Vec<String> = items
        .iter()
        .filter_map(|item| match item {
            Item::Property(property) => Some(property.name.clone()),
            _ => None,
        })
        .collect();
    names.sort();
    names.dedup();
    names
}

/// The objects whose associations have to be asked for.
pub(crate) fn linked(items: &[Item]) -> Vec<String> {
    let mut to: Vec<String> = items
        .iter()
        .filter_map(|item| match item {
            Item::Link(to) => Some(to.clone()),
            _ => None,
        })
        .collect();
    to.sort();
    to.dedup();
    to
}

/// The id of a record.
pub(crate) fn id(record: &Json) -> Option<&str> {
    record.get(ID)?.as_str()
}

/// What a record holds of a property.
pub(crate) fn held<'a>(record: &'a Json, property: &str) -> &'a Json {
    let properties = record.get("properties");
    properties
        .and_then(|properties| properties.get(property))
        .unwrap_or(&Json::Null)
}

/// The value of a record's column.
pub(crate) fn cell(record: &Json, item: &Item) -> Value {
    match item {
        Item::Id => id(record).map_or(Value::Null, Value::text),
        Item::Stamp(name) => convert::read(record.get(*name).unwrap_or(&Json::Null), Form::Instant),
        Item::Link(to) => {
            let linked = record.get(LINKED).and_then(|linked| linked.get(to));
            linked
                .and_then(Json::as_str)
                .map_or(Value::Null, Value::text)
        }
        Item::Property(property) => convert::read(held(record, &property.name), property.form),
    }
}

/// The row of a record.
pub(crate) fn row(record: &Json, items: &[Item]) -> Row {
    Row::of(items.iter().map(|item| cell(record, item)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_known_by_every_name_they_have() {
        let tables = ["contacts", "2-7", "p1_car"].map(str::to_owned);
        for (kind, expected) in [
            ("contact", Some("contacts")),
            ("0-1", Some("contacts")),
            ("2-7", Some("2-7")),
            ("p1_car", Some("p1_car")),
            ("deal", None),
        ] {
            assert_eq!(
                by_type(kind, &tables).map(String::as_str),
                expected,
                "{kind}"
            );
        }
    }

    #[test]
    fn what_nobody_describes_is_what_is_documented_and_configured() {
        let table = Table::of("deals", None, &[("erp_id".to_owned(), Form::Text)]);
        let shape = table.shape();
        for column in ["id", "amount", "erp_id", "associations.companies"] {
            assert!(shape.position(column).is_some(), "{column}");
        }
        assert!(table.item("associations.anything").is_ok());
        let error = table.item("amont").unwrap_err();
        assert!(error.help_text().unwrap().contains("`amount`"), "{error:?}");
    }
}
