use proptest::prelude::*;

use super::*;
use crate::gate::cast::tests::any_value;

fn any_cell() -> impl Strategy<Value = Cell> {
    prop_oneof![1 => Just(Cell::Unchanged), 5 => any_value().prop_map(Cell::Set)]
}

fn any_row() -> impl Strategy<Value = Row> {
    proptest::collection::vec(any_cell(), 0..11).prop_map(Row)
}

/// Rows that are nearly right, so that most rules are reached.
fn near_row() -> impl Strategy<Value = Row> {
    proptest::collection::vec((0usize..9, any_cell()), 0..3).prop_map(|cells| {
        cells
            .into_iter()
            .fold(bill("7"), |row, (at, cell)| with(row, at, cell))
    })
}

fn any_op() -> impl Strategy<Value = Op> {
    proptest::sample::select(vec![
        Op::Snapshot,
        Op::Created,
        Op::Updated,
        Op::Deleted,
        Op::Truncated,
    ])
}

fn any_record() -> impl Strategy<Value = Row> {
    let date = (1900i16..2100, 1i8..13, 1i8..29)
        .prop_map(|(y, m, d)| Value::Date(jiff::civil::Date::new(y, m, d).unwrap()));
    (
        ".{0,12}",
        -1_000_000_000_000i64..1_000_000_000_000,
        any::<bool>(),
        any::<bool>(),
        proptest::option::of(date),
        proptest::option::of(".{0,12}"),
        any::<bool>(),
    )
        .prop_map(|(id, cents, german, open, issued, email, paid)| {
            Row::of([
                Value::Text(id),
                Value::Decimal(crate::Decimal::from_units(cents, 2)),
                Value::text(if german { "DE" } else { "US" }),
                Value::text(if open { "open" } else { "shut" }),
                issued.unwrap_or(Value::Null),
                email.map_or(Value::Null, Value::Text),
                Value::Bool(paid),
            ])
        })
}

fn plans() -> (ReadPlan, WritePlan) {
    let mut with_filter = mapping();
    with_filter.filter = Some("row.kind == 'bill' || row.cents > 5".to_owned());
    let computed = rule(|r| r.read = Some("row.mail.trim() + row.land".to_owned()));
    with_filter.fields.insert("email".to_owned(), computed);
    let write = WritePlan::compile(&mapping(), &contract(), &table(), &values()).unwrap();
    (read(&with_filter), write)
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(record in any_record()) {
        let write = WritePlan::compile(&mapping(), &contract(), &table(), &values()).unwrap();
        let target = write.target();
        let read = ReadPlan::compile(&mapping(), &target, &contract(), &values(), true).unwrap();
        let settled = Change { shape: contract().shape(), ..change(Op::Created, record.clone(), None) };
        let mapped = write.map(&settled).unwrap();
        prop_assert_eq!(read.columns(), target.names().collect::<Vec<_>>());
        prop_assert_eq!(read.record(&mapped.row).unwrap(), Some(record.clone()));
        let gated = passed(read.gate(&mapped));
        prop_assert_eq!(gated.change.row, record);
    }

    #[test]
    fn no_row_panics(
        op in any_op(),
        row in prop_oneof![any_row(), near_row()],
        before in proptest::option::of(prop_oneof![any_row(), near_row()]),
    ) {
        let (read, write) = plans();
        let change = change(op, row, before);
        let _ = row_name(&change.shape, &change.row, "i/1");
        let _ = read.record(&change.row);
        let _ = write.map(&change);
        if let Verdict::Pass(gated) = read.gate(&change) {
            // Whatever passes can be keyed and written.
            prop_assert_eq!(Key::encode([gated.change.row.value(0)]), Ok(gated.key.clone()));
            prop_assert!(gated.lane < 8);
            let _ = write.map(&gated.change);
        }
    }

    #[test]
    fn unchanged_in_is_unchanged_out(unsent in proptest::collection::vec(2usize..8, 0..6)) {
        let row = unsent.iter().fold(bill("7"), |row, at| with(row, *at, Cell::Unchanged));
        let gated = passed(read(&mapping()).gate(&change(Op::Updated, row, None)));
        for (field, column) in (1..7).zip(2usize..8) {
            prop_assert_eq!(gated.change.row.cell(field).is_unchanged(), unsent.contains(&column));
        }
    }
}
