//! The check of JSON text against a field, in one pass and without a tree.
//!
//! Judges the wire form: for every document the verdict is the writer schema's, and a name that stands twice is a fault besides.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use super::fault::{Broken, Fault, Path, Seen, Sink};
use super::field::FieldCheck;
use super::scan::{Malformed, Next, Scanner, canonical};
use crate::contract::{Class, Extra, Field, Inner};
use crate::error::Result;
use crate::value::{Type, Value};

/// Objects with more members are looked up by hash.
const FEW_MEMBERS: usize = 12;

/// What stands inside a document, compiled.
#[derive(Debug)]
pub(super) enum Inside {
    Object(Members),
    List {
        items: Box<FieldCheck>,
        unique: bool,
    },
    Map {
        values: Box<FieldCheck>,
    },
}

/// The members of an object, compiled.
#[derive(Debug)]
pub(super) struct Members {
    pub(super) fields: Vec<FieldCheck>,
    by_name: HashMap<Box<str>, usize>,
    extra: Extra,
}

impl Inside {
    pub(super) fn of(inner: &Inner, class: Class) -> Result<Inside> {
        let boxed = |field: &Field| FieldCheck::within(field, class).map(Box::new);
        Ok(match inner {
            Inner::Object { fields, extra } => Inside::Object(Members::of(fields, *extra, class)?),
            Inner::List { items, unique, .. } => Inside::List {
                items: boxed(items)?,
                unique: *unique,
            },
            Inner::Map { values, .. } => Inside::Map {
                values: boxed(values)?,
            },
        })
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Inside::Object(_) | Inside::Map { .. } => "object",
            Inside::List { .. } => "list",
        }
    }

    /// Whether anything is left out of the document on its way.
    pub(super) fn trims(&self) -> bool {
        let within = |field: &FieldCheck| field.inside.as_ref().is_some_and(Inside::trims);
        match self {
            Inside::Object(members) => {
                members.extra == Extra::Drop || members.fields.iter().any(within)
            }
            Inside::List { items, .. } => within(items),
            Inside::Map { values } => within(values),
        }
    }
}

impl Members {
    pub(super) fn of(fields: &[Field], extra: Extra, class: Class) -> Result<Members> {
        let fields = fields
            .iter()
            .map(|field| FieldCheck::within(field, class))
            .collect::<Result<Vec<_>>>()?;
        let mut by_name = HashMap::new();
        if fields.len() > FEW_MEMBERS {
            by_name.extend(
                fields
                    .iter()
                    .enumerate()
                    .map(|(at, field)| (field.name.as_str().into(), at)),
            );
        }
        Ok(Members {
            fields,
            by_name,
            extra,
        })
    }

    /// The position of a member; writers keep an order, so the expected one is nearly always right.
    pub(super) fn position(&self, name: &str, expected: usize) -> Option<usize> {
        match self.fields.get(expected) {
            Some(field) if field.name == name => Some(expected),
            _ if self.by_name.is_empty() => self.fields.iter().position(|field| field.name == name),
            _ => self.by_name.get(name).copied(),
        }
    }
}

/// Where a value stands while it is read.
struct At<'p, 'c> {
    path: &'p Path<'p>,
    check: &'c FieldCheck,
}

impl At<'_, '_> {
    fn tell(&self, broken: Broken, seen: Seen<'_>, sink: &mut Sink<'_>) {
        sink(Fault {
            path: self.path,
            check: self.check,
            broken,
            seen,
        });
    }
}

/// Is told the position and the text of each known member of a record.
pub(super) type Tap<'t, 'a> = dyn FnMut(usize, &'a str) + 't;

impl FieldCheck {
    /// Judges the value that stands next.
    pub(super) fn json<'a>(
        &self,
        scan: &mut Scanner<'a>,
        path: &Path<'_>,
        depth: usize,
        sink: &mut Sink<'_>,
    ) -> std::result::Result<(), Malformed> {
        let at = At { path, check: self };
        let next = scan.next()?;
        match (next, self.kind) {
            (Next::Null, _) => {
                scan.null()?;
                if !self.nullable {
                    at.tell(Broken::Null, Seen::Nothing, sink);
                }
            }
            (_, Type::Json) => return self.document(next, scan, path, depth, sink),
            (Next::Bool, Type::Bool) => {
                let flag = Value::Bool(scan.bool()?);
                if let Some(broken) = self.listed_and_bounded(&flag) {
                    at.tell(broken, Seen::Value(&flag), sink);
                }
            }
            (Next::Number, Type::Int | Type::Float) => {
                let text = scan.number()?;
                if let Some(broken) = self.number(text) {
                    at.tell(broken, Seen::Text(text), sink);
                }
            }
            (Next::Text, Type::Bool | Type::Int | Type::Float)
            | (Next::Bool | Next::Number | Next::List | Next::Object, _) => {
                scan.skip(depth)?;
                at.tell(Broken::Type(next.name()), Seen::Nothing, sink);
            }
            (Next::Text, _) => {
                let text = scan.text()?;
                if let Some(broken) = self.written(&text) {
                    at.tell(broken, Seen::Text(&text), sink);
                }
            }
        }
        Ok(())
    }

    fn document<'a>(
        &self,
        next: Next,
        scan: &mut Scanner<'a>,
        path: &Path<'_>,
        depth: usize,
        sink: &mut Sink<'_>,
    ) -> std::result::Result<(), Malformed> {
        let at = At { path, check: self };
        let start = scan.start();
        match (&self.inside, next) {
            (None, _) => scan.skip(depth)?,
            (Some(Inside::Object(_)), Next::Object) => {
                self.members(scan, path, depth, &mut |_, _| {}, sink)?;
            }
            (Some(Inside::List { items, unique }), Next::List) => {
                let mut repeats = unique.then(HashSet::new);
                let mut first = scan.enter(depth)?;
                let mut count = 0;
                while scan.item(&mut first)? {
                    let start = scan.start();
                    items.json(scan, &Path::Item(path, count), depth + 1, sink)?;
                    if let Some(known) = &mut repeats
                        && let Some(item) = canonical(scan.since(start))
                        && !known.insert(item)
                    {
                        at.tell(Broken::Repeated(count), Seen::Nothing, sink);
                    }
                    count += 1;
                }
                self.counted(count, path, sink);
            }
            (Some(Inside::Map { values }), Next::Object) => {
                let mut known: HashSet<Cow<'a, str>> = HashSet::new();
                let mut first = scan.enter(depth)?;
                while let Some(name) = scan.member(&mut first)? {
                    values.json(scan, &Path::Entry(path, &name), depth + 1, sink)?;
                    if known.contains(&name) {
                        At {
                            path: &Path::Entry(path, &name),
                            check: values,
                        }
                        .tell(Broken::Twice, Seen::Nothing, sink);
                    } else {
                        known.insert(name);
                    }
                }
                self.counted(known.len(), path, sink);
            }
            (Some(_), other) => {
                scan.skip(depth)?;
                at.tell(Broken::Type(other.name()), Seen::Nothing, sink);
            }
        }
        if let Some(allowed) = &self.allowed {
            let value = Value::Json(scan.since(start).into());
            if !allowed.holds(&value) {
                at.tell(Broken::Allowed, Seen::Value(&value), sink);
            }
        }
        Ok(())
    }

    /// Judges the object that stands next, where the field has members.
    pub(super) fn members<'a>(
        &self,
        scan: &mut Scanner<'a>,
        path: &Path<'_>,
        depth: usize,
        tap: &mut Tap<'_, 'a>,
        sink: &mut Sink<'_>,
    ) -> std::result::Result<(), Malformed> {
        let Some(Inside::Object(members)) = &self.inside else {
            return scan.skip(depth);
        };
        let mut seen = Marks::default();
        let mut others: HashSet<Cow<'a, str>> = HashSet::new();
        let mut first = scan.enter(depth)?;
        let mut expected = 0;
        while let Some(name) = scan.member(&mut first)? {
            let path = Path::Member(path, &name);
            if let Some(position) = members.position(&name, expected) {
                let member = &members.fields[position];
                expected = position + 1;
                let start = scan.start();
                if seen.mark(position) {
                    let at = At {
                        path: &path,
                        check: member,
                    };
                    at.tell(Broken::Twice, Seen::Nothing, sink);
                    scan.skip(depth + 1)?;
                    continue;
                }
                member.json(scan, &path, depth + 1, sink)?;
                tap(position, scan.since(start));
                continue;
            }
            scan.skip(depth + 1)?;
            let at = At {
                path: &path,
                check: self,
            };
            if members.extra == Extra::Reject {
                at.tell(Broken::Unknown, Seen::Nothing, sink);
            } else if others.contains(&name) {
                at.tell(Broken::Twice, Seen::Nothing, sink);
            } else {
                others.insert(name);
            }
        }
        for (position, member) in members.fields.iter().enumerate() {
            if member.required && !seen.has(position) {
                let path = Path::Member(path, &member.name);
                let at = At {
                    path: &path,
                    check: member,
                };
                at.tell(Broken::Missing, Seen::Nothing, sink);
            }
        }
        Ok(())
    }

    /// Tells whether too few or too many stand inside.
    fn counted(&self, count: usize, path: &Path<'_>, sink: &mut Sink<'_>) {
        if let Some(length) = &self.length
            && !length.holds(count)
        {
            At { path, check: self }.tell(Broken::Count(count), Seen::Nothing, sink);
        }
    }

    /// What is wrong with a number as it is written.
    fn number(&self, text: &str) -> Option<Broken> {
        if self.kind == Type::Float {
            let number = text.parse().unwrap_or(f64::NAN);
            return self.broken(&Value::Float(number));
        }
        match whole(text) {
            Some(number) => self.broken(&Value::Int(number)),
            None => Some(Broken::Type("number")),
        }
    }

    /// Copies the value that stands next, without the members that are to be left out.
    pub(super) fn trim(
        &self,
        scan: &mut Scanner<'_>,
        depth: usize,
        out: &mut String,
    ) -> std::result::Result<(), Malformed> {
        let start = scan.start();
        let next = scan.next()?;
        match (&self.inside, next) {
            (Some(inside), Next::List | Next::Object) if inside.trims() => {
                inside.trim(next, scan, depth, out)
            }
            _ => {
                scan.skip(depth)?;
                out.push_str(scan.since(start));
                Ok(())
            }
        }
    }
}

impl Inside {
    fn trim(
        &self,
        next: Next,
        scan: &mut Scanner<'_>,
        depth: usize,
        out: &mut String,
    ) -> std::result::Result<(), Malformed> {
        let start = scan.start();
        let mut empty = true;
        let mut comma = |out: &mut String| {
            if !std::mem::take(&mut empty) {
                out.push(',');
            }
        };
        match (self, next) {
            (Inside::List { items, .. }, Next::List) => {
                let mut first = scan.enter(depth)?;
                out.push('[');
                while scan.item(&mut first)? {
                    comma(out);
                    items.trim(scan, depth + 1, out)?;
                }
                out.push(']');
            }
            (Inside::Map { .. } | Inside::Object(_), Next::Object) => {
                let mut first = scan.enter(depth)?;
                out.push('{');
                while let Some(name) = scan.member(&mut first)? {
                    let (member, dropped) = match self {
                        Inside::Object(members) => (
                            members.position(&name, 0).map(|at| &members.fields[at]),
                            members.extra == Extra::Drop,
                        ),
                        Inside::Map { values } => (Some(&**values), false),
                        Inside::List { .. } => (None, false),
                    };
                    if member.is_none() && dropped {
                        scan.skip(depth + 1)?;
                        continue;
                    }
                    comma(out);
                    out.push_str(&serde_json::Value::from(name.as_ref()).to_string());
                    out.push(':');
                    let start = scan.start();
                    match member {
                        Some(member) => member.trim(scan, depth + 1, out)?,
                        None => {
                            scan.skip(depth + 1)?;
                            out.push_str(scan.since(start));
                        }
                    }
                }
                out.push('}');
            }
            _ => {
                scan.skip(depth)?;
                out.push_str(scan.since(start));
            }
        }
        Ok(())
    }
}

/// A JSON number that is whole and fits, however it is written.
pub(in crate::contract) fn whole(text: &str) -> Option<i64> {
    if let Ok(number) = text.parse::<i64>() {
        return Some(number);
    }
    if !text.contains(['.', 'e', 'E']) {
        return None;
    }
    let number: f64 = text.parse().ok()?;
    // Both ends are doubles; the upper one is the first number that does not fit.
    let fits = (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&number);
    (number.fract() == 0.0 && fits).then_some(number as i64)
}

/// Which members were there.
#[derive(Default)]
struct Marks {
    first: u64,
    rest: Vec<u64>,
}

impl Marks {
    /// Marks a position; tells whether it was marked before.
    fn mark(&mut self, position: usize) -> bool {
        let bit = 1_u64 << (position % 64);
        let word = match position / 64 {
            0 => &mut self.first,
            more => {
                if self.rest.len() < more {
                    self.rest.resize(more, 0);
                }
                &mut self.rest[more - 1]
            }
        };
        let before = *word & bit != 0;
        *word |= bit;
        before
    }

    fn has(&self, position: usize) -> bool {
        let word = match position / 64 {
            0 => self.first,
            more => self.rest.get(more - 1).copied().unwrap_or_default(),
        };
        word & (1 << (position % 64)) != 0
    }
}
