//! Names of tables and columns: how a configuration spells them, and how they become part of statements.

use lockstep_core::{Error, Result};

/// Most characters of a name in MySQL.
const NAME_MAX: usize = 64;

/// A table by database and own name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TableName {
    /// The database.
    pub(crate) database: String,
    /// Its own name.
    pub(crate) table: String,
}

impl TableName {
    /// Reads `table`, `database.table`, each part in backquotes where it holds a dot or a backquote.
    ///
    /// # Errors
    /// What is no such name.
    pub(crate) fn parse(text: &str, database: &str) -> Result<TableName> {
        let parts = parts(text).ok_or_else(|| {
            Error::config(format!("`{text}` is not the name of a table")).help(
                "write `table`, or `database.table`, each part in backquotes where it holds a dot",
            )
        })?;
        let [first, rest @ ..] = parts.as_slice() else {
            return Err(Error::config("a table has an empty name"));
        };
        Ok(match rest {
            [table] => TableName {
                database: first.clone(),
                table: table.clone(),
            },
            _ => TableName {
                database: database.to_owned(),
                table: first.clone(),
            },
        })
    }

    /// Its name in SQL.
    pub(crate) fn quoted(&self) -> String {
        format!("{}.{}", quote(&self.database), quote(&self.table))
    }
}

/// One or two names, or nothing where the text is none.
fn parts(text: &str) -> Option<Vec<String>> {
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        let part;
        if let Some(inner) = rest.strip_prefix('`') {
            let mut name = String::new();
            let mut characters = inner.char_indices();
            let end = loop {
                match characters.next()? {
                    (at, '`') if inner[at + 1..].starts_with('`') => {
                        name.push('`');
                        characters.next();
                    }
                    (at, '`') => break at,
                    (_, other) => name.push(other),
                }
            };
            part = name;
            rest = &inner[end + 1..];
        } else {
            let end = rest.find('.').unwrap_or(rest.len());
            part = rest[..end].to_owned();
            rest = &rest[end..];
        }
        if part.is_empty() || part.chars().count() > NAME_MAX || part.contains('\0') {
            return None;
        }
        parts.push(part);
        match rest.strip_prefix('.') {
            Some(more) if parts.len() < 2 => rest = more,
            None if rest.is_empty() => return Some(parts),
            _ => return None,
        }
    }
}

/// A name in SQL.
pub(crate) fn quote(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A text in SQL, for sessions without `NO_BACKSLASH_ESCAPES`.
pub(crate) fn literal(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    push_literal(&mut out, text);
    out
}

/// Appends a text in SQL.
pub(crate) fn push_literal(out: &mut String, text: &str) {
    out.push('\'');
    for character in text.chars() {
        match character {
            '\'' => out.push_str("''"),
            '\\' => out.push_str("\\\\"),
            '\0' => out.push_str("\\0"),
            other => out.push(other),
        }
    }
    out.push('\'');
}

/// Appends bytes in SQL.
pub(crate) fn push_bytes(out: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.push_str("x'");
    for byte in bytes {
        out.push(char::from(DIGITS[usize::from(byte >> 4)]));
        out.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    out.push('\'');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_read_as_they_are_spelled() {
        let table = [
            ("orders", Some(("d", "orders"))),
            ("shop.orders", Some(("shop", "orders"))),
            ("`a.b`", Some(("d", "a.b"))),
            ("`x``y`.`z`", Some(("x`y", "z"))),
            ("odd name ü", Some(("d", "odd name ü"))),
            ("a.b.c", None),
            ("", None),
            ("`open", None),
            ("`a`b", None),
            ("a.", None),
        ];
        for (text, expected) in table {
            let read = TableName::parse(text, "d").ok();
            let expected = expected.map(|(database, table)| TableName {
                database: database.to_owned(),
                table: table.to_owned(),
            });
            assert_eq!(read, expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_name_survives_quoting(name in "[^\0]{1,64}") {
            let read = TableName::parse(&quote(&name), "d").unwrap();
            prop_assert_eq!(read.table, name);
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = TableName::parse(&text, "d");
        }
    }
}
