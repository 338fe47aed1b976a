//! References between tables as references between entities.
//!
//! A foreign key names a table and a column; a contract names an entity and its property, which may be called otherwise.
//! What cannot be told for sure is left out with a note: a reference that leads nowhere would be refused by every later command.

use lockstep_core::contract::Reference;
use lockstep_core::diagnostic::Severity;

use super::draft::Draft;
use super::names;
use super::notes::shorten;
use super::relationships::redirect;

/// A contract that is there already, and the tables that its entity stands in.
#[derive(Clone, Debug, Default)]
pub struct Other {
    /// The entity.
    pub entity: String,
    /// Its fields.
    pub fields: Vec<String>,
    /// Its key, where that is one field.
    pub key: Option<String>,
    /// The tables, as far as contract and configuration tell.
    pub tables: Vec<Stand>,
}

/// A table in which an entity stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stand {
    /// Its name, with or without a schema before it.
    pub table: String,
    /// Columns that have another name than their field: column, then field.
    pub columns: Vec<(String, String)>,
}

/// What a table and a column of it are called in contracts.
enum Found {
    Sure(Reference),
    /// By a singular and a plural, which somebody should confirm.
    Likely(Reference),
    /// Why there is nothing to refer to.
    None(String),
}

/// Makes the references of drafts, which name tables and columns, lead to entities and fields, or takes them out; says whether any was.
///
/// Documents of others name entities, and tables where there is no such entity.
pub(super) fn settle(drafts: &mut [Draft], others: &[Other]) -> bool {
    let mut left_out = false;
    let mut all: Vec<Other> = drafts.iter().map(drafted).collect();
    // What is imported now stands for what was there before under its name.
    let before = others.iter();
    let new = |other: &&Other| !all.iter().any(|draft| draft.entity == other.entity);
    let before: Vec<Other> = before.filter(new).cloned().collect();
    all.extend(before);
    for draft in drafts {
        let fields = draft.contract.fields.iter().enumerate();
        let references: Vec<(usize, Reference)> = fields
            .filter_map(|(at, field)| Some((at, field.reference.clone()?)))
            .collect();
        for (at, to) in references {
            let name = draft.contract.fields[at].name.clone();
            let (reference, note) = match find(&all, &to, draft.document.is_some()) {
                Found::Sure(reference) => (Some(reference), None),
                Found::Likely(reference) => {
                    let what = format!(
                        "the table `{}` is taken for entity `{}`",
                        shorten(&to.entity),
                        reference.entity
                    );
                    let help = "confirm the reference, or write the right one";
                    (Some(reference), Some((Severity::Info, what, help)))
                }
                Found::None(why) => {
                    let column = if to.field.is_empty() { "" } else { "." };
                    let what = format!(
                        "the reference to `{}{column}{}` is left out: {why}",
                        shorten(&to.entity),
                        shorten(&to.field)
                    );
                    let help = "once the other entity has a contract, write `relationships: [{to: ENTITY.PROPERTY}]` here";
                    (None, Some((Severity::Warning, what, help)))
                }
            };
            left_out |= reference.is_none();
            if let Some(document) = &mut draft.document {
                redirect(document, &name, &to, reference.as_ref());
            }
            draft.contract.fields[at].reference = reference;
            if let Some((severity, what, help)) = note {
                draft.note(severity, &name, what, help);
            }
        }
    }
    left_out
}

fn drafted(draft: &Draft) -> Other {
    let contract = &draft.contract;
    let key = match contract.key.as_slice() {
        [one] => contract.fields.get(*one).map(|field| field.name.clone()),
        _ => None,
    };
    let fields: Vec<String> = contract.fields.iter().map(|f| f.name.clone()).collect();
    let columns = draft.columns.iter().cloned();
    let stand = draft.table.clone().map(|table| Stand {
        table,
        columns: columns.zip(fields.iter().cloned()).collect(),
    });
    Other {
        entity: contract.entity.clone(),
        key,
        fields,
        tables: stand.into_iter().collect(),
    }
}

fn find(all: &[Other], to: &Reference, by_entity: bool) -> Found {
    let is_meant = |other: &&Other| other.entity == to.entity && other.fields.contains(&to.field);
    if by_entity && all.iter().any(|other| is_meant(&other)) {
        return Found::Sure(to.clone());
    }
    let wanted = plain(&to.entity);
    let entity = names::entity(wanted);
    let stands = |other: &Other| {
        let mut tables = other.tables.iter();
        tables.any(|stand| plain(&stand.table).eq_ignore_ascii_case(wanted))
    };
    let named = |other: &Other| other.entity == entity;
    let plural = |other: &Other| is_plural(&entity, &other.entity);
    let ways: [&dyn Fn(&Other) -> bool; 3] = [&stands, &named, &plural];
    for (way, fits) in ways.iter().enumerate() {
        let fitting: Vec<&Other> = all.iter().filter(|other| fits(other)).collect();
        let other = match fitting.as_slice() {
            [] => continue,
            [one] => one,
            [one, two, ..] => {
                return Found::None(format!(
                    "it may be entity `{}` or `{}`",
                    one.entity, two.entity
                ));
            }
        };
        let Some(field) = other.field(wanted, &to.field) else {
            return Found::None(format!("entity `{}` has no such property", other.entity));
        };
        let reference = Reference {
            entity: other.entity.clone(),
            field,
        };
        return if way == 2 {
            Found::Likely(reference)
        } else {
            Found::Sure(reference)
        };
    }
    Found::None("no contract here is of that table".to_owned())
}

impl Other {
    /// The field that a column of a table is; the key where no column is named.
    fn field(&self, table: &str, column: &str) -> Option<String> {
        if column.is_empty() {
            return self.key.clone();
        }
        let stand = self
            .tables
            .iter()
            .find(|stand| plain(&stand.table).eq_ignore_ascii_case(table));
        let mut columns = stand.into_iter().flat_map(|stand| &stand.columns);
        let moved = columns.find(|(known, _)| known.eq_ignore_ascii_case(column));
        let name = moved.map_or_else(|| names::legal(column, "field"), |(_, field)| field.clone());
        let exact = self.fields.iter().find(|field| **field == name);
        let mut fields = self.fields.iter();
        let found = exact.or_else(|| fields.find(|field| field.eq_ignore_ascii_case(&name)));
        found.cloned()
    }
}

/// A table's name without its schema.
fn plain(table: &str) -> &str {
    table.rsplit('.').next().unwrap_or(table)
}

/// Whether one name is the plural of the other, as English makes them.
fn is_plural(many: &str, one: &str) -> bool {
    many == format!("{one}s")
        || many == format!("{one}es")
        || one
            .strip_suffix('y')
            .is_some_and(|stem| many == format!("{stem}ies"))
}
