//! What stands in data, field by field: the start of a contract.
//!
//! Takes records one by one, as JSON text or as typed rows, and keeps a summary of bounded size whatever comes: counts, bounds, guesses of types, a sample of values.
//! Knows no files and no systems; whoever has records hands them over.
//! Values are kept only of fields that may be seen: [`Profiler::hide`] names those that may not.
//! Names are values too where they are the keys of a map: those of a hidden field, and of objects with names beyond counting, stand together as `*`.

mod column;
mod distinct;
mod guess;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use super::check::scan::{Malformed, Next, Scanner};
use crate::diagnostic::a;
use crate::shape::{Row, Shape};
use crate::value::{Cell, Type, Value};

pub use column::{Common, Lengths, Shown};
pub use guess::{Guess, Guessed};

use column::Column;
use guess::Forms;

/// Most fields that are told apart; further names are counted as one.
pub const FIELDS_MAX: usize = 2_000;
/// Deepest part of a document that is profiled on its own.
pub const NESTED_MAX: usize = 8;
/// Most names that the members of one object inside a record have; an object with more is a map.
pub const NAMES_MAX: usize = 64;
/// What stands for the names of a map's entries.
const ANY: &str = "*";

/// Summarises records.
#[derive(Debug, Default)]
pub struct Profiler {
    records: u64,
    columns: Vec<Column>,
    by_path: HashMap<String, usize>,
    hidden: Vec<String>,
    /// The only fields that are not hidden, where that is limited.
    shown: Option<Vec<String>>,
    /// Whether no value is shown at all.
    veiled: bool,
    /// The objects whose names are values.
    maps: HashSet<String>,
    /// How many names the members of each object had.
    names: HashMap<String, usize>,
    unnamed: u64,
    forms: Arc<Forms>,
}

/// What stands in data.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Profile {
    /// Records seen.
    pub records: u64,
    /// Every field, in the order of first appearance; the parts of documents stand under their ways, such as `address.street`, `tags[]` and `prices.*` for all entries of a map.
    pub fields: Vec<FieldProfile>,
    /// Fields that tell records apart as far as this data goes, the likeliest key first.
    pub keys: Vec<String>,
    /// Values under names beyond the limit of fields that are told apart.
    pub left_out: u64,
}

/// What stands in one field.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct FieldProfile {
    /// The way to it, such as `address.street` or `tags[]`; a name of the first level that is empty or holds `.`, `[`, `]`, `*` or `"` stands in quotes.
    pub path: String,
    /// The likeliest type.
    pub guess: Guessed,
    /// How many values are there, nulls included.
    pub present: u64,
    /// How many records, or surrounding documents, lack it.
    pub absent: u64,
    /// How many are null, or empty where the data has no other null.
    pub nulls: u64,
    /// How many different values there are, about.
    pub distinct: u64,
    /// Whether `distinct` is exact.
    pub distinct_is_exact: bool,
    /// Whether no value stands twice, as far as can be told.
    pub unique: bool,
    /// The least value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum: Option<Shown>,
    /// The greatest value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maximum: Option<Shown>,
    /// Lengths of texts, or of lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lengths: Option<Lengths>,
    /// The commonest values, where few stand for many.
    pub common: Vec<Common>,
    /// Whether values are kept out of this profile.
    pub hidden: bool,
}

/// The last step of a way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// To the member of this name.
    Member(String),
    /// To the items of a list.
    Items,
    /// To all entries of a map.
    Entries,
}

impl Profiler {
    /// A profiler that has seen nothing.
    #[must_use]
    pub fn new() -> Profiler {
        Profiler::default()
    }

    /// Keeps the values of these fields, and values and names of all that stands inside them, out of the profile.
    #[must_use]
    pub fn hide(mut self, fields: impl IntoIterator<Item = String>) -> Profiler {
        self.hidden.extend(fields);
        self
    }

    /// Keeps the values of all but these fields, and values and names of what stands inside the others, out of the profile.
    #[must_use]
    pub fn hide_others(mut self, fields: Vec<String>) -> Profiler {
        self.shown = Some(fields);
        self
    }

    /// Keeps every value out of the profile; the names of members are shown.
    #[must_use]
    pub fn hide_values(mut self) -> Profiler {
        self.veiled = true;
        self
    }

    /// Takes the objects at these ways for maps: their entries stand together as `*`.
    #[must_use]
    pub fn maps(mut self, ways: impl IntoIterator<Item = String>) -> Profiler {
        self.maps.extend(ways);
        self
    }

    /// Takes one record as the text of a JSON object.
    ///
    /// # Errors
    /// The text is no JSON object; says where and why. It does not count then.
    pub fn json(&mut self, text: &str) -> Result<(), String> {
        let told = |malformed: Malformed| format!("byte {}: {}", malformed.at, malformed.what);
        let mut scan = Scanner::new(text);
        match scan.next().map_err(told)? {
            Next::Object => {}
            other => return Err(format!("{} stands where a record belongs", a(other.name()))),
        }
        // A look at the whole first, so that half a record does not count.
        let mut ahead = scan.clone();
        let read = ahead.skip(0).and_then(|()| ahead.end());
        read.map_err(told)?;
        self.records += 1;
        self.object(&mut scan, "", 0).map_err(told)
    }

    /// Takes one row of a system.
    pub fn row(&mut self, shape: &Shape, row: &Row) {
        self.records += 1;
        for (at, column) in shape.columns.iter().enumerate() {
            let Cell::Set(value) = row.cell(at) else {
                continue;
            };
            let way = way(&column.name);
            match value {
                Value::Json(text) => {
                    let mut scan = Scanner::new(text);
                    if self.value(&mut scan, &way, 0).is_err()
                        && let Some(column) = self.column(&way)
                    {
                        column.typed(&Value::Json(text.clone()), Type::Json);
                    }
                }
                value => {
                    let kind = column.kind;
                    let forms = Arc::clone(&self.forms);
                    if let Some(column) = self.column(&way) {
                        match kind {
                            Some(kind) => column.typed(value, kind),
                            None => column.untyped(value, &forms),
                        }
                    }
                }
            }
        }
    }

    /// Takes one record of texts under their names, as tables in text files have them; empty texts are nulls.
    pub fn texts<'t>(&mut self, record: impl IntoIterator<Item = (&'t str, &'t str)>) {
        self.records += 1;
        let forms = Arc::clone(&self.forms);
        for (name, text) in record {
            if let Some(column) = self.column(&way(name)) {
                column.written(text, &forms);
            }
        }
    }

    /// The summary of what was taken.
    #[must_use]
    pub fn finish(self) -> Profile {
        let parents: HashMap<&str, u64> = self
            .columns
            .iter()
            .map(|column| (column.path.as_str(), column.objects))
            .collect();
        let around = |path: &str| match split(path) {
            (Some(parent), _) => parents.get(parent).copied().unwrap_or(self.records),
            (None, _) => self.records,
        };
        let fields: Vec<FieldProfile> = self
            .columns
            .iter()
            .map(|column| column.profile(around(&column.path)))
            .collect();
        let mut keys: Vec<&FieldProfile> = fields
            .iter()
            .filter(|field| field.can_be_key(self.records))
            .collect();
        keys.sort_by_key(|field| field.key_rank());
        Profile {
            records: self.records,
            keys: keys.into_iter().map(|field| field.path.clone()).collect(),
            fields,
            left_out: self.unnamed,
        }
    }

    fn object(
        &mut self,
        scan: &mut Scanner<'_>,
        path: &str,
        depth: usize,
    ) -> Result<(), Malformed> {
        let mut first = scan.enter(depth)?;
        while let Some(name) = scan.member(&mut first)? {
            let way = match path {
                "" => way(&name).into_owned(),
                path => self.member(path, &name),
            };
            self.value(scan, &way, depth + 1)?;
        }
        Ok(())
    }

    /// The way to a member of an object inside a record; one and the same for all entries of a map.
    fn member(&mut self, path: &str, name: &str) -> String {
        let any = || format!("{path}.{ANY}");
        if self.maps.contains(path) || self.hides(path) {
            return any();
        }
        let way = format!("{path}.{name}");
        if self.by_path.contains_key(&way) {
            return way;
        }
        let names = self.names.entry(path.to_owned()).or_default();
        *names += 1;
        if *names > NAMES_MAX || !is_a_name(name) {
            self.gather(path);
            return any();
        }
        way
    }

    /// Puts what is known of an object's members together, because it proved to be a map.
    fn gather(&mut self, path: &str) {
        let inside = format!("{path}.");
        let gathered = |way: &str| {
            let rest = way.strip_prefix(&inside)?;
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            Some(format!("{inside}{ANY}{}", &rest[end..]))
        };
        self.by_path.clear();
        for mut column in std::mem::take(&mut self.columns) {
            if let Some(way) = gathered(&column.path) {
                column.path = way;
            }
            match self.by_path.get(&column.path) {
                Some(at) => self.columns[*at].absorb(column),
                None => {
                    let at = self.columns.len();
                    self.by_path.insert(column.path.clone(), at);
                    self.columns.push(column);
                }
            }
        }
        let maps: Vec<String> = self.maps.iter().filter_map(|way| gathered(way)).collect();
        self.maps.extend(maps);
        self.maps.insert(path.to_owned());
    }

    /// Whether a way leads to a hidden field or into it.
    fn hides(&self, path: &str) -> bool {
        let into = |fields: &[String]| fields.iter().any(|field| stands_in(path, field));
        into(&self.hidden) || self.shown.as_deref().is_some_and(|shown| !into(shown))
    }

    fn value(&mut self, scan: &mut Scanner<'_>, path: &str, depth: usize) -> Result<(), Malformed> {
        let next = scan.next()?;
        // Below the entries of a hidden map nothing is told apart.
        let sealed = path.ends_with(".*") && self.hides(path);
        let nested = depth < NESTED_MAX && !sealed;
        match next {
            Next::Object if nested => {
                if let Some(column) = self.column(path) {
                    column.object();
                }
                self.object(scan, path, depth)
            }
            Next::List if nested => {
                let items = format!("{path}[]");
                let mut first = scan.enter(depth)?;
                let mut count = 0;
                while scan.item(&mut first)? {
                    self.value(scan, &items, depth + 1)?;
                    count += 1;
                }
                if let Some(column) = self.column(path) {
                    column.list(count);
                }
                Ok(())
            }
            _ => {
                let forms = Arc::clone(&self.forms);
                let Some(column) = self.column(path) else {
                    return scan.skip(depth);
                };
                match next {
                    Next::Null => scan.null().map(|()| column.null()),
                    Next::Bool => scan.bool().map(|flag| column.bool(flag)),
                    Next::Number => scan.number().map(|text| column.number(text)),
                    Next::Text => scan.text().map(|text| column.text(&text, &forms)),
                    Next::Object | Next::List => scan.skip(depth).map(|()| column.document()),
                }
            }
        }
    }

    /// The column of a way; `None` where there are too many already.
    fn column(&mut self, path: &str) -> Option<&mut Column> {
        let at = match self.by_path.get(path) {
            Some(at) => *at,
            None if self.columns.len() < FIELDS_MAX => {
                let hidden = self.veiled || self.hides(path);
                self.columns.push(Column::new(path, hidden));
                self.by_path.insert(path.to_owned(), self.columns.len() - 1);
                self.columns.len() - 1
            }
            None => {
                self.unnamed += 1;
                return None;
            }
        };
        self.columns.get_mut(at)
    }
}

impl FieldProfile {
    /// The way to what the field stands in, `None` at the first level; and the step from there.
    #[must_use]
    pub fn step(&self) -> (Option<&str>, Step) {
        split(&self.path)
    }

    /// The share of what is there that is null, from 0 to 1.
    #[must_use]
    pub fn null_share(&self) -> f64 {
        share(self.nulls, self.present)
    }

    /// The share of records, or surrounding documents, that lack the field.
    #[must_use]
    pub fn absent_share(&self) -> f64 {
        share(self.absent, self.absent + self.present)
    }

    fn can_be_key(&self, records: u64) -> bool {
        let simple = !matches!(
            self.guess.kind,
            Guess::Object | Guess::List | Guess::Json | Guess::Float | Guess::Bool | Guess::Nothing
        );
        let top = self.step().0.is_none();
        top && simple && records > 0 && self.unique && self.present == records && self.nulls == 0
    }

    /// What looks like a key by its name and type comes first.
    fn key_rank(&self) -> (u8, u8) {
        let name = self.path.to_lowercase();
        let named = match () {
            () if name == "id" => 0,
            () if name.ends_with("_id") || name.ends_with("id") => 1,
            () if ["key", "code", "number", "no", "nr", "uuid"]
                .iter()
                .any(|end| name.ends_with(end)) =>
            {
                2
            }
            () => 3,
        };
        let typed = match self.guess.kind {
            Guess::Int | Guess::Uuid => 0,
            Guess::Text => 1,
            _ => 2,
        };
        (named, typed)
    }
}

/// The way to a field of the first level: its name, in quotes where it could be taken for a longer way.
fn way(name: &str) -> Cow<'_, str> {
    if name.is_empty() || name.contains(['.', '[', ']', '*', '"']) {
        Cow::Owned(serde_json::Value::from(name).to_string())
    } else {
        Cow::Borrowed(name)
    }
}

/// Takes the last step off a way.
fn split(path: &str) -> (Option<&str>, Step) {
    let head = match path.strip_prefix('"') {
        Some(_) => quoted(path),
        None => path.find(['.', '[']).unwrap_or(path.len()),
    };
    let rest = &path[head..];
    if rest.is_empty() {
        let unquoted = path
            .starts_with('"')
            .then(|| serde_json::from_str(path).ok());
        let name = unquoted.flatten().unwrap_or_else(|| path.to_owned());
        return (None, Step::Member(name));
    }
    if let Some(parent) = path.strip_suffix("[]") {
        return (Some(parent), Step::Items);
    }
    let dot = head + rest.rfind('.').unwrap_or(0);
    let step = match path.get(dot + 1..).unwrap_or_default() {
        ANY => Step::Entries,
        name => Step::Member(name.to_owned()),
    };
    (Some(&path[..dot]), step)
}

/// The length of a text in quotes, quotes included.
fn quoted(text: &str) -> usize {
    let mut escaped = true;
    for (at, c) in text.char_indices() {
        match c {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

/// Whether a way leads to a field or into it.
fn stands_in(path: &str, field: &str) -> bool {
    path.strip_prefix(field)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// Whether a member's name may be one of a field: an address or a sentence is a key of a map, and would make ways ambiguous.
fn is_a_name(name: &str) -> bool {
    let odd = |c: char| c.is_control() || c.is_whitespace() || ".[]*@".contains(c);
    name.chars().count() <= 100
        && !name.contains(odd)
        && !name.bytes().all(|byte| byte.is_ascii_digit())
}

fn share(part: u64, of: u64) -> f64 {
    if of == 0 {
        return 0.0;
    }
    part as f64 / of as f64
}

#[cfg(test)]
mod tests;
