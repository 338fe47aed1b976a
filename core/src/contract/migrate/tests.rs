//! Records carried over between versions.

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::contract::{Allowed, Field, Step as Written};
use crate::position::Mark;
use crate::value::Type;

fn contract(version: &str, fields: Vec<Field>) -> Contract {
    Contract::new("thing", version.parse().unwrap(), fields)
}

fn field(name: &str, kind: Type) -> Field {
    Field::new(name, kind)
}

fn optional(name: &str, kind: Type) -> Field {
    Field {
        required: false,
        nullable: true,
        ..Field::new(name, kind)
    }
}

fn migration(from: &str, to: &str, up: Vec<Written>, down: Vec<Written>) -> Migration {
    Migration {
        from: from.parse().unwrap(),
        to: to.parse().unwrap(),
        up,
        down,
    }
}

fn rename(from: &str, to: &str) -> Written {
    Written::Rename {
        from: from.to_owned(),
        to: to.to_owned(),
    }
}

fn set(field: &str, value: Value) -> Written {
    Written::Set {
        field: field.to_owned(),
        value,
    }
}

fn compute(field: &str, expression: &str) -> Written {
    Written::Compute {
        field: field.to_owned(),
        expression: expression.to_owned(),
    }
}

fn drop_field(field: &str) -> Written {
    Written::Drop {
        field: field.to_owned(),
    }
}

fn map(field: &str, values: &[(&str, &str)]) -> Written {
    let pair = |(from, to): &(&str, &str)| (Value::text(*from), Value::text(*to));
    Written::Map {
        field: field.to_owned(),
        values: values.iter().map(pair).collect(),
    }
}

fn faults(result: Result<Way, Vec<Fault>>) -> Vec<(String, String)> {
    let faults = result.err().unwrap_or_default();
    faults
        .into_iter()
        .map(|fault| (fault.pointer, fault.message))
        .collect()
}

/// Three versions: an addition with a default, then a major with renames, a split and a code list.
fn versions() -> [Contract; 3] {
    let one = contract(
        "1.0.0",
        vec![
            field("id", Type::Int),
            field("name", Type::Text),
            field("state", Type::Text),
        ],
    );
    let mut fields = one.fields.clone();
    fields.push(Field {
        default: Some(Value::Int(0)),
        ..field("points", Type::Int)
    });
    let two = contract("1.1.0", fields);
    let three = Contract {
        migrations: vec![migration(
            "1.1.0",
            "2.0.0",
            vec![
                rename("name", "title"),
                map("state", &[("open", "active"), ("shut", "closed")]),
                compute("label", "title + '!'"),
                rename("points", "score"),
            ],
            vec![
                rename("title", "name"),
                drop_field("label"),
                map("state", &[("active", "open"), ("closed", "shut")]),
                rename("score", "points"),
            ],
        )],
        ..contract(
            "2.0.0",
            vec![
                field("id", Type::Int),
                field("title", Type::Text),
                Field {
                    allowed: Some(Allowed {
                        values: ["active", "closed"].map(Value::text).to_vec(),
                        open: false,
                        fallback: None,
                    }),
                    ..field("state", Type::Text)
                },
                field("label", Type::Text),
                field(
                    "score",
                    Type::Decimal {
                        precision: None,
                        scale: None,
                    },
                ),
            ],
        )
    };
    [one, two, three]
}

fn texts(row: &Row) -> Vec<String> {
    let text = |cell: &Cell| cell.value().map_or("-".to_owned(), ToString::to_string);
    row.0.iter().map(text).collect()
}

#[test]
fn a_record_is_carried_over_several_versions() {
    let [one, two, three] = versions();
    let row = Row::of([Value::Int(7), Value::text("Ann"), Value::text("shut")]);
    // A default that stood in a version in between is known to that version only.
    let found = faults(Way::up(&one, &three, &three.migrations));
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].0, "/fields/score");
    assert!(Route::between(&one, &three, &[]).is_err());
    let route = Route::between(&one, &three, &[&two]).unwrap();
    let change = Change {
        shape: one.shape(),
        op: Op::Created,
        row,
        before: None,
        mark: Mark::default(),
        committed_at: Timestamp::UNIX_EPOCH,
        origin: None,
    };
    let risen = route.change(&change).unwrap();
    assert_eq!(texts(&risen.row), ["7", "Ann", "closed", "Ann!", "0"]);
    let sunk = Route::between(&three, &one, &[&two])
        .unwrap()
        .change(&risen);
    assert_eq!(sunk.unwrap().row, change.row);
}

#[test]
fn records_from_before_a_migration_may_lack_its_fields() {
    let [one, _, mut three] = versions();
    three.fields[4].default = Some(Value::Decimal("1".parse().unwrap()));
    let up = Way::up(&one, &three, &three.migrations).unwrap();
    let row = Row::of([Value::Int(7), Value::text("Ann"), Value::text("open")]);
    let risen = up.row(&row, true).unwrap();
    assert_eq!(texts(&risen), ["7", "Ann", "active", "Ann!", "1"]);
}

#[test]
fn a_patch_stays_a_patch() {
    let [_, two, three] = versions();
    let up = Way::up(&two, &three, &three.migrations).unwrap();
    let patch = |cells: [Option<Value>; 4]| {
        Row(cells
            .map(|cell| cell.map_or(Cell::Unchanged, Cell::Set))
            .to_vec())
    };
    let risen = up.row(
        &patch([Some(Value::Int(7)), None, Some(Value::text("open")), None]),
        false,
    );
    assert_eq!(texts(&risen.unwrap()), ["7", "-", "active", "-", "-"]);
    let risen = up.row(
        &patch([Some(Value::Int(7)), Some(Value::text("Bo")), None, None]),
        false,
    );
    assert_eq!(texts(&risen.unwrap()), ["7", "Bo", "-", "Bo!", "-"]);
}

#[test]
fn a_delete_carries_its_key_and_a_rename_of_the_key_keeps_it() {
    let old = contract(
        "1.0.0",
        vec![field("no", Type::Text), field("a", Type::Text)],
    );
    let new = Contract {
        key: vec![1],
        lane_key: vec![1],
        migrations: vec![migration(
            "1.0.0",
            "2.0.0",
            vec![rename("no", "id")],
            vec![rename("id", "no")],
        )],
        ..contract(
            "2.0.0",
            vec![field("a", Type::Text), field("id", Type::Text)],
        )
    };
    let chain = Chain::compile(&old, &new, &new.migrations).unwrap();
    let change = Change {
        shape: old.shape(),
        op: Op::Deleted,
        row: Row(vec![Cell::Set(Value::text("k")), Cell::Unchanged]),
        before: None,
        mark: Mark::default(),
        committed_at: Timestamp::UNIX_EPOCH,
        origin: None,
    };
    let risen = chain.up.change(&change).unwrap();
    assert_eq!(risen.row.0, [Cell::Unchanged, Cell::Set(Value::text("k"))]);
    assert_eq!(risen.shape, new.shape());
    assert_eq!(chain.down.change(&risen).unwrap().row, change.row);
}

#[test]
fn what_cannot_be_is_named_with_its_part() {
    let old = contract(
        "1.0.0",
        vec![field("id", Type::Int), field("at", Type::Date)],
    );
    let new = |fields: Vec<Field>| contract("2.0.0", fields);
    let steps = |up: Vec<Written>| vec![migration("1.0.0", "2.0.0", up, Vec::new())];
    let same = new(old.fields.clone());
    let table: Vec<(Contract, Vec<Written>, &str, &str)> = vec![
        (
            same.clone(),
            vec![rename("idd", "x")],
            "/migrations/0/up/0",
            "no field `idd`",
        ),
        (
            same.clone(),
            vec![rename("at", "id")],
            "/migrations/0/up/0",
            "a field `id` already",
        ),
        (
            same.clone(),
            vec![drop_field("gone")],
            "/migrations/0/up/0",
            "no field `gone`",
        ),
        (
            same.clone(),
            vec![compute("at", "idd + 1")],
            "/migrations/0/up/0",
            "does not compile",
        ),
        (
            same,
            vec![compute("id", "id + 1")],
            "/key",
            "cannot change it",
        ),
        (
            new(vec![field("at", Type::Date)]),
            vec![],
            "/key",
            "cannot change it",
        ),
        (
            new(vec![
                field("id", Type::Int),
                field("at", Type::Date),
                field("new", Type::Text),
            ]),
            vec![],
            "/fields/new",
            "`new` is required in 2.0.0",
        ),
        (
            new(vec![field("id", Type::Int), field("at", Type::Uuid)]),
            vec![],
            "/fields/at",
            "date can never become uuid",
        ),
    ];
    for (new, up, pointer, message) in table {
        let found = faults(Way::up(&old, &new, &steps(up)));
        assert!(
            found
                .iter()
                .any(|(at, said)| at == pointer && said.contains(message)),
            "{message}: {found:?}"
        );
    }
}

#[test]
fn what_a_record_breaks_in_the_other_version_is_reported_without_protected_values() {
    let old = contract(
        "1.0.0",
        vec![field("id", Type::Int), field("mail", Type::Text)],
    );
    let mut fields = old.fields.clone();
    fields[1].class = Class::Personal;
    fields[1].limits.max_length = Some(3);
    let new = contract("1.1.0", fields);
    let up = Way::up(&old, &new, &[]).unwrap();
    let row = Row::of([Value::Int(1), Value::text("secret@x")]);
    let found = up.row(&row, true).unwrap_err();
    assert_eq!(found.len(), 1);
    assert!(!found[0].message.contains("secret"), "{}", found[0].message);
}

#[test]
fn a_value_that_a_version_does_not_know_becomes_its_fallback() {
    let allowed = |values: &[&str], fallback: Option<&str>| {
        Some(Allowed {
            values: values.iter().map(|v| Value::text(*v)).collect(),
            open: false,
            fallback: fallback.map(Value::text),
        })
    };
    let old = contract(
        "1.0.0",
        vec![
            field("id", Type::Int),
            Field {
                allowed: allowed(&["a", "other"], Some("other")),
                ..field("kind", Type::Text)
            },
        ],
    );
    let mut new = contract("1.1.0", old.fields.clone());
    new.fields[1].allowed = allowed(&["a", "b", "other"], Some("other"));
    let chain = Chain::compile(&old, &new, &[]).unwrap();
    let row = Row::of([Value::Int(1), Value::text("b")]);
    assert_eq!(texts(&chain.down.row(&row, true).unwrap()), ["1", "other"]);
}

#[test]
fn equal_versions_have_a_plain_way() {
    let [one, ..] = versions();
    let patch = Contract {
        version: "1.0.1".parse().unwrap(),
        ..one.clone()
    };
    assert!(Way::between(&one, &patch).unwrap().is_plain());
    let [one, two, _] = versions();
    assert!(!Way::between(&two, &one).unwrap().is_plain());
}

/// A chain that can be gone both ways: renames, moves and code lists over some fields.
fn invertible() -> impl Strategy<Value = (Contract, Contract)> {
    let fields = 1..6usize;
    (fields, any::<u64>(), prop::bool::ANY).prop_map(|(count, seed, mapped)| {
        let name = |n: usize| format!("f{n}");
        let mut old = vec![field("id", Type::Int)];
        old.extend((0..count).map(|n| optional(&name(n), Type::Text)));
        let (mut up, mut down) = (Vec::new(), Vec::new());
        let mut new = vec![field("id", Type::Int)];
        for n in 0..count {
            let renamed = (seed >> n) & 1 == 1;
            let to = if renamed { format!("g{n}") } else { name(n) };
            if renamed {
                up.push(rename(&name(n), &to));
                down.insert(0, rename(&to, &name(n)));
            }
            new.push(optional(&to, Type::Text));
        }
        if mapped {
            let to = new[1].name.clone();
            up.push(map(&to, &[("a", "A"), ("b", "B")]));
            down.insert(0, map(&to, &[("A", "a"), ("B", "b")]));
        }
        new[1..].reverse();
        let new = Contract {
            migrations: vec![migration("1.0.0", "2.0.0", up, down)],
            ..contract("2.0.0", new)
        };
        (contract("1.0.0", old), new)
    })
}

fn cells(width: usize) -> impl Strategy<Value = Row> {
    let cell = prop_oneof![
        Just(Cell::Unchanged),
        Just(Cell::Set(Value::Null)),
        prop::sample::select(vec!["a", "b", "c"]).prop_map(|t| Cell::Set(Value::text(t))),
    ];
    (any::<i64>(), prop::collection::vec(cell, width)).prop_map(|(id, cells)| {
        let mut row = vec![Cell::Set(Value::Int(id))];
        row.extend(cells);
        Row(row)
    })
}

proptest! {
    #[test]
    fn up_and_down_again_is_the_same_record(
        (old, new, row) in invertible().prop_flat_map(|(old, new)| {
            let width = old.fields.len() - 1;
            (Just(old), Just(new), cells(width))
        })
    ) {
        let chain = Chain::compile(&old, &new, &new.migrations).unwrap();
        let whole = row.is_whole();
        let risen = chain.up.row(&row, whole).unwrap();
        let unchanged = |row: &Row| row.0.iter().filter(|cell| cell.is_unchanged()).count();
        prop_assert_eq!(unchanged(&risen), unchanged(&row));
        prop_assert_eq!(chain.down.row(&risen, whole).unwrap(), row);
    }

    #[test]
    fn a_result_breaks_no_rule_of_its_version(
        length in 1..4u64, least in -3..3i64, text in ".{0,6}", number in -5..5i64, whole in any::<bool>(),
    ) {
        let old = contract("1.0.0", vec![field("id", Type::Int), field("t", Type::Text), field("n", Type::Int)]);
        let mut new = contract("1.1.0", old.fields.clone());
        new.fields[1].limits.max_length = Some(length);
        new.fields[2].limits.minimum = Some(Value::Int(least));
        let way = Way::up(&old, &new, &[]).unwrap();
        let row = Row::of([Value::Int(1), Value::text(text), Value::Int(number)]);
        if let Ok(risen) = way.row(&row, whole) {
            let mut found = Vec::new();
            Checker::compile(&new).unwrap().check(&risen, whole, &mut found);
            prop_assert_eq!(found, Vec::new());
        }
    }

    #[test]
    fn no_steps_panic(
        steps in prop::collection::vec((0..5u8, "[a-c]", "[a-c]"), 0..12), row in cells(2),
    ) {
        let step = |(what, one, two): (u8, String, String)| match what {
            0 => rename(&one, &two),
            1 => set(&one, Value::text(two)),
            2 => map(&one, &[("a", "b")]),
            3 => compute(&one, &format!("{two} + '!'")),
            _ => drop_field(&one),
        };
        let fields = || vec![field("id", Type::Int), optional("a", Type::Text), optional("b", Type::Text)];
        let new = Contract {
            migrations: vec![migration("1.0.0", "1.1.0", steps.into_iter().map(step).collect(), Vec::new())],
            ..contract("1.1.0", fields())
        };
        if let Ok(way) = Way::up(&contract("1.0.0", fields()), &new, &new.migrations) {
            let _ = way.row(&row, row.is_whole());
        }
    }
}
