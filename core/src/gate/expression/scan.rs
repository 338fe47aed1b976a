//! Bounds on the text of an expression, checked before the parser sees it.
//!
//! The parser recurses with nesting and builds a left-deep tree for chains of operators, so both are bounded here, on tokens, without recursion.

use std::collections::BTreeSet;

use cel::common::ast::{EntryExpr, Expr, IdedExpr};

use super::ExpressionError;

/// Most bytes of an expression.
pub(super) const LENGTH_MAX: usize = 4096;
/// Most brackets and conditionals around one place.
pub(super) const NESTING_MAX: usize = 12;
/// Most tokens of an expression; also what a chain of operators can come to.
pub(super) const TOKENS_MAX: usize = 400;
/// Most operators, selections and calls in a row.
pub(super) const CHAIN_MAX: usize = 64;
/// Most minus or not signs in a row.
const UNARY_MAX: usize = 4;
/// What the parser is told; the bounds above always bite first.
pub(super) const RECURSION_MAX: u16 = 96;

/// Refuses what is too long or nested too deeply.
pub(super) fn check(text: &str) -> Result<(), ExpressionError> {
    if text.len() > LENGTH_MAX {
        return Err(ExpressionError::new(format!(
            "the expression is {} bytes long, at most {LENGTH_MAX} are accepted",
            text.len()
        )));
    }
    if text.trim().is_empty() {
        return Err(ExpressionError::new("the expression is empty"));
    }
    let mut scan = Scan::default();
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        at = token_end(bytes, at);
        scan.token(&bytes[start..at]).map_err(|message| {
            ExpressionError::new(message).at(Some((start, char_end(text, at))))
        })?;
    }
    Ok(())
}

/// Collects the names behind `row.` of a parsed tree, whose depth the parser bounds.
pub(super) fn columns(tree: &IdedExpr, names: &mut BTreeSet<String>) {
    match &tree.expr {
        Expr::Select(select) => match &select.operand.expr {
            Expr::Ident(root) if root == "row" => drop(names.insert(select.field.clone())),
            _ => columns(&select.operand, names),
        },
        Expr::Call(call) => {
            let target = call.target.as_deref();
            target
                .into_iter()
                .chain(&call.args)
                .for_each(|part| columns(part, names));
        }
        Expr::List(list) => list.elements.iter().for_each(|part| columns(part, names)),
        Expr::Map(map) => map.entries.iter().for_each(|entry| match &entry.expr {
            EntryExpr::MapEntry(entry) => {
                columns(&entry.key, names);
                columns(&entry.value, names);
            }
            EntryExpr::StructField(field) => columns(&field.value, names),
        }),
        Expr::Comprehension(each) => {
            let parts = [
                &each.iter_range,
                &each.accu_init,
                &each.loop_cond,
                &each.loop_step,
                &each.result,
            ];
            parts.into_iter().for_each(|part| columns(part, names));
        }
        Expr::Struct(_) | Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => {}
    }
}

#[derive(Default)]
struct Scan {
    tokens: usize,
    /// Conditionals and chained operators opened at each bracket level.
    levels: Vec<Level>,
    outer: Level,
    unary: usize,
}

#[derive(Default, Clone, Copy)]
struct Level {
    conditionals: usize,
    chain: usize,
}

impl Scan {
    fn token(&mut self, token: &[u8]) -> Result<(), String> {
        let Some(first) = token.first().filter(|b| !b.is_ascii_whitespace()) else {
            return Ok(());
        };
        if token.starts_with(b"//") {
            return Ok(());
        }
        self.tokens += 1;
        if self.tokens > TOKENS_MAX {
            return Err(format!("the expression has more than {TOKENS_MAX} parts"));
        }
        match first {
            b'-' | b'!' if token != b"!=" => {
                self.unary += 1;
                if self.unary > UNARY_MAX {
                    return Err(format!("more than {UNARY_MAX} signs in a row"));
                }
            }
            _ => self.unary = 0,
        }
        match first {
            b'(' | b'[' | b'{' => {
                self.chain()?;
                self.levels.push(Level::default());
            }
            b')' | b']' | b'}' => {
                self.levels.pop();
            }
            b'?' => self.level().conditionals += 1,
            b',' => {
                let level = self.level();
                level.chain = 0;
                level.conditionals = 0;
            }
            b'+' | b'-' | b'*' | b'/' | b'%' | b'.' | b'<' | b'>' | b'=' | b'!' | b'&' | b'|'
            | b'i'
                if *first != b'i' || token == b"in" =>
            {
                self.chain()?;
            }
            _ => {}
        }
        let conditionals: usize = self.levels.iter().map(|level| level.conditionals).sum();
        let nesting = self.levels.len() + conditionals + self.outer.conditionals;
        if nesting > NESTING_MAX {
            return Err(format!(
                "the expression is nested more than {NESTING_MAX} deep"
            ));
        }
        Ok(())
    }

    fn chain(&mut self) -> Result<(), String> {
        let level = self.level();
        level.chain += 1;
        if level.chain > CHAIN_MAX {
            return Err(format!(
                "more than {CHAIN_MAX} operators and calls in a row"
            ));
        }
        Ok(())
    }

    fn level(&mut self) -> &mut Level {
        self.levels.last_mut().unwrap_or(&mut self.outer)
    }
}

/// The end of the token that starts at `at`; always greater than `at`.
fn token_end(bytes: &[u8], at: usize) -> usize {
    let word = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_' || *b >= 0x80;
    let run =
        |test: &dyn Fn(&u8) -> bool| at + bytes[at..].iter().take_while(|b| test(b)).count().max(1);
    match bytes[at] {
        b'\'' | b'"' => string_end(bytes, at, false),
        b'`' => at + 1 + bytes[at + 1..].iter().take_while(|b| **b != b'`').count() + 1,
        b if b.is_ascii_whitespace() => run(&|b| b.is_ascii_whitespace()),
        b'/' if bytes.get(at + 1) == Some(&b'/') => run(&|b| *b != b'\n'),
        b if word(&b) => {
            let end = run(&word);
            // A prefix such as r'…' or b"…" belongs to the string behind it.
            let prefix = &bytes[at..end];
            let quoted = matches!(bytes.get(end), Some(b'\'' | b'"'));
            if quoted && prefix.len() <= 2 && prefix.iter().all(|b| b"rRbB".contains(b)) {
                string_end(bytes, end, prefix.iter().any(|b| b"rR".contains(b)))
            } else {
                end
            }
        }
        b'=' | b'!' | b'<' | b'>' if bytes.get(at + 1) == Some(&b'=') => at + 2,
        b'&' if bytes.get(at + 1) == Some(&b'&') => at + 2,
        b'|' if bytes.get(at + 1) == Some(&b'|') => at + 2,
        _ => at + 1,
    }
    .min(bytes.len())
}

/// The end of the string that opens at `at`; the end of the text where it never closes.
fn string_end(bytes: &[u8], at: usize, raw: bool) -> usize {
    let quote = bytes[at];
    let long = bytes.get(at..at + 3) == Some(&[quote; 3][..]);
    let closing = if long { 3 } else { 1 };
    let mut i = at + closing;
    while i < bytes.len() {
        if bytes[i] == b'\\' && !raw {
            i += 2;
        } else if bytes[i] == quote && (!long || bytes.get(i..i + 3) == Some(&[quote; 3][..])) {
            return i + closing;
        } else if bytes[i] == b'\n' && !long {
            // Not a string after all; what follows counts as tokens again.
            return i;
        } else {
            i += 1;
        }
    }
    bytes.len()
}

fn char_end(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at += 1;
    }
    at
}
