//! Objects as tables: what Salesforce describes of them, and what stands where in a record.

use std::collections::BTreeMap;
use std::sync::Arc;

use lockstep_core::diagnostic::suggestion;
use lockstep_core::{Column, Error, Result, Row, Shape, Value};
use lockstep_http_client::Json;

use crate::convert::{self, Form};
use crate::id;

/// The column of Salesforce's own id.
pub(crate) const ID: &str = "Id";
/// Whether a record lies in the recycle bin.
pub(crate) const DELETED: &str = "IsDeleted";
/// Into which record another one was merged.
pub(crate) const MASTER: &str = "MasterRecordId";
/// The columns that grow with every change, the better one first.
const GROWING: [&str; 2] = ["SystemModstamp", "LastModifiedDate"];

/// One field of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    /// Its name.
    pub(crate) name: String,
    /// How its values stand in records.
    pub(crate) form: Form,
    /// Whether it leads to another record.
    pub(crate) is_reference: bool,
    /// Most characters of its texts.
    pub(crate) length: Option<u32>,
    /// Whether it may be null.
    pub(crate) is_nillable: bool,
    /// Whether it may be written when a record is made.
    pub(crate) is_createable: bool,
    /// Whether it may be changed later.
    pub(crate) is_updateable: bool,
    /// Whether records may be written by it.
    pub(crate) is_external: bool,
    /// Whether no two records bear the same value.
    pub(crate) is_unique: bool,
    /// Whether `a` and `A` are two values of it.
    pub(crate) is_case_sensitive: bool,
    /// Whether queries may ask for values of it.
    pub(crate) is_filterable: bool,
    /// Whether queries may order by it.
    pub(crate) is_sortable: bool,
    /// Whether it is computed: a change of it does not change the record's time.
    pub(crate) is_computed: bool,
    /// Whether a new record gets a value that nobody wrote.
    pub(crate) is_defaulted: bool,
}

/// What may be done with an object's records, by whoever asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Powers {
    pub(crate) query: bool,
    pub(crate) create: bool,
    pub(crate) update: bool,
    pub(crate) delete: bool,
    /// Whether its deleted records are told.
    pub(crate) replicate: bool,
}

/// An object.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    /// Its name.
    pub(crate) name: String,
    /// What may be done with its records.
    pub(crate) may: Powers,
    fields: BTreeMap<String, Field>,
    /// The types of fields that are no columns.
    others: BTreeMap<String, String>,
}

impl Table {
    /// An object as it is described.
    ///
    /// # Errors
    /// A description without fields.
    pub(crate) fn of(name: &str, described: &Json) -> Result<Table> {
        let is = |json: &Json, what: &str| json.get(what).and_then(Json::as_bool) == Some(true);
        let Some(all) = described.get("fields").and_then(Json::as_list) else {
            return Err(
                Error::unexpected(format!("the description of `{name}` holds no fields"))
                    .help("see the system's setting `url`"),
            );
        };
        let mut table = Table {
            name: name.to_owned(),
            may: Powers {
                query: is(described, "queryable"),
                create: is(described, "createable"),
                update: is(described, "updateable"),
                delete: is(described, "deletable"),
                replicate: is(described, "replicateable"),
            },
            fields: BTreeMap::new(),
            others: BTreeMap::new(),
        };
        for one in all {
            let Some(field) = one.get("name").and_then(Json::as_str) else {
                continue;
            };
            let kind = one.get("type").and_then(Json::as_str).unwrap_or_default();
            let number = |what: &str| {
                let number = one.get(what).and_then(Json::as_int);
                number
                    .and_then(|number| u32::try_from(number).ok())
                    .unwrap_or(0)
            };
            let Some(form) = Form::of(kind, number("precision"), number("scale")) else {
                table.others.insert(field.to_owned(), kind.to_owned());
                continue;
            };
            let has_default = one
                .get("defaultValue")
                .is_some_and(|value| !value.is_null());
            table.fields.insert(
                field.to_owned(),
                Field {
                    name: field.to_owned(),
                    form,
                    is_reference: kind == "reference",
                    length: Some(number("length")).filter(|length| *length > 0),
                    is_nillable: is(one, "nillable"),
                    is_createable: is(one, "createable"),
                    is_updateable: is(one, "updateable"),
                    is_external: is(one, "externalId")
                        || (is(one, "idLookup") && is(one, "unique")),
                    is_unique: is(one, "unique"),
                    is_case_sensitive: is(one, "caseSensitive"),
                    is_filterable: is(one, "filterable"),
                    is_sortable: is(one, "sortable"),
                    is_computed: is(one, "calculated"),
                    is_defaulted: has_default || is(one, "defaultedOnCreate"),
                },
            );
        }
        Ok(table)
    }

    /// A column.
    ///
    /// # Errors
    /// A column that the table has not, with the nearest one.
    pub(crate) fn field(&self, column: &str) -> Result<&Field> {
        if let Some(field) = self.fields.get(column) {
            return Ok(field);
        }
        let name = &self.name;
        if let Some(kind) = self.others.get(column) {
            let help = match kind.as_str() {
                "address" | "location" => "map its parts, each of which is a field of its own",
                _ => "take it out of the mapping",
            };
            return Err(Error::config(format!(
                "`{column}` of `{name}` is of type `{kind}`, which cannot be a column"
            ))
            .help(help));
        }
        let known: Vec<&str> = self.fields.keys().map(String::as_str).collect();
        Err(
            Error::config(format!("`{name}` has no field `{column}`, or it may not be seen")).help(
                format!(
                    "{}; a field that is there needs to be visible to the integration's user (field-level security)",
                    suggestion(column, known)
                ),
            ),
        )
    }

    /// Columns by their names.
    ///
    /// # Errors
    /// As [`Table::field`].
    pub(crate) fn all(&self, columns: &[String]) -> Result<Vec<Field>> {
        columns
            .iter()
            .map(|column| self.field(column).cloned())
            .collect()
    }

    /// Every field that can be a column.
    pub(crate) fn fields(&self) -> impl Iterator<Item = &Field> {
        self.fields.values()
    }

    /// Whether it has a field.
    pub(crate) fn has(&self, field: &str) -> bool {
        self.fields.contains_key(field)
    }

    /// The column that grows with every change of a record.
    pub(crate) fn growing(&self) -> Option<&'static str> {
        GROWING.into_iter().find(|name| {
            let field = self.fields.get(*name);
            field.is_some_and(|field| {
                field.form == Form::Instant && field.is_filterable && field.is_sortable
            })
        })
    }

    /// The shape of its rows.
    pub(crate) fn shape(&self) -> Arc<Shape> {
        let mut columns = vec![Column::new(ID, Form::Id.kind(), false)];
        let others = self.fields.values().filter(|field| field.name != ID);
        columns.extend(others.map(|field| {
            let length = field
                .length
                .filter(|_| matches!(field.form, Form::Text | Form::Choices));
            Column::new(&field.name, field.form.kind(), field.is_nillable).within(length)
        }));
        Arc::new(Shape {
            name: self.name.clone(),
            columns,
            key: vec![0],
        })
    }
}

/// The id of a record.
pub(crate) fn id(record: &Json) -> Option<String> {
    id::full(record.get(ID).or_else(|| record.get("id"))?.as_str()?)
}

/// The value of a record's column.
pub(crate) fn cell(record: &Json, field: &Field) -> Value {
    convert::read(record.get(&field.name).unwrap_or(&Json::Null), field.form)
}

/// The row of a record.
pub(crate) fn row(record: &Json, fields: &[Field]) -> Row {
    Row::of(fields.iter().map(|field| cell(record, field)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described() -> Table {
        let described = Json::parse(
            br#"{"queryable": true, "replicateable": true, "fields": [
                {"name": "Id", "type": "id", "idLookup": true, "filterable": true, "sortable": true},
                {"name": "Amount", "type": "currency", "precision": 18, "scale": 2, "nillable": true},
                {"name": "BillingAddress", "type": "address"},
                {"name": "Body", "type": "base64"},
                {"name": "Erp__c", "type": "string", "length": 40, "externalId": true, "unique": true},
                {"name": "LastModifiedDate", "type": "datetime", "filterable": true, "sortable": true},
                {"type": "string"}]}"#,
        );
        Table::of("Deal__c", &described.unwrap()).unwrap()
    }

    #[test]
    fn an_object_is_what_it_is_described_as() {
        let table = described();
        let shape = table.shape();
        let names: Vec<&str> = shape.names().collect();
        assert_eq!(names, ["Id", "Amount", "Erp__c", "LastModifiedDate"]);
        assert_eq!(shape.columns[2].length, Some(40));
        assert_eq!(table.growing(), Some("LastModifiedDate"));
        assert!(table.field("Erp__c").unwrap().is_external);
        for (column, part) in [
            ("BillingAddress", "its parts"),
            ("Body", "out of the mapping"),
            ("Amont", "`Amount`"),
        ] {
            let error = table.field(column).unwrap_err();
            assert!(error.help_text().unwrap().contains(part), "{error:?}");
        }
    }
}
