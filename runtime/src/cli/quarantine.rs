//! `lockstep quarantine`: look at what did not pass, and decide about it.

use comfy_table::{ContentArrangement, Table, presets};
use lockstep_core::Cell;
use lockstep_core::diagnostic::Diagnostic;
use schemars::JsonSchema;
use serde::Serialize;

use super::{Context, Exit};
use crate::api::Reach;
use crate::quarantine::{Answer, Entry, Reason, State, Summary};

/// Look at changes that broke their contract or that a target refused, and decide about them
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Every open entry, with its reasons
    #[command(
        after_help = "Examples:\n  lockstep quarantine list\n  lockstep quarantine list --all --json"
    )]
    List {
        /// Closed entries too
        #[arg(long)]
        all: bool,
        /// Only this entity
        #[arg(long)]
        entity: Option<String>,
    },
    /// One entry: reasons, place, and with `--show-values` the record
    Show {
        /// The entry's id, as `list` gives it
        id: String,
        /// Show the record's values, personal data included
        #[arg(long)]
        show_values: bool,
    },
    /// Send changes again, after the contract, the mapping or the target was mended
    #[command(
        after_help = "Examples:\n  lockstep quarantine retry gate.erp.stock_level.…\n  lockstep quarantine retry --all"
    )]
    Retry {
        /// The entries' ids
        #[arg(required_unless_present = "all")]
        ids: Vec<String>,
        /// Every open entry, oldest first
        #[arg(long, conflicts_with = "ids")]
        all: bool,
    },
    /// Decide to do without changes: they will never be applied
    Drop {
        /// The entries' ids
        #[arg(required_unless_present = "all")]
        ids: Vec<String>,
        /// Every open entry
        #[arg(long, conflicts_with = "ids")]
        all: bool,
    },
}

/// The result of `lockstep quarantine list --json`.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Listed {
    /// The entries, oldest first.
    entries: Vec<Summary>,
}

/// The result of `lockstep quarantine show --json`.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Shown {
    /// The entry.
    #[serde(flatten)]
    entry: Summary,
    /// The source position of the change.
    position: String,
    /// The contract's version.
    contract: String,
    /// When the source committed the change.
    committed_at: String,
    /// The record in the shape it was held in, by column; only with `--show-values`.
    #[serde(skip_serializing_if = "Option::is_none")]
    values: Option<serde_json::Map<String, serde_json::Value>>,
}

/// The result of `lockstep quarantine retry --json` and `drop --json`.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Acted {
    /// Whether every entry could be handled.
    ok: bool,
    /// What became of each.
    results: Vec<Handled>,
}

/// What became of one entry.
#[derive(Debug, Serialize, JsonSchema)]
struct Handled {
    /// The entry's id.
    id: String,
    /// The answer.
    #[serde(flatten)]
    answer: Answer,
}

impl Args {
    pub(super) async fn run(self, cx: &Context) -> Exit {
        let reach = match cx.reach().await {
            Ok((_, reach)) => reach,
            Err(exit) => return exit,
        };
        let done = match self.what {
            What::List { all, entity } => list(cx, &reach, all, entity.as_deref()).await,
            What::Show { id, show_values } => show(cx, &reach, &id, show_values).await,
            What::Retry { ids, all } => act(cx, &reach, ids, all, true).await,
            What::Drop { ids, all } => act(cx, &reach, ids, all, false).await,
        };
        reach.close().await;
        done.unwrap_or_else(|error| cx.failed(&error))
    }
}

async fn list(
    cx: &Context,
    reach: &Reach,
    all: bool,
    entity: Option<&str>,
) -> lockstep_core::Result<Exit> {
    let entries = reach.entries().await?;
    let wanted = |entry: &&Entry| {
        (all || entry.state == State::Open) && entity.is_none_or(|only| only == entry.entity)
    };
    let listed = Listed {
        entries: entries.iter().filter(wanted).map(Entry::summary).collect(),
    };
    if cx.output.is_json() {
        cx.output.json(&listed);
        return Ok(Exit::Clean);
    }
    if listed.entries.is_empty() {
        cx.output.text("nothing is in quarantine");
        return Ok(Exit::Clean);
    }
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header([
        "id",
        "stopped at",
        "entity",
        "key",
        "change",
        "state",
        "why",
    ]);
    for entry in &listed.entries {
        table.add_row([
            entry.id.clone(),
            entry.system.clone(),
            entry.entity.clone(),
            plain(&entry.key),
            entry.op.clone(),
            format!("{:?}", entry.state).to_lowercase(),
            reasons(&entry.reasons),
        ]);
    }
    cx.output.text(&table.to_string());
    Ok(Exit::Clean)
}

async fn show(
    cx: &Context,
    reach: &Reach,
    id: &str,
    show_values: bool,
) -> lockstep_core::Result<Exit> {
    let Some(entry) = reach.entry(id).await? else {
        return Ok(missing(cx, id));
    };
    let shown = Shown {
        entry: entry.summary(),
        position: entry.position.clone(),
        contract: entry.contract.clone(),
        committed_at: entry.held.committed_at.to_string(),
        values: show_values.then(|| values(&entry)),
    };
    if cx.output.is_json() {
        cx.output.json(&shown);
        return Ok(Exit::Clean);
    }
    let mut text = format!(
        "{}\n  stopped at   {} ({})\n  entity       {} {}\n  key          {}\n  change       {} at {}\n  committed    {}\n  quarantined  {}\n  state        {}\n",
        shown.entry.id,
        shown.entry.system,
        shown
            .entry
            .flow
            .as_deref()
            .map_or_else(|| "gate".to_owned(), |flow| format!("flow {flow}")),
        shown.entry.entity,
        shown.contract,
        shown.entry.key,
        shown.entry.op,
        shown.position,
        shown.committed_at,
        shown.entry.at,
        format!("{:?}", shown.entry.state).to_lowercase(),
    );
    for reason in &shown.entry.reasons {
        text.push_str(&format!(
            "  why          {} [{}]\n",
            told(reason),
            reason.rule
        ));
    }
    match &shown.values {
        Some(values) => {
            for (column, value) in values {
                text.push_str(&plain(&format!("    {column} = {value}")));
                text.push('\n');
            }
        }
        None => text.push_str("  values       hidden; `--show-values` shows them\n"),
    }
    cx.output.text(&text);
    Ok(Exit::Clean)
}

fn values(entry: &Entry) -> serde_json::Map<String, serde_json::Value> {
    let columns = entry.held.shape.columns.iter().zip(&entry.held.row.0);
    columns
        .filter_map(|(column, cell)| match cell {
            Cell::Unchanged => None,
            Cell::Set(value) if value.is_null() => {
                Some((column.name.clone(), serde_json::Value::Null))
            }
            Cell::Set(value) => Some((column.name.clone(), value.to_string().into())),
        })
        .collect()
}

async fn act(
    cx: &Context,
    reach: &Reach,
    ids: Vec<String>,
    all: bool,
    retry: bool,
) -> lockstep_core::Result<Exit> {
    let ids = if all {
        let entries = reach.entries().await?;
        entries
            .into_iter()
            .filter(|entry| entry.state == State::Open)
            .map(|entry| entry.id)
            .collect()
    } else {
        ids
    };
    let mut results = Vec::new();
    for id in ids {
        let answer = if retry {
            reach.retry(&id).await?
        } else {
            reach.discard(&id).await?
        };
        results.push(Handled { id, answer });
    }
    let acted = Acted {
        ok: results.iter().all(|one| one.answer == Answer::Done),
        results,
    };
    if cx.output.is_json() {
        cx.output.json(&acted);
    } else {
        let done = if retry {
            "sent again and passed"
        } else {
            "dropped"
        };
        for Handled { id, answer } in &acted.results {
            let said = match answer {
                Answer::Done => done.to_owned(),
                Answer::Missing => "there is no such entry".to_owned(),
                Answer::Closed { state } => format!("was closed before: {state:?}").to_lowercase(),
                Answer::Rejected { reasons: why } => {
                    format!("still does not pass: {}", reasons(why))
                }
                Answer::Failed { reason } => reason.clone(),
            };
            cx.output.text(&format!("{id}: {said}"));
        }
        if acted.results.is_empty() {
            cx.output.text("nothing is in quarantine");
        }
    }
    Ok(if acted.ok {
        Exit::Clean
    } else {
        Exit::Findings
    })
}

fn missing(cx: &Context, id: &str) -> Exit {
    let finding = Diagnostic::error("LS-U001", format!("there is no quarantine entry `{id}`"))
        .help("`lockstep quarantine list --all` names every entry");
    cx.fail(&[finding], Exit::Usage)
}

fn reasons(reasons: &[Reason]) -> String {
    let texts: Vec<String> = reasons.iter().map(told).collect();
    texts.join("; ")
}

/// One reason, with its field.
fn told(reason: &Reason) -> String {
    match &reason.field {
        Some(field) => plain(&format!("{field}: {}", reason.message)),
        None => plain(&reason.message),
    }
}

/// Text from data, without what a terminal would act on.
fn plain(text: &str) -> String {
    let letters = text.chars();
    letters
        .flat_map(|letter| {
            let escaped = letter.is_control().then(|| letter.escape_default());
            let kept = escaped.is_none().then_some(letter);
            escaped.into_iter().flatten().chain(kept)
        })
        .collect()
}
