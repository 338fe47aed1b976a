//! What a new contract can be made from, and that it stays small.

use proptest::prelude::*;

use super::*;
use crate::gate::cast;
use crate::shape::Column as ShapeColumn;

fn of_json(lines: &[&str]) -> Profile {
    let mut profiler = Profiler::new();
    for line in lines {
        profiler.json(line).unwrap();
    }
    profiler.finish()
}

fn field<'p>(profile: &'p Profile, path: &str) -> &'p FieldProfile {
    let found = profile.fields.iter().find(|field| field.path == path);
    found.unwrap_or_else(|| panic!("no field {path}"))
}

#[test]
fn types_are_guessed_from_json() {
    let profile = of_json(&[
        r#"{"id": 1, "at": "2026-01-31T10:00:00Z", "day": "2026-01-31", "price": "12.50", "zip": "01234",
            "mail": "a@b.de", "share": 0.5, "on": true, "tags": ["a", "b"], "address": {"street": "Main"}, "odd": 1}"#,
        r#"{"id": 2, "at": "2026-01-31T10:00:00+02:00", "day": "2026-02-28", "price": "1.00", "zip": "99999",
            "mail": "c@d.de", "share": 2, "on": false, "tags": [], "address": {"street": "Side", "floor": null}, "odd": "x"}"#,
    ]);
    let guessed = |path: &str| field(&profile, path).guess.kind;
    for (path, kind) in [
        ("id", Guess::Int),
        ("at", Guess::Timestamp),
        ("day", Guess::Date),
        ("price", Guess::Decimal),
        ("zip", Guess::Text),
        ("mail", Guess::Text),
        ("share", Guess::Float),
        ("on", Guess::Bool),
        ("tags", Guess::List),
        ("tags[]", Guess::Text),
        ("address", Guess::Object),
        ("address.street", Guess::Text),
        ("address.floor", Guess::Nothing),
        ("odd", Guess::Json),
    ] {
        assert_eq!(guessed(path), kind, "{path}");
    }
    let price = field(&profile, "price");
    let exact = Type::Decimal {
        precision: Some(4),
        scale: Some(2),
    };
    assert_eq!(price.guess.kind(), Some(exact));
    assert_eq!(
        (price.minimum.as_deref(), price.maximum.as_deref()),
        (Some("1.00"), Some("12.50"))
    );
    assert_eq!(field(&profile, "mail").guess.format, Some("email"));
    assert_eq!(field(&profile, "address.floor").absent, 1);
    assert_eq!(profile.keys[0], "id");
}

#[test]
fn texts_of_a_table_are_numbers_where_all_of_them_are() {
    let mut profiler = Profiler::new();
    for (id, code, amount, day) in [
        ("1", "007", "1.5", "2026-01-31"),
        ("2", "12", "", "2026-02-01"),
        ("3", "12", "22.25", ""),
    ] {
        profiler.texts([("id", id), ("code", code), ("amount", amount), ("day", day)]);
    }
    let profile = profiler.finish();
    assert_eq!(field(&profile, "id").guess.kind, Guess::Int);
    assert_eq!(field(&profile, "code").guess.kind, Guess::Text);
    assert_eq!(field(&profile, "day").guess.kind, Guess::Date);
    let amount = field(&profile, "amount");
    assert_eq!(
        (amount.guess.precision, amount.guess.scale),
        (Some(4), Some(2))
    );
    assert_eq!((amount.nulls, amount.distinct, amount.unique), (1, 2, true));
    assert!((amount.null_share() - 1.0 / 3.0).abs() < 1e-9);
    assert_eq!(profile.keys, ["id"]);
}

#[test]
fn texts_of_a_table_are_what_the_gate_casts_them_to() {
    let mut profiler = Profiler::new();
    for (flag, at, local, share) in [
        (
            "t",
            "2026-01-31 10:00:00+01",
            "2026-01-31 10:00:00",
            "0.3333333333333333",
        ),
        ("f", "2026-01-31T10:00:00Z", "2026-01-31T10:00:00.5", "0.5"),
    ] {
        profiler.texts([
            ("flag", flag),
            ("at", at),
            ("local", local),
            ("share", share),
        ]);
    }
    let profile = profiler.finish();
    for (path, kind) in [
        ("flag", Guess::Bool),
        ("at", Guess::Timestamp),
        ("local", Guess::LocalTimestamp),
        ("share", Guess::Float),
    ] {
        let guess = field(&profile, path).guess;
        assert_eq!(guess.kind, kind, "{path}");
        let cast = |text: &str| cast::cast(Value::text(text), guess.kind().unwrap());
        for text in [
            field(&profile, path).minimum.as_deref(),
            field(&profile, path).maximum.as_deref(),
        ] {
            assert!(
                text.is_none_or(|text| cast(text).is_ok()),
                "{path} {text:?}"
            );
        }
    }
    // In JSON, a text without an offset is no instant.
    let profile = of_json(&[r#"{"at": "2026-01-31 10:00:00", "flag": "t"}"#]);
    assert_eq!(field(&profile, "at").guess.kind, Guess::Text);
    assert_eq!(field(&profile, "flag").guess.kind, Guess::Text);
}

#[test]
fn a_way_says_what_it_stands_in() {
    let profile = of_json(&[
        r#"{"a": {"b": [{"c": 1}]}, "a.b": 2, "x[]": {"y": 1}, "q\"\\": 3, "m": {"1": {"z": 1}}, "": 4}"#,
    ]);
    let member = |name: &str| Step::Member(name.to_owned());
    let steps: Vec<(Option<&str>, Step)> = profile.fields.iter().map(FieldProfile::step).collect();
    for wanted in [
        (None, member("a")),
        (Some("a"), member("b")),
        (Some("a.b"), Step::Items),
        (Some("a.b[]"), member("c")),
        (None, member("a.b")),
        (None, member("x[]")),
        (Some(r#""x[]""#), member("y")),
        (None, member(r#"q"\"#)),
        (Some("m"), Step::Entries),
        (Some("m.*"), member("z")),
        (None, member("")),
    ] {
        assert!(steps.contains(&wanted), "{wanted:?} {steps:?}");
    }
    assert_eq!(field(&profile, r#""a.b""#).guess.kind, Guess::Int);
}

#[test]
fn rows_keep_the_types_of_their_system() {
    let shape = Shape {
        name: "thing".to_owned(),
        columns: vec![
            ShapeColumn::new("id", Type::Int, false),
            ShapeColumn::new("note", Type::Json, true),
        ],
        key: vec![0],
    };
    let mut profiler = Profiler::new();
    for id in 0..3 {
        let note = Value::Json(r#"{"a": {"b": 1}}"#.into());
        profiler.row(&shape, &Row::of([Value::Int(id), note]));
    }
    profiler.row(&shape, &Row::of([Value::Int(3), Value::Null]));
    let profile = profiler.finish();
    assert_eq!(field(&profile, "id").guess.kind, Guess::Int);
    assert_eq!(field(&profile, "note.a.b").guess.kind, Guess::Int);
    assert_eq!(
        (
            field(&profile, "note").nulls,
            field(&profile, "note.a").absent
        ),
        (1, 0)
    );
}

#[test]
fn hidden_fields_show_no_value() {
    let mut profiler = Profiler::new().hide(["mail".to_owned(), "address".to_owned()]);
    for _ in 0..9 {
        profiler
            .json(
                r#"{"mail": "ann@example.org", "address": {"street": "Main"}, "mailing": "open"}"#,
            )
            .unwrap();
    }
    let profile = profiler.finish();
    let text = serde_json::to_string(&profile).unwrap();
    assert!(
        !text.contains("ann") && !text.contains("Main") && text.contains("open"),
        "{text}"
    );
    assert!(field(&profile, "mail").lengths.is_some());
}

#[test]
fn keys_of_hidden_and_of_large_maps_are_not_names() {
    let ways = |profile: &Profile| -> Vec<String> {
        profile.fields.iter().map(|f| f.path.clone()).collect()
    };
    let hidden = Profiler::new().hide(["m".to_owned(), "known.*.pin".to_owned()]);
    let mut hidden = hidden.maps(["known".to_owned()]);
    let line = r#"{"m": {"alice@x.de": {"pin": 7}, "bob": [1]}, "known": {"a": {"pin": 4711}, "b": {"pin": 4712}}}"#;
    hidden.json(line).unwrap();
    let profile = hidden.finish();
    assert_eq!(
        ways(&profile),
        ["m", "m.*", "known", "known.*", "known.*.pin"]
    );
    assert_eq!(field(&profile, "known.*.pin").minimum, None);
    assert_eq!(field(&profile, "known.*").present, 2);
    let mut open = Profiler::new();
    for n in 0..NAMES_MAX + 10 {
        let line = format!(r#"{{"m": {{"k{n}": {{"a": {n}}}}}, "p": {{"x@y": 1}}}}"#);
        open.json(&line).unwrap();
    }
    let profile = open.finish();
    assert_eq!(ways(&profile), ["m", "m.*", "m.*.a", "p", "p.*"]);
    let inside = field(&profile, "m.*.a");
    let all = NAMES_MAX as u64 + 10;
    assert_eq!(
        (inside.present, inside.absent, inside.distinct),
        (all, 0, all)
    );
    assert_eq!(inside.maximum.as_deref(), Some("73"));
}

#[test]
fn few_values_are_listed_with_their_counts() {
    let mut profiler = Profiler::new();
    for n in 0..1000 {
        let state = if n % 4 == 0 { "closed" } else { "open" };
        profiler.texts([("state", state), ("n", n.to_string().as_str())]);
    }
    let profile = profiler.finish();
    let state = field(&profile, "state");
    let common = |value: &str, count| Common {
        value: value.to_owned(),
        count,
    };
    assert_eq!(state.common, [common("open", 750), common("closed", 250)]);
    assert_eq!(field(&profile, "n").common, []);
    assert_eq!(field(&profile, "n").distinct, 1000);
}

#[test]
fn names_without_end_take_no_space_without_end() {
    let mut profiler = Profiler::new();
    for n in 0..FIELDS_MAX + 10 {
        profiler.json(&format!(r#"{{"f{n}": 1}}"#)).unwrap();
    }
    let profile = profiler.finish();
    assert_eq!((profile.fields.len(), profile.left_out), (FIELDS_MAX, 10));
}

proptest! {
    #[test]
    fn no_text_panics(text in "[\\[\\]{}a:\", 1.e-]{0,40}|.{0,40}") {
        let mut profiler = Profiler::new();
        let taken = profiler.json(&text).is_ok();
        let object = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&text).is_ok();
        prop_assert_eq!(taken, object, "{}", text);
        profiler.texts([("a", text.as_str())]);
        let _ = profiler.finish();
    }
}
