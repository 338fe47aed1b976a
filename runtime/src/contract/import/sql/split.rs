//! A script taken apart: its statements with their places, and what parsers stumble over taken out.

use sqlparser::dialect::{Dialect, GenericDialect, MsSqlDialect, MySqlDialect};
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

/// The script with blanks for the data of `COPY … FROM stdin` and for commands of the shell, every other byte in its place.
pub(super) fn without_data(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // Whether a statement may begin here, and whether data stands here.
    let (mut between, mut data) = (true, false);
    for line in text.split_inclusive('\n') {
        let bare = line.trim();
        let command = between && bare.starts_with('\\');
        let copy = between && copies(bare);
        if data || command || copy {
            out.extend(line.chars().flat_map(|c| {
                let blank = if c == '\n' { '\n' } else { ' ' };
                std::iter::repeat_n(blank, c.len_utf8())
            }));
            data = copy || (data && bare != "\\.");
            continue;
        }
        if !bare.is_empty() && !bare.starts_with("--") {
            between = bare.ends_with(';');
        }
        out.push_str(line);
    }
    out
}

/// Whether a line says that data follows.
fn copies(line: &str) -> bool {
    let line = line.to_ascii_lowercase();
    line.starts_with("copy ") && line.contains(" from stdin") && line.ends_with(';')
}

/// The statements of a script, each with the place of its first word.
pub(super) fn statements<'t>(text: &'t str, dialect: &dyn Dialect) -> Vec<(usize, &'t str)> {
    let (mysql, mssql) = (dialect.is::<MySqlDialect>(), dialect.is::<MsSqlDialect>());
    let escapes = dialect.supports_string_literal_backslash_escape();
    let mut found = Vec::new();
    // Where the statement begins; the comments before it are no part of it.
    let (mut start, mut blank, mut at) = (0, true, 0);
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        let past = |end: Option<usize>, length: usize| end.map_or(rest.len(), |end| end + length);
        let comment = if rest.starts_with("--") || (mysql && c == '#') {
            Some(past(rest.find('\n'), 1))
        } else if rest.starts_with("/*") && !rest.starts_with("/*!") {
            Some(past(rest[2..].find("*/"), 4))
        } else {
            None
        };
        let go = mssql && is_go(text, at);
        if let Some(length) = comment {
            at += length;
            if blank {
                start = at;
            }
            continue;
        }
        if c == ';' || go {
            if !blank {
                found.push((start, &text[start..at]));
            }
            at += if go { 2 } else { 1 };
            (start, blank) = (at, true);
            continue;
        }
        if blank && !c.is_whitespace() {
            (start, blank) = (at, false);
        }
        at += match c {
            '\'' | '"' | '`' => quoted(rest, c, escapes && c != '`'),
            '[' if mssql => quoted(rest, ']', false),
            '$' => past_dollars(rest),
            c => c.len_utf8(),
        };
    }
    if !blank {
        found.push((start, &text[start..]));
    }
    found
}

/// The length of what stands in quotes, quotes included; all the rest where they are not closed.
fn quoted(text: &str, end: char, escapes: bool) -> usize {
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        if c == '\\' && escapes {
            chars.next();
        } else if c == end {
            // Two of them begin anew, which comes to the same.
            return at + 1;
        }
    }
    text.len()
}

/// The length of a text in PostgreSQL's dollars, such as `$$…$$`; of the dollar alone where none begins.
fn past_dollars(text: &str) -> usize {
    let tag = text[1..].find('$').map(|end| &text[..end + 2]);
    let is_tag = |tag: &&str| {
        tag[1..tag.len() - 1]
            .chars()
            .all(|c| c.is_alphanumeric() || c == '_')
    };
    let Some(tag) = tag.filter(is_tag) else {
        return 1;
    };
    let inside = &text[tag.len()..];
    inside
        .find(tag)
        .map_or(text.len(), |end| end + 2 * tag.len())
}

/// Whether a line holds nothing but `GO`, which ends a batch of SQL Server's.
fn is_go(text: &str, at: usize) -> bool {
    let line = text[at..].lines().next().unwrap_or_default();
    let before = text[..at].rsplit('\n').next().unwrap_or_default();
    line.trim_end().eq_ignore_ascii_case("go") && before.trim().is_empty()
}

/// Takes out MySQL's `UNSIGNED`, `SIGNED` and `ZEROFILL` where the parser does not know them; that a number is not negative becomes a check of its column.
pub(super) fn without_signs(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut walk = Walk::default();
    for token in tokens {
        match walk.step(&token.token) {
            Step::Keep => out.push(token),
            Step::Drop => {}
            Step::NotNegative(name) => {
                let check = format!(" CHECK ({name} >= 0) ");
                let made = Tokenizer::new(&GenericDialect {}, &check).tokenize();
                let span = token.span;
                out.extend(
                    made.unwrap_or_default()
                        .into_iter()
                        .map(|token| TokenWithSpan { token, span }),
                );
            }
        }
    }
    out
}

/// Where in a definition of columns the tokens stand.
#[derive(Default)]
struct Walk {
    depth: usize,
    /// Whether a column's name comes next.
    fresh: bool,
    column: Option<String>,
    /// The word of the column's type.
    kind: Option<Keyword>,
    signed: bool,
    /// The depth of the definition.
    level: usize,
}

enum Step {
    Keep,
    Drop,
    NotNegative(String),
}

impl Walk {
    fn step(&mut self, token: &Token) -> Step {
        match token {
            Token::Whitespace(_) => return Step::Keep,
            Token::LParen => {
                self.depth += 1;
                if self.depth == 1 && self.column.is_none() {
                    self.begin();
                }
            }
            Token::RParen => self.depth = self.depth.saturating_sub(1),
            Token::Comma if self.depth == self.level => self.begin(),
            Token::Word(word) => {
                let bare = word.quote_style.is_none();
                let adds = matches!(
                    word.keyword,
                    Keyword::ADD | Keyword::MODIFY | Keyword::COLUMN
                );
                if self.depth == 0 && bare && adds {
                    self.begin();
                } else if self.fresh {
                    self.fresh = false;
                    self.column = Some(word.to_string());
                } else if self.column.is_some() && self.kind.is_none() {
                    self.kind = Some(word.keyword);
                } else if self.depth == self.level && bare {
                    return self.sign(&word.value.to_ascii_uppercase());
                }
            }
            _ => {}
        }
        Step::Keep
    }

    fn begin(&mut self) {
        *self = Walk {
            depth: self.depth,
            level: self.depth,
            fresh: true,
            ..Walk::default()
        };
    }

    fn sign(&mut self, word: &str) -> Step {
        let whole = matches!(
            self.kind,
            Some(
                Keyword::TINYINT
                    | Keyword::SMALLINT
                    | Keyword::MEDIUMINT
                    | Keyword::INT
                    | Keyword::INTEGER
                    | Keyword::BIGINT
                    | Keyword::INT2
                    | Keyword::INT4
                    | Keyword::INT8
            )
        );
        let number = whole
            || matches!(
                self.kind,
                Some(
                    Keyword::DECIMAL
                        | Keyword::NUMERIC
                        | Keyword::DEC
                        | Keyword::FLOAT
                        | Keyword::DOUBLE
                        | Keyword::REAL
                )
            );
        let (Some(column), true) = (&self.column, number) else {
            return Step::Keep;
        };
        match word {
            "SIGNED" => Step::Drop,
            "UNSIGNED" if whole && !self.signed => {
                self.signed = true;
                Step::Keep
            }
            // What is filled with zeros is not negative either.
            "UNSIGNED" | "ZEROFILL" if !self.signed => {
                self.signed = true;
                Step::NotNegative(column.clone())
            }
            "UNSIGNED" | "ZEROFILL" => Step::Drop,
            _ => Step::Keep,
        }
    }
}

#[cfg(test)]
mod tests {
    use sqlparser::dialect::PostgreSqlDialect;

    use super::*;

    #[test]
    fn statements_are_parted_outside_quotes_and_comments() {
        let script = "-- a;\nCREATE x ';' \"y;\";\n/* ; */ SELECT $a$;$a$ ; ;\nlast";
        let found = statements(script, &PostgreSqlDialect {});
        let texts: Vec<&str> = found.iter().map(|(_, text)| text.trim()).collect();
        assert_eq!(texts, ["CREATE x ';' \"y;\"", "SELECT $a$;$a$", "last"]);
        assert_eq!(found[0].0, 6);
        let batches = statements("CREATE a\nGO\nCREATE [b;]", &MsSqlDialect {});
        assert_eq!(batches.len(), 2);
        assert_eq!(statements("'never closed; x", &GenericDialect {}).len(), 1);
    }

    #[test]
    fn data_of_a_dump_is_blanked_where_it_stands() {
        let dump = "\\restrict x\nSELECT 1;\nCOPY public.t (a) FROM stdin;\nit's;\u{e4}\n\\.\n\nSELECT 2;\n";
        let plain = without_data(dump);
        assert_eq!(plain.len(), dump.len());
        assert_eq!(
            plain.split_whitespace().collect::<Vec<_>>().join(" "),
            "SELECT 1; SELECT 2;"
        );
        assert_eq!(plain.find("SELECT 2"), dump.find("SELECT 2"));
    }
}
