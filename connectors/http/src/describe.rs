//! The description of an API, as its file says it.
//!
//! Values are addressed by names joined with dots (`data.items.0.id`); templates hold `{name}` for what is filled in.
//! No secret stands in a description: it names them, and the configuration gives them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// A REST API: how to be let in, how to read, how to write.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// The address that all paths are relative to.
    pub base: String,
    /// Headers of every request.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// How requests are authorized.
    #[serde(default)]
    pub auth: Auth,
    /// How often and how much may be asked.
    #[serde(default)]
    pub limits: Limits,
    /// A path that answers 2xx where the credentials are good; the first table's listing where absent.
    #[serde(default)]
    pub check: Option<String>,
    /// Where the body of an error says what is wrong, such as `error.message`.
    #[serde(default)]
    pub errors: Option<String>,
    /// The kinds of records, by the names that flows use.
    pub tables: BTreeMap<String, Table>,
    /// How the system calls when records change.
    #[serde(default)]
    pub webhook: Option<Webhook>,
}

/// How requests are authorized; secrets are named, not given.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Auth {
    /// Not at all.
    #[default]
    None,
    /// `Authorization: Bearer …`.
    Bearer {
        /// The secret that is the token.
        secret: String,
    },
    /// A user and a password.
    Basic {
        /// The user.
        user: String,
        /// The secret that is the password; an empty one where absent.
        #[serde(default)]
        secret: Option<String>,
    },
    /// A header of the vendor's own.
    Header {
        /// Its name.
        name: String,
        /// The secret that is its value.
        secret: String,
        /// What stands before the secret, such as `Token `.
        #[serde(default)]
        prefix: String,
    },
    /// A parameter of the query.
    Query {
        /// Its name.
        name: String,
        /// The secret that is its value.
        secret: String,
    },
    /// A token of OAuth 2.0, by the client's credentials or a refresh token.
    Oauth2 {
        /// The token endpoint; relative to `base` where it is no whole address.
        token_url: String,
        /// The client's id.
        client_id: String,
        /// The secret that is the client's secret.
        #[serde(default)]
        secret: Option<String>,
        /// The secret that is a refresh token; the client's credentials are used where absent.
        #[serde(default)]
        refresh_token: Option<String>,
        /// The scopes that are asked for.
        #[serde(default)]
        scopes: Vec<String>,
        /// Further parameters of the token request.
        #[serde(default)]
        extra: BTreeMap<String, String>,
        /// Whether the client shows itself by basic authorization instead of in the body.
        #[serde(default)]
        basic: bool,
    },
    /// A signature of each request.
    Hmac {
        /// The secret that is the key.
        secret: String,
        /// The header that takes the signature.
        header: String,
        /// What stands before the signature in its header; may hold `{timestamp}`.
        #[serde(default)]
        prefix: String,
        /// What is signed; `{method}`, `{path}` (with the query), `{timestamp}` and `{body}` are filled in.
        signed: String,
        /// The hash.
        #[serde(default)]
        hash: Hash,
        /// How the signature is written.
        #[serde(default)]
        encoding: Encoding,
        /// A header that takes the timestamp.
        #[serde(default)]
        timestamp_header: Option<String>,
        /// How the timestamp is written.
        #[serde(default)]
        timestamp: Clock,
    },
}

/// The hash under a signature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Hash {
    /// SHA-1, for vendors that have nothing better.
    Sha1,
    /// SHA-256.
    #[default]
    Sha256,
    /// SHA-512.
    Sha512,
}

/// How bytes are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// Hexadecimal digits.
    #[default]
    Hex,
    /// Base64.
    Base64,
}

/// How a point in time is written as a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Clock {
    /// Seconds since 1970.
    #[default]
    Seconds,
    /// Milliseconds since 1970.
    Millis,
}

/// How often and how much may be asked.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Most requests a second.
    pub per_second: Option<f64>,
    /// Most requests at once (1 to 64).
    #[schemars(range(min = 1, max = 64))]
    pub concurrent: usize,
    /// Most requests that may follow each other without a pause.
    pub burst: u32,
    /// Most seconds of one request (1 to 600).
    #[schemars(range(min = 1, max = 600))]
    pub timeout_secs: u64,
    /// Most bytes of one answer.
    pub body_max: usize,
    /// Most records of a table: listings are put in order in memory, and a larger table is refused.
    pub rows_max: usize,
    /// Most changes of one batch (1 to 1000).
    #[schemars(range(min = 1, max = 1000))]
    pub batch_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            per_second: None,
            concurrent: 4,
            burst: 1,
            timeout_secs: 30,
            body_max: 32 * 1024 * 1024,
            rows_max: 100_000,
            batch_max: 100,
        }
    }
}

/// One kind of record.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// The fields that are the system's own id of a record.
    pub key: Vec<String>,
    /// The fields, by the names that flows use.
    pub fields: BTreeMap<String, Field>,
    /// How all records are listed.
    pub list: List,
    /// How only records are listed that changed of late.
    #[serde(default)]
    pub incremental: Option<Incremental>,
    /// How one record is read by its own id.
    #[serde(default)]
    pub get: Option<Get>,
    /// How records are found by a field that holds somebody else's id.
    #[serde(default)]
    pub look_up: Option<LookUp>,
    /// How a record is made.
    #[serde(default)]
    pub create: Option<Write>,
    /// How a record is changed; only fields that differ are sent.
    #[serde(default)]
    pub update: Option<Write>,
    /// How a record is deleted.
    #[serde(default)]
    pub delete: Option<Write>,
}

/// One field: a type, or an object with `type` and more.
#[derive(Clone, Debug)]
pub struct Field {
    /// `text`, `int`, `decimal`, `decimal(12,2)`, `float`, `bool`, `date`, `time`, `timestamp`, `uuid`, `bytes` (base64) or `json`.
    pub kind: String,
    /// Where it stands in a record; under its own name where absent.
    pub at: Option<String>,
    /// How a timestamp is written.
    pub format: Format,
    /// Whether it is never null.
    pub required: bool,
    /// Whether it cannot be written.
    pub read_only: bool,
    /// Whether numbers are written as text.
    pub quoted: bool,
}

/// How a timestamp is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// `2024-05-01T12:00:00Z`, with a zone.
    #[default]
    Rfc3339,
    /// Without a zone, and UTC is meant.
    Utc,
    /// Seconds since 1970.
    Seconds,
    /// Milliseconds since 1970.
    Millis,
}

/// A field in full.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FullField {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    at: Option<String>,
    #[serde(default)]
    format: Format,
    #[serde(default)]
    required: bool,
    #[serde(default)]
    read_only: bool,
    #[serde(default)]
    quoted: bool,
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Field;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a type, or an object with `type`")
            }

            fn visit_str<E: de::Error>(self, kind: &str) -> Result<Field, E> {
                Ok(Field {
                    kind: kind.to_owned(),
                    at: None,
                    format: Format::default(),
                    required: false,
                    read_only: false,
                    quoted: false,
                })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Field, A::Error> {
                let full = FullField::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(Field {
                    kind: full.kind,
                    at: full.at,
                    format: full.format,
                    required: full.required,
                    read_only: full.read_only,
                    quoted: full.quoted,
                })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for Field {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Field".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let full = generator.subschema_for::<FullField>();
        schemars::json_schema!({ "anyOf": [{ "type": "string" }, full] })
    }
}

/// How records are listed.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// The path.
    pub path: String,
    /// Parameters of the query.
    #[serde(default)]
    pub query: BTreeMap<String, String>,
    /// Where the list of records stands in the answer; the answer itself is the list where empty.
    #[serde(default)]
    pub records: String,
    /// How further pages are asked for.
    #[serde(default)]
    pub page: Paging,
}

/// How further pages are asked for.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Paging {
    /// Everything comes at once.
    #[default]
    None,
    /// An answer says how to go on.
    Cursor {
        /// The parameter that takes the cursor.
        query: String,
        /// Where the answer holds the next cursor; the end where it is not there.
        #[serde(default)]
        next: Option<String>,
        /// Where the last record of a page holds the next cursor, such as `id`.
        #[serde(default)]
        last: Option<String>,
        /// Where the answer says whether there is more.
        #[serde(default)]
        more: Option<String>,
        /// The parameter that takes the size of a page.
        #[serde(default)]
        size_query: Option<String>,
        /// The size of a page.
        #[serde(default)]
        size: Option<u64>,
    },
    /// A number of records is left out; pages overlap by one record, so that records that move are noticed.
    Offset {
        /// The parameter that takes the number.
        query: String,
        /// The parameter that takes the size of a page.
        size_query: String,
        /// The size of a page (2 or more).
        size: u64,
        /// Where the answer tells how many records there are.
        #[serde(default)]
        total: Option<String>,
    },
    /// Pages are numbered.
    Number {
        /// The parameter that takes the number.
        query: String,
        /// The number of the first page.
        #[serde(default = "first_page")]
        first: u64,
        /// The parameter that takes the size of a page.
        #[serde(default)]
        size_query: Option<String>,
        /// The size of a page.
        #[serde(default)]
        size: Option<u64>,
        /// Where the answer tells how many records there are; without it tables of several pages are listed until two listings agree.
        #[serde(default)]
        total: Option<String>,
    },
    /// A `Link` header with `rel="next"`.
    Link,
    /// The answer holds the address of the next page.
    Url {
        /// Where.
        next: String,
    },
}

fn first_page() -> u64 {
    1
}

/// How only records are listed that changed of late.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Incremental {
    /// The field that grows with every change.
    pub field: String,
    /// The parameter of the listing that takes the value from which on records are wanted; it must give that value's own records too.
    pub query: String,
    /// The parameter's value; `{value}` is filled in.
    #[serde(default = "whole_value")]
    pub value: String,
    /// How a timestamp is written there.
    #[serde(default)]
    pub format: Format,
    /// How far behind a change the system's answer may come.
    #[serde(default = "overlap")]
    pub overlap_secs: u64,
    /// Parameters that put the newest record on the first page; without them the newest value is found by listing everything.
    #[serde(default)]
    pub newest: BTreeMap<String, String>,
}

fn whole_value() -> String {
    "{value}".to_owned()
}

fn overlap() -> u64 {
    60
}

/// How one record is read.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Get {
    /// The path; `{id}` and the like take the fields of the key.
    pub path: String,
    /// Parameters of the query.
    #[serde(default)]
    pub query: BTreeMap<String, String>,
    /// Where the record stands in the answer.
    #[serde(default)]
    pub record: String,
}

/// How records are found by a field.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LookUp {
    /// The field.
    pub by: String,
    /// The path; `{value}` takes the value.
    pub path: String,
    /// Parameters of the query; `{value}` takes the value.
    #[serde(default)]
    pub query: BTreeMap<String, String>,
    /// Where the list of records, or the one record, stands in the answer.
    #[serde(default)]
    pub records: String,
}

/// A call that writes.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Write {
    /// The method; `POST`, `PATCH` and `DELETE` for create, update and delete where absent.
    #[serde(default)]
    pub method: Option<String>,
    /// The path; `{id}` and the like take the fields of the key.
    pub path: String,
    /// Where the fields stand in the body, such as `data`.
    #[serde(default)]
    pub envelope: String,
    /// What else the body holds.
    #[serde(default)]
    pub body: BTreeMap<String, serde_json::Value>,
    /// Where the record stands in the answer.
    #[serde(default)]
    pub record: String,
    /// The header that takes an idempotency key.
    #[serde(default)]
    pub idempotency: Option<String>,
    /// Where a record that was read holds what `If-Match` takes; a record that changed in between is then a conflict.
    #[serde(default)]
    pub if_match: Option<String>,
    /// Whether a record can be created under an id that the caller chooses.
    #[serde(default)]
    pub takes_key: bool,
}

/// How the system calls.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// How a call is signed.
    pub signature: Signature,
    /// Where the list of events stands in the body; the body is one event where empty.
    #[serde(default)]
    pub events: String,
    /// Where an event names its kind.
    #[serde(default)]
    pub kind: Option<String>,
    /// The tables of the kinds; `*` stands for any other.
    pub tables: BTreeMap<String, String>,
    /// Where an event holds the fields of the key, in its order.
    pub key: Vec<String>,
}

/// How a call is signed.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// The secret that is the key.
    pub secret: String,
    /// The header that holds the signature.
    pub header: String,
    /// The name of the part of the header that is the signature, where it has parts (`t=…,v1=…`).
    #[serde(default)]
    pub part: Option<String>,
    /// What stands before the signature, such as `sha256=`.
    #[serde(default)]
    pub prefix: String,
    /// The hash.
    #[serde(default)]
    pub hash: Hash,
    /// How the signature is written.
    #[serde(default)]
    pub encoding: Encoding,
    /// What is signed; `{timestamp}`, `{body}`, `{method}` and `{url}` are filled in.
    #[serde(default = "whole_body")]
    pub signed: String,
    /// The header that holds the time of the call.
    #[serde(default)]
    pub timestamp_header: Option<String>,
    /// The name of the part of that header that is the time.
    #[serde(default)]
    pub timestamp_part: Option<String>,
    /// How that time is written.
    #[serde(default)]
    pub timestamp: Clock,
    /// How many seconds a call's time may be away from now.
    #[serde(default = "tolerance")]
    pub tolerance_secs: u64,
}

fn whole_body() -> String {
    "{body}".to_owned()
}

fn tolerance() -> u64 {
    300
}
