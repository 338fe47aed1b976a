//! `lockstep contract test`.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use comfy_table::{Table as Grid, presets};
use jiff::Timestamp;
use lockstep_core::contract::check::plain::{PlainSchema, Resources};
use lockstep_core::contract::check::sets::Referenced;
use lockstep_core::contract::check::tally::Tally;
use lockstep_core::contract::{Class, Contract, Outcome, Violation};
use lockstep_core::diagnostic::suggestion;
use lockstep_core::{Row, Value};
use serde_json::Value as Json;

use super::data::{Progress, unreadable};
use super::exported::Exported;
use super::named;
use super::system::{self, Table};
use crate::cli::check::count;
use crate::cli::{Context, Exit};
use crate::config::{Config, reason};
use crate::contract::data::{DataFile, Form, Piece};
use crate::contract::report::clean;
use crate::contract::trial::{RuleVerdict, Tested, Trial, value_of};

/// Files of other entities, each with its entity.
type OfOthers = Vec<(String, DataFile)>;

/// Check data against a contract
///
/// Reads files of records, or a table of a live system through its mapping, and counts every fault of every rule: types, bounds, what stands inside documents, rules on records, and rules over many records such as uniqueness, references, volume and freshness. Changes nothing. Values of personal and secret fields are never shown.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    lockstep contract test order --data orders.jsonl\n  \
    lockstep contract test contracts/order/order.odcs.yaml --data orders.csv --data customer=customers.csv\n  \
    lockstep contract test order --system erp          a table of a system of lockstep.toml\n  \
    lockstep contract test order --system erp --data export.csv      a file with that system's columns\n  \
    lockstep contract test --schema event.schema.json --data events.jsonl\n\n\
    Data is read from .jsonl and .ndjson (one record a line), .json (one record, or a list), .csv and .tsv (a line of names; what is empty is null).\n\
    Exit codes: 0 nothing stops a record, 1 faults, 2 unreadable data or wrong usage, 3 a file or system is out of reach.")]
pub(super) struct Args {
    /// The contract's entity or file
    #[arg(value_name = "ENTITY|FILE")]
    contract: Option<String>,
    /// Files of records; ENTITY=FILE gives the records that references lead to
    #[arg(long, value_name = "[ENTITY=]FILE", num_args = 1..)]
    data: Vec<String>,
    /// A system of the configuration: its table, or with `--data` files that have its columns, read through its mapping
    #[arg(long)]
    system: Option<String>,
    /// The records are patches: nothing is required of them
    #[arg(long, conflicts_with = "system")]
    patch: bool,
    /// A JSON Schema of any draft instead of a contract
    #[arg(long, value_name = "FILE", conflicts_with_all = ["contract", "system", "patch"])]
    schema: Option<PathBuf>,
    /// What a JSON Schema refers to, by URI; nothing is ever fetched
    #[arg(long, value_name = "URI=FILE", requires = "schema")]
    resource: Vec<String>,
    /// Take `format` of a JSON Schema for a rule and not for a remark
    #[arg(long, requires = "schema")]
    assert_formats: bool,
    /// Most examples of each fault
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(0..=100))]
    examples: u16,
}

impl Args {
    pub(super) async fn run(self, cx: &Context) -> Exit {
        let tested = match (&self.schema, &self.system) {
            (Some(schema), _) => self.documents(cx, schema),
            (None, Some(system)) if self.data.is_empty() => self.live(cx, system).await,
            (None, Some(system)) => self.exported(cx, system),
            (None, None) => self.files(cx),
        };
        let tested = match tested {
            Ok(tested) => tested,
            Err(exit) => return exit,
        };
        if cx.output.is_json() {
            cx.output.json(&tested);
        } else {
            cx.output.text(&text(&tested));
        }
        if tested.ok {
            Exit::Clean
        } else {
            Exit::Findings
        }
    }

    /// Files of records against a contract.
    fn files(&self, cx: &Context) -> Result<Tested, Exit> {
        let Some(contract) = &self.contract else {
            let help =
                "name an entity or a contract's file, or a JSON Schema with --schema".to_owned();
            return Err(cx.unknown("there is nothing to test by".to_owned(), help));
        };
        let contract = named::contract(cx, contract)?;
        let (own, others) = self.split(cx, &contract)?;
        let mut trial = self.trial(cx, &contract)?;
        let wanted = trial.sets().references();
        let progress = Progress::new();
        for (entity, file) in read_first(&own, &others, &contract, &wanted) {
            let fields = wanted
                .iter()
                .filter(|referenced| referenced.entity == entity);
            let fields: Vec<&Referenced> = fields.collect();
            for referenced in &fields {
                trial.sets().know(entity, &referenced.field, None);
            }
            let read = file.read(&mut |piece, line| {
                progress.records(entity, line);
                for referenced in &fields {
                    let value = value_of(piece, &referenced.field, referenced.kind);
                    trial.sets().know(entity, &referenced.field, value.as_ref());
                }
            });
            read.map_err(|error| unreadable(cx, &error))?;
        }
        for file in &own {
            let name = file.path.display();
            let read = file.read(&mut |piece, line| {
                trial.piece(piece, &format_args!("{name}:{line}"));
                progress.records(&contract.entity, trial.records());
            });
            read.map_err(|error| unreadable(cx, &error))?;
        }
        drop(progress);
        let mut notes = Vec::new();
        if self.patch {
            notes.push("rules over many records were not judged: patches are not whole".to_owned());
        }
        let cure = |lacking: &Referenced| {
            let Referenced { entity, field, .. } = lacking;
            format!("give records of `{entity}` with their `{field}`: add `--data {entity}=FILE`")
        };
        Ok(trial.finish(Timestamp::now(), notes, &cure))
    }

    /// The files of the contract's own records, and those of other entities.
    fn split(&self, cx: &Context, contract: &Contract) -> Result<(Vec<DataFile>, OfOthers), Exit> {
        let (mut own, mut others) = (Vec::new(), Vec::new());
        for given in &self.data {
            let (entity, path) = match given.split_once('=') {
                // A file may well have such a name.
                Some((entity, path)) if !Path::new(given).exists() => (Some(entity), path),
                _ => (None, given.as_str()),
            };
            let file = DataFile::of(Path::new(path)).map_err(|error| unreadable(cx, &error))?;
            match entity {
                Some(entity) if entity != contract.entity => others.push((entity.to_owned(), file)),
                _ => own.push(file),
            }
        }
        if own.is_empty() {
            let help = "name files with --data, or a system with --system".to_owned();
            return Err(cx.unknown("there is no data to test".to_owned(), help));
        }
        let referenced: Vec<&str> = contract
            .fields
            .iter()
            .filter_map(|field| Some(field.reference.as_ref()?.entity.as_str()))
            .chain(contract.rules.iter().filter_map(|rule| match &rule.check {
                lockstep_core::contract::Check::Exists { entity, .. } => Some(entity.as_str()),
                _ => None,
            }))
            .collect();
        for (entity, _) in &others {
            if !referenced.contains(&entity.as_str()) {
                let message = format!("no rule of `{}` looks at `{entity}`", contract.entity);
                return Err(cx.unknown(message, suggestion(entity, referenced.iter().copied())));
            }
        }
        Ok((own, others))
    }

    fn trial<'c>(&self, cx: &Context, contract: &'c Contract) -> Result<Trial<'c>, Exit> {
        let trial = Trial::new(contract, !self.patch, usize::from(self.examples));
        trial.map_err(|error| cx.failed(&error))
    }

    /// The entity that is meant, with a configuration.
    fn entity(&self, cx: &Context, config: &Config) -> Result<String, Exit> {
        match &self.contract {
            Some(named) if config.contracts.contains_key(named) => Ok(named.clone()),
            Some(file) if Path::new(file).is_file() => Ok(named::contract(cx, file)?.entity),
            Some(named) => Ok(named.clone()),
            None => {
                let help = suggestion("", config.contracts.keys().map(String::as_str));
                Err(cx.unknown("name the entity to test".to_owned(), help))
            }
        }
    }

    /// Files with the columns of a system, through its mapping.
    fn exported(&self, cx: &Context, system: &str) -> Result<Tested, Exit> {
        let config = cx.load()?;
        let entity = self.entity(cx, &config)?;
        let (contract, _) = system::mapping(cx, &config, system, &entity)?;
        let (own, others) = self.split(cx, contract)?;
        let mut trial = self.trial(cx, contract)?;
        let wanted = trial.sets().references();
        for (entity, file) in read_first(&own, &others, contract, &wanted) {
            let records = Exported::open(cx, &config, system, entity, &[file])?;
            let (other, _) = system::mapping(cx, &config, system, entity)?;
            let of = |referenced: &&Referenced| referenced.entity == entity;
            let fields: Vec<(&str, usize)> = wanted
                .iter()
                .filter(of)
                .filter_map(|referenced| {
                    let field = referenced.field.as_str();
                    Some((field, other.field(field)?))
                })
                .collect();
            for (field, _) in &fields {
                trial.sets().know(entity, field, None);
            }
            let read = file.read(&mut |piece, _| {
                if let Ok(Some((record, _))) = records.record(piece) {
                    for (field, at) in &fields {
                        trial.sets().know(entity, field, record.value(*at));
                    }
                }
            });
            read.map_err(|error| unreadable(cx, &error))?;
        }
        let files: Vec<&DataFile> = own.iter().collect();
        let records = Exported::open(cx, &config, system, &entity, &files)?;
        let progress = Progress::new();
        for file in files {
            let name = file.path.display();
            let read = file.read(&mut |piece, line| {
                let at = format_args!("{name}:{line}");
                match records.record(piece) {
                    Ok(Some((record, found))) => trial.row(&record, &found, &at),
                    Ok(None) => {}
                    Err(why) => trial.piece(Piece::Broken(&why), &at),
                }
                progress.records(&entity, trial.records());
            });
            read.map_err(|error| unreadable(cx, &error))?;
        }
        drop(progress);
        let unread = records.unread();
        let mut notes = Vec::new();
        if !unread.is_empty() {
            notes.push(format!("`{system}` does not hold {}", unread.join(", ")));
        }
        let cure = |lacking: &Referenced| {
            let entity = &lacking.entity;
            format!(
                "give an export of `{entity}` with the columns of `{system}`: add `--data {entity}=FILE`"
            )
        };
        Ok(trial.finish(Timestamp::now(), notes, &cure))
    }

    /// A table of a system through its mapping.
    async fn live(&self, cx: &Context, system: &str) -> Result<Tested, Exit> {
        let config = cx.load()?;
        let entity = self.entity(cx, &config)?;
        let (contract, mapping) = system::mapping(cx, &config, system, &entity)?;
        let table = Table::open(cx, &config, system, &mapping.table).await?;
        let plan = table.plan(cx, &config, (system, mapping, contract))?;
        let mut trial = self.trial(cx, contract)?;
        let mut notes = Vec::new();
        for referenced in trial.sets().references() {
            if config.mapping(system, &referenced.entity).is_none() {
                continue;
            }
            let values = known(cx, &config, system, &referenced).await?;
            trial
                .sets()
                .know(&referenced.entity, &referenced.field, None);
            for value in values {
                trial
                    .sets()
                    .know(&referenced.entity, &referenced.field, Some(&value));
            }
        }
        let progress = Progress::new();
        let mut number = 0_u64;
        let columns = plan.columns();
        let read = table.rows(&columns, |row| {
            number += 1;
            if let Some((record, found)) = system::record(&plan, contract, &row) {
                judge(&mut trial, contract, &record, &found, number);
            }
            progress.records(&entity, number);
        });
        read.await
            .map_err(|error| system::failed(cx, &config, system, &error))?;
        drop(progress);
        let unread: Vec<&str> = contract
            .fields
            .iter()
            .enumerate()
            .filter(|(at, _)| !plan.reads(*at))
            .map(|(_, field)| field.name.as_str())
            .collect();
        if !unread.is_empty() {
            notes.push(format!("`{system}` does not hold {}", unread.join(", ")));
        }
        let cure = |lacking: &Referenced| {
            let entity = &lacking.entity;
            format!(
                "system `{system}` has no mapping for `{entity}`: add `[systems.{system}.map.{entity}]`, or test exports: `--data FILE {entity}=FILE`"
            )
        };
        Ok(trial.finish(Timestamp::now(), notes, &cure))
    }

    /// Documents against a JSON Schema.
    fn documents(&self, cx: &Context, schema: &Path) -> Result<Tested, Exit> {
        let mut resources = Resources::default();
        for given in &self.resource {
            let Some((uri, file)) = given.split_once('=') else {
                let help = "write --resource URI=FILE".to_owned();
                return Err(cx.unknown(format!("`{given}` names no file"), help));
            };
            resources.add(uri, json(cx, Path::new(file))?);
        }
        let schema = json(cx, schema)?;
        let compiled = PlainSchema::compile(&schema, resources, self.assert_formats);
        let compiled = compiled.map_err(|error| {
            let help = error.help_text().unwrap_or_default().to_owned();
            cx.unknown(error.chain(), help)
        })?;
        if self.data.is_empty() {
            let help = "name files with --data".to_owned();
            return Err(cx.unknown("there is no data to test".to_owned(), help));
        }
        let mut tally = Tally::new(usize::from(self.examples));
        let progress = Progress::new();
        for given in &self.data {
            let path = Path::new(given);
            let file = DataFile::of(path).map_err(|error| unreadable(cx, &error))?;
            match file.form {
                // A schema may be one of lists, so a document is never taken apart.
                Form::Document => {
                    let document = json(cx, path)?;
                    judge_document(&compiled, &document, &path.display(), &mut tally);
                }
                Form::Lines => {
                    let read = file.read(&mut |piece, line| {
                        let at = format!("{given}:{line}");
                        match piece {
                            Piece::Json(text) => judge_line(&compiled, text, &at, &mut tally),
                            Piece::Values(..) | Piece::Broken(_) => {}
                        }
                        progress.records(given, line);
                    });
                    read.map_err(|error| unreadable(cx, &error))?;
                }
                Form::Table => {
                    let help = "write the records as .jsonl, or test them by a contract".to_owned();
                    return Err(cx.unknown(
                        "a JSON Schema judges JSON, and a table is none".to_owned(),
                        help,
                    ));
                }
            }
        }
        drop(progress);
        Ok(Tested::of_documents(&tally))
    }
}

/// The values of a field of another entity in the same system.
async fn known(
    cx: &Context,
    config: &Config,
    system: &str,
    referenced: &Referenced,
) -> Result<Vec<Value>, Exit> {
    let (contract, mapping) = system::mapping(cx, config, system, &referenced.entity)?;
    let Some(at) = contract.field(&referenced.field) else {
        let names = contract.fields.iter().map(|field| field.name.as_str());
        let message = format!("`{}` has no field `{}`", contract.entity, referenced.field);
        return Err(cx.unknown(message, suggestion(&referenced.field, names)));
    };
    let table = Table::open(cx, config, system, &mapping.table).await?;
    let plan = table.plan(cx, config, (system, mapping, contract))?;
    let mut values = Vec::new();
    let columns = plan.columns();
    let read = table.rows(&columns, |row| {
        if let Some((record, _)) = system::record(&plan, contract, &row) {
            values.extend(record.value(at).cloned());
        }
    });
    read.await
        .map_err(|error| system::failed(cx, config, system, &error))?;
    Ok(values)
}

/// Judges a record of a system; it is named by its key where that may be seen.
fn judge(
    trial: &mut Trial<'_>,
    contract: &Contract,
    record: &Row,
    found: &[Violation],
    number: u64,
) {
    let visible = contract
        .key
        .iter()
        .all(|at| contract.fields[*at].class < Class::Personal);
    let key: Option<Vec<&Value>> = contract.key.iter().map(|at| record.value(*at)).collect();
    match key {
        Some(key) if visible => {
            let key: Vec<String> = key.into_iter().map(ToString::to_string).collect();
            trial.row(
                record,
                found,
                &format_args!("{}/{}", contract.entity, key.join("|")),
            );
        }
        _ => trial.row(record, found, &format_args!("row {number}")),
    }
}

fn judge_line(schema: &PlainSchema, text: &[u8], at: &str, tally: &mut Tally) {
    match serde_json::from_slice(text) {
        Ok(document) => judge_document(schema, &document, &at, tally),
        Err(error) => {
            let violation = Violation {
                field: None,
                rule: "json".to_owned(),
                message: format!("not JSON: column {}", error.column()),
                outcome: Outcome::Quarantine,
            };
            tally.violation(&violation, &at);
            tally.record(Some(violation.outcome));
        }
    }
}

fn judge_document(
    schema: &PlainSchema,
    document: &Json,
    at: &dyn std::fmt::Display,
    tally: &mut Tally,
) {
    let found = schema.judge(document);
    for violation in &found {
        tally.violation(violation, at);
    }
    tally.record(lockstep_core::contract::check::worst(&found));
}

/// The files whose values references lead to, each with its entity; where they lead to the contract's own records, those are read before they are judged.
fn read_first<'f>(
    own: &'f [DataFile],
    others: &'f OfOthers,
    contract: &'f Contract,
    wanted: &[Referenced],
) -> Vec<(&'f str, &'f DataFile)> {
    let others = others.iter().map(|(entity, file)| (entity.as_str(), file));
    let to_own = wanted.iter().any(|one| one.entity == contract.entity);
    let own = own.iter().filter(|_| to_own);
    others
        .chain(own.map(|file| (contract.entity.as_str(), file)))
        .collect()
}

fn json(cx: &Context, path: &Path) -> Result<Json, Exit> {
    let shown = path.display();
    let text = fs::read_to_string(path);
    let text = text.map_err(|error| {
        let message = format!("`{shown}` cannot be read: {}", reason(&error));
        cx.unknown(message, "name a JSON file".to_owned())
    })?;
    serde_json::from_str(&text).map_err(|error| {
        let message = format!(
            "`{shown}` is not JSON: line {}, column {}",
            error.line(),
            error.column()
        );
        cx.unknown(message, "mend it there".to_owned())
    })
}

/// The result for people.
fn text(tested: &Tested) -> String {
    let mut text = String::new();
    if !tested.faults.is_empty() {
        let mut grid = Grid::new();
        grid.load_style(presets::UTF8_HORIZONTAL_ONLY);
        grid.set_header(["count", "field", "rule", "outcome", "first at"]);
        for fault in &tested.faults {
            let first = fault.examples.first();
            grid.add_row([
                fault.count.to_string(),
                clean(fault.field.as_deref().unwrap_or("(record)")),
                clean(&fault.rule),
                fault.outcome.name().to_owned(),
                first.map_or_else(String::new, |example| clean(&example.at)),
            ]);
        }
        let _ = writeln!(text, "{grid}\n");
        for fault in &tested.faults {
            for example in &fault.examples {
                let field = fault.field.as_deref().unwrap_or("record");
                let line = format!("{} {field}: {}", example.at, example.message);
                let _ = writeln!(text, "  {}", clean(&line));
            }
        }
        text.push('\n');
    }
    for rule in &tested.rules {
        let mark = match (rule.verdict, rule.outcome) {
            (RuleVerdict::Yes, _) => "ok  ",
            (RuleVerdict::NotJudged, _) => "—   ",
            (RuleVerdict::No, Outcome::Pass | Outcome::Warn) => "warn",
            (RuleVerdict::No, _) => "FAIL",
        };
        let line = format!("{}: {}", rule.rule, rule.message);
        let _ = writeln!(text, "{mark} {}", clean(&line));
        if let Some(help) = &rule.help {
            let _ = writeln!(text, "       help: {}", clean(help));
        }
        for example in &rule.examples {
            let line = format!("{} {}", example.at, example.message);
            let _ = writeln!(text, "       {}", clean(&line));
        }
    }
    for note in &tested.notes {
        let _ = writeln!(text, "note: {}", clean(note));
    }
    let records = usize::try_from(tested.records).unwrap_or(usize::MAX);
    let _ = writeln!(
        text,
        "{}, {} without a fault{}",
        count(records, "record"),
        tested.sound,
        if tested.ok { "" } else { "; not good enough" }
    );
    text
}
