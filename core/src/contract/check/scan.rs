//! Reads JSON text value by value, without a tree.
//!
//! Accepts exactly RFC 8259, bounded in depth; what is skipped is judged by form only, what is read as text must be Unicode.

use std::borrow::Cow;

/// Most lists and objects inside each other, as other readers of JSON take them.
pub(super) const DEPTH_MAX: usize = 127;

/// Where and why a text is not JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::contract) struct Malformed {
    /// Byte offset.
    pub(in crate::contract) at: usize,
    /// What is wrong there.
    pub(in crate::contract) what: &'static str,
}

/// What stands next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::contract) enum Next {
    Null,
    Bool,
    Number,
    Text,
    List,
    Object,
}

impl Next {
    /// The word for it in messages.
    pub(in crate::contract) fn name(self) -> &'static str {
        match self {
            Next::Null => "null",
            Next::Bool => "bool",
            Next::Number => "number",
            Next::Text => "text",
            Next::List => "list",
            Next::Object => "object",
        }
    }
}

type Read<T> = Result<T, Malformed>;

/// A place in a JSON text.
#[derive(Clone, Debug)]
pub(in crate::contract) struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

/// The bytes that end the plain part of a text: a quote, a backslash, a control character.
const SPECIAL: [bool; 256] = {
    let mut special = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        special[byte] = true;
        byte += 1;
    }
    special[b'"' as usize] = true;
    special[b'\\' as usize] = true;
    special
};

impl<'a> Scanner<'a> {
    pub(in crate::contract) fn new(text: &'a str) -> Self {
        Scanner { text, at: 0 }
    }

    /// The offset of the next value, white space left out.
    #[inline]
    pub(in crate::contract) fn start(&mut self) -> usize {
        self.space();
        self.at
    }

    /// The text from an offset to here.
    #[inline]
    pub(in crate::contract) fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    /// What stands next, which is not yet read.
    #[inline]
    pub(in crate::contract) fn next(&mut self) -> Read<Next> {
        self.space();
        Ok(match self.byte() {
            Some(b'"') => Next::Text,
            Some(b'{') => Next::Object,
            Some(b'[') => Next::List,
            Some(b'n') => Next::Null,
            Some(b't' | b'f') => Next::Bool,
            Some(b'-' | b'0'..=b'9') => Next::Number,
            Some(_) => return Err(self.fail("a value must stand here")),
            None => return Err(self.fail("the text ends where a value must stand")),
        })
    }

    pub(in crate::contract) fn null(&mut self) -> Read<()> {
        self.word("null")
    }

    pub(in crate::contract) fn bool(&mut self) -> Read<bool> {
        self.space();
        if self.byte() == Some(b't') {
            self.word("true").map(|()| true)
        } else {
            self.word("false").map(|()| false)
        }
    }

    /// A number as it is written.
    pub(in crate::contract) fn number(&mut self) -> Read<&'a str> {
        self.space();
        let start = self.at;
        if self.byte() == Some(b'-') {
            self.at += 1;
        }
        match self.byte() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits()?,
            _ => return Err(self.fail("a digit must stand here")),
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.byte(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.byte(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(self.since(start))
    }

    /// A text, its escapes resolved.
    #[inline]
    pub(in crate::contract) fn text(&mut self) -> Read<Cow<'a, str>> {
        self.expect(b'"', "a text must stand here")?;
        let start = self.at;
        self.plain();
        if self.byte() == Some(b'"') {
            let text = self.since(start);
            self.at += 1;
            return Ok(Cow::Borrowed(text));
        }
        let mut out = String::from(self.since(start));
        loop {
            let start = self.at;
            self.plain();
            out.push_str(self.since(start));
            match self.byte() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Cow::Owned(out));
                }
                Some(b'\\') => out.push(self.escape()?),
                Some(_) => return Err(self.fail("a control character must be escaped")),
                None => return Err(self.fail("the text ends inside quotes")),
            }
        }
    }

    /// Goes past one value of any kind; `depth` says how many lists and objects it stands in.
    pub(in crate::contract) fn skip(&mut self, depth: usize) -> Read<()> {
        match self.next()? {
            Next::Null => self.null(),
            Next::Bool => self.bool().map(drop),
            Next::Number => self.number().map(drop),
            Next::Text => self.skip_text(),
            Next::List => {
                let mut first = self.enter(depth)?;
                while self.item(&mut first)? {
                    self.skip(depth + 1)?;
                }
                Ok(())
            }
            Next::Object => {
                let mut first = self.enter(depth)?;
                while self.another(&mut first, b'}')? {
                    self.skip_text()?;
                    self.expect(b':', "`:` must stand here")?;
                    self.skip(depth + 1)?;
                }
                Ok(())
            }
        }
    }

    /// Goes into the list or object that stands next.
    #[inline]
    pub(in crate::contract) fn enter(&mut self, depth: usize) -> Read<bool> {
        if depth >= DEPTH_MAX {
            return Err(self.fail("too many lists and objects stand inside each other"));
        }
        self.space();
        self.at += 1;
        Ok(true)
    }

    /// Whether another item of a list follows; the list is left where none does.
    #[inline]
    pub(in crate::contract) fn item(&mut self, first: &mut bool) -> Read<bool> {
        self.another(first, b']')
    }

    /// The name of an object's next member; the object is left where there is none.
    #[inline]
    pub(in crate::contract) fn member(&mut self, first: &mut bool) -> Read<Option<Cow<'a, str>>> {
        if !self.another(first, b'}')? {
            return Ok(None);
        }
        let name = self.text()?;
        self.expect(b':', "`:` must stand here")?;
        Ok(Some(name))
    }

    /// Makes sure that nothing follows.
    pub(in crate::contract) fn end(&mut self) -> Read<()> {
        self.space();
        match self.byte() {
            None => Ok(()),
            Some(_) => Err(self.fail("nothing may follow the value")),
        }
    }

    #[inline]
    fn another(&mut self, first: &mut bool, end: u8) -> Read<bool> {
        self.space();
        let next = self.byte();
        if next == Some(end) {
            self.at += 1;
            return Ok(false);
        }
        if std::mem::take(first) {
            return Ok(true);
        }
        if next != Some(b',') {
            return Err(self.fail("`,` or the end must stand here"));
        }
        self.at += 1;
        self.space();
        if self.byte() == Some(end) {
            return Err(self.fail("something must follow the comma"));
        }
        Ok(true)
    }

    fn skip_text(&mut self) -> Read<()> {
        self.expect(b'"', "a text must stand here")?;
        loop {
            self.plain();
            match self.byte() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => {
                    self.at += 1;
                    match self.byte() {
                        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                            self.at += 1;
                        }
                        Some(b'u') => {
                            self.at += 1;
                            self.hex()?;
                        }
                        _ => return Err(self.fail("there is no such escape")),
                    }
                }
                Some(_) => return Err(self.fail("a control character must be escaped")),
                None => return Err(self.fail("the text ends inside quotes")),
            }
        }
    }

    fn escape(&mut self) -> Read<char> {
        self.at += 1;
        let byte = self.byte();
        self.at += 1;
        Ok(match byte {
            Some(c @ (b'"' | b'\\' | b'/')) => char::from(c),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let unit = self.hex()?;
                let code = match unit {
                    0xd800..=0xdbff => {
                        if !self.text[self.at..].starts_with("\\u") {
                            return Err(self.fail("half a character stands alone"));
                        }
                        self.at += 2;
                        let low = self.hex()?;
                        if !(0xdc00..=0xdfff).contains(&low) {
                            return Err(self.fail("half a character stands alone"));
                        }
                        0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00)
                    }
                    unit => unit,
                };
                char::from_u32(code).ok_or_else(|| self.fail("half a character stands alone"))?
            }
            _ => {
                self.at -= 1;
                return Err(self.fail("there is no such escape"));
            }
        })
    }

    fn hex(&mut self) -> Read<u32> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4);
        let mut unit = 0;
        for digit in digits.unwrap_or(b"-") {
            let digit = char::from(*digit).to_digit(16);
            unit = unit * 16 + digit.ok_or_else(|| self.fail("four hex digits must stand here"))?;
        }
        self.at += 4;
        Ok(unit)
    }

    #[inline]
    fn plain(&mut self) {
        let rest = &self.text.as_bytes()[self.at..];
        let end = rest.iter().position(|byte| SPECIAL[usize::from(*byte)]);
        self.at += end.unwrap_or(rest.len());
    }

    fn digits(&mut self) -> Read<()> {
        let start = self.at;
        while matches!(self.byte(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start {
            return Err(self.fail("a digit must stand here"));
        }
        Ok(())
    }

    fn word(&mut self, word: &'static str) -> Read<()> {
        self.space();
        if self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            Ok(())
        } else {
            Err(self.fail("a value must stand here"))
        }
    }

    #[inline]
    fn expect(&mut self, byte: u8, what: &'static str) -> Read<()> {
        self.space();
        if self.byte() == Some(byte) {
            self.at += 1;
            Ok(())
        } else {
            Err(self.fail(what))
        }
    }

    #[inline]
    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    #[inline]
    fn space(&mut self) {
        while matches!(self.byte(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn fail(&self, what: &'static str) -> Malformed {
        Malformed { at: self.at, what }
    }
}

/// One form for all texts of one JSON value: members by name, numbers by value; `None` where the text is not JSON.
pub(in crate::contract) fn canonical(json: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(json).ok()?;
    let mut out = String::with_capacity(json.len());
    write(&value, &mut out);
    Some(out)
}

fn write(value: &serde_json::Value, out: &mut String) {
    use serde_json::Value as Json;
    match value {
        Json::Number(number) => write_number(number, out),
        Json::Array(items) => {
            out.push('[');
            for item in items {
                write(item, out);
                out.push(',');
            }
            out.push(']');
        }
        Json::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(name, _)| name.as_str());
            out.push('{');
            for (name, value) in members {
                out.push_str(&Json::from(name.as_str()).to_string());
                out.push(':');
                write(value, out);
                out.push(',');
            }
            out.push('}');
        }
        plain => out.push_str(&plain.to_string()),
    }
}

fn write_number(number: &serde_json::Number, out: &mut String) {
    let text = match (number.as_i64(), number.as_u64(), number.as_f64()) {
        (Some(whole), _, _) => whole.to_string(),
        (_, Some(whole), _) => whole.to_string(),
        // A whole double is printed with all its digits, so that it equals the integer.
        (_, _, Some(double)) if double.fract() == 0.0 => format!("{:.0}", double + 0.0),
        (_, _, Some(double)) => double.to_string(),
        _ => number.to_string(),
    };
    out.push_str(if text == "-0" { "0" } else { &text });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn accepts(text: &str) -> bool {
        let mut scan = Scanner::new(text);
        scan.skip(0).and_then(|()| scan.end()).is_ok()
    }

    #[test]
    fn equal_values_have_one_form() {
        let same = |a: &str, b: &str| canonical(a) == canonical(b);
        assert!(same("1", "1.0") && same("-0.0", "0") && same("1e2", "100"));
        assert!(same(r#"{"a": 1, "b": [2]}"#, r#"{"b":[2.0],"a":1.0}"#));
        assert!(!same("1", "\"1\"") && !same("[1,2]", "[2,1]") && !same("{}", "[]"));
        assert!(!same("1.5", "1.25") && same("18446744073709551615", "18446744073709551615"));
    }

    #[test]
    fn depth_is_bounded_as_elsewhere() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        for depth in [1, 126, 127, 128, 129, 100_000] {
            let theirs = serde_json::from_str::<serde_json::Value>(&nested(depth)).is_ok();
            assert_eq!(accepts(&nested(depth)), theirs, "{depth}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn json_is_what_others_take_for_json(
            text in "[\\[\\]{},:\"\\\\0-9.eE+\\-tfnrualse dbD/\n\u{1}]{0,14}|(\"[a\\\\u0-9dDcCbn/é\"]{0,9}\")"
        ) {
            let raw = serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok();
            prop_assert_eq!(accepts(&text), raw, "{}", text);
            let mut scan = Scanner::new(&text);
            if let Ok(ours) = scan.text()
                && scan.end().is_ok()
            {
                prop_assert_eq!(serde_json::from_str::<String>(&text).ok(), Some(ours.into_owned()));
            } else {
                prop_assert!(serde_json::from_str::<String>(&text).is_err());
            }
        }
    }
}
