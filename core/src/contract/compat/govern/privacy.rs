//! Classes, handling by system, and personal data.

use std::cmp::Ordering;

use super::{Pair, Review};
use crate::contract::{Class, Field, Handling, Personal};
use crate::diagnostic::Severity::{Error, Info, Warning};

/// Parts of names that mostly hold personal data, as runs of words.
const SUSPECT: &[&str] = &[
    "address",
    "bank account",
    "birth",
    "birthday",
    "birthdate",
    "biometric",
    "card number",
    "cellphone",
    "contact name",
    "credit card",
    "cvv",
    "date of birth",
    "diagnosis",
    "dob",
    "driver license",
    "email",
    "e mail",
    "ethnicity",
    "family name",
    "fax",
    "first name",
    "firstname",
    "full name",
    "fullname",
    "gender",
    "given name",
    "health",
    "iban",
    "ip address",
    "income",
    "last name",
    "lastname",
    "latitude",
    "longitude",
    "maiden name",
    "marital",
    "middle name",
    "mobile",
    "national id",
    "nationality",
    "passport",
    "password",
    "phone",
    "phone number",
    "postal code",
    "postcode",
    "religion",
    "salary",
    "sex",
    "social security",
    "ssn",
    "street",
    "surname",
    "tax id",
    "telephone",
    "user name",
    "username",
    "vat id",
    "zip",
    "zip code",
];

pub(super) fn review(review: &mut Review<'_>) {
    for pair in review.pairs() {
        match (pair.old, pair.new) {
            (Some(old), Some(new)) => {
                class(review, &pair, old, new);
                handling(review, &pair, old, new);
                personal(review, &pair, old, new);
            }
            (None, Some(new)) => suspicion(review, &pair, new),
            _ => {}
        }
    }
}

fn class(review: &mut Review<'_>, pair: &Pair<'_>, old: &Field, new: &Field) {
    let pointer = format!("{}/class", pair.pointer);
    let (a, b) = (old.class.name(), new.class.name());
    let message = format!("the class of `{}` changed from {a} to {b}", pair.name);
    match new.class.cmp(&old.class) {
        Ordering::Equal => {}
        Ordering::Less => review.add("LSC-CLASS-WEAKENED", Error, pointer, message, a, b),
        Ordering::Greater => {
            review.add("LSC-CLASS-STRENGTHENED", Warning, pointer, message, a, b);
            uncovered(review, pair, old, new);
        }
    }
}

/// Consumers that would go on seeing in the clear what is protected from now on.
fn uncovered(review: &mut Review<'_>, pair: &Pair<'_>, old: &Field, new: &Field) {
    if old.class >= Class::Personal || new.class < Class::Personal {
        return;
    }
    let mut systems: Vec<String> = review.new.contract.terms.consumers.clone();
    systems.extend_from_slice(review.around.consumers);
    systems.sort();
    systems.dedup();
    systems.retain(|system| !new.handling.contains_key(system));
    if !systems.is_empty() {
        let message = format!(
            "`{}` is {} now, and nothing says what these systems may see of it: {}",
            pair.name,
            new.class.name(),
            systems.join(", ")
        );
        let pointer = format!("{}/handling", pair.pointer);
        review.add(
            "LSC-HANDLING-MISSING",
            Error,
            pointer,
            message,
            old.class.name(),
            systems,
        );
    }
}

fn handling(review: &mut Review<'_>, pair: &Pair<'_>, old: &Field, new: &Field) {
    let mut systems: Vec<&String> = old.handling.keys().chain(new.handling.keys()).collect();
    systems.sort();
    systems.dedup();
    for system in systems {
        // A system that is not named sees the value itself.
        let of = |field: &Field| {
            field
                .handling
                .get(system)
                .copied()
                .unwrap_or(Handling::Clear)
        };
        let (a, b) = (of(old), of(new));
        if a == b {
            continue;
        }
        let pointer = format!("{}/handling/{system}", pair.pointer);
        let message = format!(
            "what `{system}` sees of `{}` changed from {} to {}",
            pair.name,
            a.name(),
            b.name()
        );
        let (rule, severity) = if protection(b) > protection(a) {
            ("LSC-HANDLING-STRENGTHENED", Warning)
        } else {
            ("LSC-HANDLING-WEAKENED", Error)
        };
        review.add(rule, severity, pointer, message, a.name(), b.name());
    }
}

/// How much is kept from the system.
///
/// A hash cannot be undone but tells equal values apart, a token and a ciphertext can be undone by who holds the vault or the key: none of the three is simply stronger, so that a change among them always counts as weaker until somebody looks.
fn protection(handling: Handling) -> u8 {
    match handling {
        Handling::Clear => 0,
        Handling::Mask => 1,
        Handling::Hash | Handling::Tokenize | Handling::Encrypt => 2,
        Handling::Drop => 3,
    }
}

fn personal(review: &mut Review<'_>, pair: &Pair<'_>, old: &Field, new: &Field) {
    if old.personal == new.personal {
        return;
    }
    let none = Personal::default();
    let (a, b) = (
        old.personal.as_ref().unwrap_or(&none),
        new.personal.as_ref().unwrap_or(&none),
    );
    let pointer = format!("{}/personal", pair.pointer);
    let name = &pair.name;
    for (what, a, b) in [
        ("category", &a.category, &b.category),
        ("subject", &a.subject, &b.subject),
    ] {
        if a == b {
            continue;
        }
        let message = format!("the {what} of the personal data in `{name}` changed");
        let (rule, severity) = if a.is_some() {
            ("LSC-PERSONAL-WEAKENED", Error)
        } else {
            ("LSC-PERSONAL-STRENGTHENED", Warning)
        };
        review.add(
            rule,
            severity,
            format!("{pointer}/{what}"),
            message,
            a.clone(),
            b.clone(),
        );
    }
    // Kept without end unless it is said.
    let days = |personal: &Personal| personal.retention_days.unwrap_or(u64::MAX);
    let (rule, severity) = match days(b).cmp(&days(a)) {
        Ordering::Equal => return,
        Ordering::Greater => ("LSC-PERSONAL-WEAKENED", Error),
        Ordering::Less => ("LSC-PERSONAL-STRENGTHENED", Warning),
    };
    let message = format!("how long the personal data in `{name}` is kept changed");
    review.add(
        rule,
        severity,
        format!("{pointer}/retention"),
        message,
        a.retention_days,
        b.retention_days,
    );
}

/// A new field whose name sounds personal and whose class does not say so.
fn suspicion(review: &mut Review<'_>, pair: &Pair<'_>, new: &Field) {
    let says_nothing =
        new.class == Class::Internal && new.personal.is_none() && new.handling.is_empty();
    if let Some(part) = suspect(&new.name).filter(|_| says_nothing) {
        let message = format!(
            "`{}` is new, sounds like personal data (`{part}`) and has no class",
            pair.name
        );
        let pointer = format!("{}/class", pair.pointer);
        review.add(
            "LSC-PERSONAL-SUSPECTED",
            Warning,
            pointer,
            message,
            (),
            new.name.as_str(),
        );
    } else if new.class >= Class::Personal {
        let message = format!("`{}` is new and {}", pair.name, new.class.name());
        let pointer = format!("{}/class", pair.pointer);
        review.add(
            "LSC-PERSONAL-ADDED",
            Info,
            pointer,
            message,
            (),
            new.class.name(),
        );
    }
}

/// The part of a name that sounds personal.
pub(in crate::contract::compat) fn suspect(name: &str) -> Option<&'static str> {
    let mut words = String::from(" ");
    let mut before = ' ';
    for c in name.chars() {
        if c.is_uppercase() && before.is_lowercase() {
            words.push(' ');
        }
        if c.is_alphanumeric() {
            words.extend(c.to_lowercase());
        } else {
            words.push(' ');
        }
        before = c;
    }
    words.push(' ');
    SUSPECT
        .iter()
        .filter(|part| words.contains(&format!(" {part} ")))
        .max_by_key(|part| part.len())
        .copied()
}
