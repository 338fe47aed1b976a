//! Whether the numbers of a text survive being read: beyond 64 bits and about 17 digits they are rounded.
//!
//! A decision over rounded numbers would be about another schema, so that who has the text asks here first.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// Deepest nesting that is told apart; below it every number counts.
const DEPTH_MAX: usize = 100;

/// The first number of a JSON text that is not exactly what it is read as.
#[must_use]
pub fn inexact(text: &str) -> Option<String> {
    let mut rest = text;
    while let Some(at) = rest.find(['"', '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']) {
        rest = &rest[at..];
        if let Some(inside) = rest.strip_prefix('"') {
            rest = after_string(inside);
            continue;
        }
        let end = rest.find(|letter: char| !is_of_number(letter));
        let (literal, after) = rest.split_at(end.unwrap_or(rest.len()));
        if !is_exact(literal) {
            return Some(clipped(literal));
        }
        rest = after;
    }
    None
}

/// The same of a schema: what stands in annotations, and in keywords that nobody knows, decides nothing and may be rounded.
#[must_use]
pub fn inexact_schema(text: &str) -> Option<String> {
    let anywhere = inexact(text)?;
    // A reference may lead into what is otherwise an annotation.
    if ["/default", "/examples"]
        .iter()
        .any(|way| text.contains(way))
    {
        return Some(anywhere);
    }
    found_in(text, true, 0)
}

/// The number that matters within a part of a schema, or within what only holds schemas by name.
fn found_in(text: &str, is_schema: bool, depth: usize) -> Option<String> {
    let inside = |text: &str, is_schema| found_in(text, is_schema, depth + 1);
    if depth > DEPTH_MAX {
        return inexact(text);
    }
    if let Ok(list) = serde_json::from_str::<Vec<&RawValue>>(text) {
        return list.iter().find_map(|item| inside(item.get(), is_schema));
    }
    let Ok(members) = serde_json::from_str::<BTreeMap<String, &RawValue>>(text) else {
        return inexact(text);
    };
    members
        .iter()
        .find_map(|(name, value)| match name.as_str() {
            _ if !is_schema => inside(value.get(), true),
            "default" | "description" | "examples" | "title" | "$comment" | "deprecated"
            | "readOnly" | "writeOnly" => None,
            "properties" | "patternProperties" | "$defs" | "definitions" | "dependentSchemas"
            | "dependencies" => inside(value.get(), false),
            "items"
            | "allOf"
            | "anyOf"
            | "oneOf"
            | "not"
            | "if"
            | "then"
            | "else"
            | "contains"
            | "prefixItems"
            | "additionalItems"
            | "additionalProperties"
            | "propertyNames"
            | "unevaluatedItems"
            | "unevaluatedProperties" => inside(value.get(), true),
            // A vendor's own words; anything else may be a keyword, or be referred to.
            other if other.starts_with("x-") && !text.contains("$ref") => None,
            _ => inexact(value.get()),
        })
}

/// The same of a YAML text; what looks like a number counts wherever it stands, for quotes are hard to tell there.
#[must_use]
pub fn inexact_yaml(text: &str) -> Option<String> {
    let parting = |letter: char| letter.is_whitespace() || ",[]{}:\"'#".contains(letter);
    let mut words = text.split(parting);
    let found = words.find(|word| {
        let bare = word.trim_start_matches(['+', '-']);
        let endless = [".inf", ".nan"]
            .iter()
            .any(|name| bare.eq_ignore_ascii_case(name));
        let first = bare.trim_start_matches('.').chars().next();
        endless
            || (first.is_some_and(|first| first.is_ascii_digit())
                && word.parse::<f64>().is_ok()
                && !is_exact(word))
    });
    found.map(clipped)
}

/// What follows the end of a string.
fn after_string(inside: &str) -> &str {
    let mut escaped = false;
    for (at, byte) in inside.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return &inside[at + 1..],
            _ => {}
        }
    }
    ""
}

fn is_of_number(letter: char) -> bool {
    letter.is_ascii_digit() || "+-.eE".contains(letter)
}

fn clipped(literal: &str) -> String {
    let mut short: String = literal.chars().take(40).collect();
    if short.len() < literal.len() {
        short.push('…');
    }
    short
}

fn is_exact(literal: &str) -> bool {
    if literal.parse::<i64>().is_ok() || literal.parse::<u64>().is_ok() {
        return true;
    }
    let near = literal.parse::<f64>().ok();
    let Some(near) = near.and_then(serde_json::Number::from_f64) else {
        return false;
    };
    let (written, read) = (parts(literal), parts(&near.to_string()));
    written.is_some() && written == read
}

/// The sign, the digits without zeros around them, and the power of ten of the last one.
fn parts(literal: &str) -> Option<(bool, String, i64)> {
    let (negative, bare) = match literal.strip_prefix('-') {
        Some(bare) => (true, bare),
        None => (false, literal.strip_prefix('+').unwrap_or(literal)),
    };
    let (mantissa, power) = bare.split_once(['e', 'E']).unwrap_or((bare, "0"));
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{part}");
    let digits = digits.trim_start_matches('0');
    let short = digits.trim_end_matches('0');
    if short.is_empty() {
        return Some((false, String::new(), 0));
    }
    let zeros = i64::try_from(digits.len() - short.len()).ok()?;
    let places = i64::try_from(part.len()).ok()?;
    let power = power.parse::<i64>().ok()?;
    let last = power.checked_sub(places)?.checked_add(zeros)?;
    Some((negative, short.to_owned(), last))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ordinary_numbers_are_exact() {
        for text in [
            "0",
            "-0",
            "-0.0",
            "0.1",
            "1.10",
            "1e2",
            "1E+2",
            "100.00",
            "18446744073709551615",
            "-9223372036854775808",
            "9007199254740993",
            "1.7976931348623157e308",
            "0e99999999999999999999",
            "100000000000000000000",
            r#"{"a\"18446744073709551616": ["18446744073709551616", 0.30, -12.5e-3]}"#,
        ] {
            assert_eq!(inexact(text), None, "{text}");
        }
    }

    #[test]
    fn rounded_numbers_are_named() {
        for number in [
            "18446744073709551616",
            "18446744073709551617",
            "-9223372036854775809",
            "9007199254740993.0",
            "0.12345678901234567891",
            "1e400",
            "1e-400",
            "1e99999999999999999999",
        ] {
            let text = format!(r#"{{"maximum": {number}, "minimum":1}}"#);
            assert_eq!(inexact(&text).as_deref(), Some(number));
            let text = format!("a: '{{'\nmaximum: {number} # it's\nlist: [1, 0.1]\n");
            assert_eq!(inexact_yaml(&text).as_deref(), Some(number));
        }
        assert_eq!(inexact_yaml("const: -.Inf\n").as_deref(), Some("-.Inf"));
        assert_eq!(inexact_yaml("- const: 0.10\n- 1e2\n- +5\n- .5\n"), None);
    }

    #[test]
    fn rounded_numbers_of_annotations_do_not_matter() {
        let far = "18446744073709551616";
        for fine in [
            format!(r#"{{"default": {far}, "type": "integer"}}"#),
            format!(r#"{{"properties": {{"default": {{"examples": [{far}]}}}}}}"#),
            format!(r#"{{"allOf": [{{"x-limit": {far}}}]}}"#),
        ] {
            assert_eq!(inexact_schema(&fine), None, "{fine}");
        }
        for wrong in [
            format!(r#"{{"properties": {{"default": {{"maximum": {far}}}}}}}"#),
            format!(r#"{{"properties": {{"x-a": {{"const": {far}}}}}}}"#),
            format!(r##"{{"$ref": "#/x-a", "x-a": {{"const": {far}}}}}"##),
            format!(r#"{{"enum": [{{"default": {far}}}]}}"#),
        ] {
            assert_eq!(inexact_schema(&wrong).as_deref(), Some(far), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_exact_is_read_as_it_is_written(text in "-?(0|[1-9][0-9]{0,21})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?") {
            use std::str::FromStr as _;
            let read: serde_json::Value = serde_json::from_str(&text).unwrap();
            let read = bigdecimal::BigDecimal::from_str(&read.to_string()).unwrap();
            let written = bigdecimal::BigDecimal::from_str(&text).unwrap();
            prop_assert_eq!(inexact(&text).is_none(), read == written);
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,40}|[\"\\\\0-9eE.+ -]{0,30}") {
            let _ = (inexact(&text), inexact_yaml(&text));
        }
    }
}
