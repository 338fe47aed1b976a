//! Check constraints as bounds and allowed values, as far as they are some.

use lockstep_core::contract::{Field, Limits};
use lockstep_core::value::{Type, Value};
use sqlparser::ast::{BinaryOperator, Expr, Function, FunctionArguments, UnaryOperator};

use super::super::notes::{Notes, shorten};
use super::{column_of, listed, now, text_of};

/// Deepest chain of conditions that is taken apart.
const CONDITIONS_MAX: usize = 100;

/// Fills in what a check says; what it says beyond bounds becomes a finding.
/// `renamed` says what columns are called now that had other names when the check was written.
pub(super) fn fill(
    fields: &mut [Field],
    renamed: &[(String, String)],
    expr: &Expr,
    at: Option<usize>,
    notes: &mut Notes<'_>,
) {
    let mut fields = Fields { fields, renamed };
    let mut waiting = vec![expr];
    let mut seen = 0;
    while let Some(expr) = waiting.pop() {
        seen += 1;
        match expr {
            Expr::Nested(inner) => waiting.push(inner),
            Expr::BinaryOp {
                left,
                op: BinaryOperator::And,
                right,
            } if seen < CONDITIONS_MAX => {
                waiting.push(right);
                waiting.push(left);
            }
            // A null passes any check.
            Expr::BinaryOp {
                left,
                op: BinaryOperator::Or,
                right,
            } if matches!(&**left, Expr::IsNull(_)) => {
                waiting.push(right);
            }
            other => {
                if one(&mut fields, other).is_none() {
                    let text = other.to_string();
                    let mut all = fields.fields.iter();
                    let named = all.find(|field| mentions(&text, &field.name));
                    let name = named.map(|field| field.name.clone()).unwrap_or_default();
                    let what = format!("the check `{}` is not checked", shorten(&text));
                    notes.warn(
                        "LS-I108",
                        &name,
                        at,
                        what,
                        "say it as a rule: `type: custom`, `engine: cel`",
                    );
                }
            }
        }
    }
}

fn mentions(text: &str, name: &str) -> bool {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
        .any(|word| super::names::legal(word, "field").eq_ignore_ascii_case(name))
}

/// One condition; `None` where it is no bound.
fn one(fields: &mut Fields<'_>, expr: &Expr) -> Option<()> {
    match expr {
        Expr::InList {
            expr,
            list,
            negated: false,
        } => {
            let field = fields.of(expr)?;
            let values: Option<Vec<Value>> =
                list.iter().map(|item| literal(field.kind, item)).collect();
            field.allowed = Some(listed(values?)?);
        }
        // PostgreSQL's dumps say a list so.
        Expr::AnyOp {
            left,
            compare_op: BinaryOperator::Eq,
            right,
            ..
        } => {
            let field = fields.of(left)?;
            let values: Option<Vec<Value>> = array(right)?
                .iter()
                .map(|item| literal(field.kind, item))
                .collect();
            field.allowed = Some(listed(values?)?);
        }
        Expr::Between {
            expr,
            negated: false,
            low,
            high,
        } => {
            bound(fields, expr, &BinaryOperator::GtEq, low)?;
            bound(fields, expr, &BinaryOperator::LtEq, high)?;
        }
        // What such expressions say beyond ours is taken out where bounds are settled.
        Expr::BinaryOp {
            left,
            op: BinaryOperator::PGRegexMatch,
            right,
        } => {
            let field = fields.of(left)?;
            let Value::Text(pattern) = literal(Type::Text, right)? else {
                return None;
            };
            if field.kind != Type::Text || field.limits.pattern.is_some() {
                return None;
            }
            field.limits.pattern = Some(pattern);
        }
        Expr::BinaryOp { left, op, right } => {
            let turned = match op {
                BinaryOperator::Lt => BinaryOperator::Gt,
                BinaryOperator::LtEq => BinaryOperator::GtEq,
                BinaryOperator::Gt => BinaryOperator::Lt,
                BinaryOperator::GtEq => BinaryOperator::LtEq,
                other => other.clone(),
            };
            bound(fields, left, op, right).or_else(|| bound(fields, right, &turned, left))?;
        }
        Expr::IsNotNull(expr) => {
            let field = fields.of(expr)?;
            field.nullable = false;
            field.required = true;
        }
        // So MariaDB says that a text is a document.
        Expr::Function(function)
            if function.name.to_string().eq_ignore_ascii_case("json_valid") =>
        {
            let field = fields.of(argument(function)?)?;
            field.kind = Type::Json;
            field.limits = Limits::default();
        }
        _ => return None,
    }
    Some(())
}

fn bound(fields: &mut Fields<'_>, left: &Expr, op: &BinaryOperator, right: &Expr) -> Option<()> {
    if let Some(inside) = length_of(left) {
        let length = literal(Type::Int, right)?;
        let Value::Int(length) = length else {
            return None;
        };
        let length = u64::try_from(length).ok()?;
        let field = fields.of(inside)?;
        let limits = &mut field.limits;
        match op {
            BinaryOperator::Eq => {
                (limits.min_length, limits.max_length) = (Some(length), Some(length));
            }
            BinaryOperator::LtEq => limits.max_length = Some(length),
            BinaryOperator::Lt => limits.max_length = Some(length.checked_sub(1)?),
            BinaryOperator::GtEq => limits.min_length = Some(length),
            BinaryOperator::Gt => limits.min_length = Some(length.checked_add(1)?),
            _ => return None,
        }
        return Some(());
    }
    let field = fields.of(left)?;
    let ordered = matches!(
        field.kind,
        Type::Int | Type::Decimal { .. } | Type::Float | Type::Date | Type::Time | Type::Timestamp
    );
    let value = literal(field.kind, right)?;
    match op {
        BinaryOperator::Eq => field.allowed = Some(listed(vec![value])?),
        BinaryOperator::NotEq if value == Value::text("") => field.limits.min_length = Some(1),
        BinaryOperator::Gt | BinaryOperator::GtEq if ordered => {
            field.limits.minimum = Some(value);
            field.limits.exclusive_minimum = *op == BinaryOperator::Gt;
        }
        BinaryOperator::Lt | BinaryOperator::LtEq if ordered => {
            field.limits.maximum = Some(value);
            field.limits.exclusive_maximum = *op == BinaryOperator::Lt;
        }
        _ => return None,
    }
    Some(())
}

/// Fields by the names of their columns.
struct Fields<'f> {
    fields: &'f mut [Field],
    renamed: &'f [(String, String)],
}

impl Fields<'_> {
    /// The field whose column an expression is.
    fn of(&mut self, expr: &Expr) -> Option<&mut Field> {
        let written = column_of(expr)?;
        let name = super::names::legal(now(self.renamed, &written), "field");
        let mut all = self.fields.iter_mut();
        all.find(|field| field.name.eq_ignore_ascii_case(&name))
    }
}

/// What the length of is taken.
fn length_of(expr: &Expr) -> Option<&Expr> {
    let Expr::Function(function) = expr else {
        return None;
    };
    let name = function.name.to_string().to_lowercase();
    if !matches!(
        name.as_str(),
        "length" | "char_length" | "character_length" | "len"
    ) {
        return None;
    }
    argument(function)
}

/// The one argument of a function.
fn argument(function: &Function) -> Option<&Expr> {
    let FunctionArguments::List(list) = &function.args else {
        return None;
    };
    match list.args.as_slice() {
        [sqlparser::ast::FunctionArg::Unnamed(sqlparser::ast::FunctionArgExpr::Expr(inside))] => {
            Some(inside)
        }
        _ => None,
    }
}

fn array(expr: &Expr) -> Option<&[Expr]> {
    match expr {
        Expr::Array(array) => Some(&array.elem),
        Expr::Nested(inner) | Expr::Cast { expr: inner, .. } => array(inner),
        _ => None,
    }
}

/// A literal as a value of a type.
pub(super) fn literal(kind: Type, expr: &Expr) -> Option<Value> {
    let (expr, minus) = match expr {
        Expr::Nested(inner) | Expr::Cast { expr: inner, .. } => return literal(kind, inner),
        Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr,
        } => (&**expr, "-"),
        Expr::UnaryOp {
            op: UnaryOperator::Plus,
            expr,
        } => (&**expr, ""),
        Expr::TypedString { value, .. } => {
            let text = text_of(&value.value)?;
            return parse(kind, &text);
        }
        other => (other, ""),
    };
    let Expr::Value(value) = expr else {
        return None;
    };
    match &value.value {
        sqlparser::ast::Value::Null => Some(Value::Null),
        sqlparser::ast::Value::Boolean(flag) if kind == Type::Bool => Some(Value::Bool(*flag)),
        literal => parse(kind, &format!("{minus}{}", text_of(literal)?)),
    }
}

fn parse(kind: Type, text: &str) -> Option<Value> {
    Some(match kind {
        Type::Bool => Value::Bool(match text {
            "1" | "t" | "true" | "TRUE" => true,
            "0" | "f" | "false" | "FALSE" => false,
            _ => return None,
        }),
        Type::Int => Value::Int(text.parse().ok()?),
        Type::Decimal { scale, .. } => {
            let number: lockstep_core::Decimal = text.parse().ok()?;
            Value::Decimal(match scale {
                Some(scale) => number.rescale(scale)?,
                None => number,
            })
        }
        Type::Float => Value::Float(text.parse().ok().filter(|n: &f64| n.is_finite())?),
        Type::Text => Value::text(text),
        Type::Date => Value::Date(text.parse().ok()?),
        Type::Time => Value::Time(text.parse().ok()?),
        Type::Timestamp => Value::Timestamp(text.parse().ok()?),
        Type::Uuid => Value::Uuid(text.parse().ok()?),
        Type::Json => Value::Json(
            serde_json::from_str::<serde_json::Value>(text)
                .ok()?
                .to_string()
                .into(),
        ),
        Type::Bytes => return None,
    })
}
