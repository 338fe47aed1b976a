//! `lockstep contract profile`.

use std::fmt::Write as _;
use std::path::PathBuf;

use comfy_table::{Table as Grid, presets};
use lockstep_core::contract::profile::{FieldProfile, Guess, Profile, Profiler};
use lockstep_core::contract::{Class, Contract, Field, Format, Inner};

use super::data::{Progress, unreadable};
use super::named;
use super::system::{self, Table};
use crate::cli::check::count;
use crate::cli::{Context, Exit};
use crate::contract::data::{DataFile, Piece};
use crate::contract::report::clean;

/// Records that could not be read and are told of.
const TOLD_MAX: usize = 5;
/// Common values in a table for people.
const COMMON_SHOWN: usize = 5;

/// Tell what stands in data, field by field
///
/// Types as far as the data shows them, nulls and gaps, how many values differ, bounds, lengths, common values and likely keys; needs little memory whatever the size. Values are shown of fields that a contract marks as public or internal, or of all with --show-values; of personal and secret fields never.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    lockstep contract profile orders.csv --show-values\n  \
    lockstep contract profile orders.jsonl --contract order\n  \
    lockstep contract profile --system erp --table orders --json\n\n\
    Exit codes: 0 done, 1 some records could not be read, 2 unreadable data or wrong usage, 3 a file or system is out of reach.")]
pub(super) struct Args {
    /// Files of records: .jsonl, .ndjson, .json, .csv or .tsv
    #[arg(required_unless_present = "system", conflicts_with = "system")]
    data: Vec<PathBuf>,
    /// A system of the configuration
    #[arg(long, requires = "table")]
    system: Option<String>,
    /// The table of the system
    #[arg(long, requires = "system")]
    table: Option<String>,
    /// The contract that says which values may be seen, by its entity or file
    #[arg(long, value_name = "ENTITY|FILE")]
    contract: Option<String>,
    /// Show values of fields that no contract protects
    #[arg(long)]
    show_values: bool,
}

impl Args {
    pub(super) async fn run(self, cx: &Context) -> Exit {
        let contract = match &self.contract {
            Some(what) => match named::contract(cx, what) {
                Ok(contract) => Some(contract),
                Err(exit) => return exit,
            },
            None => None,
        };
        let profiled = match (&self.system, &self.table) {
            (Some(system), Some(table)) => self.live(cx, system, table, contract.as_ref()).await,
            _ => self.files(cx, contract.as_ref()),
        };
        let (profile, unread) = match profiled {
            Ok(profiled) => profiled,
            Err(exit) => return exit,
        };
        if cx.output.is_json() {
            cx.output.json(&profile);
        } else {
            cx.output.text(&text(&profile));
        }
        if unread == 0 {
            Exit::Clean
        } else {
            cx.output
                .note(&format!("{} could not be read", count(unread, "record")));
            Exit::Findings
        }
    }

    /// A profiler that shows what may be seen.
    fn profiler(&self, contract: Option<&Contract>) -> Profiler {
        let profiler = Profiler::new();
        let Some(contract) = contract else {
            return if self.show_values {
                profiler
            } else {
                profiler.hide_values()
            };
        };
        let (mut protected, mut maps) = (Vec::new(), Vec::new());
        for field in &contract.fields {
            ways(field, &field.name, &mut protected, &mut maps);
        }
        let profiler = profiler.hide(protected).maps(maps);
        if self.show_values {
            return profiler;
        }
        let fields = contract.fields.iter();
        let fields = fields.filter(|field| field.class < Class::Personal);
        profiler.hide_others(fields.map(|field| field.name.clone()).collect())
    }

    fn files(&self, cx: &Context, contract: Option<&Contract>) -> Result<(Profile, usize), Exit> {
        let mut profiler = self.profiler(contract);
        let mut unread = 0;
        let progress = Progress::new();
        for path in &self.data {
            let file = DataFile::of(path).map_err(|error| unreadable(cx, &error))?;
            let name = path.display().to_string();
            let mut told = |line: u64, why: &str| {
                unread += 1;
                if unread <= TOLD_MAX {
                    cx.output.note(&clean(&format!("{name}:{line}: {why}")));
                }
            };
            let read = file.read(&mut |piece, line| {
                progress.records(&name, line);
                match piece {
                    Piece::Values(names, values) => {
                        let names = names.iter().map(String::as_str);
                        profiler.texts(names.zip(values.iter().map(String::as_str)));
                    }
                    Piece::Broken(why) => told(line, why),
                    Piece::Json(text) => {
                        let taken = match std::str::from_utf8(text) {
                            Ok(text) => profiler.json(text),
                            Err(_) => Err("it is not UTF-8 text".to_owned()),
                        };
                        if let Err(why) = taken {
                            told(line, &why);
                        }
                    }
                }
            });
            read.map_err(|error| unreadable(cx, &error))?;
        }
        Ok((profiler.finish(), unread))
    }

    async fn live(
        &self,
        cx: &Context,
        system: &str,
        name: &str,
        contract: Option<&Contract>,
    ) -> Result<(Profile, usize), Exit> {
        let config = cx.load_system(system)?;
        let table = Table::open(cx, &config, system, name).await?;
        let columns: Vec<String> = table.shape.names().map(str::to_owned).collect();
        let mut profiler = self.profiler(contract);
        let progress = Progress::new();
        let mut number = 0_u64;
        let read = table.rows(&columns, |row| {
            profiler.row(&table.shape, &row);
            number += 1;
            progress.records(name, number);
        });
        read.await
            .map_err(|error| system::failed(cx, &config, system, &error))?;
        Ok((profiler.finish(), 0))
    }
}

/// The ways to what a contract protects in a field, and to its maps.
fn ways(field: &Field, way: &str, protected: &mut Vec<String>, maps: &mut Vec<String>) {
    if field.class >= Class::Personal {
        protected.push(way.to_owned());
        return;
    }
    match &field.inner {
        Some(Inner::Object { fields, .. }) => {
            for field in fields {
                ways(field, &format!("{way}.{}", field.name), protected, maps);
            }
        }
        Some(Inner::List { items, .. }) => ways(items, &format!("{way}[]"), protected, maps),
        Some(Inner::Map { values, .. }) => {
            maps.push(way.to_owned());
            ways(values, &format!("{way}.*"), protected, maps);
        }
        None => {}
    }
}

/// The profile for people.
fn text(profile: &Profile) -> String {
    let mut text = String::new();
    let mut grid = Grid::new();
    grid.load_style(presets::UTF8_HORIZONTAL_ONLY);
    grid.set_header([
        "field", "type", "absent", "null", "distinct", "least", "most", "length", "common",
    ]);
    for field in &profile.fields {
        grid.add_row([
            clean(&field.path),
            kind(field),
            percent(field.absent_share()),
            percent(field.null_share()),
            distinct(field),
            clean(field.minimum.as_deref().unwrap_or_default()),
            clean(field.maximum.as_deref().unwrap_or_default()),
            lengths(field),
            common(field),
        ]);
    }
    let _ = writeln!(text, "{grid}\n");
    if !profile.keys.is_empty() {
        let _ = writeln!(
            text,
            "no two records are alike in: {}",
            clean(&profile.keys.join(", "))
        );
    }
    if profile.fields.iter().any(|field| field.hidden) {
        text.push_str("values of some fields are not shown; --show-values shows those that no contract protects\n");
    }
    if profile.left_out > 0 {
        let _ = writeln!(
            text,
            "{} values stand under further names",
            profile.left_out
        );
    }
    let records = usize::try_from(profile.records).unwrap_or(usize::MAX);
    let _ = writeln!(
        text,
        "{}, {}",
        count(records, "record"),
        count(profile.fields.len(), "field")
    );
    text
}

fn kind(field: &FieldProfile) -> String {
    let guess = &field.guess;
    match (guess.kind, guess.kind()) {
        (Guess::Nothing, _) => "?".to_owned(),
        (Guess::Object, _) => "object".to_owned(),
        (Guess::List, _) => "list".to_owned(),
        (Guess::Text, Some(kind)) => match guess.format.and_then(Format::named) {
            Some(format) => format!("{kind} ({format})"),
            None => kind.to_string(),
        },
        (_, Some(kind)) => kind.to_string(),
        (_, None) => "?".to_owned(),
    }
}

fn percent(share: f64) -> String {
    if share == 0.0 {
        String::new()
    } else {
        format!("{:.1} %", share * 100.0)
    }
}

fn distinct(field: &FieldProfile) -> String {
    let about = if field.distinct_is_exact { "" } else { "~" };
    let all = if field.unique { " (all)" } else { "" };
    match field.distinct {
        0 => String::new(),
        distinct => format!("{about}{distinct}{all}"),
    }
}

fn lengths(field: &FieldProfile) -> String {
    match &field.lengths {
        Some(lengths) if lengths.least == lengths.most => lengths.least.to_string(),
        Some(lengths) => format!("{}–{}", lengths.least, lengths.most),
        None => String::new(),
    }
}

fn common(field: &FieldProfile) -> String {
    if field.unique {
        return String::new();
    }
    let shown: Vec<String> = field
        .common
        .iter()
        .take(COMMON_SHOWN)
        .map(|common| format!("{} ×{}", clean(&common.value), common.count))
        .collect();
    shown.join(", ")
}
