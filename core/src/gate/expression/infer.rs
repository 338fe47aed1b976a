//! Types the parsed tree against the scope and turns it into nodes over column positions.

mod macros;

use cel::common::ast::{
    CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue, SelectExpr, SourceInfo, operators,
};

use super::eval::{Comparison, Node, Sign};
use super::functions::{self, Function};
use super::operand::Operand;
use super::types::Ty;
use super::{ExpressionError, Scope};
use crate::diagnostic::{nearest, suggestion};
use crate::shape::Shape;

type Typed = Result<(Node, Ty), ExpressionError>;

/// Most bytes a compiled pattern may take.
const PATTERN_MAX: usize = 1 << 20;
/// Walks the tree once.
pub(super) struct Typer<'a> {
    text: &'a str,
    scope: Scope<'a>,
    source: &'a SourceInfo,
    inputs: Vec<usize>,
    /// The variable of the macro around this place, and its type.
    local: Option<(String, Ty)>,
}

impl<'a> Typer<'a> {
    pub(super) fn new(text: &'a str, scope: Scope<'a>, source: &'a SourceInfo) -> Self {
        Typer {
            text,
            scope,
            source,
            inputs: Vec::new(),
            local: None,
        }
    }

    /// Positions of the columns that were met, ascending.
    pub(super) fn into_inputs(mut self) -> Vec<usize> {
        self.inputs.sort_unstable();
        self.inputs.dedup();
        self.inputs
    }

    /// The node and type of a tree. Recursion is bounded by [`super::scan`].
    pub(super) fn infer(&mut self, tree: &IdedExpr) -> Typed {
        let typed = match &tree.expr {
            Expr::Literal(literal) => self.literal(literal),
            Expr::Ident(name) => self.name(name),
            Expr::Select(select) => self.select(select),
            Expr::Call(call) => self.call(call),
            Expr::List(list) => self.list(&list.elements),
            Expr::Map(map) => {
                let entries = map.entries.iter().filter_map(|entry| match &entry.expr {
                    EntryExpr::MapEntry(entry) => Some((&entry.key, &entry.value)),
                    EntryExpr::StructField(_) => None,
                });
                self.map(entries)
            }
            Expr::Comprehension(each) => self.each(each),
            Expr::Struct(_) | Expr::Unspecified => {
                Err(ExpressionError::new("messages are not known here"))
            }
        };
        typed.map_err(|error| error.at(self.span(tree.id)))
    }

    /// The bytes that a node was written with; a selection is marked with the name it selects.
    fn span(&self, id: u64) -> Option<(usize, usize)> {
        let (start, stop) = self.source.offset_for(id)?;
        let start = start as usize;
        // The parser's end is the first byte of the last character.
        let last = self.text.get(stop as usize..)?.chars().next()?;
        let mut end = stop as usize + last.len_utf8();
        if self.text.get(start..end)? == "." {
            let name = |c: char| c.is_alphanumeric() || c == '_';
            let rest = &self.text[end..];
            end += rest.find(|c| !name(c)).unwrap_or(rest.len());
        }
        (start < end).then_some((start, end))
    }

    fn literal(&self, literal: &LiteralValue) -> Typed {
        Ok(match literal {
            LiteralValue::Null => (Node::Literal(Operand::Null), Ty::Null),
            LiteralValue::Boolean(v) => (Node::Literal(Operand::Bool(*v.inner())), Ty::Bool),
            LiteralValue::Int(v) => (Node::Literal(Operand::Int(*v.inner())), Ty::Int),
            LiteralValue::UInt(v) => {
                let number = i64::try_from(*v.inner())
                    .map_err(|_| ExpressionError::new("the number does not fit into 64 bits"))?;
                (Node::Literal(Operand::Int(number)), Ty::Int)
            }
            LiteralValue::Double(v) => (Node::Literal(Operand::Double(*v.inner())), Ty::Double),
            LiteralValue::String(v) => (
                Node::Literal(Operand::Text(v.inner().to_owned().into())),
                Ty::Text,
            ),
            LiteralValue::Bytes(v) => (
                Node::Literal(Operand::Bytes(v.inner().to_owned().into())),
                Ty::Bytes,
            ),
        })
    }

    fn name(&mut self, name: &str) -> Typed {
        if let Some((local, ty)) = &self.local
            && local == name
        {
            return Ok((Node::Local, ty.clone()));
        }
        match self.scope {
            Scope::Fields(shape) => self.column(shape, name, "field"),
            Scope::Row(_) if name == "row" => Err(ExpressionError::new(
                "`row` stands before a column, as in `row.name`",
            )),
            Scope::Row(shape) if shape.position(name).is_some() => Err(ExpressionError::new(
                format!("unknown name `{name}`; columns are written `row.{name}`"),
            )),
            Scope::Row(shape) => Err(ExpressionError::new(format!(
                "unknown name `{name}`; columns are written `row.<column>`, {}",
                suggestion(name, shape.names().collect::<Vec<_>>())
            ))),
        }
    }

    fn column(&mut self, shape: &Shape, name: &str, what: &str) -> Typed {
        let Some(at) = shape.position(name) else {
            return Err(ExpressionError::new(format!(
                "unknown {what} `{name}` in `{}`; {}",
                shape.name,
                suggestion(name, shape.names().collect::<Vec<_>>())
            )));
        };
        self.inputs.push(at);
        let name = name.into();
        Ok((Node::Column { at, name }, Ty::from(shape.columns[at].kind)))
    }

    /// The column that an operand of a selection leads to, if the operand is `row` itself.
    fn is_row(&self, operand: &IdedExpr) -> Option<&'a Shape> {
        match (&operand.expr, self.scope, &self.local) {
            (Expr::Ident(name), Scope::Row(_), Some((local, _))) if local == name => None,
            (Expr::Ident(name), Scope::Row(shape), _) if name == "row" => Some(shape),
            _ => None,
        }
    }

    fn select(&mut self, select: &SelectExpr) -> Typed {
        if let Some(shape) = self.is_row(&select.operand) {
            let (column, ty) = self.column(shape, &select.field, "column")?;
            return Ok(if select.test {
                (Node::Has(Box::new(column), None), Ty::Bool)
            } else {
                (column, ty)
            });
        }
        let (of, ty) = self.infer(&select.operand)?;
        let value = match &ty {
            Ty::Dyn => Ty::Dyn,
            Ty::Map(key, value) if key.may_be(&Ty::Text) => (**value).clone(),
            other => {
                return Err(ExpressionError::new(format!(
                    "{other} has no entry `{}`",
                    select.field
                )));
            }
        };
        if select.test {
            let has = Node::Has(Box::new(of), Some(select.field.as_str().into()));
            return Ok((has, Ty::Bool));
        }
        let key = Node::Literal(Operand::Text(select.field.clone().into()));
        Ok((Node::Index(Box::new([of, key])), value))
    }

    fn list(&mut self, items: &[IdedExpr]) -> Typed {
        let mut nodes = Vec::with_capacity(items.len());
        let mut of = Ty::Null;
        for item in items {
            let (node, ty) = self.infer(item)?;
            of = joined(of, ty, "the items of a list")?;
            nodes.push(node);
        }
        if nodes.is_empty() {
            of = Ty::Dyn;
        }
        Ok((Node::List(nodes), Ty::List(Box::new(of))))
    }

    fn map<'e>(&mut self, entries: impl Iterator<Item = (&'e IdedExpr, &'e IdedExpr)>) -> Typed {
        let mut nodes = Vec::new();
        let (mut keys, mut values) = (Ty::Null, Ty::Null);
        for (key, value) in entries {
            let (key, key_ty) = self.infer(key)?;
            let (value, value_ty) = self.infer(value)?;
            keys = joined(keys, key_ty, "the keys of a map")?;
            // Objects hold values of many types; what one is shows when it runs.
            values = values.join(value_ty).unwrap_or(Ty::Dyn);
            nodes.push((key, value));
        }
        Ok((Node::Map(nodes), Ty::Map(Box::new(keys), Box::new(values))))
    }

    fn call(&mut self, call: &CallExpr) -> Typed {
        let name = call.func_name.as_str();
        let args: Vec<&IdedExpr> = call
            .target
            .as_deref()
            .into_iter()
            .chain(&call.args)
            .collect();
        match (name, args.as_slice()) {
            (operators::LOGICAL_AND, [a, b]) => {
                let sides = self.conditions(a, b)?;
                Ok((Node::And(sides), Ty::Bool))
            }
            (operators::LOGICAL_OR, [a, b]) => {
                let sides = self.conditions(a, b)?;
                Ok((Node::Or(sides), Ty::Bool))
            }
            (operators::LOGICAL_NOT, [of]) => {
                let of = self.condition(of)?;
                Ok((Node::Not(Box::new(of)), Ty::Bool))
            }
            (operators::CONDITIONAL, [condition, yes, no]) => {
                let condition = self.condition(condition)?;
                let (yes, yes_ty) = self.infer(yes)?;
                let (no, no_ty) = self.infer(no)?;
                let ty = joined(yes_ty, no_ty, "the two sides of a conditional")?;
                Ok((Node::If(Box::new([condition, yes, no])), ty))
            }
            (operators::NEGATE, [of]) => match self.infer(of)? {
                (node, ty @ (Ty::Int | Ty::Double | Ty::Dyn)) => {
                    Ok((Node::Negate(Box::new(node)), ty))
                }
                (_, Ty::Decimal) => Err(ExpressionError::new(
                    "`-` does not work on decimals; write decSub(0, a)",
                )),
                (_, ty) => Err(ExpressionError::new(format!("`-` does not take {ty}"))),
            },
            (operators::INDEX, [of, key]) => self.index(of, key),
            (operators::IN, [item, container]) => self.contained(item, container),
            ("matches", [of, pattern]) => self.matches(of, pattern),
            (operator, [a, b]) if sign(operator).is_some() => {
                let sign = sign(operator).unwrap_or(Sign::Add);
                self.calculation(sign, a, b)
            }
            (operator, [a, b]) if comparison(operator).is_some() => {
                let how = comparison(operator).unwrap_or(Comparison::Equal);
                self.comparison(how, a, b)
            }
            (name, args) => self.function(name, args),
        }
    }

    fn condition(&mut self, tree: &IdedExpr) -> Result<Node, ExpressionError> {
        let (node, ty) = self.infer(tree)?;
        if ty.may_be(&Ty::Bool) {
            Ok(node)
        } else {
            Err(
                ExpressionError::new(format!("a condition must be bool, not {ty}"))
                    .at(self.span(tree.id)),
            )
        }
    }

    fn conditions(
        &mut self,
        a: &IdedExpr,
        b: &IdedExpr,
    ) -> Result<Box<[Node; 2]>, ExpressionError> {
        Ok(Box::new([self.condition(a)?, self.condition(b)?]))
    }

    fn index(&mut self, of: &IdedExpr, key: &IdedExpr) -> Typed {
        if let Some(shape) = self.is_row(of) {
            return match &key.expr {
                Expr::Literal(LiteralValue::String(name)) => {
                    self.column(shape, name.inner(), "column")
                }
                _ => Err(ExpressionError::new(
                    "a column is named by a text literal, as in `row['name']`",
                )),
            };
        }
        let (of, of_ty) = self.infer(of)?;
        let (key, key_ty) = self.infer(key)?;
        let value = match &of_ty {
            Ty::Dyn => Ty::Dyn,
            Ty::List(item) if key_ty.may_be(&Ty::Int) => (**item).clone(),
            Ty::Map(known, value) if known.equates(&key_ty) => (**value).clone(),
            _ => {
                return Err(ExpressionError::new(format!(
                    "{of_ty} has no entries by {key_ty}"
                )));
            }
        };
        Ok((Node::Index(Box::new([of, key])), value))
    }

    fn contained(&mut self, item: &IdedExpr, container: &IdedExpr) -> Typed {
        let (item, item_ty) = self.infer(item)?;
        let (container, container_ty) = self.infer(container)?;
        let known = match &container_ty {
            Ty::List(of) | Ty::Map(of, _) => of.equates(&item_ty),
            other => *other == Ty::Dyn,
        };
        if known {
            Ok((Node::In(Box::new([item, container])), Ty::Bool))
        } else {
            Err(ExpressionError::new(format!(
                "{item_ty} cannot be in {container_ty}"
            )))
        }
    }

    fn matches(&mut self, of: &IdedExpr, pattern: &IdedExpr) -> Typed {
        let (of, ty) = self.infer(of)?;
        if !ty.may_be(&Ty::Text) {
            return Err(ExpressionError::new(format!(
                "matches(…) takes text, not {ty}"
            )));
        }
        let Expr::Literal(LiteralValue::String(text)) = &pattern.expr else {
            return Err(ExpressionError::new(
                "the pattern of matches(…) must be a text literal, so that it is checked before anything runs",
            )
            .at(self.span(pattern.id)));
        };
        let pattern = regex::RegexBuilder::new(text.inner())
            .size_limit(PATTERN_MAX)
            .build()
            .map_err(|_| {
                ExpressionError::new(format!("`{}` is not a regular expression", text.inner()))
                    .at(self.span(pattern.id))
            })?;
        Ok((Node::Matches(Box::new(of), pattern), Ty::Bool))
    }

    fn calculation(&mut self, sign: Sign, a: &IdedExpr, b: &IdedExpr) -> Typed {
        let (left, left_ty) = self.infer(a)?;
        let (right, right_ty) = self.infer(b)?;
        let written = sign.text();
        if left_ty == Ty::Decimal || right_ty == Ty::Decimal {
            let instead = match sign {
                Sign::Add => "decAdd(a, b)",
                Sign::Sub => "decSub(a, b)",
                Sign::Mul => "decMul(a, b)",
                Sign::Div | Sign::Rem => "decDiv(a, b, scale)",
            };
            return Err(ExpressionError::new(format!(
                "{written} does not work on decimals; write {instead}"
            )));
        }
        let ty = match (&left_ty, &right_ty) {
            (Ty::Int, Ty::Int) => Some(Ty::Int),
            (Ty::Double, Ty::Double) if sign != Sign::Rem => Some(Ty::Double),
            (Ty::Text, Ty::Text) if sign == Sign::Add => Some(Ty::Text),
            (Ty::List(_), Ty::List(_)) if sign == Sign::Add => {
                left_ty.clone().join(right_ty.clone())
            }
            (Ty::Dyn, Ty::Dyn | Ty::Int | Ty::Double | Ty::Text)
            | (Ty::Int | Ty::Double | Ty::Text, Ty::Dyn) => Some(Ty::Dyn),
            _ => None,
        };
        let Some(ty) = ty else {
            let help = match (&left_ty, &right_ty) {
                (Ty::Text, _) | (_, Ty::Text) => "; write string(…) around what is not text",
                (Ty::Int, Ty::Double) | (Ty::Double, Ty::Int) => {
                    "; write double(…) around the integer"
                }
                (Ty::Date, Ty::Int) => "; write addDays(date, days)",
                (Ty::Date, Ty::Date) => "; write daysBetween(from, to)",
                _ => "",
            };
            return Err(ExpressionError::new(format!(
                "{written} does not work between {left_ty} and {right_ty}{help}"
            )));
        };
        Ok((Node::Calculate(sign, Box::new([left, right])), ty))
    }

    fn comparison(&mut self, how: Comparison, a: &IdedExpr, b: &IdedExpr) -> Typed {
        let (left, left_ty) = self.infer(a)?;
        let (right, right_ty) = self.infer(b)?;
        let equality = matches!(how, Comparison::Equal | Comparison::NotEqual);
        let together = left_ty.clone().join(right_ty.clone());
        let fits = match &together {
            None => false,
            Some(_) if equality => true,
            // A type that is known only when it runs has an order with anything that has one.
            Some(Ty::Dyn) => {
                let ordered = |ty: &Ty| *ty == Ty::Dyn || ty.is_ordered();
                ordered(&left_ty) && ordered(&right_ty)
            }
            Some(ty) => ty.is_ordered() && left_ty != Ty::Null && right_ty != Ty::Null,
        };
        if !fits {
            let word = if equality { "equal" } else { "ordered against" };
            return Err(ExpressionError::new(format!(
                "{left_ty} cannot be {word} {right_ty}{}",
                comparison_help(&left_ty, &right_ty)
            )));
        }
        Ok((Node::Compare(how, Box::new([left, right])), Ty::Bool))
    }

    fn function(&mut self, name: &str, args: &[&IdedExpr]) -> Typed {
        let Some(function) = functions::find(name) else {
            let help = match nearest(name, functions::names()) {
                Some(near) => format!("did you mean `{near}`?"),
                None if matches!(name, "all" | "exists" | "exists_one" | "map" | "filter") => {
                    "it is written list.all(x, condition)".to_owned()
                }
                None => suggestion(name, functions::names()),
            };
            let name = name.trim_matches(['_', '@']);
            return Err(ExpressionError::new(format!(
                "unknown function `{name}`; {help}"
            )));
        };
        let mut nodes = Vec::with_capacity(args.len());
        let mut types = Vec::with_capacity(args.len());
        for arg in args {
            let (node, ty) = self.infer(arg)?;
            nodes.push(node);
            types.push(ty);
        }
        let Some(ty) = function.result(&types) else {
            let types: Vec<String> = types.iter().map(ToString::to_string).collect();
            return Err(ExpressionError::new(format!(
                "{} does not take ({})",
                function.usage(),
                types.join(", ")
            )));
        };
        folded(function, nodes).map(|node| (node, ty))
    }
}

fn joined(a: Ty, b: Ty, what: &str) -> Result<Ty, ExpressionError> {
    let message = format!("{what} must be of one type, not {a} and {b}");
    a.join(b).ok_or_else(|| ExpressionError::new(message))
}

/// A call whose arguments are all literals is run now, so that `date('2024-02-31')` is found before anything runs.
fn folded(function: Function, nodes: Vec<Node>) -> Result<Node, ExpressionError> {
    if !nodes.iter().all(|node| matches!(node, Node::Literal(_))) {
        return Ok(Node::Call(function, nodes));
    }
    let args = nodes.into_iter().filter_map(|node| match node {
        Node::Literal(value) => Some(value),
        _ => None,
    });
    function.call(args.collect()).map(Node::Literal)
}

fn sign(operator: &str) -> Option<Sign> {
    Some(match operator {
        operators::ADD => Sign::Add,
        operators::SUBSTRACT => Sign::Sub,
        operators::MULTIPLY => Sign::Mul,
        operators::DIVIDE => Sign::Div,
        operators::MODULO => Sign::Rem,
        _ => return None,
    })
}

fn comparison(operator: &str) -> Option<Comparison> {
    Some(match operator {
        operators::EQUALS => Comparison::Equal,
        operators::NOT_EQUALS => Comparison::NotEqual,
        operators::LESS => Comparison::Less,
        operators::LESS_EQUALS => Comparison::LessOrEqual,
        operators::GREATER => Comparison::Greater,
        operators::GREATER_EQUALS => Comparison::GreaterOrEqual,
        _ => return None,
    })
}

fn comparison_help(a: &Ty, b: &Ty) -> &'static str {
    let either = |ty: &Ty| a == ty || b == ty;
    if either(&Ty::Decimal) && either(&Ty::Double) {
        "; a decimal literal is written dec('1.20')"
    } else if either(&Ty::Text) && either(&Ty::Date) {
        "; a date literal is written date('2024-12-31')"
    } else if either(&Ty::Text) && either(&Ty::Timestamp) {
        "; a timestamp literal is written timestamp('2024-12-31T23:59:00Z')"
    } else if either(&Ty::Text) && either(&Ty::Decimal) {
        "; a decimal literal is written dec('1.20')"
    } else if either(&Ty::Date) && either(&Ty::Timestamp) {
        "; the day of a timestamp is date(…)"
    } else if either(&Ty::Int) && either(&Ty::Double) {
        "; write double(…) around the integer"
    } else if either(&Ty::Bool) && either(&Ty::Int) {
        "; write true or false"
    } else {
        ""
    }
}
