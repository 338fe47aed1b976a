//! Runs a typed tree on a row.
//!
//! The tree was typed, so a mismatch here comes from a null or from a type that is only known now; either is an error that names it.
//! As in CEL, `&&` and `||` give their verdict when one side suffices, even where the other is an error.

use std::borrow::Cow;
use std::cmp::Ordering;

use regex::Regex;

use super::ExpressionError;
use super::functions::{Function, too_long_list, too_long_text};
use super::operand::Operand;
use crate::value::Cell;

/// Most bytes of a text that an expression makes.
pub(super) const TEXT_MAX: usize = 1 << 20;
/// Most items of a list that an expression makes or goes through.
pub(super) const LIST_MAX: usize = 10_000;

/// One step of an expression.
#[derive(Debug)]
pub(super) enum Node {
    Literal(Operand<'static>),
    Column {
        at: usize,
        name: Box<str>,
    },
    /// The variable of the macro around it.
    Local,
    Not(Box<Node>),
    Negate(Box<Node>),
    And(Box<[Node; 2]>),
    Or(Box<[Node; 2]>),
    If(Box<[Node; 3]>),
    Calculate(Sign, Box<[Node; 2]>),
    Compare(Comparison, Box<[Node; 2]>),
    In(Box<[Node; 2]>),
    Index(Box<[Node; 2]>),
    /// Whether the value is there: not null, or an entry of the map.
    Has(Box<Node>, Option<Box<str>>),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
    Matches(Box<Node>, Regex),
    Call(Function, Vec<Node>),
    Each(Box<Each>),
}

/// A macro over a list.
#[derive(Debug)]
pub(super) struct Each {
    pub(super) what: What,
    pub(super) range: Node,
    /// Which items take part; all where absent.
    pub(super) only: Option<Node>,
    /// What is asked of, or made from, each item.
    pub(super) body: Node,
}

/// What a macro makes of its items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    All,
    Exists,
    ExistsOne,
    Map,
}

/// The signs of arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    Add,
    Sub,
    Mul,
    Div,
    Rem,
}

/// The comparisons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Where the row's cells are, and the macro's variable.
pub(super) struct Cells<'c, 'a> {
    pub(super) cell: &'c dyn Fn(usize) -> &'a Cell,
    pub(super) local: Option<&'c Operand<'a>>,
}

type Outcome<'a> = Result<Operand<'a>, ExpressionError>;

/// The value of a node.
pub(super) fn eval<'a>(node: &'a Node, cells: &Cells<'_, 'a>) -> Outcome<'a> {
    match node {
        Node::Literal(value) => Ok(borrow(value)),
        Node::Column { at, .. } => match (cells.cell)(*at) {
            Cell::Set(value) => Operand::of(value),
            Cell::Unchanged => Err(ExpressionError::new("a column was not sent by the source")),
        },
        Node::Local => Ok(cells.local.cloned().unwrap_or(Operand::Null)),
        Node::Not(of) => Ok(Operand::Bool(!truth(of, cells)?)),
        Node::Negate(of) => match eval(of, cells)? {
            Operand::Int(v) => v.checked_neg().map(Operand::Int).ok_or_else(overflow),
            Operand::Double(v) => Ok(Operand::Double(-v)),
            other => Err(unfit(of, &other, "`-`")),
        },
        Node::And(sides) => shortcut(sides, cells, false),
        Node::Or(sides) => shortcut(sides, cells, true),
        Node::If(parts) => {
            let [condition, yes, no] = &**parts;
            eval(if truth(condition, cells)? { yes } else { no }, cells)
        }
        Node::Calculate(sign, sides) => {
            let [left, right] = &**sides;
            calculate(
                *sign,
                [left, right],
                eval(left, cells)?,
                eval(right, cells)?,
            )
        }
        Node::Compare(how, sides) => compare(*how, sides, cells).map(Operand::Bool),
        Node::In(sides) => contains(&eval(&sides[0], cells)?, &eval(&sides[1], cells)?),
        Node::Index(sides) => index(eval(&sides[0], cells)?, &eval(&sides[1], cells)?),
        Node::Has(of, entry) => has(eval(of, cells)?, entry.as_deref()),
        Node::List(items) => {
            let items: Result<Vec<_>, _> = items.iter().map(|item| eval(item, cells)).collect();
            items.map(Operand::List)
        }
        Node::Map(entries) => {
            let entry =
                |(key, value): &'a (Node, Node)| Ok((eval(key, cells)?, eval(value, cells)?));
            let entries: Result<Vec<_>, _> = entries.iter().map(entry).collect();
            entries.map(Operand::Map)
        }
        Node::Matches(of, pattern) => match eval(of, cells)? {
            Operand::Text(text) => Ok(Operand::Bool(pattern.is_match(&text))),
            other => Err(unfit(of, &other, "matches(…)")),
        },
        Node::Call(function, args) => {
            let args: Result<Vec<_>, _> = args.iter().map(|arg| eval(arg, cells)).collect();
            function.call(args?)
        }
        Node::Each(each) => each.run(cells),
    }
}

impl Each {
    fn run<'a>(&'a self, cells: &Cells<'_, 'a>) -> Outcome<'a> {
        let items = match eval(&self.range, cells)? {
            Operand::List(items) => items,
            Operand::Map(entries) => entries.into_iter().map(|(key, _)| key).collect(),
            other => return Err(unfit(&self.range, &other, "a macro over a list")),
        };
        if items.len() > LIST_MAX {
            return Err(too_long_list());
        }
        let mut made = Vec::new();
        let mut found = 0usize;
        // An error counts only when no other item decides.
        let mut failed = None;
        for item in &items {
            let cells = Cells {
                cell: cells.cell,
                local: Some(item),
            };
            if let Some(only) = &self.only
                && !truth(only, &cells)?
            {
                continue;
            }
            match self.what {
                What::Map => made.push(eval(&self.body, &cells)?),
                What::ExistsOne => found += usize::from(truth(&self.body, &cells)?),
                What::All | What::Exists => match truth(&self.body, &cells) {
                    Ok(yes) if yes == (self.what == What::Exists) => {
                        return Ok(Operand::Bool(yes));
                    }
                    Ok(_) => {}
                    Err(error) => failed = Some(error),
                },
            }
        }
        match (self.what, failed) {
            (_, Some(error)) => Err(error),
            (What::Map, _) => Ok(Operand::List(made)),
            (What::ExistsOne, _) => Ok(Operand::Bool(found == 1)),
            (what, _) => Ok(Operand::Bool(what == What::All)),
        }
    }
}

fn borrow<'a>(value: &'a Operand<'static>) -> Operand<'a> {
    match value {
        Operand::Text(text) => Operand::Text(Cow::Borrowed(text)),
        Operand::Bytes(bytes) => Operand::Bytes(Cow::Borrowed(bytes)),
        Operand::Decimal(number) => Operand::Decimal(Cow::Borrowed(number)),
        other => other.clone(),
    }
}

fn truth<'a>(node: &'a Node, cells: &Cells<'_, 'a>) -> Result<bool, ExpressionError> {
    match eval(node, cells)? {
        Operand::Bool(flag) => Ok(flag),
        other => Err(unfit(node, &other, "a condition")),
    }
}

fn shortcut<'a>(sides: &'a [Node; 2], cells: &Cells<'_, 'a>, decides: bool) -> Outcome<'a> {
    let left = truth(&sides[0], cells);
    if left == Ok(decides) {
        return Ok(Operand::Bool(decides));
    }
    let right = truth(&sides[1], cells);
    if right == Ok(decides) {
        return Ok(Operand::Bool(decides));
    }
    left?;
    right?;
    Ok(Operand::Bool(!decides))
}

fn compare<'a>(
    how: Comparison,
    sides: &'a [Node; 2],
    cells: &Cells<'_, 'a>,
) -> Result<bool, ExpressionError> {
    let (left, right) = (eval(&sides[0], cells)?, eval(&sides[1], cells)?);
    match how {
        Comparison::Equal => return Ok(left.equals(&right)),
        Comparison::NotEqual => return Ok(!left.equals(&right)),
        _ => {}
    }
    for (node, value) in sides.iter().zip([&left, &right]) {
        if matches!(value, Operand::Null) {
            return Err(unfit(node, value, "a comparison"));
        }
    }
    let order = match left.order(&right) {
        Some(order) => order,
        // A not-a-number is neither less nor greater.
        None if matches!(left, Operand::Double(_)) => return Ok(false),
        None => return Err(unfit(&sides[1], &right, "this comparison")),
    };
    Ok(match how {
        Comparison::Less => order == Ordering::Less,
        Comparison::LessOrEqual => order != Ordering::Greater,
        Comparison::Greater => order == Ordering::Greater,
        _ => order != Ordering::Less,
    })
}

fn calculate<'a>(
    sign: Sign,
    nodes: [&Node; 2],
    left: Operand<'a>,
    right: Operand<'a>,
) -> Outcome<'a> {
    match (left, right) {
        (Operand::Int(a), Operand::Int(b)) => {
            if b == 0 && matches!(sign, Sign::Div | Sign::Rem) {
                return Err(ExpressionError::new("division by zero"));
            }
            let result = match sign {
                Sign::Add => a.checked_add(b),
                Sign::Sub => a.checked_sub(b),
                Sign::Mul => a.checked_mul(b),
                Sign::Div => a.checked_div(b),
                Sign::Rem => a.checked_rem(b),
            };
            result.map(Operand::Int).ok_or_else(overflow)
        }
        (Operand::Double(a), Operand::Double(b)) => Ok(Operand::Double(match sign {
            Sign::Add => a + b,
            Sign::Sub => a - b,
            Sign::Mul => a * b,
            Sign::Div => a / b,
            Sign::Rem => a % b,
        })),
        (Operand::Text(a), Operand::Text(b)) if sign == Sign::Add => {
            if a.len() + b.len() > TEXT_MAX {
                return Err(too_long_text());
            }
            let mut text = a.into_owned();
            text.push_str(&b);
            Ok(Operand::Text(Cow::Owned(text)))
        }
        (Operand::List(mut a), Operand::List(b)) if sign == Sign::Add => {
            if a.len() + b.len() > LIST_MAX {
                return Err(too_long_list());
            }
            a.extend(b);
            Ok(Operand::List(a))
        }
        (left @ Operand::Null, _) => Err(unfit(nodes[0], &left, sign.text())),
        (_, right) => Err(unfit(nodes[1], &right, sign.text())),
    }
}

fn contains<'a>(item: &Operand<'_>, container: &Operand<'_>) -> Outcome<'a> {
    match container {
        Operand::List(items) => Ok(Operand::Bool(items.iter().any(|other| item.equals(other)))),
        Operand::Map(entries) => Ok(Operand::Bool(
            entries.iter().any(|(key, _)| item.equals(key)),
        )),
        other => Err(ExpressionError::new(format!(
            "`in` needs a list or a map, not {}",
            other.type_name()
        ))),
    }
}

fn index<'a>(container: Operand<'a>, key: &Operand<'_>) -> Outcome<'a> {
    match (container, key) {
        (Operand::List(items), Operand::Int(at)) => {
            let length = items.len();
            usize::try_from(*at)
                .ok()
                .and_then(|at| items.into_iter().nth(at))
                .ok_or_else(|| {
                    ExpressionError::new(format!("item {at} is not in a list of {length}"))
                })
        }
        (Operand::Map(entries), key) => entries
            .into_iter()
            .find(|(known, _)| known.equals(key))
            .map(|(_, value)| value)
            .ok_or_else(|| {
                ExpressionError::new("the map has no such entry; ask with has(…) or `in`")
            }),
        (other, key) => Err(ExpressionError::new(format!(
            "{} has no entries by {}",
            other.type_name(),
            key.type_name()
        ))),
    }
}

fn has<'a>(of: Operand<'a>, entry: Option<&str>) -> Outcome<'a> {
    let there = match (of, entry) {
        (of, None) => !matches!(of, Operand::Null),
        (Operand::Map(entries), Some(name)) => entries
            .iter()
            .any(|(key, _)| matches!(key, Operand::Text(key) if key == name)),
        (_, Some(_)) => false,
    };
    Ok(Operand::Bool(there))
}

impl Sign {
    /// The sign as it is written.
    pub(super) fn text(self) -> &'static str {
        match self {
            Sign::Add => "`+`",
            Sign::Sub => "`-`",
            Sign::Mul => "`*`",
            Sign::Div => "`/`",
            Sign::Rem => "`%`",
        }
    }
}

fn overflow() -> ExpressionError {
    ExpressionError::new("the result does not fit into 64 bits")
}

fn unfit(node: &Node, value: &Operand<'_>, place: &str) -> ExpressionError {
    let what = match node {
        Node::Column { name, .. } => format!("`{name}`"),
        _ => "a part".to_owned(),
    };
    let help = match value {
        Operand::Null => "; write orElse(value, default) or ask `== null` before",
        _ => "",
    };
    ExpressionError::new(format!(
        "{what} is {}, which {place} does not take{help}",
        value.type_name()
    ))
}
