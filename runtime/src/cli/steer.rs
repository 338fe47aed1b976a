//! `lockstep pause`, `resume`, `retry` and `skip`: what a part of a run shall do, said from anywhere.

use schemars::JsonSchema;
use serde::Serialize;

use super::{Context, Exit, who};
use crate::config::Config;
use crate::control::{self, Act, Done, Order, Outcome, When};

/// What `NAME` may be, for every command of this module.
const NAMES: &str = "NAME is a flow (its deliveries), a system (its capture, and the deliveries into it), or SYSTEM.TABLE (the deliveries out of that table and into it); `flow:` or `system:` before it tells two of one name apart.";

/// Let flows rest: what is captured waits in the log, and nothing else is touched
#[derive(Debug, clap::Args)]
#[command(after_help = format!("{NAMES}\nA paused capture keeps its position, so changes pile up in the source; a paused delivery keeps its progress, and `lockstep status` says how long the log keeps what it needs.\nIt lasts over restarts, until `lockstep resume`.\n\n\
    Examples:\n  lockstep pause invoices --reason 'month end'\n  lockstep pause invoices --to billing\n  lockstep pause crm.accounts\n  lockstep pause erp --json\n\n\
    Exit codes: 0 paused, also if it was before, 2 wrong usage, 3 the log cannot be written."))]
pub(super) struct Pause {
    #[command(flatten)]
    chosen: Chosen,
}

/// Let paused flows go on where they were
#[derive(Debug, clap::Args)]
#[command(after_help = format!("{NAMES}\n\n\
    Examples:\n  lockstep resume invoices\n  lockstep resume erp --json\n\n\
    Exit codes: 0 not paused any more, 2 wrong usage, 3 the log cannot be written."))]
pub(super) struct Resume {
    #[command(flatten)]
    chosen: Chosen,
}

/// Let flows try now, instead of waiting for the next time: those that failed, and those that a schedule lets wait
#[derive(Debug, clap::Args)]
#[command(after_help = format!("{NAMES}\nWhere no runtime has a flow, it tries at the next start; where it is paused, when it is resumed.\n\n\
    Examples:\n  lockstep retry invoices\n  lockstep retry erp\n\n\
    Exit codes: 0 asked for, 2 wrong usage, 3 nothing ever ran here or the log cannot be written."))]
pub(super) struct Retry {
    #[command(flatten)]
    chosen: Chosen,
}

/// Set the change aside that a delivery cannot apply, and go on behind it
#[derive(Debug, clap::Args)]
#[command(after_help = format!("{NAMES}\nThe batch that fails is applied change by change; the first that fails by itself while its target answers goes to quarantine with the error, who skipped it and why, and is sent again with `lockstep quarantine retry`. One call skips one change.\n\n\
    Examples:\n  lockstep skip invoices --to billing --reason 'known bad invoice'\n  lockstep skip erp.partners --json\n\n\
    Exit codes: 0 skipped, 1 nothing was skipped, 2 wrong usage, 3 no runtime is running or the log cannot be written."))]
pub(super) struct Skip {
    #[command(flatten)]
    chosen: Chosen,
}

/// Which parts something is done with
#[derive(Debug, clap::Args)]
struct Chosen {
    /// Flows, systems or tables
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Only deliveries into this system
    #[arg(long, value_name = "SYSTEM")]
    to: Option<String>,
    /// Why, for whoever looks later
    #[arg(long)]
    reason: Option<String>,
    /// Who; the user of this session if absent
    #[arg(long)]
    by: Option<String>,
}

/// The result of `lockstep pause --json`, `resume --json`, `retry --json`, `skip --json` and `backfill --json`.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Steered {
    /// Whether everything that was asked for is so now.
    ok: bool,
    /// What became of each part.
    parts: Vec<Done>,
}

impl Pause {
    pub(super) async fn run(self, cx: &Context) -> Exit {
        self.chosen.run(cx, Act::Pause).await
    }
}

impl Resume {
    pub(super) async fn run(self, cx: &Context) -> Exit {
        self.chosen.run(cx, Act::Resume).await
    }
}

impl Retry {
    pub(super) async fn run(self, cx: &Context) -> Exit {
        self.chosen.run(cx, Act::Retry).await
    }
}

impl Skip {
    pub(super) async fn run(self, cx: &Context) -> Exit {
        self.chosen.run(cx, Act::Skip).await
    }
}

impl Chosen {
    async fn run(self, cx: &Context, act: Act) -> Exit {
        let (config, mistake) = match cx.load_to_operate() {
            Ok(loaded) => loaded,
            Err(exit) => return exit,
        };
        cx.output.findings(mistake.as_slice());
        let mut parts = Vec::new();
        for name in &self.names {
            match control::parts(&config, name, self.to.as_deref()) {
                Ok(found) => parts.extend(found),
                Err((message, help)) => return cx.unknown(message, help),
            }
        }
        parts.sort();
        parts.dedup();
        let order = Order {
            act,
            parts,
            by: who(self.by),
            reason: self.reason,
            wanted: None,
        };
        give(cx, &config, &order).await
    }
}

/// Gives an order to whoever can carry it out, and shows what became of it.
pub(super) async fn give(cx: &Context, config: &Config, order: &Order) -> Exit {
    let reach = match crate::api::Reach::find(config).await {
        Ok(reach) => reach,
        Err(error) => return cx.failed(&error),
    };
    let done = reach.order(config, order).await;
    reach.close().await;
    match done {
        Ok(parts) => show(cx, parts),
        Err(error) => cx.failed(&error),
    }
}

fn show(cx: &Context, parts: Vec<Done>) -> Exit {
    let ok = parts.iter().all(|done| done.outcome.is_done());
    let steered = Steered { ok, parts };
    if cx.output.is_json() {
        cx.output.json(&steered);
    } else {
        for Done { part, outcome } in &steered.parts {
            cx.output.text(&format!("{part}: {}", said(outcome)));
        }
    }
    if ok { Exit::Clean } else { Exit::Findings }
}

fn said(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Paused { changed: true, .. } => "paused".to_owned(),
        Outcome::Paused { pause, .. } => {
            format!(
                "was paused before, since {:.0} by {}",
                pause.since, pause.by
            )
        }
        Outcome::Resumed { changed: true } => "goes on".to_owned(),
        Outcome::Resumed { changed: false } => "was not paused".to_owned(),
        Outcome::Retried { when } => match when {
            When::Now => "tries again now".to_owned(),
            When::Resumed => "is paused; tries again when it is resumed".to_owned(),
            When::Start => "no runtime has it now; tries again at the next start".to_owned(),
        },
        Outcome::Backfill {
            changed: true,
            entity,
        } => {
            format!("reads `{entity}` again; `lockstep status` shows how far it is")
        }
        Outcome::Backfill {
            changed: false,
            entity,
        } => {
            format!("was to read `{entity}` again before")
        }
        Outcome::Skipped { entry } => format!(
            "skipped one change; `lockstep quarantine show {entry}` has it, `retry` sends it again (LS-F002)"
        ),
        Outcome::NotSkipped { reason } => format!("nothing was skipped: {reason}"),
    }
}
