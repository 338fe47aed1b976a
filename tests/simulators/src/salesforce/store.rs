//! What the simulator keeps: objects with their fields and records, the recycle bin, tokens and faults.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::{Value as Json, json};

use super::Options;
use super::fault::Faults;

/// A field of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its type, as descriptions say it.
    pub kind: String,
    /// Most characters.
    pub length: u32,
    /// Most digits in all.
    pub precision: u32,
    /// Digits after the point.
    pub scale: u32,
    /// Whether it may be null.
    pub nillable: bool,
    /// Whether it may be written at all.
    pub writable: bool,
    /// Whether it may be changed after its record was made.
    pub updateable: bool,
    /// Whether records may be written by it.
    pub external: bool,
    /// Whether no two records bear the same value.
    pub unique: bool,
    /// Whether `a` and `A` are two values of it.
    pub case_sensitive: bool,
    /// Whether it is computed.
    pub calculated: bool,
    /// The choices, where there are no others.
    pub choices: Vec<String>,
    /// The object that it leads to.
    pub to: Option<String>,
}

impl Field {
    /// An ordinary field of a type.
    #[must_use]
    pub fn new(name: &str, kind: &str) -> Field {
        Field {
            name: name.to_owned(),
            kind: kind.to_owned(),
            length: if kind == "textarea" { 32_768 } else { 255 },
            precision: 18,
            scale: 2,
            nillable: kind != "boolean",
            writable: true,
            updateable: true,
            external: false,
            unique: false,
            case_sensitive: false,
            calculated: false,
            choices: Vec::new(),
            to: None,
        }
    }

    /// An external id, whose values are unique.
    #[must_use]
    pub fn external(name: &str) -> Field {
        Field {
            external: true,
            unique: true,
            case_sensitive: true,
            length: 80,
            ..Field::new(name, "string")
        }
    }

    /// A reference to an object.
    #[must_use]
    pub fn to(name: &str, object: &str) -> Field {
        Field {
            to: Some(object.to_owned()),
            length: 18,
            ..Field::new(name, "reference")
        }
    }

    /// A choice of these.
    #[must_use]
    pub fn choice(name: &str, choices: &[&str]) -> Field {
        Field {
            choices: choices.iter().map(|choice| (*choice).to_owned()).collect(),
            ..Field::new(name, "picklist")
        }
    }

    fn filled(name: &str, kind: &str) -> Field {
        Field {
            writable: false,
            updateable: false,
            nillable: false,
            ..Field::new(name, kind)
        }
    }

    pub(super) fn is_number(&self) -> bool {
        ["double", "currency", "percent", "int"].contains(&self.kind.as_str())
    }
}

/// One record.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Its id, in the long form.
    pub id: String,
    /// Its values that are not null.
    pub values: BTreeMap<String, Json>,
    /// When it was changed last, in seconds.
    pub stamp: i64,
    /// When it was made, in seconds.
    pub created: i64,
    /// Whether it lies in the recycle bin.
    pub is_deleted: bool,
    /// Into which record it was merged.
    pub master: Option<String>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Object {
    pub(super) prefix: String,
    pub(super) fields: Vec<Field>,
    pub(super) records: BTreeMap<String, Record>,
    /// When records were deleted, and which.
    pub(super) deletes: Vec<(i64, String)>,
    pub(super) earliest: i64,
    pub(super) is_listed: bool,
}

impl Object {
    pub(super) fn field(&self, name: &str) -> Option<&Field> {
        self.fields
            .iter()
            .find(|field| field.name.eq_ignore_ascii_case(name))
    }

    /// The records that bear a value of a field and are not deleted.
    pub(super) fn by(&self, field: &Field, value: &Json) -> Vec<String> {
        let folded = |value: &Json| match value.as_str() {
            Some(text) if !field.case_sensitive => json!(text.to_lowercase()),
            _ => value.clone(),
        };
        let wanted = folded(value);
        let bears = |record: &&Record| {
            let held = record.values.get(&field.name).map(folded);
            !record.is_deleted && held.as_ref() == Some(&wanted)
        };
        let all = self.records.values().filter(bears);
        all.map(|record| record.id.clone()).collect()
    }
}

#[derive(Debug)]
pub(super) struct Store {
    pub(super) options: Options,
    pub(super) instance: String,
    pub(super) tokens: BTreeSet<String>,
    pub(super) granted: u32,
    pub(super) objects: BTreeMap<String, Object>,
    pub(super) writes: u64,
    pub(super) calls: Vec<String>,
    pub(super) faults: Faults,
    pub(super) rules: Vec<(String, String, String)>,
    pub(super) duplicates: Vec<(String, String)>,
    /// What becomes of records before calls whose path holds some words.
    pub(super) meanwhile: Vec<(String, String, String, bool)>,
    /// Pages that queries go on with, by their locators.
    pub(super) locators: BTreeMap<String, Vec<Json>>,
    last_id: u64,
}

impl Store {
    pub(super) fn new(options: Options, instance: String) -> Store {
        let mut store = Store {
            options,
            instance,
            tokens: BTreeSet::new(),
            granted: 0,
            objects: BTreeMap::new(),
            writes: 0,
            calls: Vec::new(),
            faults: Faults::default(),
            rules: Vec::new(),
            duplicates: Vec::new(),
            meanwhile: Vec::new(),
            locators: BTreeMap::new(),
            last_id: 1_000,
        };
        let name = || Field {
            nillable: false,
            ..Field::new("Name", "string")
        };
        store.define("Account", name());
        store.define("Account", Field::new("BillingAddress", "address"));
        store.define("Account", Field::new("BillingCity", "string"));
        store.define("Account", Field::new("AnnualRevenue", "currency"));
        store.define("Account", Field::new("Description", "textarea"));
        store.define("Contact", Field::to("AccountId", "Account"));
        store.define("Contact", Field::new("LastName", "string"));
        store.define("Contact", Field::new("Email", "email"));
        let stages = ["Prospecting", "Closed Won", "Closed Lost"];
        store.define("Opportunity", name());
        store.define("Opportunity", Field::choice("StageName", &stages));
        store.define("Opportunity", Field::new("Amount", "currency"));
        store.define("Opportunity", Field::new("CloseDate", "date"));
        store.define("Opportunity", Field::to("AccountId", "Account"));
        store
    }

    pub(super) fn define(&mut self, object: &str, field: Field) {
        let count = self.objects.len();
        let object = self.objects.entry(object.to_owned()).or_insert_with(|| {
            let mut fields = vec![
                Field {
                    length: 18,
                    ..Field::filled("Id", "id")
                },
                Field::filled("IsDeleted", "boolean"),
                Field::filled("CreatedDate", "datetime"),
                Field::filled("LastModifiedDate", "datetime"),
                Field::filled("SystemModstamp", "datetime"),
            ];
            if object == "Account" {
                fields.push(Field {
                    nillable: true,
                    ..Field::filled("MasterRecordId", "reference")
                });
            }
            Object {
                prefix: format!("{:03}", count + 1),
                fields,
                is_listed: true,
                ..Object::default()
            }
        });
        object.fields.retain(|known| known.name != field.name);
        object.fields.push(field);
    }

    pub(super) fn hide(&mut self, object: &str, field: &str) {
        if let Some(object) = self.objects.get_mut(object) {
            object.fields.retain(|known| known.name != field);
        }
    }

    /// What time it is here, in seconds.
    pub(super) fn now(&self) -> i64 {
        Timestamp::now().as_second() + self.options.ahead_s
    }

    pub(super) fn edit(
        &mut self,
        object: &str,
        id: Option<&str>,
        fields: &[(&str, Json)],
    ) -> String {
        let values = fields
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect();
        // What a test asks for is what it wants.
        self.put(object, id, values)
    }

    /// Writes a record that is fine.
    pub(super) fn put(
        &mut self,
        object: &str,
        id: Option<&str>,
        values: BTreeMap<String, Json>,
    ) -> String {
        let now = self.now();
        self.writes += 1;
        self.last_id += 7;
        let number = self.last_id;
        let Some(object) = self.objects.get_mut(object) else {
            return String::new();
        };
        let id = match id {
            Some(id) => id.to_owned(),
            None => full(&format!("{}{}", object.prefix, base62(number))).unwrap_or_default(),
        };
        let record = object.records.entry(id.clone()).or_insert_with(|| Record {
            id: id.clone(),
            values: BTreeMap::new(),
            stamp: now,
            created: now,
            is_deleted: false,
            master: None,
        });
        record.stamp = now;
        for (name, value) in values {
            if value.is_null() {
                record.values.remove(&name);
            } else {
                record.values.insert(name, value);
            }
        }
        id
    }

    pub(super) fn delete(&mut self, object: &str, id: &str, master: Option<&str>) {
        let now = self.now();
        let Some(object) = self.objects.get_mut(object) else {
            return;
        };
        let Some(record) = object.records.get_mut(id) else {
            return;
        };
        (record.is_deleted, record.stamp) = (true, now);
        record.master = master.map(str::to_owned);
        object.deletes.push((now, id.to_owned()));
        self.writes += 1;
    }

    /// Does what is due before a call.
    pub(super) fn happen(&mut self, path: &str) {
        let (due, later) = std::mem::take(&mut self.meanwhile)
            .into_iter()
            .partition(|(words, ..)| path.contains(words));
        self.meanwhile = later;
        let due: Vec<(String, String, String, bool)> = due;
        for (_, object, id, is_delete) in due {
            if is_delete {
                self.delete(&object, &id, None);
            } else {
                self.options.ahead_s += 10;
                self.put(&object, Some(&id), BTreeMap::new());
            }
        }
    }

    pub(super) fn restore(&mut self, object: &str, id: &str) {
        let now = self.now();
        let object = self.objects.get_mut(object);
        if let Some(record) = object.and_then(|object| object.records.get_mut(id)) {
            (record.is_deleted, record.stamp) = (false, now);
        }
    }

    pub(super) fn purge(&mut self, object: &str, id: &str) {
        let now = self.now();
        if let Some(object) = self.objects.get_mut(object) {
            let was = object.records.remove(id);
            if was.is_some_and(|record| !record.is_deleted) {
                object.deletes.push((now, id.to_owned()));
            }
        }
    }

    /// The object that a record is of.
    pub(super) fn object_of(&self, id: &str) -> Option<String> {
        let prefix = id.get(..3)?;
        let mut all = self.objects.iter();
        let (name, _) = all.find(|(_, object)| object.prefix == prefix)?;
        Some(name.clone())
    }
}

/// A record's value of a field, as answers hold it.
pub(super) fn value(record: &Record, field: &Field) -> Json {
    match field.name.as_str() {
        "Id" => json!(record.id),
        "IsDeleted" => json!(record.is_deleted),
        "MasterRecordId" => json!(record.master),
        "CreatedDate" => json!(instant(record.created)),
        "LastModifiedDate" | "SystemModstamp" => json!(instant(record.stamp)),
        name => match record.values.get(name) {
            Some(value) => value.clone(),
            None if field.kind == "boolean" => json!(false),
            None => Json::Null,
        },
    }
}

/// An instant as answers write it.
pub(super) fn instant(second: i64) -> String {
    let at = Timestamp::from_second(second).unwrap_or_default();
    at.strftime("%Y-%m-%dT%H:%M:%S.000+0000").to_string()
}

fn base62(mut number: u64) -> String {
    let digits = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut text = vec![b'0'; 12];
    for place in text.iter_mut().rev() {
        *place = digits[(number % 62) as usize];
        number /= 62;
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// An id in its long form; none for what is no id.
#[must_use]
pub fn full(id: &str) -> Option<String> {
    let is_id = matches!(id.len(), 15 | 18) && id.bytes().all(|b| b.is_ascii_alphanumeric());
    if !is_id {
        return None;
    }
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345";
    let mut full = id[..15].to_owned();
    for five in id.as_bytes()[..15].chunks(5) {
        let mut place = 0;
        for (at, byte) in five.iter().enumerate() {
            place |= usize::from(byte.is_ascii_uppercase()) << at;
        }
        full.push(char::from(letters[place]));
    }
    (id.len() == 15 || id == full).then_some(full)
}
