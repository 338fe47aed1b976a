//! An entity set as a table: which columns it has, and where in a record each of them stands; pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use lockstep_core::diagnostic::suggestion;
use lockstep_core::{Column, Error, Result, Row, Shape, Type, Value};
use lockstep_http_client::Json;

use crate::config::TableConfig;
use crate::convert::{self, Form};
use crate::metadata::{Property, Service, Set};
use crate::query;

/// A reference to one entity of another set.
#[derive(Clone, Debug)]
pub(crate) struct Bind {
    /// The navigation property.
    pub(crate) navigation: String,
    /// The set that it leads to.
    pub(crate) set: String,
    /// The only key of that set.
    pub(crate) key: Property,
}

/// One column.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    /// A property; with the reference by which it is written, where the service fills it itself.
    Property(Property, Option<Bind>),
    /// The key of the entity that a navigation property leads to.
    Link(Bind),
    /// The entities that a navigation property leads to, as a list.
    Rows(String),
}

/// An entity set.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) set: Set,
    pub(crate) config: TableConfig,
    /// References that no column of their own holds.
    links: Vec<Bind>,
    /// References by the columns that hold them.
    held: Vec<(String, Bind)>,
}

impl Table {
    /// An entity set of a service.
    ///
    /// # Errors
    /// A set that is not there, with the nearest one, or that has no key.
    pub(crate) fn of(service: &Service, name: &str, config: TableConfig) -> Result<Table> {
        let Some(set) = service.sets.get(name) else {
            let known: Vec<&str> = service.sets.keys().map(String::as_str).collect();
            return Err(
                Error::config(format!("the service has no entity set `{name}`"))
                    .code(lockstep_core::contract::drift::GONE)
                    .help(suggestion(name, known)),
            );
        };
        if set.key.is_empty() {
            return Err(Error::config(format!("the entity set `{name}` has no key")));
        }
        let (mut links, mut held) = (Vec::new(), Vec::new());
        for navigation in set.navigations.iter().filter(|one| !one.is_list) {
            let target = navigation
                .target
                .as_ref()
                .and_then(|set| service.sets.get(set));
            let Some(target) = target else { continue };
            let [key] = &target.key[..] else { continue };
            let key = target
                .properties
                .iter()
                .find(|property| property.name == *key);
            let Some(key) = key else { continue };
            let bind = Bind {
                navigation: navigation.name.clone(),
                set: target.name.clone(),
                key: key.clone(),
            };
            let is_only = |column: &String| {
                let holders = set
                    .navigations
                    .iter()
                    .filter(|one| one.held_in.contains(column));
                holders.count() == 1
            };
            match &navigation.held_in[..] {
                [column] if is_only(column) => held.push((column.clone(), bind)),
                _ => links.push(bind),
            }
        }
        Ok(Table {
            set: set.clone(),
            config,
            links,
            held,
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.set.name
    }

    /// A column.
    ///
    /// # Errors
    /// A column that the set has not, with the nearest one.
    pub(crate) fn item(&self, column: &str) -> Result<Item> {
        if let Some(property) = self.set.properties.iter().find(|one| one.name == column) {
            let held = self.held.iter().find(|(name, _)| name == column);
            let bind = held.map(|(_, bind)| bind.clone());
            let is_filled = property.is_computed || column.ends_with("_value");
            return Ok(Item::Property(property.clone(), bind.filter(|_| is_filled)));
        }
        if let Some(link) = self.links.iter().find(|link| link.navigation == column) {
            return Ok(Item::Link(link.clone()));
        }
        let mut expand = self.config.expand.iter();
        if expand.any(|name| name == column) {
            return Ok(Item::Rows(column.to_owned()));
        }
        let known: Vec<&str> = self
            .set
            .properties
            .iter()
            .map(|one| one.name.as_str())
            .collect();
        Err(
            Error::config(format!("`{}` has no property `{column}`", self.name()))
                .help(suggestion(column, known)),
        )
    }

    /// Columns by their names.
    ///
    /// # Errors
    /// As [`Table::item`].
    pub(crate) fn items<'a>(
        &self,
        columns: impl IntoIterator<Item = &'a str>,
    ) -> Result<Vec<Item>> {
        columns
            .into_iter()
            .map(|column| self.item(column))
            .collect()
    }

    /// The properties of the key.
    pub(crate) fn key(&self) -> impl Iterator<Item = &Property> {
        let find = |name: &String| self.set.properties.iter().find(|one| one.name == *name);
        self.set.key.iter().filter_map(find)
    }

    /// The shape of its rows.
    pub(crate) fn shape(&self) -> Arc<Shape> {
        let each = self.set.properties.iter();
        let mut columns: Vec<Column> = each
            .map(|one| {
                let is_list = matches!(one.form, Form::Json { is_list: true });
                Column::new(&one.name, one.form.kind(), one.is_nullable)
                    .within(one.length)
                    .listing(is_list)
            })
            .collect();
        let links = self.links.iter();
        columns.extend(links.map(|link| Column::new(&link.navigation, link.key.form.kind(), true)));
        let rows = self.config.expand.iter();
        columns.extend(rows.map(|name| Column::new(name, Type::Json, true).listing(true)));
        let place = |name: &String| columns.iter().position(|column| column.name == *name);
        Arc::new(Shape {
            name: self.name().to_owned(),
            key: self.set.key.iter().filter_map(place).collect(),
            columns,
        })
    }

    /// What has to be asked for so that these columns and the key can be told: `$select` and `$expand`.
    pub(crate) fn asked(&self, items: &[Item]) -> (String, String) {
        let mut select: BTreeSet<String> = self.set.key.iter().map(|key| first(key)).collect();
        let mut expand = BTreeSet::new();
        for item in items {
            match item {
                Item::Property(property, _) => {
                    select.insert(first(&property.name));
                }
                Item::Link(link) => {
                    expand.insert(format!("{}($select={})", link.navigation, link.key.name));
                }
                Item::Rows(name) => {
                    expand.insert(name.clone());
                }
            }
        }
        let join = |all: BTreeSet<String>| all.into_iter().collect::<Vec<_>>().join(",");
        (join(select), join(expand))
    }

    /// The key of a record: the encoded predicate behind the set's name.
    pub(crate) fn predicate(&self, record: &Json) -> Option<String> {
        let values: Vec<(&Property, Value)> = self
            .key()
            .map(|property| {
                (
                    property,
                    cell(record, &Item::Property(property.clone(), None)),
                )
            })
            .collect();
        query::predicate(&values)
    }

    /// The own id of a record: its key, or what stands for one of several parts.
    pub(crate) fn own_id(&self, record: &Json) -> Option<Value> {
        let mut key = self.key();
        match (key.next(), key.next()) {
            (Some(only), None) => {
                let value = cell(record, &Item::Property(only.clone(), None));
                Some(value).filter(|value| !value.is_null())
            }
            _ => self.predicate(record).map(Value::Text),
        }
    }
}

fn first(path: &str) -> String {
    path.split('.').next().unwrap_or(path).to_owned()
}

/// What a record holds of a property.
pub(crate) fn held<'a>(record: &'a Json, path: &str) -> &'a Json {
    let mut here = record;
    for part in path.split('.') {
        match here.get(part) {
            Some(inner) => here = inner,
            None => return &Json::Null,
        }
    }
    here
}

/// The value of a record's column.
pub(crate) fn cell(record: &Json, item: &Item) -> Value {
    match item {
        Item::Property(property, _) => convert::read(held(record, &property.name), &property.form),
        Item::Link(link) => match record.get(&link.navigation) {
            Some(other) => convert::read(held(other, &link.key.name), &link.key.form),
            None => Value::Null,
        },
        Item::Rows(name) => match record.get(name) {
            None | Some(Json::Null) => Value::Null,
            Some(rows) => Value::Json(bare(rows).to_string().into()),
        },
    }
}

/// The row of a record.
pub(crate) fn row(record: &Json, items: &[Item]) -> Row {
    Row::of(items.iter().map(|item| cell(record, item)))
}

/// Records without what the protocol says of them.
fn bare(tree: &Json) -> Json {
    match tree {
        Json::List(items) => Json::List(items.iter().map(bare).collect()),
        Json::Object(members) => {
            let members = members.iter().filter(|(name, _)| !name.contains('@'));
            Json::Object(
                members
                    .map(|(name, value)| (name.clone(), bare(value)))
                    .collect(),
            )
        }
        other => other.clone(),
    }
}

/// A control information of a record or an answer, as 4.0 and 4.01 write it.
pub(crate) fn annotation<'a>(tree: &'a Json, name: &str) -> Option<&'a str> {
    let earlier = tree.get(&format!("@odata.{name}"));
    earlier.or_else(|| tree.get(&format!("@{name}")))?.as_str()
}
