//! The blocks of ODCS 3.0 to 3.2 and their keys.
//!
//! A key that any of these versions knows is accepted in all of them: the version says which tools read the file, not what Lockstep makes of it.

use super::Form::{Any, Custom, Flag, Many, One, OneOrMany, Text, Texts, Whole};
use super::{Block, ENTITY_KEYS, FIELD_KEYS, Form};

/// The whole file.
pub(in crate::contract::load) static ROOT: Block = Block {
    name: "a contract",
    keys: &[
        ("apiVersion", Text),
        ("authoritativeDefinitions", Many(&LINK)),
        ("context", Any),
        ("contractCreatedTs", Any),
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
        ("servers", Any),
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
    lockstep: ENTITY_KEYS,
};

static OBJECT: Block = Block {
    name: "a schema object",
    keys: &[
        ("authoritativeDefinitions", Many(&LINK)),
        ("businessName", Text),
        ("context", Any),
        ("customProperties", Custom),
        ("dataGranularityDescription", Text),
        ("deprecated", Any),
        ("description", Text),
        ("id", Text),
        ("logicalType", Text),
        ("name", Text),
        ("physicalName", Text),
        ("physicalType", Text),
        ("properties", Many(&PROPERTY)),
        ("quality", Many(&QUALITY)),
        ("relationships", Many(&RELATIONSHIP)),
        ("synonyms", Any),
        ("tags", Texts),
    ],
    required: &["name"],
    lockstep: ENTITY_KEYS,
};

static PROPERTY_KEYS: [(&str, Form); 34] = [
    ("authoritativeDefinitions", Many(&LINK)),
    ("businessName", Text),
    ("classification", Text),
    ("criticalDataElement", Flag),
    ("customProperties", Custom),
    ("deprecated", Any),
    ("description", Text),
    ("encryptedName", Text),
    ("enum", Many(&ALLOWED)),
    ("examples", Any),
    ("id", Text),
    ("items", One(&ITEM)),
    ("keys", Any),
    ("logicalType", Text),
    ("logicalTypeOptions", One(&OPTIONS)),
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
    ("semanticType", Any),
    ("synonyms", Any),
    ("tags", Texts),
    ("transformDescription", Text),
    ("transformLogic", Text),
    ("transformSourceObjects", Texts),
    ("unique", Flag),
    ("values", Any),
];

static PROPERTY: Block = Block {
    name: "a property",
    keys: &PROPERTY_KEYS,
    required: &["name"],
    lockstep: FIELD_KEYS,
};

/// Below the first level the value is one JSON document, of which Lockstep judges nothing.
static NESTED: Block = Block {
    name: "a nested property",
    keys: &PROPERTY_KEYS,
    required: &["name"],
    lockstep: &[],
};

static ITEM: Block = Block {
    name: "the items of an array",
    keys: &PROPERTY_KEYS,
    required: &[],
    lockstep: &[],
};

pub(super) static OPTIONS: Block = Block {
    name: "logicalTypeOptions",
    keys: &[
        ("defaultTimezone", Text),
        ("dimensions", Any),
        ("distanceMetric", Any),
        ("elementType", Any),
        ("embeddingModel", Any),
        ("embeddingModelVersion", Any),
        ("exclusiveMaximum", Any),
        ("exclusiveMinimum", Any),
        ("format", Text),
        ("maxItems", Whole),
        ("maxLength", Whole),
        ("maxProperties", Whole),
        ("maximum", Any),
        ("minItems", Whole),
        ("minLength", Whole),
        ("minProperties", Whole),
        ("minimum", Any),
        ("multipleOf", Any),
        ("normalized", Any),
        ("pattern", Text),
        ("required", Texts),
        ("timezone", Flag),
        ("uniqueItems", Flag),
    ],
    required: &[],
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
    lockstep: &[],
};

static QUALITY: Block = Block {
    name: "a quality check",
    keys: &[
        ("arguments", Any),
        ("authoritativeDefinitions", Many(&LINK)),
        ("businessImpact", Text),
        ("customProperties", Custom),
        ("description", Text),
        ("dimension", Text),
        ("engine", Text),
        ("id", Text),
        ("implementation", Any),
        ("method", Text),
        ("metric", Text),
        ("mustBe", Any),
        ("mustBeBetween", Any),
        ("mustBeGreaterOrEqualTo", Any),
        ("mustBeGreaterThan", Any),
        ("mustBeLessOrEqualTo", Any),
        ("mustBeLessThan", Any),
        ("mustNotBe", Any),
        ("mustNotBeBetween", Any),
        ("name", Text),
        ("query", Text),
        ("rule", Text),
        ("schedule", Text),
        ("scheduler", Text),
        ("severity", Text),
        ("tags", Texts),
        ("type", Text),
        ("unit", Text),
        ("validValues", Any),
    ],
    required: &[],
    lockstep: &[],
};

static RELATIONSHIP: Block = Block {
    name: "a relationship",
    keys: &[
        ("customProperties", Custom),
        ("from", Any),
        ("id", Text),
        ("to", Any),
        ("type", Text),
    ],
    required: &["to"],
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
    lockstep: &[],
};

static PRICE: Block = Block {
    name: "the price",
    keys: &[
        ("id", Text),
        ("priceAmount", Any),
        ("priceCurrency", Text),
        ("priceUnit", Text),
    ],
    required: &[],
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
        ("value", Any),
        ("valueExt", Any),
    ],
    required: &["property", "value"],
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
    lockstep: &[],
};
