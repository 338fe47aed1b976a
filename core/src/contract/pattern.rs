//! Patterns with one meaning everywhere.
//!
//! ODCS and JSON Schema mean ECMA-262, the hot path uses Rust's engine: this module accepts what both can say and gives Rust's engine ECMA's meaning of it (`\d` is ASCII, `.` excludes all line ends).
//! What the two read differently is refused, never guessed.

use regex::{Regex, RegexBuilder};

/// Most bytes of a compiled pattern.
const COMPILED_BYTES_MAX: usize = 1 << 20;
/// What ECMA-262 calls white space, as the inside of a class.
const SPACE: &str =
    r"\t-\r \x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}\x{feff}";

/// Compiles a pattern, matching anywhere in a text unless it is anchored.
///
/// # Errors
/// Says in one phrase what cannot be read.
pub(super) fn compile(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(&translate(pattern)?)
        .size_limit(COMPILED_BYTES_MAX)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => "it is too large once compiled".to_owned(),
            // The library draws the pattern with a marker; the last line says what is wrong.
            other => {
                let text = other.to_string();
                let last = text.lines().last().unwrap_or_default();
                last.trim_start_matches("error: ").to_owned()
            }
        })
}

fn translate(pattern: &str) -> Result<String, String> {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut rest = pattern.chars().peekable();
    let mut in_class = false;
    // Where the class's first item stands in `out`.
    let mut class_start = 0;
    while let Some(c) = rest.next() {
        match c {
            '\\' => {
                let escaped = rest.next().ok_or("it ends in a lone backslash")?;
                let ranged = in_class && out.ends_with('-') && out.len() > class_start + 1;
                if ranged && "dDwWsS".contains(escaped) {
                    return Err(format!("`-\\{escaped}` is no range"));
                }
                escape(escaped, in_class, &mut out)?;
            }
            '(' if !in_class => {
                out.push('(');
                if rest.next_if_eq(&'?').is_some() {
                    if rest.next_if_eq(&':').is_none() {
                        return Err("look-around, named groups and inline flags are not read alike everywhere".into());
                    }
                    out.push_str("?:");
                }
            }
            '[' if !in_class => {
                in_class = true;
                out.push('[');
                if rest.next_if_eq(&'^').is_some() {
                    out.push('^');
                }
                class_start = out.len();
                if rest.peek() == Some(&']') {
                    return Err("a class must name a character".into());
                }
            }
            '[' => return Err("`[` inside a class must be written `\\[`".into()),
            ']' if in_class => {
                in_class = false;
                out.push(']');
            }
            '&' | '~' | '-' if in_class && rest.peek() == Some(&c) => {
                return Err(format!(
                    "`{c}{c}` inside a class is not read alike everywhere"
                ));
            }
            '.' if !in_class => out.push_str(r"[^\n\r\x{2028}\x{2029}]"),
            other => out.push(other),
        }
    }
    Ok(out)
}

fn escape(escaped: char, in_class: bool, out: &mut String) -> Result<(), String> {
    let (inside, negated) = match escaped {
        'd' => ("0-9", false),
        'D' => ("0-9", true),
        'w' => ("A-Za-z0-9_", false),
        'W' => ("A-Za-z0-9_", true),
        's' => (SPACE, false),
        'S' => (SPACE, true),
        'b' if !in_class => {
            out.push_str(r"(?-u:\b)");
            return Ok(());
        }
        't' | 'n' | 'r' | 'f' | 'v' | 'x' | 'u' => {
            out.push('\\');
            out.push(escaped);
            return Ok(());
        }
        other if other.is_ascii_punctuation() => {
            out.push('\\');
            out.push(other);
            return Ok(());
        }
        other => return Err(format!("`\\{other}` is not read alike everywhere")),
    };
    out.push_str(if negated { "[^" } else { "[" });
    out.push_str(inside);
    out.push(']');
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn classes_mean_what_ecma_says() {
        let is = |pattern: &str, text: &str| compile(pattern).unwrap().is_match(text);
        assert!(is(r"^\d+$", "12") && !is(r"^\d+$", "१२"));
        assert!(is(r"^[\w-]+$", "a_1-") && !is(r"^\w$", "ä"));
        assert!(!is("^.$", "\r") && is("^.$", "ä"));
        assert!(is(r"^[^\s@]+@[^\s@]+$", "a@b") && !is(r"^\S+$", "a\u{a0}b"));
        assert!(is(r"b\/c", "ab/cd") && is(r"\bx\b", "a x b") && is("[a-]", "-"));
    }

    #[test]
    fn what_engines_read_differently_is_refused() {
        for pattern in [
            "(?=a)",
            "(?<!a)b",
            "(?i)a",
            r"(a)\1",
            r"\p{L}",
            r"\Aa",
            "[a&&b]",
            "[[a]]",
            "[]a]",
            "a{2",
            "(",
            "\\",
            "[z-a]",
            "a{1000}{1000}{1000}",
            r"\cA",
            r"\0",
            "[a--b]",
        ] {
            assert!(compile(pattern).is_err(), "{pattern}");
        }
    }

    proptest! {
        #[test]
        fn no_pattern_panics(pattern in r"[\[\]\\(){}?*+.^$|&~a-c0-3dwsbBux:=!<>-]{0,24}|.{0,20}") {
            if let Ok(regex) = compile(&pattern) {
                let _ = regex.is_match("abc 123\n");
            }
        }

        #[test]
        fn an_accepted_pattern_judges_as_json_schema_does(
            pattern in r"[\[\]\\(){}?*+.^$|a-c0-3dwsSD_-]{0,12}", text in r"[a-d0-4 \n\r_.\u{a0}ä१-]{0,8}"
        ) {
            let Ok(ours) = compile(&pattern) else { return Ok(()) };
            let schema = serde_json::json!({ "pattern": pattern });
            if let Ok(theirs) = jsonschema::validator_for(&schema) {
                prop_assert_eq!(ours.is_match(&text), theirs.is_valid(&text.into()));
            }
        }
    }
}
