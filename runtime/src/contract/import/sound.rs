//! Takes out of a field what a contract would refuse, and says so: an import never fails over one bound.

use lockstep_core::Row;
use lockstep_core::contract::{Checker, Contract, Field, Inner, Limits};
use lockstep_core::value::{Cell, Type, Value};

use super::notes::{Notes, shorten};

/// Most allowed values of a field.
const ALLOWED_MAX: usize = 1000;
/// Longest description, in characters.
const DESCRIPTION_MAX: usize = 2000;

/// Makes a field one that loads; `path` names it in findings, `at` is its place in the source.
pub(super) fn settle(field: &mut Field, path: &str, at: Option<usize>, notes: &mut Notes<'_>) {
    let mut lose = |what: String, help: &str| notes.warn("LS-I108", path, at, what, help);
    describe(field);
    if let Type::Decimal {
        precision: Some(precision),
        scale: Some(scale),
    } = field.kind
        && (precision == 0 || precision > 100 || scale > precision)
    {
        lose(
            format!(
                "a decimal of {precision} digits with {scale} after the point was read as a text"
            ),
            "at most 100 digits are kept",
        );
        field.kind = Type::Text;
        field.limits = Limits::default();
    }
    if matches!(
        field.kind,
        Type::Decimal {
            precision: None,
            ..
        } | Type::Decimal { scale: None, .. }
    ) {
        field.kind = Type::Decimal {
            precision: Some(38),
            scale: Some(10),
        };
        let what = "the source does not bound the number; decimal(38,10) was taken";
        notes.warn("LS-I110", path, at, what, "say how many digits it has");
    }
    limits(field, path, at, notes);
    allowed(field, path, at, notes);
    if let Some(default) = &field.default {
        let good = if default.is_null() {
            field.nullable
        } else {
            judge(field, default)
        };
        if !good {
            field.default = None;
            let what = "the default breaks the field's own bounds, so it was left out";
            notes.warn(
                "LS-I108",
                path,
                at,
                what,
                "mend it in the source, or add `lockstep.default`",
            );
        }
    }
}

fn describe(field: &mut Field) {
    let Some(text) = &mut field.description else {
        return;
    };
    let clean: String = text
        .trim()
        .chars()
        .filter(|c| !c.is_control() || *c == '\n')
        .take(DESCRIPTION_MAX)
        .collect();
    field.description = Some(clean).filter(|text| !text.is_empty());
}

fn limits(field: &mut Field, path: &str, at: Option<usize>, notes: &mut Notes<'_>) {
    let mut lose = |what: String| {
        notes.warn(
            "LS-I108",
            path,
            at,
            what,
            "say it as a rule (`quality`) where it matters",
        );
    };
    if let (Some(least), Some(most)) = (field.limits.min_length, field.limits.max_length)
        && least > most
    {
        lose(format!(
            "the lengths {least} to {most} leave nothing, so they were left out"
        ));
        field.limits.min_length = None;
        field.limits.max_length = None;
    }
    let alone = |limits: Limits| Field {
        limits,
        ..Field::new("value", field.kind)
    };
    if field.limits.pattern.is_some() && !compiles(&alone(field.limits.clone())) {
        let without = Limits {
            pattern: None,
            ..field.limits.clone()
        };
        if compiles(&alone(without))
            && let Some(pattern) = field.limits.pattern.take()
        {
            lose(format!(
                "the pattern `{}` is not read alike everywhere, so it was left out",
                shorten(&pattern)
            ));
        }
    }
    let empty = match (&field.limits.minimum, &field.limits.maximum) {
        (Some(least), Some(most)) => {
            let one = |bound: &Value| judge(&alone(field.limits.clone()), bound);
            // Bounds that meet leave their one value, unless they exclude it.
            let exclusive = field.limits.exclusive_minimum || field.limits.exclusive_maximum;
            !exclusive && !one(least) && !one(most)
        }
        _ => false,
    };
    if empty || !compiles(&alone(field.limits.clone())) {
        lose("its bounds cannot be checked, so they were left out".to_owned());
        field.limits = Limits {
            pattern: field.limits.pattern.take(),
            format: field.limits.format,
            min_length: field.limits.min_length,
            max_length: field.limits.max_length,
            ..Limits::default()
        };
    }
}

fn allowed(field: &mut Field, path: &str, at: Option<usize>, notes: &mut Notes<'_>) {
    let Some(mut list) = field.allowed.take() else {
        return;
    };
    let mut lose = |what: String| {
        notes.warn(
            "LS-I108",
            path,
            at,
            what,
            "say it as a rule (`quality`) where it matters",
        );
    };
    if field.kind == Type::Json {
        lose("a list of whole documents cannot be checked".to_owned());
        return;
    }
    if list.values.len() > ALLOWED_MAX {
        lose(format!(
            "{} allowed values are too many to list, so any is allowed",
            list.values.len()
        ));
        return;
    }
    let mut seen = std::collections::HashSet::new();
    list.values.retain(|value| seen.insert(value.to_string()));
    let before = list.values.len();
    list.values.retain(|value| judge(field, value));
    if list.values.len() < before {
        lose("some allowed values broke the field's own bounds and were left out".to_owned());
    }
    if !list.values.is_empty() {
        if list
            .fallback
            .as_ref()
            .is_some_and(|fallback| !list.values.contains(fallback))
        {
            list.fallback = None;
        }
        field.allowed = Some(list);
    }
}

/// Whether a field's bounds can be checked at all.
fn compiles(field: &Field) -> bool {
    Checker::compile(&of_one(field)).is_ok()
}

/// Whether a value keeps a field's bounds.
fn judge(field: &Field, value: &Value) -> bool {
    let bare = Field {
        default: None,
        inner: None::<Inner>,
        ..field.clone()
    };
    let Ok(checker) = Checker::compile(&of_one(&bare)) else {
        return true;
    };
    let mut found = Vec::new();
    checker.check(&Row(vec![Cell::Set(value.clone())]), true, &mut found);
    found.is_empty()
}

fn of_one(field: &Field) -> Contract {
    let field = Field {
        name: "value".to_owned(),
        ..field.clone()
    };
    Contract::new("one", semver::Version::new(1, 0, 0), vec![field])
}
