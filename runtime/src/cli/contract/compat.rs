//! `lockstep contract compat`: whether two contracts, or two JSON Schemas, understand each other.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use lockstep_core::contract::compat::{self, Finding, Report, Side, Verdict};
use lockstep_core::contract::load::CONTRACT_BYTES_MAX;
use lockstep_core::contract::{Direction, Loaded, lint, lock};
use lockstep_core::diagnostic::{Diagnostic, Place, Severity};

use super::raw;
use crate::cli::{Context, Exit, any_error};
use crate::contract::files::reason;
use crate::contract::library::Folder;

/// Most bytes of a lock file: it holds the contract and both of its schemas.
const LOCK_BYTES_MAX: u64 = 64 << 20;

/// Compare two contracts or JSON Schemas
///
/// Backward asks whether everything that may be written under OLD (its writer schema) is understood under NEW (its reader schema), forward the other way round, full both. The answer is yes, no with a document that shows it, or unproven. Contracts are ODCS files or lock files; with `--raw` any two JSON Schemas are compared, and `--pairs` answers for many.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    lockstep contract compat old.odcs.yaml new.odcs.yaml --mode full\n  \
    lockstep contract compat releases/1.0.0.lock.json order.odcs.yaml --mode backward --format json\n  \
    lockstep contract compat old.schema.json new.schema.json --raw\n  \
    lockstep contract compat --pairs pairs.jsonl --budget-ms 500\n\n\
    Exit codes: 0 yes, 1 no or unproven, 2 a file, or a schema in it (one that refers to elsewhere, too), cannot be read, or wrong usage; with --pairs 0 once all lines are answered.")]
pub(super) struct Args {
    /// The old contract, lock file or schema
    old: Option<PathBuf>,
    /// The new contract, lock file or schema
    new: Option<PathBuf>,
    /// Which documents must be valid where
    #[arg(long, value_enum, default_value_t)]
    mode: raw::Mode,
    /// How to print the result
    #[arg(long, value_name = "FORM", default_value = "human", value_parser = ["human", "json"])]
    format: String,
    #[command(flatten)]
    raw: raw::Options,
}

impl Args {
    pub(super) async fn run(self, cx: &Context) -> Exit {
        let json = self.format == "json" || cx.output.is_json();
        if self.raw.is_asked() {
            return self.raw.run(cx, self.old, self.new, self.mode, json).await;
        }
        let (Some(old), Some(new)) = (&self.old, &self.new) else {
            return cx.unknown(
                "two contracts are needed".to_owned(),
                "name OLD and NEW, or give `--pairs FILE` for plain schemas".to_owned(),
            );
        };
        let (old, new) = match (open(old), open(new)) {
            (Ok(old), Ok(new)) => (old, new),
            (old, new) => {
                let findings: Vec<Diagnostic> = [old.err(), new.err()]
                    .into_iter()
                    .flatten()
                    .flatten()
                    .collect();
                return cx.fail(&findings, Exit::Usage);
            }
        };
        let report = compat::compare(side(&old), side(&new), direction(self.mode));
        if json {
            cx.output.json(&report);
        } else {
            cx.output.text(&told(&report));
        }
        match report.verdict {
            Verdict::Yes => Exit::Clean,
            Verdict::No | Verdict::Unproven => Exit::Findings,
        }
    }
}

fn side(loaded: &Loaded) -> Side<'_> {
    Side {
        contract: &loaded.contract,
        places: &loaded.places,
    }
}

fn direction(mode: raw::Mode) -> Direction {
    match mode {
        raw::Mode::Backward => Direction::Backward,
        raw::Mode::Forward => Direction::Forward,
        raw::Mode::Full => Direction::Full,
    }
}

/// Reads a contract of a file that may be a lock.
fn open(file: &Path) -> Result<Loaded, Vec<Diagnostic>> {
    let name = file.display().to_string();
    let text = text(file, &name).map_err(|finding| vec![finding])?;
    if name.ends_with(".json") && text.contains("\"digest\"") {
        return lock::read(&name, &text).map(|lock| lock.contract);
    }
    // What only running Lockstep needs does not matter here.
    let linted = lint(&name, &text, &Folder::of(file));
    if any_error(&linted.findings) {
        return Err(linted.findings);
    }
    let count = linted.contracts.len();
    let mut contracts = linted.contracts.into_iter();
    match (contracts.next(), count) {
        (Some(contract), 1) => Ok(contract),
        _ => {
            let place = Place::in_text(&name, &text, 0, 0);
            let message = format!("there are {count} entities in `{name}`");
            Err(vec![
                Diagnostic::error("LS-U001", message)
                    .help("compare files of one entity each")
                    .at(place),
            ])
        }
    }
}

fn text(file: &Path, name: &str) -> Result<String, Diagnostic> {
    let unreadable = |why: &str| {
        Diagnostic::error("LS-U001", format!("`{name}` cannot be read: {why}"))
            .help("name a contract in YAML or a lock file; schemas need `--raw`")
    };
    let size = std::fs::metadata(file).map_err(|error| unreadable(&reason(&error)))?;
    if !size.is_file() {
        return Err(unreadable("it is no file"));
    }
    let most = if name.ends_with(".json") {
        LOCK_BYTES_MAX
    } else {
        2 * CONTRACT_BYTES_MAX as u64
    };
    if size.len() > most {
        return Err(unreadable(&format!("it has {} bytes", size.len())));
    }
    let bytes = std::fs::read(file).map_err(|error| unreadable(&reason(&error)))?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..at]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
            + 1;
        unreadable(&format!("line {line} is not UTF-8"))
    })
}

/// The answer for people.
fn told(report: &Report) -> String {
    let mut text = match (report.verdict, report.witness_direction) {
        (Verdict::Yes, _) => "yes: everything that is written is understood".to_owned(),
        (Verdict::Unproven, _) => {
            "unproven: neither a proof nor a document that shows a break was found".to_owned()
        }
        (Verdict::No, direction) => {
            let (from, to) = match direction {
                Some(Direction::Forward) => ("NEW", "OLD"),
                _ => ("OLD", "NEW"),
            };
            let witness = report.witness.as_ref().map(ToString::to_string);
            format!(
                "no: this may be written under {from} and is not understood under {to}:\n{}",
                witness.unwrap_or_default()
            )
        }
    };
    for finding in &report.findings {
        text.push('\n');
        line(finding, &mut text);
    }
    text
}

fn line(finding: &Finding, text: &mut String) {
    if let Some(place) = finding.new_place.as_ref().or(finding.old_place.as_ref()) {
        let _ = write!(text, "{}:{}:{}: ", place.file, place.line, place.column);
    }
    let severity = match finding.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info => "info",
    };
    let _ = write!(text, "{severity}[{}]: {}", finding.rule, finding.message);
    if finding.severity > Severity::Info {
        let _ = write!(text, "\n  help: {}", finding.hint);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "\
apiVersion: v3.1.0
kind: DataContract
id: thing
version: 1.0.0
status: active
schema:
  - name: thing
    properties:
      - {name: id, logicalType: string, primaryKey: true, required: true}
      - name: size
        logicalType: integer
        required: true
";

    fn written(folder: &Path, name: &str, text: &str) -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn a_break_is_shown_with_its_line_and_a_document() {
        let folder = tempfile::tempdir().unwrap();
        let new = OLD.replace("1.0.0", "1.1.0").replace("integer", "string");
        let old = open(&written(folder.path(), "old.yaml", OLD)).unwrap();
        let new = open(&written(folder.path(), "new.yaml", &new)).unwrap();
        let report = compat::compare(side(&old), side(&new), Direction::Backward);
        let text = told(&report);
        assert!(
            text.starts_with("no: this may be written under OLD"),
            "{text}"
        );
        assert!(text.contains("new.yaml:11:"), "{text}");
        assert!(text.contains("error[LSC-TYPE-CHANGED]"), "{text}");
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["verdict"], "no");
        assert_eq!(json["witness_direction"], "backward");
        assert!(json["witness"]["size"].is_i64());
    }

    #[test]
    fn a_lock_is_read_as_the_contract_it_froze() {
        let folder = tempfile::tempdir().unwrap();
        let loaded = open(&written(folder.path(), "old.yaml", OLD)).unwrap();
        let lock = written(
            folder.path(),
            "1.0.0.lock.json",
            &lock::write(&loaded, None),
        );
        assert_eq!(open(&lock).unwrap().contract.fields, loaded.contract.fields);
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new.yaml");
        std::fs::write(&path, b"a: 1\nb: \xff\n").unwrap();
        assert!(
            open(&path).unwrap_err()[0]
                .message
                .contains("line 2 is not UTF-8")
        );
        assert!(open(&folder.path().join("none.yaml")).is_err());
        assert!(open(folder.path()).is_err());
        let broken = written(
            folder.path(),
            "b.yaml",
            &OLD.replace("logicalType: integer", "logicalTyp: integer"),
        );
        let findings = open(&broken).unwrap_err();
        let found = |line| {
            let mut places = findings.iter().filter_map(|finding| finding.place.as_ref());
            places.any(|place| place.line == line)
        };
        assert!(found(11), "{findings:?}");
    }
}
