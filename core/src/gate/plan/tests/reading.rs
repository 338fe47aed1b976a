use super::*;

#[test]
fn every_rule_reads_its_column() {
    let gated = passed(read(&mapping()).gate(&change(Op::Created, bill("7"), None)));
    assert_eq!(gated.change.row, record("7"));
    assert_eq!(gated.change.shape, contract().shape());
    assert_eq!(gated.key, key("7"));
    assert_eq!(gated.lane, key("7").lane(8));
    assert!(gated.replaces.is_none() && gated.change.before.is_none());
    assert_eq!(
        gated.change.mark,
        Mark {
            commit: 7,
            ordinal: 1
        }
    );
}

#[test]
fn null_passes_every_translation() {
    let row = with(with(bill("7"), 5, Value::Null), 6, Value::Null);
    let gated = passed(read(&mapping()).gate(&change(Op::Created, row, None)));
    assert_eq!(gated.change.row.value(4), Some(&Value::Null));
    assert_eq!(gated.change.row.value(5), Some(&Value::Null));
}

#[test]
fn a_value_that_cannot_be_mapped_is_rejected_with_field_column_and_rule() {
    let plan = read(&mapping());
    let table = [
        (
            1,
            Value::text("7"),
            "id",
            "prefix",
            "column `bill_no` holds `7`",
        ),
        (
            2,
            Value::text("x"),
            "amount",
            "type",
            "column `cents` holds `x`",
        ),
        (
            3,
            Value::text("France"),
            "country",
            "values",
            "`countries` has nothing for it",
        ),
        (
            4,
            Value::Int(9),
            "status",
            "values",
            "column `state` holds `9`",
        ),
        (
            5,
            Value::text("2024-12-31"),
            "issued_on",
            "format",
            "`%d.%m.%Y`",
        ),
        (7, Value::Int(2), "paid", "type", "int cannot become bool"),
    ];
    for (at, value, field, rule, part) in table {
        let found = rejected(plan.gate(&change(Op::Created, with(bill("7"), at, value), None)));
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(
            (found[0].field.as_deref(), &*found[0].rule),
            (Some(field), rule)
        );
        assert!(found[0].message.contains(part), "{}", found[0].message);
    }
    // Everything that is wrong is said at once.
    let row = with(with(bill("7"), 3, Value::text("France")), 4, Value::Int(9));
    assert_eq!(
        rejected(plan.gate(&change(Op::Created, row, None))).len(),
        2
    );
}

#[test]
fn personal_values_are_never_shown() {
    let secret = Value::Bytes(b"hush".to_vec());
    let shown = secret.to_string();
    let row = with(bill("7"), 6, secret);
    let found = rejected(read(&mapping()).gate(&change(Op::Created, row, None)));
    assert_eq!(found[0].field.as_deref(), Some("email"));
    assert!(found[0].message.contains("column `mail`"));
    assert!(!found[0].message.contains(&shown), "{}", found[0].message);
}

#[test]
fn what_the_source_did_not_send_stays_unchanged() {
    let row = with(with(bill("7"), 5, Cell::Unchanged), 3, Cell::Unchanged);
    let gated = passed(read(&mapping()).gate(&change(Op::Updated, row, None)));
    let expected = with(with(record("7"), 4, Cell::Unchanged), 2, Cell::Unchanged);
    assert_eq!(gated.change.row, expected);
}

#[test]
fn an_unsent_key_comes_from_the_row_before_or_is_demanded() {
    let plan = read(&mapping());
    let row = with(bill("7"), 1, Cell::Unchanged);
    let gated = passed(plan.gate(&change(Op::Updated, row.clone(), Some(bill("7")))));
    assert_eq!((gated.key, gated.replaces), (key("7"), None));
    let found = rejected(plan.gate(&change(Op::Updated, row, None)));
    assert_eq!(
        (found[0].field.as_deref(), &*found[0].rule),
        (Some("id"), "replica-identity")
    );
    assert!(found[0].message.contains("full row"));
}

#[test]
fn a_changed_key_says_what_it_replaces() {
    let old = key_only(9, 1, Value::text("B-7"));
    let gated = passed(read(&mapping()).gate(&change(Op::Updated, bill("8"), Some(old))));
    assert_eq!(gated.key, key("8"));
    assert_eq!(gated.replaces, Some((key("7"), key("7").lane(8))));
    let before = gated.change.before.unwrap();
    assert_eq!(before, key_only(7, 0, Value::text("7")));
    // The same key is no replacement.
    let gated = passed(read(&mapping()).gate(&change(Op::Updated, bill("7"), Some(bill("7")))));
    assert!(gated.replaces.is_none() && gated.change.before.is_none());
}

#[test]
fn a_record_that_moves_to_another_key_goes_whole_or_not_at_all() {
    let plan = read(&mapping());
    let row = with(bill("8"), 3, Cell::Unchanged);
    let gated = passed(plan.gate(&change(Op::Updated, row.clone(), Some(bill("7")))));
    assert_eq!(gated.change.row, record("8"));
    let old = key_only(9, 1, Value::text("B-7"));
    let found = rejected(plan.gate(&change(Op::Updated, row, Some(old))));
    assert_eq!(
        (found[0].field.as_deref(), &*found[0].rule),
        (Some("country"), "replica-identity")
    );
}

#[test]
fn a_delete_carries_only_the_key() {
    let row = key_only(9, 1, Value::text("B-7"));
    let gated = passed(read(&mapping()).gate(&change(Op::Deleted, row, None)));
    assert_eq!(gated.change.op, Op::Deleted);
    assert_eq!(gated.change.row, key_only(7, 0, Value::text("7")));
    // A full row before changes nothing about that.
    let gated = passed(read(&mapping()).gate(&change(Op::Deleted, bill("7"), Some(bill("7")))));
    assert_eq!(gated.change.row, key_only(7, 0, Value::text("7")));
}

#[test]
fn a_truncate_is_a_barrier() {
    let verdict = read(&mapping()).gate(&change(Op::Truncated, Row::default(), None));
    let Verdict::Barrier(barrier) = verdict else {
        panic!("{verdict:?}");
    };
    assert_eq!(barrier.shape, contract().shape());
    assert_eq!(barrier.row, Row::default());
}

fn filtered() -> ReadPlan {
    let mut mapping = mapping();
    mapping.filter = Some("row.kind == 'bill'".to_owned());
    read(&mapping)
}

fn other(number: &str) -> Row {
    with(bill(number), 8, Value::text("draft"))
}

fn deleted(verdict: Verdict) -> Key {
    let gated = passed(verdict);
    assert_eq!(gated.change.op, Op::Deleted);
    gated.key
}

#[test]
fn rows_that_the_filter_leaves_out_are_skipped() {
    let plan = filtered();
    for op in [Op::Snapshot, Op::Created] {
        assert!(matches!(
            plan.gate(&change(op, other("7"), None)),
            Verdict::Skip
        ));
    }
    let both = change(Op::Updated, other("7"), Some(other("7")));
    assert!(matches!(plan.gate(&both), Verdict::Skip));
    let gone = change(Op::Deleted, other("7"), None);
    assert!(matches!(plan.gate(&gone), Verdict::Skip));
    // Null is not true.
    let null = with(bill("7"), 8, Value::Null);
    assert!(matches!(
        plan.gate(&change(Op::Created, null, None)),
        Verdict::Skip
    ));
}

#[test]
fn a_row_that_leaves_the_filter_is_deleted_under_its_old_key() {
    let plan = filtered();
    let left = change(Op::Updated, other("8"), Some(bill("7")));
    assert_eq!(deleted(plan.gate(&left)), key("7"));
    // What it was before is not known: deleting what is not there is harmless.
    let unsure = change(Op::Updated, other("7"), None);
    assert_eq!(deleted(plan.gate(&unsure)), key("7"));
    let key_known = change(
        Op::Updated,
        other("8"),
        Some(key_only(9, 1, Value::text("B-7"))),
    );
    assert_eq!(deleted(plan.gate(&key_known)), key("7"));
    // Without a key of this entity it never passed.
    let foreign = change(Op::Updated, with(other("7"), 1, Value::text("D-7")), None);
    assert!(matches!(plan.gate(&foreign), Verdict::Skip));
}

#[test]
fn a_row_that_enters_the_filter_is_whole_and_replaces_nothing() {
    let row = with(bill("8"), 3, Cell::Unchanged);
    let entered = change(Op::Updated, row, Some(other("7")));
    let gated = passed(filtered().gate(&entered));
    assert_eq!(gated.change.row, record("8"));
    assert!(gated.replaces.is_none());
}

#[test]
fn an_unsent_filter_column_comes_from_the_row_before_or_is_demanded() {
    let plan = filtered();
    let row = with(bill("7"), 8, Cell::Unchanged);
    passed(plan.gate(&change(Op::Updated, row.clone(), Some(bill("7")))));
    let found = rejected(plan.gate(&change(Op::Updated, row, None)));
    assert_eq!(&*found[0].rule, "replica-identity");
    // A delete that does not say it passes: the key is enough.
    let gone = key_only(9, 1, Value::text("B-7"));
    assert_eq!(
        deleted(plan.gate(&change(Op::Deleted, gone, None))),
        key("7")
    );
}

#[test]
fn expressions_constants_and_defaults_fill_fields() {
    let mut mapping = mapping();
    let mut set = |name: &str, map| mapping.fields.insert(name.to_owned(), map);
    set(
        "paid",
        rule(|r| r.read = Some("row.settled == 1 && row.cents > 0".to_owned())),
    );
    set("country", rule(|r| r.constant = Some("US".into())));
    set(
        "amount",
        rule(|r| r.read = Some("decDiv(row.cents, 100, 2)".to_owned())),
    );
    mapping.fields.remove("email");
    mapping.fields.remove("status");
    let mut contract = contract();
    contract.fields[3].default = Some(Value::text("open"));
    let plan = ReadPlan::compile(&mapping, &table(), &contract, &values(), false).unwrap();
    let gated = passed(plan.gate(&change(Op::Created, bill("7"), None)));
    let expected = with(with(record("7"), 2, Value::text("US")), 5, Value::Null);
    assert_eq!(gated.change.row, expected);
    // An expression over an unsent column gives an unchanged field.
    let row = with(bill("7"), 2, Cell::Unchanged);
    let gated = passed(plan.gate(&change(Op::Updated, row, None)));
    assert!(gated.change.row.cell(6).is_unchanged() && gated.change.row.cell(1).is_unchanged());
}

#[test]
fn a_read_expression_that_fails_is_a_rejection() {
    let mut mapping = mapping();
    let read_it = rule(|r| r.read = Some("row.mail + '!'".to_owned()));
    mapping.fields.insert("email".to_owned(), read_it);
    let row = with(bill("7"), 6, Value::Null);
    let found = rejected(read(&mapping).gate(&change(Op::Created, row, None)));
    assert_eq!(
        (found[0].field.as_deref(), &*found[0].rule),
        (Some("email"), "read")
    );
    assert!(found[0].message.contains("`mail` is null"));
}

#[test]
fn a_coarser_lane_key_keeps_siblings_together() {
    let mut contract = contract();
    contract.lane_key = vec![2];
    let plan = ReadPlan::compile(&mapping(), &table(), &contract, &values(), false).unwrap();
    let gated = passed(plan.gate(&change(Op::Created, bill("7"), None)));
    assert_eq!(gated.lane, key("DE").lane(8));
    // An update that does not send it takes it from the row before.
    let row = with(bill("7"), 3, Cell::Unchanged);
    let gated = passed(plan.gate(&change(Op::Updated, row.clone(), Some(bill("7")))));
    assert_eq!(gated.lane, key("DE").lane(8));
    let found = rejected(plan.gate(&change(Op::Updated, row, None)));
    assert_eq!(&*found[0].rule, "replica-identity");
}

#[test]
fn rows_of_the_needed_columns_give_records() {
    let mut mapping = mapping();
    mapping.filter = Some("row.kind == 'bill'".to_owned());
    mapping.fields.remove("email");
    let plan = read(&mapping);
    let names = plan.columns();
    assert_eq!(
        names,
        [
            "bill_no", "cents", "land", "state", "issued", "settled", "kind"
        ]
    );
    let narrow = |row: &Row| {
        let at = |name: &String| row.cell(table().position(name).unwrap()).clone();
        Row(names.iter().map(at).collect())
    };
    let expected = with(record("7"), 5, Value::Null);
    assert_eq!(plan.record(&narrow(&bill("7"))), Ok(Some(expected)));
    assert_eq!(plan.record(&narrow(&other("7"))), Ok(None));
    assert!(
        plan.record(&narrow(&with(bill("7"), 3, Value::text("France"))))
            .is_err()
    );
}

#[test]
fn a_target_is_read_back_as_far_as_its_mapping_goes() {
    let mut mapping = mapping();
    mapping.fields.remove("status");
    let constant = rule(|r| r.constant = Some("US".into()));
    mapping.fields.insert("country".to_owned(), constant);
    let plan = ReadPlan::compile(&mapping, &table(), &contract(), &values(), true).unwrap();
    let reads: Vec<bool> = (0..7).map(|at| plan.reads(at)).collect();
    // A constant says nothing about what the target holds.
    assert_eq!(reads, [true, true, false, false, true, true, true]);
    assert_eq!(
        plan.columns(),
        ["bill_no", "cents", "issued", "mail", "settled"]
    );
}

#[test]
fn a_row_is_named_by_the_columns_of_its_key_and_of_the_filter() {
    let mut mapping = mapping();
    mapping.filter = Some("row.state != 9".to_owned());
    assert_eq!(read(&mapping).naming_columns(), ["bill_no", "state"]);
}
