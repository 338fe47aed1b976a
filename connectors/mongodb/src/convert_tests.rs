//! Every type of MongoDB goes there and back, or is seen not to fit.

use mongodb::bson::{RawBson, RawDocumentBuf, Timestamp as Stamp, doc, rawdoc};
use proptest::prelude::*;

use super::*;

const FORMS: [Form; 13] = [
    Form::Any,
    Form::Bool,
    Form::Int { narrow: false },
    Form::Int { narrow: true },
    Form::Float,
    Form::Decimal,
    Form::Text,
    Form::ObjectId,
    Form::Bytes,
    Form::Uuid,
    Form::Date,
    Form::Timestamp,
    Form::Json,
];

/// The value of a field in a document.
fn value(bson: &Bson, form: Form) -> Value {
    let document: RawDocumentBuf = (&doc! { "v": bson.clone() }).try_into().unwrap();
    read(document.get("v").unwrap().unwrap(), form)
}

fn back(value: &Value, form: Form) -> Bson {
    write(value, form).unwrap()
}

fn special() -> Vec<Bson> {
    let id = ObjectId::parse_str("65f1a2b3c4d5e6f708192a3b").unwrap();
    let binary = |subtype, bytes: &[u8]| {
        Bson::Binary(Binary {
            subtype: json::subtype(subtype),
            bytes: bytes.to_vec(),
        })
    };
    let decimal = |text: &str| Bson::Decimal128(text.parse().unwrap());
    let regex = mongodb::bson::Regex {
        pattern: "^a\"b".to_owned().try_into().unwrap(),
        options: "i".to_owned().try_into().unwrap(),
    };
    let code = mongodb::bson::JavaScriptCodeWithScope {
        code: "f(x)".to_owned(),
        scope: doc! { "x": 1 },
    };
    vec![
        Bson::Boolean(true),
        Bson::Double(0.1),
        Bson::Double(f64::NAN),
        Bson::Double(f64::NEG_INFINITY),
        Bson::Double(5.0),
        Bson::Int32(-7),
        Bson::Int64(i64::MIN),
        decimal("12.50"),
        decimal("9.999999999999999999999999999999999E+6144"),
        decimal("1E-6176"),
        decimal("NaN"),
        decimal("-Infinity"),
        Bson::String("a\0ü\"".to_owned()),
        Bson::String("65f1a2b3c4d5e6f708192a3b".to_owned()),
        Bson::ObjectId(id),
        Bson::DateTime(DateTime::from_millis(1_709_193_600_123)),
        Bson::DateTime(DateTime::from_millis(-62_200_000_000_001)),
        Bson::DateTime(DateTime::from_millis(i64::MAX)),
        Bson::DateTime(DateTime::from_millis(i64::MIN)),
        Bson::Timestamp(Stamp {
            time: u32::MAX,
            increment: 7,
        }),
        binary(0, &[0, 255, 7]),
        binary(4, &[7; 16]),
        binary(4, &[7; 3]),
        binary(3, &[7; 16]),
        binary(0x80, b"own"),
        Bson::RegularExpression(regex),
        Bson::JavaScriptCode("f()".to_owned()),
        Bson::JavaScriptCodeWithScope(code),
        Bson::Symbol("s".to_owned()),
        Bson::Undefined,
        Bson::MinKey,
        Bson::MaxKey,
        Bson::Document(doc! { "$ref": "c", "$id": id, "$db": "d" }),
        Bson::Document(
            doc! { "a.b": 1, "$x": 2, "": 3, "deep": { "list": [1.5, { "d": DateTime::from_millis(5) }] } },
        ),
        Bson::Array(vec![Bson::Null, Bson::Int32(1), Bson::Double(2.0)]),
    ]
}

#[test]
fn every_type_comes_back_from_a_column_of_any_type_and_from_one_of_json() {
    for bson in special() {
        for form in [Form::Any, Form::Json] {
            let there = value(&bson, form);
            assert_eq!(there, value(&back(&there, form), form), "{bson:?}");
            let again = back(&there, form);
            let same = match (&bson, &again) {
                (Bson::Double(a), Bson::Double(b)) => a.to_bits() == b.to_bits(),
                // The same number, in another width.
                (Bson::Int32(a), Bson::Int64(b)) => i64::from(*a) == *b,
                (Bson::Decimal128(_), Bson::Decimal128(_)) => true,
                (a, b) => a == b,
            };
            assert!(same, "{form:?}: {bson:?} became {again:?} by {there:?}");
        }
    }
}

#[test]
fn a_value_of_another_type_is_seen_to_be_one() {
    let fits = |bson: &Bson, form: Form| {
        let is = value(bson, form);
        let kind = form.kind().unwrap();
        is.type_name() == kind.name()
    };
    for form in FORMS
        .into_iter()
        .filter(|form| !matches!(form, Form::Any | Form::Json))
    {
        let taken: Vec<Bson> = special()
            .into_iter()
            .filter(|bson| fits(bson, form))
            .collect();
        for bson in taken {
            let good = match form {
                Form::Bool => matches!(bson, Bson::Boolean(_)),
                Form::Int { .. } => {
                    matches!(bson, Bson::Int32(_) | Bson::Int64(_) | Bson::Double(5.0))
                }
                Form::Float => matches!(bson, Bson::Double(_) | Bson::Int32(_)),
                Form::Decimal => {
                    matches!(bson, Bson::Decimal128(_) | Bson::Int32(_) | Bson::Int64(_))
                }
                Form::Text => matches!(bson, Bson::String(_)),
                Form::ObjectId => {
                    matches!(&bson, Bson::ObjectId(_))
                        || matches!(&bson, Bson::String(text) if text.len() != 24)
                }
                Form::Bytes | Form::Uuid => matches!(bson, Bson::Binary(_)),
                Form::Timestamp => matches!(bson, Bson::DateTime(_)),
                _ => false,
            };
            assert!(good, "{form:?} took {bson:?} as {:?}", value(&bson, form));
        }
    }
}

#[test]
fn an_identity_is_told_the_same_whatever_was_looked_at() {
    let id = |bson: Bson, form| {
        let document: RawDocumentBuf = (&doc! { "v": bson }).try_into().unwrap();
        identity(document.get("v").unwrap().unwrap(), form)
    };
    let oid = "65f1a2b3c4d5e6f708192a3b";
    let an_oid = || Bson::ObjectId(ObjectId::parse_str(oid).unwrap());
    let string = |text: &str| Bson::String(text.to_owned());
    let int = Form::Int { narrow: false };
    for (bson, form, expected) in [
        (an_oid(), Form::ObjectId, Some(Value::text(oid))),
        (an_oid(), Form::Any, Some(Value::text(oid))),
        (an_oid(), Form::Text, None),
        (an_oid(), int, None),
        (string(oid), Form::ObjectId, None),
        (string(oid), Form::Any, None),
        (string(oid), Form::Text, Some(Value::text(oid))),
        (string("C-1"), Form::ObjectId, Some(Value::text("C-1"))),
        (string("C-1"), Form::Any, Some(Value::text("C-1"))),
        (string("5"), Form::Text, Some(Value::text("5"))),
        (string("5"), Form::Any, None),
        (string("5"), int, None),
        (string("05"), Form::Any, Some(Value::text("05"))),
        (Bson::Int32(5), Form::Any, Some(Value::Int(5))),
        (Bson::Int32(5), Form::ObjectId, Some(Value::Int(5))),
        (Bson::Double(5.0), Form::Any, Some(Value::Int(5))),
        (Bson::Int64(5), int, Some(Value::Int(5))),
        (Bson::Int32(5), Form::Text, None),
        (Bson::Document(doc! { "x": 1 }), Form::Text, None),
        (Bson::Document(doc! { "x": 1 }), Form::Any, None),
        (
            Bson::Document(doc! { "x": 1 }),
            Form::Json,
            Some(Value::Json("{\"x\":1}".into())),
        ),
        (string("{\"x\":1}"), Form::Json, None),
        (
            string("{\"x\":1}"),
            Form::Any,
            Some(Value::text("{\"x\":1}")),
        ),
    ] {
        let told = id(bson.clone(), form);
        match expected {
            Some(expected) => assert_eq!(told, expected, "{bson:?} {form:?}"),
            None => assert!(
                matches!(told, Value::Bytes(_)),
                "{bson:?} {form:?}: {told:?}"
            ),
        }
        if form != Form::Text && !matches!(told, Value::Bytes(_)) {
            let again = sought_id(&told, form).unwrap();
            assert_eq!(id(again, form), told);
        }
    }
    assert_eq!(
        sought_id(&Value::text("5"), Form::Any),
        Some(Bson::Int64(5))
    );
}

#[test]
fn columns_take_their_own_values_to_documents() {
    let oid = "65f1a2b3c4d5e6f708192a3b";
    for (given, form, expected) in [
        (Value::Int(5), Form::Int { narrow: true }, Bson::Int32(5)),
        (Value::Int(5), Form::Int { narrow: false }, Bson::Int64(5)),
        (
            Value::Int(1 << 40),
            Form::Int { narrow: true },
            Bson::Int64(1 << 40),
        ),
        (Value::Int(5), Form::Float, Bson::Double(5.0)),
        (
            Value::Int(5),
            Form::Decimal,
            Bson::Decimal128("5".parse().unwrap()),
        ),
        (
            Value::text(oid),
            Form::ObjectId,
            Bson::ObjectId(ObjectId::parse_str(oid).unwrap()),
        ),
        (Value::text(oid), Form::Text, Bson::String(oid.to_owned())),
        (
            Value::Time("09:30:00".parse().unwrap()),
            Form::Time,
            Bson::String("09:30:00".to_owned()),
        ),
        (
            Value::Date(jiff::civil::date(2024, 2, 29)),
            Form::Date,
            Bson::DateTime(DateTime::from_millis(1_709_164_800_000)),
        ),
        (
            Value::Json("{\"a\":[1.10,\"x\"]}".into()),
            Form::Json,
            Bson::Document(doc! { "a": [1.1, "x"] }),
        ),
        (Value::Null, Form::Text, Bson::Null),
    ] {
        assert_eq!(back(&given, form), expected, "{given:?}");
        let again = value(&expected, form);
        if !matches!(given, Value::Json(_)) {
            assert_eq!(
                again,
                if matches!((&given, form), (Value::Int(5), Form::Float)) {
                    Value::Float(5.0)
                } else if form == Form::Decimal {
                    Value::Decimal("5".parse().unwrap())
                } else {
                    given
                }
            );
        }
    }
}

#[test]
fn what_would_lose_something_is_refused() {
    let micros: Timestamp = "2024-02-29T09:30:00.123456Z".parse().unwrap();
    let digits: Decimal = "12345678901234567890123456789012345.5".parse().unwrap();
    for (given, form) in [
        (Value::Timestamp(micros), Form::Timestamp),
        (Value::Decimal(digits), Form::Decimal),
        (Value::text("C-1"), Form::ObjectId),
        (
            Value::Json("{\"a\":12345678901234567890}".into()),
            Form::Json,
        ),
        (
            Value::Json("{\"a\":0.12345678901234567890123}".into()),
            Form::Json,
        ),
        (Value::Json("{\"a\":1e999}".into()), Form::Json),
        (Value::Json("{".into()), Form::Json),
    ] {
        assert!(write(&given, form).is_err(), "{given:?}");
    }
    let long: Decimal = format!("1{}", "0".repeat(40)).parse().unwrap();
    assert!(write(&Value::Decimal(long), Form::Decimal).is_ok());
}

#[test]
fn what_has_no_form_is_no_value_of_the_column() {
    let twice = rawdoc! { "a": 1, "a": 2 };
    let mut deep = RawBson::Int32(1);
    for _ in 0..150 {
        deep = RawBson::Document(rawdoc! { "d": deep });
    }
    for raw in [RawBson::Document(twice), deep] {
        for form in FORMS {
            let is = read(raw.as_raw_bson_ref(), form);
            assert_ne!(
                Some(is.type_name()),
                form.kind().map(Type::name),
                "{form:?}"
            );
        }
    }
    // As deep as MongoDB itself goes, it is read.
    let mut deep = RawBson::Int32(1);
    for _ in 0..99 {
        deep = RawBson::Document(rawdoc! { "d": deep });
    }
    assert_eq!(read(deep.as_raw_bson_ref(), Form::Json).type_name(), "json");
}

fn any_bson() -> impl Strategy<Value = Bson> {
    let leaf = prop_oneof![
        Just(Bson::Null),
        any::<bool>().prop_map(Bson::Boolean),
        any::<i32>().prop_map(Bson::Int32),
        any::<i64>().prop_map(Bson::Int64),
        any::<f64>().prop_map(Bson::Double),
        ".{0,8}".prop_map(Bson::String),
        any::<i64>().prop_map(|millis| Bson::DateTime(DateTime::from_millis(millis))),
        any::<[u8; 12]>().prop_map(|bytes| Bson::ObjectId(ObjectId::from_bytes(bytes))),
        any::<[u8; 16]>().prop_map(|bytes| Bson::Decimal128(Decimal128::from_bytes(bytes))),
        (any::<u8>(), prop::collection::vec(any::<u8>(), 0..20)).prop_map(|(subtype, bytes)| {
            // Subtype 2 has a length of its own within.
            let subtype = json::subtype(if subtype == 2 { 0 } else { subtype });
            Bson::Binary(Binary { subtype, bytes })
        }),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Bson::Array),
            prop::collection::vec(("[a-z.$]{0,3}", inner), 0..4)
                .prop_map(|fields| Bson::Document(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn json_comes_back_as_it_was(bson in any_bson()) {
        let there = value(&bson, Form::Json);
        if let Ok(again) = write(&there, Form::Json) {
            prop_assert_eq!(value(&again, Form::Json), there);
        }
    }

    #[test]
    fn what_is_sought_is_what_was_read(bson in any_bson()) {
        for form in FORMS {
            let there = value(&bson, form);
            if let Some(again) = sought(&there, form) {
                prop_assert_eq!(value(&again, form), there, "{:?}", form);
            }
        }
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,40}") {
        let _ = write(&Value::Json(text.into()), Form::Json);
    }

    #[test]
    fn bytes_survive_base64(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        let binary = Bson::Binary(Binary { subtype: BinarySubtype::Md5, bytes });
        prop_assert_eq!(back(&value(&binary, Form::Json), Form::Json), binary);
    }
}
