//! Contracts and records on both sides of every limit, for properties.

use proptest::prelude::*;
use serde_json::{Map, Value as Json, json};

use crate::contract::wire::to_json;
use crate::contract::{Allowed, Extra, Field, Format, Inner, Limits};
use crate::value::{Cell, Decimal, Type, Value};

fn field(name: &str, kind: Type) -> Field {
    Field::new(name, kind)
}

/// A field, and a strategy for its cells.
pub(in crate::contract::check) type Pair = (Field, BoxedStrategy<Cell>);

/// A field with its limits, and values on both sides of them.
pub(in crate::contract::check) fn fields() -> impl Strategy<Value = Pair> {
    around(prop_oneof![3 => kinds(), 1 => documents(2)])
}

/// Fields of these kinds, now and then absent, null or of another type.
fn around(
    kinds: impl Strategy<Value = (Field, BoxedStrategy<Value>)>,
) -> impl Strategy<Value = Pair> {
    (kinds, any::<(bool, bool)>()).prop_map(|((mut field, values), (required, nullable))| {
        field.required = required;
        field.nullable = nullable;
        let cell = prop_oneof![
            8 => values.prop_map(Cell::Set),
            1 => Just(Cell::Set(Value::Null)),
            1 => Just(Cell::Unchanged),
            1 => Just(Cell::Set(Value::text("of another type"))),
            1 => Just(Cell::Set(Value::Bool(true))),
        ];
        (field, cell.boxed())
    })
}

fn kinds() -> BoxedStrategy<(Field, BoxedStrategy<Value>)> {
    prop_oneof![
        texts(),
        lists(),
        integers(),
        decimals(),
        floats(),
        dates(),
        bytes(),
        forms(),
        plain()
    ]
    .boxed()
}

fn texts() -> impl Strategy<Value = (Field, BoxedStrategy<Value>)> {
    let patterns = prop_oneof![
        Just(None),
        Just(Some("^[A-Z]{2}$".to_owned())),
        Just(Some(r"^[^@\s]+@[^@\s]+$".to_owned())),
        Just(Some(r"\d".to_owned())),
    ];
    let lengths = (proptest::option::of(0u64..4), proptest::option::of(0u64..6));
    (patterns, lengths).prop_map(|(pattern, (min_length, max_length))| {
        let limits = Limits {
            min_length,
            max_length,
            pattern,
            ..Limits::default()
        };
        let values = prop_oneof!["[A-Z]{2}", "[a-z@ äß१1]{0,6}", ".{0,8}"];
        let field = Field {
            limits,
            ..field("", Type::Text)
        };
        (field, values.prop_map(Value::Text).boxed())
    })
}

fn lists() -> impl Strategy<Value = (Field, BoxedStrategy<Value>)> {
    let list = proptest::collection::hash_set("[a-d]{1,2}", 1..14);
    (list, any::<bool>()).prop_map(|(list, open)| {
        let values = list.into_iter().map(Value::Text).collect();
        let field = Field {
            allowed: Some(Allowed {
                values,
                open,
                fallback: None,
            }),
            ..field("", Type::Text)
        };
        (field, "[a-d]{1,2}".prop_map(Value::Text).boxed())
    })
}

fn integers() -> impl Strategy<Value = (Field, BoxedStrategy<Value>)> {
    let step = prop_oneof![Just(None), (1i64..4).prop_map(Some)];
    (bounds(-5i64..5), step).prop_map(|((low, high, exclusive), step)| {
        let limits = Limits {
            minimum: low.map(Value::Int),
            maximum: high.map(Value::Int),
            exclusive_minimum: exclusive.0,
            exclusive_maximum: exclusive.1,
            multiple_of: step.map(Value::Int),
            ..Limits::default()
        };
        let values = prop_oneof![4 => -8i64..8, 1 => Just(i64::MIN), 1 => Just(i64::MAX)];
        let field = Field {
            limits,
            ..field("", Type::Int)
        };
        (field, values.prop_map(Value::Int).boxed())
    })
}

fn decimals() -> impl Strategy<Value = (Field, BoxedStrategy<Value>)> {
    // Decimals are judged in two ways, by their width.
    let more = prop_oneof![0u32..3, 13u32..22];
    (bounds(-250i64..250), 0u32..4, more).prop_map(|((low, high, exclusive), scale, more)| {
        let at = move |units: i64| Value::Decimal(Decimal::from_units(units, scale));
        let limits = Limits {
            minimum: low.map(at),
            maximum: high.map(at),
            exclusive_minimum: exclusive.0,
            exclusive_maximum: exclusive.1,
            ..Limits::default()
        };
        let kind = Type::Decimal {
            precision: Some((scale + more).max(1)),
            scale: Some(scale),
        };
        let values = (
            prop_oneof![-300i64..300, -20_000i64..20_000, any::<i64>()],
            0u32..5,
        );
        let values = values.prop_map(move |(units, other)| {
            // Now and then a scale that is not the contract's.
            let scale = if other == 4 { scale + 1 } else { scale };
            Value::Decimal(Decimal::from_units(units, scale))
        });
        let field = Field {
            limits,
            ..field("", kind)
        };
        (field, values.boxed())
    })
}

fn floats() -> impl Strategy<Value = (Field, BoxedStrategy<Value>)> {
    bounds(-5i64..5).prop_map(|(low, high, exclusive)| {
        let limits = Limits {
            minimum: low.map(|low| Value::Float(low as f64 / 2.0)),
            maximum: high.map(|high| Value::Float(high as f64 / 2.0)),
            exclusive_minimum: exclusive.0,
            exclusive_maximum: exclusive.1,
            ..Limits::default()
        };
        let values = prop_oneof![
            (-10i64..10).prop_map(|half| half as f64 / 2.0),
            proptest::num::f64::NORMAL
        ];
        let field = Field {
            limits,
            ..field("", Type::Float)
        };
        (field, values.prop_map(Value::Float).boxed())
    })
}

fn dates() -> impl Strategy<Value = (Field, BoxedStrategy<Value>)> {
    let day = |days: i64| {
        let start = jiff::civil::date(2024, 2, 20);
        Value::Date(start.saturating_add(jiff::Span::new().days(days)))
    };
    bounds(-400i64..400).prop_map(move |(low, high, exclusive)| {
        let limits = Limits {
            minimum: low.map(day),
            maximum: high.map(day),
            exclusive_minimum: exclusive.0,
            exclusive_maximum: exclusive.1,
            ..Limits::default()
        };
        let values = prop_oneof![8 => -450i64..450, 1 => Just(-1_000_000), 1 => Just(5_000_000)];
        let field = Field {
            limits,
            ..field("", Type::Date)
        };
        (field, values.prop_map(day).boxed())
    })
}

fn bytes() -> impl Strategy<Value = (Field, BoxedStrategy<Value>)> {
    let lengths = (
        proptest::option::of(0u64..8),
        proptest::option::of(0u64..10),
    );
    lengths.prop_map(|(min_length, max_length)| {
        let limits = Limits {
            min_length,
            max_length,
            ..Limits::default()
        };
        let values = proptest::collection::vec(any::<u8>(), 0..12);
        let field = Field {
            limits,
            ..field("", Type::Bytes)
        };
        (field, values.prop_map(Value::Bytes).boxed())
    })
}

/// The types without limits of their own, each with extreme values.
fn plain() -> impl Strategy<Value = (Field, BoxedStrategy<Value>)> {
    let times = (0i8..24, 0i8..60, 0i8..60, 0i32..1_000_000_000)
        .prop_map(|(h, m, s, n)| Value::Time(jiff::civil::time(h, m, s, n)));
    let instants = prop_oneof![
        Just(jiff::Timestamp::MIN),
        Just(jiff::Timestamp::MAX),
        (-70_000_000_000i64..253_000_000_000, 0i32..1_000_000_000)
            .prop_map(|(s, n)| jiff::Timestamp::new(s, n).unwrap()),
    ]
    .prop_map(Value::Timestamp);
    let documents = prop_oneof![
        Just("null"),
        Just("{\"a\": [1]}"),
        Just(" 1.5"),
        Just("\"x\"")
    ]
    .prop_map(|text| Value::Json(text.into()));
    prop_oneof![
        Just((
            field("", Type::Bool),
            any::<bool>().prop_map(Value::Bool).boxed()
        )),
        Just((field("", Type::Time), times.boxed())),
        Just((field("", Type::Timestamp), instants.boxed())),
        Just((
            field("", Type::Uuid),
            any::<u128>()
                .prop_map(|id| Value::Uuid(uuid::Uuid::from_u128(id)))
                .boxed()
        )),
        Just((field("", Type::Json), documents.boxed())),
    ]
}

fn bounds(
    range: std::ops::Range<i64>,
) -> impl Strategy<Value = (Option<i64>, Option<i64>, (bool, bool))> {
    let bound = proptest::option::of(range);
    (bound.clone(), bound, any::<(bool, bool)>())
}

fn forms() -> impl Strategy<Value = (Field, BoxedStrategy<Value>)> {
    let form = prop_oneof![
        Just((Format::Email, "[a-c.]{0,3}@?[a-c.-]{0,6}")),
        Just((Format::Hostname, "[a-c.-]{0,6}")),
        Just((Format::Ipv4, "([0-9]{1,3}\\.){2,3}[0-9]{1,3}")),
        Just((Format::Ipv6, "([0-9a-f]{0,2}:){1,8}[0-9a-f]{0,4}")),
        Just((Format::Uri, "[a-c]{0,2}:?/{0,2}[a-c/?# ]{0,6}")),
    ];
    form.prop_map(|(form, values)| {
        let limits = Limits {
            format: Some(form),
            ..Limits::default()
        };
        let field = Field {
            limits,
            ..field("", Type::Text)
        };
        (field, values.prop_map(Value::Text).boxed())
    })
}

/// Documents whose inside is agreed on.
fn documents(depth: u32) -> BoxedStrategy<(Field, BoxedStrategy<Value>)> {
    let inner = if depth == 0 {
        around(kinds()).boxed()
    } else {
        around(prop_oneof![3 => kinds(), 1 => documents(depth - 1)]).boxed()
    };
    prop_oneof![
        objects(inner.clone()),
        lists_of(inner.clone()),
        maps_of(inner)
    ]
    .boxed()
}

fn document(
    inner: Inner,
    values: impl Strategy<Value = Json> + 'static,
) -> (Field, BoxedStrategy<Value>) {
    let field = Field {
        inner: Some(inner),
        ..field("", Type::Json)
    };
    let other = prop_oneof![Just(json!([])), Just(json!({})), Just(json!(7))];
    let values = prop_oneof![9 => values.boxed(), 1 => other];
    let text = values.prop_map(|value| Value::Json(value.to_string().into()));
    (field, text.boxed())
}

fn objects(inner: BoxedStrategy<Pair>) -> impl Strategy<Value = (Field, BoxedStrategy<Value>)> {
    let extra = prop_oneof![Just(Extra::Reject), Just(Extra::Keep), Just(Extra::Drop)];
    (proptest::collection::vec(inner, 0..4), extra).prop_map(|(members, extra)| {
        let (mut fields, cells): (Vec<_>, Vec<_>) = members.into_iter().unzip();
        for (at, field) in fields.iter_mut().enumerate() {
            field.name = format!("m{at}");
        }
        let values = (cells, proptest::bool::weighted(0.2)).prop_map(|(cells, more)| {
            let mut object = Map::new();
            for (at, cell) in cells.iter().enumerate() {
                if let Cell::Set(value) = cell {
                    object.insert(format!("m{at}"), to_json(value));
                }
            }
            if more {
                object.insert("other".into(), json!(1));
            }
            Json::Object(object)
        });
        document(Inner::Object { fields, extra }, values)
    })
}

/// What stands in a cell, null where nothing does.
fn standing(cell: &Cell) -> Json {
    cell.value().map_or(Json::Null, to_json)
}

fn lists_of(inner: BoxedStrategy<Pair>) -> impl Strategy<Value = (Field, BoxedStrategy<Value>)> {
    let count = proptest::option::of(0u64..4);
    (inner, count.clone(), count, any::<bool>()).prop_map(
        |((items, cells), least, most, unique)| {
            let values = proptest::collection::vec(cells, 0..5)
                .prop_map(|cells| cells.iter().map(standing).collect::<Json>());
            let inner = Inner::List {
                items: Box::new(items),
                least,
                most,
                unique,
            };
            document(inner, values)
        },
    )
}

fn maps_of(inner: BoxedStrategy<Pair>) -> impl Strategy<Value = (Field, BoxedStrategy<Value>)> {
    let count = proptest::option::of(0u64..4);
    (inner, count.clone(), count).prop_map(|((entry, cells), least, most)| {
        let values = proptest::collection::hash_map("[a-e]", cells, 0..5).prop_map(|entries| {
            let entries = entries
                .iter()
                .map(|(name, cell)| (name.clone(), standing(cell)));
            Json::Object(entries.collect())
        });
        let inner = Inner::Map {
            values: Box::new(entry),
            least,
            most,
        };
        document(inner, values)
    })
}
