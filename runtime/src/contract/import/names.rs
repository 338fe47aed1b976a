//! Names that a contract may bear, made of names that it may not.

use std::collections::HashSet;

/// Longest name, in characters.
const LENGTH_MAX: usize = 64;
/// Words of the expression language that are values or operators.
const TAKEN: [&str; 4] = ["true", "false", "null", "in"];

/// The names of one record or document, each given once.
#[derive(Debug, Default)]
pub(super) struct Names {
    given: HashSet<String>,
}

impl Names {
    /// A name for `written`, the same one where it is legal and free.
    pub(super) fn give(&mut self, written: &str) -> String {
        let name = legal(written, "field");
        if self.given.insert(name.clone()) {
            return name;
        }
        let mut number = 2u32;
        loop {
            let suffix = format!("_{number}");
            let kept = LENGTH_MAX - suffix.len();
            let name: String = name.chars().take(kept).collect::<String>() + &suffix;
            if self.given.insert(name.clone()) {
                return name;
            }
            number += 1;
        }
    }
}

/// The legal name nearest to `written`; `instead` where nothing of it is left.
pub(super) fn legal(written: &str, instead: &str) -> String {
    let mut name = String::with_capacity(written.len().min(2 * LENGTH_MAX));
    for c in written.trim().chars() {
        if name.len() >= 2 * LENGTH_MAX {
            break;
        }
        match c {
            c if c.is_ascii_alphanumeric() || c == '_' => name.push(c),
            'ä' => name.push_str("ae"),
            'ö' => name.push_str("oe"),
            'ü' => name.push_str("ue"),
            'Ä' => name.push_str("Ae"),
            'Ö' => name.push_str("Oe"),
            'Ü' => name.push_str("Ue"),
            'ß' => name.push_str("ss"),
            'à' | 'á' | 'â' | 'ã' | 'å' => name.push('a'),
            'è' | 'é' | 'ê' | 'ë' => name.push('e'),
            'ì' | 'í' | 'î' | 'ï' => name.push('i'),
            'ò' | 'ó' | 'ô' | 'õ' | 'ø' => name.push('o'),
            'ù' | 'ú' | 'û' => name.push('u'),
            'ç' => name.push('c'),
            'ñ' => name.push('n'),
            _ if name.ends_with('_') => {}
            _ => name.push('_'),
        }
    }
    // A leading underscore is illegal; one at the end comes from what was replaced.
    let changed = name != written;
    let start = name.trim_start_matches('_');
    let start = if changed {
        start.trim_end_matches('_')
    } else {
        start
    };
    let mut name = match start.chars().next() {
        None => instead.to_owned(),
        Some(first) if first.is_ascii_digit() => format!("n{start}"),
        Some(_) => start.to_owned(),
    };
    name.truncate(LENGTH_MAX);
    if TAKEN.contains(&name.as_str()) {
        name.push('_');
    }
    name
}

/// A name for an entity: lower case with underscores between words.
pub(super) fn entity(written: &str) -> String {
    let mut name = String::with_capacity(written.len().min(2 * LENGTH_MAX));
    let mut before = ' ';
    for c in written.chars().take(2 * LENGTH_MAX) {
        if c.is_uppercase() && (before.is_lowercase() || before.is_ascii_digit()) {
            name.push('_');
        }
        name.extend(c.to_lowercase());
        before = c;
    }
    legal(&name, "record")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_become_legal_and_stay_readable() {
        for (written, name) in [
            ("id", "id"),
            ("Straße Nr.", "Strasse_Nr"),
            ("2nd-line", "n2nd_line"),
            ("in", "in_"),
            ("_private", "private"),
            ("kept_", "kept_"),
            ("名前", "field"),
            ("", "field"),
            ("a..b", "a_b"),
        ] {
            assert_eq!(legal(written, "field"), name, "{written}");
        }
        assert_eq!(entity("OrderLine"), "order_line");
        assert_eq!(entity("public.Kunden"), "public_kunden");
        let mut names = Names::default();
        assert_eq!(
            ["a-b", "a_b", "a b"].map(|written| names.give(written)),
            ["a_b", "a_b_2", "a_b_3"]
        );
    }

    proptest! {
        #[test]
        fn every_name_is_legal_and_given_once(written in proptest::collection::vec(".{0,80}", 1..8)) {
            let mut names = Names::default();
            let mut seen = HashSet::new();
            for written in written {
                let name = names.give(&written);
                prop_assert!(name.len() <= LENGTH_MAX && !TAKEN.contains(&name.as_str()), "{name}");
                prop_assert!(name.starts_with(|c: char| c.is_ascii_alphabetic()), "{name}");
                prop_assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'), "{name}");
                prop_assert!(seen.insert(name));
            }
        }
    }
}
