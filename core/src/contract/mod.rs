//! The versioned agreement on an entity: fields, types, allowed values, key, owner, truth rules and personal data.
//!
//! A contract is written as YAML in the Open Data Contract Standard v3 with Lockstep's additions as custom properties ([`mod@load`]).
//! From it come two JSON Schemas ([`schema`]: strict for writers, tolerant for readers) and the compiled check of the hot path ([`check`]).
//! This module knows no files: it takes text and the name to show in messages.

pub mod check;
pub mod load;
mod pattern;
mod range;
pub mod schema;
pub mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::shape::{Column, Shape};
use crate::value::{Type, Value};

pub use check::{Checker, Violation};
pub use load::{CODES, load};

/// The agreement on one entity, ready for use.
#[derive(Clone, Debug)]
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
    /// Rules over several fields, as CEL expressions that must be true.
    pub rules: Vec<Rule>,
}

/// One field of a contract.
#[derive(Clone, Debug)]
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
}

/// A list of allowed values.
#[derive(Clone, Debug, PartialEq)]
pub struct Allowed {
    /// The values, in contract order.
    pub values: Vec<Value>,
    /// Whether readers must expect others to come.
    pub open: bool,
}

/// A rule over several fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name, which quarantine reasons give.
    pub name: String,
    /// The CEL expression over the contract's fields; anything but true is a violation.
    pub expression: String,
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

impl Contract {
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
