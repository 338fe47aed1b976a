//! Records of a live system, for `test` and `profile`: through the mapping, or as they stand.

use std::sync::Arc;

use lockstep_core::connector::{DynReader, Page};
use lockstep_core::contract::{Contract, Violation};
use lockstep_core::diagnostic::{Diagnostic, suggestion};
use lockstep_core::error::Error;
use lockstep_core::gate::{Mapping, ReadPlan};
use lockstep_core::{Cell, Row, Shape, Value};

use crate::cli::{Context, Exit};
use crate::config::Config;
use crate::config::preflight::{self, placed};

/// Rows that are read at once.
const PAGE_ROWS: usize = 2_000;

/// A table that is open for reading.
pub(super) struct Table {
    reader: Box<dyn DynReader>,
    /// Its columns.
    pub(super) shape: Arc<Shape>,
}

/// The mapping of an entity in a system of the configuration.
///
/// # Errors
/// What to end with: it is shown already.
pub(super) fn mapping<'a>(
    cx: &Context,
    config: &'a Config,
    system: &str,
    entity: &str,
) -> Result<(&'a Contract, &'a Mapping), Exit> {
    let Some(contract) = config.contracts.get(entity) else {
        let help = suggestion(entity, config.contracts.keys().map(String::as_str));
        return Err(cx.unknown(format!("the configuration has no entity `{entity}`"), help));
    };
    let Some(known) = config.systems.get(system) else {
        let help = suggestion(system, config.systems.keys().map(String::as_str));
        return Err(cx.unknown(format!("there is no system `{system}`"), help));
    };
    let Some(mapping) = known.map.get(entity) else {
        let help = suggestion(entity, known.map.keys().map(String::as_str));
        let message = format!("system `{system}` has no mapping for `{entity}`");
        return Err(cx.unknown(message, help));
    };
    Ok((contract, mapping))
}

/// Ends a command because a system did not answer as it should.
pub(super) fn failed(cx: &Context, config: &Config, system: &str, error: &Error) -> Exit {
    let finding: Diagnostic = preflight::diagnostic(config, system, error);
    let exit = match finding.code {
        "LS-P001" => Exit::Environment,
        _ => Exit::Usage,
    };
    cx.fail(&[finding], exit)
}

impl Table {
    /// Opens a table of a system.
    ///
    /// # Errors
    /// What to end with: it is shown already.
    pub(super) async fn open(
        cx: &Context,
        config: &Config,
        system: &str,
        table: &str,
    ) -> Result<Table, Exit> {
        let opened = preflight::open_reader(config, &cx.registry, system, table).await;
        let (reader, shape) = opened.map_err(|error| failed(cx, config, system, &error))?;
        if shape.key.is_empty() {
            let message = format!(
                "table `{table}` of `{system}` has no key, so it cannot be read page by page"
            );
            return Err(cx.unknown(message, "give the table a primary key".to_owned()));
        }
        Ok(Table { reader, shape })
    }

    /// Compiles a mapping of the table, as far as it can be read.
    ///
    /// # Errors
    /// What to end with: it is shown already.
    pub(super) fn plan(
        &self,
        cx: &Context,
        config: &Config,
        (system, mapping, contract): (&str, &Mapping, &Contract),
    ) -> Result<ReadPlan, Exit> {
        let plan = ReadPlan::compile(mapping, &self.shape, contract, &config.values, true);
        plan.map_err(|problems| {
            let placed = |problem| placed(config, system, &contract.entity, problem);
            let findings: Vec<Diagnostic> = problems.into_iter().map(placed).collect();
            cx.fail(&findings, Exit::Usage)
        })
    }

    /// Reads every row with these columns.
    ///
    /// # Errors
    /// The system does not answer.
    pub(super) async fn rows(
        &self,
        columns: &[String],
        mut each: impl FnMut(Row),
    ) -> Result<(), Error> {
        let name = |at: &usize| self.shape.columns[*at].name.clone();
        let key: Vec<String> = self.shape.key.iter().map(name).collect();
        // The key's columns ride along behind the others, to know where the next page begins.
        let mut all = columns.to_vec();
        all.extend(key.iter().cloned());
        let mut after: Option<Vec<Value>> = None;
        loop {
            let page = Page {
                table: &self.shape.name,
                columns: &all,
                key: &key,
                after: after.as_deref(),
                limit: PAGE_ROWS,
                ..Page::default()
            };
            let rows = self.reader.scan(page).await?;
            let last = rows.len() < PAGE_ROWS;
            for mut row in rows {
                let ends = row.0.split_off(columns.len());
                let ends = ends.into_iter().filter_map(|cell| match cell {
                    Cell::Set(value) => Some(value),
                    Cell::Unchanged => None,
                });
                after = Some(ends.collect());
                each(row);
            }
            if last {
                return Ok(());
            }
        }
    }
}

/// A row as a record in contract form, and what of it cannot be mapped; `None` where the mapping leaves it out.
pub(super) fn record(
    plan: &ReadPlan,
    contract: &Contract,
    row: &Row,
) -> Option<(Row, Vec<Violation>)> {
    match plan.record(row) {
        Ok(record) => record.map(|record| (record, Vec::new())),
        Err(rejection) => {
            let mut record = plan.readable(row);
            record.0.resize(contract.fields.len(), Cell::Unchanged);
            Some((record, rejection.violations))
        }
    }
}
