//! A contract that was imported, with what is to be said about it.

use std::collections::BTreeMap;

use lockstep_core::contract::{Class, Contract, Extra, Field, Inner};
use lockstep_core::diagnostic::{Diagnostic, Place, Severity, suggestion};
use lockstep_core::value::Type;

use super::links::Other;
use super::names;
use super::notes::{Notes, shorten};

/// What the user says about what is imported, because no text says it.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// The entity's name.
    pub entity: Option<String>,
    /// The fields that identify a record, in key order.
    pub key: Vec<String>,
    /// The system that is right about the entity.
    pub owner: Option<String>,
    /// The contracts that are there already, which foreign keys may lead to.
    pub others: Vec<Other>,
}

/// A contract that was imported.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The contract.
    pub contract: Contract,
    /// What somebody should look at.
    pub findings: Vec<Diagnostic>,
    /// By field (empty for the whole contract), what is to stand beside it as comments.
    pub remarks: BTreeMap<String, Vec<String>>,
    /// The ODCS document that it was, where it was one: parts unknown to Lockstep stay in it.
    pub document: Option<serde_json::Value>,
    /// The names that the source gives the fields, in their order.
    pub columns: Vec<String>,
    /// The table that it describes, where it was one.
    pub table: Option<String>,
    /// Where it stands in what was imported.
    pub(super) place: Option<Place>,
}

impl Draft {
    /// Says something about a field that shows only beside other drafts, as a finding and a comment.
    pub(super) fn note(&mut self, severity: Severity, field: &str, what: String, help: &str) {
        let finding = Diagnostic {
            severity,
            ..Diagnostic::error("LS-I116", format!("`{field}`: {what}"))
        };
        let place = self.place.clone();
        self.findings.push(match place {
            Some(place) => finding.help(help).at(place),
            None => finding.help(help),
        });
        self.remarks.entry(field.to_owned()).or_default().push(what);
    }
}

/// A record as an importer read it, before its key is known.
#[derive(Debug)]
pub(super) struct Record {
    /// The name that the source gives it.
    pub(super) name: String,
    pub(super) description: Option<String>,
    pub(super) fields: Vec<Field>,
    /// The names that the source gives the fields, in their order.
    pub(super) written: Vec<String>,
    /// The key as the source has it, by the names of the source.
    pub(super) key: Vec<String>,
    pub(super) extra: Extra,
}

impl Record {
    pub(super) fn new(name: impl Into<String>) -> Record {
        Record {
            name: name.into(),
            description: None,
            fields: Vec::new(),
            written: Vec::new(),
            key: Vec::new(),
            extra: Extra::Reject,
        }
    }

    /// Makes a contract of it: names the entity, finds the key, guesses what is personal.
    ///
    /// # Errors
    /// A key that was asked for and is not there, or a record without fields that could be one.
    pub(super) fn finish(
        mut self,
        asked: &Asked,
        mut notes: Notes<'_>,
    ) -> Result<Draft, Vec<Diagnostic>> {
        if self.fields.is_empty() {
            return Err(notes.fail(
                "LS-I105",
                None,
                format!("`{}` has no fields", shorten(&self.name)),
                "import something that describes at least one field",
            ));
        }
        for (field, written) in self.fields.iter().zip(&self.written) {
            if field.name != *written {
                let message = format!("the name was `{}`", shorten(written));
                notes.tell(
                    "LS-I107",
                    &field.name,
                    None,
                    message,
                    "map it to this name where the system is configured",
                );
            }
        }
        personal(&mut self.fields, &mut notes);
        let key = self.choose_key(asked, &mut notes)?;
        let wanted = asked.entity.as_deref().unwrap_or(&self.name);
        let entity = names::entity(wanted);
        if asked.entity.as_deref().is_some_and(|asked| asked != entity) {
            notes.tell(
                "LS-I107",
                "",
                None,
                format!("the entity is named `{entity}`"),
                "letters, digits and `_` can stand in subjects",
            );
        }
        let mut contract = Contract::new(&entity, semver::Version::new(1, 0, 0), self.fields);
        contract.id = match &asked.owner {
            Some(owner) => format!("{}-{entity}", names::legal(owner, "owner")),
            None => entity,
        };
        contract.description = self.description;
        contract.lane_key.clone_from(&key);
        contract.key = key;
        contract.owner.clone_from(&asked.owner);
        contract.extra = self.extra;
        contract.terms.status = Some("draft".to_owned());
        let place = notes.usual();
        let (findings, remarks) = notes.finish();
        Ok(Draft {
            contract,
            findings,
            remarks,
            document: None,
            columns: self.written,
            table: None,
            place,
        })
    }

    fn choose_key(
        &mut self,
        asked: &Asked,
        notes: &mut Notes<'_>,
    ) -> Result<Vec<usize>, Vec<Diagnostic>> {
        let named = if asked.key.is_empty() {
            &self.key
        } else {
            &asked.key
        };
        let mut key: Vec<usize> = Vec::new();
        for name in named {
            let at = self
                .written
                .iter()
                .position(|written| written == name)
                .or_else(|| self.fields.iter().position(|field| field.name == *name));
            match at {
                Some(at) if !fits(&self.fields[at]) => {
                    let kind = self.fields[at].kind;
                    return Err(notes.fail(
                        "LS-I106",
                        None,
                        format!("`{}` is of type {kind}, which cannot be part of a key", shorten(name)),
                        "name a text, integer, decimal, date, timestamp, UUID or bytes with `--key`",
                    ));
                }
                Some(at) if !key.contains(&at) => key.push(at),
                Some(_) => {}
                None => {
                    let known = self.fields.iter().map(|field| field.name.as_str());
                    return Err(notes.fail(
                        "LS-I106",
                        None,
                        format!("the key names `{}`, which is no field", shorten(name)),
                        suggestion(name, known),
                    ));
                }
            }
        }
        if key.is_empty() {
            key = vec![self.guess(notes)?];
        }
        // A source that names its key says with it that the key is always there.
        let said = asked.key.is_empty() && !self.key.is_empty();
        for at in &key {
            let field = &mut self.fields[*at];
            if said {
                field.nullable = false;
                field.required = true;
            }
            if field.nullable || !field.required {
                field.nullable = false;
                field.required = true;
                let name = field.name.clone();
                notes.tell(
                    "LS-I106",
                    &name,
                    None,
                    "it is part of the key, so it can be neither null nor absent",
                    "name another field with `--key` where it may be",
                );
            }
        }
        Ok(key)
    }

    /// The field that most likely identifies a record.
    fn guess(&self, notes: &mut Notes<'_>) -> Result<usize, Vec<Diagnostic>> {
        let own = names::entity(&self.name);
        let score = |field: &Field| {
            let name = field.name.to_ascii_lowercase();
            let by_name = match name.as_str() {
                "id" => 60,
                "uuid" | "guid" | "key" => 50,
                "code" | "no" | "nr" | "number" | "sku" => 30,
                _ if name == format!("{own}_id") || name == format!("{own}id") => 55,
                _ if field.unique => 45,
                _ if name.ends_with("_id") || name.ends_with("_no") => 20,
                _ => 0,
            };
            let firm = if field.required && !field.nullable {
                5
            } else {
                0
            };
            by_name + firm
        };
        let fitting = self.fields.iter().enumerate().filter(|(_, f)| fits(f));
        // The first of the best: `max_by_key` alone would take the last.
        let best = fitting.rev().max_by_key(|(_, field)| score(field));
        let Some((at, field)) = best else {
            return Err(notes.fail(
                "LS-I106",
                None,
                format!("no field of `{}` can be a key", shorten(&self.name)),
                "a key is a text, integer, decimal, date, timestamp, UUID or bytes",
            ));
        };
        notes.warn(
            "LS-I106",
            &field.name,
            None,
            "guessed to identify a record",
            "say what identifies a record with `--key a,b`",
        );
        Ok(at)
    }
}

/// Whether a field can be part of a key.
fn fits(field: &Field) -> bool {
    !matches!(field.kind, Type::Float | Type::Json)
}

/// Classifies fields whose names say that they are about a person; protecting too much is the safer mistake.
fn personal(fields: &mut [Field], notes: &mut Notes<'_>) {
    for field in fields {
        let own = reads_personal(&field.name);
        if field.class != Class::Internal || !(own || holds_personal(field)) {
            continue;
        }
        field.class = Class::Personal;
        let what = match own {
            true => "classified as personal because of its name",
            false => "classified as personal because of what stands in it",
        };
        let help = "confirm it, or set another `classification`";
        notes.tell("LS-I114", &field.name, None, what, help);
    }
}

/// Whether a part of a document reads like personal data; the document is shown or hidden as a whole.
fn holds_personal(field: &Field) -> bool {
    let personal = |part: &Field| {
        part.class >= Class::Personal || reads_personal(&part.name) || holds_personal(part)
    };
    match &field.inner {
        Some(Inner::Object { fields, .. }) => fields.iter().any(personal),
        Some(Inner::List { items: part, .. } | Inner::Map { values: part, .. }) => personal(part),
        None => false,
    }
}

/// Whether a name reads like personal data.
pub(super) fn reads_personal(name: &str) -> bool {
    const WHOLE: [&str; 9] = [
        "dob",
        "fax",
        "iban",
        "mobile",
        "phone",
        "ssn",
        "surname",
        "tel",
        "telephone",
    ];
    const PART: [&str; 14] = [
        "email",
        "e_mail",
        "phone_number",
        "mobile_number",
        "firstname",
        "first_name",
        "lastname",
        "last_name",
        "fullname",
        "full_name",
        "birth",
        "passport",
        "social_security",
        "tax_id",
    ];
    let name = names::entity(name);
    WHOLE.contains(&name.as_str())
        || WHOLE
            .iter()
            .any(|word| name.split('_').any(|part| part == *word))
        || PART.iter().any(|part| name.contains(part))
}
