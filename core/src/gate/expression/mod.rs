//! Type-checked CEL expressions over rows.
//!
//! The text is parsed by the `cel` crate; everything after that is ours: `infer` types the tree against the scope and turns it into nodes over column positions, and `eval` runs those on a row without looking a name up.
//! Running our own nodes is what makes dates, timestamps and decimals exact: CEL has no decimal, so decimals go through functions (`decAdd`, `decCmp`, …) and comparisons on exact numbers, never through doubles.
//!
//! What is known beside CEL's operators, `? :`, lists, maps, `in`, `has`, `all`, `exists`, `exists_one`, `map`, `filter` and `matches`: the functions in `functions`.
//! Two departures from CEL: a conversion that would lose something (`int(1.5)`) is an error, and decimals compare with decimals and integers.
//!
//! Invariants: no input panics, and the work of one evaluation is bounded by the sizes of the expression and the row (`scan` and the limits in `eval`).

mod decimal;
mod eval;
mod functions;
mod infer;
mod operand;
mod pushed;
mod quick;
mod scan;
#[cfg(test)]
mod tests;
mod types;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::gate::cast;
use crate::shape::{Row, Shape};
use crate::value::{Cell, Type, Value};

use eval::Node;
use operand::Operand;

/// What names an expression may use.
#[derive(Clone, Copy, Debug)]
pub enum Scope<'a> {
    /// The columns of a system, as `row.<column>`.
    Row(&'a Shape),
    /// The fields of a contract, by their bare names.
    Fields(&'a Shape),
}

/// A compiled, type-checked expression.
#[derive(Debug)]
pub struct Expression {
    root: Node,
    inputs: Vec<usize>,
    expects: Option<Type>,
    /// Whether it is a condition that can be answered the quick way.
    is_plain: bool,
}

/// Why an expression was refused, or gave no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ExpressionError {
    /// What is wrong: lower case, no final stop.
    pub message: String,
    /// Byte range of the offending part of the expression, where known.
    pub span: Option<(usize, usize)>,
}

impl Expression {
    /// Compiles and type-checks `text`; the result must be of type `expects`, where one is given.
    ///
    /// # Errors
    /// A syntax error, an unknown name or function (with the nearest known one), or a type that does not fit.
    pub fn compile(
        text: &str,
        scope: Scope<'_>,
        expects: Option<Type>,
    ) -> Result<Expression, ExpressionError> {
        scan::check(text)?;
        let (tree, source) = parse(text)?;
        let mut typer = infer::Typer::new(text, scope, &source);
        let (root, ty) = typer.infer(&tree)?;
        let inputs = typer.into_inputs();
        if let Some(wanted) = expects
            && !ty.gives(wanted)
        {
            return Err(ExpressionError::new(format!(
                "the expression gives {ty}, but {wanted} is wanted{}",
                types::conversion(&ty, wanted)
            ))
            .at(Some((0, text.len()))));
        }
        let is_plain = matches!(expects, None | Some(Type::Bool)) && quick::is_plain(&root);
        Ok(Expression {
            root,
            inputs,
            expects,
            is_plain,
        })
    }

    /// Whether two texts are one expression, written with other blanks or line ends.
    #[must_use]
    pub fn is_same(one: &str, other: &str) -> bool {
        let read = |text| {
            scan::check(text).ok()?;
            Some(parse(text).ok()?.0)
        };
        one == other || read(one).is_some_and(|tree| read(other) == Some(tree))
    }

    /// The names of the columns that a text over a system's row reads; none where the text cannot be read.
    #[must_use]
    pub fn columns_of(text: &str) -> Option<BTreeSet<String>> {
        scan::check(text).ok()?;
        let mut names = BTreeSet::new();
        scan::columns(&parse(text).ok()?.0, &mut names);
        Some(names)
    }

    /// Positions of the columns that the expression reads, in ascending order.
    #[must_use]
    pub fn inputs(&self) -> &[usize] {
        &self.inputs
    }

    /// Evaluates the expression on a row of the scope's shape; an unchanged input gives an unchanged result.
    ///
    /// # Errors
    /// What CEL calls an error value, such as a division by zero.
    pub fn eval(&self, row: &Row) -> Result<Cell, ExpressionError> {
        self.eval_cells(&|position| row.cell(position))
    }

    /// Whether a plain condition is true of a row, whatever it has not been told; of any other it says no, and [`Expression::eval`] answers.
    #[inline]
    pub(crate) fn plainly_holds(&self, row: &Row) -> bool {
        self.is_plain && quick::truth(&self.root, &|at| row.cell(at)) == Some(true)
    }

    /// As [`Expression::eval`], over cells that stand anywhere.
    pub(crate) fn eval_cells<'r>(
        &'r self,
        cell: &dyn Fn(usize) -> &'r Cell,
    ) -> Result<Cell, ExpressionError> {
        if self.inputs.iter().any(|input| cell(*input).is_unchanged()) {
            return Ok(Cell::Unchanged);
        }
        if self.is_plain
            && let Some(flag) = quick::truth(&self.root, &cell)
        {
            return Ok(Cell::Set(Value::Bool(flag)));
        }
        let result = eval::eval(&self.root, &eval::Cells { cell, local: None })?;
        // The two commonest results need no conversion.
        match (result, self.expects) {
            (Operand::Bool(flag), None | Some(Type::Bool)) => Ok(Cell::Set(Value::Bool(flag))),
            (Operand::Text(text), None | Some(Type::Text)) => {
                Ok(Cell::Set(Value::Text(text.into_owned())))
            }
            (result, expects) => convert(result, expects).map(Cell::Set),
        }
    }
}

impl ExpressionError {
    fn new(message: impl Into<String>) -> Self {
        ExpressionError {
            message: message.into(),
            span: None,
        }
    }

    fn at(mut self, span: Option<(usize, usize)>) -> Self {
        self.span = self.span.or(span);
        self
    }
}

fn convert(result: Operand<'_>, expects: Option<Type>) -> Result<Value, ExpressionError> {
    let value = match (result, expects) {
        // Text that an expression gives for a JSON field is a JSON string, not a document.
        (result, Some(Type::Json)) if !matches!(result, Operand::Null) => result.into_json()?,
        (result, _) => result.into_value()?,
    };
    match expects {
        None => Ok(value),
        Some(wanted) => cast::cast(value, wanted)
            .map_err(|error| ExpressionError::new(format!("the expression's result: {error}"))),
    }
}

fn parse(text: &str) -> Result<(cel::IdedExpr, cel::common::ast::SourceInfo), ExpressionError> {
    let parser = cel::parser::Parser::new()
        .max_recursion_depth(scan::RECURSION_MAX)
        .enable_ident_escape_syntax(true);
    // The parser is generated code that we do not answer for; whatever it meets becomes an error here.
    let parsed = catch_unwind(AssertUnwindSafe(|| parser.parse_with_source_info(text)));
    match parsed {
        Ok(Ok(parsed)) => Ok(parsed),
        Ok(Err(errors)) => Err(syntax_error(text, &errors)),
        Err(_) => Err(ExpressionError::new("the expression cannot be parsed")),
    }
}

fn syntax_error(text: &str, errors: &cel::ParseErrors) -> ExpressionError {
    let Some(error) = errors.errors.first() else {
        return ExpressionError::new("the expression cannot be parsed");
    };
    let message = error.msg.trim_start_matches("Syntax error: ");
    let (line, column) = error.pos;
    let line_start: usize = text
        .split_inclusive('\n')
        .take(usize::try_from(line - 1).unwrap_or_default())
        .map(str::len)
        .sum();
    let rest = text.get(line_start..).unwrap_or_default();
    let column = usize::try_from(column - 1).unwrap_or_default();
    let offset = rest
        .char_indices()
        .nth(column)
        .map_or(rest.len(), |(offset, _)| offset);
    let start = line_start + offset;
    let length = text[start..].chars().next().map_or(0, char::len_utf8);
    ExpressionError::new(format!("syntax error: {message}")).at(Some((start, start + length)))
}
