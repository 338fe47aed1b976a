//! Licences of everything this project is built from, read from the crates' own SPDX expressions.
//!
//! `.deny.toml` says the same for people who have cargo-deny; this needs neither it nor a network.

use anyhow::{Result, bail};

use crate::repository::Metadata;

/// Licences that ask for a notice at most. MPL-2.0 is left out on purpose.
const ALLOWED: [&str; 14] = [
    "MIT",
    "MIT-0",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Unlicense",
    "Zlib",
    "0BSD",
    "CC0-1.0",
    "Unicode-3.0",
    "CDLA-Permissive-2.0",
    "BSL-1.0",
    "Apache-2.0 WITH LLVM-exception",
];

/// Parentheses inside each other; real expressions have one or two.
const DEPTH_MAX: usize = 16;

/// Third-party packages that cannot be used under the allowed licences.
pub(super) fn findings(metadata: &Metadata) -> Vec<String> {
    let mut findings = Vec::new();
    for package in metadata
        .packages
        .iter()
        .filter(|package| package.source.is_some())
    {
        let finding = match &package.license {
            None => "states no licence".to_owned(),
            Some(licence) => match satisfied(licence, &ALLOWED) {
                Ok(true) => continue,
                Ok(false) => format!("is under `{licence}`, which is not allowed"),
                Err(error) => format!("has the unreadable licence `{licence}`: {error}"),
            },
        };
        findings.push(format!("{} {} {finding}", package.name, package.version));
    }
    findings
}

/// Whether somebody who accepts only the allowed licences may use what stands under the expression.
///
/// Reads SPDX expressions (`OR`, `AND`, `WITH`, parentheses) and the older `/` for `OR`.
fn satisfied(expression: &str, allowed: &[&str]) -> Result<bool> {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let mut parser = Parser {
        words: spaced.split_whitespace().peekable(),
        allowed,
    };
    let verdict = parser.any(0)?;
    match parser.words.next() {
        None => Ok(verdict),
        Some(word) => bail!("`{word}` stands where the expression should end"),
    }
}

/// Recursive descent that answers instead of building a tree.
struct Parser<'a, W: Iterator<Item = &'a str>> {
    words: std::iter::Peekable<W>,
    allowed: &'a [&'a str],
}

impl<'a, W: Iterator<Item = &'a str>> Parser<'a, W> {
    /// `all OR all …`: one is enough.
    fn any(&mut self, depth: usize) -> Result<bool> {
        let mut verdict = self.all(depth)?;
        while self.words.next_if_eq(&"OR").is_some() {
            verdict |= self.all(depth)?;
        }
        Ok(verdict)
    }

    /// `one AND one …`: every one is needed, and `AND` binds closer than `OR`.
    fn all(&mut self, depth: usize) -> Result<bool> {
        let mut verdict = self.one(depth)?;
        while self.words.next_if_eq(&"AND").is_some() {
            verdict &= self.one(depth)?;
        }
        Ok(verdict)
    }

    /// A licence, perhaps with an exception, or an expression in parentheses.
    fn one(&mut self, depth: usize) -> Result<bool> {
        match self.words.next() {
            Some("(") if depth == DEPTH_MAX => bail!("parentheses are more than {DEPTH_MAX} deep"),
            Some("(") => {
                let verdict = self.any(depth + 1)?;
                match self.words.next() {
                    Some(")") => Ok(verdict),
                    _ => bail!("a parenthesis is not closed"),
                }
            }
            Some(word @ (")" | "OR" | "AND" | "WITH")) => {
                bail!("`{word}` stands where a licence should")
            }
            Some(licence) => self.licence(licence),
            None => bail!("a licence is missing at the end"),
        }
    }

    fn licence(&mut self, licence: &str) -> Result<bool> {
        if self.words.next_if_eq(&"WITH").is_none() {
            return Ok(self.allows(licence));
        }
        match self.words.next() {
            None | Some("(" | ")" | "OR" | "AND" | "WITH") => bail!("`WITH` names no exception"),
            // An exception may permit more or forbid more, so the pair is what is allowed.
            Some(exception) => Ok(self.allows(&format!("{licence} WITH {exception}"))),
        }
    }

    fn allows(&self, licence: &str) -> bool {
        self.allowed
            .iter()
            .any(|allowed| allowed.eq_ignore_ascii_case(licence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOME: [&str; 3] = ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"];

    #[test]
    fn expressions_are_judged_by_their_structure() {
        let table = [
            ("MIT", true),
            ("mit", true),
            ("GPL-3.0-only", false),
            ("MIT OR GPL-3.0-only", true),
            ("GPL-3.0-only OR MIT", true),
            ("GPL-2.0/MIT", true),
            ("MIT AND GPL-3.0-only", false),
            ("MIT AND Apache-2.0", true),
            // AND before OR: the right-hand side alone is enough.
            ("GPL-3.0-only AND GPL-2.0-only OR MIT", true),
            ("MIT OR GPL-3.0-only AND GPL-2.0-only", true),
            ("(MIT OR GPL-3.0-only) AND GPL-2.0-only", false),
            ("(GPL-3.0-only OR MIT) AND (Apache-2.0)", true),
            ("Apache-2.0 WITH LLVM-exception", true),
            ("Apache-2.0 WITH LLVM-exception AND MIT", true),
            ("MIT WITH Some-exception", false),
            ("Apache-2.0+", false),
        ];
        for (expression, expected) in table {
            assert_eq!(
                satisfied(expression, &SOME).unwrap(),
                expected,
                "{expression}"
            );
        }
    }

    #[test]
    fn broken_expressions_are_refused_with_a_reason() {
        let table = [
            ("", "a licence is missing at the end"),
            ("MIT OR", "a licence is missing at the end"),
            ("OR MIT", "`OR` stands where a licence should"),
            (
                "MIT Apache-2.0",
                "`Apache-2.0` stands where the expression should end",
            ),
            ("(MIT", "a parenthesis is not closed"),
            ("MIT)", "`)` stands where the expression should end"),
            ("MIT WITH", "`WITH` names no exception"),
        ];
        for (expression, reason) in table {
            let error = satisfied(expression, &SOME).unwrap_err();
            assert_eq!(error.to_string(), reason, "{expression}");
        }
        assert!(satisfied(&"(".repeat(100_000), &SOME).is_err());
    }

    #[test]
    fn cargo_deny_is_told_the_same() {
        let deny = include_str!("../../../.deny.toml");
        let (_, rest) = deny.split_once("allow = [").unwrap();
        let (list, _) = rest.split_once(']').unwrap();
        let mut listed: Vec<&str> = list.split('"').skip(1).step_by(2).collect();
        let mut allowed = ALLOWED.to_vec();
        listed.sort_unstable();
        allowed.sort_unstable();
        assert_eq!(listed, allowed);
    }
}
