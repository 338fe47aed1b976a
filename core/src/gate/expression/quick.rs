//! The quick way to the truth of plain conditions: comparisons, null tests and `&& || !` over columns.
//!
//! Looks at the row's values where they stand. Whatever it does not answer, `eval` does; what it answers, `eval` answers alike.

use std::cmp::Ordering;

use super::eval::{Comparison, Node};
use super::operand::Operand;
use crate::value::{Cell, Value};

/// Whether a condition consists of nothing else.
pub(super) fn is_plain(node: &Node) -> bool {
    let side = |node: &Node| matches!(node, Node::Literal(_) | Node::Column { .. });
    match node {
        Node::Not(of) => is_plain(of),
        Node::And(sides) | Node::Or(sides) => sides.iter().all(is_plain),
        Node::Compare(_, sides) => sides.iter().all(side),
        Node::Has(of, None) => matches!(**of, Node::Column { .. }),
        node => side(node),
    }
}

/// The truth of a plain condition; `None` where it takes the long way to say.
pub(super) fn truth<'a, C>(node: &Node, cell: &C) -> Option<bool>
where
    C: Fn(usize) -> &'a Cell,
{
    match node {
        Node::Not(of) => Some(!truth(of, cell)?),
        Node::And(sides) => Some(truth(&sides[0], cell)? && truth(&sides[1], cell)?),
        Node::Or(sides) => Some(truth(&sides[0], cell)? || truth(&sides[1], cell)?),
        Node::Compare(how, sides) => compare(
            *how,
            &Side::of(&sides[0], cell)?,
            &Side::of(&sides[1], cell)?,
        ),
        Node::Has(of, None) => Some(!matches!(Side::of(of, cell)?, Side::Null)),
        node => match Side::of(node, cell)? {
            Side::Bool(flag) => Some(flag),
            _ => None,
        },
    }
}

/// One side of a comparison.
enum Side<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Text(&'a str),
    /// A value of another type, for which there is no literal.
    Other(&'a Value),
}

impl<'a> Side<'a> {
    #[inline]
    fn of<'r: 'a, C>(node: &'a Node, cell: &C) -> Option<Side<'a>>
    where
        C: Fn(usize) -> &'r Cell,
    {
        match node {
            Node::Literal(Operand::Null) => Some(Side::Null),
            Node::Literal(Operand::Bool(flag)) => Some(Side::Bool(*flag)),
            Node::Literal(Operand::Int(number)) => Some(Side::Int(*number)),
            Node::Literal(Operand::Text(text)) => Some(Side::Text(text)),
            Node::Column { at, .. } => match cell(*at) {
                Cell::Set(value) => Side::of_value(value),
                Cell::Unchanged => None,
            },
            _ => None,
        }
    }

    #[inline]
    fn of_value(value: &'a Value) -> Option<Side<'a>> {
        match value {
            Value::Null => Some(Side::Null),
            Value::Bool(flag) => Some(Side::Bool(*flag)),
            Value::Int(number) => Some(Side::Int(*number)),
            Value::Text(text) => Some(Side::Text(text)),
            // A document has to be read first, to see whether it is one.
            Value::Json(_) => None,
            other => Some(Side::Other(other)),
        }
    }

    #[inline]
    fn order(&self, other: &Side<'_>) -> Option<Ordering> {
        match (self, other) {
            (Side::Null, Side::Null) => Some(Ordering::Equal),
            (Side::Bool(a), Side::Bool(b)) => Some(a.cmp(b)),
            (Side::Int(a), Side::Int(b)) => Some(a.cmp(b)),
            (Side::Text(a), Side::Text(b)) => Some(a.cmp(b)),
            (Side::Other(a), Side::Other(b)) => match (a, b) {
                (Value::Decimal(a), Value::Decimal(b)) => Some(a.cmp(b)),
                (Value::Float(a), Value::Float(b)) => a.partial_cmp(b),
                (Value::Date(a), Value::Date(b)) => Some(a.cmp(b)),
                (Value::Time(a), Value::Time(b)) => Some(a.cmp(b)),
                (Value::Timestamp(a), Value::Timestamp(b)) => Some(a.cmp(b)),
                _ => None,
            },
            _ => None,
        }
    }
}

#[inline]
fn compare(how: Comparison, left: &Side<'_>, right: &Side<'_>) -> Option<bool> {
    let null = [left, right].map(|side| matches!(side, Side::Null));
    match how {
        Comparison::Equal | Comparison::NotEqual if null != [false; 2] => {
            return Some((null == [true; 2]) == (how == Comparison::Equal));
        }
        // What is null has no order, and that is told in words.
        _ if null != [false; 2] => return None,
        _ => {}
    }
    let order = left.order(right)?;
    Some(match how {
        Comparison::Equal => order == Ordering::Equal,
        Comparison::NotEqual => order != Ordering::Equal,
        Comparison::Less => order == Ordering::Less,
        Comparison::LessOrEqual => order != Ordering::Greater,
        Comparison::Greater => order == Ordering::Greater,
        Comparison::GreaterOrEqual => order != Ordering::Less,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::eval::{Cells, eval};
    use super::super::{Expression, Scope};
    use super::*;
    use crate::shape::{Column, Row, Shape};

    /// Columns without types, so that a row decides what meets what.
    fn shape() -> Shape {
        let untyped = |name: &str| Column {
            name: name.to_owned(),
            kind: None,
            nullable: true,
            length: None,
            list: false,
        };
        Shape {
            name: "things".to_owned(),
            columns: ["a", "b", "c", "z"].map(untyped).to_vec(),
            key: Vec::new(),
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            2 => Just(Value::Null),
            2 => any::<bool>().prop_map(Value::Bool),
            2 => (-2_i64..3).prop_map(Value::Int),
            2 => "[ab]{0,2}".prop_map(Value::text),
            1 => prop::sample::select(vec![0.0, -0.0, 1.0, 1.5, f64::NAN, f64::INFINITY]).prop_map(Value::Float),
            1 => prop::sample::select(vec!["1", "1.0", "2.50", "-1"]).prop_map(|text| Value::Decimal(text.parse().unwrap())),
            1 => prop::sample::select(vec!["2024-01-01", "2024-01-02"]).prop_map(|text| Value::Date(text.parse().unwrap())),
            1 => prop::sample::select(vec!["10:00:00", "11:00:00"]).prop_map(|text| Value::Time(text.parse().unwrap())),
            1 => prop::sample::select(vec!["2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z"]).prop_map(|text| Value::Timestamp(text.parse().unwrap())),
            1 => prop::sample::select(vec!["null", "1", "{", "\"a\""]).prop_map(|text| Value::Json(text.into())),
            1 => prop::collection::vec(0_u8..2, 0..2).prop_map(Value::Bytes),
        ]
    }

    fn cell() -> impl Strategy<Value = Cell> {
        prop_oneof![
            9 => value().prop_map(Cell::Set),
            1 => Just(Cell::Unchanged),
        ]
    }

    fn condition() -> impl Strategy<Value = String> {
        let side = || {
            let column = prop::sample::select(vec!["a", "b", "c", "z"]);
            prop_oneof![
                3 => column.prop_map(str::to_owned),
                1 => prop::sample::select(vec!["null", "true", "1", "'a'", "1.5"]).prop_map(str::to_owned),
            ]
        };
        let sign = prop::sample::select(vec!["==", "!=", "<", "<=", ">", ">="]);
        let leaf = prop_oneof![
            6 => (side(), sign, side()).prop_map(|(a, sign, b)| format!("{a} {sign} {b}")),
            1 => side(),
        ];
        leaf.prop_recursive(3, 8, 2, |inner| {
            prop_oneof![
                (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) && ({b})")),
                (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) || ({b})")),
                inner.prop_map(|a| format!("!({a})")),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn the_quick_way_and_the_long_one_agree(
            text in condition(),
            cells in prop::collection::vec(cell(), 4),
        ) {
            let shape = shape();
            let Ok(expression) = Expression::compile(&text, Scope::Fields(&shape), None) else {
                return Ok(());
            };
            prop_assert!(expression.is_plain, "{} is plain", text);
            let row = Row(cells);
            let cell = |at| row.cell(at);
            if let Some(quick) = truth(&expression.root, &cell) {
                let long = eval(&expression.root, &Cells { cell: &cell, local: None });
                prop_assert!(
                    matches!(long, Ok(Operand::Bool(flag)) if flag == quick),
                    "{} on {:?}: {} and {:?}", text, row, quick, long
                );
            }
        }
    }

    #[test]
    fn a_plain_condition_on_dates_needs_no_long_way() {
        let shape = shape();
        let text = "b == null || b >= a && !(c == 'x' || c != 'y')";
        let expression = Expression::compile(text, Scope::Fields(&shape), None).unwrap();
        let date = |text: &str| Value::Date(text.parse().unwrap());
        let row = |b: Value| Row::of([date("2024-01-02"), b, Value::text("y"), Value::Null]);
        for (b, expected) in [
            (Value::Null, Some(true)),
            (date("2024-01-02"), Some(true)),
            (date("2024-01-01"), Some(false)),
            (Value::Int(1), None),
        ] {
            let row = row(b);
            assert_eq!(truth(&expression.root, &|at| row.cell(at)), expected);
        }
    }
}
