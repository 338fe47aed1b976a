//! Files with a system's own columns, such as an export of its table, read through the system's mapping; the system itself is not opened.
//!
//! A file says no types: what a column holds is what the mapping makes of it, as for a system that declares none.

use std::collections::{BTreeMap, BTreeSet};

use lockstep_core::contract::{Contract, Violation};
use lockstep_core::diagnostic::Diagnostic;
use lockstep_core::gate::ReadPlan;
use lockstep_core::{Cell, Column, Decimal, Row, Shape, Value};
use serde_json::value::RawValue;

use super::data::unreadable;
use super::system;
use crate::cli::{Context, Exit};
use crate::config::Config;
use crate::config::preflight::placed;
use crate::contract::data::{DataFile, Piece};

/// Most columns of the files together.
const COLUMNS_MAX: usize = 10_000;

/// The mapping of an entity, compiled for files.
pub(super) struct Exported<'c> {
    contract: &'c Contract,
    plan: ReadPlan,
    columns: Vec<String>,
}

impl<'c> Exported<'c> {
    /// Compiles a system's mapping of an entity for the columns that stand in the files.
    ///
    /// # Errors
    /// What to end with: it is shown already.
    pub(super) fn open(
        cx: &Context,
        config: &'c Config,
        system: &str,
        entity: &str,
        files: &[&DataFile],
    ) -> Result<Exported<'c>, Exit> {
        let (contract, mapping) = system::mapping(cx, config, system, entity)?;
        let mut names = BTreeSet::new();
        for file in files {
            let read = file.read(&mut |piece, _| {
                if names.len() < COLUMNS_MAX {
                    learn(piece, &mut names);
                }
            });
            read.map_err(|error| unreadable(cx, &error))?;
        }
        let column = |name: String| Column {
            name,
            kind: None,
            nullable: true,
            length: None,
            list: false,
        };
        let shape = Shape {
            name: mapping.table.clone(),
            columns: names.into_iter().map(column).collect(),
            key: Vec::new(),
        };
        let plan = ReadPlan::compile(mapping, &shape, contract, &config.values, true);
        let plan = plan.map_err(|problems| {
            let placed = |problem| placed(config, system, entity, problem);
            let findings: Vec<Diagnostic> = problems.into_iter().map(placed).collect();
            cx.fail(&findings, Exit::Usage)
        })?;
        Ok(Exported {
            contract,
            columns: plan.columns(),
            plan,
        })
    }

    /// The fields that the mapping does not read.
    pub(super) fn unread(&self) -> Vec<&'c str> {
        let fields = self.contract.fields.iter().enumerate();
        let unread = fields.filter(|(at, _)| !self.plan.reads(*at));
        unread.map(|(_, field)| field.name.as_str()).collect()
    }

    /// A row of a file as a record, and what of it cannot be mapped; `None` where the mapping leaves it out.
    ///
    /// # Errors
    /// Why it is no row.
    pub(super) fn record(&self, piece: Piece<'_>) -> Result<Option<(Row, Vec<Violation>)>, String> {
        let cells = |value: &dyn Fn(&str) -> Value| {
            let columns = self.columns.iter();
            Row(columns.map(|name| Cell::Set(value(name))).collect())
        };
        let row = match piece {
            Piece::Broken(why) => return Err(why.to_owned()),
            Piece::Values(names, values) => cells(&|column| {
                let at = names.iter().position(|name| name == column);
                match at.and_then(|at| values.get(at)) {
                    Some(text) if !text.is_empty() => Value::text(text.as_str()),
                    _ => Value::Null,
                }
            }),
            Piece::Json(text) => {
                let members = members(text)?;
                cells(&|column| members.get(column).map_or(Value::Null, |raw| value(raw)))
            }
        };
        Ok(system::record(&self.plan, self.contract, &row))
    }
}

/// Notes the columns of a row.
fn learn(piece: Piece<'_>, names: &mut BTreeSet<String>) {
    match piece {
        Piece::Values(columns, _) => names.extend(columns.iter().cloned()),
        Piece::Json(text) => {
            let found = members(text).unwrap_or_default();
            names.extend(found.into_keys());
        }
        Piece::Broken(_) => {}
    }
}

fn members(text: &[u8]) -> Result<BTreeMap<String, &RawValue>, String> {
    serde_json::from_slice(text).map_err(|error| {
        // The parser's own words may show a value.
        format!("it is no JSON object: column {}", error.column())
    })
}

/// A JSON value as it stands: numbers exactly.
fn value(raw: &RawValue) -> Value {
    let text = raw.get();
    match text.as_bytes().first() {
        Some(b'n') => Value::Null,
        Some(b't') => Value::Bool(true),
        Some(b'f') => Value::Bool(false),
        Some(b'"') => match serde_json::from_str::<String>(text) {
            Ok(text) => Value::text(text),
            Err(_) => Value::Null,
        },
        Some(b'{' | b'[') => Value::Json(text.into()),
        _ => match (text.parse::<i64>(), text.parse::<Decimal>()) {
            (Ok(number), _) => Value::Int(number),
            (Err(_), Ok(number)) => Value::Decimal(number),
            // With an exponent.
            (Err(_), Err(_)) => text.parse().map_or(Value::Null, Value::Float),
        },
    }
}
