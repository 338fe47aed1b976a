//! What only a table's own declaration tells every reader of it: the catalog's views of checks and foreign keys are empty for a user who may only read rows.
//!
//! Pure: the text of `SHOW CREATE TABLE` comes in.

use crate::ddl::{Token, tokens};

/// What a declaration says.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Declared {
    /// Columns that hold only JSON: MariaDB's `json` is a text with a check.
    pub(crate) json: Vec<String>,
    /// Foreign keys by which rows change when those of another table do: their names, and the other table's.
    pub(crate) cascades: Vec<(String, String)>,
}

/// A declaration that can be read: MariaDB writes every name with its backticks doubled, except those of a foreign key's columns.
pub(crate) fn mended(text: &str) -> String {
    let lines = text.split_inclusive('\n');
    lines
        .map(|line| foreign_key(line).unwrap_or_else(|| line.to_owned()))
        .collect()
}

/// A line that declares a foreign key, with the names of its columns written as all others are.
fn foreign_key(line: &str) -> Option<String> {
    let (name, rest) = line.split_once(" FOREIGN KEY (`")?;
    let (columns, rest) = rest.split_once("`) REFERENCES ")?;
    let (other, rest) = rest.split_once(" (`")?;
    let (others, rules) = rest.split_once("`)")?;
    if !name.trim_start().starts_with("CONSTRAINT `") {
        return None;
    }
    let written = |names: &str| {
        let names = names.split("`, `");
        let names = names.map(|name| name.replace("``", "`").replace('`', "``"));
        names.collect::<Vec<_>>().join("`, `")
    };
    let (columns, others) = (written(columns), written(others));
    Some(format!(
        "{name} FOREIGN KEY (`{columns}`) REFERENCES {other} (`{others}`){rules}"
    ))
}

/// Reads a declaration that was [`mended`].
pub(crate) fn read(text: &str) -> Declared {
    let tokens = tokens(text, usize::MAX);
    let mut declared = Declared::default();
    for at in 0..tokens.len() {
        let named = at > 1 && is(&tokens, at - 2, "CONSTRAINT");
        if is(&tokens, at, "CHECK") && !named {
            declared.json.extend(json(&tokens[at + 1..]));
        } else if is(&tokens, at, "FOREIGN") && is(&tokens, at + 1, "KEY") && named {
            let name = tokens[at - 1].name().unwrap_or_default();
            if let Some(other) = cascade(&tokens[at + 2..]) {
                declared.cascades.push((name.to_owned(), other));
            }
        }
    }
    declared
}

fn is(tokens: &[Token], at: usize, word: &str) -> bool {
    let token = tokens.get(at).and_then(Token::word);
    token.is_some_and(|token| token == word)
}

fn sign(tokens: &[Token], at: usize, sign: char) -> bool {
    tokens.get(at) == Some(&Token::Sign(sign))
}

/// The column in `(json_valid(column))`.
fn json(tokens: &[Token]) -> Option<String> {
    let fits = sign(tokens, 0, '(')
        && is(tokens, 1, "JSON_VALID")
        && sign(tokens, 2, '(')
        && sign(tokens, 4, ')')
        && sign(tokens, 5, ')');
    let name = tokens.get(3)?.name()?;
    fits.then(|| name.to_owned())
}

/// The other table in `(…) REFERENCES other (…) ON DELETE CASCADE`, where one of its rules changes rows.
fn cascade(tokens: &[Token]) -> Option<String> {
    let end = |from: usize| {
        let tokens = tokens.get(from..)?;
        Some(from + tokens.iter().position(|token| *token == Token::Sign(')'))?)
    };
    let mut at = end(0)? + 1;
    if !is(tokens, at, "REFERENCES") {
        return None;
    }
    let mut other = tokens.get(at + 1)?.name()?;
    if sign(tokens, at + 2, '.') {
        other = tokens.get(at + 3)?.name()?;
    }
    at = end(at)? + 1;
    while is(tokens, at, "ON") {
        if is(tokens, at + 2, "CASCADE") || is(tokens, at + 2, "SET") {
            return Some(other.to_owned());
        }
        // `NO ACTION` is two words, `RESTRICT` one.
        at += if is(tokens, at + 2, "NO") { 4 } else { 3 };
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_declaration_tells_json_and_cascades() {
        let declared = read(
            "CREATE TABLE `t` (\n  `id` int(11) NOT NULL COMMENT 'CHECK (json_valid(`x`))',\n  `j` longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin DEFAULT NULL CHECK (json_valid(`j`)),\n  `o``k` longtext DEFAULT NULL CHECK (json_valid(`o``k`)),\n  `n` longtext DEFAULT NULL,\n  `at` timestamp NOT NULL ON UPDATE current_timestamp(),\n  PRIMARY KEY (`id`),\n  CONSTRAINT `a` FOREIGN KEY (`x`, `y`) REFERENCES `p` (`x`, `y`) ON DELETE NO ACTION ON UPDATE CASCADE,\n  CONSTRAINT `b` FOREIGN KEY (`x`) REFERENCES `d`.`q` (`id`) ON DELETE SET NULL,\n  CONSTRAINT `c` FOREIGN KEY (`x`) REFERENCES `r` (`id`) ON DELETE RESTRICT,\n  CONSTRAINT `d` FOREIGN KEY (`x`) REFERENCES `s` (`id`),\n  CONSTRAINT `e` CHECK (json_valid(`n`))\n) ENGINE=InnoDB",
        );
        assert_eq!(declared.json, ["j", "o`k"]);
        let pair = |name: &str, other: &str| (name.to_owned(), other.to_owned());
        assert_eq!(declared.cascades, [pair("a", "p"), pair("b", "q")]);
    }

    #[test]
    fn backticks_in_the_columns_of_a_foreign_key_are_doubled_as_all_others_are() {
        let text = "CREATE TABLE `t` (\n  `a``b` int COMMENT ' FOREIGN KEY (`x`y`) REFERENCES `z` (`z`)',\n  `j` longtext CHECK (json_valid(`j`)),\n  CONSTRAINT `f` FOREIGN KEY (`a`b`, `c``d`) REFERENCES `p``q` (`x`, `y`z`) ON DELETE CASCADE,\n  CONSTRAINT `g` FOREIGN KEY (`j`) REFERENCES `r` (`id`) ON UPDATE SET NULL\n)";
        let mended = mended(text);
        assert!(
            mended.contains("(`a``b`, `c``d`) REFERENCES `p``q` (`x`, `y``z`) ON DELETE"),
            "{mended}"
        );
        assert!(mended.contains("' FOREIGN KEY (`x`y`)"), "{mended}");
        let pair = |name: &str, other: &str| (name.to_owned(), other.to_owned());
        let declared = read(&mended);
        assert_eq!(declared.json, ["j"]);
        assert_eq!(declared.cascades, [pair("f", "p`q"), pair("g", "r")]);
    }

    proptest! {
        #[test]
        fn no_declaration_panics(text in ".*") {
            let _ = mended(&format!("  CONSTRAINT `a` FOREIGN KEY (`{text}"));
            let _ = read(&text);
            let _ = read(&format!("CONSTRAINT a FOREIGN KEY (a) REFERENCES {text}"));
            let _ = read(&format!("CHECK (json_valid({text}"));
        }
    }
}
