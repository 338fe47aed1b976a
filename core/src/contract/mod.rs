//! The versioned agreement on an entity: fields, types, allowed values, key, owner, truth rules and personal data.
//!
//! A contract is written as YAML in the Open Data Contract Standard v3 with Lockstep's additions as custom properties ([`mod@load`]).
//! From it come two JSON Schemas ([`schema`]: strict for writers, tolerant for readers) and the compiled check of the hot path ([`check`]).
//! This module knows no files: it takes text and the name to show in messages.

pub mod check;
pub mod compat;
pub mod contain;
pub mod document;
pub mod drift;
pub mod edit;
mod format;
pub mod links;
pub mod load;
pub mod lock;
pub mod migrate;
mod pattern;
pub mod profile;
mod range;
mod rules;
#[cfg(test)]
pub(crate) mod sample;
pub mod schema;
mod terms;
pub mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::shape::{Column, Shape};
use crate::value::{Type, Value};

pub use check::{Checker, Violation};
use load::words;
pub use load::{CODES, Library, Linted, Loaded, NoLibrary, Places, lint, load};
pub use rules::{Check, Outcome, Rule, Tolerance};
pub use terms::{Compatibility, Deprecation, Direction, Level, Migration, Personal, Step, Terms};

/// The agreement on one entity, ready for use.
#[derive(Clone, Debug, PartialEq)]
pub struct Contract {
    /// The contract's own id (ODCS `id`).
    pub id: String,
    /// The entity it describes, such as `order_line`: the name of its one ODCS schema object.
    pub entity: String,
    /// Semantic version; its major stands in subjects.
    pub version: semver::Version,
    /// What the entity is, in a sentence.
    pub description: Option<String>,
    /// Every field, in contract order.
    pub fields: Vec<Field>,
    /// Positions of the key fields, in key order.
    pub key: Vec<usize>,
    /// Positions of the fields whose values choose the lane; the key unless the contract names a coarser one.
    pub lane_key: Vec<usize>,
    /// Number of lanes of this generation of the entity.
    pub lanes: u32,
    /// The system that is right about the entity, unless a field says otherwise.
    pub owner: Option<String>,
    /// How differing values are settled, unless a field says otherwise.
    pub truth: Truth,
    /// What a delete does in the other systems.
    pub deletes: Deletes,
    /// What becomes of fields that the contract does not know.
    pub extra: Extra,
    /// Rules on the data beyond types and bounds.
    pub rules: Vec<Rule>,
    /// How records of one version become records of another.
    pub migrations: Vec<Migration>,
    /// What people agreed on that no record shows.
    pub terms: Terms,
}

/// One field of a contract.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Its name in events and mappings.
    pub name: String,
    /// Its type.
    pub kind: Type,
    /// Whether a whole record must have it.
    pub required: bool,
    /// Whether it may be null.
    pub nullable: bool,
    /// What it means.
    pub description: Option<String>,
    /// Bounds on its values.
    pub limits: Limits,
    /// The values it may take, if they are listed.
    pub allowed: Option<Allowed>,
    /// The value a reader assumes where the field is absent.
    pub default: Option<Value>,
    /// How protected its values are.
    pub class: Class,
    /// What each system may see of it; systems not named here see it in the clear.
    pub handling: BTreeMap<String, Handling>,
    /// The system that is right about this field, where it differs from the entity's.
    pub owner: Option<String>,
    /// How differing values of this field are settled, where it differs from the entity's.
    pub truth: Option<Truth>,
    /// What stands inside, where the field is a document ([`Type::Json`]) whose inside is agreed on.
    pub inner: Option<Inner>,
    /// Whether no two records have the same value.
    pub unique: bool,
    /// The field of another entity that holds this value.
    pub reference: Option<Reference>,
    /// Since when it should not be used, and until when it is there.
    pub deprecation: Option<Deprecation>,
    /// Whose data it is and how long it is kept, where it is about a person.
    pub personal: Option<Personal>,
    /// What becomes of a record whose value is not of the field's type or bounds: quarantine, reject or halt.
    pub outcome: Outcome,
}

/// What stands inside a document.
#[derive(Clone, Debug, PartialEq)]
pub enum Inner {
    /// Named members.
    Object {
        /// The members.
        fields: Vec<Field>,
        /// What becomes of others.
        extra: Extra,
    },
    /// A list.
    List {
        /// What each item is; its name is `items`.
        items: Box<Field>,
        /// Fewest items.
        least: Option<u64>,
        /// Most items.
        most: Option<u64>,
        /// Whether no two items are equal.
        unique: bool,
    },
    /// Any names, all with values of one kind.
    Map {
        /// What each value is; its name is `values`.
        values: Box<Field>,
        /// Fewest entries.
        least: Option<u64>,
        /// Most entries.
        most: Option<u64>,
    },
}

/// A field of another entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The entity.
    pub entity: String,
    /// Its field.
    pub field: String,
}

/// What becomes of fields that the contract does not know.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Extra {
    /// A record with one is refused.
    #[default]
    Reject,
    /// They stay.
    Keep,
    /// They are left out.
    Drop,
}

/// Bounds on the values of a field.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    /// Fewest characters (text) or bytes.
    pub min_length: Option<u64>,
    /// Most characters (text) or bytes.
    pub max_length: Option<u64>,
    /// A regular expression the whole or part of the text must match, as written.
    pub pattern: Option<String>,
    /// Least value.
    pub minimum: Option<Value>,
    /// Greatest value.
    pub maximum: Option<Value>,
    /// Whether the least value itself is excluded.
    pub exclusive_minimum: bool,
    /// Whether the greatest value itself is excluded.
    pub exclusive_maximum: bool,
    /// Every value is a multiple of this.
    pub multiple_of: Option<Value>,
    /// The form of a text.
    pub format: Option<Format>,
}

/// A form of texts that is checked, as JSON Schema names and defines it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// An address for mail, such as `ann@example.com`.
    Email,
    /// The name of a host.
    Hostname,
    /// An address such as `192.0.2.1`.
    Ipv4,
    /// An address such as `2001:db8::1`.
    Ipv6,
    /// A URI with its scheme.
    Uri,
}

/// A list of allowed values.
#[derive(Clone, Debug, PartialEq)]
pub struct Allowed {
    /// The values, in contract order.
    pub values: Vec<Value>,
    /// Whether readers must expect others to come.
    pub open: bool,
    /// The value that stands for one that a reader does not know.
    pub fallback: Option<Value>,
}

/// How systems that disagree are settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Truth {
    /// The owner is right; what others say is reverted or ignored.
    Owner,
    /// The later edit is right.
    Latest,
    /// A writer that had not seen the newest version is refused to the steward.
    Versioned,
    /// An expression decides.
    Rule,
    /// The steward decides.
    Ask,
    /// The greater value is right.
    Max,
    /// The lesser value is right.
    Min,
    /// Both lists are right together.
    Union,
    /// Both increments are right together.
    Delta,
}

/// What a delete in one system does in the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Deletes {
    /// The record is deleted there too.
    Propagate,
    /// The record is marked as deleted there.
    SoftDelete,
    /// The record stays there and is no longer kept in step.
    Detach,
    /// The delete is not told to the others.
    Ignore,
}

/// How protected the values of a field are.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Anybody may see it.
    Public,
    /// The company's own.
    Internal,
    /// About a person.
    Personal,
    /// Nobody but the systems named may see it.
    Secret,
}

/// What a system may see of a protected field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Handling {
    /// The value itself.
    Clear,
    /// A part of it.
    Mask,
    /// A keyed hash.
    Hash,
    /// A token that leads back to it.
    Tokenize,
    /// Its ciphertext.
    Encrypt,
    /// Nothing.
    Drop,
}

impl Truth {
    /// The word for it in contracts, messages and outputs.
    #[must_use]
    pub fn name(self) -> &'static str {
        words::written(words::TRUTHS, self)
    }
}

impl Class {
    /// The word for it in contracts, messages and outputs.
    #[must_use]
    pub fn name(self) -> &'static str {
        words::written(words::CLASSES, self)
    }
}

impl Handling {
    /// The word for it in contracts, messages and outputs.
    #[must_use]
    pub fn name(self) -> &'static str {
        words::written(words::HANDLINGS, self)
    }
}

impl Inner {
    /// The fields directly inside: the members, or what every item or value is.
    #[must_use]
    pub fn fields(&self) -> &[Field] {
        match self {
            Inner::Object { fields, .. } => fields,
            Inner::List { items, .. } => std::slice::from_ref(items),
            Inner::Map { values, .. } => std::slice::from_ref(values),
        }
    }
}

impl Field {
    /// A required field of this name and type, without bounds.
    #[must_use]
    pub fn new(name: impl Into<String>, kind: Type) -> Field {
        Field {
            name: name.into(),
            kind,
            required: true,
            nullable: false,
            description: None,
            limits: Limits::default(),
            allowed: None,
            default: None,
            class: Class::Internal,
            handling: BTreeMap::new(),
            owner: None,
            truth: None,
            inner: None,
            unique: false,
            reference: None,
            deprecation: None,
            personal: None,
            outcome: Outcome::Quarantine,
        }
    }
}

impl Contract {
    /// A contract over these fields, of which the first is the key.
    #[must_use]
    pub fn new(entity: &str, version: semver::Version, fields: Vec<Field>) -> Contract {
        Contract {
            id: entity.to_owned(),
            entity: entity.to_owned(),
            version,
            description: None,
            fields,
            key: vec![0],
            lane_key: vec![0],
            lanes: 8,
            owner: None,
            truth: Truth::Owner,
            deletes: Deletes::Propagate,
            extra: Extra::Reject,
            rules: Vec::new(),
            migrations: Vec::new(),
            terms: Terms::default(),
        }
    }

    /// The contract's fields as a shape: one column per field, in contract order.
    #[must_use]
    pub fn shape(&self) -> Arc<Shape> {
        Arc::new(Shape {
            name: self.entity.clone(),
            columns: self
                .fields
                .iter()
                .map(|field| Column::new(field.name.clone(), field.kind, field.nullable))
                .collect(),
            key: self.key.clone(),
        })
    }

    /// The version that the next release has to be, where a migration leads beyond the contract's own: the text is between two versions until then.
    #[must_use]
    pub fn ahead(&self) -> Option<&semver::Version> {
        let targets = self.migrations.iter().map(|migration| &migration.to);
        targets.filter(|to| **to > self.version).max()
    }

    /// The position of a field.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|field| field.name == name)
    }

    /// The value of `dataschema` in events: `urn:lockstep:contract:<entity>:<version>`.
    #[must_use]
    pub fn urn(&self) -> String {
        format!("urn:lockstep:contract:{}:{}", self.entity, self.version)
    }
}
