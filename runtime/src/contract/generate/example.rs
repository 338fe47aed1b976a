//! A record that a contract allows, always the same one: for documentation and tests, made of no real data.

use lockstep_core::contract::{Contract, Field, Format, Inner, Limits, wire};
use lockstep_core::value::{Decimal, Type, Value};
use serde_json::{Map, Value as Json, json};

/// Longest text that is made up.
const TEXT_MAX: usize = 200;

/// An example record in its wire form, with every field.
#[must_use]
pub fn record(contract: &Contract) -> Json {
    object(&contract.fields)
}

fn object(fields: &[Field]) -> Json {
    let members: Map<String, Json> = fields
        .iter()
        .map(|field| (field.name.clone(), value(field)))
        .collect();
    members.into()
}

/// A value that a field allows.
#[must_use]
pub fn value(field: &Field) -> Json {
    match &field.inner {
        Some(Inner::Object { fields, .. }) => return object(fields),
        Some(Inner::List { items, least, .. }) => {
            let count = least.unwrap_or(1).clamp(1, 3);
            return (0..count).map(|_| value(items)).collect();
        }
        Some(Inner::Map { values, .. }) => return json!({ "name": value(values) }),
        None => {}
    }
    if let Some(first) = field
        .allowed
        .as_ref()
        .and_then(|allowed| allowed.values.first())
    {
        return wire::to_json(first);
    }
    if let Some(default) = field.default.as_ref().filter(|default| !default.is_null()) {
        return wire::to_json(default);
    }
    wire::to_json(&plain(field))
}

fn plain(field: &Field) -> Value {
    let limits = &field.limits;
    match field.kind {
        Type::Bool => Value::Bool(true),
        Type::Int => Value::Int(integer(limits)),
        Type::Decimal { scale, .. } => Value::Decimal(decimal(limits, scale.unwrap_or(0))),
        Type::Float => match (&limits.minimum, &limits.maximum) {
            (Some(Value::Float(least)), Some(Value::Float(most))) => {
                Value::Float(least + (most - least) / 2.0)
            }
            (Some(Value::Float(least)), None) => Value::Float(least + 1.0),
            (None, Some(Value::Float(most))) => Value::Float(most - 1.0),
            _ => Value::Float(0.5),
        },
        Type::Text => Value::Text(text(field)),
        Type::Bytes => Value::Bytes(vec![7; limits.min_length.unwrap_or(4).min(64) as usize]),
        Type::Date => inside(limits, Value::Date(jiff::civil::date(2024, 5, 17))),
        Type::Time => inside(limits, Value::Time(jiff::civil::time(12, 30, 0, 0))),
        Type::Timestamp => inside(
            limits,
            Value::Timestamp(jiff::Timestamp::from_second(1_715_947_200).unwrap_or_default()),
        ),
        Type::Uuid => Value::Uuid(uuid::Uuid::from_u128(
            0x1b4e_28ba_2fa1_4d2b_883f_0016_d3cc_a427,
        )),
        Type::Json => Value::Json("{}".into()),
    }
}

fn integer(limits: &Limits) -> i64 {
    let number = |bound: &Option<Value>| match bound {
        Some(Value::Int(number)) => Some(*number),
        _ => None,
    };
    let least = number(&limits.minimum).map(|n| n.saturating_add(limits.exclusive_minimum.into()));
    let most = number(&limits.maximum).map(|n| n.saturating_sub(limits.exclusive_maximum.into()));
    let wanted = match number(&limits.multiple_of) {
        Some(step) => {
            let from = least.unwrap_or(step);
            from.saturating_add((step - from.rem_euclid(step)) % step)
        }
        None => 1,
    };
    let wanted = least.map_or(wanted, |least| wanted.max(least));
    most.map_or(wanted, |most| wanted.min(most))
}

/// One step above the least value, or the least itself where there is no room.
fn decimal(limits: &Limits, scale: u32) -> Decimal {
    let units = |bound: &Option<Value>| match bound {
        Some(Value::Decimal(number)) => number.to_units(scale),
        _ => None,
    };
    let least = units(&limits.minimum).map(|n| n.saturating_add(limits.exclusive_minimum.into()));
    let most = units(&limits.maximum).map(|n| n.saturating_sub(limits.exclusive_maximum.into()));
    let one = 10i64.checked_pow(scale).unwrap_or(1);
    let wanted = least.map_or(one, |least| one.max(least));
    Decimal::from_units(most.map_or(wanted, |most| wanted.min(most)), scale)
}

/// The value where it lies within bounds, the bound where not.
fn inside(limits: &Limits, value: Value) -> Value {
    let order = |a: &Value, b: &Value| match (a, b) {
        (Value::Date(a), Value::Date(b)) => a.cmp(b),
        (Value::Time(a), Value::Time(b)) => a.cmp(b),
        (Value::Timestamp(a), Value::Timestamp(b)) => a.cmp(b),
        _ => std::cmp::Ordering::Equal,
    };
    if let Some(least) = &limits.minimum
        && order(&value, least).is_lt()
    {
        return least.clone();
    }
    match &limits.maximum {
        Some(most) if order(&value, most).is_gt() => most.clone(),
        _ => value,
    }
}

fn text(field: &Field) -> String {
    let limits = &field.limits;
    if let Some(pattern) = &limits.pattern {
        return of_pattern(pattern).unwrap_or_default();
    }
    if let Some(format) = limits.format {
        let text = match format {
            Format::Email => "ann@example.com",
            Format::Hostname => "example.com",
            Format::Ipv4 => "192.0.2.1",
            Format::Ipv6 => "2001:db8::1",
            Format::Uri => "https://example.com/",
        };
        return text.to_owned();
    }
    let wanted = if field.name == "id" || field.name.ends_with("_id") {
        format!("{}-1", field.name.trim_end_matches("_id"))
    } else {
        field.name.replace('_', " ")
    };
    let least = limits.min_length.unwrap_or(0).min(TEXT_MAX as u64) as usize;
    let most = limits.max_length.unwrap_or(TEXT_MAX as u64) as usize;
    let mut text: String = wanted.chars().take(most).collect();
    while text.chars().count() < least {
        text.push('x');
    }
    text
}

/// A text that a pattern matches; `None` where the pattern says more than this reads.
fn of_pattern(pattern: &str) -> Option<String> {
    let mut reader = Pattern {
        rest: pattern.chars().collect(),
        at: 0,
        depth: 0,
    };
    let text = reader.alternatives()?;
    (reader.at == reader.rest.len()).then_some(text)
}

/// Reads a pattern and writes the shortest plain text for each part.
struct Pattern {
    rest: Vec<char>,
    at: usize,
    depth: usize,
}

impl Pattern {
    fn peek(&self) -> Option<char> {
        self.rest.get(self.at).copied()
    }

    fn take(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += 1;
        Some(c)
    }

    /// The first alternative; the others are read past.
    fn alternatives(&mut self) -> Option<String> {
        self.depth += 1;
        if self.depth > 16 {
            return None;
        }
        let first = self.sequence()?;
        while self.peek() == Some('|') {
            self.at += 1;
            self.sequence()?;
        }
        self.depth -= 1;
        Some(first)
    }

    fn sequence(&mut self) -> Option<String> {
        let mut text = String::new();
        while let Some(c) = self.peek().filter(|c| *c != '|' && *c != ')') {
            self.at += 1;
            let part = match c {
                '^' | '$' => String::new(),
                '(' => {
                    if self.peek() == Some('?') {
                        self.at += 2;
                    }
                    let inside = self.alternatives()?;
                    (self.take()? == ')').then_some(inside)?
                }
                '[' => self.class()?.to_string(),
                '.' => "a".to_owned(),
                '\\' => escaped(self.take()?)?.to_string(),
                c => c.to_string(),
            };
            let times = self.times()?;
            if text.len() + part.len() * times > TEXT_MAX {
                return None;
            }
            text.push_str(&part.repeat(times));
        }
        Some(text)
    }

    /// How often a part is repeated: at least once where it may be, so that examples show it.
    fn times(&mut self) -> Option<usize> {
        let times = match self.peek() {
            Some('*' | '+' | '?') => {
                self.at += 1;
                1
            }
            Some('{') => {
                self.at += 1;
                let mut inside = String::new();
                loop {
                    match self.take()? {
                        '}' => break,
                        c => inside.push(c),
                    }
                }
                let (least, most) = inside.split_once(',').unwrap_or((&inside, &inside));
                let least: usize = least.parse().ok()?;
                let most: usize = most.parse().unwrap_or(least.max(1));
                least.max(1).min(most)
            }
            _ => return Some(1),
        };
        if self.peek() == Some('?') {
            self.at += 1;
        }
        Some(times)
    }

    /// A character of a class.
    fn class(&mut self) -> Option<char> {
        let negated = self.peek() == Some('^');
        if negated {
            self.at += 1;
        }
        let mut ranges: Vec<(char, char)> = Vec::new();
        loop {
            let c = self.take()?;
            if c == ']' && !ranges.is_empty() {
                break;
            }
            let from = match c {
                '\\' => match self.take()? {
                    'd' => {
                        ranges.push(('0', '9'));
                        continue;
                    }
                    'w' => {
                        ranges.push(('a', 'z'));
                        ranges.push(('0', '9'));
                        continue;
                    }
                    's' => {
                        ranges.push((' ', ' '));
                        continue;
                    }
                    other if other.is_ascii_alphabetic() => return None,
                    other => other,
                },
                c => c,
            };
            let is_range =
                self.peek() == Some('-') && self.rest.get(self.at + 1).is_some_and(|c| *c != ']');
            if is_range {
                self.at += 1;
                let to = self.take().filter(|c| *c != '\\')?;
                ranges.push((from, to));
            } else {
                ranges.push((from, from));
            }
        }
        if negated {
            let free = |c: &char| !ranges.iter().any(|(from, to)| (from..=to).contains(&c));
            return ('a'..='z').chain('0'..='9').chain('A'..='Z').find(free);
        }
        ranges.first().map(|(from, _)| *from)
    }
}

fn escaped(c: char) -> Option<char> {
    Some(match c {
        'd' => '0',
        'w' | 'S' | 'D' => 'a',
        's' => ' ',
        'W' => '-',
        't' => '\t',
        'n' => '\n',
        c if c.is_ascii_alphanumeric() => return None,
        c => c,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_made_for_common_patterns() {
        for (pattern, text) in [
            (r"^[^@\s]+@[^@\s]+\.[^@\s]+$", Some("a@a.a")),
            ("^[A-Z]{2}$", Some("AA")),
            (r"^(?:a|bc)-\d{3,5}x?$", Some("a-000x")),
            ("[", None),
            ("a{", None),
            (r"\p{L}", None),
        ] {
            assert_eq!(of_pattern(pattern).as_deref(), text, "{pattern}");
        }
        assert_eq!(of_pattern(&"(".repeat(5000)), None);
    }
}
