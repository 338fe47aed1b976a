use proptest::prelude::*;

use super::*;
use crate::shape::Column;
use crate::value::Decimal;

fn shape() -> Shape {
    let mut columns = vec![
        Column::new("name", Type::Text, false),
        Column::new("email", Type::Text, true),
        Column::new("quantity", Type::Int, false),
        Column::new("price", Type::DECIMAL, false),
        Column::new("weight", Type::Float, true),
        Column::new("active", Type::Bool, false),
        Column::new("ordered", Type::Date, false),
        Column::new("shipped", Type::Date, true),
        Column::new("seen", Type::Timestamp, false),
        Column::new("doc", Type::Json, true),
    ];
    columns.push(Column {
        name: "odd name".to_owned(),
        kind: None,
        nullable: true,
        length: None,
        list: false,
    });
    Shape {
        name: "things".to_owned(),
        columns,
        key: vec![0],
    }
}

fn row() -> Row {
    Row::of([
        Value::text("Ann"),
        Value::Null,
        Value::Int(3),
        Value::Decimal("12.50".parse().unwrap()),
        Value::Float(1.5),
        Value::Bool(true),
        Value::Date("2024-03-01".parse().unwrap()),
        Value::Null,
        Value::Timestamp("2024-03-01T22:00:00Z".parse().unwrap()),
        Value::Json(r#"{"sku":"a","n":2,"items":[{"q":1},{"q":5}]}"#.into()),
        Value::text("odd"),
    ])
}

fn run(text: &str) -> Result<Value, String> {
    let expression =
        Expression::compile(text, Scope::Row(&shape()), None).map_err(|e| e.message)?;
    match expression.eval(&row()).map_err(|e| e.message)? {
        Cell::Set(value) => Ok(value),
        Cell::Unchanged => Err("unchanged".to_owned()),
    }
}

fn decimal(text: &str) -> Value {
    Value::Decimal(text.parse::<Decimal>().unwrap())
}

#[test]
fn expressions_give_what_cel_says() {
    let yes = || Value::Bool(true);
    let table = [
        ("row.name + '!'", Value::text("Ann!")),
        ("row.quantity * 2 + 1", Value::Int(7)),
        ("7 / 2 - 7 % 2", Value::Int(2)),
        ("-row.quantity", Value::Int(-3)),
        ("row.weight * 2.0", Value::Float(3.0)),
        ("row.quantity > 2 ? 'many' : 'few'", Value::text("many")),
        ("row.name in ['Ann', 'Bob'] && row.active", yes()),
        ("!row.active || row.quantity != 3", Value::Bool(false)),
        ("row.email == null", yes()),
        ("has(row.email)", Value::Bool(false)),
        ("has(row.doc.sku) && !has(row.doc.none)", yes()),
        ("orElse(row.email, 'none')", Value::text("none")),
        ("row.email.orElse(row.name)", Value::text("Ann")),
        ("row['odd name'] == 'odd'", yes()),
        ("row.doc.n * 2 == 4", yes()),
        ("row.doc.items.exists(i, i.q > 4)", yes()),
        ("row.doc.items.all(i, i.q > 4)", Value::Bool(false)),
        ("row.doc.items.exists_one(i, i.q == 1)", yes()),
        ("size(row.doc.items.filter(i, i.q > 1))", Value::Int(1)),
        ("['a', 'b'].map(x, x + '1').join(',')", Value::text("a1,b1")),
        ("[1, 2, 3].map(x, x > 1, x * 10) == [20, 30]", yes()),
        ("{'A': 'open', 'B': 'shut'}['B']", Value::text("shut")),
        ("'abc'.substring(1, 3)", Value::text("bc")),
        ("'abc'.substring(1)", Value::text("bc")),
        ("'a-b-c'.replace('-', '')", Value::text("abc")),
        ("'a-b'.split('-')[1]", Value::text("b")),
        (" ' x '.trim().upperAscii()", Value::text("X")),
        ("'über'.indexOf('e')", Value::Int(2)),
        ("size('über')", Value::Int(4)),
        ("row.name.startsWith('A') && row.name.endsWith('n')", yes()),
        ("row.name.contains('nn')", yes()),
        ("row.name.matches('^A.*n$')", yes()),
        (
            "string(row.quantity) + string(row.price)",
            Value::text("312.50"),
        ),
        ("int('42')", Value::Int(42)),
        ("double(3)", Value::Float(3.0)),
        ("bool('true')", yes()),
        ("row.ordered < date('2024-03-02')", yes()),
        ("row.seen >= timestamp('2024-03-01 22:00:00')", yes()),
        ("date(row.seen) == row.ordered", yes()),
        (
            "addDays(row.ordered, -1)",
            Value::Date("2024-02-29".parse().unwrap()),
        ),
        (
            "daysBetween(date('2024-02-01'), row.ordered)",
            Value::Int(29),
        ),
        (
            "year(row.ordered) * 100 + month(row.seen)",
            Value::Int(202_403),
        ),
    ];
    for (text, expected) in table {
        assert_eq!(run(text), Ok(expected), "{text}");
    }
}

#[test]
fn decimals_are_exact_and_never_doubles() {
    let table = [
        ("decAdd(dec('0.1'), dec('0.2'))", decimal("0.3")),
        ("decSub(row.price, 1)", decimal("11.5")),
        ("decMul(row.price, row.quantity)", decimal("37.5")),
        ("decDiv(1, 3, 4)", decimal("0.3333")),
        ("decDiv(2, 3, 2)", decimal("0.67")),
        ("decDiv(-1, 8, 2)", decimal("-0.13")),
        ("decRound(dec('2.345'), 2)", decimal("2.35")),
        ("decRound(dec('-2.5'), 0)", decimal("-3")),
        ("decCmp(row.price, dec('12.5'))", Value::Int(0)),
        ("row.price == dec('12.500')", Value::Bool(true)),
        ("row.price > 12 && row.price <= 13", Value::Bool(true)),
        (
            "dec('12345678901234567890.1') < dec('12345678901234567890.2')",
            Value::Bool(true),
        ),
    ];
    for (text, expected) in table {
        assert_eq!(run(text), Ok(expected), "{text}");
    }
    for (text, named) in [
        ("row.price + row.price", "decAdd(a, b)"),
        ("row.price - 1", "decSub(a, b)"),
        ("2 * row.price", "decMul(a, b)"),
        ("row.price / 2", "decDiv(a, b, scale)"),
        ("row.price < 1.5", "dec('1.20')"),
        ("decAdd(row.weight, 1)", "does not take (double, int)"),
    ] {
        let message = run(text).unwrap_err();
        assert!(message.contains(named), "{text}: {message}");
    }
}

#[test]
fn what_does_not_fit_is_refused_before_anything_runs() {
    let table = [
        (
            "row.nme",
            "unknown column `nme` in `things`; did you mean `name`?",
        ),
        ("name", "columns are written `row.name`"),
        ("foo", "unknown name `foo`"),
        ("row.name.uperAscii()", "did you mean `upperAscii`?"),
        (
            "row.name + row.quantity",
            "`+` does not work between text and int",
        ),
        ("row.quantity + 1.5", "write double(…)"),
        ("row.name && true", "a condition must be bool, not text"),
        ("row.quantity ? 1 : 2", "a condition must be bool, not int"),
        ("row.ordered < '2024-01-01'", "date('2024-12-31')"),
        ("row.ordered == row.seen", "date cannot be equal timestamp"),
        ("row.active == 1", "write true or false"),
        ("row.name < null", "text cannot be ordered against null"),
        ("true ? 1 : 'a'", "must be of one type"),
        ("[1, 'a']", "must be of one type"),
        ("date('2024-02-31')", "it is not a date"),
        ("row.name.matches(row.name)", "must be a text literal"),
        ("row.name.matches('(')", "is not a regular expression"),
        ("size(1)", "size(text) does not take (int)"),
        ("row", "as in `row.name`"),
        ("row.name.foo", "text has no entry `foo`"),
        ("[[1]].map(x, x.map(y, y))", "a macro inside a macro"),
        ("1 +", "syntax error"),
        ("", "empty"),
        ("Foo{a: 1}", "not known here"),
        ("row.quantity.map(x, x)", "goes through a list"),
    ];
    for (text, named) in table {
        let error = Expression::compile(text, Scope::Row(&shape()), None).unwrap_err();
        assert!(error.message.contains(named), "{text}: {}", error.message);
    }
}

#[test]
fn errors_mark_the_place_in_bytes() {
    for (text, marked) in [
        ("row.name == 'ö' && row.nme == 'x'", ".nme"),
        ("'ö' + foo", "foo"),
        ("'ö' + 'ü'.foo('é')", "("),
        ("row.active && row.price + 1 == 2", "+"),
    ] {
        let error = Expression::compile(text, Scope::Row(&shape()), None).unwrap_err();
        let (start, end) = error.span.unwrap();
        assert_eq!(&text[start..end], marked, "{text}");
    }
}

#[test]
fn the_result_has_the_wanted_type_or_the_expression_is_refused() {
    let shape = shape();
    let compile = |text: &str, wanted| Expression::compile(text, Scope::Row(&shape), Some(wanted));
    let money = Type::Decimal {
        precision: Some(12),
        scale: Some(2),
    };
    let cents = compile("row.quantity", money)
        .unwrap()
        .eval(&row())
        .unwrap();
    assert_eq!(cents.value().unwrap().to_string(), "3.00");
    assert!(
        compile("row.name", Type::Date)
            .unwrap_err()
            .message
            .contains("date(…)")
    );
    assert!(compile("row.name", Type::Bool).is_err());
    assert!(compile("row.weight", money).is_err());
    let rounded = compile("decDiv(row.price, 3, 4)", money).unwrap();
    assert!(
        rounded
            .eval(&row())
            .unwrap_err()
            .message
            .contains("decimal places")
    );
    let document = compile("{'n': row.quantity, 'a': [row.name]}", Type::Json).unwrap();
    let document = document.eval(&row()).unwrap();
    assert_eq!(
        document.value().unwrap().to_string(),
        r#"{"a":["Ann"],"n":3}"#
    );
}

#[test]
fn null_is_an_error_where_it_has_no_meaning_and_the_error_names_the_column() {
    let message = run("row.shipped >= row.ordered").unwrap_err();
    assert!(message.contains("`shipped` is null"), "{message}");
    assert!(
        run("row.email + 'x'")
            .unwrap_err()
            .contains("`email` is null")
    );
    assert!(run("row.email.trim()").unwrap_err().contains("orElse"));
    // As in CEL, a side that decides makes the other's error harmless, on either side.
    assert_eq!(
        run("row.shipped >= row.ordered || row.shipped == null"),
        Ok(Value::Bool(true))
    );
    assert_eq!(
        run("row.shipped == null || row.shipped >= row.ordered"),
        Ok(Value::Bool(true))
    );
    assert_eq!(
        run("row.quantity / 0 == 1 && false"),
        Ok(Value::Bool(false))
    );
    assert!(
        run("row.quantity / 0 == 1")
            .unwrap_err()
            .contains("division by zero")
    );
    assert!(run("9223372036854775807 + row.quantity").is_err());
}

#[test]
fn a_contract_rule_reads_fields_by_their_bare_names() {
    let shape = shape();
    let text = "shipped == null || shipped >= ordered";
    let rule = Expression::compile(text, Scope::Fields(&shape), Some(Type::Bool)).unwrap();
    assert_eq!(rule.inputs(), &[6, 7]);
    assert_eq!(rule.eval(&row()).unwrap(), Cell::Set(Value::Bool(true)));
    let mut patch = row();
    patch.0[7] = Cell::Unchanged;
    assert_eq!(rule.eval(&patch).unwrap(), Cell::Unchanged);
}

#[test]
fn the_macro_variable_hides_a_field_of_its_name() {
    let shape = shape();
    let text = "['x'].exists(name, name == 'x') && name == 'Ann'";
    let rule = Expression::compile(text, Scope::Fields(&shape), Some(Type::Bool)).unwrap();
    assert_eq!(rule.eval(&row()).unwrap(), Cell::Set(Value::Bool(true)));
}

#[test]
fn texts_that_grow_without_bound_are_stopped() {
    let big = Value::text("x".repeat(100_000));
    let shape = shape();
    let text = "row.name.replace('', row.name)";
    let expression = Expression::compile(text, Scope::Row(&shape), None).unwrap();
    let mut row = row();
    row.0[0] = Cell::Set(big);
    assert!(
        expression
            .eval(&row)
            .unwrap_err()
            .message
            .contains("grows beyond")
    );
}

#[test]
fn deep_and_long_expressions_are_refused_and_the_deepest_accepted_ones_are_safe() {
    let shape = shape();
    let compile = |text: &str| Expression::compile(text, Scope::Row(&shape), None);
    for (open, close) in [
        ("(", ")"),
        ("[", "]"),
        ("{1:", "}"),
        ("size(", ")"),
        ("!(", ")"),
    ] {
        for n in [13, 100, 1000, 10_000] {
            assert!(compile(&format!("{}1{}", open.repeat(n), close.repeat(n))).is_err());
            assert!(compile(&open.repeat(n)).is_err());
        }
        // Whether it types or not, the greatest accepted depth comes back.
        let _ = compile(&format!("{}1{}", open.repeat(12), close.repeat(12)));
    }
    for part in [
        "!",
        "-",
        "true ? ",
        "1 + ",
        "a.",
        "a(",
        "x && ",
        "row.name.",
        "'a' + ",
    ] {
        for n in [4, 12, 64, 400, 4000] {
            let _ = compile(&format!("{}1", part.repeat(n)));
        }
    }
    assert!(compile(&"true ? 1 : ".repeat(13)).is_err());
    assert!(compile(&format!("{}row.name", "row.name + ".repeat(20))).is_ok());
    assert!(
        compile(&"a".repeat(5000))
            .unwrap_err()
            .message
            .contains("4096")
    );
    // Brackets in texts and comments are no nesting.
    assert!(compile(&format!("'{}' + \"{}\"", "(".repeat(50), "[".repeat(50))).is_ok());
    assert!(compile(&format!("1 // {}", "(".repeat(50))).is_ok());
    assert!(compile(&format!("r'\\' + '{}'", "\\'(".repeat(50))).is_ok());
}

fn piece() -> impl Strategy<Value = String> {
    let known = [
        "row.name", "row.doc", "row", "(", ")", "[", "]", "{", "}", "?", ":", "+", "-", "!", "&&",
        "||", "==", "<", " in ", "'a'", "\"", "'", "'''", "r'", "`", "1", "1.5", "1u", "null", ".",
        ",", "size(", ".map(x, ", ".all(x, ", "has(", "matches(", "\\", "//", "\n", "9e999", "0x",
        "é", "\u{0}", "b'\\xff'", "dec('1')", "/", "%", "*", "{'a':", "true",
    ];
    prop_oneof![
        4 => proptest::sample::select(known.to_vec()).prop_map(str::to_owned),
        1 => ".{0,3}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_text_panics(text in ".{0,200}") {
        let _ = run(&text);
    }

    #[test]
    fn no_heap_of_pieces_panics(pieces in proptest::collection::vec(piece(), 0..60)) {
        let _ = run(&pieces.concat());
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = run(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn decimal_arithmetic_is_that_of_integers(a: i32, b: i32) {
        let (a, b) = (i64::from(a), i64::from(b));
        let units = |text: String| match run(&text) {
            Ok(Value::Decimal(number)) => number.to_units(2),
            other => panic!("{text}: {other:?}"),
        };
        let (x, y) = (Decimal::from_units(a, 2), Decimal::from_units(b, 2));
        prop_assert_eq!(units(format!("decAdd(dec('{x}'), dec('{y}'))")), Some(a + b));
        prop_assert_eq!(units(format!("decSub(dec('{x}'), dec('{y}'))")), Some(a - b));
        prop_assert_eq!(run(&format!("dec('{x}') < dec('{y}')")), Ok(Value::Bool(a < b)));
    }
}
