//! `lockstep verify`: do the systems hold the same records.

use comfy_table::{Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use lockstep_core::error::Error;

use super::{Context, Exit};
use crate::api::Reach;
use crate::config;
use crate::verify::{Only, Verification, can_be_compared, verify};

/// Compare every flow's source with its targets and list the differences by key and field
///
/// Reads only. May run beside a running Lockstep: changes on their way and records in quarantine are told apart from differences.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    lockstep verify\n  \
    lockstep verify --entity customer --to warehouse\n  \
    lockstep verify --json | jq '.pairs[] | select(.different > 0)'\n\n\
    Exit codes: 0 equal, 1 differences, 2 unreadable configuration, 3 a system cannot be read, so nothing was compared.")]
pub(super) struct Args {
    /// Only this entity
    #[arg(long)]
    entity: Option<String>,
    /// Only this target
    #[arg(long)]
    to: Option<String>,
}

impl Args {
    pub(super) async fn run(self, cx: &Context) -> Exit {
        let config = match cx.load_as_known().await {
            Ok(config) => config,
            Err(exit) => return exit,
        };
        if let Some(entity) = self
            .entity
            .as_ref()
            .filter(|name| !config.contracts.contains_key(*name))
        {
            let known = config.contracts.keys().map(String::as_str);
            let help = lockstep_core::diagnostic::suggestion(entity, known);
            return cx.unknown(format!("there is no entity `{entity}`"), help);
        }
        if let Some(to) = self
            .to
            .as_ref()
            .filter(|name| !config.systems.contains_key(*name))
        {
            let known = config.systems.keys().map(String::as_str);
            let help = lockstep_core::diagnostic::suggestion(to, known);
            return cx.unknown(format!("there is no system `{to}`"), help);
        }
        let preflight = config::preflight(&config, &cx.registry).await;
        let compiled = |flow: &config::Flow, to: &str| {
            let planned = preflight
                .flows
                .iter()
                .find(|planned| planned.name == flow.name);
            planned.is_some_and(|planned| planned.targets.iter().any(|target| target.system == to))
        };
        let wanted = config
            .flows
            .values()
            .filter(|flow| self.entity.as_ref().is_none_or(|only| *only == flow.entity));
        let wanted = wanted.flat_map(|flow| flow.to.iter().map(move |to| (flow, to)));
        let wanted = wanted.filter(|(_, to)| self.to.as_ref().is_none_or(|only| only == *to));
        let (compared, inboxes): (Vec<_>, Vec<_>) =
            wanted.partition(|(flow, _)| can_be_compared(&config, &flow.from));
        for (flow, to) in &inboxes {
            tracing::warn!(
                flow = flow.name,
                to,
                "not compared: its source is an inbox, which tells changes and holds no records"
            );
        }
        if compared.is_empty() && !inboxes.is_empty() {
            let message = "there is nothing to compare: the source is an inbox, which tells changes and holds no records";
            return cx.failed(
                &Error::unsupported(message).help("compare the target with the program's own data"),
            );
        }
        let mut wanted = compared.into_iter();
        // What stands in the way of writing, or of other flows, does not stand in the way of comparing.
        if wanted.any(|(flow, to)| !compiled(flow, to)) {
            return cx.fail(&preflight.findings, Exit::Environment);
        }
        let reach = match Reach::find(&config).await {
            Ok(reach) => reach,
            Err(error) => return cx.failed(&error),
        };
        // Drawn on standard error, and only for a terminal.
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(std::time::Duration::from_millis(120));
        let only = Only {
            entity: self.entity,
            target: self.to,
        };
        let verified = verify(
            &config,
            &cx.registry,
            &preflight,
            &only,
            &reach,
            |pair, records| {
                bar.set_message(format!("{pair}: {records} records"));
            },
        )
        .await;
        bar.finish_and_clear();
        reach.close().await;
        let verified = match verified {
            Ok(verified) => verified,
            Err(error) => return cx.failed(&error),
        };
        if cx.output.is_json() {
            cx.output.json(&verified);
        } else {
            cx.output.text(&text(&verified));
        }
        if verified.equal {
            Exit::Clean
        } else {
            Exit::Findings
        }
    }
}

fn text(verified: &Verification) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header([
        "entity",
        "left",
        "right",
        "compared",
        "missing",
        "extra",
        "different",
        "lagging",
        "quarantined",
    ]);
    for pair in &verified.pairs {
        let mut cells = vec![pair.entity.clone(), pair.left.clone(), pair.right.clone()];
        let counts = [
            pair.compared,
            pair.missing,
            pair.extra,
            pair.different,
            pair.lagging,
            pair.quarantined,
        ];
        cells.extend(counts.iter().map(u64::to_string));
        table.add_row(cells);
    }
    let mut text = table.to_string();
    for pair in &verified.pairs {
        for example in &pair.examples {
            let fields = if example.fields.is_empty() {
                String::new()
            } else {
                format!(" in {}", example.fields.join(", "))
            };
            let corrected = if example.corrected {
                format!(", corrected in quarantine: mend it in {} too", pair.left)
            } else {
                String::new()
            };
            text.push_str(&format!(
                "\n{} {}: {}{fields} ({} and {}){corrected}",
                pair.entity, example.key, example.kind, pair.left, pair.right
            ));
        }
    }
    let verdict = if verified.equal { "equal" } else { "not equal" };
    text.push_str(&format!("\n{verdict}, {:.1} s", verified.wall_s));
    text
}
