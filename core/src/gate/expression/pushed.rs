//! What of an expression systems can judge themselves.
//!
//! Gives a condition that every row fulfils of which the expression is true *or cannot be judged*: what is left out is certain to be false, and the gate still sees what is wrong.

use super::Expression;
use super::eval::{Comparison, Node};
use super::operand::Operand;
use crate::connector::{Filter, Sign};
use crate::shape::Shape;
use crate::value::{Type, Value};

impl Expression {
    /// A condition that every row fulfils of which the expression is true or cannot be judged; none where that may be every row.
    pub(crate) fn filter(&self, shape: &Shape) -> Option<Filter> {
        may_be(&self.root, true, shape)
    }
}

/// The rows of which a condition may be `wanted`. Recursion is bounded by [`super::scan`].
fn may_be(node: &Node, wanted: bool, shape: &Shape) -> Option<Filter> {
    match node {
        Node::Literal(Operand::Bool(flag)) if *flag == wanted => None,
        Node::Literal(Operand::Bool(_)) => Some(Filter::Any(Vec::new())),
        Node::Not(of) => may_be(of, !wanted, shape),
        Node::And(sides) if wanted => both(sides, wanted, shape),
        Node::Or(sides) if !wanted => both(sides, wanted, shape),
        Node::And(sides) | Node::Or(sides) => {
            let sides = sides.iter().map(|side| may_be(side, wanted, shape));
            Some(Filter::Any(sides.collect::<Option<_>>()?))
        }
        Node::Compare(how, sides) => compared(*how, sides, wanted, shape),
        Node::In(sides) => among(sides, wanted, shape),
        Node::Has(of, None) => {
            let (column, _) = column(of, shape)?;
            Some(if wanted {
                Filter::IsNotNull(column)
            } else {
                Filter::IsNull(column)
            })
        }
        Node::Column { .. } => {
            let (column, kind) = column(node, shape)?;
            let value = Value::Bool(wanted);
            (kind == Type::Bool).then(|| or_null(column, Sign::Equal, value))
        }
        _ => None,
    }
}

/// Both sides have to be so; one that cannot be said is left to the gate.
fn both(sides: &[Node; 2], wanted: bool, shape: &Shape) -> Option<Filter> {
    let sides = sides.iter().filter_map(|side| may_be(side, wanted, shape));
    let parts: Vec<Filter> = sides.collect();
    (!parts.is_empty()).then_some(Filter::All(parts))
}

fn compared(how: Comparison, sides: &[Node; 2], wanted: bool, shape: &Shape) -> Option<Filter> {
    let ((column, kind), value, how) = match sides {
        [left, Node::Literal(value)] => (column(left, shape)?, value, how),
        [Node::Literal(value), right] => (column(right, shape)?, value, turned(how)),
        _ => return None,
    };
    let how = if wanted { how } else { opposite(how) };
    let value = match (value, how) {
        (Operand::Null, Comparison::Equal) => return Some(Filter::IsNull(column)),
        (Operand::Null, Comparison::NotEqual) => return Some(Filter::IsNotNull(column)),
        (value, _) => literal(value, kind)?,
    };
    Some(match how {
        Comparison::Equal => Filter::Compare(column, Sign::Equal, value),
        // Systems order and tell apart texts by rules of their own, so that only what is the same by ours is sure to be so by theirs.
        _ if kind == Type::Text => return None,
        // What is null is another value, and has no order, which the gate says in words.
        Comparison::NotEqual => or_null(column, Sign::NotEqual, value),
        Comparison::Less => or_null(column, Sign::Less, value),
        Comparison::LessOrEqual => or_null(column, Sign::LessOrEqual, value),
        Comparison::Greater => or_null(column, Sign::Greater, value),
        Comparison::GreaterOrEqual => or_null(column, Sign::GreaterOrEqual, value),
    })
}

/// A column that is one of a list of values.
fn among(sides: &[Node; 2], wanted: bool, shape: &Shape) -> Option<Filter> {
    let [of, Node::List(items)] = sides else {
        return None;
    };
    if !wanted {
        return None;
    }
    let (column, kind) = column(of, shape)?;
    let item = |item: &Node| match item {
        Node::Literal(value) => Some(Filter::Compare(
            column.clone(),
            Sign::Equal,
            literal(value, kind)?,
        )),
        _ => None,
    };
    Some(Filter::Any(items.iter().map(item).collect::<Option<_>>()?))
}

fn or_null(column: String, sign: Sign, value: Value) -> Filter {
    let is_null = Filter::IsNull(column.clone());
    Filter::Any(vec![Filter::Compare(column, sign, value), is_null])
}

fn column(node: &Node, shape: &Shape) -> Option<(String, Type)> {
    let Node::Column { at, .. } = node else {
        return None;
    };
    let column = shape.columns.get(*at)?;
    Some((column.name.clone(), column.kind?))
}

/// A literal that a column's own type holds, so that nothing is converted on the way.
fn literal(value: &Operand<'_>, kind: Type) -> Option<Value> {
    Some(match (value, kind) {
        (Operand::Int(number), Type::Int) => Value::Int(*number),
        (Operand::Text(text), Type::Text) => Value::Text(text.clone().into_owned()),
        (Operand::Bool(flag), Type::Bool) => Value::Bool(*flag),
        _ => return None,
    })
}

/// The comparison with its sides exchanged.
fn turned(how: Comparison) -> Comparison {
    match how {
        Comparison::Less => Comparison::Greater,
        Comparison::LessOrEqual => Comparison::GreaterOrEqual,
        Comparison::Greater => Comparison::Less,
        Comparison::GreaterOrEqual => Comparison::LessOrEqual,
        same => same,
    }
}

/// The comparison that is true where this one is false.
fn opposite(how: Comparison) -> Comparison {
    match how {
        Comparison::Equal => Comparison::NotEqual,
        Comparison::NotEqual => Comparison::Equal,
        Comparison::Less => Comparison::GreaterOrEqual,
        Comparison::LessOrEqual => Comparison::Greater,
        Comparison::Greater => Comparison::LessOrEqual,
        Comparison::GreaterOrEqual => Comparison::Less,
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use proptest::prelude::*;

    use super::super::Scope;
    use super::*;
    use crate::shape::{Column, Row};
    use crate::value::Cell;

    fn shape() -> Shape {
        Shape {
            name: "things".to_owned(),
            columns: vec![
                Column::new("n", Type::Int, true),
                Column::new("m", Type::Int, true),
                Column::new("t", Type::Text, true),
                Column::new("b", Type::Bool, true),
            ],
            key: Vec::new(),
        }
    }

    fn condition() -> impl Strategy<Value = String> {
        let sign = prop::sample::select(vec!["==", "!=", "<", "<=", ">", ">="]);
        let equal = prop::sample::select(vec!["==", "!="]);
        let leaf = prop_oneof![
            4 => ("[nm]", sign, -2_i64..3).prop_map(|(c, sign, n)| format!("row.{c} {sign} {n}")),
            1 => (equal.clone(), "[xy]").prop_map(|(sign, t)| format!("row.t {sign} '{t}'")),
            1 => ("[nmtb]", equal).prop_map(|(c, sign)| format!("row.{c} {sign} null")),
            1 => Just("row.n in [0, 1]".to_owned()),
            1 => Just("row.b".to_owned()),
            1 => Just("row.t.startsWith('x')".to_owned()),
            1 => Just("true".to_owned()),
            1 => Just("has(row.n)".to_owned()),
        ];
        leaf.prop_recursive(4, 16, 2, |inner| {
            prop_oneof![
                (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) && ({b})")),
                (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) || ({b})")),
                inner.prop_map(|a| format!("!({a})")),
            ]
        })
    }

    fn row() -> impl Strategy<Value = Row> {
        let number = || prop_oneof![Just(Value::Null), (-2_i64..3).prop_map(Value::Int)];
        let text = prop_oneof![Just(Value::Null), "[xy]".prop_map(Value::text)];
        let flag = prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::Bool)];
        (number(), number(), text, flag).prop_map(|(n, m, t, b)| Row::of([n, m, t, b]))
    }

    /// The condition as a database judges it.
    fn holds(filter: &Filter, row: &Row, shape: &Shape) -> bool {
        let value = |column: &str| row.value(shape.position(column).unwrap()).unwrap();
        match filter {
            Filter::IsNull(column) => value(column).is_null(),
            Filter::IsNotNull(column) => !value(column).is_null(),
            Filter::All(parts) => parts.iter().all(|part| holds(part, row, shape)),
            Filter::Any(parts) => parts.iter().any(|part| holds(part, row, shape)),
            Filter::Compare(column, sign, wanted) => {
                let order = match (value(column), wanted) {
                    (Value::Int(a), Value::Int(b)) => a.cmp(b),
                    (Value::Text(a), Value::Text(b)) => a.cmp(b),
                    (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
                    _ => return false,
                };
                match sign {
                    Sign::Equal => order == Ordering::Equal,
                    Sign::NotEqual => order != Ordering::Equal,
                    Sign::Less => order == Ordering::Less,
                    Sign::LessOrEqual => order != Ordering::Greater,
                    Sign::Greater => order == Ordering::Greater,
                    Sign::GreaterOrEqual => order != Ordering::Less,
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn no_row_is_left_out_that_is_wanted_or_wrong(text in condition(), row in row()) {
            let shape = shape();
            let Ok(expression) = Expression::compile(&text, Scope::Row(&shape), Some(Type::Bool)) else {
                return Ok(());
            };
            let Some(filter) = expression.filter(&shape) else {
                return Ok(());
            };
            let is_out = matches!(expression.eval(&row), Ok(Cell::Set(Value::Bool(false) | Value::Null)));
            prop_assert!(is_out || holds(&filter, &row, &shape), "{} as {:?} on {:?}", text, filter, row);
        }
    }
}
