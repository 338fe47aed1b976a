//! Sample data: what holds for every row that was looked at, and how sure that is.
//!
//! `core` profiles the rows; this module makes fields of what it found.
//! No value of the sample is ever repeated, except the few that a list of allowed values consists of; those of personal fields never are.

use std::collections::HashMap;
use std::io::Read;

use lockstep_core::contract::profile::{FieldProfile, Guess, Profile, Profiler, Step};
use lockstep_core::contract::{Allowed, Class, Extra, Field, Format, Inner};
use lockstep_core::diagnostic::Diagnostic;
use lockstep_core::value::{Type, Value};

use super::draft::{self, Asked, Record};
use super::names::Names;
use super::notes::{Notes, shorten};
use super::{FIELDS_MAX, Imported, sound};
use crate::contract::data::{self, Form, Piece};

/// Fewer rows than this are called few.
const FEW: u64 = 30;
/// Most values that are taken for a list; a single one is no list.
const LISTED_MAX: u64 = 12;
/// Longest value that is taken for one of a list, in characters.
const LISTED_LENGTH_MAX: u64 = 40;
/// Fewest rows that a list is read out of, and how often each value must stand there on average.
const LISTED_ROWS_MIN: u64 = 50;
const LISTED_TIMES_MIN: u64 = 10;
/// Lengths that texts are given room for.
const ROOM: [u64; 9] = [16, 32, 64, 100, 200, 500, 1000, 2000, 4000];
/// Digits that amounts may grow by.
const DIGITS_MORE: u32 = 2;

/// What stands for the first level among ways.
const TOP: &str = "";

/// Infers a contract from rows.
///
/// # Errors
/// Why nothing comes out, with its place.
pub fn import(file: &str, input: impl Read, form: Form, asked: &Asked) -> Imported {
    let mut notes = Notes::over_data(file);
    let profile = profile(input, form, &mut notes)?;
    if profile.records == 0 {
        return Err(notes.fail(
            "LS-I105",
            None,
            "the sample has no rows",
            "give at least one record",
        ));
    }
    if profile.fields.len() > FIELDS_MAX || profile.left_out > 0 {
        let message = format!("the rows have more than {FIELDS_MAX} fields");
        return Err(notes.fail("LS-I103", None, message, "give a part of them"));
    }
    let stem = file.rsplit(['/', '\\']).next().unwrap_or(file);
    let mut record = Record::new(stem.split('.').next().unwrap_or(stem));
    record.extra = Extra::Reject;
    let count = profile.records;
    let how = if count < FEW {
        "few rows, so mostly guesses"
    } else {
        "true of every row looked at"
    };
    let rows = if count == 1 { "row" } else { "rows" };
    notes.remark("", format!("inferred from {count} {rows}: {how}"));
    let seen = Seen::new(&profile, form == Form::Table);
    let mut names = Names::default();
    for (step, found) in seen.inside(TOP) {
        let Step::Member(written) = step else {
            continue;
        };
        let name = names.give(written);
        let mut field = seen.field(&name, &name, found, &mut notes);
        notes.remark(&name, sureness(found, count));
        sound::settle(&mut field, &name, None, &mut notes);
        record.fields.push(field);
        record.written.push(written.clone());
    }
    if asked.key.is_empty() && count > 1 {
        key(&mut record, &profile, &mut notes);
    }
    Ok(vec![record.finish(asked, notes)?])
}

/// Profiles the rows; those that cannot be read are told of.
fn profile(
    input: impl Read,
    form: Form,
    notes: &mut Notes<'_>,
) -> Result<Profile, Vec<Diagnostic>> {
    let mut profiler = Profiler::new();
    let (mut good, mut broken, mut first) = (0_u64, 0_u64, None);
    let read = data::read(input, form, &mut |piece, line| {
        let taken = match piece {
            Piece::Values(names, values) => {
                let names = names.iter().map(String::as_str);
                profiler.texts(names.zip(values.iter().map(String::as_str)));
                Ok(())
            }
            Piece::Json(text) => match std::str::from_utf8(text) {
                Ok(text) => profiler.json(text),
                Err(_) => Err("it is not UTF-8 text".to_owned()),
            },
            Piece::Broken(why) => Err(why.to_owned()),
        };
        match taken {
            Ok(()) => good += 1,
            Err(why) => {
                broken += 1;
                first.get_or_insert((line, why));
            }
        }
    });
    let help = "mend it, or name another form with `--form`";
    if let Err(fault) = read {
        return Err(notes.fail_line("LS-I102", fault.line, fault.why, help));
    }
    if let Some((line, why)) = first {
        if good == 0 {
            let message = format!("the row cannot be read: {why}");
            return Err(notes.fail_line("LS-I102", line, message, help));
        }
        let what = format!(
            "rows that cannot be read were left out: {broken}; the first one stands in line {line}: {why}"
        );
        notes.warn("LS-I113", "", None, what, help);
    }
    Ok(profiler.finish())
}

/// Takes the likeliest of the fields whose values never repeat as the key.
fn key(record: &mut Record, profile: &Profile, notes: &mut Notes<'_>) {
    let best = profile
        .fields
        .iter()
        .find(|field| Some(&field.path) == profile.keys.first());
    let Some((None, Step::Member(written))) = best.map(FieldProfile::step) else {
        return;
    };
    let Some(at) = record.written.iter().position(|name| *name == written) else {
        return;
    };
    let what = format!(
        "taken as the key, since no value repeats in {} rows",
        profile.records
    );
    notes.tell(
        "LS-I106",
        &record.fields[at].name,
        None,
        what,
        "say what identifies a record with `--key a,b`",
    );
    record.key = vec![written];
}

/// A profile with its fields under what they stand in.
pub(super) struct Seen<'p> {
    /// By the way to what they stand in; the first level has none.
    inside: HashMap<&'p str, Vec<(Step, &'p FieldProfile)>>,
    /// Whether the rows are lines of texts, in which empty ones are nulls.
    texts: bool,
}

impl<'p> Seen<'p> {
    pub(super) fn new(profile: &'p Profile, texts: bool) -> Seen<'p> {
        let mut inside: HashMap<_, Vec<_>> = HashMap::new();
        for field in &profile.fields {
            let (parent, step) = field.step();
            inside
                .entry(parent.unwrap_or(TOP))
                .or_default()
                .push((step, field));
        }
        Seen { inside, texts }
    }

    /// What stands inside a field, or at the first level.
    fn inside(&self, way: &str) -> &[(Step, &'p FieldProfile)] {
        self.inside.get(way).map_or(&[], Vec::as_slice)
    }

    /// A field of the first level.
    pub(super) fn of(&self, name: &str) -> Option<&'p FieldProfile> {
        let mut all = self.inside(TOP).iter();
        let found = all.find(|(step, _)| *step == Step::Member(name.to_owned()));
        found.map(|(_, field)| *field)
    }

    /// The field that these values are of.
    pub(super) fn field(
        &self,
        name: &str,
        path: &str,
        found: &FieldProfile,
        notes: &mut Notes<'_>,
    ) -> Field {
        let mut field = Field::new(name, kind(path, found, notes));
        field.nullable = found.nulls > 0;
        field.required = found.absent == 0 && !(self.texts && field.nullable);
        match found.guess.kind {
            Guess::Text => texts(&mut field, path, found, notes),
            Guess::Object | Guess::List => self.describe(&mut field, path, found, notes),
            _ => {}
        }
        field
    }

    /// Describes what stands in documents.
    pub(super) fn describe(
        &self,
        field: &mut Field,
        path: &str,
        found: &FieldProfile,
        notes: &mut Notes<'_>,
    ) {
        let inside = self.inside(&found.path);
        let one = |wanted: Step| inside.iter().find(|(step, _)| *step == wanted);
        if found.guess.kind == Guess::List {
            if let Some((_, items)) = one(Step::Items) {
                field.inner = Some(Inner::List {
                    items: Box::new(self.part("items", path, items, notes)),
                    least: None,
                    most: None,
                    unique: false,
                });
            }
        } else if let Some((_, values)) = one(Step::Entries) {
            field.inner = Some(Inner::Map {
                values: Box::new(self.part("values", path, values, notes)),
                least: None,
                most: None,
            });
        } else if !inside.is_empty() {
            let mut names = Names::default();
            let members = inside.iter().filter_map(|(step, found)| match step {
                Step::Member(written) => Some((written, found)),
                Step::Items | Step::Entries => None,
            });
            let fields = members.map(|(written, found)| {
                let name = names.give(written);
                let path = format!("{path}.{name}");
                if name != *written {
                    let what = format!("`{path}` was named `{}`", shorten(written));
                    notes.tell("LS-I107", &path, None, what, "map it to this name");
                }
                let mut field = self.field(&name, &path, found, notes);
                sound::settle(&mut field, &path, None, notes);
                field
            });
            field.inner = Some(Inner::Object {
                fields: fields.collect(),
                extra: Extra::Keep,
            });
        }
    }

    /// The items of a list or the values of a map, which are never absent.
    fn part(&self, name: &str, path: &str, found: &FieldProfile, notes: &mut Notes<'_>) -> Field {
        let path = format!("{path}.{name}");
        let mut part = self.field(name, &path, found, notes);
        part.required = true;
        sound::settle(&mut part, &path, None, notes);
        part
    }
}

/// The type of the values, with what is to be said about it.
fn kind(path: &str, found: &FieldProfile, notes: &mut Notes<'_>) -> Type {
    let (what, help) = match found.guess.kind {
        Guess::Nothing => {
            let what = "no row says a value, so its type is not known; a text was taken";
            notes.warn("LS-I113", path, None, what, "name the type that it has");
            return Type::Text;
        }
        Guess::Json => {
            let what =
                "its values are of several types or nested too deep, so any value is allowed";
            notes.warn(
                "LS-I113",
                path,
                None,
                what,
                "a field of a contract has one type",
            );
            return Type::Json;
        }
        Guess::Float => (
            "numbers with a fraction, read as doubles",
            "for exact amounts write `physicalType: decimal(12,2)` and send them as texts",
        ),
        Guess::LocalTimestamp => (
            "no offset from UTC stands there; records carry it as UTC",
            "say in the mapping what offset it has, if another",
        ),
        Guess::Timestamp if !in_utc(found) => (
            "not all of it stands in UTC; records carry it as UTC, such as 2024-12-31T23:59:00Z",
            "nothing is lost when a system's texts are mapped to it",
        ),
        _ => return plain(found),
    };
    notes.tell("LS-I113", path, None, what, help);
    plain(found)
}

fn plain(found: &FieldProfile) -> Type {
    match found.guess.kind() {
        Some(Type::Decimal {
            precision: Some(precision),
            scale: Some(scale),
        }) => Type::Decimal {
            precision: Some((precision + DIGITS_MORE).min(100)),
            scale: Some(scale.min(98)),
        },
        kind => kind.unwrap_or(Type::Text),
    }
}

/// Whether timestamps are written as records carry them, as far as bounds and common values show it.
fn in_utc(found: &FieldProfile) -> bool {
    let bounds = found.minimum.iter().chain(&found.maximum);
    let mut all = bounds.chain(found.common.iter().map(|common| &common.value));
    all.all(|text| text.ends_with('Z') && text.contains('T'))
}

/// Form, length and, where few values repeat, the list of them.
pub(super) fn texts(field: &mut Field, path: &str, found: &FieldProfile, notes: &mut Notes<'_>) {
    if found.guess.format == Some(Format::Email.name()) {
        field.class = Class::Personal;
        field.limits.format = Some(Format::Email);
        let what = "mail addresses, so classified as personal";
        let help = "confirm it, or set another `classification`";
        notes.tell("LS-I114", path, None, what, help);
    } else if let Some(values) = listed(&field.name, found) {
        let what = format!(
            "only {} values stand in {} rows, so they are listed; others may come",
            found.distinct, found.present
        );
        let help = "set `lockstep.enumOpen` to false where no others may come";
        notes.tell("LS-I113", path, None, what, help);
        field.allowed = Some(Allowed {
            values,
            open: true,
            fallback: None,
        });
        return;
    }
    if let Some(lengths) = &found.lengths {
        let wanted = lengths.most.saturating_mul(3) / 2;
        field.limits.max_length = ROOM.into_iter().find(|room| *room >= wanted);
    }
}

/// The values, where they are few and come often.
fn listed(name: &str, found: &FieldProfile) -> Option<Vec<Value>> {
    let there = found.present - found.nulls;
    let few = (2..=LISTED_MAX).contains(&found.distinct)
        && found.distinct_is_exact
        && found.common.len() as u64 == found.distinct
        && found
            .lengths
            .is_some_and(|lengths| lengths.most <= LISTED_LENGTH_MAX)
        && found.present >= LISTED_ROWS_MIN
        && there >= found.distinct * LISTED_TIMES_MIN;
    if !few || draft::reads_personal(name) {
        return None;
    }
    let mut values: Vec<&str> = found
        .common
        .iter()
        .map(|common| common.value.as_str())
        .collect();
    values.sort_unstable();
    Some(values.into_iter().map(Value::text).collect())
}

/// How sure what was inferred is, in words without a value.
fn sureness(found: &FieldProfile, count: u64) -> String {
    let there = match (found.absent, found.nulls) {
        (0, 0) if count == 1 => "there in the one row".to_owned(),
        (0, 0) => format!("there in all {count} rows"),
        (0, nulls) => format!("null in {nulls} of {count} rows"),
        (_, nulls) => format!(
            "there in {} of {count} rows, null in {nulls}",
            found.present
        ),
    };
    if found.unique && found.nulls == 0 && found.present > 1 {
        format!("{there}, no value twice")
    } else {
        there
    }
}
