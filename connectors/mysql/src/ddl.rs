//! Statements in the binary log: which tables they change, and how.
//!
//! Rows are told as rows; what is read here is everything else. A statement is looked at word by word, not parsed: it is enough to know that a table may be another one than before.

use crate::names::TableName;

/// Most words of a statement that are looked at.
const WORDS_MAX: usize = 4096;

/// What a statement is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Statement {
    /// A transaction begins.
    Begin,
    /// It ends.
    Commit,
    /// It is taken back, wholly or to a savepoint.
    Rollback {
        /// Whether only to a savepoint.
        partly: bool,
    },
    /// Part of a transaction, without an effect of its own.
    Savepoint,
    /// Part of a distributed transaction.
    Xa {
        /// Whether it ends what was prepared before.
        ends: bool,
    },
    /// Rows are changed by a statement, not told as rows; the words say whose they may be.
    Rows(Vec<String>),
    /// Declarations of tables change.
    Tables(Vec<(Effect, Named)>),
    /// A whole database is gone.
    Database(String),
    /// What has no effect on rows of tables.
    Other,
    /// What is not known; the words say which tables it may name.
    Unknown(Vec<String>),
}

/// What happens to a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Every row is gone.
    Truncated,
    /// It, or some of its rows, may be others than before, without a word on each.
    Replaced,
    /// Its declaration changed.
    Altered,
    /// Values of its rows may be others than before, without a word on each, whatever its declaration looks like now.
    Rewritten,
}

/// A table as a statement names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    /// None where the statement leaves it to the session.
    pub(crate) database: Option<String>,
    /// Its own name.
    pub(crate) table: String,
}

impl Named {
    /// Whether it means a table.
    pub(crate) fn is(&self, table: &TableName, session: &str, case: Case) -> bool {
        let database = self.database.as_deref().unwrap_or(session);
        case.same(database, &table.database) && case.same(&self.table, &table.table)
    }
}

/// Whether the server tells names of databases and tables apart by their case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Case {
    /// `orders` and `Orders` are two tables.
    Exact,
    /// They are one.
    Ignored,
}

impl Case {
    /// Whether two names are one.
    pub(crate) fn same(self, one: &str, other: &str) -> bool {
        match self {
            Case::Exact => one == other,
            Case::Ignored => one.to_lowercase() == other.to_lowercase(),
        }
    }
}

/// Reads a statement.
pub(crate) fn read(text: &str) -> Statement {
    let tokens = tokens(text, WORDS_MAX);
    let mut words = Words {
        tokens: &tokens,
        at: 0,
    };
    let mut first = words.next_word().unwrap_or_default();
    // Settings that hold for one statement precede it.
    while first == "SET" && words.skip(&["STATEMENT"]) && words.any(&["FOR"]) {
        first = words.next_word().unwrap_or_default();
    }
    match first.as_str() {
        "BEGIN" => Statement::Begin,
        "START" => Statement::Begin,
        "COMMIT" => Statement::Commit,
        "ROLLBACK" => Statement::Rollback {
            partly: words.any(&["TO"]),
        },
        "SAVEPOINT" | "RELEASE" => Statement::Savepoint,
        "XA" => Statement::Xa {
            ends: words.peek(&["COMMIT", "ROLLBACK"]),
        },
        "INSERT" | "UPDATE" | "DELETE" | "REPLACE" | "LOAD" | "WITH" => {
            Statement::Rows(names(&tokens))
        }
        "TRUNCATE" => {
            words.skip(&["TABLE"]);
            tables(Effect::Truncated, words.name().into_iter().collect())
        }
        "DROP" => drop_(&mut words),
        "RENAME" => {
            words.skip(&["TABLE", "TABLES", "IF", "EXISTS"]);
            tables(Effect::Replaced, words.names())
        }
        "CREATE" => create(&mut words),
        "ALTER" => alter(&mut words),
        "" | "SET" | "GRANT" | "REVOKE" | "FLUSH" | "ANALYZE" | "OPTIMIZE" | "REPAIR" => {
            Statement::Other
        }
        _ => Statement::Unknown(names(&tokens)),
    }
}

fn tables(effect: Effect, names: Vec<Named>) -> Statement {
    Statement::Tables(names.into_iter().map(|name| (effect, name)).collect())
}

fn drop_(words: &mut Words<'_>) -> Statement {
    if words.skip(&["TEMPORARY"]) {
        return Statement::Other;
    }
    if words.skip(&["DATABASE", "SCHEMA"]) {
        words.skip(&["IF", "EXISTS"]);
        return words
            .name()
            .map_or(Statement::Other, |name| Statement::Database(name.table));
    }
    if !words.skip(&["TABLE", "TABLES"]) {
        return Statement::Other;
    }
    words.skip(&["IF", "EXISTS"]);
    tables(Effect::Replaced, words.names())
}

fn create(words: &mut Words<'_>) -> Statement {
    let replaces = words.skip(&["OR", "REPLACE"]);
    if words.skip(&["TEMPORARY"]) || !words.skip(&["TABLE"]) {
        // An index changes the key, maybe.
        words.skip(&["UNIQUE"]);
        if words.skip(&["INDEX"]) && words.any(&["ON"]) {
            return tables(Effect::Altered, words.name().into_iter().collect());
        }
        return Statement::Other;
    }
    words.skip(&["IF", "NOT", "EXISTS"]);
    let effect = if replaces {
        Effect::Replaced
    } else {
        Effect::Altered
    };
    tables(effect, words.name().into_iter().collect())
}

fn alter(words: &mut Words<'_>) -> Statement {
    words.skip(&["ONLINE", "OFFLINE", "IGNORE"]);
    if !words.skip(&["TABLE"]) {
        return Statement::Other;
    }
    words.skip(&["IF", "EXISTS"]);
    let mut named: Vec<Named> = words.name().into_iter().collect();
    let mut effect = Effect::Altered;
    let mut rewritten = false;
    let rest = Words {
        tokens: words.tokens,
        at: words.at,
    };
    let mut at = rest;
    while let Some(token) = at.tokens.get(at.at) {
        at.at += 1;
        match token.word().as_deref() {
            Some("RENAME") if !at.peek(&["COLUMN", "INDEX", "KEY", "CONSTRAINT"]) => {
                at.skip(&["TO", "AS"]);
                named.extend(at.name());
                effect = Effect::Replaced;
            }
            // Partitions come and go with their rows.
            Some("DROP" | "TRUNCATE" | "EXCHANGE" | "CONVERT") if at.peek(&["PARTITION"]) => {
                effect = Effect::Replaced;
            }
            // What is no column bears a word before its name.
            Some("DROP")
                if !at.peek(&[
                    "INDEX",
                    "KEY",
                    "PRIMARY",
                    "FOREIGN",
                    "CONSTRAINT",
                    "CHECK",
                    "DEFAULT",
                    "PERIOD",
                    "SYSTEM",
                ]) =>
            {
                rewritten = true;
            }
            Some("MODIFY" | "CHANGE") => rewritten = true,
            Some("DISCARD" | "IMPORT") => effect = Effect::Replaced,
            Some("WITH") if at.peek(&["TABLE"]) => {
                at.skip(&["TABLE"]);
                named.extend(at.name());
            }
            _ => {}
        }
    }
    if rewritten && effect == Effect::Altered {
        effect = Effect::Rewritten;
    }
    tables(effect, named)
}

/// A piece of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// A word or a name without quotes.
    Word(String),
    /// A name in quotes.
    Quoted(String),
    /// A sign.
    Sign(char),
    /// A text.
    Text,
}

impl Token {
    /// The word, in capitals.
    pub(crate) fn word(&self) -> Option<String> {
        match self {
            Token::Word(word) => Some(word.to_ascii_uppercase()),
            _ => None,
        }
    }

    /// The name, if it may be one.
    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Token::Word(name) | Token::Quoted(name) => Some(name),
            _ => None,
        }
    }
}

struct Words<'t> {
    tokens: &'t [Token],
    at: usize,
}

impl Words<'_> {
    fn next_word(&mut self) -> Option<String> {
        let word = self.tokens.get(self.at)?.word()?;
        self.at += 1;
        Some(word)
    }

    fn peek(&self, words: &[&str]) -> bool {
        let word = self.tokens.get(self.at).and_then(Token::word);
        word.is_some_and(|word| words.contains(&word.as_str()))
    }

    /// Passes over any of these words; gives whether there was one.
    fn skip(&mut self, words: &[&str]) -> bool {
        let from = self.at;
        while self.peek(words) {
            self.at += 1;
        }
        self.at > from
    }

    /// Goes behind the first of these words; gives whether there is one.
    fn any(&mut self, words: &[&str]) -> bool {
        while self.at < self.tokens.len() {
            if self.skip(words) {
                return true;
            }
            self.at += 1;
        }
        false
    }

    /// The next name of a table.
    fn name(&mut self) -> Option<Named> {
        let first = self.tokens.get(self.at)?.name()?.to_owned();
        self.at += 1;
        if self.tokens.get(self.at) != Some(&Token::Sign('.')) {
            return Some(Named {
                database: None,
                table: first,
            });
        }
        let table = self.tokens.get(self.at + 1)?.name()?.to_owned();
        self.at += 2;
        Some(Named {
            database: Some(first),
            table,
        })
    }

    /// Every name from here on, words between them included, which are names of no table.
    fn names(&mut self) -> Vec<Named> {
        let mut names = Vec::new();
        while self.at < self.tokens.len() {
            match self.name() {
                Some(name) => names.push(name),
                None => self.at += 1,
            }
        }
        names
    }
}

fn names(tokens: &[Token]) -> Vec<String> {
    tokens
        .iter()
        .filter_map(Token::name)
        .map(str::to_owned)
        .collect()
}

/// Cuts a statement into at most `max` pieces; comments are left out, those that the server obeys are looked into.
pub(crate) fn tokens(text: &str, max: usize) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next()
        && tokens.len() < max
    {
        let behind = |found: Option<usize>, length: usize| {
            found.map_or(rest.len(), |at| (at + length).min(rest.len()))
        };
        if first.is_whitespace() {
            rest = &rest[first.len_utf8()..];
        } else if rest.starts_with("/*!") || rest.starts_with("/*M!") {
            let opened = &rest[rest.find('!').map_or(0, |at| at + 1)..];
            rest = opened.trim_start_matches(|c: char| c.is_ascii_digit());
        } else if rest.starts_with("*/") {
            rest = &rest[2..];
        } else if rest.starts_with("/*") {
            rest = &rest[behind(rest.find("*/"), 2)..];
        } else if rest.starts_with('#') || rest.starts_with("-- ") || rest.starts_with("--\n") {
            rest = &rest[behind(rest.find('\n'), 1)..];
        } else if matches!(first, '`' | '"' | '\'') {
            let (inner, after) = quoted(&rest[1..], first);
            tokens.push(if first == '\'' {
                Token::Text
            } else {
                Token::Quoted(inner)
            });
            rest = after;
        } else if first.is_alphanumeric() || matches!(first, '_' | '$' | '@') {
            let part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$' | '@');
            let end = rest.find(|c| !part(c)).unwrap_or(rest.len());
            tokens.push(Token::Word(rest[..end].to_owned()));
            rest = &rest[end..];
        } else {
            tokens.push(Token::Sign(first));
            rest = &rest[first.len_utf8()..];
        }
    }
    tokens
}

/// What stands before the closing quote, and what comes behind it.
fn quoted(text: &str, quote: char) -> (String, &str) {
    let mut inner = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        if character == '\\' && quote != '`' {
            characters.next();
        } else if character != quote {
            inner.push(character);
        } else if text[at + 1..].starts_with(quote) {
            inner.push(quote);
            characters.next();
        } else {
            return (inner, &text[at + 1..]);
        }
    }
    (inner, "")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn effects(text: &str) -> Vec<(Effect, String)> {
        match read(text) {
            Statement::Tables(tables) => tables
                .into_iter()
                .map(|(effect, name)| {
                    let database = name
                        .database
                        .map_or(String::new(), |database| database + ".");
                    (effect, database + &name.table)
                })
                .collect(),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn changes_of_tables_are_recognised() {
        use Effect::{Altered, Replaced, Rewritten, Truncated};
        for (text, expected) in [
            ("TRUNCATE t", vec![(Truncated, "t")]),
            ("truncate table `d`.`a``b`", vec![(Truncated, "d.a`b")]),
            (
                "/* who */ DROP TABLE IF EXISTS `a`,d.b /* generated by server */",
                vec![(Replaced, "a"), (Replaced, "d.b")],
            ),
            (
                "RENAME TABLE t TO _t_old, _t_new TO t",
                vec![
                    (Replaced, "t"),
                    (Replaced, "TO"),
                    (Replaced, "_t_old"),
                    (Replaced, "_t_new"),
                    (Replaced, "TO"),
                    (Replaced, "t"),
                ],
            ),
            (
                "ALTER TABLE t ADD COLUMN c int DEFAULT 'rename to x'",
                vec![(Altered, "t")],
            ),
            ("ALTER TABLE t RENAME COLUMN a TO b", vec![(Altered, "t")]),
            (
                "ALTER TABLE t RENAME TO u",
                vec![(Replaced, "t"), (Replaced, "u")],
            ),
            ("alter table d.t drop partition p0", vec![(Replaced, "d.t")]),
            (
                "ALTER TABLE t EXCHANGE PARTITION p WITH TABLE u",
                vec![(Replaced, "t"), (Replaced, "u")],
            ),
            ("CREATE OR REPLACE TABLE t (a int)", vec![(Replaced, "t")]),
            ("CREATE TABLE IF NOT EXISTS t (a int)", vec![(Altered, "t")]),
            ("CREATE UNIQUE INDEX i ON t (a)", vec![(Altered, "t")]),
            ("/*!50100 TRUNCATE TABLE t */", vec![(Truncated, "t")]),
            ("-- a word\nTRUNCATE t", vec![(Truncated, "t")]),
            (
                "SET STATEMENT max_statement_time=0, lock_wait_timeout=1 FOR TRUNCATE t",
                vec![(Truncated, "t")],
            ),
            (
                "ALTER TABLE t DROP COLUMN a, ADD COLUMN a int",
                vec![(Rewritten, "t")],
            ),
            ("ALTER TABLE t DROP a", vec![(Rewritten, "t")]),
            ("ALTER TABLE t MODIFY a int", vec![(Rewritten, "t")]),
            ("ALTER TABLE t CHANGE a b int", vec![(Rewritten, "t")]),
            ("ALTER TABLE t DROP INDEX a", vec![(Altered, "t")]),
            (
                "ALTER TABLE t ALTER COLUMN a DROP DEFAULT",
                vec![(Altered, "t")],
            ),
            (
                "ALTER TABLE t DROP a, RENAME TO u",
                vec![(Replaced, "t"), (Replaced, "u")],
            ),
        ] {
            let expected: Vec<(Effect, String)> = expected
                .into_iter()
                .map(|(effect, name)| (effect, name.to_owned()))
                .collect();
            assert_eq!(effects(text), expected, "{text}");
        }
    }

    #[test]
    fn what_belongs_to_transactions_is_recognised() {
        for (text, expected) in [
            ("BEGIN", Statement::Begin),
            ("COMMIT", Statement::Commit),
            ("ROLLBACK", Statement::Rollback { partly: false }),
            ("ROLLBACK TO `s`", Statement::Rollback { partly: true }),
            ("SAVEPOINT `s`", Statement::Savepoint),
            ("XA END X'61',X'',1", Statement::Xa { ends: false }),
            ("XA COMMIT X'61',X'',1", Statement::Xa { ends: true }),
            ("DROP DATABASE `d`", Statement::Database("d".to_owned())),
            ("DROP TEMPORARY TABLE t", Statement::Other),
            ("CREATE VIEW v AS SELECT 1", Statement::Other),
            ("GRANT SELECT ON t TO u", Statement::Other),
            ("", Statement::Other),
            ("SET STATEMENT a=1 FOR COMMIT", Statement::Commit),
            ("SET PASSWORD = 'x'", Statement::Other),
            (
                "CONJURE t",
                Statement::Unknown(vec!["CONJURE".to_owned(), "t".to_owned()]),
            ),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
        for text in [
            "INSERT INTO d.t VALUES ('x')",
            "WITH c AS (SELECT 1) DELETE FROM t",
            "SET STATEMENT max_statement_time=1 FOR UPDATE t SET a = 1",
        ] {
            assert!(
                matches!(read(text), Statement::Rows(words) if words.contains(&"t".to_owned())),
                "{text}"
            );
        }
    }

    #[test]
    fn names_have_a_case_where_the_server_says_so() {
        let table = TableName {
            database: "d".to_owned(),
            table: "Orders".to_owned(),
        };
        for (database, name, exact, ignored) in [
            (None, "Orders", true, true),
            (None, "orders", false, true),
            (Some("D"), "Orders", false, true),
            (Some("e"), "Orders", false, false),
        ] {
            let named = Named {
                database: database.map(str::to_owned),
                table: name.to_owned(),
            };
            assert_eq!(named.is(&table, "d", Case::Exact), exact, "{named:?}");
            assert_eq!(named.is(&table, "d", Case::Ignored), ignored, "{named:?}");
        }
    }

    proptest! {
        #[test]
        fn no_statement_panics(text in ".*") {
            let _ = read(&text);
            let _ = read(&format!("ALTER TABLE {text}"));
            let _ = read(&format!("DROP TABLE `{text}"));
        }
    }
}
