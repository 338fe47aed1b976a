use super::*;

fn write(mapping: &Mapping) -> WritePlan {
    WritePlan::compile(mapping, &contract(), &table(), &values()).unwrap()
}

fn settled(op: Op, row: Row, before: Option<Row>) -> Change {
    Change {
        shape: contract().shape(),
        ..change(op, row, before)
    }
}

/// The bill without the columns that nothing writes.
fn written(number: &str) -> Row {
    Row(bill(number).0[1..8].to_vec())
}

#[test]
fn every_rule_writes_its_column() {
    let plan = write(&mapping());
    let target = plan.target();
    let names: Vec<&str> = target.names().collect();
    assert_eq!(
        names,
        [
            "bill_no", "cents", "land", "state", "issued", "mail", "settled"
        ]
    );
    assert_eq!((target.name.as_str(), &target.key), ("bills", &vec![0]));
    let mapped = plan.map(&settled(Op::Created, record("7"), None)).unwrap();
    assert_eq!(mapped.row, written("7"));
    assert_eq!(mapped.shape, target);
}

#[test]
fn deletes_and_old_keys_carry_the_key_columns_only() {
    let plan = write(&mapping());
    let mapped = plan
        .map(&settled(
            Op::Deleted,
            key_only(7, 0, Value::text("7")),
            None,
        ))
        .unwrap();
    assert_eq!(mapped.row, key_only(7, 0, Value::text("B-7")));
    let moved = settled(Op::Updated, record("8"), Some(record("7")));
    let mapped = plan.map(&moved).unwrap();
    assert_eq!(mapped.before, Some(key_only(7, 0, Value::text("B-7"))));
    let truncated = plan
        .map(&settled(Op::Truncated, Row::default(), None))
        .unwrap();
    assert_eq!(truncated.row, Row::default());
}

#[test]
fn unchanged_fields_leave_their_columns_untouched() {
    let patch = with(with(record("7"), 1, Cell::Unchanged), 5, Cell::Unchanged);
    let mapped = write(&mapping())
        .map(&settled(Op::Updated, patch, None))
        .unwrap();
    let expected = with(with(written("7"), 1, Cell::Unchanged), 5, Cell::Unchanged);
    assert_eq!(mapped.row, expected);
}

#[test]
fn a_change_without_its_key_is_refused() {
    let keyless = settled(Op::Updated, with(record("7"), 0, Cell::Unchanged), None);
    let found = write(&mapping()).map(&keyless).unwrap_err().violations;
    assert_eq!(
        (found[0].field.as_deref(), &*found[0].rule),
        (Some("id"), "key")
    );
}

#[test]
fn computed_columns_are_written_and_never_read() {
    let mut mapping = mapping();
    let cel = "country + '/' + status".to_owned();
    mapping.columns.insert("kind".to_owned(), ColumnMap { cel });
    let plan = write(&mapping);
    assert_eq!(plan.target().columns[7].name, "kind");
    let mapped = plan.map(&settled(Op::Created, record("7"), None)).unwrap();
    assert_eq!(mapped.row.value(7), Some(&Value::text("DE/open")));
    let patch = with(record("7"), 2, Cell::Unchanged);
    let mapped = plan.map(&settled(Op::Updated, patch, None)).unwrap();
    assert!(mapped.row.cell(7).is_unchanged());
    assert!(!read(&mapping).columns().contains(&"kind".to_owned()));
}

#[test]
fn what_a_column_does_not_take_is_refused_with_field_column_and_rule() {
    let plan = write(&mapping());
    let table = [
        (
            1,
            Value::Decimal("0.125".parse().unwrap()),
            "amount",
            "scale",
            "`cents`",
        ),
        (
            2,
            Value::text("FR"),
            "country",
            "values",
            "`countries` has nothing",
        ),
        (
            2,
            Value::Null,
            "country",
            "nullable",
            "`land` does not take null",
        ),
    ];
    for (at, value, field, rule, part) in table {
        let change = settled(Op::Created, with(record("7"), at, value), None);
        let found = plan.map(&change).unwrap_err().violations;
        assert_eq!(
            (found[0].field.as_deref(), &*found[0].rule),
            (Some(field), rule)
        );
        assert!(found[0].message.contains(part), "{}", found[0].message);
    }
}

#[test]
fn a_format_that_leaves_something_out_does_not_lose_it() {
    let mut contract = contract();
    contract.fields[4].kind = Type::Timestamp;
    let mut mapping = mapping();
    let minutes = on("issued", |r| r.format = Some("%Y-%m-%d %H:%M".to_owned()));
    mapping.fields.insert("issued_on".to_owned(), minutes);
    let plan = WritePlan::compile(&mapping, &contract, &table(), &values()).unwrap();
    let at = |text: &str| {
        let row = with(record("7"), 4, Value::Timestamp(text.parse().unwrap()));
        plan.map(&settled(Op::Created, row, None))
    };
    let mapped = at("2024-12-31T10:30:00Z").unwrap();
    assert_eq!(mapped.row.value(4), Some(&Value::text("2024-12-31 10:30")));
    let found = at("2024-12-31T10:30:59Z").unwrap_err().violations;
    assert_eq!(&*found[0].rule, "format");
}

#[test]
fn fields_that_are_only_read_are_not_written() {
    let mut mapping = mapping();
    let mut set = |name: &str, map| mapping.fields.insert(name.to_owned(), map);
    set("country", rule(|r| r.constant = Some("US".into())));
    set(
        "paid",
        rule(|r| r.read = Some("row.settled == 1".to_owned())),
    );
    let plan = write(&mapping);
    let target = plan.target();
    let names: Vec<&str> = target.names().collect();
    assert_eq!(names, ["bill_no", "cents", "state", "issued", "mail"]);
    // A field with an expression and a column is read by the one and written to the other.
    let both = on("settled", |r| r.read = Some("row.settled == 1".to_owned()));
    mapping.fields.insert("paid".to_owned(), both);
    assert!(write(&mapping).target().position("settled").is_some());
}
