//! Sample data: what holds for every row that was looked at, and how sure that is.
//!
//! No value of the sample is ever repeated, except the few that a list of allowed values consists of; those of personal fields never are.

mod rows;
mod seen;

use lockstep_core::contract::{Extra, Field, Inner};
use lockstep_core::diagnostic::Diagnostic;
use lockstep_core::value::Type;

use super::draft::{Asked, Record};
use super::names::Names;
use super::notes::{Notes, shorten};
use super::{FIELDS_MAX, Imported, sound};

pub use rows::{Form, ROWS_MAX};
pub(super) use seen::Seen;

/// Largest sample that is looked at, in bytes; more of it would say little more.
pub const SAMPLE_BYTES_MAX: usize = 64 << 20;
/// Fewer rows than this are called few.
const FEW: u64 = 30;

/// Infers a contract from rows.
///
/// # Errors
/// Why nothing comes out, with its place.
pub fn import(file: &str, text: &str, form: Form, asked: &Asked) -> Imported {
    let mut notes = Notes::over_data(file, text);
    let all = rows::read(text, form, &mut notes)?;
    if all.count == 0 {
        return Err(notes.fail(
            "LS-I105",
            None,
            "the sample has no rows",
            "give at least one record",
        ));
    }
    if all.seen.members.len() > FIELDS_MAX {
        let message = format!(
            "the rows have {} fields; at most {FIELDS_MAX} are read",
            all.seen.members.len()
        );
        return Err(notes.fail("LS-I103", None, message, "give a part of them"));
    }
    let stem = file.rsplit(['/', '\\']).next().unwrap_or(file);
    let mut record = Record::new(stem.split('.').next().unwrap_or(stem));
    record.extra = Extra::Reject;
    let count = all.count;
    let how = if count < FEW {
        "few rows, so mostly guesses"
    } else {
        "true of every row looked at"
    };
    notes.remark("", format!("inferred from {count} rows: {how}"));
    let mut names = Names::default();
    for (written, seen) in &all.seen.members {
        let name = names.give(written);
        let field = seen.field(&name, &name, count, form, &mut notes);
        record.fields.push(field);
        record.written.push(written.clone());
    }
    if asked.key.is_empty() {
        key(&mut record, &all.seen, count, &mut notes)?;
    }
    Ok(vec![record.finish(asked, notes)?])
}

/// Takes a field whose values never repeat as the key.
fn key(
    record: &mut Record,
    all: &Seen,
    count: u64,
    notes: &mut Notes<'_>,
) -> Result<(), Vec<Diagnostic>> {
    let fits = |field: &Field| {
        field.required
            && !field.nullable
            && !matches!(field.kind, Type::Float | Type::Json | Type::Bool)
    };
    let candidates: Vec<usize> = (0..record.fields.len())
        .filter(|i| fits(&record.fields[*i]))
        .filter(|i| {
            all.members
                .get(&record.written[*i])
                .is_some_and(|seen| seen.is_unique())
        })
        .collect();
    let likely = |i: &&usize| {
        let name = record.fields[**i].name.to_ascii_lowercase();
        name == "id"
            || name.ends_with("_id")
            || name.ends_with("id")
            || name.ends_with("_no")
            || name == "key"
            || name == "code"
    };
    let best = candidates.iter().find(likely).or(candidates.first());
    if let Some(best) = best.filter(|_| count > 1) {
        let name = record.fields[*best].name.clone();
        record.key = vec![record.written[*best].clone()];
        let what = format!("taken as the key, since no value repeats in {count} rows");
        notes.tell(
            "LS-I106",
            &name,
            None,
            what,
            "say what identifies a record with `--key a,b`",
        );
    }
    Ok(())
}

impl Seen {
    /// The field that these values are of.
    fn field(
        &self,
        name: &str,
        path: &str,
        count: u64,
        form: Form,
        notes: &mut Notes<'_>,
    ) -> Field {
        let mut field = Field::new(name, self.kind(path, form, notes));
        field.nullable = self.nulls > 0;
        field.required = self.times == count && (form != Form::Csv || self.nulls == 0);
        match field.kind {
            Type::Text => self.listed(&mut field, count, path, notes),
            Type::Json => self.inside(&mut field, path, form, notes),
            _ => {}
        }
        if self.is_mail() {
            field.class = lockstep_core::contract::Class::Personal;
            field.allowed = None;
            field.limits.format = Some(lockstep_core::contract::Format::Email);
            notes.tell(
                "LS-I114",
                path,
                None,
                "mail addresses, so classified as personal",
                "confirm it, or set another `classification`",
            );
        }
        if !path.contains('.') {
            notes.remark(path, self.sureness(count));
        }
        sound::settle(&mut field, path, None, notes);
        field
    }

    fn inside(&self, field: &mut Field, path: &str, form: Form, notes: &mut Notes<'_>) {
        if self.maps > 0 && self.lists == 0 && !self.members.is_empty() {
            let mut names = Names::default();
            let fields = self
                .members
                .iter()
                .map(|(written, seen)| {
                    let name = names.give(written);
                    let path = format!("{path}.{name}");
                    if name != *written {
                        let what = format!("`{path}` was named `{}`", shorten(written));
                        notes.tell("LS-I107", &path, None, what, "map it to this name");
                    }
                    seen.field(&name, &path, self.maps, form, notes)
                })
                .collect();
            field.inner = Some(Inner::Object {
                fields,
                extra: Extra::Keep,
            });
        } else if let Some(items) = self
            .items
            .as_ref()
            .filter(|_| self.lists > 0 && self.maps == 0)
        {
            let path = format!("{path}.items");
            let mut item = items.field("items", &path, items.times, form, notes);
            item.required = true;
            field.inner = Some(Inner::List {
                items: Box::new(item),
                least: None,
                most: None,
                unique: false,
            });
        }
    }
}
