//! `lockstep status`: what every flow is doing.

use comfy_table::{Table, presets};
use lockstep_core::diagnostic::Diagnostic;
use schemars::JsonSchema;
use serde::Serialize;

use super::{Context, Exit};
use crate::api::Reach;
use crate::status::{DriftStatus, State, Status};

/// Show what every flow is doing: idle, behind, stalled, held or paused
///
/// Asks the running process; where none runs, its log.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    lockstep status\n  \
    lockstep status --json | jq '.flows[] | select(.state != \"idle\")'\n\n\
    Exit codes: 0 every flow is idle or behind, 1 something is stalled, held, or not running, 2 unreadable configuration, 3 the log cannot be read.")]
pub(super) struct Args {}

impl Args {
    pub(super) async fn run(self, cx: &Context) -> Exit {
        let (config, unloadable) = match cx.load_to_operate() {
            Ok(loaded) => loaded,
            Err(exit) => return exit,
        };
        let reach = match Reach::find(&config).await {
            Ok(reach) => reach,
            Err(error) => return cx.failed(&error),
        };
        let status = reach.status(&config).await;
        reach.close().await;
        let status = match status {
            Ok(status) => status,
            Err(error) => return cx.failed(&error),
        };
        let shown = Shown { status, unloadable };
        if cx.output.is_json() {
            cx.output.json(&shown);
        } else {
            cx.output.text(&shown.text());
        }
        let status = shown.status;
        let well = |state| matches!(state, State::Idle | State::Behind | State::Paused);
        if status.flows.iter().all(|flow| well(flow.state)) {
            Exit::Clean
        } else {
            Exit::Findings
        }
    }
}

/// The result of `lockstep status --json`.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Shown {
    /// What runs.
    #[serde(flatten)]
    status: Status,
    /// The first mistake that keeps the contracts or the configuration on disk from being loaded; what runs goes on with what it began with.
    #[serde(skip_serializing_if = "Option::is_none")]
    unloadable: Option<Diagnostic>,
}

impl Shown {
    fn text(&self) -> String {
        let mut text = table(&self.status);
        if let Some(mistake) = &self.unloadable {
            let help = mistake.help.as_deref().unwrap_or_default();
            text.push_str(&format!("\n{mistake}; {help}"));
        }
        text
    }
}

fn table(status: &Status) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header([
        "flow",
        "entity",
        "version",
        "from",
        "to",
        "state",
        "lag ms",
        "rate/s",
        "applied",
        "quarantined",
    ]);
    for flow in &status.flows {
        table.add_row([
            flow.flow.clone(),
            flow.entity.clone(),
            flow.contract.clone().unwrap_or_default(),
            flow.from.clone(),
            flow.to.clone(),
            word(flow.state).to_owned(),
            flow.lag_ms.to_string(),
            format!("{:.0}", flow.rate),
            flow.applied.to_string(),
            flow.quarantined.to_string(),
        ]);
    }
    let mut text = table.to_string();
    for flow in &status.flows {
        if let Some(reason) = &flow.reason {
            text.push_str(&format!("\n{} to {}: {reason}", flow.flow, flow.to));
        }
        if let Some(reading) = &flow.reading {
            let of = reading
                .of
                .map_or_else(String::new, |of| format!(" of about {of}"));
            let share = reading
                .share
                .map_or_else(String::new, |share| format!(" ({:.0}%)", share * 100.0));
            text.push_str(&format!(
                "\n{} to {}: the table in {} is being read, {} rows{of} so far{share}",
                flow.flow, flow.to, flow.from, reading.rows
            ));
        }
        for DriftStatus { system, drift } in &flow.drift {
            text.push_str(&format!(
                "\n{} to {}: {system}: {drift}",
                flow.flow, flow.to
            ));
        }
    }
    for count in &status.rules {
        let field = count.field.as_deref();
        let of = field.map_or_else(String::new, |field| format!(".{field}"));
        text.push_str(&format!(
            "\n{}{of} from {}: {} broke `{}` ({})",
            count.entity,
            count.system,
            crate::cli::count(
                usize::try_from(count.changes).unwrap_or(usize::MAX),
                "change"
            ),
            count.rule,
            count.outcome.name()
        ));
    }
    for set in &status.sets {
        let share = format!("{:.1}%", set.share * 100.0);
        text.push_str(&format!(
            "\n{} in {}: `{}` {} ({}): {} of {} ({share}), {}",
            set.entity,
            set.system,
            set.rule,
            set.verdict.name(),
            set.outcome.name(),
            set.broken,
            set.checked,
            set.message,
        ));
    }
    for major in &status.majors {
        let until = major.until.as_ref();
        let until = until.map_or_else(String::new, |until| format!(" until {until}"));
        text.push_str(&format!(
            "\n{} for subscribers of major {} ({}){until}: {} published, {} left out",
            major.entity, major.major, major.version, major.published, major.left_out
        ));
        if let Some(reason) = &major.reason {
            text.push_str(&format!("; {reason}"));
        }
    }
    let log = &status.log;
    text.push_str(&format!(
        "\nlog: {} {}, {} messages, {:.1} MB, sequences {} to {}",
        log.engine,
        log.location,
        log.messages,
        log.bytes as f64 / 1e6,
        log.first_seq,
        log.last_seq
    ));
    for stream in &log.streams {
        if let (Some(max), Some(fill)) = (stream.max_bytes, stream.fill) {
            text.push_str(&format!(
                "\n{}: {:.0}% of {:.1} MB",
                stream.name,
                fill * 100.0,
                max as f64 / 1e6
            ));
        }
    }
    if let Some(replicas) = log.replicas {
        let sync = log.sync.as_deref().unwrap_or("unknown");
        text.push_str(&format!("\nreplicas {replicas}, sync to disk {sync}"));
    }
    if log.is_weak() {
        text.push_str(
            "\nwhat the log acknowledged may be lost when a server loses its power; set `sync_interval: always` on the servers",
        );
    }
    text
}

fn word(state: State) -> &'static str {
    match state {
        State::Idle => "idle",
        State::Behind => "behind",
        State::Stalled => "stalled",
        State::Held => "held",
        State::Paused => "paused",
    }
}
