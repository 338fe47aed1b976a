//! The bounds of a property: its `logicalTypeOptions`.

use std::cmp::Ordering;

use crate::contract::check::compare;
use crate::contract::load::findings::Findings;
use crate::contract::load::grammar::is_option;
use crate::contract::load::reading::Reading;
use crate::contract::load::values::value;
use crate::contract::load::words::FORMATS;
use crate::contract::load::yaml::{Content, Node};
use crate::contract::{Limits, pattern};
use crate::diagnostic::a;
use crate::value::{Type, Value};

/// Reads the options that fit the type and refuses the others; those of documents say what stands inside and are read with it.
pub(super) fn limits(node: &Node, kind: Type, pointer: &str, reading: &mut Reading<'_>) -> Limits {
    let mut limits = Limits::default();
    let Some(options) = node.get("logicalTypeOptions") else {
        return limits;
    };
    // A format narrows what the bounds leave, so it comes last.
    let (formats, others): (Vec<_>, Vec<_>) = options
        .entries()
        .iter()
        .filter(|entry| !matches!(entry.value.content, Content::Null))
        .partition(|entry| entry.key == "format");
    for entry in others.into_iter().chain(formats) {
        reading.mark(format!("{pointer}/limits/{}", entry.key), entry.value.at);
        if kind != Type::Json {
            let findings = &mut reading.findings;
            option(&entry.key, &entry.value, kind, &mut limits, findings);
        }
    }
    crossing(options, &limits, &mut reading.findings);
    limits
}

fn option(key: &str, node: &Node, kind: Type, limits: &mut Limits, findings: &mut Findings) {
    let ordered = matches!(
        kind,
        Type::Int | Type::Decimal { .. } | Type::Float | Type::Date | Type::Time | Type::Timestamp
    );
    match key {
        "minLength" | "maxLength" if matches!(kind, Type::Text | Type::Bytes) => {
            let length = length(key, node, findings);
            if key == "minLength" {
                limits.min_length = length;
            } else {
                limits.max_length = length;
            }
        }
        "pattern" if kind == Type::Text => limits.pattern = pattern_of(node, findings),
        "minimum" | "exclusiveMinimum" if ordered => {
            let exclusive = key == "exclusiveMinimum";
            if let Some(bound) = bound(node, kind, limits.minimum.is_some(), findings) {
                limits.minimum = Some(bound);
                limits.exclusive_minimum = exclusive;
            }
        }
        "maximum" | "exclusiveMaximum" if ordered => {
            let exclusive = key == "exclusiveMaximum";
            if let Some(bound) = bound(node, kind, limits.maximum.is_some(), findings) {
                limits.maximum = Some(bound);
                limits.exclusive_maximum = exclusive;
            }
        }
        "multipleOf" if kind == Type::Int => match value(kind, node) {
            Ok(Value::Int(step)) if step > 0 => limits.multiple_of = Some(Value::Int(step)),
            _ => findings.needed(
                "LS-C022",
                node.at,
                format!("{} is not a whole number above 0", node.describe()),
                "write a whole number above 0",
            ),
        },
        "format" | "timezone" | "defaultTimezone" => {
            documentation(key, node, kind, limits, findings);
        }
        _ if is_option(key) => unfit(key, node, kind, findings),
        _ => {}
    }
}

/// Refuses an option; what the standard has it for, only Lockstep cannot check.
pub(super) fn unfit(key: &str, node: &Node, kind: Type, findings: &mut Findings) {
    let fitting = match kind {
        Type::Text => "minLength, maxLength, pattern",
        Type::Bytes => "minLength, maxLength",
        Type::Int => "minimum, maximum, exclusiveMinimum, exclusiveMaximum, multipleOf",
        Type::Bool | Type::Uuid | Type::Json => "none",
        _ => "minimum, maximum, exclusiveMinimum, exclusiveMaximum",
    };
    let standard = match kind {
        Type::Decimal { .. } | Type::Float => key == "multipleOf",
        Type::Uuid | Type::Bytes => matches!(key, "minLength" | "maxLength" | "pattern"),
        Type::Json => matches!(key, "minProperties" | "maxProperties"),
        _ => false,
    };
    let report = if standard {
        Findings::needed
    } else {
        Findings::error
    };
    report(
        findings,
        "LS-C019",
        node.at,
        format!("`{key}` cannot be checked on the type {kind}"),
        format!("options of {kind}: {fitting}"),
    );
}

/// Integer formats are bounds and some formats of texts are checked; all others only tell readers something.
fn documentation(key: &str, node: &Node, kind: Type, limits: &mut Limits, findings: &mut Findings) {
    if kind == Type::Int && key == "format" {
        let bounds = match node.text() {
            Some("i8") => Some((i8::MIN.into(), i8::MAX.into())),
            Some("i16") => Some((i16::MIN.into(), i16::MAX.into())),
            Some("i32") => Some((i32::MIN.into(), i32::MAX.into())),
            Some("i64") => Some((i64::MIN, i64::MAX)),
            Some("u8") => Some((0, u8::MAX.into())),
            Some("u16") => Some((0, u16::MAX.into())),
            Some("u32") => Some((0, u32::MAX.into())),
            _ => None,
        };
        match bounds {
            Some((least, greatest)) => narrow(limits, least, greatest),
            None => findings.needed(
                "LS-C019",
                node.at,
                format!("integers have at most 64 bits with a sign, not {}", node.describe()),
                "use i8, i16, i32, i64, u8, u16 or u32, or `logicalType: number` with `physicalType: decimal(20,0)`",
            ),
        }
        return;
    }
    if kind == Type::Text && key == "format" {
        let written = node.text().unwrap_or_default();
        if let Some((_, format)) = FORMATS.iter().find(|(word, _)| *word == written) {
            limits.format = Some(*format);
            return;
        }
    }
    findings.warning(
        "LS-C035",
        node.at,
        format!("the {key} {} is not checked", node.describe()),
        match kind {
            Type::Text => {
                "write it as a `pattern`; the formats email, hostname, ipv4, ipv6 and uri are checked"
            }
            Type::Date | Type::Time | Type::Timestamp => {
                "dates and times have one form in events: ISO 8601, timestamps in UTC"
            }
            _ => "the type alone says what is checked",
        },
    );
}

/// Keeps of the bounds what lies inside a format's.
fn narrow(limits: &mut Limits, least: i64, greatest: i64) {
    if !matches!(limits.minimum, Some(Value::Int(stated)) if stated >= least) {
        limits.minimum = Some(Value::Int(least));
        limits.exclusive_minimum = false;
    }
    if !matches!(limits.maximum, Some(Value::Int(stated)) if stated <= greatest) {
        limits.maximum = Some(Value::Int(greatest));
        limits.exclusive_maximum = false;
    }
}

pub(super) fn length(key: &str, node: &Node, findings: &mut Findings) -> Option<u64> {
    // What is no whole number at all was reported with the grammar.
    let length = node.integer()?;
    let read = u64::try_from(length).ok();
    if read.is_none() {
        findings.error(
            "LS-C022",
            node.at,
            format!("`{key}` cannot be {length}"),
            "write 0 or more",
        );
    }
    read
}

fn pattern_of(node: &Node, findings: &mut Findings) -> Option<String> {
    let text = node.text()?;
    if !findings.spend(cost(text)) {
        findings.error(
            "LS-C020",
            node.at,
            "the patterns of the contract are too large together",
            "use fewer or shorter patterns; a repetition counts as often as it may occur",
        );
        return None;
    }
    match pattern::compile(text) {
        Ok(_) => Some(text.to_owned()),
        Err(why) => {
            findings.needed(
                "LS-C020",
                node.at,
                format!("the pattern {} cannot be used: {why}", node.describe()),
                "use literals, classes, `\\d \\w \\s`, groups `(…)` and `(?:…)`, `|`, `^ $` and repetition",
            );
            None
        }
    }
}

/// What compiling a pattern costs, roughly: its length times its repetitions.
fn cost(pattern: &str) -> u64 {
    let numbers = pattern
        .split(['{', ',', '}'])
        .filter_map(|part| part.parse::<u64>().ok());
    numbers.fold(pattern.len() as u64, |cost, times| {
        cost.saturating_mul(times.max(1))
    })
}

fn bound(node: &Node, kind: Type, taken: bool, findings: &mut Findings) -> Option<Value> {
    if taken {
        findings.error(
            "LS-C021",
            node.at,
            "the bound is given both inclusive and exclusive",
            "keep one of them",
        );
        return None;
    }
    match value(kind, node) {
        Ok(bound) => Some(bound),
        Err(expected) => {
            // The standard knows the kind of a bound, and Lockstep alone its exact form.
            let fits = match kind {
                Type::Date | Type::Time | Type::Timestamp => node.text().is_some(),
                _ => matches!(node.content, Content::Number(_)),
            };
            let report = if fits {
                Findings::needed
            } else {
                Findings::error
            };
            report(
                findings,
                "LS-C022",
                node.at,
                format!("{} is not {expected}", node.describe()),
                format!("a bound must be {} value", a(&kind.to_string())),
            );
            None
        }
    }
}

fn crossing(options: &Node, limits: &Limits, findings: &mut Findings) {
    let at = |keys: [&str; 2]| {
        keys.iter()
            .find_map(|key| options.get(key))
            .map_or(options.at, |node| node.at)
    };
    if let (Some(least), Some(most)) = (limits.min_length, limits.max_length)
        && least > most
    {
        findings.error(
            "LS-C021",
            at(["minLength", "maxLength"]),
            format!("`minLength` {least} is above `maxLength` {most}"),
            "mend one of them",
        );
    }
    if let (Some(least), Some(most)) = (&limits.minimum, &limits.maximum) {
        let exclusive = limits.exclusive_minimum || limits.exclusive_maximum;
        let empty = match compare(least, most) {
            Some(Ordering::Greater) => true,
            Some(Ordering::Equal) => exclusive,
            _ => false,
        };
        if empty {
            findings.error(
                "LS-C021",
                at(["minimum", "exclusiveMinimum"]),
                format!("no value lies between the bounds {least} and {most}"),
                "mend one of them",
            );
        }
    }
}
