//! Patterns of JSON Schema (ECMA-262) as patterns of Rust's engine that match the same texts.
//!
//! A pattern becomes parts that must all hold, each as it is or negated: that is how looking ahead at the start is said.
//! What has no such form gives nothing, and is then never reasoned about.

/// What ECMA-262 calls white space, as the inside of a class.
const SPACE: &str =
    r"\t-\r \x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}\x{feff}";

/// The rest of a pattern.
type Letters<'a> = std::iter::Peekable<std::str::Chars<'a>>;

/// A part of a pattern: Rust's spelling, and whether it must match.
pub(super) type Part = (String, bool);

/// The parts of a pattern; `None` where one cannot be said.
pub(super) fn parts(pattern: &str) -> Option<Vec<Part>> {
    if is_foreign(pattern) {
        return None;
    }
    let Some(mut rest) = pattern
        .strip_prefix('^')
        .filter(|rest| rest.starts_with("(?"))
    else {
        return Some(vec![(translate(pattern)?, true)]);
    };
    let mut parts = Vec::new();
    while let Some((inner, holds, after)) = ahead(rest) {
        parts.push((format!("^(?:{})", translate(inner)?), holds));
        rest = after;
    }
    // An alternative beside the looking ahead would not be bound by it.
    if !parts.is_empty() && alternates(rest) {
        return None;
    }
    parts.push((format!("^(?:{})", translate(rest)?), true));
    if parts.len() == 1 {
        return Some(vec![(translate(pattern)?, true)]);
    }
    Some(parts)
}

/// Looking ahead at the start of a text: what it looks for, whether that must be there, and what follows.
fn ahead(text: &str) -> Option<(&str, bool, &str)> {
    let (body, holds) = match text.strip_prefix("(?!") {
        Some(body) => (body, false),
        None => (text.strip_prefix("(?=")?, true),
    };
    let mut depth = 1;
    let mut escaped = false;
    let mut in_class = false;
    for (at, letter) in body.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '[' => in_class = true,
            ']' => in_class = false,
            '(' if !in_class => depth += 1,
            ')' if !in_class => {
                depth -= 1;
                if depth == 0 {
                    let after = &body[at + 1..];
                    // A quantified look-ahead is a curiosity.
                    let counted = after.starts_with(['*', '+', '?', '{']);
                    return (!counted).then_some((&body[..at], holds, after));
                }
            }
            _ => {}
        }
    }
    None
}

/// Whether there is an alternative outside of all groups.
fn alternates(text: &str) -> bool {
    let (mut depth, mut escaped, mut in_class) = (0_i32, false, false);
    for letter in text.chars() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '[' => in_class = true,
            ']' => in_class = false,
            '(' if !in_class => depth += 1,
            ')' if !in_class => depth -= 1,
            '|' if !in_class && depth == 0 => return true,
            _ => {}
        }
    }
    false
}

fn translate(pattern: &str) -> Option<String> {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut rest = pattern.chars().peekable();
    let mut in_class = false;
    let mut was_counted = false;
    while let Some(letter) = rest.next() {
        let counts = !in_class && matches!(letter, '*' | '+' | '?' | '{');
        match letter {
            '\\' => escape(&mut rest, in_class, &mut out)?,
            '(' if !in_class => {
                out.push('(');
                if rest.next_if_eq(&'?').is_some() {
                    rest.next_if_eq(&':')?;
                    out.push_str("?:");
                }
            }
            '[' if !in_class => {
                in_class = true;
                out.push('[');
                if rest.next_if_eq(&'^').is_some() {
                    out.push('^');
                }
                if rest.peek() == Some(&']') {
                    return None;
                }
            }
            '[' => out.push_str(r"\["),
            ']' if in_class => {
                in_class = false;
                out.push(']');
            }
            '&' | '~' if in_class => {
                out.push('\\');
                out.push(letter);
            }
            '-' if in_class => dash(&mut rest, &mut out)?,
            '.' if !in_class => out.push_str(r"[^\n\r\x{2028}\x{2029}]"),
            '{' if !in_class => {
                out.push('{');
                count(&mut rest, &mut out)?;
            }
            '}' if !in_class => return None,
            // A second quantifier means something else to each engine.
            '+' if was_counted => return None,
            other => out.push(other),
        }
        was_counted = counts;
    }
    (!in_class).then_some(out)
}

/// A `-` in a class: itself where it is first or last, and between two characters a range.
fn dash(rest: &mut Letters<'_>, out: &mut String) -> Option<()> {
    let opens = |end: &str| out.ends_with(end) && !out.ends_with(&format!(r"\{end}"));
    let first = opens("[") || opens("[^");
    let last = rest.peek() == Some(&']');
    if first || last {
        out.push_str(r"\-");
        return Some(());
    }
    // `--` means something else to each engine, and a range of a set of characters means nothing.
    let after_set = out.ends_with(']') && !out.ends_with(r"\]");
    if rest.peek() == Some(&'-') || out.ends_with('-') || after_set {
        return None;
    }
    out.push('-');
    Some(())
}

/// The rest of `{2,3}`.
fn count(rest: &mut Letters<'_>, out: &mut String) -> Option<()> {
    let mut digits = 0;
    loop {
        let letter = rest.next()?;
        out.push(letter);
        match letter {
            '0'..='9' => digits += 1,
            ',' if digits > 0 => {}
            '}' if digits > 0 => return Some(()),
            _ => return None,
        }
    }
}

fn escape(rest: &mut Letters<'_>, in_class: bool, out: &mut String) -> Option<()> {
    let escaped = rest.next()?;
    // A range ends in one character, never in a set of them; one begun with a set ends at its `-`.
    let ranged = in_class && out.ends_with('-') && !out.ends_with(r"\-");
    if ranged && "dDwWsSpP".contains(escaped) {
        return None;
    }
    let (inside, negated) = match escaped {
        'd' => ("0-9", false),
        'D' => ("0-9", true),
        'w' => ("A-Za-z0-9_", false),
        'W' => ("A-Za-z0-9_", true),
        's' => (SPACE, false),
        'S' => (SPACE, true),
        'b' if !in_class => {
            out.push_str(r"(?-u:\b)");
            return Some(());
        }
        't' | 'n' | 'r' | 'f' | 'v' => {
            out.push('\\');
            out.push(escaped);
            return Some(());
        }
        'c' => {
            let letter = rest.next_if(char::is_ascii_alphabetic)?;
            out.push_str(&format!("\\x{{{:x}}}", u32::from(letter) % 32));
            return Some(());
        }
        'x' => return hex(rest, 2, out),
        'u' if rest.next_if_eq(&'{').is_some() => return braced(rest, out),
        'u' => return hex(rest, 4, out),
        'p' | 'P' => {
            rest.next_if_eq(&'{')?;
            let mut name = String::new();
            while let Some(letter) =
                rest.next_if(|letter| letter.is_ascii_alphabetic() || *letter == '_')
            {
                name.push(letter);
            }
            rest.next_if_eq(&'}')?;
            let name = category(&name)?;
            out.push_str(&format!("\\{escaped}{{{name}}}"));
            return Some(());
        }
        other if other.is_ascii_punctuation() => {
            out.push('\\');
            out.push(other);
            return Some(());
        }
        _ => return None,
    };
    out.push_str(if negated { "[^" } else { "[" });
    out.push_str(inside);
    out.push(']');
    Some(())
}

/// General categories under the names that everybody reads alike.
fn category(name: &str) -> Option<&str> {
    Some(match name {
        "Letter" => "L",
        "Lowercase_Letter" => "Ll",
        "Uppercase_Letter" => "Lu",
        "Mark" => "M",
        "Number" => "N",
        "Decimal_Number" | "digit" => "Nd",
        "Punctuation" | "punct" => "P",
        "Symbol" => "S",
        "Separator" => "Z",
        short if matches!(short.len(), 1 | 2) => short,
        _ => return None,
    })
}

fn hex(rest: &mut Letters<'_>, digits: usize, out: &mut String) -> Option<()> {
    let mut code = 0;
    for _ in 0..digits {
        code = code * 16 + rest.next()?.to_digit(16)?;
    }
    // Half of a pair is no character.
    char::from_u32(code)?;
    out.push_str(&format!("\\x{{{code:x}}}"));
    Some(())
}

/// The rest of `\u{1F600}`.
fn braced(rest: &mut Letters<'_>, out: &mut String) -> Option<()> {
    let mut code: u32 = 0;
    let mut digits = 0;
    while rest.next_if_eq(&'}').is_none() {
        code = code.checked_mul(16)? + rest.next()?.to_digit(16)?;
        digits += 1;
    }
    char::from_u32(code).filter(|_| digits > 0)?;
    out.push_str(&format!("\\x{{{code:x}}}"));
    Some(())
}

/// Whether a pattern has what ECMA-262 does not, or reads otherwise than the engines of other languages do.
pub(super) fn is_foreign(pattern: &str) -> bool {
    let mut rest = pattern.chars().peekable();
    let mut in_class = false;
    while let Some(letter) = rest.next() {
        match letter {
            '\\' => match rest.next() {
                // What stands in the braces is a name or a number, and no count ends there.
                Some('p' | 'P' | 'u') if rest.peek() == Some(&'{') => {
                    rest.by_ref().find(|letter| *letter == '}');
                }
                Some('p' | 'P') => return true,
                Some('x') if rest.peek() == Some(&'{') => return true,
                Some(escaped)
                    if escaped.is_ascii_alphabetic()
                        && !"bBcdDfknpPrsStuvwWx".contains(escaped) =>
                {
                    return true;
                }
                _ => {}
            },
            '[' if in_class && matches!(rest.peek(), Some(':' | '.' | '=')) => return true,
            '[' => in_class = true,
            ']' => in_class = false,
            '(' if !in_class && rest.next_if_eq(&'?').is_some() => match rest.next() {
                Some(':' | '=' | '!') => {}
                // Looking behind, or a name.
                Some('<') => {}
                _ => return true,
            },
            '*' | '+' | '?' | '}' if !in_class && rest.peek() == Some(&'+') => return true,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_match(pattern: &str, text: &str) -> Option<bool> {
        let mut all = true;
        for (part, holds) in parts(pattern)? {
            all &= regex::Regex::new(&part).ok()?.is_match(text) == holds;
        }
        Some(all)
    }

    #[test]
    fn looking_ahead_at_the_start_becomes_parts() {
        assert_eq!(is_match("^(?!foo)", "foobar"), Some(false));
        assert_eq!(is_match("^(?!foo)", "bar"), Some(true));
        assert_eq!(is_match("^(?=.*a)(?!b).*c$", "xac"), Some(true));
        assert_eq!(is_match("^(?=.*a)(?!b).*c$", "bac"), Some(false));
        assert_eq!(is_match("^(?!a)b|c", "c"), None);
        assert_eq!(is_match("^(?:a|b)", "b"), Some(true));
    }

    #[test]
    fn a_dash_at_the_edge_of_a_class_is_itself() {
        for (pattern, yes, no) in [
            (r"^[\w-]$", "-", "."),
            (r"^[\w.-]$", ".", "+"),
            (r"^[a-z\d-]$", "7", "A"),
            (r"^[-\w]$", "-", "."),
            (r"^[^-\w]$", ".", "-"),
            (r"^[\-\w]$", "-", "."),
            (r"^[\]-a]$", "^", "-"),
            (r"^[+-]$", "-", ","),
            (r"^[\[^-a]$", "_", "-"),
            (r"^[\u{1F600}-\u{1F64F}]$", "\u{1F601}", "-"),
        ] {
            assert_eq!(is_match(pattern, yes), Some(true), "{pattern}");
            assert_eq!(is_match(pattern, no), Some(false), "{pattern}");
        }
        for pattern in [r"[\w-a]", r"[a-\w]", r"[a--z]", r"\u{110000}", r"\u{}"] {
            assert_eq!(parts(pattern), None, "{pattern}");
        }
    }

    #[test]
    fn what_other_engines_read_is_foreign() {
        for pattern in [
            "(?i)a",
            r"\Aa",
            r"a\z",
            r"a\Z",
            r"\pL",
            "(?P<n>a)",
            "(?>a)",
            "a++",
            "[[:alpha:]]",
            r"\x{41}",
        ] {
            assert!(is_foreign(pattern), "{pattern}");
            assert_eq!(parts(pattern), None, "{pattern}");
        }
        for pattern in [
            "^a+$",
            r"\p{L}",
            "(?<n>a)",
            "(?<!a)b",
            r"\u{41}\x41",
            r"[a+:]+\++",
            r"\\A",
        ] {
            assert!(!is_foreign(pattern), "{pattern}");
        }
    }

    proptest! {
        #[test]
        fn a_translated_pattern_judges_as_a_validator_does(
            pattern in r"\^?(\(\?[!=][a-c.*]{1,3}\))?[\[\]\\(){}?*+.^$|a-c0-3dwsbSD,&~_-]{0,12}", text in r"[a-d0-4 \n\r_.&~\u{a0}ä१-]{0,8}"
        ) {
            let Some(ours) = is_match(&pattern, &text) else { return Ok(()) };
            let schema = serde_json::json!({ "pattern": pattern });
            if let Ok(theirs) = jsonschema::validator_for(&schema) {
                prop_assert_eq!(ours, theirs.is_valid(&text.into()), "{}", pattern);
            }
        }
    }
}
