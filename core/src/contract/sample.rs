//! Contracts of all kinds for property tests: built from a tape of random bytes, so that they shrink with it.
//!
//! Every contract is sound: its text loads without an error. All parts of the language come up.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::value::Decimal;

/// Random contracts.
pub(crate) fn contracts() -> impl Strategy<Value = Contract> {
    proptest::collection::vec(any::<u8>(), 0..400).prop_map(|bytes| contract(&mut Tape::new(bytes)))
}

/// Random choices; once the bytes are used up every choice is the first.
pub(crate) struct Tape {
    bytes: std::vec::IntoIter<u8>,
}

impl Tape {
    pub(crate) fn new(bytes: Vec<u8>) -> Tape {
        Tape {
            bytes: bytes.into_iter(),
        }
    }

    /// A number below `n`.
    pub(crate) fn pick(&mut self, n: usize) -> usize {
        usize::from(self.bytes.next().unwrap_or(0)) % n
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.pick(n) == n - 1
    }

    fn of<T: Clone>(&mut self, items: &[T]) -> T {
        items[self.pick(items.len())].clone()
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Tape) -> T) -> Option<T> {
        self.one_in(3).then(|| make(self))
    }

    fn number(&mut self) -> i64 {
        (0..4).fold(0, |n, _| n * 256 + self.pick(256) as i64) - (1 << 31)
    }

    fn text(&mut self) -> String {
        const TEXTS: [&str; 16] = [
            "plain",
            "two words",
            "true",
            "12",
            "1e5",
            "a: b",
            "# no",
            "it's",
            "\"q\"",
            "ä ö",
            "x\ny",
            "- a",
            "null",
            "{a}",
            "tab\there",
            "🙂",
        ];
        self.of(&TEXTS).to_owned()
    }
}

fn contract(tape: &mut Tape) -> Contract {
    let count = 1 + tape.pick(6);
    let mut fields: Vec<Field> = (0..count)
        .map(|i| field(format!("f{i}"), 0, tape))
        .collect();
    for (i, field) in fields.iter_mut().enumerate() {
        if let Some(personal) = &mut field.personal {
            personal.subject = tape.maybe(|tape| format!("f{}", tape.pick(count)));
            if *personal == Personal::default() {
                field.personal = None;
            }
        }
        // The key comes first in the tape and need not be first in the contract.
        if i == 0 || (i == 1 && tape.one_in(3)) {
            *field = Field {
                name: field.name.clone(),
                description: field.description.clone(),
                deprecation: field.deprecation.clone(),
                ..Field::new(
                    "",
                    tape.of(&[Type::Text, Type::Int, Type::Uuid, Type::Date]),
                )
            };
        }
    }
    let mut key = vec![0];
    if count > 1
        && !fields[1].nullable
        && fields[1].required
        && is_key(fields[1].kind)
        && tape.one_in(2)
    {
        fields[1].handling.clear();
        key = tape.of(&[vec![0, 1], vec![1, 0]]);
    }
    let version: semver::Version = tape.of(&["1.0.0", "0.3.1", "2.1.0-rc.1"]).parse().unwrap();
    let mut contract = Contract {
        id: tape.text(),
        description: tape.maybe(Tape::text),
        lane_key: if tape.one_in(3) {
            vec![key[0]]
        } else {
            key.clone()
        },
        key,
        lanes: tape.of(&[8, 1, 256]),
        owner: tape.maybe(Tape::text),
        truth: truth(tape),
        deletes: tape.of(&[
            Deletes::Propagate,
            Deletes::SoftDelete,
            Deletes::Detach,
            Deletes::Ignore,
        ]),
        extra: extra(tape),
        terms: terms(tape),
        ..Contract::new("thing", version, fields)
    };
    contract.migrations = tape
        .maybe(|tape| migration(&contract, tape))
        .into_iter()
        .collect();
    contract.rules = rules(&contract, tape);
    contract
}

fn is_key(kind: Type) -> bool {
    !matches!(kind, Type::Json | Type::Float)
}

fn truth(tape: &mut Tape) -> Truth {
    tape.of(&[
        Truth::Owner,
        Truth::Latest,
        Truth::Versioned,
        Truth::Rule,
        Truth::Ask,
    ])
}

fn extra(tape: &mut Tape) -> Extra {
    tape.of(&[Extra::Reject, Extra::Keep, Extra::Drop])
}

fn deprecation(tape: &mut Tape) -> Deprecation {
    Deprecation {
        since: tape.maybe(|_| semver::Version::new(1, 2, 3)),
        sunset: tape.maybe(|_| jiff::civil::date(2027, 2, 28)),
        replacement: tape.maybe(Tape::text),
    }
}

fn terms(tape: &mut Tape) -> Terms {
    let direction = tape.of(&[
        Some(Direction::Full),
        None,
        Some(Direction::Backward),
        Some(Direction::Forward),
    ]);
    let level = |tape: &mut Tape| Level {
        property: tape
            .of(&["retention", "endOfSupport", "support"])
            .to_owned(),
        element: tape.maybe(Tape::text),
        value: tape.of(&[
            3.into(),
            "2030-01-01".into(),
            1.5.into(),
            serde_json::Value::Null,
        ]),
        unit: tape.maybe(Tape::text),
    };
    let document = || serde_json::json!([{ "a": [1, "x", null, 0.25], "b": { "c": true } }, []]);
    let mut approvers = BTreeMap::new();
    if tape.one_in(3) {
        approvers.insert(
            "owner".to_owned(),
            vec!["ann".to_owned(), "bob@x.org".to_owned()],
        );
        approvers.insert("dataProtection".to_owned(), vec!["ann".to_owned()]);
    }
    Terms {
        status: tape.maybe(Tape::text),
        compatibility: Compatibility {
            direction,
            transitive: direction.is_some() && tape.one_in(2),
        },
        consumers: tape.of(&[vec![], vec!["billing".to_owned(), "true".to_owned()]]),
        approvers,
        reserved: tape.of(&[vec![], vec!["gone".to_owned()]]),
        deprecation: tape.maybe(deprecation),
        levels: (0..tape.pick(3)).map(|_| level(tape)).collect(),
        matching: tape.maybe(|_| document()),
        survivorship: tape.maybe(|_| document()),
    }
}

/// The types a field may have.
const KINDS: [Type; 11] = [
    Type::Text,
    Type::Int,
    Type::Bool,
    Type::Float,
    Type::Date,
    Type::Time,
    Type::Timestamp,
    Type::Uuid,
    Type::Bytes,
    Type::Json,
    Type::Decimal {
        precision: Some(12),
        scale: Some(2),
    },
];

fn field(name: String, depth: usize, tape: &mut Tape) -> Field {
    let kind = tape.of(&KINDS);
    let required = tape.one_in(2);
    let mut field = Field {
        required,
        nullable: required == tape.one_in(5),
        description: tape.maybe(Tape::text),
        deprecation: tape.maybe(deprecation),
        ..Field::new(name, kind)
    };
    match tape.pick(3) {
        0 => field.limits = limits(kind, tape),
        1 if kind != Type::Json => field.allowed = Some(allowed(kind, tape)),
        _ => field.default = tape.maybe(|tape| value(kind, tape)),
    }
    if let (Some(allowed), true) = (&field.allowed, tape.one_in(2)) {
        field.default = Some(allowed.values[0].clone());
    }
    if kind == Type::Json && field.default.is_none() && depth < 3 && tape.one_in(2) {
        field.inner = Some(inner(depth, tape));
    }
    if depth == 0 {
        let classes = [
            Class::Internal,
            Class::Public,
            Class::Personal,
            Class::Secret,
        ];
        field.class = tape.of(&classes);
        field.owner = tape.maybe(Tape::text);
        field.truth = tape.maybe(truth);
        field.unique = tape.one_in(4);
        field.outcome = tape.of(&[Outcome::Quarantine, Outcome::Reject, Outcome::Halt]);
        field.reference = tape.maybe(|_| Reference {
            entity: "customer".to_owned(),
            field: "id".to_owned(),
        });
        field.personal = tape.maybe(|tape| Personal {
            category: tape.maybe(Tape::text),
            subject: None,
            retention_days: tape.maybe(|tape| 1 + tape.pick(3000) as u64),
        });
        if tape.one_in(3) {
            let handling = [
                Handling::Clear,
                Handling::Mask,
                Handling::Hash,
                Handling::Drop,
            ];
            field
                .handling
                .insert("billing".to_owned(), tape.of(&handling));
        }
    }
    field
}

fn inner(depth: usize, tape: &mut Tape) -> Inner {
    let least = tape.maybe(|tape| 1 + tape.pick(3) as u64);
    let most = tape.maybe(|tape| 4 + tape.pick(3) as u64);
    match tape.pick(3) {
        0 => Inner::Object {
            fields: (0..1 + tape.pick(3))
                .map(|i| field(format!("m-{i} x"), depth + 1, tape))
                .collect(),
            extra: extra(tape),
        },
        1 => Inner::List {
            items: Box::new(field("items".to_owned(), depth + 1, tape)),
            least,
            most,
            unique: tape.one_in(2),
        },
        _ => Inner::Map {
            values: Box::new(field("values".to_owned(), depth + 1, tape)),
            least,
            most,
        },
    }
}

fn limits(kind: Type, tape: &mut Tape) -> Limits {
    let mut limits = Limits::default();
    match kind {
        Type::Text | Type::Bytes => {
            limits.min_length = tape.maybe(|tape| tape.pick(5) as u64);
            limits.max_length = tape.maybe(|tape| 5 + tape.pick(50) as u64);
            if kind == Type::Text {
                limits.pattern = tape.maybe(|tape| {
                    tape.of(&["^[A-Z]+$", "a|b", r"^\d{2}: '\w'$", "[#\"]"])
                        .to_owned()
                });
                limits.format =
                    tape.maybe(|tape| tape.of(&[Format::Email, Format::Uri, Format::Ipv6]));
            }
        }
        Type::Bool | Type::Uuid | Type::Json => {}
        _ => {
            let two = (value(kind, tape), value(kind, tape));
            let (low, high) = match check::compare(&two.0, &two.1) {
                Some(std::cmp::Ordering::Less) => two,
                Some(std::cmp::Ordering::Greater) => (two.1, two.0),
                _ => return limits,
            };
            limits.minimum = tape.maybe(|_| low);
            limits.maximum = tape.maybe(|_| high);
            limits.exclusive_minimum = limits.minimum.is_some() && tape.one_in(2);
            limits.exclusive_maximum = limits.maximum.is_some() && tape.one_in(2);
            if kind == Type::Int {
                limits.multiple_of = tape.maybe(|tape| Value::Int(1 + tape.pick(9) as i64));
            }
        }
    }
    limits
}

fn allowed(kind: Type, tape: &mut Tape) -> Allowed {
    let mut values: Vec<Value> = Vec::new();
    for _ in 0..1 + tape.pick(4) {
        let value = value(kind, tape);
        if !values
            .iter()
            .any(|known| known.to_string() == value.to_string())
        {
            values.push(value);
        }
    }
    Allowed {
        fallback: tape.maybe(|_| values[0].clone()),
        values,
        open: tape.one_in(2),
    }
}

/// A value of a type.
pub(crate) fn value(kind: Type, tape: &mut Tape) -> Value {
    match kind {
        Type::Bool => Value::Bool(tape.one_in(2)),
        Type::Int => Value::Int(tape.of(&[0, -1, i64::MAX, i64::MIN, 42, 1 << 53])),
        Type::Decimal { scale, .. } => {
            Value::Decimal(Decimal::from_units(tape.number(), scale.unwrap_or(0)))
        }
        Type::Float => Value::Float(tape.of(&[0.1, -2.5, 1e300, 3.0, 1e-7])),
        Type::Text => Value::Text(tape.text()),
        Type::Bytes => Value::Bytes(tape.text().into_bytes()),
        Type::Date => {
            Value::Date(tape.of(&[jiff::civil::date(2024, 2, 29), jiff::civil::date(1, 1, 1)]))
        }
        Type::Time => Value::Time(tape.of(&[
            jiff::civil::time(1, 2, 3, 0),
            jiff::civil::time(23, 59, 0, 5_000),
        ])),
        Type::Timestamp => Value::Timestamp(jiff::Timestamp::from_second(tape.number()).unwrap()),
        Type::Uuid => Value::Uuid(uuid::Uuid::from_u128(tape.number() as u128)),
        Type::Json => Value::Json(tape.of(&[r#"{"a":[1,null]}"#, "[]", "3", "\"x\""]).into()),
    }
}

fn rules(contract: &Contract, tape: &mut Tape) -> Vec<Rule> {
    (0..tape.pick(5))
        .map(|i| {
            let field = &contract.fields[tape.pick(contract.fields.len())];
            let check = check(field, tape);
            let whole = matches!(check, Check::Volume { .. } | Check::Fresh { .. });
            let all = [
                Outcome::Warn,
                Outcome::Pass,
                Outcome::Halt,
                Outcome::Quarantine,
                Outcome::Reject,
            ];
            let alone = matches!(check, Check::Unique(_) | Check::Volume { .. });
            let free = matches!(check, Check::Holds(_)) && tape.one_in(2);
            Rule {
                name: format!("rule {i}"),
                field: (!alone && !free).then(|| field.name.clone()),
                check,
                outcome: tape.of(&all[..if whole { 3 } else { 5 }]),
                tolerance: tape
                    .maybe(|tape| tape.of(&[Tolerance::Records(5), Tolerance::Percent(2.5)])),
            }
        })
        .collect()
}

fn check(field: &Field, tape: &mut Tape) -> Check {
    let values = |tape: &mut Tape| vec![value(field.kind, tape), Value::Null];
    match (tape.pick(8), field.kind) {
        (0, _) => Check::Holds("1 + 1 == 2".to_owned()),
        (1, _) => Check::NotMissing(values(tape)),
        (2, _) => Check::OneOf(values(tape)),
        (3, Type::Text) => Check::Matches("^a'b$".to_owned()),
        (4, Type::Text | Type::Bytes) => Check::Length(Some(1), tape.maybe(|_| 9)),
        (3, Type::Int) => Check::Between(None, Some(Value::Int(7))),
        (3, Type::Decimal { .. }) => {
            Check::Between(Some(Value::Decimal(Decimal::from_units(150, 2))), None)
        }
        (3, Type::Date | Type::Timestamp) => Check::Fresh { within: 90 },
        (5, _) => Check::Unique(vec![field.name.clone()]),
        (6, _) => Check::Volume {
            least: Some(1),
            most: tape.maybe(|_| 10),
        },
        (7, _) => Check::Exists {
            entity: "customer".to_owned(),
            field: "id".to_owned(),
        },
        _ => Check::NotNull,
    }
}

fn migration(contract: &Contract, tape: &mut Tape) -> Migration {
    let field = &contract.fields[tape.pick(contract.fields.len())];
    let name = field.name.clone();
    let new = value(field.kind, tape);
    let up = tape.of(&[
        Step::Rename {
            from: "old".to_owned(),
            to: name.clone(),
        },
        Step::Set {
            field: name.clone(),
            value: new.clone(),
        },
        Step::Map {
            field: name.clone(),
            values: vec![
                (Value::text("a"), new.clone()),
                (Value::Int(1), new.clone()),
            ],
        },
        Step::Map {
            field: name.clone(),
            values: vec![(Value::text("a"), new.clone())],
        },
        Step::Compute {
            field: name.clone(),
            expression: "old + 'x'".to_owned(),
        },
    ]);
    let down = tape.of(&[
        Step::Drop {
            field: name.clone(),
        },
        Step::Map {
            field: name.clone(),
            values: vec![(new, Value::text("b"))],
        },
        Step::Set {
            field: "old".to_owned(),
            value: Value::Bool(true),
        },
    ]);
    Migration {
        from: semver::Version::new(0, 1, 0),
        to: contract.version.clone(),
        up: vec![up],
        down: vec![down, Step::Drop { field: name }],
    }
}
