//! `lockstep map try`: a mapping on live rows.

mod mask;
mod plan;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use clap::ValueEnum;
use lockstep_core::connector::Registry;
use lockstep_core::diagnostic::Diagnostic;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value as Json};

use super::check::count;
use super::{Context, Exit};
use crate::config::Config;

/// Work with mappings
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    Try(Try),
}

/// Show a mapping on live rows, changing nothing
///
/// Reading shows the system's row and the contract's record. Writing takes rows of the flow's source and shows what would be written. Values of personal and secret fields are hidden.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    lockstep map try crm customer\n  \
    lockstep map try warehouse customer --direction write --limit 20\n  \
    lockstep map try erp customer --direction read      read a target back\n\n\
    Exit codes: 0 every row fits, 1 a row does not fit or the mapping has errors, 2 wrong usage, 3 a system is out of reach.")]
struct Try {
    /// The system
    system: String,
    /// The entity
    entity: String,
    /// Most rows
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Read from the system or write to it; what the flows do with it if absent
    #[arg(long)]
    direction: Option<Direction>,
    /// Show values of personal and secret fields too
    #[arg(long)]
    show_values: bool,
}

/// Which way a mapping is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema, ValueEnum)]
#[serde(rename_all = "lowercase")]
enum Direction {
    /// From the system to the contract
    Read,
    /// From the contract to the system
    Write,
}

/// The result of `lockstep map try --json`.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Tried {
    /// The system whose mapping was tried.
    system: String,
    /// The entity.
    entity: String,
    /// Which way.
    direction: Direction,
    /// The system that the rows come from.
    from: String,
    /// The table that the rows come from.
    table: String,
    /// One entry per row.
    rows: Vec<Line>,
}

/// One row on its way.
#[derive(Debug, Serialize, JsonSchema)]
struct Line {
    /// The row as the system holds it.
    row: Map<String, Json>,
    /// The record in contract form; absent where the row cannot be mapped or is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<Map<String, Json>>,
    /// What would be written, when writing.
    #[serde(skip_serializing_if = "Option::is_none")]
    written: Option<Map<String, Json>>,
    /// Whether the mapping's filter leaves the row out.
    skipped: bool,
    /// The rules that it breaks; such a row would go to quarantine.
    violations: Vec<Broken>,
}

/// A broken rule.
#[derive(Debug, Serialize, JsonSchema)]
struct Broken {
    /// The field, or none for a rule over several.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// The rule.
    rule: String,
    /// What is wrong.
    message: String,
}

impl Args {
    pub(super) async fn run(self, cx: &Context) -> Exit {
        let What::Try(args) = self.what;
        let config = match cx.load_as_known().await {
            Ok(config) => config,
            Err(exit) => return exit,
        };
        let tried = match args.run(&config, &cx.registry).await {
            Ok(tried) => tried,
            Err((findings, exit)) => return cx.fail(&findings, exit),
        };
        if cx.output.is_json() {
            cx.output.json(&tried);
        } else {
            cx.output.text(&tried.text());
        }
        if tried.rows.iter().any(|line| !line.violations.is_empty()) {
            Exit::Findings
        } else {
            Exit::Clean
        }
    }
}

/// Why nothing could be tried, and how to end.
type Failed = (Vec<Diagnostic>, Exit);

impl Try {
    async fn run(self, config: &Config, registry: &Registry) -> Result<Tried, Failed> {
        let plan = plan::compile(&self, config, registry).await?;
        let rows = plan.rows(self.limit as usize).await?;
        Ok(Tried {
            direction: plan.direction(),
            from: plan.from.to_owned(),
            table: plan.mapping.table.clone(),
            rows: rows.iter().map(|row| plan.line(row)).collect(),
            system: self.system,
            entity: self.entity,
        })
    }
}

impl Tried {
    fn text(&self) -> String {
        let mut text = String::new();
        for (i, line) in self.rows.iter().enumerate() {
            let _ = writeln!(text, "{}.{}, row {}", self.from, self.table, i + 1);
            block(&mut text, &line.row);
            if line.skipped {
                text.push_str("  → left out by the mapping's filter\n");
            }
            if let Some(record) = &line.record {
                let _ = writeln!(text, "  → {}", self.entity);
                block(&mut text, record);
            }
            if let Some(written) = &line.written {
                let _ = writeln!(text, "  → {}", self.system);
                block(&mut text, written);
            }
            for broken in &line.violations {
                let field = broken.field.as_deref().unwrap_or("record");
                let _ = writeln!(text, "  ✗ {field}: {} ({})", broken.message, broken.rule);
            }
            text.push('\n');
        }
        let bad = self.rows.iter().filter(|line| !line.violations.is_empty());
        let _ = writeln!(
            text,
            "{}, {} not fitting",
            count(self.rows.len(), "row"),
            bad.count()
        );
        text
    }
}

fn block(text: &mut String, values: &Map<String, Json>) {
    let width = values.keys().map(|name| name.chars().count()).max();
    for (name, value) in values {
        let value = match value {
            Json::String(text) => text.clone(),
            other => other.to_string(),
        };
        let _ = writeln!(
            text,
            "    {name:<width$}  {value}",
            width = width.unwrap_or(0)
        );
    }
}
