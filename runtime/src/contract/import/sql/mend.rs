//! Tables in words that the parser does not know: what it can read is kept, and the rest is named.
//!
//! A definition is cut into its columns and constraints, and each is read on its own, without the words that are in the way.
//! How a table is stored stands behind its columns and says nothing about records.

use sqlparser::ast::{CreateTable, Statement};
use sqlparser::dialect::Dialect;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::NESTING_MAX;

/// Most parts of one table that are tried, so that no text takes long.
const TRIES_MAX: usize = 20_000;
/// Most words of one column that are tried one by one.
const WORDS_MAX: usize = 80;

/// Words that say nothing about records.
const NOISE: [&str; 6] = [
    "CLUSTERED",
    "NONCLUSTERED",
    "ENABLE",
    "INVISIBLE",
    "VISIBLE",
    "ROWGUIDCOL",
];
/// Types whose digits in brackets bound nothing.
const DIGITS: [&str; 7] = [
    "FLOAT",
    "DOUBLE",
    "REAL",
    "PRECISION",
    "TIMESTAMP_NTZ",
    "TIMESTAMP_LTZ",
    "TIMESTAMP_TZ",
];
/// Words that constraints begin with.
const CONSTRAINTS: [&str; 6] = [
    "CONSTRAINT",
    "CHECK",
    "FOREIGN",
    "PRIMARY",
    "UNIQUE",
    "EXCLUDE",
];
/// Types that have parts.
const NESTED: [&str; 7] = ["STRUCT", "ARRAY", "MAP", "ROW", "OBJECT", "NESTED", "TUPLE"];

/// A table as far as it could be read.
pub(super) struct Mended {
    pub(super) table: CreateTable,
    /// By column (empty for the table): what could not be read.
    pub(super) left: Vec<(String, String)>,
    /// Columns that the database computes.
    pub(super) computed: Vec<String>,
}

/// Reads what can be read of a table; `None` where it is no definition of columns.
pub(super) fn table(tokens: &[TokenWithSpan], dialect: &dyn Dialect) -> Option<Mended> {
    let tokens: Vec<&TokenWithSpan> = tokens.iter().filter(|t| !is_blank(&t.token)).collect();
    let open = tokens.iter().position(|t| t.token == Token::LParen)?;
    let names_others = tokens[..open]
        .iter()
        .any(|t| is_word(&t.token, &["LIKE", "AS", "OF", "CLONE"]));
    if names_others {
        return None;
    }
    let mut reader = Reader {
        head: &tokens[..=open],
        dialect,
        tries: 0,
    };
    let mut whole: Option<CreateTable> = None;
    let (mut left, mut computed) = (Vec::new(), Vec::new());
    for item in items(&tokens[open + 1..])? {
        if is_index(item) {
            continue;
        }
        let name = name(item);
        if is_computed(item) {
            computed.push(name);
            continue;
        }
        let (read, dropped) = reader.item(item);
        left.extend(dropped.into_iter().map(|words| (name.clone(), words)));
        let Some(read) = read else {
            continue;
        };
        match &mut whole {
            None => whole = Some(read),
            Some(whole) => {
                whole.columns.extend(read.columns);
                whole.constraints.extend(read.constraints);
            }
        }
    }
    whole.map(|table| Mended {
        table,
        left,
        computed,
    })
}

/// Takes out the words between which no parser finds its way.
pub(super) fn without_noise(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut begin = tokens.iter().filter(|t| !is_blank(&t.token)).take(3);
    let in_domain = begin.any(|t| is_word(&t.token, &["DOMAIN"]));
    let mut depth = 0_usize;
    let mut rest = tokens.into_iter();
    while let Some(token) = rest.next() {
        let before = out.iter().rev().find(|t| !is_blank(&t.token));
        let before = before.map(|t| t.token.clone());
        match token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            _ => {}
        }
        match &token.token {
            // SQL Server and Oracle say how something is stored or shown; a column may be called so.
            word if is_word(word, &NOISE)
                && !matches!(before, None | Some(Token::LParen | Token::Comma)) => {}
            // Whether old rows were checked.
            word if is_word(word, &["CHECK", "NOCHECK"])
                && before.as_ref().is_some_and(|word| is_word(word, &["WITH"])) =>
            {
                let with = out.iter().rposition(|t| !is_blank(&t.token));
                out.truncate(with.unwrap_or(0));
            }
            // An instant of the reader's own time zone is one of any.
            word if is_word(word, &["LOCAL"])
                && before.as_ref().is_some_and(|word| is_word(word, &["WITH"])) => {}
            // What the parser does not take in a domain says the same as a check.
            word if is_word(word, &["NOT"]) && in_domain && depth == 0 => {
                let check = [
                    Token::make_keyword("CHECK"),
                    Token::LParen,
                    Token::make_word("VALUE", None),
                    Token::make_keyword("IS"),
                    Token::make_keyword("NOT"),
                    Token::make_keyword("NULL"),
                    Token::RParen,
                ];
                let span = token.span;
                let next = rest.clone().find(|t| !is_blank(&t.token));
                if !next.is_some_and(|t| is_word(&t.token, &["NULL"])) {
                    out.push(token);
                    continue;
                }
                while rest.next().is_some_and(|t| is_blank(&t.token)) {}
                out.extend(check.map(|token| TokenWithSpan { token, span }));
            }
            // Oracle counts lengths in bytes or characters.
            word if is_word(word, &["BYTE", "CHAR"])
                && matches!(before, Some(Token::Number(..))) => {}
            // MySQL's floats have digits that bound nothing.
            Token::LParen if before.as_ref().is_some_and(|word| is_word(word, &DIGITS)) => {
                let mut inside = Vec::new();
                depth -= 1;
                for next in rest.by_ref() {
                    let end = next.token == Token::RParen;
                    inside.push(next);
                    if end {
                        break;
                    }
                }
                let float = before.is_some_and(|word| is_word(&word, &["FLOAT"]));
                if float && !inside.iter().any(|t| t.token == Token::Comma) {
                    out.push(token);
                    out.extend(inside);
                }
            }
            // Oracle's `NUMBER(*, 0)` has as many digits as there are.
            Token::Mul if before == Some(Token::LParen) => {
                let number = Token::Number("38".to_owned(), false);
                out.push(TokenWithSpan {
                    token: number,
                    span: token.span,
                });
            }
            _ => out.push(token),
        }
    }
    out
}

struct Reader<'t> {
    /// `CREATE TABLE name (`.
    head: &'t [&'t TokenWithSpan],
    dialect: &'t dyn Dialect,
    tries: usize,
}

impl Reader<'_> {
    /// A column or constraint, and what of it is in the way.
    fn item(&mut self, item: &[&TokenWithSpan]) -> (Option<CreateTable>, Vec<String>) {
        if let Some(read) = self.parse(item) {
            return (Some(read), Vec::new());
        }
        // What a document holds may look like words of its column.
        if item.get(1).is_some_and(|t| is_word(&t.token, &NESTED)) {
            return (self.untyped(item), vec![written(&item[1..])]);
        }
        let words = item.len().min(WORDS_MAX);
        let begun = (2..words)
            .rev()
            .find(|end| self.parse(&item[..*end]).is_some());
        let (mut kept, mut at, mut dropped) = match begun {
            Some(end) => (item[..end].to_vec(), end, Vec::new()),
            None => {
                return (
                    self.untyped(item),
                    vec![written(item.get(1..).unwrap_or(item))],
                );
            }
        };
        let mut run: Vec<&TokenWithSpan> = Vec::new();
        while at < words {
            let with = |end: usize| [kept.as_slice(), &item[at..end]].concat();
            let more = (at + 1..=words)
                .rev()
                .find(|end| self.parse(&with(*end)).is_some());
            match more {
                Some(end) => {
                    kept.extend_from_slice(&item[at..end]);
                    at = end;
                    if !run.is_empty() {
                        dropped.push(written(&run));
                        run.clear();
                    }
                }
                None => {
                    run.push(item[at]);
                    at += 1;
                }
            }
        }
        run.extend_from_slice(&item[words..]);
        if !run.is_empty() {
            dropped.push(written(&run));
        }
        (self.parse(&kept), dropped)
    }

    /// A column whose type is not known: a document where it says that it has parts, else a text.
    fn untyped(&mut self, item: &[&TokenWithSpan]) -> Option<CreateTable> {
        let constraint = [
            "CONSTRAINT",
            "CHECK",
            "FOREIGN",
            "PRIMARY",
            "UNIQUE",
            "PERIOD",
            "EXCLUDE",
        ];
        let first = item.first().filter(|t| !is_word(&t.token, &constraint))?;
        let parts = ["STRUCT", "ARRAY", "MAP", "ROW", "OBJECT", "NESTED", "TUPLE"];
        let nested = item.get(1).is_some_and(|t| is_word(&t.token, &parts));
        let kind = TokenWithSpan {
            token: Token::make_word(if nested { "JSON" } else { "TEXT" }, None),
            span: first.span,
        };
        self.parse(&[*first, &kind])
    }

    fn parse(&mut self, item: &[&TokenWithSpan]) -> Option<CreateTable> {
        self.tries += 1;
        if self.tries > TRIES_MAX {
            return None;
        }
        let constraint = item
            .first()
            .is_some_and(|t| is_word(&t.token, &CONSTRAINTS));
        let mut tokens: Vec<TokenWithSpan> = self.head.iter().map(|t| (*t).clone()).collect();
        if constraint {
            // Some dialects want a column in every table.
            let column = [
                Token::make_word("x", None),
                Token::make_keyword("INT"),
                Token::Comma,
            ];
            tokens.extend(column.map(TokenWithSpan::wrap));
        }
        tokens.extend(item.iter().map(|t| (*t).clone()));
        tokens.push(TokenWithSpan::wrap(Token::RParen));
        let mut parser = Parser::new(self.dialect)
            .with_recursion_limit(NESTING_MAX)
            .with_tokens_with_locations(tokens);
        match parser.parse_statement() {
            Ok(Statement::CreateTable(mut table)) if parser.peek_token().token == Token::EOF => {
                let expected = if constraint { (1, 1) } else { (1, 0) };
                let found = (table.columns.len(), table.constraints.len());
                if constraint {
                    table.columns.clear();
                }
                (found == expected).then_some(table)
            }
            _ => None,
        }
    }
}

/// The columns and constraints of a definition, parted by commas outside brackets; `None` where one is empty or the bracket is never closed.
fn items<'t, 's>(body: &'s [&'t TokenWithSpan]) -> Option<Vec<&'s [&'t TokenWithSpan]>> {
    let (mut depth, mut angles, mut start) = (0_usize, 0_usize, 0);
    let mut items = Vec::new();
    for (at, token) in body.iter().enumerate() {
        match &token.token {
            Token::LParen => depth += 1,
            Token::RParen if depth == 0 => {
                items.push(&body[start..at]);
                return items.iter().all(|item| !item.is_empty()).then_some(items);
            }
            Token::RParen => depth -= 1,
            // Types have angles, as `ARRAY<STRING>`; comparisons stand in brackets.
            Token::Lt if depth == 0 => angles += 1,
            Token::Gt if depth == 0 => angles = angles.saturating_sub(1),
            Token::ShiftRight if depth == 0 => angles = angles.saturating_sub(2),
            Token::Comma if depth == 0 && angles == 0 => {
                items.push(&body[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    None
}

/// Whether a part only says how rows are found or how long they were true.
fn is_index(item: &[&TokenWithSpan]) -> bool {
    let words = ["KEY", "INDEX", "FULLTEXT", "SPATIAL", "PERIOD"];
    // A column may bear such a name; it is followed by its type.
    let kind = item.get(1).is_some_and(|t| {
        matches!(&t.token, Token::Word(word) if word.quote_style.is_none() && is_type(&word.value))
    });
    item.first().is_some_and(|t| is_word(&t.token, &words)) && !kind
}

/// Whether a column says how its value comes about: `total AS (…)`, or when a row was true.
fn is_computed(item: &[&TokenWithSpan]) -> bool {
    let row = |pair: &[&TokenWithSpan]| {
        is_word(&pair[0].token, &["ROW"]) && is_word(&pair[1].token, &["START", "END"])
    };
    item.get(1).is_some_and(|t| is_word(&t.token, &["AS"])) || item.windows(2).any(row)
}

fn is_type(word: &str) -> bool {
    let words = [
        "INT", "BIGINT", "VARCHAR", "TEXT", "CHAR", "DATE", "NUMERIC", "DECIMAL", "BOOLEAN",
    ];
    words.iter().any(|known| word.eq_ignore_ascii_case(known))
}

/// The name of a column; empty for a constraint.
fn name(item: &[&TokenWithSpan]) -> String {
    let words = [
        "CONSTRAINT",
        "CHECK",
        "FOREIGN",
        "PRIMARY",
        "UNIQUE",
        "EXCLUDE",
    ];
    match item.first().map(|t| &t.token) {
        Some(token) if is_word(token, &words) => String::new(),
        Some(Token::Word(word)) => word.value.clone(),
        _ => String::new(),
    }
}

fn written(tokens: &[&TokenWithSpan]) -> String {
    let words: Vec<String> = tokens.iter().map(|t| t.token.to_string()).collect();
    words.join(" ")
}

fn is_blank(token: &Token) -> bool {
    matches!(token, Token::Whitespace(_))
}

/// Whether a token is one of some words, without quotes.
fn is_word(token: &Token, words: &[&str]) -> bool {
    matches!(token, Token::Word(word) if word.quote_style.is_none()
        && words.iter().any(|known| word.value.eq_ignore_ascii_case(known)))
}
