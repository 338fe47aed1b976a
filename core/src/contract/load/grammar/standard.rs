//! The blocks of ODCS 3.0 to 3.2 and their keys.
//!
//! A key that any of these versions knows is accepted in all of them: the version says which tools read the file, not what Lockstep makes of it.

use super::Form::{
    Any, Custom, Flag, Items, Many, Number, One, OneOrMany, References, Scalar, Text, TextOrMap,
    Texts, Whole, Word,
};
use super::{Block, ENTITY_KEYS, FIELD_KEYS, Form, NESTED_KEYS, RULE_KEYS, further};

/// The whole file.
pub(in crate::contract::load) static ROOT: Block = Block {
    name: "a contract",
    keys: &[
        ("apiVersion", Text),
        ("authoritativeDefinitions", Many(&LINK)),
        ("context", TextOrMap),
        ("contractCreatedTs", Text),
        ("customProperties", Custom),
        ("dataProduct", Text),
        ("description", One(&DESCRIPTION)),
        ("domain", Text),
        ("id", Text),
        ("kind", Text),
        ("name", Text),
        ("price", One(&PRICE)),
        ("roles", Many(&ROLE)),
        ("schema", Many(&OBJECT)),
        ("servers", Many(&SERVER)),
        ("slaDefaultElement", Text),
        ("slaProperties", Many(&SLA)),
        ("status", Text),
        ("support", Many(&SUPPORT)),
        ("tags", Texts),
        ("team", OneOrMany(&TEAM, &MEMBER)),
        ("tenant", Text),
        ("version", Text),
    ],
    required: &["version", "apiVersion", "kind", "id"],
    open: false,
    also: None,
    lockstep: ENTITY_KEYS,
};

static OBJECT: Block = Block {
    name: "a schema object",
    keys: &[
        ("authoritativeDefinitions", Many(&LINK)),
        ("businessName", Text),
        ("context", TextOrMap),
        ("customProperties", Custom),
        ("dataGranularityDescription", Text),
        ("deprecated", Flag),
        ("description", Text),
        ("id", Text),
        ("logicalType", Word(&["object", "blob"])),
        ("name", Text),
        ("physicalName", Text),
        ("physicalType", Text),
        ("properties", Many(&PROPERTY)),
        ("quality", Many(&QUALITY)),
        ("relationships", Many(&OBJECT_RELATIONSHIP)),
        ("synonyms", Items),
        ("tags", Texts),
    ],
    required: &["name"],
    open: false,
    also: None,
    lockstep: ENTITY_KEYS,
};

static PROPERTY_KEYS: [(&str, Form); 33] = [
    ("authoritativeDefinitions", Many(&LINK)),
    ("businessName", Text),
    ("classification", Text),
    ("criticalDataElement", Flag),
    ("customProperties", Custom),
    ("deprecated", Flag),
    ("description", Text),
    ("encryptedName", Text),
    ("enum", Many(&ALLOWED)),
    ("examples", Items),
    ("id", Text),
    ("items", One(&ITEM)),
    ("logicalType", Text),
    ("logicalTypeOptions", One(&OPTIONS)),
    ("map", One(&MAP)),
    ("name", Text),
    ("partitionKeyPosition", Whole),
    ("partitioned", Flag),
    ("physicalName", Text),
    ("physicalType", Text),
    ("primaryKey", Flag),
    ("primaryKeyPosition", Whole),
    ("properties", Many(&NESTED)),
    ("quality", Many(&QUALITY)),
    ("relationships", Many(&RELATIONSHIP)),
    ("required", Flag),
    ("semanticType", Word(&["column", "measure", "dimension"])),
    ("synonyms", Items),
    ("tags", Texts),
    ("transformDescription", Text),
    ("transformLogic", Text),
    ("transformSourceObjects", Texts),
    ("unique", Flag),
];

static PROPERTY: Block = Block {
    name: "a property",
    keys: &PROPERTY_KEYS,
    required: &["name"],
    open: false,
    also: None,
    lockstep: FIELD_KEYS,
};

/// A property below the first level: a member of a document.
static NESTED: Block = Block {
    name: "a nested property",
    keys: &PROPERTY_KEYS,
    required: &["name"],
    open: false,
    also: None,
    lockstep: NESTED_KEYS,
};

static ITEM: Block = Block {
    name: "the items of a list or map",
    keys: &PROPERTY_KEYS,
    required: &[],
    open: false,
    also: None,
    lockstep: NESTED_KEYS,
};

static MAP: Block = Block {
    name: "a map",
    keys: &[("key", One(&ITEM)), ("value", One(&ITEM))],
    required: &["key", "value"],
    open: false,
    also: None,
    lockstep: &[],
};

/// A server has further keys, which depend on its type and mean nothing to Lockstep.
static SERVER: Block = Block {
    name: "a server",
    keys: &[
        ("customProperties", Custom),
        ("description", Text),
        ("environment", Text),
        ("id", Text),
        ("roles", Many(&ROLE)),
        ("server", Text),
        ("type", Text),
    ],
    required: &["server", "type"],
    open: true,
    also: Some(further::server),
    lockstep: &[],
};

pub(super) static OPTIONS: Block = Block {
    name: "logicalTypeOptions",
    keys: &[
        ("defaultTimezone", Text),
        ("dimensions", Whole),
        ("distanceMetric", Text),
        ("elementType", Text),
        ("embeddingModel", Text),
        ("embeddingModelVersion", Text),
        ("exclusiveMaximum", Scalar),
        ("exclusiveMinimum", Scalar),
        ("format", Text),
        ("maxItems", Whole),
        ("maxLength", Whole),
        ("maxProperties", Whole),
        ("maximum", Scalar),
        ("minItems", Whole),
        ("minLength", Whole),
        ("minProperties", Whole),
        ("minimum", Scalar),
        ("multipleOf", Number),
        ("normalized", Flag),
        ("pattern", Text),
        ("required", Texts),
        ("timezone", Flag),
        ("uniqueItems", Flag),
    ],
    required: &[],
    open: false,
    also: None,
    lockstep: &[],
};

static ALLOWED: Block = Block {
    name: "an allowed value",
    keys: &[
        ("authoritativeDefinitions", Many(&LINK)),
        ("customProperties", Custom),
        ("description", Text),
        ("id", Text),
        ("label", Text),
        ("tags", Texts),
        ("value", Any),
    ],
    required: &["value"],
    open: false,
    also: None,
    lockstep: &[],
};

static QUALITY: Block = Block {
    name: "a quality check",
    keys: &[
        ("arguments", One(&FREE)),
        ("authoritativeDefinitions", Many(&LINK)),
        ("businessImpact", Text),
        ("customProperties", Custom),
        ("description", Text),
        (
            "dimension",
            Word(&[
                "accuracy",
                "completeness",
                "conformity",
                "consistency",
                "coverage",
                "timeliness",
                "uniqueness",
            ]),
        ),
        ("engine", Text),
        ("id", Text),
        ("implementation", TextOrMap),
        ("method", Text),
        ("metric", Text),
        ("mustBe", Any),
        ("mustBeBetween", Items),
        ("mustBeGreaterOrEqualTo", Number),
        ("mustBeGreaterThan", Number),
        ("mustBeLessOrEqualTo", Number),
        ("mustBeLessThan", Number),
        ("mustNotBe", Any),
        ("mustNotBeBetween", Items),
        ("name", Text),
        ("query", Text),
        ("rule", Text),
        ("schedule", Text),
        ("scheduler", Text),
        ("severity", Text),
        ("tags", Texts),
        ("type", Word(&["text", "library", "sql", "custom"])),
        ("unit", Text),
        ("validValues", Items),
    ],
    required: &[],
    open: false,
    also: Some(further::quality),
    lockstep: RULE_KEYS,
};

/// A mapping whose keys the standard leaves open.
static FREE: Block = Block {
    name: "the arguments",
    keys: &[],
    required: &[],
    open: true,
    also: None,
    lockstep: &[],
};

/// What a property refers to; the property itself is the other side.
static RELATIONSHIP: Block = Block {
    name: "a relationship of a property",
    keys: &[
        ("customProperties", Custom),
        ("id", Text),
        ("to", References),
        ("type", Word(&["foreignKey"])),
    ],
    required: &["to"],
    open: false,
    also: None,
    lockstep: RULE_KEYS,
};

static OBJECT_RELATIONSHIP: Block = Block {
    name: "a relationship of an object",
    keys: &[
        ("customProperties", Custom),
        ("from", References),
        ("id", Text),
        ("to", References),
        ("type", Word(&["foreignKey"])),
    ],
    required: &["from", "to"],
    open: false,
    also: Some(further::relationship),
    lockstep: &[],
};

static LINK: Block = Block {
    name: "an authoritative definition",
    keys: &[
        ("description", Text),
        ("id", Text),
        ("type", Text),
        ("url", Text),
    ],
    required: &["url", "type"],
    open: false,
    also: None,
    lockstep: &[],
};

static DESCRIPTION: Block = Block {
    name: "the description",
    keys: &[
        ("authoritativeDefinitions", Many(&LINK)),
        ("customProperties", Custom),
        ("limitations", Text),
        ("purpose", Text),
        ("usage", Text),
    ],
    required: &[],
    open: true,
    also: None,
    lockstep: &[],
};

static PRICE: Block = Block {
    name: "the price",
    keys: &[
        ("id", Text),
        ("priceAmount", Number),
        ("priceCurrency", Text),
        ("priceUnit", Text),
    ],
    required: &[],
    open: false,
    also: None,
    lockstep: &[],
};

static ROLE: Block = Block {
    name: "a role",
    keys: &[
        ("access", Text),
        ("customProperties", Custom),
        ("description", Text),
        ("firstLevelApprovers", Text),
        ("id", Text),
        ("role", Text),
        ("secondLevelApprovers", Text),
    ],
    required: &["role"],
    open: false,
    also: None,
    lockstep: &[],
};

static SLA: Block = Block {
    name: "a service level",
    keys: &[
        ("authoritativeDefinitions", Many(&LINK)),
        ("customProperties", Custom),
        ("description", Text),
        ("driver", Text),
        ("element", Text),
        ("id", Text),
        ("property", Text),
        ("schedule", Text),
        ("scheduler", Text),
        ("unit", Text),
        ("value", Scalar),
        ("valueExt", Scalar),
    ],
    required: &["property", "value"],
    open: false,
    also: None,
    lockstep: &[],
};

static SUPPORT: Block = Block {
    name: "a support channel",
    keys: &[
        ("channel", Text),
        ("customProperties", Custom),
        ("description", Text),
        ("id", Text),
        ("invitationUrl", Text),
        ("scope", Text),
        ("tool", Text),
        ("url", Text),
    ],
    required: &["channel"],
    open: false,
    also: None,
    lockstep: &[],
};

static TEAM: Block = Block {
    name: "the team",
    keys: &[
        ("authoritativeDefinitions", Many(&LINK)),
        ("customProperties", Custom),
        ("description", Text),
        ("id", Text),
        ("members", Many(&MEMBER)),
        ("name", Text),
        ("tags", Texts),
    ],
    required: &[],
    open: false,
    also: None,
    lockstep: &[],
};

static MEMBER: Block = Block {
    name: "a team member",
    keys: &[
        ("authoritativeDefinitions", Many(&LINK)),
        ("customProperties", Custom),
        ("dateIn", Text),
        ("dateOut", Text),
        ("description", Text),
        ("id", Text),
        ("name", Text),
        ("replacedByUsername", Text),
        ("role", Text),
        ("tags", Texts),
        ("username", Text),
    ],
    required: &["username"],
    open: false,
    also: None,
    lockstep: &[],
};

pub(super) static CUSTOM: Block = Block {
    name: "a custom property",
    keys: &[
        ("description", Text),
        ("id", Text),
        ("property", Text),
        ("value", Any),
        ("vendor", Text),
    ],
    required: &["property", "value"],
    open: false,
    also: None,
    lockstep: &[],
};
