//! `lockstep contract drift`: systems as they are beside what their contracts and mappings expect.

use comfy_table::{Table, presets};
use lockstep_core::contract::drift::Kind;

use crate::cli::{Context, Exit};
use crate::drift::{Report, TableReport, report};

/// Compare systems with their contracts: which fields are as expected, which tables have more, and which do not fit any more
///
/// Looks at the systems as they are now and changes nothing. What a table was like before comes from the log, so what is new is told from what was always so.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    lockstep contract drift\n  \
    lockstep contract drift crm\n  \
    lockstep contract drift customer --json\n\n\
    Exit codes: 0 nothing breaks, 1 something does not fit any more, 2 unreadable configuration or wrong usage, 3 a system cannot be looked at.")]
pub(super) struct Args {
    /// A system or an entity; all of them if absent
    name: Option<String>,
    /// Show the fields that are as expected, too
    #[arg(long)]
    all: bool,
}

impl Args {
    pub(super) async fn run(self, cx: &Context) -> Exit {
        let config = match cx.load_as_known().await {
            Ok(config) => config,
            Err(exit) => return exit,
        };
        let name = self.name.as_deref();
        if let Some(name) = name
            && !config.systems.contains_key(name)
            && !config.contracts.contains_key(name)
        {
            let known = config.systems.keys().chain(config.contracts.keys());
            let known = known.map(String::as_str);
            let help = lockstep_core::diagnostic::suggestion(name, known);
            return cx.unknown(format!("no such system or entity `{name}`"), help);
        }
        let report = report(&config, &cx.registry, name).await;
        if cx.output.is_json() {
            cx.output.json(&report);
        } else {
            cx.output.text(&shown(&report, self.all));
        }
        if report.kind == Kind::Breaking {
            Exit::Findings
        } else if report.tables.iter().any(|table| table.error.is_some()) {
            Exit::Environment
        } else {
            Exit::Clean
        }
    }
}

fn shown(report: &Report, all: bool) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header([
        "system",
        "entity",
        "table",
        "field",
        "drift",
        "why, and what mends it",
    ]);
    for one in &report.tables {
        rows(one, all, &mut table);
    }
    let mut text = table.to_string();
    for taken in &report.taken {
        text.push_str(&format!(
            "\n{} {} has fields that its file does not have yet; put them among its properties, with that version:\n{}",
            taken.entity, taken.version, taken.yaml
        ));
    }
    text
}

fn rows(one: &TableReport, all: bool, table: &mut Table) {
    let place = [&one.system, &one.entity, &one.table].map(String::as_str);
    let row = |field: &str, kind: &str, why: &str| {
        let cells = place.iter().copied().chain([field, kind, why]);
        cells.map(str::to_owned).collect::<Vec<_>>()
    };
    if let Some(error) = &one.error {
        table.add_row(row("*", "unknown", error));
        return;
    }
    let mut quiet = true;
    for drift in &one.fields {
        if drift.kind != Kind::Ok || all {
            quiet = false;
            table.add_row(row(&drift.field, word(drift.kind), &why(drift)));
        }
    }
    if quiet {
        table.add_row(row("*", "ok", ""));
    }
}

fn why(drift: &lockstep_core::contract::drift::Drift) -> String {
    if drift.kind == Kind::Ok {
        return String::new();
    }
    drift.to_string()
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Ok => "ok",
        Kind::Additive => "additive",
        Kind::Breaking => "breaking",
    }
}
