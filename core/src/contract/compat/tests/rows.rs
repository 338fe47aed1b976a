//! The rows of the table that are about one field.

use super::*;
use crate::contract::compat::Verdict::{No, Yes};
use crate::contract::{Extra, Format};

/// The rule, the rule of the reverse, a field before and after, and the verdicts backward and forward.
pub(super) type Row = (&'static str, &'static str, Field, Field, (Verdict, Verdict));

/// The rows about one field; the reverse of each has the verdicts the other way round.
pub(super) fn fields() -> Vec<Row> {
    let long = |least, most| {
        with(text("a"), |f| {
            f.limits.min_length = least;
            f.limits.max_length = most;
        })
    };
    let range = |kind, low: Option<Value>, high: Option<Value>, out: (bool, bool)| {
        with(Field::new("a", kind), |f| {
            f.limits.minimum = low;
            f.limits.maximum = high;
            (f.limits.exclusive_minimum, f.limits.exclusive_maximum) = out;
        })
    };
    let whole = |low: Option<i64>, high: Option<i64>| {
        range(
            Type::Int,
            low.map(Value::Int),
            high.map(Value::Int),
            (false, false),
        )
    };
    let real = |low: f64, out| range(Type::Float, Some(Value::Float(low)), None, (out, false));
    let real_high =
        |high: f64, out| range(Type::Float, None, Some(Value::Float(high)), (false, out));
    let step = |step| {
        with(Field::new("a", Type::Int), |f| {
            f.limits.multiple_of = Some(Value::Int(step));
        })
    };
    let number = Field::new("a", Type::Int);
    let pattern =
        |written: Option<&str>| with(text("a"), |f| f.limits.pattern = written.map(str::to_owned));
    let one_of = |values: &[&str]| with(text("a"), |f| f.allowed = listed(values));
    let open = |values: &[&str]| with(one_of(values), |f| f.allowed.as_mut().unwrap().open = true);
    let falls = |values: &[&str]| {
        with(one_of(values), |f| {
            f.allowed.as_mut().unwrap().fallback = Some(Value::text("x"));
        })
    };
    let decimal = |precision, scale| Type::Decimal {
        precision: Some(precision),
        scale: Some(scale),
    };
    let typed = |kind| Field::new("a", kind);
    let list = |items: Field, least, most, unique| {
        inner(Inner::List {
            items: Box::new(items),
            least,
            most,
            unique,
        })
    };
    let map = |values: Field, least, most| {
        inner(Inner::Map {
            values: Box::new(values),
            least,
            most,
        })
    };
    let object = |fields: Vec<Field>, extra| inner(Inner::Object { fields, extra });
    let null = with(text("a"), |f| f.nullable = true);
    let day = |text: &str| Some(Value::Date(text.parse().unwrap()));
    let at = |text: &str| Some(Value::Timestamp(text.parse().unwrap()));
    let time = |text: &str| Some(Value::Time(text.parse().unwrap()));
    let money = |low: &str| Some(Value::Decimal(low.parse().unwrap()));
    let free = (false, false);
    let (widened, narrowed, changed) =
        ("LSC-TYPE-WIDENED", "LSC-TYPE-NARROWED", "LSC-TYPE-CHANGED");
    vec![
        (
            "LSC-NULL-ALLOWED",
            "LSC-NULL-FORBIDDEN",
            text("a"),
            null,
            (Yes, No),
        ),
        // Types.
        (
            widened,
            narrowed,
            typed(Type::Int),
            typed(Type::Float),
            (Yes, No),
        ),
        (
            widened,
            narrowed,
            typed(Type::Timestamp),
            text("a"),
            (Yes, No),
        ),
        (widened, narrowed, typed(Type::Date), text("a"), (Yes, No)),
        (
            widened,
            narrowed,
            typed(Type::Uuid),
            long(Some(36), Some(36)),
            (Yes, No),
        ),
        (
            widened,
            narrowed,
            typed(decimal(4, 2)),
            text("a"),
            (Yes, No),
        ),
        (
            changed,
            changed,
            typed(Type::Date),
            long(None, Some(9)),
            (No, No),
        ),
        (
            changed,
            changed,
            typed(Type::Date),
            typed(Type::Timestamp),
            (No, No),
        ),
        (changed, changed, typed(Type::Int), text("a"), (No, No)),
        (
            changed,
            changed,
            typed(Type::Bool),
            typed(Type::Int),
            (No, No),
        ),
        (
            changed,
            changed,
            typed(decimal(4, 2)),
            typed(Type::Float),
            (No, No),
        ),
        (
            widened,
            narrowed,
            list(text("items"), None, None, false),
            typed(Type::Json),
            (Yes, No),
        ),
        (
            changed,
            changed,
            list(text("items"), None, None, false),
            text("a"),
            (No, No),
        ),
        (
            changed,
            changed,
            object(vec![text("b")], Extra::Reject),
            list(text("items"), None, None, false),
            (No, No),
        ),
        (
            changed,
            changed,
            object(vec![text("b"), typed(Type::Int)], Extra::Reject),
            map(text("values"), None, None),
            (No, No),
        ),
        (
            "LSC-DECIMAL-PRECISION",
            "LSC-DECIMAL-PRECISION",
            typed(decimal(4, 2)),
            typed(decimal(6, 2)),
            (Yes, No),
        ),
        (
            "LSC-DECIMAL-SCALE",
            "LSC-DECIMAL-SCALE",
            typed(decimal(4, 2)),
            typed(decimal(6, 3)),
            (No, No),
        ),
        // Counts.
        (
            "LSC-MAX-LENGTH",
            "LSC-MAX-LENGTH",
            long(None, Some(5)),
            long(None, Some(9)),
            (Yes, No),
        ),
        (
            "LSC-MAX-LENGTH",
            "LSC-MAX-LENGTH",
            long(None, Some(5)),
            long(None, None),
            (Yes, No),
        ),
        (
            "LSC-MIN-LENGTH",
            "LSC-MIN-LENGTH",
            long(Some(5), None),
            long(Some(3), None),
            (Yes, No),
        ),
        (
            "LSC-MIN-LENGTH",
            "LSC-MIN-LENGTH",
            long(Some(5), None),
            long(None, None),
            (Yes, No),
        ),
        (
            "LSC-MAX-ITEMS",
            "LSC-MAX-ITEMS",
            list(text("items"), None, Some(2), false),
            list(text("items"), None, Some(3), false),
            (Yes, No),
        ),
        (
            "LSC-MIN-ITEMS",
            "LSC-MIN-ITEMS",
            list(text("items"), Some(2), None, false),
            list(text("items"), Some(1), None, false),
            (Yes, No),
        ),
        (
            "LSC-MAX-PROPERTIES",
            "LSC-MAX-PROPERTIES",
            map(text("values"), None, Some(2)),
            map(text("values"), None, None),
            (Yes, No),
        ),
        (
            "LSC-MIN-PROPERTIES",
            "LSC-MIN-PROPERTIES",
            map(text("values"), Some(2), None),
            map(text("values"), Some(1), None),
            (Yes, No),
        ),
        (
            "LSC-UNIQUE-ITEMS",
            "LSC-UNIQUE-ITEMS",
            list(text("items"), None, None, true),
            list(text("items"), None, None, false),
            (Yes, No),
        ),
        // Bounds.
        (
            "LSC-MAXIMUM",
            "LSC-MAXIMUM",
            whole(None, Some(5)),
            whole(None, Some(9)),
            (Yes, No),
        ),
        (
            "LSC-MAXIMUM",
            "LSC-MAXIMUM",
            whole(None, Some(5)),
            whole(None, None),
            (Yes, No),
        ),
        (
            "LSC-MINIMUM",
            "LSC-MINIMUM",
            whole(Some(5), None),
            whole(Some(3), None),
            (Yes, No),
        ),
        (
            "LSC-MINIMUM",
            "LSC-MINIMUM",
            whole(Some(5), None),
            whole(None, None),
            (Yes, No),
        ),
        (
            "LSC-MINIMUM",
            "LSC-MINIMUM",
            real(0.5, false),
            real(0.25, false),
            (Yes, No),
        ),
        (
            "LSC-EXCLUSIVE-MINIMUM",
            "LSC-EXCLUSIVE-MINIMUM",
            real(0.5, true),
            real(0.5, false),
            (Yes, No),
        ),
        (
            "LSC-EXCLUSIVE-MAXIMUM",
            "LSC-EXCLUSIVE-MAXIMUM",
            real_high(0.5, true),
            real_high(0.5, false),
            (Yes, No),
        ),
        (
            "LSC-MINIMUM",
            "LSC-MINIMUM",
            range(decimal(6, 2), money("1.00"), None, free),
            range(decimal(6, 2), money("0.50"), None, free),
            (Yes, No),
        ),
        (
            "LSC-MAXIMUM",
            "LSC-MAXIMUM",
            range(Type::Date, None, day("2024-01-31"), free),
            range(Type::Date, None, day("2024-03-01"), free),
            (Yes, No),
        ),
        (
            "LSC-MINIMUM",
            "LSC-MINIMUM",
            range(Type::Timestamp, at("2024-01-31T00:00:00Z"), None, free),
            range(Type::Timestamp, at("2023-01-31T00:00:00Z"), None, free),
            (Yes, No),
        ),
        (
            "LSC-MAXIMUM",
            "LSC-MAXIMUM",
            range(Type::Time, None, time("12:00:00"), free),
            range(Type::Time, None, None, free),
            (Yes, No),
        ),
        (
            "LSC-MULTIPLE-OF",
            "LSC-MULTIPLE-OF",
            step(6),
            step(3),
            (Yes, No),
        ),
        (
            "LSC-MULTIPLE-OF",
            "LSC-MULTIPLE-OF",
            step(6),
            step(4),
            (No, No),
        ),
        (
            "LSC-MULTIPLE-OF",
            "LSC-MULTIPLE-OF",
            step(6),
            number,
            (Yes, No),
        ),
        // Patterns and forms.
        (
            "LSC-PATTERN",
            "LSC-PATTERN",
            pattern(Some("^[a-z]+$")),
            pattern(None),
            (Yes, No),
        ),
        (
            "LSC-PATTERN",
            "LSC-PATTERN",
            pattern(Some("^[a-z]{2,4}$")),
            pattern(Some("^[a-z]+$")),
            (Yes, No),
        ),
        (
            "LSC-PATTERN",
            "LSC-PATTERN",
            pattern(Some("^[a-z]+$")),
            pattern(Some("^[0-9]+$")),
            (No, No),
        ),
        (
            "LSC-FORMAT",
            "LSC-FORMAT",
            with(text("a"), |f| f.limits.format = Some(Format::Email)),
            text("a"),
            (Yes, No),
        ),
        (
            "LSC-FORMAT",
            "LSC-FORMAT",
            with(text("a"), |f| f.limits.format = Some(Format::Email)),
            with(text("a"), |f| f.limits.format = Some(Format::Ipv4)),
            (No, No),
        ),
        // Lists of values.
        (
            "LSC-ENUM-VALUE-ADDED",
            "LSC-ENUM-VALUE-REMOVED",
            one_of(&["x", "y"]),
            one_of(&["x", "y", "z"]),
            (Yes, No),
        ),
        (
            "LSC-ENUM-VALUE-ADDED",
            "LSC-ENUM-VALUE-REMOVED",
            open(&["x", "y"]),
            open(&["x", "y", "z"]),
            (Yes, Yes),
        ),
        (
            "LSC-ENUM-VALUE-ADDED",
            "LSC-ENUM-VALUE-REMOVED",
            falls(&["x", "y"]),
            falls(&["x", "y", "z"]),
            (Yes, Yes),
        ),
        (
            "LSC-ENUM-ADDED",
            "LSC-ENUM-REMOVED",
            text("a"),
            one_of(&["x", "y"]),
            (No, Yes),
        ),
        (
            "LSC-ENUM-CLOSED",
            "LSC-ENUM-OPENED",
            open(&["x", "y"]),
            one_of(&["x", "y"]),
            (Yes, Yes),
        ),
        (
            "LSC-ENUM-FALLBACK",
            "LSC-ENUM-FALLBACK",
            one_of(&["x", "y"]),
            falls(&["x", "y"]),
            (Yes, Yes),
        ),
        (
            "LSC-CONST",
            "LSC-CONST",
            one_of(&["x"]),
            one_of(&["y"]),
            (No, No),
        ),
        // Inside of documents.
        (
            "LSC-MAX-LENGTH",
            "LSC-MAX-LENGTH",
            list(
                with(long(None, Some(5)), |f| f.name = "items".into()),
                None,
                None,
                false,
            ),
            list(
                with(long(None, Some(9)), |f| f.name = "items".into()),
                None,
                None,
                false,
            ),
            (Yes, No),
        ),
        (
            "LSC-NULL-ALLOWED",
            "LSC-NULL-FORBIDDEN",
            map(text("values"), None, None),
            map(with(text("values"), |f| f.nullable = true), None, None),
            (Yes, No),
        ),
        (
            "LSC-FIELD-ADDED-REQUIRED",
            "LSC-FIELD-REMOVED-REQUIRED",
            object(vec![text("b")], Extra::Reject),
            object(vec![text("b"), text("c")], Extra::Reject),
            (No, Yes),
        ),
        (
            "LSC-EXTRA",
            "LSC-EXTRA",
            object(vec![text("b")], Extra::Keep),
            object(vec![text("b")], Extra::Reject),
            (No, Yes),
        ),
    ]
}
