//! What the commands over contract files share: which contracts, compared with what, and how the report goes out.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::ValueEnum as _;
use jiff::civil::Date;
use lockstep_core::diagnostic::Severity;

use crate::cli::{Context, Exit};
use crate::contract::Trouble;
use crate::contract::base::{Against, Base};
use crate::contract::consumers::{Consumers, contracts_folder};
use crate::contract::files::{Files, Root, reason, roots, shown};
use crate::contract::git::Git;
use crate::contract::judge::Before;
use crate::contract::report::{Format, Item, Report, Style};
use crate::contract::repository::Repository;

/// Folders that are looked at where nobody names one.
const USUAL: [&str; 3] = ["contracts", "schemas/contracts", "schemas"];

/// Which contracts.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Paths {
    /// Contract files, or folders of them [default: the folder that lockstep.toml names, else contracts, schemas/contracts or schemas]
    #[arg(value_name = "PATH")]
    pub(super) paths: Vec<PathBuf>,
}

impl Paths {
    /// Reads and lints the contracts.
    pub(super) fn open(&self, cx: &Context) -> Result<Repository, Trouble> {
        let roots = self.roots(&cx.file)?;
        let repository = Repository::load(Files::on_disk(&roots)?);
        if repository.looked_at.is_empty() && repository.releases.is_empty() {
            let named: Vec<String> = roots
                .iter()
                .map(|root| format!("`{}`", root.shown))
                .collect();
            return Err(Trouble::usage(
                "LS-K007",
                format!("there is no contract in {}", named.join(", ")),
                "contracts are files that end in `.odcs.yaml`; `lockstep contract init` writes one",
            ));
        }
        Ok(repository)
    }

    pub(super) fn roots(&self, config: &Path) -> Result<Vec<Root>, Trouble> {
        if !self.paths.is_empty() {
            return roots(&self.paths);
        }
        let usual = USUAL
            .iter()
            .map(PathBuf::from)
            .find(|folder| folder.is_dir());
        match contracts_folder(config).or(usual) {
            Some(folder) => Ok(vec![Root::folder(&folder)]),
            None => Err(Trouble::usage(
                "LS-K007",
                format!(
                    "there is no folder {}",
                    USUAL.map(|folder| format!("`{folder}`")).join(", ")
                ),
                "name the contracts, go to the folder that holds them, or begin one: `lockstep contract init ENTITY`",
            )),
        }
    }
}

/// Compared with what.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Comparison {
    /// A branch, tag or commit (its merge base with HEAD), a folder, a file, or `releases` [default: the branch that changes go to]
    #[arg(long, value_name = "WHAT")]
    against: Option<String>,
    /// Compare with the revision itself, not with its merge base
    #[arg(long)]
    tip: bool,
    /// A further configuration whose flows say who receives an entity; lockstep.toml is read anyway
    #[arg(long, value_name = "FILE")]
    consumers_from: Vec<PathBuf>,
}

impl Comparison {
    /// Finds and loads the older side.
    pub(super) fn open(&self, repository: &Repository) -> Result<(Base, Before), Trouble> {
        let against = Against {
            name: self.against.clone(),
            tip: self.tip,
        };
        let variable = |name: &str| std::env::var(name).ok();
        let (base, older) = against.read(&repository.files.roots, &variable)?;
        Ok((base, Before::load(older)))
    }

    /// Who receives which entity, and what could not be read about that.
    pub(super) fn consumers(&self, cx: &Context) -> (Consumers, Vec<Item>) {
        let mut consumers = Consumers::default();
        let usual = cx.file.is_file().then_some(&cx.file);
        let found = usual.into_iter().chain(&self.consumers_from);
        let found = found.filter_map(|file| consumers.add_file(file).err());
        let items = found.map(Item::from).collect();
        (consumers, items)
    }
}

/// How the report goes out.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Reporting {
    /// The form of the report; human, github and markdown may stand together [default: human, and github on GitHub Actions]
    #[arg(long = "format", value_name = "FORMAT")]
    formats: Vec<Format>,
    /// Write the report to a file too, such as `sarif=report.sarif`; may be repeated
    #[arg(long = "output", value_name = "FORMAT=PATH")]
    outputs: Vec<ToFile>,
    /// The mildest finding that fails the command
    #[arg(long, value_name = "SEVERITY", default_value = "error")]
    fail_on: FailOn,
}

/// A form and the file that it goes to.
#[derive(Clone, Debug)]
struct ToFile {
    format: Format,
    path: PathBuf,
}

impl FromStr for ToFile {
    type Err = String;

    fn from_str(text: &str) -> Result<ToFile, String> {
        let (format, path) = text
            .split_once('=')
            .ok_or("write FORMAT=PATH, such as `sarif=report.sarif`")?;
        if path.is_empty() {
            return Err("the path is empty".to_owned());
        }
        Ok(ToFile {
            format: Format::from_str(format, true)?,
            path: PathBuf::from(path),
        })
    }
}

/// The mildest finding that fails a command.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum FailOn {
    /// Errors only
    Error,
    /// Errors and warnings
    Warning,
    /// Everything
    Info,
}

impl Reporting {
    pub(super) fn fail_on(&self) -> Severity {
        match self.fail_on {
            FailOn::Error => Severity::Error,
            FailOn::Warning => Severity::Warning,
            FailOn::Info => Severity::Info,
        }
    }

    /// A report of these findings about a repository.
    pub(super) fn report(
        &self,
        command: &'static str,
        repository: &Repository,
        findings: Vec<Item>,
    ) -> Report {
        let mut report = Report::new(command, findings, self.fail_on());
        report.contracts = repository.looked_at.len();
        report.files.clone_from(&repository.looked_at);
        for (path, text) in &repository.files.by_path {
            if let Ok(text) = text {
                report.sources.new.insert(path.clone(), text.clone());
            }
        }
        report
    }

    /// Writes the report in every form asked for, and says how the command ends.
    pub(super) fn finish(&self, cx: &Context, mut report: Report, unreadable: bool) -> Exit {
        let formats = match self.to_standard_output(cx) {
            Ok(formats) => formats,
            Err(trouble) => return cx.fail(&[trouble.finding], Exit::Usage),
        };
        let all: Vec<Format> = formats
            .iter()
            .copied()
            .chain(self.outputs.iter().map(|to| to.format))
            .collect();
        if all
            .iter()
            .any(|format| !matches!(format, Format::Human | Format::Json | Format::Jsonl))
        {
            (report.top, report.prefix) = top_and_prefix();
        }
        let terminal = std::io::stdout().is_terminal();
        let style = Style {
            drawn: terminal,
            colour: terminal && std::env::var_os("NO_COLOR").is_none(),
        };
        for format in formats {
            let text = report.render(format, style);
            if !text.is_empty() {
                cx.output.text(&text);
            }
        }
        if let Err(trouble) = self.to_files(&report, &all) {
            return cx.fail(&[trouble.finding], Exit::Environment);
        }
        match (unreadable, report.ok) {
            (true, _) => Exit::Usage,
            (false, true) => Exit::Clean,
            (false, false) => Exit::Findings,
        }
    }

    /// Tells why the command could not be done, in every form asked for.
    pub(super) fn trouble(&self, cx: &Context, command: &'static str, trouble: Trouble) -> Exit {
        let exit = if trouble.environment {
            Exit::Environment
        } else {
            Exit::Usage
        };
        let report = Report::new(command, vec![Item::from(trouble.finding)], self.fail_on());
        self.finish(cx, report, false);
        exit
    }

    fn to_standard_output(&self, cx: &Context) -> Result<Vec<Format>, Trouble> {
        let mut formats = self.formats.clone();
        if cx.output.is_json() {
            formats.push(Format::Json);
        }
        if formats.is_empty() {
            formats.push(Format::Human);
            if std::env::var("GITHUB_ACTIONS").is_ok_and(|value| value == "true") {
                formats.push(Format::Github);
            }
        }
        formats.sort_by_key(|format| *format as u8);
        formats.dedup();
        match formats.iter().find(|format| format.is_document()) {
            Some(format) if formats.len() > 1 => {
                let name = format
                    .to_possible_value()
                    .map_or_else(String::new, |value| value.get_name().to_owned());
                Err(Trouble::usage(
                    "LS-U001",
                    format!(
                        "`{name}` is one document, so nothing else can stand beside it on standard output"
                    ),
                    format!("write it to a file: `--output {name}=PATH`"),
                ))
            }
            _ => Ok(formats),
        }
    }

    fn to_files(&self, report: &Report, formats: &[Format]) -> Result<(), Trouble> {
        let failed = |path: &Path, error: &std::io::Error| {
            let message = format!(
                "the report `{}` cannot be written: {}",
                shown(path),
                reason(error)
            );
            Trouble::environment("LS-K020", message, "mend the path or its permissions")
        };
        for to in &self.outputs {
            let text = report.render(to.format, Style::default());
            std::fs::write(&to.path, text).map_err(|error| failed(&to.path, &error))?;
        }
        let summary = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty());
        if let Some(path) = summary
            .filter(|_| formats.contains(&Format::Github))
            .map(PathBuf::from)
        {
            let text = report.render(Format::Markdown, Style::default());
            let file = std::fs::OpenOptions::new()
                .append(true)
                .create(true)
                .open(&path);
            file.and_then(|mut file| file.write_all(text.as_bytes()))
                .map_err(|error| failed(&path, &error))?;
        }
        Ok(())
    }
}

/// The top of the repository, and the way from it to the current folder; nothing outside of one.
fn top_and_prefix() -> (String, String) {
    let here = Path::new(".");
    let Ok(git) = Git::open(here) else {
        return (String::new(), String::new());
    };
    let top = git
        .top()
        .ok()
        .flatten()
        .map_or_else(String::new, |top| shown(&top));
    (top, git.prefix(here).unwrap_or_default())
}

/// The day, in UTC, so that every machine agrees on it.
pub(super) fn today() -> Date {
    jiff::Timestamp::now()
        .to_zoned(jiff::tz::TimeZone::UTC)
        .date()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_and_its_file_are_one_word() {
        let to: ToFile = "sarif=a=b.sarif".parse().unwrap();
        assert_eq!(
            (to.format, to.path),
            (Format::Sarif, PathBuf::from("a=b.sarif"))
        );
        for wrong in ["sarif", "sarif=", "word=x"] {
            assert!(wrong.parse::<ToFile>().is_err(), "{wrong}");
        }
    }
}
