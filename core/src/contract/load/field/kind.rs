//! Which type a property has.

use super::PRECISION_MAX;
use crate::contract::load::Mode;
use crate::contract::load::findings::Findings;
use crate::contract::load::yaml::{Node, shorten};
use crate::diagnostic::suggestion;
use crate::value::Type;

const LOGICAL: [&str; 11] = [
    "array",
    "boolean",
    "date",
    "integer",
    "map",
    "number",
    "object",
    "string",
    "time",
    "timestamp",
    "vector",
];

/// What a physical type says about the value itself; all others describe the storage of some system.
enum Physical {
    Decimal(Type),
    Double,
    Uuid,
    Bytes,
    Other,
}

/// Reads logical and physical type together.
///
/// Where nothing is to be run, a number without exactness is read as a double and a property without type as any JSON.
pub(super) fn kind(node: &Node, findings: &mut Findings) -> Option<Type> {
    let lenient = findings.mode() == Mode::Lint;
    let physical = physical(node, findings)?;
    let Some(logical) = node.get("logicalType").filter(|node| node.text().is_some()) else {
        findings.needed(
            "LS-C016",
            node.get("name").map_or(node.at, |name| name.at),
            "the property has no logical type",
            format!("add `logicalType`, one of {}", LOGICAL.join(", ")),
        );
        return lenient.then_some(Type::Json);
    };
    let word = logical.text().unwrap_or_default();
    let kind = match (word, physical) {
        ("number", Physical::Decimal(kind)) => kind,
        ("number", Physical::Double) => Type::Float,
        ("number", Physical::Other) => {
            findings.needed(
                "LS-C017",
                logical.at,
                "the number does not say how exact it is",
                "add `physicalType: decimal(12,2)` for exact numbers, or `physicalType: double` for measurements",
            );
            return lenient.then_some(Type::Float);
        }
        ("string", Physical::Uuid) => Type::Uuid,
        ("string", Physical::Bytes) => Type::Bytes,
        ("string", Physical::Other) => Type::Text,
        ("integer", Physical::Other) => Type::Int,
        ("boolean", Physical::Other) => Type::Bool,
        ("date", Physical::Other) => Type::Date,
        ("timestamp", Physical::Other) => Type::Timestamp,
        ("time", Physical::Other) => Type::Time,
        ("object" | "array" | "map" | "vector", Physical::Other) => Type::Json,
        (known, _) if LOGICAL.contains(&known) => {
            let at = node.get("physicalType").map_or(logical.at, |node| node.at);
            findings.needed(
                "LS-C018",
                at,
                format!("the physical type does not fit the logical type `{known}`"),
                "decimal(p,s) and double go with number, uuid and bytes with string; leave the physical type out otherwise",
            );
            return lenient.then(|| plain(known));
        }
        (unknown, _) => {
            findings.error(
                "LS-C016",
                logical.at,
                format!("no such logical type `{}`", shorten(unknown)),
                suggestion(unknown, LOGICAL),
            );
            return None;
        }
    };
    Some(kind)
}

fn physical(node: &Node, findings: &mut Findings) -> Option<Physical> {
    let Some((node, text)) = node
        .get("physicalType")
        .and_then(|node| Some((node, node.text()?)))
    else {
        return Some(Physical::Other);
    };
    let word = text.trim().to_ascii_lowercase();
    match word.as_str() {
        "double" | "double precision" => return Some(Physical::Double),
        "uuid" => return Some(Physical::Uuid),
        "bytes" => return Some(Physical::Bytes),
        _ => {}
    }
    if !word.starts_with("decimal") {
        return Some(Physical::Other);
    }
    let bounds = word
        .strip_prefix("decimal")
        .and_then(|rest| rest.trim().strip_prefix('(')?.strip_suffix(')'))
        .and_then(|inside| inside.split_once(','));
    let read = bounds.and_then(|(precision, scale)| {
        let precision: u32 = precision.trim().parse().ok()?;
        let scale: u32 = scale.trim().parse().ok()?;
        let fits = (1..=PRECISION_MAX).contains(&precision) && scale <= precision;
        fits.then_some(Type::Decimal {
            precision: Some(precision),
            scale: Some(scale),
        })
    });
    match read {
        Some(kind) => Some(Physical::Decimal(kind)),
        None => {
            findings.needed(
                "LS-C018",
                node.at,
                format!("`{}` is not a decimal type", shorten(text)),
                format!("write `decimal(precision,scale)` with a precision of 1 to {PRECISION_MAX} and a scale of at most that, such as `decimal(12,2)`"),
            );
            (findings.mode() == Mode::Lint).then_some(Physical::Double)
        }
    }
}

/// The type of a logical type alone.
fn plain(logical: &str) -> Type {
    match logical {
        "string" => Type::Text,
        "integer" => Type::Int,
        "boolean" => Type::Bool,
        "date" => Type::Date,
        "timestamp" => Type::Timestamp,
        "time" => Type::Time,
        "number" => Type::Float,
        _ => Type::Json,
    }
}
