//! Deprecation, sunset, and names that may not come back.

use super::{Pair, Review};
use crate::contract::compat::finding::{Finding, Side, Verdict};
use crate::contract::compat::{Circumstances, Direction, change, compare};
use crate::contract::{Deprecation, Field};
use crate::diagnostic::Severity::{self, Error, Info};

pub(super) fn review(review: &mut Review<'_>, releases: &[Side<'_>]) {
    let terms = (&review.old.contract.terms, &review.new.contract.terms);
    let (a, b) = (terms.0.deprecation.clone(), terms.1.deprecation.clone());
    deprecation(review, "the entity", "/deprecation", a.as_ref(), b.as_ref());
    for pair in review.pairs() {
        match (pair.old, pair.new) {
            (Some(old), Some(new)) => {
                let pointer = format!("{}/deprecation", pair.pointer);
                let name = format!("`{}`", pair.name);
                deprecation(
                    review,
                    &name,
                    &pointer,
                    old.deprecation.as_ref(),
                    new.deprecation.as_ref(),
                );
            }
            (Some(old), None) => removed(review, &pair, old),
            _ => {}
        }
    }
    reused(review, releases);
}

fn deprecation(
    review: &mut Review<'_>,
    name: &str,
    pointer: &str,
    old: Option<&Deprecation>,
    new: Option<&Deprecation>,
) {
    let day =
        |deprecation: Option<&Deprecation>| deprecation.and_then(|deprecation| deprecation.sunset);
    let shown = |deprecation: Option<&Deprecation>| {
        deprecation.map(|deprecation| match deprecation.sunset {
            Some(day) => day.to_string(),
            None => "deprecated".to_owned(),
        })
    };
    let (rule, severity, message) = match (day(old), day(new)) {
        _ if old == new => return,
        (Some(before), Some(after)) if after < before => {
            let message = format!("the sunset of {name} is earlier: {after} instead of {before}");
            ("LSC-SUNSET-EARLIER", Error, message)
        }
        (None, Some(after)) if old.is_some() => {
            let message =
                format!("{name} was deprecated without a sunset and has one now: {after}");
            ("LSC-SUNSET-EARLIER", Error, message)
        }
        _ if old.is_none() => ("LSC-DEPRECATED", Info, format!("{name} is deprecated now")),
        _ if new.is_none() => (
            "LSC-DEPRECATED",
            Info,
            format!("{name} is no longer deprecated"),
        ),
        _ => (
            "LSC-DEPRECATED",
            Info,
            format!("the deprecation of {name} changed"),
        ),
    };
    review.add(rule, severity, pointer, message, shown(old), shown(new));
}

fn removed(review: &mut Review<'_>, pair: &Pair<'_>, old: &Field) {
    let sunset = old
        .deprecation
        .as_ref()
        .and_then(|deprecation| deprecation.sunset);
    if let Some(sunset) = sunset.filter(|sunset| *sunset > review.around.today) {
        let message = format!("`{}` is gone before its sunset of {sunset}", pair.name);
        review.add(
            "LSC-REMOVED-EARLY",
            Error,
            pair.pointer.clone(),
            message,
            sunset.to_string(),
            (),
        );
    }
}

/// A whole contract that goes before its sunset.
pub(super) fn gone_before_sunset(old: Side<'_>, around: &Circumstances<'_>) -> Option<Finding> {
    let sunset = old.contract.terms.deprecation.as_ref()?.sunset?;
    if sunset <= around.today {
        return None;
    }
    let message = format!("the entity is gone before its sunset of {sunset}");
    let finding = Finding::new(
        "LSC-REMOVED-EARLY",
        Error,
        old,
        old,
        "/deprecation",
        message,
    );
    let mut finding = finding.parts(sunset.to_string(), ());
    finding.new_place = None;
    finding.affects(old, old, around.consumers);
    Some(finding)
}

/// Names that were given away once.
fn reused(review: &mut Review<'_>, releases: &[Side<'_>]) {
    let (old, new) = (review.old, review.new);
    for field in &new.contract.fields {
        let pointer = format!("/fields/{}", field.name);
        let reserved = [&old.contract.terms.reserved, &new.contract.terms.reserved];
        if reserved.iter().any(|names| names.contains(&field.name)) {
            let message = format!(
                "`{}` is reserved: the name of a removed field may not come back",
                field.name
            );
            review.add(
                "LSC-NAME-REUSED",
                Error,
                pointer,
                message,
                field.name.as_str(),
                change::values(field),
            );
            continue;
        }
        if old.contract.field(&field.name).is_some() {
            continue;
        }
        let before = releases.iter().rev().find_map(|release| {
            let i = release.contract.field(&field.name)?;
            let was = &release.contract.fields[i];
            (change::named(was) != change::named(field)).then_some((*release, was))
        });
        if let Some((release, was)) = before {
            come_back(review, release, was, field, pointer);
        }
    }
    let kept = |name: &String| !new.contract.terms.reserved.contains(name);
    for name in old.contract.terms.reserved.iter().filter(|name| kept(name)) {
        let message = format!("`{name}` is no longer reserved");
        review.add(
            "LSC-RESERVED-DROPPED",
            Severity::Warning,
            "/reserved",
            message,
            name.as_str(),
            (),
        );
    }
}

/// A name that an older release used for something else.
fn come_back(
    review: &mut Review<'_>,
    release: Side<'_>,
    was: &Field,
    field: &Field,
    pointer: String,
) {
    let message = format!(
        "`{}` was {} in {} and comes back as {}",
        field.name,
        change::named(was),
        release.contract.version,
        change::named(field)
    );
    let values = (change::values(was), change::values(field));
    let part = format!("{pointer}/type");
    review.add(
        "LSC-NAME-REUSED",
        Error,
        pointer,
        message,
        values.0,
        values.1,
    );
    let Some(finding) = review.found.last_mut() else {
        return;
    };
    let shown = compare(release, review.new, Direction::Full).findings;
    if let Some(shown) = shown.into_iter().find(|shown| shown.pointer == part) {
        finding.verdict = shown.verdict;
        finding.directions = shown.directions;
        finding.witness = shown.witness;
        finding.witness_direction = shown.witness_direction;
    } else {
        finding.verdict = Verdict::Unproven;
    }
    finding.old_place = release.places.at(&part).cloned();
}
