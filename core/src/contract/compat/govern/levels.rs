//! Promised service levels: what is looser for consumers, what is tighter for producers.

use std::cmp::Ordering;

use serde_json::Value as Json;

use super::Review;
use crate::contract::Level;
use crate::diagnostic::Severity::{Error, Warning};

/// What is better for who consumes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Better {
    Less,
    More,
    Unknown,
}

/// A value that can be compared.
#[derive(PartialEq)]
enum Measure {
    /// Seconds, or a number of another unit.
    Number(f64, String),
    Day(jiff::civil::Date),
    Text(String),
}

pub(super) fn review(review: &mut Review<'_>) {
    let (old, new) = (
        &review.old.contract.terms.levels,
        &review.new.contract.terms.levels,
    );
    for level in old {
        match new.iter().find(|other| same(level, other)) {
            None => {
                let message = format!("the promise of {} is gone", named(level));
                review.add(
                    "LSC-LEVEL-LOOSENED",
                    Error,
                    pointer(level),
                    message,
                    shown(level),
                    (),
                );
            }
            Some(other) => compare(review, level, other),
        }
    }
    for level in new {
        if !old.iter().any(|other| same(level, other)) {
            let message = format!("{} is promised now", named(level));
            review.add(
                "LSC-LEVEL-TIGHTENED",
                Warning,
                pointer(level),
                message,
                (),
                shown(level),
            );
        }
    }
}

fn compare(review: &mut Review<'_>, old: &Level, new: &Level) {
    let order = match (measure(old), measure(new)) {
        (Measure::Number(a, one), Measure::Number(b, other)) if one == other => b.partial_cmp(&a),
        (Measure::Day(a), Measure::Day(b)) => Some(b.cmp(&a)),
        (a, b) if a == b => Some(Ordering::Equal),
        _ => None,
    };
    let (rule, severity, how) = match (order, better(&old.property)) {
        (Some(Ordering::Equal), _) => return,
        (Some(Ordering::Less), Better::More) | (Some(Ordering::Greater), Better::Less) => {
            ("LSC-LEVEL-LOOSENED", Error, "loosened")
        }
        (Some(_), Better::More | Better::Less) => ("LSC-LEVEL-TIGHTENED", Warning, "tightened"),
        // Nobody can say that it did not get worse.
        (None, _) | (_, Better::Unknown) => ("LSC-LEVEL-LOOSENED", Error, "changed"),
    };
    let message = format!(
        "the promise of {} is {how}: from {} to {}",
        named(old),
        text(old),
        text(new)
    );
    review.add(
        rule,
        severity,
        pointer(new),
        message,
        shown(old),
        shown(new),
    );
}

fn same(a: &Level, b: &Level) -> bool {
    a.property.eq_ignore_ascii_case(&b.property) && a.element == b.element
}

fn named(level: &Level) -> String {
    match &level.element {
        Some(element) => format!("{} of `{element}`", level.property),
        None => level.property.clone(),
    }
}

fn pointer(level: &Level) -> String {
    format!("/levels/{}", level.property)
}

fn text(level: &Level) -> String {
    let value = match &level.value {
        Json::String(text) => text.clone(),
        other => other.to_string(),
    };
    match &level.unit {
        Some(unit) => format!("{value} {unit}"),
        None => value,
    }
}

fn shown(level: &Level) -> Json {
    match &level.element {
        Some(element) => format!("{} ({element})", text(level)).into(),
        None => text(level).into(),
    }
}

fn better(property: &str) -> Better {
    match property.to_ascii_lowercase().as_str() {
        "latency"
        | "ly"
        | "freshness"
        | "frequency"
        | "fy"
        | "errorrate"
        | "er"
        | "timetodetect"
        | "td"
        | "timetonotify"
        | "tn"
        | "timetorepair"
        | "tr"
        | "generalavailability"
        | "ga"
        | "responsetime"
        | "intervalofchange"
        | "timeliness" => Better::Less,
        "availability" | "av" | "throughput" | "th" | "retention" | "re" | "endofsupport"
        | "es" | "endoflife" | "el" | "support" | "uptime" | "completeness" | "accuracy" => {
            Better::More
        }
        _ => Better::Unknown,
    }
}

fn measure(level: &Level) -> Measure {
    let unit = level.unit.as_deref().unwrap_or_default().trim();
    match &level.value {
        Json::Number(number) => {
            let number = number.as_f64().unwrap_or_default();
            match seconds(unit) {
                Some(seconds) => Measure::Number(number * seconds, "s".to_owned()),
                None => Measure::Number(number, unit.to_lowercase()),
            }
        }
        Json::String(text) => written(text.trim(), unit),
        other => Measure::Text(other.to_string()),
    }
}

/// A value that was written as text: a day, a number, or a number with its unit.
fn written(text: &str, unit: &str) -> Measure {
    if let Ok(day) = text.parse::<jiff::civil::Date>() {
        return Measure::Day(day);
    }
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Measure::Day(at.to_zoned(jiff::tz::TimeZone::UTC).date());
    }
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    let unit = if rest.trim().is_empty() {
        unit
    } else {
        rest.trim()
    };
    match (number.parse::<f64>(), seconds(unit)) {
        (Ok(number), Some(seconds)) => Measure::Number(number * seconds, "s".to_owned()),
        (Ok(number), None) => Measure::Number(number, unit.to_lowercase()),
        _ => Measure::Text(format!("{text} {unit}")),
    }
}

/// The seconds of a unit of time; a month is 30 days, a year 365.
fn seconds(unit: &str) -> Option<f64> {
    const DAY: f64 = 86_400.0;
    // `M` and `m` are two units, all others are read in any case.
    if unit == "M" {
        return Some(30.0 * DAY);
    }
    Some(match unit.to_lowercase().as_str() {
        "ms" | "millisecond" | "milliseconds" => 0.001,
        "s" | "sec" | "second" | "seconds" => 1.0,
        "m" | "min" | "minute" | "minutes" => 60.0,
        "h" | "hr" | "hour" | "hours" => 3_600.0,
        "d" | "day" | "days" => DAY,
        "w" | "week" | "weeks" => 7.0 * DAY,
        "mo" | "month" | "months" => 30.0 * DAY,
        "y" | "yr" | "year" | "years" => 365.0 * DAY,
        _ => return None,
    })
}
