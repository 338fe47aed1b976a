//! `lockstep quarantine export`: entries as lines for other programs, and back as corrections.

use std::io::Write as _;
use std::path::PathBuf;

use lockstep_core::error::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::filter::Filter;
use super::guards::Guards;
use super::parse_state;
use crate::api::Reach;
use crate::cli::{Context, Exit};
use crate::config::Config;
use crate::quarantine::{Attempt, Entry, Original, Reason, Stage, State, to_json};

/// Write entries as lines: everything that is known of them
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Values of protected fields are left out and named under `hidden`, unless --show-values asks for them.\n\
    A line of the JSON form, its `record` corrected, is what `lockstep quarantine edit --from FILE` takes.\n\n\
    Examples:\n  \
    lockstep quarantine export --out quarantine.jsonl\n  \
    lockstep quarantine export --out allowed.csv --rule allowed --since 7d\n\n\
    Exit codes: 0 written, 2 wrong usage, 3 the log or the file stood in the way."
)]
pub(super) struct Args {
    #[command(flatten)]
    filter: Filter,
    /// Only entries in this state; open ones if absent, `all` for every one
    #[arg(long, value_name = "STATE", default_value = "open")]
    state: String,
    /// The form of the lines; if absent, CSV where the file is named so, otherwise JSON
    #[arg(long)]
    format: Option<Format>,
    /// The file to write; standard output if absent
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write values of protected fields and what publishers sent, too
    #[arg(long)]
    show_values: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// One JSON object a line
    Jsonl,
    /// Comma-separated, with a header
    Csv,
}

/// One line of `lockstep quarantine export`.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::cli) struct Line {
    /// The entry's id.
    pub(super) id: String,
    /// What became of it.
    state: State,
    /// What its worst broken rule asks for.
    outcome: String,
    /// Where it stopped.
    stage: Stage,
    /// The system at which it stopped.
    system: String,
    /// The flow, for delivery.
    #[serde(skip_serializing_if = "Option::is_none")]
    flow: Option<String>,
    /// The entity.
    entity: String,
    /// The record's key; absent where it is protected.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// What the change was.
    op: String,
    /// Its place in the source.
    position: String,
    /// The contract's version.
    contract: String,
    /// The contract's digest, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    /// When the source committed it.
    committed_at: String,
    /// When it was quarantined.
    recorded_at: String,
    /// Why.
    reasons: Vec<Reason>,
    /// The record as it was last corrected, by column, without what is hidden.
    pub(super) record: Map<String, Json>,
    /// Columns whose values are not shown.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hidden: Vec<String>,
    /// What a publisher sent, where that may be shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    original: Option<Sent>,
    /// What was tried with it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attempts: Vec<Attempt>,
}

/// What a publisher sent: as text, or as base64 where it is none.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::cli) struct Sent {
    /// Its text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<String>,
    /// Its bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) base64: Option<String>,
    /// How many bytes it had.
    pub(super) bytes: usize,
}

impl Sent {
    pub(super) fn of(original: &Original) -> Sent {
        let text = String::from_utf8(original.kept()).ok();
        Sent {
            base64: text.is_none().then(|| original.base64.clone()),
            text,
            bytes: original.bytes,
        }
    }
}

/// A corrected line, as it comes back.
#[derive(Debug, Deserialize)]
pub(super) struct Corrected {
    /// The entry's id.
    pub(super) id: String,
    /// Its record.
    pub(super) record: Map<String, Json>,
}

impl Line {
    fn of(entry: &Entry, guards: &mut Guards<'_>, show_values: bool) -> Line {
        let guarded = guards.of(entry);
        let shows = |column: &str| show_values || guarded.shows(entry, column);
        let names = entry.held.shape.names();
        let original = entry.original.as_ref();
        Line {
            id: entry.id.clone(),
            state: entry.state,
            outcome: entry.outcome().name().to_owned(),
            stage: entry.stage,
            system: entry.system.clone(),
            flow: entry.flow.clone(),
            entity: entry.entity.clone(),
            key: if show_values {
                Some(entry.key.clone())
            } else {
                guarded.key_of(entry)
            },
            op: entry.held.op.name().to_owned(),
            position: entry.position.clone(),
            contract: entry.contract.clone(),
            digest: entry.digest.clone(),
            committed_at: entry.held.committed_at.to_string(),
            recorded_at: entry.at.to_string(),
            reasons: entry.violations.iter().map(Reason::from).collect(),
            record: to_json(entry, entry.row(), shows),
            hidden: names
                .filter(|name| !shows(name))
                .map(str::to_owned)
                .collect(),
            original: original
                .filter(|_| show_values || guarded.shows_all(entry))
                .map(Sent::of),
            attempts: entry.attempts.clone(),
        }
    }

    fn csv(&self) -> String {
        let rules: Vec<&str> = self.reasons.iter().map(|reason| &*reason.rule).collect();
        let reasons: Vec<&str> = self.reasons.iter().map(|reason| &*reason.message).collect();
        let original = self.original.as_ref();
        let sent = original.and_then(|sent| sent.text.as_deref().or(sent.base64.as_deref()));
        let fields = [
            &self.id,
            self.state.name(),
            &self.outcome,
            &self.system,
            self.flow.as_deref().unwrap_or_default(),
            &self.entity,
            self.key.as_deref().unwrap_or_default(),
            &self.op,
            &self.position,
            &self.contract,
            &self.committed_at,
            &self.recorded_at,
            &rules.join(";"),
            &reasons.join("; "),
            &Json::Object(self.record.clone()).to_string(),
            &self.hidden.join(";"),
            sent.unwrap_or_default(),
        ];
        fields.map(quoted).join(",")
    }
}

const HEADER: &str = "id,state,outcome,system,flow,entity,key,op,position,contract,committed_at,recorded_at,rules,reasons,record,hidden,original";

/// A field of a comma-separated line; what a spreadsheet would take for a formula is made a text.
fn quoted(field: &str) -> String {
    let formula = field.starts_with(['=', '+', '-', '@', '\t']);
    if !formula && !field.contains([',', '"', '\n', '\r']) {
        return field.to_owned();
    }
    let guard = if formula { "'" } else { "" };
    format!("\"{guard}{}\"", field.replace('"', "\"\""))
}

impl Args {
    pub(super) async fn run(self, cx: &Context, config: &Config, reach: &Reach) -> Result<Exit> {
        let format = self.format();
        let (wanted, state) = match (self.filter.read(cx), parse_state(cx, &self.state)) {
            (Ok(wanted), Ok(state)) => (wanted, state),
            (Err(exit), _) | (_, Err(exit)) => return Ok(exit),
        };
        let mut guards = Guards::new(config);
        let mut text = String::new();
        if format == Format::Csv {
            text.push_str(HEADER);
            text.push('\n');
        }
        let mut written = 0;
        for entry in reach.entries().await? {
            if state.is_some_and(|state| state != entry.state) || !wanted.takes(&entry) {
                continue;
            }
            let line = Line::of(&entry, &mut guards, self.show_values);
            match format {
                // Texts, numbers and maps with text keys always serialise.
                Format::Jsonl => text.push_str(&serde_json::to_string(&line).unwrap_or_default()),
                Format::Csv => text.push_str(&line.csv()),
            }
            text.push('\n');
            written += 1;
        }
        let Some(path) = &self.out else {
            if !text.is_empty() {
                cx.output.text(&text);
            }
            return Ok(Exit::Clean);
        };
        write(path, &text)?;
        cx.output
            .note(&format!("{written} entries in {}", path.display()));
        Ok(Exit::Clean)
    }
}

impl Args {
    /// The form that is asked for, or the one that the file's name says.
    fn format(&self) -> Format {
        let ending = self.out.as_ref().and_then(|out| out.extension());
        let is_csv = ending.is_some_and(|ending| ending.eq_ignore_ascii_case("csv"));
        let named = if is_csv { Format::Csv } else { Format::Jsonl };
        self.format.unwrap_or(named)
    }
}

/// Writes a file that only its owner reads.
fn write(path: &std::path::Path, text: &str) -> Result<()> {
    let mut options = std::fs::File::options();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| {
        Error::config(format!("`{}` cannot be written", path.display())).because(error)
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Given {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn the_name_of_the_file_says_the_form_unless_it_is_asked_for() {
        for (args, expected) in [
            (&[][..], Format::Jsonl),
            (&["--out", "q.csv"], Format::Csv),
            (&["--out", "q.CSV"], Format::Csv),
            (&["--out", "q.jsonl"], Format::Jsonl),
            (&["--out", "q.csv", "--format", "jsonl"], Format::Jsonl),
            (&["--format", "csv"], Format::Csv),
        ] {
            let given = Given::try_parse_from([&["export"], args].concat()).unwrap();
            assert_eq!(given.args.format(), expected, "{args:?}");
        }
    }

    #[test]
    fn a_field_of_a_csv_line_is_quoted_and_never_a_formula() {
        assert_eq!(quoted("plain"), "plain");
        assert_eq!(quoted("a,\"b\"\n"), "\"a,\"\"b\"\"\n\"");
        assert_eq!(quoted("=1+1"), "\"'=1+1\"");
    }
}
