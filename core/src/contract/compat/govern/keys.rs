//! Identity and truth: id, key, lanes, owner, conflict policy, deletes, and how records of different systems are matched.

use serde_json::Value as Json;

use super::Review;
use crate::contract::compat::change::named;
use crate::contract::{Contract, Deletes, Truth};
use crate::diagnostic::Severity::{Error, Info, Warning};

pub(super) fn review(review: &mut Review<'_>) {
    identity(review);
    key(review);
    lanes(review);
    truth(review);
    matching(review);
    promise(review);
    remarks(review);
    beside(review);
}

fn identity(review: &mut Review<'_>) {
    let (old, new) = (review.old.contract, review.new.contract);
    if old.id != new.id {
        let message = format!("the id changed from `{}` to `{}`", old.id, new.id);
        review.add(
            "LSC-ID",
            Error,
            "/id",
            message,
            old.id.as_str(),
            new.id.as_str(),
        );
    }
    if old.entity != new.entity {
        let message = format!(
            "the entity changed from `{}` to `{}`",
            old.entity, new.entity
        );
        let names = (old.entity.as_str(), new.entity.as_str());
        review.add("LSC-ID", Error, "/entity", message, names.0, names.1);
    }
}

/// The names of the fields at these positions, as the newer version calls them.
fn names(contract: &Contract, positions: &[usize], renames: &[(String, String)]) -> Vec<String> {
    let name = |i: &usize| {
        let name = &contract.fields.get(*i)?.name;
        let renamed = renames.iter().find(|(from, _)| from == name);
        Some(renamed.map_or(name, |(_, to)| to).clone())
    };
    positions.iter().filter_map(name).collect()
}

fn key(review: &mut Review<'_>) {
    let (old, new) = (review.old.contract, review.new.contract);
    let renames = super::renames(old, new);
    let (before, after) = (names(old, &old.key, &renames), names(new, &new.key, &[]));
    if before != after {
        let mut sorted = (before.clone(), after.clone());
        sorted.0.sort();
        sorted.1.sort();
        let what = if sorted.0 == sorted.1 {
            "order of the key fields"
        } else {
            "key"
        };
        let message = format!(
            "the {what} changed from ({}) to ({})",
            before.join(", "),
            after.join(", ")
        );
        review.add("LSC-KEY", Error, "/key", message, before, after);
        return;
    }
    for (a, b) in old.key.iter().zip(&new.key) {
        let (Some(a), Some(b)) = (old.fields.get(*a), new.fields.get(*b)) else {
            continue;
        };
        if a.kind != b.kind {
            let message = format!(
                "the key field `{}` changed its type from {} to {}",
                b.name,
                named(a),
                named(b)
            );
            let pointer = format!("/fields/{}/type", b.name);
            review.add("LSC-KEY-TYPE", Error, pointer, message, named(a), named(b));
        }
    }
}

fn lanes(review: &mut Review<'_>) {
    let (old, new) = (review.old.contract, review.new.contract);
    let renames = super::renames(old, new);
    let before = names(old, &old.lane_key, &renames);
    let after = names(new, &new.lane_key, &[]);
    let follows = |contract: &Contract| contract.lane_key == contract.key;
    // A lane key that is the key changes with it; one finding is enough.
    if before != after && !(follows(old) && follows(new)) {
        let message = format!(
            "the lane key changed from ({}) to ({})",
            before.join(", "),
            after.join(", ")
        );
        review.add("LSC-LANE-KEY", Error, "/laneKey", message, before, after);
    }
    if old.lanes != new.lanes {
        let message = format!(
            "the number of lanes changed from {} to {}",
            old.lanes, new.lanes
        );
        // Lanes are fixed for the life of a major only.
        let severity = if super::is_major_step(review.old, review.new) {
            Info
        } else {
            Error
        };
        let counts = (old.lanes, new.lanes);
        review.add("LSC-LANES", severity, "/lanes", message, counts.0, counts.1);
    }
}

fn truth(review: &mut Review<'_>) {
    let (old, new) = (review.old.contract, review.new.contract);
    owner(
        review,
        "the entity",
        "/owner",
        old.owner.as_deref(),
        new.owner.as_deref(),
    );
    policy(
        review,
        "the entity",
        "/truth",
        Some(old.truth),
        Some(new.truth),
    );
    if old.deletes != new.deletes {
        let (a, b) = (delete(old.deletes), delete(new.deletes));
        let message = format!("what a delete does in the other systems changed from {a} to {b}");
        review.add("LSC-DELETES", Error, "/deletes", message, a, b);
    }
    for pair in review.pairs() {
        let (Some(a), Some(b)) = (pair.old, pair.new) else {
            continue;
        };
        let name = format!("`{}`", pair.name);
        // A field that says what its entity says is no change.
        let own = |field: Option<&String>, of: &Contract| field.or(of.owner.as_ref()).cloned();
        let owners = (own(a.owner.as_ref(), old), own(b.owner.as_ref(), new));
        let same_shift = a.owner.is_none() && b.owner.is_none();
        if !same_shift {
            let pointer = format!("{}/owner", pair.pointer);
            owner(
                review,
                &name,
                &pointer,
                owners.0.as_deref(),
                owners.1.as_deref(),
            );
        }
        if a.truth.is_some() || b.truth.is_some() {
            let pointer = format!("{}/truth", pair.pointer);
            let effective = (a.truth.or(Some(old.truth)), b.truth.or(Some(new.truth)));
            policy(review, &name, &pointer, effective.0, effective.1);
        }
    }
}

fn owner(review: &mut Review<'_>, of: &str, pointer: &str, old: Option<&str>, new: Option<&str>) {
    if old != new {
        let word =
            |owner: Option<&str>| owner.map_or("nobody".to_owned(), |owner| format!("`{owner}`"));
        let message = format!(
            "the source of truth of {of} changed from {} to {}",
            word(old),
            word(new)
        );
        review.add("LSC-OWNER", Error, pointer, message, old, new);
    }
}

fn policy(
    review: &mut Review<'_>,
    of: &str,
    pointer: &str,
    old: Option<Truth>,
    new: Option<Truth>,
) {
    if old != new {
        let word = |truth: Option<Truth>| truth.map_or("none", Truth::name);
        let (a, b) = (word(old), word(new));
        let message = format!("how differences in {of} are settled changed from {a} to {b}");
        review.add("LSC-TRUTH", Error, pointer, message, a, b);
    }
}

fn delete(deletes: Deletes) -> &'static str {
    match deletes {
        Deletes::Propagate => "propagate",
        Deletes::SoftDelete => "soft-delete",
        Deletes::Detach => "detach",
        Deletes::Ignore => "ignore",
    }
}

fn matching(review: &mut Review<'_>) {
    let (old, new) = (&review.old.contract.terms, &review.new.contract.terms);
    let rules = [
        (
            "LSC-MATCH",
            "/match",
            "which records are the same one",
            &old.matching,
            &new.matching,
        ),
        (
            "LSC-SURVIVORSHIP",
            "/survivorship",
            "who wins among matched records",
            &old.survivorship,
            &new.survivorship,
        ),
    ];
    for (rule, pointer, what, a, b) in rules {
        if a != b {
            let message = format!("the rules by which it is decided {what} changed");
            let (a, b) = (
                a.clone().unwrap_or(Json::Null),
                b.clone().unwrap_or(Json::Null),
            );
            review.add(rule, Warning, pointer, message, a, b);
        }
    }
}

/// What a new version owes the older ones.
fn promise(review: &mut Review<'_>) {
    use crate::contract::{Compatibility, Direction};
    let (old, new) = (
        review.old.contract.terms.compatibility,
        review.new.contract.terms.compatibility,
    );
    if old == new {
        return;
    }
    let strength = |promise: Compatibility| {
        let (backward, forward) = match promise.direction {
            None => (false, false),
            Some(Direction::Backward) => (true, false),
            Some(Direction::Forward) => (false, true),
            Some(Direction::Full) => (true, true),
        };
        [
            backward,
            forward,
            promise.transitive && promise.direction.is_some(),
        ]
    };
    let word = |promise: Compatibility| {
        let direction = match promise.direction {
            None => return "none".to_owned(),
            Some(Direction::Backward) => "backward",
            Some(Direction::Forward) => "forward",
            Some(Direction::Full) => "full",
        };
        let more = if promise.transitive {
            "-transitive"
        } else {
            ""
        };
        format!("{direction}{more}")
    };
    let (a, b) = (strength(old), strength(new));
    let weaker = a.iter().zip(b).any(|(had, has)| *had && !has);
    let (a, b) = (word(old), word(new));
    if a == b {
        return;
    }
    let (rule, severity, what) = if weaker {
        ("LSC-COMPATIBILITY-WEAKENED", Error, "less")
    } else {
        ("LSC-COMPATIBILITY-STRENGTHENED", Info, "more")
    };
    let message =
        format!("the promised compatibility changed from {a} to {b}, which promises {what}");
    review.add(rule, severity, "/compatibility", message, a, b);
}

/// What people should know and nothing depends on.
fn remarks(review: &mut Review<'_>) {
    let (old, new) = (review.old.contract, review.new.contract);
    if old.description != new.description {
        let message = "the description changed".to_owned();
        let texts = (old.description.clone(), new.description.clone());
        review.add(
            "LSC-DESCRIPTION",
            Info,
            "/entity",
            message,
            texts.0,
            texts.1,
        );
    }
    for pair in review.pairs() {
        let (Some(a), Some(b)) = (pair.old, pair.new) else {
            continue;
        };
        if a.description != b.description {
            let message = format!("the description of `{}` changed", pair.name);
            let texts = (a.description.clone(), b.description.clone());
            review.add(
                "LSC-DESCRIPTION",
                Info,
                pair.pointer,
                message,
                texts.0,
                texts.1,
            );
        }
    }
    let (a, b) = (&old.terms, &new.terms);
    if a.status != b.status {
        let message = "the status changed".to_owned();
        review.add(
            "LSC-TERMS",
            Info,
            "/status",
            message,
            a.status.clone(),
            b.status.clone(),
        );
    }
    if a.consumers != b.consumers {
        let message = "the list of consumers changed".to_owned();
        review.add(
            "LSC-TERMS",
            Info,
            "/consumers",
            message,
            a.consumers.clone(),
            b.consumers.clone(),
        );
    }
    let mut roles: Vec<&String> = a.approvers.keys().chain(b.approvers.keys()).collect();
    roles.sort();
    roles.dedup();
    for role in roles {
        let (a, b) = (a.approvers.get(role), b.approvers.get(role));
        if a != b {
            let message = format!("who may approve as {role} changed");
            review.add(
                "LSC-TERMS",
                Info,
                format!("/approvers/{role}"),
                message,
                a.cloned(),
                b.cloned(),
            );
        }
    }
}

/// What only people read: known where both texts were read as they were written.
fn beside(review: &mut Review<'_>) {
    let (Some(old), Some(new)) = (review.old.places.remarks(), review.new.places.remarks()) else {
        return;
    };
    let mut pointers: Vec<&String> = old.keys().chain(new.keys()).collect();
    pointers.sort();
    pointers.dedup();
    let kept = review.pairs();
    let kept = |pointer: &str| {
        let gone = |pair: &super::Pair<'_>| pair.old.is_none() || pair.new.is_none();
        !kept.iter().any(|pair| {
            let rest = pointer.strip_prefix(pair.pointer.as_str());
            gone(pair) && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    };
    for pointer in pointers {
        let (was, is) = (old.get(pointer), new.get(pointer));
        if was == is || !kept(pointer) {
            continue;
        }
        let what = match (was, is) {
            (None, _) => "is new",
            (_, None) => "is gone",
            _ => "changed",
        };
        let name = pointer.trim_start_matches('/').replace('/', " ");
        let message = format!("`{name}` {what}");
        let (was, is) = (was.cloned(), is.cloned());
        review.add("LSC-REMARK", Info, pointer.as_str(), message, was, is);
    }
}
