//! What differs in the values of a field, one difference at a time.
//!
//! Each difference can be made alone, so that its own effect is decided apart from what else changed.

use serde_json::{Map, Value as Json, json};

use crate::contract::wire::to_json;
use crate::contract::{Allowed, Field, Format, Inner, Limits};
use crate::value::{Type, Value};

/// Makes a part of the first field as it is in the second.
pub(super) type Apply = Box<dyn Fn(&mut Field, &Field)>;

/// One difference between the values of two fields.
pub(super) struct Change {
    /// The rule it falls under; for a type, which one depends on the verdict.
    pub(super) rule: &'static str,
    /// The part of the field, such as `limits/maxLength`.
    pub(super) part: &'static str,
    /// What changed, in words that follow the field's name.
    pub(super) message: String,
    /// The part before.
    pub(super) old: Json,
    /// The part after.
    pub(super) new: Json,
    /// Makes the part of the first field as it is in the second.
    pub(super) apply: Apply,
    /// Whether it deserves a look even where nothing breaks.
    pub(super) doubtful: bool,
}

/// The rule of a change of type before its verdict is known.
pub(super) const TYPE: &str = "LSC-TYPE-CHANGED";

/// Every difference in the values that two fields take, except in what stands inside documents of one shape.
pub(super) fn changes(old: &Field, new: &Field) -> Vec<Change> {
    let mut found = Vec::new();
    nullable(old, new, &mut found);
    let kinds = (old.kind, new.kind);
    let decimals = matches!(kinds, (Type::Decimal { .. }, Type::Decimal { .. }));
    if (old.kind != new.kind && !decimals) || shape_name(old) != shape_name(new) {
        found.push(Change {
            rule: TYPE,
            part: "type",
            message: format!("the type changed from {} to {}", named(old), named(new)),
            old: values(old),
            new: values(new),
            apply: Box::new(|field, other| {
                *field = Field {
                    name: field.name.clone(),
                    nullable: field.nullable,
                    ..other.clone()
                };
            }),
            doubtful: false,
        });
        return found;
    }
    decimal(old, new, &mut found);
    limits(old, new, &mut found);
    format(old, new, &mut found);
    allowed(old, new, &mut found);
    inner(old, new, &mut found);
    found
}

fn nullable(old: &Field, new: &Field, found: &mut Vec<Change>) {
    if old.nullable != new.nullable {
        let (rule, message) = if new.nullable {
            ("LSC-NULL-ALLOWED", "null is allowed now")
        } else {
            ("LSC-NULL-FORBIDDEN", "null is no longer allowed")
        };
        found.push(Change {
            rule,
            part: "nullable",
            message: message.to_owned(),
            old: old.nullable.into(),
            new: new.nullable.into(),
            apply: Box::new(|field, other| field.nullable = other.nullable),
            doubtful: false,
        });
    }
}

fn decimal(old: &Field, new: &Field, found: &mut Vec<Change>) {
    if old.kind == new.kind {
        return;
    }
    let scale = |field: &Field| match field.kind {
        Type::Decimal { scale, .. } => scale,
        _ => None,
    };
    found.push(Change {
        rule: if scale(old) == scale(new) {
            "LSC-DECIMAL-PRECISION"
        } else {
            "LSC-DECIMAL-SCALE"
        },
        part: "type",
        message: format!("the type changed from {} to {}", old.kind, new.kind),
        old: old.kind.to_string().into(),
        new: new.kind.to_string().into(),
        apply: Box::new(|field, other| field.kind = other.kind),
        doubtful: false,
    });
}

/// A limit that is a number of something.
struct Count {
    rule: &'static str,
    part: &'static str,
    name: &'static str,
    slot: fn(&mut Field) -> Option<&mut Option<u64>>,
}

const COUNTS: &[Count] = &[
    Count {
        rule: "LSC-MIN-LENGTH",
        part: "limits/minLength",
        name: "the least length",
        slot: |field| Some(&mut field.limits.min_length),
    },
    Count {
        rule: "LSC-MAX-LENGTH",
        part: "limits/maxLength",
        name: "the greatest length",
        slot: |field| Some(&mut field.limits.max_length),
    },
    Count {
        rule: "LSC-MIN-ITEMS",
        part: "limits/minItems",
        name: "the least number of items",
        slot: |field| match &mut field.inner {
            Some(Inner::List { least, .. }) => Some(least),
            _ => None,
        },
    },
    Count {
        rule: "LSC-MAX-ITEMS",
        part: "limits/maxItems",
        name: "the greatest number of items",
        slot: |field| match &mut field.inner {
            Some(Inner::List { most, .. }) => Some(most),
            _ => None,
        },
    },
    Count {
        rule: "LSC-MIN-PROPERTIES",
        part: "limits/minProperties",
        name: "the least number of entries",
        slot: |field| match &mut field.inner {
            Some(Inner::Map { least, .. }) => Some(least),
            _ => None,
        },
    },
    Count {
        rule: "LSC-MAX-PROPERTIES",
        part: "limits/maxProperties",
        name: "the greatest number of entries",
        slot: |field| match &mut field.inner {
            Some(Inner::Map { most, .. }) => Some(most),
            _ => None,
        },
    },
];

fn limits(old: &Field, new: &Field, found: &mut Vec<Change>) {
    for count in COUNTS {
        let read = |field: &Field| (count.slot)(&mut field.clone()).and_then(|slot| *slot);
        let (before, after) = (read(old), read(new));
        if before == after {
            continue;
        }
        let slot = count.slot;
        found.push(Change {
            rule: count.rule,
            part: count.part,
            message: format!("{} {}", count.name, moved(before.as_ref(), after.as_ref())),
            old: before.into(),
            new: after.into(),
            apply: Box::new(move |field, other| {
                let value = slot(&mut other.clone()).and_then(|slot| *slot);
                if let Some(slot) = slot(field) {
                    *slot = value;
                }
            }),
            doubtful: false,
        });
    }
    let (a, b) = (&old.limits, &new.limits);
    bound(old, new, &MINIMUM, found);
    bound(old, new, &MAXIMUM, found);
    if a.multiple_of != b.multiple_of {
        found.push(Change {
            rule: "LSC-MULTIPLE-OF",
            part: "limits/multipleOf",
            message: format!(
                "the step {}",
                moved(a.multiple_of.as_ref(), b.multiple_of.as_ref())
            ),
            old: json_of(a.multiple_of.as_ref()),
            new: json_of(b.multiple_of.as_ref()),
            apply: Box::new(|field, other| {
                field
                    .limits
                    .multiple_of
                    .clone_from(&other.limits.multiple_of);
            }),
            doubtful: false,
        });
    }
    if a.pattern != b.pattern {
        let quoted = |limits: &Limits| limits.pattern.as_ref().map(|text| format!("`{text}`"));
        found.push(Change {
            rule: "LSC-PATTERN",
            part: "limits/pattern",
            message: format!(
                "the pattern {}",
                moved(quoted(a).as_ref(), quoted(b).as_ref())
            ),
            old: a.pattern.clone().into(),
            new: b.pattern.clone().into(),
            apply: Box::new(|field, other| field.limits.pattern.clone_from(&other.limits.pattern)),
            doubtful: false,
        });
    }
}

fn format(old: &Field, new: &Field, found: &mut Vec<Change>) {
    let name = |field: &Field| field.limits.format.map(Format::name);
    let (before, after) = (name(old), name(new));
    if before != after {
        found.push(Change {
            rule: "LSC-FORMAT",
            part: "limits/format",
            message: format!("the form {}", moved(before.as_ref(), after.as_ref())),
            old: before.into(),
            new: after.into(),
            apply: Box::new(|field, other| field.limits.format = other.limits.format),
            doubtful: false,
        });
    }
}

/// One end of a field's range.
struct End {
    rule: &'static str,
    exclusive_rule: &'static str,
    part: &'static str,
    name: &'static str,
    /// What a whole number moves by when the end itself is excluded.
    inward: i64,
    read: fn(&Limits) -> (Option<&Value>, bool),
    copy: fn(&mut Limits, &Limits),
}

const MINIMUM: End = End {
    rule: "LSC-MINIMUM",
    exclusive_rule: "LSC-EXCLUSIVE-MINIMUM",
    part: "limits/minimum",
    name: "the least value",
    inward: 1,
    read: |limits| (limits.minimum.as_ref(), limits.exclusive_minimum),
    copy: |limits, other| {
        limits.minimum.clone_from(&other.minimum);
        limits.exclusive_minimum = other.exclusive_minimum;
    },
};
const MAXIMUM: End = End {
    rule: "LSC-MAXIMUM",
    exclusive_rule: "LSC-EXCLUSIVE-MAXIMUM",
    part: "limits/maximum",
    name: "the greatest value",
    inward: -1,
    read: |limits| (limits.maximum.as_ref(), limits.exclusive_maximum),
    copy: |limits, other| {
        limits.maximum.clone_from(&other.maximum);
        limits.exclusive_maximum = other.exclusive_maximum;
    },
};

fn bound(old: &Field, new: &Field, end: &End, found: &mut Vec<Change>) {
    // On whole numbers an excluded end is the same as its neighbour included.
    let normal = |field: &Field| match (end.read)(&field.limits) {
        (Some(Value::Int(at)), true) => (Some(Value::Int(at.saturating_add(end.inward))), false),
        (None, _) => (None, false),
        (at, exclusive) => (at.cloned(), exclusive),
    };
    let (before, after) = (normal(old), normal(new));
    if before == after {
        return;
    }
    let ((a, a_out), (b, b_out)) = ((end.read)(&old.limits), (end.read)(&new.limits));
    let only_exclusive = a == b && a.is_some();
    let copy = end.copy;
    let part = |at: Option<&Value>, exclusive: bool| match at {
        Some(at) if exclusive => json!({ "value": to_json(at), "exclusive": true }),
        at => json_of(at),
    };
    let excluded = if b_out { "excluded" } else { "included" };
    found.push(Change {
        rule: if only_exclusive {
            end.exclusive_rule
        } else {
            end.rule
        },
        part: end.part,
        message: if only_exclusive {
            format!("{} itself is {excluded} now", end.name)
        } else {
            format!("{} {}", end.name, moved(a, b))
        },
        old: part(a, a_out),
        new: part(b, b_out),
        apply: Box::new(move |field, other| copy(&mut field.limits, &other.limits)),
        doubtful: false,
    });
}

fn allowed(old: &Field, new: &Field, found: &mut Vec<Change>) {
    let list = |values: &[Value]| Json::Array(values.iter().map(to_json).collect());
    let whole = |allowed: &Option<Allowed>| match allowed {
        Some(allowed) => list(&allowed.values),
        None => Json::Null,
    };
    let mut push = |rule, part, message: String, old, new, doubtful, apply| {
        found.push(Change {
            rule,
            part,
            message,
            old,
            new,
            apply,
            doubtful,
        });
    };
    let all: Apply = Box::new(|field, other| field.allowed.clone_from(&other.allowed));
    let (a, b) = match (&old.allowed, &new.allowed) {
        (None, None) => return,
        (Some(a), Some(b)) => (a, b),
        (a, b) => {
            let (rule, message) = if b.is_some() {
                ("LSC-ENUM-ADDED", "its values are listed now")
            } else {
                ("LSC-ENUM-REMOVED", "its values are no longer listed")
            };
            push(
                rule,
                "allowed",
                message.to_owned(),
                whole(a),
                whole(b),
                false,
                all,
            );
            return;
        }
    };
    if let ([one], [other]) = (&a.values[..], &b.values[..])
        && one != other
    {
        let message = format!("its one value changed from {one} to {other}");
        push(
            "LSC-CONST",
            "allowed",
            message,
            whole(&old.allowed),
            whole(&new.allowed),
            false,
            all,
        );
    } else {
        let only = |mine: &Allowed, theirs: &Allowed| -> Vec<Value> {
            let gone = mine
                .values
                .iter()
                .filter(|value| !theirs.values.contains(value));
            gone.cloned().collect()
        };
        for (rule, what, values, doubtful) in [
            ("LSC-ENUM-VALUE-ADDED", "may be", only(b, a), false),
            (
                "LSC-ENUM-VALUE-REMOVED",
                "may no longer be",
                only(a, b),
                b.fallback.is_some(),
            ),
        ] {
            if values.is_empty() {
                continue;
            }
            let names: Vec<String> = values.iter().map(|value| format!("`{value}`")).collect();
            let message = format!("it {what} {}", names.join(", "));
            let shown = list(&values);
            let (before, after) = if rule == "LSC-ENUM-VALUE-ADDED" {
                (Json::Null, shown)
            } else {
                (shown, Json::Null)
            };
            let apply: Apply = Box::new(move |field, other| {
                let (Some(mine), Some(theirs)) = (&mut field.allowed, &other.allowed) else {
                    return;
                };
                mine.values.retain(|value| !values.contains(value));
                let back = values.iter().filter(|value| theirs.values.contains(value));
                mine.values.extend(back.cloned());
            });
            push(rule, "allowed", message, before, after, doubtful, apply);
        }
    }
    if a.open != b.open {
        let (rule, message) = if b.open {
            ("LSC-ENUM-OPENED", "readers must expect further values now")
        } else {
            (
                "LSC-ENUM-CLOSED",
                "readers need no longer expect further values",
            )
        };
        let apply: Apply = Box::new(|field, other| {
            if let (Some(mine), Some(theirs)) = (&mut field.allowed, &other.allowed) {
                mine.open = theirs.open;
            }
        });
        push(
            rule,
            "allowed",
            message.to_owned(),
            a.open.into(),
            b.open.into(),
            false,
            apply,
        );
    }
    if a.fallback != b.fallback {
        let message = format!(
            "the value that stands for unknown ones {}",
            moved(a.fallback.as_ref(), b.fallback.as_ref())
        );
        let apply: Apply = Box::new(|field, other| {
            if let (Some(mine), Some(theirs)) = (&mut field.allowed, &other.allowed) {
                mine.fallback.clone_from(&theirs.fallback);
            }
        });
        let (before, after) = (json_of(a.fallback.as_ref()), json_of(b.fallback.as_ref()));
        push(
            "LSC-ENUM-FALLBACK",
            "allowed",
            message,
            before,
            after,
            true,
            apply,
        );
    }
}

fn inner(old: &Field, new: &Field, found: &mut Vec<Change>) {
    if let (Some(Inner::List { unique: a, .. }), Some(Inner::List { unique: b, .. })) =
        (&old.inner, &new.inner)
        && a != b
    {
        found.push(Change {
            rule: "LSC-UNIQUE-ITEMS",
            part: "limits/uniqueItems",
            message: if *b {
                "no two items may be equal now".to_owned()
            } else {
                "items may be equal now".to_owned()
            },
            old: (*a).into(),
            new: (*b).into(),
            apply: Box::new(|field, other| {
                if let (Some(Inner::List { unique: mine, .. }), Some(Inner::List { unique, .. })) =
                    (&mut field.inner, &other.inner)
                {
                    *mine = *unique;
                }
            }),
            doubtful: false,
        });
    }
}

/// Everything that decides which values a field takes, as JSON: what findings show and fingerprints are made of.
pub(super) fn values(field: &Field) -> Json {
    let mut all = Map::new();
    let mut put = |name: &str, value: Json| {
        if !value.is_null() {
            all.insert(name.to_owned(), value);
        }
    };
    let limits = &field.limits;
    put("type", named(field).into());
    put("required", field.required.into());
    put("nullable", field.nullable.into());
    put("minLength", limits.min_length.into());
    put("maxLength", limits.max_length.into());
    put("pattern", limits.pattern.clone().into());
    put("format", limits.format.map(Format::name).into());
    put("minimum", json_of(limits.minimum.as_ref()));
    put("maximum", json_of(limits.maximum.as_ref()));
    if limits.exclusive_minimum {
        put("exclusiveMinimum", true.into());
    }
    if limits.exclusive_maximum {
        put("exclusiveMaximum", true.into());
    }
    put("multipleOf", json_of(limits.multiple_of.as_ref()));
    put("default", json_of(field.default.as_ref()));
    if let Some(allowed) = &field.allowed {
        put("allowed", allowed.values.iter().map(to_json).collect());
        if allowed.open {
            put("open", true.into());
        }
        put("fallback", json_of(allowed.fallback.as_ref()));
    }
    let members = |fields: &[Field]| {
        let members = fields
            .iter()
            .map(|field| (field.name.clone(), values(field)));
        Json::Object(members.collect())
    };
    match &field.inner {
        None => {}
        Some(Inner::Object { fields, .. }) => put("fields", members(fields)),
        Some(Inner::List {
            items,
            least,
            most,
            unique,
        }) => {
            put("items", values(items));
            put("minItems", (*least).into());
            put("maxItems", (*most).into());
            if *unique {
                put("uniqueItems", true.into());
            }
        }
        Some(Inner::Map {
            values: each,
            least,
            most,
        }) => {
            put("values", values(each));
            put("minProperties", (*least).into());
            put("maxProperties", (*most).into());
        }
    }
    Json::Object(all)
}

/// The type in words, with the shape of documents.
pub(super) fn named(field: &Field) -> String {
    match shape_name(field) {
        Some(shape) => shape.to_owned(),
        None => field.kind.to_string(),
    }
}

fn shape_name(field: &Field) -> Option<&'static str> {
    match &field.inner {
        None => None,
        Some(Inner::Object { .. }) => Some("object"),
        Some(Inner::List { .. }) => Some("list"),
        Some(Inner::Map { .. }) => Some("map"),
    }
}

/// How something that may be absent changed, in words.
pub(super) fn moved<T: std::fmt::Display>(before: Option<&T>, after: Option<&T>) -> String {
    match (before, after) {
        (Some(before), Some(after)) => format!("changed from {before} to {after}"),
        (None, Some(after)) => format!("{after} is new"),
        (Some(before), None) => format!("{before} is gone"),
        (None, None) => "did not change".to_owned(),
    }
}

pub(super) fn json_of(value: Option<&Value>) -> Json {
    value.map_or(Json::Null, to_json)
}
