//! Models as tables: what the server says of its fields, read into forms and a shape.

use std::collections::HashMap;
use std::sync::Arc;

use lockstep_core::contract::drift;
use lockstep_core::diagnostic::suggestion;
use lockstep_core::{Column, Error, Result, Shape, Type};
use serde_json::{Value as Json, json};

use crate::client::Client;
use crate::fault::Fault;

/// The column of a record's own id.
pub(crate) const ID: &str = "id";
/// The column that grows with every change: when the record was written last, or made where it never was.
pub(crate) const CHANGED_AT: &str = "changed_at";
/// What newer servers call the same.
const MODIFIED: &str = "last_modified_at";
/// The column that buttons move.
pub(crate) const STATE: &str = "state";

/// What Tryton writes itself, whatever it is told.
const KEPT: [&str; 9] = [
    ID,
    CHANGED_AT,
    MODIFIED,
    "create_date",
    "create_uid",
    "write_date",
    "write_uid",
    "rec_name",
    "xml_id",
];

/// A model of the database.
#[derive(Debug)]
pub(crate) struct Model {
    /// Its columns; `id` is the key.
    pub(crate) shape: Arc<Shape>,
    /// Its fields, in the order of the columns.
    pub(crate) fields: Vec<Field>,
    places: HashMap<String, usize>,
    /// Whether the server knows itself when a record was changed.
    has_modified: bool,
}

/// A field of a model.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) form: Form,
    /// What it is called in forms that people fill in.
    pub(crate) is_readonly: bool,
    pub(crate) is_required: bool,
    pub(crate) is_searchable: bool,
    pub(crate) is_sortable: bool,
    pub(crate) strip: Strip,
}

/// What a field holds, and how it is written in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Bool,
    Int,
    Float,
    Decimal {
        scale: Option<u32>,
    },
    Text {
        length: Option<u32>,
    },
    /// The own id of another record.
    Link,
    /// The own ids of other records.
    Links,
    /// Several texts.
    Texts,
    Date,
    Time,
    /// An instant to the second.
    DateTime,
    /// An instant to the microsecond.
    Timestamp,
    /// A length of time, in seconds.
    Duration,
    Bytes,
    Object,
}

/// Which white space at its ends a text loses when it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strip {
    No,
    Leading,
    Trailing,
    Both,
}

impl Model {
    /// Asks the server for a model.
    pub(crate) async fn find(client: &Client, name: &str) -> Result<Model> {
        if !name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
            || name.is_empty()
        {
            return Err(missing(name));
        }
        let parameters = [("fields_names", json!([])), ("level", json!(0))];
        let fields = match client.ask(name, "fields_get", &parameters).await {
            Ok(fields) => fields,
            Err(Fault::Exception(text)) if text.trim_matches('\'') == name => {
                return Err(missing(name));
            }
            Err(fault) => return Err(fault.error(&format!("the fields of `{name}`"))),
        };
        let Json::Object(fields) = fields else {
            return Err(Error::unexpected(format!(
                "the server's answer about the fields of `{name}` lists none"
            )));
        };
        Ok(Model::of(name, &fields))
    }

    /// Reads the server's description.
    fn of(name: &str, described: &serde_json::Map<String, Json>) -> Model {
        let mut fields = vec![
            Field::kept(ID, Form::Int),
            Field::kept(CHANGED_AT, Form::Timestamp),
        ];
        for (name, about) in described {
            let is_taken = name == ID || name == CHANGED_AT;
            if let Some(form) = Form::of(about).filter(|_| !is_taken) {
                fields.push(Field::of(name, form, about));
            }
        }
        let columns = fields.iter().map(Field::column).collect();
        let places = fields.iter().enumerate();
        Model {
            shape: Arc::new(Shape {
                name: name.to_owned(),
                columns,
                key: vec![0],
            }),
            places: places.map(|(at, field)| (field.name.clone(), at)).collect(),
            has_modified: described.contains_key(MODIFIED),
            fields,
        }
    }

    /// The model's name.
    pub(crate) fn name(&self) -> &str {
        &self.shape.name
    }

    /// A field by its column's name.
    pub(crate) fn field(&self, name: &str) -> Result<&Field> {
        match self.places.get(name) {
            Some(at) => Ok(&self.fields[*at]),
            None => Err(
                Error::config(format!("model `{}` has no column `{name}`", self.name())).help(
                    suggestion(name, self.fields.iter().map(|field| field.name.as_str())),
                ),
            ),
        }
    }

    /// A field that records can be found by.
    pub(crate) fn searchable(&self, name: &str) -> Result<&Field> {
        let field = self.field(name)?;
        if field.is_searchable && !matches!(field.form, Form::Links | Form::Object | Form::Bytes) {
            return Ok(field);
        }
        Err(Error::config(format!(
            "records of `{}` cannot be found by `{name}`: tryton does not search it",
            self.name()
        ))
        .help("take a column that tryton stores, such as `code` or `reference`"))
    }

    /// What the server knows the time of the last change as, where it knows one.
    pub(crate) fn modified(&self) -> Option<&'static str> {
        self.has_modified.then_some(MODIFIED)
    }

    /// The fields to read for some columns.
    pub(crate) fn reads<'a>(&self, columns: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
        let mut names: Vec<&str> = vec![ID];
        for column in columns {
            let read: &[&str] = match (column, self.modified()) {
                (CHANGED_AT, Some(_)) => &[MODIFIED],
                (CHANGED_AT, None) => &["write_date", "create_date"],
                _ => &[],
            };
            if column != CHANGED_AT {
                names.push(column);
            }
            names.extend_from_slice(read);
        }
        names.sort_unstable();
        names.dedup();
        names
    }

    /// What a record that was read holds in a column.
    pub(crate) fn cell<'a>(&self, record: &'a Json, column: &str) -> &'a Json {
        let of = |name: &str| record.get(name).unwrap_or(&Json::Null);
        match (column, self.modified()) {
            (CHANGED_AT, Some(name)) => of(name),
            (CHANGED_AT, None) if of("write_date").is_null() => of("create_date"),
            (CHANGED_AT, None) => of("write_date"),
            _ => of(column),
        }
    }
}

impl Field {
    fn kept(name: &str, form: Form) -> Field {
        Field {
            name: name.to_owned(),
            form,
            is_readonly: true,
            is_required: true,
            is_searchable: true,
            is_sortable: true,
            strip: Strip::No,
        }
    }

    fn of(name: &str, form: Form, about: &Json) -> Field {
        // Older servers do not say whether a field can be searched: stored ones can, and most others.
        let is = |what: &str, else_: bool| about.get(what).and_then(Json::as_bool).unwrap_or(else_);
        let strip = match about.get("strip") {
            Some(Json::Bool(true)) => Strip::Both,
            Some(Json::String(side)) if side == "leading" => Strip::Leading,
            Some(Json::String(side)) if side == "trailing" => Strip::Trailing,
            _ => Strip::No,
        };
        Field {
            name: name.to_owned(),
            form,
            is_readonly: is("readonly", false),
            is_required: is("required", false),
            is_searchable: is("searchable", true),
            // Selections are compared by their keys, but ordered by their labels.
            is_sortable: is("sortable", true)
                && about.get("type").and_then(Json::as_str) != Some("selection"),
            strip,
        }
    }

    fn column(&self) -> Column {
        let length = match self.form {
            Form::Text { length } => length,
            _ => None,
        };
        Column::new(&self.name, self.form.kind(), !self.is_required)
            .within(length)
            .listing(matches!(self.form, Form::Links | Form::Texts))
    }

    /// Whether Tryton writes it itself.
    pub(crate) fn is_kept(&self) -> bool {
        KEPT.contains(&self.name.as_str())
    }
}

impl Form {
    /// What a description says; none for what holds no value of its own.
    fn of(about: &Json) -> Option<Form> {
        let size = about.get("size").and_then(Json::as_u64);
        let length = size.and_then(|size| u32::try_from(size).ok());
        Some(match about.get("type").and_then(Json::as_str)? {
            "boolean" => Form::Bool,
            "integer" | "biginteger" => Form::Int,
            "float" => Form::Float,
            "numeric" => Form::Decimal {
                scale: scale(about.get("digits")),
            },
            "char" | "text" => Form::Text { length },
            "fullText" | "selection" | "reference" => Form::Text { length: None },
            "many2one" | "one2one" => Form::Link,
            "one2many" | "many2many" => Form::Links,
            "multiselection" => Form::Texts,
            "date" => Form::Date,
            "time" => Form::Time,
            "datetime" => Form::DateTime,
            "timestamp" => Form::Timestamp,
            "timedelta" => Form::Duration,
            "binary" => Form::Bytes,
            "dict" => Form::Object,
            _ => return None,
        })
    }

    /// The type of its column.
    pub(crate) fn kind(self) -> Type {
        match self {
            Form::Bool => Type::Bool,
            Form::Int | Form::Link => Type::Int,
            Form::Float => Type::Float,
            // Values of any scale up to this one are stored as they are, so none is promised.
            Form::Decimal { .. } | Form::Duration => Type::DECIMAL,
            Form::Text { .. } => Type::Text,
            Form::Links | Form::Texts | Form::Object => Type::Json,
            Form::Date => Type::Date,
            Form::Time => Type::Time,
            Form::DateTime | Form::Timestamp => Type::Timestamp,
            Form::Bytes => Type::Bytes,
        }
    }
}

/// The digits after the point, where they are the same for every record.
fn scale(digits: Option<&Json>) -> Option<u32> {
    // They come as an expression in JSON, within JSON.
    let parsed: Json = serde_json::from_str(digits?.as_str()?).ok()?;
    u32::try_from(parsed.get(1)?.as_u64()?).ok()
}

fn missing(name: &str) -> Error {
    Error::config(format!("the database has no model `{name}`"))
        .code(drift::GONE)
        .help(
            "check the name, such as `party.party`, and that the module it belongs to is activated",
        )
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A model with a field of every kind that matters; `is_new` says whether the server knows the time of a change.
    pub(crate) fn model(is_new: bool) -> Model {
        let mut fields = json!({
            "code": { "type": "char", "required": true, "strip": true, "searchable": true, "sortable": true },
            "name": { "type": "char", "strip": false, "size": 20 },
            "active": { "type": "boolean" },
            "price": { "type": "numeric", "digits": "[16, 4]" },
            "weight": { "type": "float" },
            "party": { "type": "many2one", "relation": "party.party" },
            "tags": { "type": "many2many", "relation": "party.category" },
            "state": { "type": "selection", "readonly": true },
            "due": { "type": "date" },
            "at": { "type": "datetime" },
            "seen": { "type": "timestamp" },
            "email": { "type": "char", "searchable": false, "sortable": false },
            "button": { "type": "progressbar" },
            "create_date": { "type": "timestamp", "readonly": true },
            "write_date": { "type": "timestamp", "readonly": true },
        });
        if is_new {
            fields[MODIFIED] = json!({ "type": "timestamp", "readonly": true });
        }
        Model::of("sale.sale", fields.as_object().unwrap())
    }

    #[test]
    fn a_description_becomes_a_shape() {
        let model = model(true);
        assert_eq!(model.shape.key, [0]);
        let kind = |name: &str| model.field(name).unwrap().form.kind();
        assert_eq!(kind("id"), Type::Int);
        assert_eq!(kind(CHANGED_AT), Type::Timestamp);
        assert_eq!(kind("price"), Type::DECIMAL);
        assert_eq!(kind("party"), Type::Int);
        assert_eq!(kind("tags"), Type::Json);
        assert_eq!(
            model.field("price").unwrap().form,
            Form::Decimal { scale: Some(4) }
        );
        let code = &model.shape.columns[model.shape.position("code").unwrap()];
        assert!(!code.nullable);
        let name = &model.shape.columns[model.shape.position("name").unwrap()];
        assert_eq!((name.length, name.nullable), (Some(20), true));
        // What holds no value is no column.
        assert!(model.field("button").is_err());
        let help = model.field("cod").unwrap_err();
        assert_eq!(help.help_text(), Some("did you mean `code`?"));
        assert!(model.searchable("email").is_err());
    }

    #[test]
    fn the_time_of_a_change_is_read_as_the_server_knows_it() {
        let record = json!({ "write_date": null, "create_date": 1, MODIFIED: 2 });
        assert_eq!(model(true).cell(&record, CHANGED_AT), &json!(2));
        assert_eq!(model(false).cell(&record, CHANGED_AT), &json!(1));
        let written = json!({ "write_date": 3, "create_date": 1 });
        assert_eq!(model(false).cell(&written, CHANGED_AT), &json!(3));
        assert_eq!(
            model(false).reads([CHANGED_AT, "code"].into_iter()),
            ["code", "create_date", "id", "write_date"]
        );
        assert_eq!(
            model(true).reads([CHANGED_AT].into_iter()),
            ["id", MODIFIED]
        );
    }
}
