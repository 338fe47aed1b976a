//! What the simulator keeps: records, their properties and associations, tokens and counts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use jiff::Timestamp;

use super::{Options, TOKEN};

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its id.
    pub id: u64,
    /// Its properties that are set.
    pub properties: BTreeMap<String, String>,
    /// When it was made.
    pub created: Timestamp,
    /// When it was changed last.
    pub updated: Timestamp,
    /// Whether it is archived.
    pub archived: bool,
}

/// A property of an object.
#[derive(Clone, Debug)]
pub(super) struct Property {
    pub(super) kind: String,
    pub(super) is_unique: bool,
    pub(super) is_filled: bool,
}

#[derive(Debug)]
pub(super) struct Store {
    pub(super) options: Options,
    pub(super) tokens: BTreeSet<String>,
    pub(super) writes: u64,
    pub(super) properties: BTreeMap<String, BTreeMap<String, Property>>,
    /// Both ways: object and id, then object and id.
    pub(super) links: BTreeSet<(String, u64, String, u64)>,
    records: BTreeMap<String, BTreeMap<u64, Record>>,
    last_id: u64,
    last_change: Timestamp,
    window: (Instant, u32),
}

/// Why a record is not written.
pub(super) type Refused = (&'static str, String);

impl Store {
    pub(super) fn new(options: Options) -> Store {
        let mut store = Store {
            options,
            tokens: [TOKEN.to_owned()].into(),
            writes: 0,
            properties: BTreeMap::new(),
            links: BTreeSet::new(),
            records: BTreeMap::new(),
            last_id: 100,
            last_change: Timestamp::UNIX_EPOCH,
            window: (Instant::now(), 0),
        };
        for (object, texts) in [
            (
                "contacts",
                &["email", "firstname", "lastname", "phone", "jobtitle"][..],
            ),
            ("companies", &["name", "domain", "country"]),
            ("deals", &["dealname", "dealstage", "pipeline"]),
            ("products", &["name", "description", "hs_sku"]),
            ("line_items", &["name"]),
        ] {
            for name in texts {
                store.define(object, name, "string", false);
            }
            for name in ["createdate", modified(object)] {
                store.define(object, name, "datetime", false);
            }
            store.define(object, "hs_object_id", "number", false);
        }
        store.define("deals", "amount", "number", false);
        store.define("deals", "closedate", "datetime", false);
        store.define("products", "price", "number", false);
        store.define("line_items", "quantity", "number", false);
        store
    }

    pub(super) fn define(&mut self, object: &str, name: &str, kind: &str, is_unique: bool) {
        let property = Property {
            kind: kind.to_owned(),
            is_unique,
            is_filled: ["createdate", "hs_object_id", modified(object)].contains(&name),
        };
        let all = self.properties.entry(object.to_owned()).or_default();
        all.insert(name.to_owned(), property);
    }

    /// Counts a call; how many are left until the limit begins anew.
    pub(super) fn count(&mut self) -> Option<u32> {
        let most = self.options.calls?;
        if self.window.0.elapsed() >= self.options.window {
            self.window = (Instant::now(), 0);
        }
        self.window.1 += 1;
        Some((most + 1).saturating_sub(self.window.1))
    }

    pub(super) fn records(&self, object: &str) -> impl Iterator<Item = &Record> {
        self.records
            .get(object)
            .into_iter()
            .flat_map(BTreeMap::values)
    }

    pub(super) fn find(&self, object: &str, id: u64) -> Option<&Record> {
        let record = self.records.get(object)?.get(&id)?;
        (!record.archived).then_some(record)
    }

    /// The record that bears a value of a unique property.
    pub(super) fn by(&self, object: &str, property: &str, value: &str) -> Option<u64> {
        let bears = |record: &&Record| {
            !record.archived
                && record
                    .properties
                    .get(property)
                    .is_some_and(|held| held == value)
        };
        self.records(object).find(bears).map(|record| record.id)
    }

    pub(super) fn edit(
        &mut self,
        object: &str,
        id: Option<u64>,
        properties: &[(&str, &str)],
    ) -> u64 {
        let properties = properties
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        // What a test asks for is what it wants.
        self.put(object, id, &properties)
    }

    pub(super) fn archive(&mut self, object: &str, id: u64) {
        let now = self.now();
        let record = self
            .records
            .get_mut(object)
            .and_then(|all| all.get_mut(&id));
        if let Some(record) = record.filter(|record| !record.archived) {
            (record.archived, record.updated) = (true, now);
            self.writes += 1;
            self.links.retain(|(a, from, b, to)| {
                !((a == object && *from == id) || (b == object && *to == id))
            });
        }
    }

    /// Writes a record that is fine.
    pub(super) fn put(
        &mut self,
        object: &str,
        id: Option<u64>,
        properties: &BTreeMap<String, String>,
    ) -> u64 {
        let now = self.now();
        self.writes += 1;
        let id = id.unwrap_or_else(|| {
            self.last_id += 1;
            self.last_id
        });
        let all = self.records.entry(object.to_owned()).or_default();
        let record = all.entry(id).or_insert_with(|| Record {
            id,
            properties: BTreeMap::new(),
            created: now,
            updated: now,
            archived: false,
        });
        record.updated = now;
        for (name, value) in properties {
            if value.is_empty() {
                record.properties.remove(name);
            } else {
                record.properties.insert(name.clone(), value.clone());
            }
        }
        for (name, value) in [
            ("createdate", record.created.to_string()),
            (modified(object), now.to_string()),
            ("hs_object_id", id.to_string()),
        ] {
            record.properties.insert(name.to_owned(), value);
        }
        id
    }

    /// Whether properties can stand in a record.
    pub(super) fn judge(
        &self,
        object: &str,
        id: Option<u64>,
        properties: &BTreeMap<String, String>,
    ) -> Result<(), Refused> {
        for (name, value) in properties {
            let property = self.properties.get(object).and_then(|all| all.get(name));
            let Some(property) = property else {
                return Err((
                    "VALIDATION_ERROR",
                    format!("Property \"{name}\" does not exist"),
                ));
            };
            if property.is_filled {
                return Err((
                    "VALIDATION_ERROR",
                    format!("{name} is a read only property"),
                ));
            }
            let is_bad = match property.kind.as_str() {
                "number" => value.parse::<f64>().is_err(),
                "bool" => !["true", "false"].contains(&value.as_str()),
                "datetime" => instant(value).is_none(),
                _ => name == "email" && !value.contains('@'),
            };
            if is_bad && !value.is_empty() {
                return Err((
                    "VALIDATION_ERROR",
                    format!("{value} was not a valid {}", property.kind),
                ));
            }
            if property.is_unique
                && self
                    .by(object, name, value)
                    .is_some_and(|other| Some(other) != id)
            {
                return Err((
                    "CONFLICT",
                    format!("another record has that value for property {name}: {value}"),
                ));
            }
        }
        Ok(())
    }

    /// An instant that no earlier change has: in milliseconds, as HubSpot's.
    fn now(&mut self) -> Timestamp {
        let ms = Timestamp::now()
            .as_millisecond()
            .max(self.last_change.as_millisecond());
        self.last_change = Timestamp::from_millisecond(ms).unwrap_or(self.last_change);
        self.last_change
    }
}

/// The property that holds when a record was changed.
pub(super) fn modified(object: &str) -> &'static str {
    if object == "contacts" {
        "lastmodifieddate"
    } else {
        "hs_lastmodifieddate"
    }
}

pub(super) fn instant(text: &str) -> Option<i64> {
    match text.parse::<i64>() {
        Ok(ms) => Some(ms),
        Err(_) => text.parse::<Timestamp>().ok().map(|at| at.as_millisecond()),
    }
}
