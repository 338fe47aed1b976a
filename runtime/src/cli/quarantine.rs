//! `lockstep quarantine`: look at what did not pass, and decide about it.

mod edit;
mod export;
mod filter;
mod guards;
mod show;

use std::collections::{BTreeMap, BTreeSet};

use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use lockstep_core::diagnostic::{Diagnostic, suggestion};
use schemars::JsonSchema;
use serde::Serialize;

use super::{Context, Exit, who};
use crate::api::Reach;
use crate::config::Config;
use crate::quarantine::{Answer, Ask, Closing, Entry, Reason, State, Summary};
pub(super) use export::Line;
use filter::Filter;
use guards::Guards;
pub(super) use show::Shown;

/// Look at changes that broke their contract or that a target refused, and decide about them
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Entries, with their reasons
    #[command(
        after_help = "Newest first. Text shows the first 50, and of superseded entries only how many there are; `--limit`, `--skip` and `--state superseded` show more. JSON has all that are asked for.\n\nExamples:\n  lockstep quarantine list\n  lockstep quarantine list --entity order --rule allowed --since 2h\n  lockstep quarantine list --by rule\n  lockstep quarantine list --all --json\n\nExit codes: 0 listed, 2 wrong usage, 3 the log cannot be read."
    )]
    List {
        /// Closed and waiting entries too
        #[arg(long, conflicts_with = "state")]
        all: bool,
        /// Only entries in this state: open, waiting, rejected, dropped, superseded, retried or all
        #[arg(long)]
        state: Option<String>,
        #[command(flatten)]
        filter: Filter,
        /// Count instead of listing
        #[arg(long, value_name = "WHAT")]
        by: Option<By>,
        #[command(flatten)]
        page: Page,
        /// Show keys of protected fields
        #[arg(long)]
        show_values: bool,
    },
    /// One entry: reasons, place, what was tried, and with `--show-values` the record
    #[command(
        after_help = "Examples:\n  lockstep quarantine show ID\n  lockstep quarantine show ID --show-values --json\n\nExit codes: 0 shown, 2 no such entry, 3 the log cannot be read."
    )]
    Show {
        /// The entry's id, as `list` gives it
        id: String,
        /// Show the record's values, personal data included
        #[arg(long)]
        show_values: bool,
    },
    Edit(edit::Args),
    /// Send changes again, after the contract, the mapping or the target was mended
    #[command(
        after_help = "Entries are sent one after the other, oldest first, so the changes of a record keep their order.\n\nExamples:\n  lockstep quarantine retry gate.erp.stock_level.…\n  lockstep quarantine retry --entity order --rule allowed\n  lockstep quarantine retry --all\n\nExit codes: 0 all passed, 1 some did not, 2 wrong usage, 3 no runtime is running."
    )]
    Retry(Chosen),
    /// Decide to do without changes: they will never be applied
    #[command(
        after_help = "Examples:\n  lockstep quarantine drop ID --reason 'test data'\n  lockstep quarantine drop --rule allowed --entity order\n\nExit codes: 0 dropped, 1 some were closed before, 2 wrong usage, 3 the log cannot be written."
    )]
    Drop {
        #[command(flatten)]
        some: Chosen,
        /// Why, for whoever looks later
        #[arg(long)]
        reason: Option<String>,
    },
    Export(export::Args),
}

/// Which entries something is done with
#[derive(Debug, clap::Args)]
struct Chosen {
    /// The entries' ids
    #[arg(required_unless_present_any = ["all", "entity", "system", "rule", "key", "since"])]
    ids: Vec<String>,
    /// Every open entry, oldest first
    #[arg(long, conflicts_with = "ids")]
    all: bool,
    #[command(flatten)]
    filter: Filter,
    /// Who; the user of this session if absent
    #[arg(long)]
    by: Option<String>,
}

/// Which part of a list
#[derive(Clone, Copy, Debug, clap::Args)]
struct Page {
    /// Most entries; 50 for text, all for JSON
    #[arg(long, value_name = "COUNT")]
    limit: Option<usize>,
    /// Leave out so many of the newest
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    skip: usize,
}

/// Most entries of a list that somebody reads.
const LISTED_MAX: usize = 50;

/// What entries are counted by
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum By {
    /// Entity and rule
    Rule,
}

/// The result of `lockstep quarantine list --json`.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Listed {
    /// The entries, newest first; empty where they are counted.
    entries: Vec<Summary>,
    /// How many entries there are in all that were asked for.
    total: usize,
    /// How many entries each rule has, with `--by rule`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    counts: Vec<Count>,
}

/// How many entries a rule has.
#[derive(Debug, Serialize, JsonSchema)]
struct Count {
    /// The entity.
    entity: String,
    /// The rule.
    rule: String,
    /// What it asks for.
    outcome: String,
    /// What became of the entries.
    state: State,
    /// How many.
    entries: u64,
}

/// The result of `lockstep quarantine retry --json`, `edit --json` and `drop --json`.
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
    /// What is left to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

impl Args {
    pub(super) async fn run(self, cx: &Context) -> Exit {
        let (config, reach) = match cx.reach().await {
            Ok(reached) => reached,
            Err(exit) => return exit,
        };
        let done = self.what.run(cx, &config, &reach).await;
        reach.close().await;
        done.unwrap_or_else(|error| cx.failed(&error))
    }
}

impl What {
    async fn run(
        self,
        cx: &Context,
        config: &Config,
        reach: &Reach,
    ) -> lockstep_core::Result<Exit> {
        match self {
            What::List {
                all,
                state,
                filter,
                by,
                page,
                show_values,
            } => {
                let state = if all {
                    "all"
                } else {
                    state.as_deref().unwrap_or("open")
                };
                let (wanted, state) = match (filter.read(cx), parse_state(cx, state)) {
                    (Ok(wanted), Ok(state)) => (wanted, state),
                    (Err(exit), _) | (_, Err(exit)) => return Ok(exit),
                };
                let mut entries = reach.entries().await?;
                entries.retain(|entry| {
                    state.is_none_or(|only| only == entry.state) && wanted.takes(entry)
                });
                // They come oldest first.
                entries.reverse();
                let mut guards = Guards::new(config);
                let is_json = cx.output.is_json();
                let folds = !is_json && state.is_none() && by.is_none();
                let (listed, folded) = match by {
                    Some(By::Rule) => (Listed::counted(&entries), 0),
                    None => Listed::page(
                        entries,
                        page,
                        folds,
                        |limit| limit.unwrap_or(if is_json { usize::MAX } else { LISTED_MAX }),
                        |entry| guards.summary(entry, show_values),
                    ),
                };
                tell(cx, &listed, page.skip, folded);
                Ok(Exit::Clean)
            }
            What::Show { id, show_values } => show::show(cx, config, reach, &id, show_values).await,
            What::Edit(args) => args.run(cx, config, reach).await,
            What::Retry(some) => act(cx, reach, some, None).await,
            What::Drop { some, reason } => {
                let closing = Closing {
                    by: Some(who(some.by.clone())),
                    reason,
                };
                act(cx, reach, some, Some(closing)).await
            }
            What::Export(args) => args.run(cx, config, reach).await,
        }
    }
}

/// A state by its word; none for all.
fn parse_state(cx: &Context, word: &str) -> Result<Option<State>, Exit> {
    const STATES: [State; 6] = [
        State::Open,
        State::Waiting,
        State::Rejected,
        State::Dropped,
        State::Superseded,
        State::Retried,
    ];
    if word == "all" {
        return Ok(None);
    }
    match STATES.into_iter().find(|state| state.name() == word) {
        Some(state) => Ok(Some(state)),
        None => {
            let known = STATES.map(State::name);
            let help = suggestion(word, known.into_iter().chain(["all"]));
            Err(cx.unknown(format!("`{word}` is no state of an entry"), help))
        }
    }
}

impl Listed {
    /// How many entries each rule has.
    fn counted(entries: &[Entry]) -> Listed {
        let mut counts = BTreeMap::new();
        for entry in entries {
            for broken in &entry.violations {
                let outcome = broken.outcome.min(entry.outcome()).name();
                let place = (&entry.entity, &broken.rule, outcome, entry.state.name());
                counts.entry(place).or_insert((entry.state, 0)).1 += 1;
            }
        }
        let count =
            |((entity, rule, outcome, _), (state, entries)): ((&String, &String, &str, _), _)| {
                Count {
                    entity: entity.clone(),
                    rule: rule.clone(),
                    outcome: outcome.to_owned(),
                    state,
                    entries,
                }
            };
        Listed {
            entries: Vec::new(),
            total: entries.len(),
            counts: counts.into_iter().map(count).collect(),
        }
    }

    /// A part of the entries, and how many superseded ones were folded away.
    fn page(
        mut entries: Vec<Entry>,
        page: Page,
        folds: bool,
        limit: impl Fn(Option<usize>) -> usize,
        summary: impl FnMut(&Entry) -> Summary,
    ) -> (Listed, usize) {
        let total = entries.len();
        if folds {
            entries.retain(|entry| entry.state != State::Superseded);
        }
        let folded = total - entries.len();
        let part = entries.iter().skip(page.skip).take(limit(page.limit));
        let listed = Listed {
            entries: part.map(summary).collect(),
            total,
            counts: Vec::new(),
        };
        (listed, folded)
    }
}

/// Shows a list; `folded` superseded entries are not in it.
fn tell(cx: &Context, listed: &Listed, skipped: usize, folded: usize) {
    if cx.output.is_json() {
        cx.output.json(listed);
        return;
    }
    if listed.total == 0 {
        cx.output.text("nothing is in quarantine");
        return;
    }
    if !listed.counts.is_empty() {
        cx.output.text(&counted(&listed.counts));
        return;
    }
    if !listed.entries.is_empty() {
        cx.output.text(&table(&listed.entries));
    }
    let shown = skipped + listed.entries.len();
    let left = (listed.total - folded).saturating_sub(shown);
    if left > 0 {
        cx.output.text(&format!(
            "{left} older entries more: `--skip {shown}` shows them"
        ));
    }
    if folded > 0 {
        cx.output.text(&format!(
            "{folded} superseded entries, whose records have later versions: `--state superseded` shows them"
        ));
    }
}

fn counted(counts: &[Count]) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(["entity", "rule", "outcome", "state", "entries"]);
    for count in counts {
        table.add_row([
            plain(&count.entity),
            plain(&count.rule),
            count.outcome.clone(),
            count.state.name().to_owned(),
            count.entries.to_string(),
        ]);
    }
    table.to_string()
}

fn table(entries: &[Summary]) -> String {
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
        "outcome",
        "why",
    ]);
    for entry in entries {
        table.add_row([
            entry.id.clone(),
            entry.system.clone(),
            entry.entity.clone(),
            plain(&entry.key),
            entry.op.clone(),
            entry.state.name().to_owned(),
            entry.outcome.name().to_owned(),
            reasons(&entry.reasons),
        ]);
    }
    table.to_string()
}

/// Sends entries again, or drops them.
async fn act(
    cx: &Context,
    reach: &Reach,
    some: Chosen,
    drop: Option<Closing>,
) -> lockstep_core::Result<Exit> {
    let ids = if some.ids.is_empty() {
        let wanted = match some.filter.read(cx) {
            Ok(wanted) => wanted,
            Err(exit) => return Ok(exit),
        };
        let entries = wanted.in_order(reach.entries().await?);
        entries.into_iter().map(|entry| entry.id).collect()
    } else if some.filter.is_empty() {
        some.ids
    } else {
        let help = "leave one of them out".to_owned();
        return Ok(cx.unknown("ids and a filter are given".to_owned(), help));
    };
    let by = Some(who(some.by));
    let bar = ProgressBar::new(ids.len() as u64).with_style(
        ProgressStyle::with_template("{bar:40} {pos}/{len} {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    if ids.len() < 2 || cx.output.is_json() {
        bar.set_draw_target(indicatif::ProgressDrawTarget::hidden());
    }
    let mut results = Vec::new();
    for id in ids {
        let answer = match &drop {
            None => {
                let ask = Ask::Retry {
                    id: id.clone(),
                    by: by.clone(),
                };
                reach.ask(&ask).await
            }
            Some(closing) => reach.discard(&id, closing).await,
        };
        bar.inc(1);
        let answer = match answer {
            Ok(answer) => answer,
            // What was done stands; who asked learns of it and of the rest.
            Err(error) if !results.is_empty() => Answer::Failed {
                reason: error.chain(),
            },
            Err(error) => return Err(error),
        };
        results.push(Handled {
            id,
            answer,
            note: None,
        });
    }
    bar.finish_and_clear();
    let acted = Acted {
        ok: results.iter().all(|one| one.answer == Answer::Done),
        results,
    };
    let done = if drop.is_some() {
        "dropped"
    } else {
        "sent again and passed"
    };
    Ok(show_acted(cx, &acted, done))
}

/// Shows what became of entries.
fn show_acted(cx: &Context, acted: &Acted, done: &str) -> Exit {
    if cx.output.is_json() {
        cx.output.json(acted);
    } else {
        for Handled { id, answer, .. } in &acted.results {
            let said = match answer {
                Answer::Done => done.to_owned(),
                Answer::Missing => "there is no such entry".to_owned(),
                Answer::Closed { state } => {
                    format!("was closed before: {}; {}", state.name(), instead(*state))
                }
                Answer::Rejected { reasons: why } => {
                    format!("still does not pass: {}", reasons(why))
                }
                Answer::Failed { reason } => reason.clone(),
            };
            cx.output.text(&format!("{id}: {said}"));
        }
        // Of many corrections each source is named once.
        let notes: BTreeSet<&String> = acted
            .results
            .iter()
            .filter_map(|one| one.note.as_ref())
            .collect();
        for note in notes {
            cx.output.text(note);
        }
        if acted.results.is_empty() {
            cx.output.text("nothing is in quarantine");
        }
    }
    if acted.ok {
        Exit::Clean
    } else {
        Exit::Findings
    }
}

/// Whether nothing can be done about an entry any more.
fn is_closed(state: State) -> bool {
    !matches!(state, State::Open | State::Waiting)
}

/// What can be done instead about a record whose entry is closed.
fn instead(state: State) -> &'static str {
    match state {
        State::Superseded => {
            "a later version of the record came: decide about its entry, if it has one, or change the record in its source"
        }
        State::Retried => "it was sent: change the record in its source",
        State::Dropped => {
            "somebody decided to do without it: change the record in its source, and the new version goes its way"
        }
        State::Rejected => "its rule refuses it for good: write the record anew in its source",
        State::Open | State::Waiting => "see `lockstep quarantine show ID`",
    }
}

/// Says that an entry is closed, and what can be done instead.
fn closed(cx: &Context, id: &str, state: State) -> Exit {
    let message = format!("the quarantine entry `{id}` is closed: {}", state.name());
    let finding = Diagnostic::error("LS-U001", message).help(instead(state));
    cx.fail(&[finding], Exit::Findings)
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
