//! A mapping compiled for a trial, and what it makes of one row.

use std::sync::Arc;

use jiff::Timestamp;
use lockstep_core::connector::{DynReader, Page, Registry};
use lockstep_core::contract::{Checker, Contract, Violation};
use lockstep_core::diagnostic::{Diagnostic, suggestion};
use lockstep_core::gate::{Mapping, Problem, ReadPlan, WritePlan};
use lockstep_core::position::Mark;
use lockstep_core::{Change, Error, Op, Row, Shape};

use super::mask::Mask;
use super::{Broken, Direction, Failed, Line, Try};
use crate::cli::Exit;
use crate::config::Config;
use crate::config::preflight::{self, placed};

/// Everything compiled that a row passes through.
pub(super) struct Plan<'a> {
    config: &'a Config,
    contract: &'a Contract,
    /// The system that the rows come from, and how the entity stands in it.
    pub(super) from: &'a str,
    pub(super) mapping: &'a Mapping,
    reader: Box<dyn DynReader>,
    table: Arc<Shape>,
    /// The columns that are read, as a shape.
    shape: Shape,
    read: ReadPlan,
    partial: bool,
    checker: Checker,
    write: Option<Write>,
    row_mask: Mask,
    record_mask: Mask,
}

/// The writing end.
struct Write {
    plan: WritePlan,
    mask: Mask,
}

/// Compiles what was asked for against the tables as they are.
pub(super) async fn compile<'a>(
    asked: &Try,
    config: &'a Config,
    registry: &Registry,
) -> Result<Plan<'a>, Failed> {
    let (system, contract, target) = known(asked, config)?;
    let (from, mapping, direction) = source(asked, config, system, target)?;
    let masked = if asked.show_values {
        Mask::none()
    } else {
        Mask::fields(contract)
    };
    let opened = preflight::open_reader(config, registry, from, &mapping.table).await;
    let (reader, table) = opened.map_err(|error| failed(config, from, &error))?;
    // What a system says must be readable whole; what it only hears, as far as the mapping goes.
    let says = |flow: &crate::config::Flow| flow.entity == asked.entity && flow.from == from;
    let partial = !config.flows.values().any(says);
    let read = ReadPlan::compile(mapping, &table, contract, &config.values, partial);
    let read = read.map_err(|problems| unmapped(config, from, &asked.entity, problems))?;
    let checker = Checker::compile(contract).map_err(|error| failed(config, from, &error))?;
    let write = match direction {
        Direction::Read => None,
        Direction::Write => {
            let shape = preflight::target_shape(config, registry, system, &target.table).await;
            let shape = shape.map_err(|error| failed(config, system, &error))?;
            let plan = WritePlan::compile(target, contract, &shape, &config.values);
            Some(Write {
                plan: plan.map_err(|problems| unmapped(config, system, &asked.entity, problems))?,
                mask: masked.columns(target, &shape),
            })
        }
    };
    Ok(Plan {
        config,
        contract,
        from,
        mapping,
        reader,
        shape: part(&table, &read.columns()),
        row_mask: masked.columns(mapping, &table),
        record_mask: masked,
        table,
        read,
        partial,
        checker,
        write,
    })
}

/// The system, contract and mapping that were asked for.
fn known<'a>(
    asked: &Try,
    config: &'a Config,
) -> Result<(&'a str, &'a Contract, &'a Mapping), Failed> {
    let Try { system, entity, .. } = asked;
    let Some(contract) = config.contracts.get(entity) else {
        let known = config.contracts.keys().map(String::as_str);
        let help = suggestion(entity, known);
        return Err(unknown(format!("no such entity `{entity}`"), help));
    };
    let Some((name, known)) = config.systems.get_key_value(system) else {
        let help = suggestion(system, config.systems.keys().map(String::as_str));
        return Err(unknown(format!("no such system `{system}`"), help));
    };
    let Some(mapping) = known.map.get(entity) else {
        let help = suggestion(entity, known.map.keys().map(String::as_str));
        let message = format!("system `{system}` has no mapping for `{entity}`");
        return Err(unknown(message, help));
    };
    Ok((name, contract, mapping))
}

/// Where the rows come from and which way they go: for a target of a flow, from the flow's source, unless reading was asked for.
fn source<'a>(
    asked: &Try,
    config: &'a Config,
    system: &'a str,
    mapping: &'a Mapping,
) -> Result<(&'a str, &'a Mapping, Direction), Failed> {
    let hears = |flow: &&crate::config::Flow| {
        flow.entity == asked.entity && flow.to.iter().any(|to| to == system)
    };
    let flow = config.flows.values().find(hears);
    let direction = asked.direction.unwrap_or(match flow {
        Some(_) => Direction::Write,
        None => Direction::Read,
    });
    if direction == Direction::Read {
        return Ok((system, mapping, direction));
    }
    let source =
        flow.and_then(|flow| Some((&flow.from, config.mapping(&flow.from, &flow.entity)?)));
    match source {
        Some((from, mapping)) => Ok((from, mapping, direction)),
        None => Err(unknown(
            format!("no flow writes `{}` to `{system}`", asked.entity),
            "use `--direction read`, or add the system to a flow of the entity".to_owned(),
        )),
    }
}

fn unknown(message: String, help: String) -> Failed {
    let finding = Diagnostic::error("LS-U001", message).help(help);
    (vec![finding], Exit::Usage)
}

/// A system that did not answer as it should.
fn failed(config: &Config, system: &str, error: &Error) -> Failed {
    let finding = preflight::diagnostic(config, system, error);
    let exit = match finding.code {
        "LS-P001" => Exit::Environment,
        _ => Exit::Findings,
    };
    (vec![finding], exit)
}

/// A mapping that does not compile.
fn unmapped(config: &Config, system: &str, entity: &str, problems: Vec<Problem>) -> Failed {
    let findings = problems
        .into_iter()
        .map(|problem| placed(config, system, entity, problem))
        .collect();
    (findings, Exit::Findings)
}

/// The named columns of a shape, in the order of the names.
fn part(table: &Shape, names: &[String]) -> Shape {
    let columns = names
        .iter()
        .filter_map(|name| table.columns.get(table.position(name)?).cloned());
    Shape {
        name: table.name.clone(),
        columns: columns.collect(),
        key: Vec::new(),
    }
}

impl Plan<'_> {
    /// Which way the rows go.
    pub(super) fn direction(&self) -> Direction {
        match self.write {
            Some(_) => Direction::Write,
            None => Direction::Read,
        }
    }

    /// The first rows of the table.
    pub(super) async fn rows(&self, limit: usize) -> Result<Vec<Row>, Failed> {
        let columns = self.read.columns();
        let key = self.table.key.iter();
        let key: Vec<String> = key
            .filter_map(|position| self.table.columns.get(*position))
            .map(|column| column.name.clone())
            .collect();
        let page = Page {
            table: &self.table.name,
            columns: &columns,
            key: &key,
            after: None,
            limit,
            ..Page::default()
        };
        let rows = preflight::within_deadline(self.reader.scan(page)).await;
        rows.map_err(|error| failed(self.config, self.from, &error))
    }

    /// One row, as far as it gets.
    pub(super) fn line(&self, row: &Row) -> Line {
        let mut line = Line {
            row: self.row_mask.row(&self.shape, row),
            record: None,
            written: None,
            skipped: false,
            violations: Vec::new(),
        };
        let record = match self.read.record(row) {
            Ok(Some(record)) => record,
            Ok(None) => {
                line.skipped = true;
                return line;
            }
            Err(rejection) => {
                line.violations = self.broken(rejection.violations, row, &Row::default());
                return line;
            }
        };
        let shape = self.contract.shape();
        line.record = Some(self.record_mask.row(&shape, &record));
        let mut violations = Vec::new();
        self.checker.check(&record, !self.partial, &mut violations);
        if let (Some(write), true) = (&self.write, violations.is_empty()) {
            match write.plan.map(&snapshot(&shape, record.clone())) {
                Ok(change) => line.written = Some(write.mask.row(&change.shape, &change.row)),
                Err(rejection) => violations = rejection.violations,
            }
        }
        line.violations = self.broken(violations, row, &record);
        line
    }

    fn broken(&self, violations: Vec<Violation>, row: &Row, record: &Row) -> Vec<Broken> {
        let shape = self.contract.shape();
        let hide = |text: &str| {
            let text = self.row_mask.text(text, &self.shape, row);
            self.record_mask.text(&text, &shape, record)
        };
        violations
            .into_iter()
            .map(|violation| Broken {
                field: violation.field,
                rule: violation.rule,
                message: hide(&violation.message),
            })
            .collect()
    }
}

/// The record as a change, as if it had just been read for the first time.
fn snapshot(shape: &Arc<Shape>, row: Row) -> Change {
    Change {
        shape: Arc::clone(shape),
        op: Op::Snapshot,
        row,
        before: None,
        mark: Mark::default(),
        committed_at: Timestamp::UNIX_EPOCH,
        origin: None,
    }
}
