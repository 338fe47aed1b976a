//! The columns of a collection, though MongoDB knows none.
//!
//! They are what the configuration says, else what the collection's `$jsonSchema` says, else what its first and last documents show; one of the three, never a mixture, so that it can be foretold.
//! Only the form of `_id` is always looked up, because every collection has it.
//! A document and the fields within are columns, both (`address` as JSON, `address.city` as what it is); a mapping takes what it wants.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use lockstep_core::connector::{Filter, Sign};
use lockstep_core::diagnostic::suggestion;
use lockstep_core::{Column, Error, Result, Shape};
use mongodb::bson::{Bson, Document, RawDocumentBuf, doc};

use crate::catalog::{self, Collection};
use crate::client::{Client, failure};
use crate::config::{ColumnType, Config, is_path};
use crate::convert::{Form, sought, sought_id};
use crate::sample::Sample;

/// Most bytes of documents that are looked at.
const SAMPLE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// How deep a schema's documents become columns of their own.
const DEPTH_MAX: usize = 8;
/// The name of what identifies every document.
pub(crate) const ID: &str = "_id";

/// A collection with its columns.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) collection: Collection,
    pub(crate) shape: Arc<Shape>,
    /// Column by column of the shape.
    pub(crate) fields: Fields,
    /// Whether the columns were taken from documents.
    pub(crate) sampled: bool,
    /// Where the form of `_id` comes from.
    pub(crate) id: IdForm,
}

/// Where the form of `_id` comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IdForm {
    /// The configuration or the validator says it.
    Said,
    /// Documents show it.
    Seen,
    /// There is no document yet.
    Assumed,
}

/// Columns, and how to find them by name.
#[derive(Clone, Debug)]
pub(crate) struct Fields {
    pub(crate) list: Vec<Field>,
    /// Columns by the first name of their path.
    pub(crate) by_name: HashMap<String, Vec<usize>>,
}

/// Where a column stands in a document, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) path: Vec<String>,
    pub(crate) form: Form,
    /// Whether a document without it, or with a null in it, is refused.
    pub(crate) required: bool,
}

/// A column while its table is put together.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    name: String,
    form: Form,
    nullable: bool,
    required: bool,
}

impl Table {
    /// What documents fulfil, as the server judges it.
    pub(crate) fn condition(&self, filter: &Filter) -> Result<Document> {
        let check = |column: &String| {
            self.shape.position(column).ok_or_else(|| {
                let name = &self.collection.name;
                let message = format!("collection `{name}` has no column `{column}`");
                let known: Vec<&str> = self.shape.names().collect();
                Error::config(message).help(suggestion(column, known))
            })
        };
        Ok(match filter {
            Filter::Compare(column, sign, value) => {
                let form = self.fields.list[check(column)?].form;
                let value = if column == ID {
                    sought_id(value, form)
                } else {
                    sought(value, form)
                };
                let value = value.ok_or_else(|| {
                    Error::invalid("documents cannot be sought by this value")
                        .with("column", column)
                })?;
                let sign = match sign {
                    Sign::Equal => "$eq",
                    Sign::NotEqual => "$ne",
                    Sign::Less => "$lt",
                    Sign::LessOrEqual => "$lte",
                    Sign::Greater => "$gt",
                    Sign::GreaterOrEqual => "$gte",
                };
                doc! { column: { sign: value } }
            }
            Filter::IsNull(column) => {
                check(column)?;
                doc! { column: null }
            }
            Filter::IsNotNull(column) => {
                check(column)?;
                doc! { column: { "$ne": null } }
            }
            Filter::All(parts) | Filter::Any(parts) => {
                let parts = parts.iter().map(|part| self.condition(part));
                let parts = parts.collect::<Result<Vec<Document>>>()?;
                match (filter, parts.is_empty()) {
                    (Filter::All(_), true) => doc! {},
                    // The server refuses a choice of nothing; no document is without its identity.
                    (_, true) => doc! { ID: { "$exists": false } },
                    (Filter::All(_), false) => doc! { "$and": parts },
                    (_, false) => doc! { "$or": parts },
                }
            }
        })
    }

    /// Looks a collection and its columns up.
    pub(crate) async fn find(client: &Client, config: &Config, name: &str) -> Result<Table> {
        let collection = catalog::collection(client, name).await?;
        let mut sampled = false;
        let mut id_form = IdForm::Said;
        let mut found = match (config.columns.get(name), &collection.schema) {
            (Some(columns), _) => declared(columns),
            (None, Some(schema)) if schema.contains_key("properties") => described(schema),
            _ => {
                sampled = true;
                id_form = IdForm::Seen;
                let sample = look(client, name, config.sample, None).await?;
                sample.into_columns().map(Found::seen).collect()
            }
        };
        if !found.iter().any(|column| column.name == ID) {
            let sample = look(client, name, config.sample, Some(doc! { ID: 1 })).await?;
            let id = sample.into_columns().next();
            id_form = match id {
                Some(_) => IdForm::Seen,
                None => IdForm::Assumed,
            };
            // An empty collection's documents will have what the drivers give them.
            let (name, form) = id.unwrap_or((ID.to_owned(), Form::ObjectId));
            found.push(Found::seen((name, form)));
        }
        let mut table = Table::of(collection, found, sampled);
        table.id = id_form;
        Ok(table)
    }

    fn of(collection: Collection, mut found: Vec<Found>, sampled: bool) -> Table {
        let at = found.iter().position(|column| column.name == ID);
        let id = found.remove(at.unwrap_or(0));
        found.insert(
            0,
            Found {
                nullable: false,
                ..id
            },
        );
        let column = |found: &Found| Column {
            name: found.name.clone(),
            kind: found.form.kind(),
            nullable: found.nullable,
            length: None,
            list: false,
        };
        let shape = Shape {
            name: collection.name.clone(),
            columns: found.iter().map(column).collect(),
            key: vec![0],
        };
        Table {
            collection,
            shape: Arc::new(shape),
            fields: Fields::new(found.iter().map(Field::of).collect()),
            sampled,
            id: IdForm::Said,
        }
    }

    /// The form of `_id`.
    pub(crate) fn id_form(&self) -> Form {
        self.fields.list[0].form
    }

    /// Has `_id` told as it was told before.
    pub(crate) fn keep_id_form(&mut self, form: Form) {
        self.fields.list[0].form = form;
        Arc::make_mut(&mut self.shape).columns[0].kind = form.kind();
    }

    /// A table of columns, for tests.
    #[cfg(test)]
    pub(crate) fn made(columns: &[(&str, Form)]) -> Table {
        let found = columns
            .iter()
            .map(|(n, f)| Found::seen(((*n).to_owned(), *f)));
        let collection = Collection {
            name: "c".to_owned(),
            ..Collection::default()
        };
        Table::of(collection, found.collect(), false)
    }

    /// The same under another name, for tests.
    #[cfg(test)]
    pub(crate) fn rename(&mut self, name: &str) {
        name.clone_into(&mut self.collection.name);
        name.clone_into(&mut Arc::make_mut(&mut self.shape).name);
    }

    /// The form of a column; one that is not known takes what comes.
    pub(crate) fn field(&self, name: &str) -> Field {
        match self.shape.position(name) {
            Some(at) => self.fields.list[at].clone(),
            None => Field {
                path: name.split('.').map(str::to_owned).collect(),
                form: Form::Any,
                required: false,
            },
        }
    }
}

impl Found {
    fn seen((name, form): (String, Form)) -> Found {
        Found {
            name,
            form,
            nullable: true,
            required: false,
        }
    }
}

impl Field {
    fn of(found: &Found) -> Field {
        Field {
            path: found.name.split('.').map(str::to_owned).collect(),
            form: found.form,
            required: found.required,
        }
    }
}

impl Fields {
    pub(crate) fn new(list: Vec<Field>) -> Fields {
        let mut by_name: HashMap<String, Vec<usize>> = HashMap::new();
        for (at, field) in list.iter().enumerate() {
            if let Some(first) = field.path.first() {
                by_name.entry(first.clone()).or_default().push(at);
            }
        }
        Fields { list, by_name }
    }
}

fn declared(columns: &BTreeMap<String, ColumnType>) -> Vec<Found> {
    let column = |(name, kind): (&String, &ColumnType)| Found::seen((name.clone(), (*kind).into()));
    columns.iter().map(column).collect()
}

/// The columns that a validator's schema names.
fn described(schema: &Document) -> Vec<Found> {
    let mut found = Vec::new();
    members(schema, "", true, 1, &mut found);
    found
}

fn members(schema: &Document, lead: &str, whole: bool, depth: usize, found: &mut Vec<Found>) {
    let empty = Document::new();
    let properties = schema.get_document("properties").unwrap_or(&empty);
    let none = Vec::new();
    let required = schema.get_array("required").unwrap_or(&none);
    for (name, member) in properties {
        let path = format!("{lead}{name}");
        let Some(member) = member
            .as_document()
            .filter(|_| is_path(&path) && !name.contains('.'))
        else {
            continue;
        };
        let mut kinds = kinds(member);
        let takes_null = kinds.is_empty() || kinds.contains(&"null");
        kinds.retain(|kind| *kind != "null");
        let needed = whole && required.iter().any(|known| known.as_str() == Some(name));
        found.push(Found {
            name: path.clone(),
            form: named(&kinds),
            nullable: takes_null || !needed,
            required: needed,
        });
        if kinds == ["object"] && depth < DEPTH_MAX {
            members(
                member,
                &format!("{path}."),
                needed && !takes_null,
                depth + 1,
                found,
            );
        }
    }
}

/// The BSON types that a member's schema allows.
fn kinds(member: &Document) -> Vec<&str> {
    let named = member.get("bsonType").or_else(|| member.get("type"));
    match named {
        Some(Bson::String(kind)) => vec![kind],
        Some(Bson::Array(kinds)) => kinds.iter().filter_map(Bson::as_str).collect(),
        _ if member.contains_key("properties") => vec!["object"],
        _ => Vec::new(),
    }
}

fn named(kinds: &[&str]) -> Form {
    let only = |known: &[&str]| !kinds.is_empty() && kinds.iter().all(|kind| known.contains(kind));
    match kinds.first() {
        _ if only(&["int"]) => Form::Int { narrow: true },
        _ if only(&["int", "long"]) => Form::Int { narrow: false },
        _ if only(&["int", "long", "double", "number"]) => Form::Float,
        _ if only(&["int", "long", "decimal"]) => Form::Decimal,
        _ if only(&["object", "array"]) => Form::Json,
        Some(kind) if kinds.len() == 1 => match *kind {
            "bool" | "boolean" => Form::Bool,
            "string" => Form::Text,
            "objectId" => Form::ObjectId,
            "date" => Form::Timestamp,
            _ => Form::Any,
        },
        _ => Form::Any,
    }
}

/// Looks at documents, half of them at each end of the collection: the oldest and the newest, as a rule.
async fn look(
    client: &Client,
    name: &str,
    most: usize,
    projection: Option<Document>,
) -> Result<Sample> {
    let failed = |error| failure("cannot look at documents", &error).with("collection", name);
    let half = i64::try_from(most.div_ceil(2)).unwrap_or(i64::MAX);
    let mut sample = Sample::default();
    for direction in [1, -1] {
        let mut bytes = 0;
        let documents = client.db.collection::<RawDocumentBuf>(name);
        let mut find = documents
            .find(doc! {})
            .sort(doc! { ID: direction })
            .limit(half);
        if let Some(projection) = &projection {
            find = find.projection(projection.clone());
        }
        let mut cursor = find.await.map_err(failed)?;
        while bytes < SAMPLE_BYTES_MAX && cursor.advance().await.map_err(failed)? {
            let document = cursor.current();
            bytes += document.as_bytes().len();
            sample.add(document);
        }
    }
    Ok(sample)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_validators_schema_names_the_columns() {
        let schema = doc! {
            "required": ["_id", "name", "address"],
            "properties": {
                "_id": { "bsonType": "int" },
                "name": { "bsonType": "string" },
                "note": { "bsonType": ["string", "null"] },
                "total": { "bsonType": ["decimal", "int", "long"] },
                "address": { "bsonType": "object", "required": ["city"], "properties": { "city": { "type": "string" }, "zip": {} } },
                "tags": { "bsonType": "array" },
                "any": {},
                "$odd": { "bsonType": "int" },
            },
        };
        let found = described(&schema);
        let short: Vec<(&str, Form, bool)> = found
            .iter()
            .map(|f| (f.name.as_str(), f.form, f.required))
            .collect();
        assert_eq!(
            short,
            [
                ("_id", Form::Int { narrow: true }, true),
                ("name", Form::Text, true),
                ("note", Form::Text, false),
                ("total", Form::Decimal, false),
                ("address", Form::Json, true),
                ("address.city", Form::Text, true),
                ("address.zip", Form::Any, false),
                ("tags", Form::Json, false),
                ("any", Form::Any, false),
            ]
        );
        assert!(!found[1].nullable && found[2].nullable);
    }

    #[test]
    fn the_identity_stands_first() {
        let table = Table::made(&[
            ("a", Form::Text),
            ("_id", Form::ObjectId),
            ("a.b", Form::Any),
        ]);
        assert_eq!(table.shape.names().collect::<Vec<_>>(), ["_id", "a", "a.b"]);
        assert_eq!(table.fields.by_name["a"], [1, 2]);
        assert_eq!(table.shape.key, [0]);
    }
}
