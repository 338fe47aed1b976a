//! Contracts with small limits, small edits of them, and records around those limits.

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::contract::{Extra, Format};

/// A contract with a key and a few fields, in documents too.
pub(super) fn contracts() -> impl Strategy<Value = Contract> {
    let extras =
        prop_oneof![6 => Just(Extra::Reject), 1 => Just(Extra::Keep), 1 => Just(Extra::Drop)];
    (proptest::collection::vec(fields(2), 1..4), extras).prop_map(|(fields, extra)| {
        let fields = fields
            .into_iter()
            .zip(["a", "b", "c"])
            .map(|(mut field, name)| {
                field.name = name.into();
                field
            });
        Contract {
            extra,
            ..contract("1.0.0", fields.collect())
        }
    })
}

/// A contract and a slightly different one, or any other one.
pub(super) fn pairs() -> impl Strategy<Value = (Contract, Contract)> {
    let edited = (
        contracts(),
        fields(2),
        0..8usize,
        any::<prop::sample::Index>(),
    )
        .prop_map(|(old, other, edit, at)| {
            let mut new = old.clone();
            new.version = "1.1.0".parse().unwrap();
            let at = 1 + at.index(new.fields.len() - 1);
            let field = &mut new.fields[at];
            let other = Field {
                name: field.name.clone(),
                ..other
            };
            match edit {
                0 => *field = other,
                1 if field.kind == other.kind => field.limits = other.limits,
                2 => field.allowed = other.allowed,
                3 => field.required = !field.required,
                4 => field.nullable = !field.nullable,
                5 => _ = new.fields.remove(at),
                6 => field.default = None,
                _ => new.extra = Extra::Reject,
            }
            (old, new)
        });
    prop_oneof![3 => edited, 2 => alike(), 1 => (contracts(), contracts())]
}

/// Two fields of one kind with other limits, which is where sets are nearly one in the other.
fn alike() -> impl Strategy<Value = (Contract, Contract)> {
    fn twice(kind: BoxedStrategy<Field>) -> BoxedStrategy<(Field, Field)> {
        (kind.clone(), kind).boxed()
    }
    let kinds = prop_oneof![
        twice(texts().boxed()),
        twice(integers().boxed()),
        twice(floats().boxed()),
        twice(decimals().boxed()),
        twice(days().boxed()),
        twice(bytes().boxed()),
        twice(documents(2).boxed()),
    ];
    (kinds, any::<[bool; 2]>(), any::<[bool; 2]>()).prop_map(
        |((mut old, mut new), required, nullable)| {
            for (field, i) in [(&mut old, 0), (&mut new, 1)] {
                field.name = "a".into();
                field.required = required[i];
                field.nullable = nullable[i];
            }
            (contract("1.0.0", vec![old]), contract("1.1.0", vec![new]))
        },
    )
}

fn fields(depth: u32) -> BoxedStrategy<Field> {
    let kinds = prop_oneof![
        4 => texts(),
        2 => integers(),
        1 => floats(),
        1 => decimals(),
        1 => days(),
        1 => bytes(),
        1 => Just(Field::new("", Type::Bool)),
        1 => Just(Field::new("", Type::Uuid)),
        1 => Just(Field::new("", Type::Timestamp)),
        1 => Just(Field::new("", Type::Json)),
        2 => documents(depth),
    ];
    (kinds, any::<(bool, bool)>())
        .prop_map(|(mut field, (required, nullable))| {
            field.required = required;
            field.nullable = nullable;
            field
        })
        .boxed()
}

fn small(most: u64) -> impl Strategy<Value = Option<u64>> {
    proptest::option::of(0..most)
}

fn texts() -> BoxedStrategy<Field> {
    let patterns = proptest::option::of(prop_oneof![
        Just("^[ab]$"),
        Just("^[a-c]*$"),
        Just("a"),
        Just("^a+b?$"),
        Just("^(?:ab|c){1,2}$"),
        Just(r"^\d{2}$"),
        Just("^[^a]+$"),
        Just(r"^\d{4}-\d{2}-\d{2}$"),
        Just("^$"),
        Just(r"\bb\b"),
    ]);
    let words = proptest::sample::subsequence(vec!["a", "b", "ab", "abc", "c", "12", ""], 1..4);
    let allowed = proptest::option::weighted(0.4, (words, any::<bool>(), any::<bool>()));
    let formats = proptest::option::weighted(0.1, Just(Format::Ipv4));
    (
        patterns,
        small(4),
        small(5),
        allowed,
        formats,
        any::<bool>(),
    )
        .prop_map(|(pattern, least, most, allowed, format, default)| {
            with(text(""), |field| {
                field.limits.pattern = pattern.map(str::to_owned);
                field.limits.min_length = least;
                field.limits.max_length = most;
                field.limits.format = format;
                field.default = default.then(|| Value::text("a"));
                field.allowed = allowed.map(|(values, open, fallback)| Allowed {
                    open: open && !fallback,
                    fallback: fallback.then(|| Value::text(values[0])),
                    ..listed(&values).unwrap()
                });
            })
        })
        .boxed()
}

fn integers() -> BoxedStrategy<Field> {
    let bound = || proptest::option::of(-4i64..6);
    let listed = proptest::option::weighted(0.2, proptest::collection::btree_set(-3i64..5, 1..4));
    let step = proptest::option::weighted(0.3, 1i64..5);
    (bound(), bound(), any::<[bool; 2]>(), step, listed)
        .prop_map(|(low, high, out, step, values)| {
            with(Field::new("", Type::Int), |field| {
                field.limits.minimum = low.map(Value::Int);
                field.limits.maximum = high.map(Value::Int);
                [
                    field.limits.exclusive_minimum,
                    field.limits.exclusive_maximum,
                ] = out;
                field.limits.multiple_of = step.map(Value::Int);
                field.allowed = values.map(|values| Allowed {
                    values: values.into_iter().map(Value::Int).collect(),
                    open: false,
                    fallback: None,
                });
            })
        })
        .boxed()
}

fn floats() -> BoxedStrategy<Field> {
    let bound = || proptest::option::of((-4i32..6).prop_map(|n| f64::from(n) / 2.0));
    (bound(), bound(), any::<[bool; 2]>())
        .prop_map(|(low, high, out)| {
            with(Field::new("", Type::Float), |field| {
                field.limits.minimum = low.map(Value::Float);
                field.limits.maximum = high.map(Value::Float);
                [
                    field.limits.exclusive_minimum,
                    field.limits.exclusive_maximum,
                ] = out;
            })
        })
        .boxed()
}

fn decimals() -> BoxedStrategy<Field> {
    let bound = || proptest::option::of(-120i64..120);
    (bound(), bound(), any::<[bool; 2]>(), 0u32..3, 0u32..3)
        .prop_map(|(low, high, out, scale, more)| {
            let kind = Type::Decimal {
                precision: Some((scale + more).max(1)),
                scale: Some(scale),
            };
            let number = |units: i64| Value::Decimal(crate::Decimal::from_units(units, scale));
            with(Field::new("", kind), |field| {
                field.limits.minimum = low.map(number);
                field.limits.maximum = high.map(number);
                [
                    field.limits.exclusive_minimum,
                    field.limits.exclusive_maximum,
                ] = out;
            })
        })
        .boxed()
}

fn days() -> BoxedStrategy<Field> {
    let bound = || {
        proptest::option::of((25i8..31, any::<bool>()).prop_map(|(day, leap)| {
            Value::Date(if leap {
                jiff::civil::date(2024, 2, day.min(29))
            } else {
                jiff::civil::date(2024, 1, day)
            })
        }))
    };
    (bound(), bound(), any::<[bool; 2]>())
        .prop_map(|(low, high, out)| {
            with(Field::new("", Type::Date), |field| {
                field.limits.minimum = low;
                field.limits.maximum = high;
                [
                    field.limits.exclusive_minimum,
                    field.limits.exclusive_maximum,
                ] = out;
            })
        })
        .boxed()
}

fn bytes() -> BoxedStrategy<Field> {
    (small(4), small(6))
        .prop_map(|(least, most)| {
            with(Field::new("", Type::Bytes), |field| {
                field.limits.min_length = least;
                field.limits.max_length = most;
            })
        })
        .boxed()
}

fn documents(depth: u32) -> BoxedStrategy<Field> {
    if depth == 0 {
        return Just(Field::new("", Type::Json)).boxed();
    }
    let named = |mut field: Field, name: &str| {
        field.name = name.into();
        field
    };
    let extras = prop_oneof![3 => Just(Extra::Reject), 1 => Just(Extra::Keep)];
    let object = (proptest::collection::vec(fields(depth - 1), 1..3), extras).prop_map(
        move |(fields, extra)| {
            let fields = fields
                .into_iter()
                .zip(["x", "y"])
                .map(|(field, name)| named(field, name));
            Inner::Object {
                fields: fields.collect(),
                extra,
            }
        },
    );
    let list = (fields(depth - 1), small(3), small(4), any::<bool>()).prop_map(
        move |(items, least, most, unique)| {
            // What stands in a list is there.
            let items = Field {
                required: true,
                ..named(items, "items")
            };
            Inner::List {
                items: Box::new(items),
                least,
                most,
                unique,
            }
        },
    );
    let map = (fields(depth - 1), small(3), small(4)).prop_map(move |(values, least, most)| {
        let values = Field {
            required: true,
            ..named(values, "values")
        };
        Inner::Map {
            values: Box::new(values),
            least,
            most,
        }
    });
    prop_oneof![object.boxed(), list.boxed(), map.boxed()]
        .prop_map(|inside| with(inner(inside), |field| field.name = String::new()))
        .boxed()
}

/// Values of every type, on both sides of the limits above.
pub(super) fn values() -> Vec<Json> {
    let mut all = vec![
        json!(null),
        json!(true),
        json!(false),
        json!([]),
        json!({}),
        json!([[]]),
        json!([{}]),
        json!([null]),
        json!({"x": null}),
        json!("2024-01-31"),
        json!("2024-01-25"),
        json!("2024-02-29"),
        json!("2024-01-31T00:00:00Z"),
        json!("12:00:00"),
        json!("00000000-0000-0000-0000-000000000000"),
        json!("ann@example.com"),
        json!("example.com"),
        json!("192.0.2.1"),
        json!("::1"),
        json!("urn:a"),
        json!("AAAA"),
        json!("AA=="),
        json!("AAA="),
        json!("AAAAAAA="),
        json!("AAAAAAAA"),
        json!("x b x"),
        json!("ä"),
        json!("ab ab"),
        json!("-0"),
        json!(1e30),
        json!("unknown"),
        json!("\n"),
    ];
    let texts = [
        "", "a", "b", "c", "ab", "ba", "bb", "abc", "aab", "aaaa", "abab", "cab", "12", "34", "00",
        "123", "d", "aaaaaa",
    ];
    all.extend(texts.map(Json::from));
    all.extend((-6..8).map(Json::from));
    all.extend((-9..12).map(|n| json!(f64::from(n) / 4.0)));
    for units in (-130..130).step_by(7).chain([0, 1, 99, 100, -99, -100]) {
        all.extend((0..3).map(|scale| json!(crate::Decimal::from_units(units, scale).as_str())));
    }
    let few: Vec<Json> = all
        .iter()
        .filter(|value| !value.is_array() && !value.is_object())
        .step_by(5)
        .cloned()
        .collect();
    for value in &few {
        all.push(json!([value]));
        all.push(json!([value, value]));
        all.push(json!([value, "a", 1]));
        all.push(json!({"x": value}));
        all.push(json!({"x": value, "y": value}));
        all.push(json!({"x": "a", "y": value, "z": 1}));
        all.push(json!({"k": value, "l": value}));
    }
    all
}
