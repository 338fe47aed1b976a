//! SOQL, as far as Lockstep asks it: one object, its fields, conditions, an order and a limit.

use std::cmp::Ordering;

use serde_json::Value as Json;

use super::store::{Field, Object, Record, full, value};

/// How deep conditions may stand in each other.
const DEPTH_MAX: usize = 20;

/// Why a query is refused: a code, and words.
pub(super) type Refused = (&'static str, String);

#[derive(Clone, Debug, PartialEq)]
enum Word {
    Name(String),
    Text(String),
    Sign(&'static str),
    End,
}

#[derive(Debug)]
enum Condition {
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Compare(String, &'static str, Literal),
    In(String, Vec<Literal>),
}

#[derive(Clone, Debug)]
enum Literal {
    Null,
    Text(String),
    /// A number, a truth value, a day or an instant, as it is written.
    Plain(String),
}

/// A query that was understood.
#[derive(Debug)]
pub(super) struct Query {
    pub(super) object: String,
    pub(super) fields: Vec<String>,
    condition: Option<Condition>,
    order: Vec<(String, bool)>,
    limit: usize,
}

struct Parser {
    words: Vec<Word>,
    at: usize,
}

pub(super) fn parse(text: &str) -> Result<Query, Refused> {
    if text.chars().count() > 100_000 {
        return Err(("QUERY_TOO_COMPLICATED", "the query is too long".to_owned()));
    }
    let mut parser = Parser {
        words: words(text)?,
        at: 0,
    };
    parser.keyword("SELECT")?;
    let mut fields = vec![parser.name()?];
    while parser.sign(",") {
        fields.push(parser.name()?);
    }
    parser.keyword("FROM")?;
    let object = parser.name()?;
    let condition = match parser.is_keyword("WHERE") {
        true => Some(parser.condition(0)?),
        false => None,
    };
    let mut order = Vec::new();
    if parser.is_keyword("ORDER") {
        parser.keyword("BY")?;
        loop {
            let name = parser.name()?;
            let is_down = parser.is_keyword("DESC");
            if !is_down {
                parser.is_keyword("ASC");
            }
            order.push((name, is_down));
            if !parser.sign(",") {
                break;
            }
        }
    }
    let mut limit = usize::MAX;
    if parser.is_keyword("LIMIT") {
        let number = parser.name()?;
        limit = number
            .parse()
            .map_err(|_| malformed("a limit is no number"))?;
    }
    match parser.next() {
        Word::End => Ok(Query {
            object,
            fields,
            condition,
            order,
            limit,
        }),
        word => Err(malformed(&format!("unexpected token: {word:?}"))),
    }
}

fn malformed(words: &str) -> Refused {
    ("MALFORMED_QUERY", words.to_owned())
}

fn words(text: &str) -> Result<Vec<Word>, Refused> {
    let mut words = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            c if c.is_whitespace() => {}
            '\'' => {
                let mut plain = String::new();
                loop {
                    match chars.next() {
                        None => return Err(malformed("line has no closing quote")),
                        Some('\'') => break,
                        Some('\\') => plain.push(escaped(&mut chars)?),
                        Some('\n' | '\r') => return Err(malformed("a line ends in a string")),
                        Some(c) => plain.push(c),
                    }
                }
                words.push(Word::Text(plain));
            }
            ',' => words.push(Word::Sign(",")),
            '(' => words.push(Word::Sign("(")),
            ')' => words.push(Word::Sign(")")),
            '=' => words.push(Word::Sign("=")),
            '!' if chars.next_if_eq(&'=').is_some() => words.push(Word::Sign("!=")),
            '<' if chars.next_if_eq(&'=').is_some() => words.push(Word::Sign("<=")),
            '>' if chars.next_if_eq(&'=').is_some() => words.push(Word::Sign(">=")),
            '<' => words.push(Word::Sign("<")),
            '>' => words.push(Word::Sign(">")),
            c if c.is_alphanumeric() || "_-+".contains(c) => {
                let mut name = c.to_string();
                while let Some(c) = chars.next_if(|c| c.is_alphanumeric() || "_-+.:".contains(*c)) {
                    name.push(c);
                }
                words.push(Word::Name(name));
            }
            c => return Err(malformed(&format!("unexpected character `{c}`"))),
        }
    }
    words.push(Word::End);
    Ok(words)
}

fn escaped(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<char, Refused> {
    Ok(match chars.next() {
        Some('n' | 'N') => '\n',
        Some('r' | 'R') => '\r',
        Some('t' | 'T') => '\t',
        Some('b' | 'B') => '\u{8}',
        Some('f' | 'F') => '\u{c}',
        Some(c @ ('\'' | '"' | '\\')) => c,
        Some('u') => {
            let digits: String = chars.by_ref().take(4).collect();
            let code = u32::from_str_radix(&digits, 16)
                .ok()
                .and_then(char::from_u32);
            code.ok_or_else(|| malformed("invalid unicode escape"))?
        }
        _ => return Err(malformed("Illegal Identifier: invalid string literal")),
    })
}

impl Parser {
    fn next(&mut self) -> Word {
        let word = self.words.get(self.at).cloned().unwrap_or(Word::End);
        self.at += 1;
        word
    }

    fn is(&mut self, fits: impl Fn(&Word) -> bool) -> bool {
        let fits = self.words.get(self.at).is_some_and(fits);
        self.at += usize::from(fits);
        fits
    }

    fn sign(&mut self, sign: &'static str) -> bool {
        self.is(|word| *word == Word::Sign(sign))
    }

    fn is_keyword(&mut self, keyword: &str) -> bool {
        self.is(|word| matches!(word, Word::Name(name) if name.eq_ignore_ascii_case(keyword)))
    }

    fn keyword(&mut self, keyword: &str) -> Result<(), Refused> {
        match self.is_keyword(keyword) {
            true => Ok(()),
            false => Err(malformed(&format!("expecting `{keyword}`"))),
        }
    }

    fn name(&mut self) -> Result<String, Refused> {
        match self.next() {
            Word::Name(name) => Ok(name),
            word => Err(malformed(&format!("unexpected token: {word:?}"))),
        }
    }

    /// Parts joined by `AND` or by `OR`, never by both.
    fn condition(&mut self, depth: usize) -> Result<Condition, Refused> {
        if depth > DEPTH_MAX {
            return Err(malformed("conditions nest too deep"));
        }
        let mut parts = vec![self.part(depth)?];
        let mut with = None;
        loop {
            let is_and = self.is_keyword("AND");
            if !is_and && !self.is_keyword("OR") {
                break;
            }
            if with.replace(is_and).is_some_and(|before| before != is_and) {
                return Err(malformed("unexpected token: AND and OR need parentheses"));
            }
            parts.push(self.part(depth)?);
        }
        Ok(match with {
            Some(false) => Condition::Any(parts),
            _ => Condition::All(parts),
        })
    }

    fn part(&mut self, depth: usize) -> Result<Condition, Refused> {
        if self.sign("(") {
            let inner = self.condition(depth + 1)?;
            return match self.sign(")") {
                true => Ok(inner),
                false => Err(malformed("expecting a right parentheses")),
            };
        }
        let name = self.name()?;
        if self.is_keyword("IN") {
            let mut all = Vec::new();
            if !self.sign("(") {
                return Err(malformed("expecting a list"));
            }
            loop {
                all.push(self.literal()?);
                if !self.sign(",") {
                    break;
                }
            }
            return match self.sign(")") {
                true => Ok(Condition::In(name, all)),
                false => Err(malformed("expecting a right parentheses")),
            };
        }
        match self.next() {
            Word::Sign(sign) if !["(", ")", ","].contains(&sign) => {
                Ok(Condition::Compare(name, sign, self.literal()?))
            }
            word => Err(malformed(&format!("unexpected token: {word:?}"))),
        }
    }

    fn literal(&mut self) -> Result<Literal, Refused> {
        Ok(match self.next() {
            Word::Text(text) => Literal::Text(text),
            Word::Name(name) if name.eq_ignore_ascii_case("null") => Literal::Null,
            Word::Name(name) => Literal::Plain(name),
            word => return Err(malformed(&format!("unexpected token: {word:?}"))),
        })
    }
}

impl Query {
    /// The records that it finds, in their order.
    pub(super) fn find<'o>(
        &self,
        object: &'o Object,
        all: bool,
    ) -> Result<Vec<&'o Record>, Refused> {
        for name in self
            .fields
            .iter()
            .chain(self.order.iter().map(|(name, _)| name))
        {
            self.field(object, name)?;
        }
        let mut found = Vec::new();
        for record in object.records.values() {
            let is_wanted = match &self.condition {
                Some(condition) => self.holds(condition, object, record)?,
                None => true,
            };
            if is_wanted && (all || !record.is_deleted) {
                found.push(record);
            }
        }
        if let Some(condition) = &self.condition
            && object.records.is_empty()
        {
            self.judge(condition, object)?;
        }
        found.sort_by(|a, b| {
            let sides = self.order.iter().filter_map(|(name, is_down)| {
                let field = object.field(name)?;
                let side = order(&value(a, field), &value(b, field), field);
                Some(if *is_down { side.reverse() } else { side })
            });
            sides
                .into_iter()
                .find(|side| *side != Ordering::Equal)
                .unwrap_or(Ordering::Equal)
        });
        found.truncate(self.limit);
        Ok(found)
    }

    fn field<'o>(&self, object: &'o Object, name: &str) -> Result<&'o Field, Refused> {
        object.field(name).ok_or_else(|| {
            let words = format!(
                "\nSELECT … FROM {}\n ^\nERROR at Row:1:Column:8\nNo such column '{name}' on entity '{}'. If you are attempting to use a custom field, be sure to append the '__c' after the custom field name.",
                self.object, self.object
            );
            ("INVALID_FIELD", words)
        })
    }

    /// Whether a condition can be asked at all.
    fn judge(&self, condition: &Condition, object: &Object) -> Result<(), Refused> {
        match condition {
            Condition::All(parts) | Condition::Any(parts) => {
                parts.iter().try_for_each(|part| self.judge(part, object))
            }
            Condition::Compare(name, _, literal) => fits(self.field(object, name)?, literal),
            Condition::In(name, literals) => {
                let field = self.field(object, name)?;
                literals.iter().try_for_each(|literal| fits(field, literal))
            }
        }
    }

    fn holds(
        &self,
        condition: &Condition,
        object: &Object,
        record: &Record,
    ) -> Result<bool, Refused> {
        self.judge(condition, object)?;
        Ok(match condition {
            Condition::All(parts) => {
                let mut all = true;
                for part in parts {
                    all &= self.holds(part, object, record)?;
                }
                all
            }
            Condition::Any(parts) => {
                let mut any = false;
                for part in parts {
                    any |= self.holds(part, object, record)?;
                }
                any
            }
            Condition::In(name, literals) => {
                let field = self.field(object, name)?;
                let held = value(record, field);
                literals
                    .iter()
                    .any(|literal| compare(&held, literal, field) == Some(Ordering::Equal))
            }
            Condition::Compare(name, sign, literal) => {
                let field = self.field(object, name)?;
                let held = value(record, field);
                match (*sign, compare(&held, literal, field)) {
                    ("=", side) => side == Some(Ordering::Equal),
                    ("!=", side) => side != Some(Ordering::Equal),
                    (_, None) => false,
                    ("<", Some(side)) => side.is_lt(),
                    ("<=", Some(side)) => side.is_le(),
                    (">", Some(side)) => side.is_gt(),
                    (_, Some(side)) => side.is_ge(),
                }
            }
        })
    }
}

/// Whether a field may be compared with a literal.
fn fits(field: &Field, literal: &Literal) -> Result<(), Refused> {
    if matches!(field.kind.as_str(), "textarea" | "address" | "base64") {
        let words = format!("field '{}' can not be filtered in a query call", field.name);
        return Err(("INVALID_FIELD", words));
    }
    let is_text = matches!(literal, Literal::Text(_));
    let wants_text = !field.is_number()
        && !["boolean", "date", "datetime", "time"].contains(&field.kind.as_str());
    if matches!(literal, Literal::Null) || is_text == wants_text {
        if let (Literal::Text(id), "id" | "reference") = (literal, field.kind.as_str())
            && full(id).is_none()
        {
            return Err((
                "INVALID_QUERY_FILTER_OPERATOR",
                format!("invalid ID field: {id}"),
            ));
        }
        return Ok(());
    }
    let words = format!(
        "value of filter criterion for field '{}' must be of type {} and should{} be enclosed in quotes",
        field.name,
        field.kind,
        if wants_text { "" } else { " not" }
    );
    Err(("INVALID_FIELD", words))
}

/// How a value stands to a literal; none where one of them is null and the other is not.
fn compare(held: &Json, literal: &Literal, field: &Field) -> Option<Ordering> {
    let literal = match literal {
        Literal::Null => return held.is_null().then_some(Ordering::Equal),
        // Nobody keeps empty texts.
        Literal::Text(text) if text.is_empty() => return held.is_null().then_some(Ordering::Equal),
        Literal::Text(text) => match field.kind.as_str() {
            "id" | "reference" => Json::from(full(text)?),
            _ => Json::from(text.clone()),
        },
        Literal::Plain(text) => match field.kind.as_str() {
            "datetime" | "date" | "time" => Json::from(text.clone()),
            _ => serde_json::from_str(text).ok()?,
        },
    };
    (!held.is_null()).then(|| order(held, &literal, field))
}

/// The order of two values: texts without regard to case, unless the field regards it.
fn order(a: &Json, b: &Json, field: &Field) -> Ordering {
    match (a, b) {
        (Json::Number(a), Json::Number(b)) => {
            let (a, b) = (a.as_f64(), b.as_f64());
            a.partial_cmp(&b).unwrap_or(Ordering::Equal)
        }
        (Json::Bool(a), Json::Bool(b)) => a.cmp(b),
        (Json::String(a), Json::String(b)) => match field.kind.as_str() {
            "datetime" => at(a).cmp(&at(b)),
            "id" | "reference" | "date" | "time" => a.cmp(b),
            _ if field.case_sensitive => a.cmp(b),
            _ => a.to_lowercase().cmp(&b.to_lowercase()),
        },
        // Nulls come first.
        (a, b) => b.is_null().cmp(&a.is_null()),
    }
}

fn at(text: &str) -> Option<jiff::Timestamp> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_vendor_does_not_understand_is_refused() {
        for (text, code) in [
            (
                "SELECT Id FROM A WHERE a = 1 AND b = 2 OR c = 3",
                "MALFORMED_QUERY",
            ),
            ("SELECT Id FROM A WHERE a = 'x", "MALFORMED_QUERY"),
            ("SELECT Id FROM A WHERE a = 'x\\y'", "MALFORMED_QUERY"),
            ("SELECT Id FROM A WHERE a = \"x\"", "MALFORMED_QUERY"),
            ("SELECT Id FROM A WHERE a IN ()", "MALFORMED_QUERY"),
            ("SELECT Id FROM A LIMIT x", "MALFORMED_QUERY"),
            ("SELECT Id FROM A; DELETE", "MALFORMED_QUERY"),
        ] {
            assert_eq!(parse(text).unwrap_err().0, code, "{text}");
        }
        let query = parse(
            "select Id, Name from A where (a = 'O\\'x') and (b != null or c in (1, 2)) order by Id desc limit 5",
        );
        let query = query.unwrap();
        assert_eq!((query.fields.len(), query.limit), (2, 5));
        assert_eq!(query.order, [("Id".to_owned(), true)]);
    }
}
