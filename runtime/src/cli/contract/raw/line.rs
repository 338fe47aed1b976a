//! The lines of a file of pairs, each with its number, and what a line says.
//!
//! Every line that is read is passed on, an empty or an endless one too: each has one answer.

use std::collections::HashSet;
use std::fmt;
use std::io::{BufRead, Read as _};

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use tokio::sync::mpsc;

/// Longest line of a file of pairs.
const LINE_BYTES_MAX: u64 = 64 << 20;

/// A line and its number from 1, or what is wrong with it.
pub(super) type Numbered = (u64, Result<String, String>);

/// Passes on the lines of an input until it ends or nobody takes them.
pub(super) fn read(mut input: Box<dyn BufRead + Send>, lines: &mpsc::Sender<Numbered>) {
    for number in 1.. {
        let mut bytes = Vec::new();
        let read = (&mut input)
            .take(LINE_BYTES_MAX)
            .read_until(b'\n', &mut bytes);
        let (line, last) = match read {
            Ok(0) => return,
            Ok(_) if bytes.len() as u64 == LINE_BYTES_MAX && bytes.last() != Some(&b'\n') => {
                let why = format!("it has more than {LINE_BYTES_MAX} bytes");
                (Err(why), input.skip_until(b'\n').is_err())
            }
            Ok(_) => {
                let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned());
                (text, false)
            }
            Err(error) => (Err(format!("it cannot be read: {error}")), true),
        };
        if lines.blocking_send((number, line)).is_err() || last {
            return;
        }
    }
}

/// What a line says; what else stands in it is the asker's business.
#[derive(Debug, Default)]
pub(super) struct Pair {
    pub(super) id: Option<Box<RawValue>>,
    pub(super) old: Option<Box<RawValue>>,
    pub(super) new: Option<Box<RawValue>>,
    /// Why nobody can say what is meant.
    pub(super) fault: Option<String>,
}

impl Pair {
    /// Reads a line.
    ///
    /// # Errors
    /// It is no object, or no JSON.
    pub(super) fn of(line: &str) -> Result<Pair, String> {
        let line = line.trim_start_matches('\u{feff}').trim();
        if line.is_empty() {
            return Err("it is empty".to_owned());
        }
        if !line.starts_with('{') {
            return Err("it is no object".to_owned());
        }
        serde_json::from_str(line).map_err(|error| format!("it is no pair of schemas: {error}"))
    }
}

impl<'de> Deserialize<'de> for Pair {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Pair, D::Error> {
        from.deserialize_map(Members)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Pair;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with `id`, `old` and `new`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pair, A::Error> {
        let mut pair = Pair::default();
        let mut names = HashSet::new();
        let mut twice = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "id" => pair.id = Some(map.next_value()?),
                "old" => pair.old = Some(map.next_value()?),
                "new" => pair.new = Some(map.next_value()?),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            if names.contains(&name) {
                twice.push(name);
            } else {
                names.insert(name);
            }
        }
        // One of two ids is none.
        pair.id = pair.id.filter(|_| !twice.iter().any(|name| name == "id"));
        pair.fault = twice
            .first()
            .map(|name| format!("`{name}` stands twice in it"));
        Ok(pair)
    }
}

/// Any JSON in which no object has a name twice; reading it fails otherwise.
pub(super) struct Distinct;

impl<'de> Deserialize<'de> for Distinct {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Distinct, D::Error> {
        from.deserialize_any(Distinct)
    }
}

impl<'de> Visitor<'de> for Distinct {
    type Value = Distinct;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Distinct, E> {
        Ok(Distinct)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Distinct, E> {
        Ok(Distinct)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Distinct, E> {
        Ok(Distinct)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Distinct, E> {
        Ok(Distinct)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Distinct, E> {
        Ok(Distinct)
    }

    fn visit_str<E>(self, _: &str) -> Result<Distinct, E> {
        Ok(Distinct)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Distinct, A::Error> {
        while items.next_element::<Distinct>()?.is_some() {}
        Ok(Distinct)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Distinct, A::Error> {
        let mut names: HashSet<String> = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            map.next_value::<Distinct>()?;
            if names.contains(&name) {
                let why = format!("`{name}` stands twice in one object");
                return Err(serde::de::Error::custom(why));
            }
            names.insert(name);
        }
        Ok(Distinct)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn distinct(text: &str) -> Result<(), String> {
        let read = serde_json::from_str::<Distinct>(text);
        read.map(drop).map_err(|error| error.to_string())
    }

    #[test]
    fn a_name_that_stands_twice_is_found_wherever_it_is() {
        for text in [
            "{}",
            "[{\"a\": 1}, {\"a\": 1}]",
            "1e3",
            "null",
            "{\"a\": {\"a\": []}}",
        ] {
            assert_eq!(distinct(text), Ok(()), "{text}");
        }
        for text in [
            "{\"a\": 1, \"a\": 1}",
            "[{\"x\": {\"a\": 1, \"\\u0061\": 2}}]",
        ] {
            let why = distinct(text).unwrap_err();
            assert!(why.starts_with("`a` stands twice in one object"), "{why}");
        }
        let pair = Pair::of("{\"id\": 1, \"old\": true, \"new\": true, \"old\": false}").unwrap();
        assert_eq!(pair.fault.as_deref(), Some("`old` stands twice in it"));
        assert_eq!(pair.id.unwrap().get(), "1");
        let pair = Pair::of("{\"id\": 1, \"x\": 0, \"x\": 0, \"id\": 2}").unwrap();
        assert_eq!(pair.fault.as_deref(), Some("`x` stands twice in it"));
        assert!(pair.id.is_none(), "one of two ids is none");
    }

    #[test]
    fn every_line_is_passed_on_with_its_number() {
        let (lines, mut taken) = mpsc::channel(8);
        let text = b"\n{}\r\n\xff\nlast".as_slice();
        read(Box::new(text), &lines);
        drop(lines);
        let mut met = Vec::new();
        while let Some(line) = taken.blocking_recv() {
            met.push(line);
        }
        let ok = |n, text: &str| (n, Ok(text.to_owned()));
        assert_eq!(
            met,
            [
                ok(1, "\n"),
                ok(2, "{}\r\n"),
                (3, Err("it is not UTF-8".to_owned())),
                ok(4, "last")
            ]
        );
    }

    proptest! {
        #[test]
        fn no_line_is_a_reason_to_panic(line in "[\\{\\}\\[\\]\",:a-c0-9 ]{0,60}|\\PC{0,40}") {
            let _ = Pair::of(&line);
            let _ = distinct(&line);
        }
    }
}
