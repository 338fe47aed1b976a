//! The macros over lists, which the parser unfolds into loops: recognised by their shape and run as what they were.

use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr, LiteralValue};

use super::super::ExpressionError;
use super::super::eval::{Each, Node, What};
use super::super::types::Ty;
use super::{Typed, Typer};

/// What the parser calls the running result of a macro.
const RESULT: &str = "@result";

impl Typer<'_> {
    pub(super) fn each(&mut self, each: &ComprehensionExpr) -> Typed {
        if self.local.is_some() {
            return Err(ExpressionError::new(
                "a macro inside a macro is not accepted, because its work grows with the product of the lists",
            ));
        }
        let (range, range_ty) = self.infer(&each.iter_range)?;
        let item = match range_ty {
            Ty::List(of) | Ty::Map(of, _) => *of,
            Ty::Dyn => Ty::Dyn,
            other => {
                return Err(ExpressionError::new(format!(
                    "a macro goes through a list, not {other}"
                )));
            }
        };
        self.local = Some((each.iter_var.clone(), item));
        let typed = self.each_body(range, each);
        self.local = None;
        typed
    }

    fn each_body(&mut self, range: Node, each: &ComprehensionExpr) -> Typed {
        let unknown = || ExpressionError::new("this macro is not known here");
        let Expr::Call(step) = &each.loop_step.expr else {
            return Err(unknown());
        };
        let (what, only, body) = match (&each.accu_init.expr, step.args.as_slice()) {
            (Expr::Literal(LiteralValue::Boolean(start)), [_, body]) => {
                let what = if *start.inner() {
                    What::All
                } else {
                    What::Exists
                };
                (what, None, body)
            }
            (Expr::Literal(LiteralValue::Int(_)), [body, _, _]) => (What::ExistsOne, None, body),
            (Expr::List(_), [_, _]) => (What::Map, None, made(step).ok_or_else(unknown)?),
            (Expr::List(_), [only, step, _]) => {
                let Expr::Call(step) = &step.expr else {
                    return Err(unknown());
                };
                (What::Map, Some(only), made(step).ok_or_else(unknown)?)
            }
            _ => return Err(unknown()),
        };
        let only = only.map(|only| self.condition(only)).transpose()?;
        let (body, ty) = if what == What::Map {
            let (body, ty) = self.infer(body)?;
            (body, Ty::List(Box::new(ty)))
        } else {
            (self.condition(body)?, Ty::Bool)
        };
        let each = Each {
            what,
            range,
            only,
            body,
        };
        Ok((Node::Each(Box::new(each)), ty))
    }
}

/// The `f` of the parser's `@result + [f]`.
fn made(step: &CallExpr) -> Option<&IdedExpr> {
    match step.args.as_slice() {
        [accu, item] if matches!(&accu.expr, Expr::Ident(name) if name == RESULT) => {
            match &item.expr {
                Expr::List(list) => list.elements.first(),
                _ => None,
            }
        }
        _ => None,
    }
}
