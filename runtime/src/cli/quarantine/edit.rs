//! `lockstep quarantine edit`: correct a held record and send it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lockstep_core::Value;
use lockstep_core::diagnostic::Diagnostic;
use lockstep_core::error::Result;
use lockstep_core::gate::FieldMap;

use super::export::Corrected;
use super::{Acted, Handled, who};
use crate::api::Reach;
use crate::cli::{Context, Exit};
use crate::config::Config;
use crate::quarantine::{Answer, Ask, Edit, Entry, Stage, Wrong, corrected, from_json, read_value};
use crate::rules;
use crate::verify::can_be_compared;

/// Correct held records and send them
///
/// A record is corrected in the shape in which it is held: the source's columns for what stopped at the gate, the contract's fields for what an inbox or a target refused.
/// It is judged at once; only a correction that passes is kept, beside the original, with who, when and why.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    lockstep quarantine edit ID --set land=Germany --reason 'typo in the form'\n  \
    lockstep quarantine edit ID --file record.json\n  \
    lockstep quarantine edit --from corrected.jsonl --reason 'cleaned up'\n\n\
    Exit codes: 0 sent, 1 it still does not pass, 2 the correction cannot be read, 3 no runtime is running.")]
pub(super) struct Args {
    /// The entry's id
    #[arg(required_unless_present = "from")]
    id: Option<String>,
    /// A column and its value, read as the column's type
    #[arg(long, value_name = "COLUMN=VALUE")]
    set: Vec<String>,
    /// A column that becomes null
    #[arg(long, value_name = "COLUMN")]
    null: Vec<String>,
    /// A JSON object with the columns to correct; `-` reads standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Lines of `lockstep quarantine export`, their `record` corrected
    #[arg(long, value_name = "FILE", conflicts_with_all = ["id", "set", "null", "file"])]
    from: Option<PathBuf>,
    /// Why, for whoever looks later
    #[arg(long)]
    reason: Option<String>,
    /// Who; the user of this session if absent
    #[arg(long)]
    by: Option<String>,
}

impl Args {
    pub(super) async fn run(self, cx: &Context, config: &Config, reach: &Reach) -> Result<Exit> {
        let lines = match self.lines() {
            Ok(lines) => lines,
            Err(wrong) => return Ok(refuse(cx, &wrong)),
        };
        // Everything is read before anything is sent.
        let mut edits = Vec::new();
        for (id, object) in lines {
            let Some(entry) = reach.entry(&id).await? else {
                return Ok(super::missing(cx, &id));
            };
            // Lines of a file that were left as they were are passed over below.
            if self.from.is_none() && super::is_closed(entry.state) {
                return Ok(super::closed(cx, &id, entry.state));
            }
            if rules::is_over_all(&id) {
                return Ok(refuse(cx, &over_all(&entry)));
            }
            match self.edit(config, &entry, &object) {
                Ok(edit) => edits.push((id, edit, source(config, &entry))),
                // A line that was left as it is means no correction.
                Err(_) if self.from.is_some() && unchanged(&entry, &object) => {}
                Err(wrong) => return Ok(refuse(cx, &wrong)),
            }
        }
        let mut results = Vec::new();
        for (id, edit, source) in edits {
            let ask = Ask::Edit {
                id: id.clone(),
                edit,
            };
            let answer = reach.ask(&ask).await?;
            let note = source.filter(|_| answer == Answer::Done);
            let note = note.map(|source| {
                format!("`{source}` still holds the old value: mend it there, or `lockstep verify` tells the difference, and the next reading of the table judges the old value again")
            });
            results.push(Handled { id, answer, note });
        }
        let acted = Acted {
            ok: results.iter().all(|one| one.answer == Answer::Done),
            results,
        };
        Ok(super::show_acted(cx, &acted, "corrected, sent and passed"))
    }

    /// What is asked for: entries and the columns that a file gives them.
    fn lines(&self) -> Result<Vec<(String, Object)>, Wrong> {
        if let Some(path) = &self.from {
            let text = read(path)?;
            let lines = text.lines().filter(|line| !line.trim().is_empty());
            let parse = |(n, line)| {
                let line: Corrected = serde_json::from_str(line).map_err(|error| Wrong {
                    message: format!("{}:{}: {}", path.display(), n + 1, plain(&error)),
                    help: "give lines as `lockstep quarantine export` writes them".to_owned(),
                })?;
                Ok((line.id, line.record))
            };
            return lines.enumerate().map(parse).collect();
        }
        let object = match &self.file {
            Some(path) => serde_json::from_str(&read(path)?).map_err(|error| Wrong {
                message: format!("{}: {}", path.display(), plain(&error)),
                help: "give one JSON object with the columns to correct".to_owned(),
            })?,
            None => Object::new(),
        };
        Ok(self
            .id
            .iter()
            .map(|id| (id.clone(), object.clone()))
            .collect())
    }

    fn edit(&self, config: &Config, entry: &Entry, object: &Object) -> Result<Edit, Wrong> {
        let mut values = from_json(entry, object).map_err(|wrong| taught(config, entry, wrong))?;
        self.typed(entry, &mut values)
            .map_err(|wrong| taught(config, entry, wrong))?;
        let contract = config.contracts.get(&entry.entity);
        let (row, columns) = corrected(entry, contract.map(|contract| &**contract), values)?;
        Ok(Edit {
            at: jiff::Timestamp::now(),
            by: who(self.by.clone()),
            reason: self.reason.clone(),
            columns,
            row,
        })
    }

    fn typed(&self, entry: &Entry, values: &mut BTreeMap<String, Value>) -> Result<(), Wrong> {
        for set in &self.set {
            let (name, text) = set.split_once('=').ok_or_else(|| Wrong {
                message: "`--set` takes a column and its value".to_owned(),
                help: "write `--set column=value`".to_owned(),
            })?;
            values.insert(name.to_owned(), read_value(entry, name, text)?);
        }
        for name in &self.null {
            let known = entry.held.shape.position(name).is_some();
            if !known {
                // Gives the words for it.
                read_value(entry, name, "")?;
            }
            values.insert(name.clone(), Value::Null);
        }
        Ok(())
    }
}

/// The system that holds the record of an entry uncorrected; what was published to an inbox or is deleted nobody holds.
fn source(config: &Config, entry: &Entry) -> Option<String> {
    let system = match (&entry.flow, entry.stage) {
        (Some(flow), Stage::Deliver) => &config.flows.get(flow)?.from,
        _ => &entry.system,
    };
    let holds = can_be_compared(config, system) && entry.held.op.is_upsert();
    holds.then(|| system.clone())
}

/// A rule over all records holds no record.
fn over_all(entry: &Entry) -> Wrong {
    Wrong {
        message: format!(
            "`{}` is a rule over all records, so there is no record to correct",
            entry.id
        ),
        help: format!(
            "mend the records in `{}` and the entity goes on once the rule holds, or let it go on with `lockstep quarantine drop {}`",
            entry.system, entry.id
        ),
    }
}

type Object = serde_json::Map<String, serde_json::Value>;

/// Says in which column a field of the contract stands, where somebody named the field.
fn taught(config: &Config, entry: &Entry, wrong: Wrong) -> Wrong {
    let named = wrong
        .message
        .strip_prefix("the record has no column `")
        .and_then(|rest| rest.strip_suffix('`'));
    let mapping = config.mapping(&entry.system, &entry.entity);
    let (Some(field), Some(mapping), Stage::Gate) = (named, mapping, entry.stage) else {
        return wrong;
    };
    let column = match mapping.fields.get(field) {
        Some(FieldMap::Column(column)) => Some(column),
        Some(FieldMap::Rule(rule)) => rule.column.as_ref(),
        None => None,
    };
    match column {
        Some(column) => Wrong {
            help: format!(
                "`{field}` is a field of the contract; the held record is `{}`'s own, where it stands in the column `{column}`",
                entry.system
            ),
            ..wrong
        },
        None => wrong,
    }
}

/// Whether the columns of a line are what the entry holds.
fn unchanged(entry: &Entry, object: &Object) -> bool {
    let values = from_json(entry, object);
    values.is_ok_and(|values| {
        values.iter().all(|(name, value)| {
            let at = entry.held.shape.position(name);
            at.is_some_and(|at| entry.row().value(at) == Some(value))
        })
    })
}

fn read(path: &Path) -> Result<String, Wrong> {
    let text = if path.as_os_str() == "-" {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(path)
    };
    text.map_err(|error| Wrong {
        message: format!("`{}` cannot be read: {error}", path.display()),
        help: "name a readable file".to_owned(),
    })
}

/// What is wrong with JSON, without what stands there.
fn plain(error: &serde_json::Error) -> String {
    format!(
        "not JSON of the form that is expected, at line {} column {}",
        error.line(),
        error.column()
    )
}

fn refuse(cx: &Context, wrong: &Wrong) -> Exit {
    let finding = Diagnostic::error("LS-R003", wrong.message.clone()).help(wrong.help.clone());
    cx.fail(&[finding], Exit::Usage)
}
