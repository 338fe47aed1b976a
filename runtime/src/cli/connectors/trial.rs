//! `lockstep connectors try FILE`: what a description reads, before any configuration names it.
//!
//! Knows no connector by name: whichever says that files describe its systems gets the file.

use std::path::PathBuf;
use std::sync::Arc;

use comfy_table::{ContentArrangement, Table, presets};
use lockstep_core::connector::{Connector, Trial, TriedTable};
use lockstep_core::diagnostic::Diagnostic;
use lockstep_core::{Cell, Value};
use schemars::JsonSchema;
use serde::Serialize;

use super::super::{Context, Exit, any_error};

/// Most characters of a value in a table for people.
const CELL_MAX: usize = 40;

/// Judge a file that describes a system, and show its first records and the next cursor
///
/// The secrets that the file names are taken from the environment: `token` from LOCKSTEP_SECRET_TOKEN. Records are shown as the system gives them: no contract protects them here.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  LOCKSTEP_SECRET_TOKEN=… lockstep connectors try helpdesk.yaml --table tickets
    Exit codes: 0 clean (warnings allowed), 1 errors in the file, 2 the file cannot be read, 3 a table cannot be read.")]
pub(super) struct Args {
    /// The file
    file: PathBuf,
    /// Read this table only
    #[arg(long)]
    table: Option<String>,
    /// Most records of each table
    #[arg(long, default_value_t = 5)]
    rows: usize,
    /// Another address than the file's
    #[arg(long)]
    url: Option<String>,
    /// Judge the file only, without asking the system
    #[arg(long)]
    offline: bool,
    /// The connector, where several are described by files
    #[arg(long)]
    connector: Option<String>,
}

/// The result of `lockstep connectors try --json`.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct Tried {
    /// Whether nothing is wrong: no finding is an error, and every table could be read.
    ok: bool,
    /// What is wrong with the file, in its order.
    findings: Vec<Diagnostic>,
    /// The tables that were asked for, by name.
    tables: Vec<Read>,
}

/// What was read of one table.
#[derive(Debug, Serialize, JsonSchema)]
struct Read {
    /// Its name.
    name: String,
    /// The fields that are the system's own id of a record.
    key: Vec<String>,
    /// The fields with their types.
    fields: Vec<Field>,
    /// The first records, values in the order of the fields: text, or null.
    rows: Vec<Vec<Option<String>>>,
    /// What the next page is asked for with; null where there is none.
    cursor: Option<String>,
    /// The field that tells which records changed of late.
    growing: Option<String>,
    /// Why the table could not be read.
    error: Option<String>,
}

/// One field.
#[derive(Debug, Serialize, JsonSchema)]
struct Field {
    /// Its name.
    name: String,
    /// Its type.
    #[serde(rename = "type")]
    kind: String,
}

impl Args {
    pub(super) async fn run(self, cx: &Context) -> Exit {
        let connector = match self.connector(cx) {
            Ok(connector) => connector,
            Err(exit) => return exit,
        };
        let Some((_, try_file)) = connector.description() else {
            let message = format!(
                "no file describes systems of connector `{}`",
                connector.name
            );
            return cx.unknown(message, described(cx));
        };
        let file = self.file.display().to_string();
        let text = match std::fs::read_to_string(&self.file) {
            Ok(text) => text,
            Err(error) => {
                let message = format!("`{file}` cannot be read: {error}");
                return cx.unknown(message, "name the file that describes a system".to_owned());
            }
        };
        let tried = try_file(Trial {
            file,
            text,
            url: self.url,
            table: self.table,
            rows: self.rows,
            offline: self.offline,
            secret: Arc::new(|name| std::env::var(variable(name)).ok()),
        })
        .await;
        let mut findings = tried.findings;
        findings.extend(tried.missing.iter().map(|name| {
            Diagnostic::error("LS-Y003", format!("the secret `{name}` is not given"))
                .help(format!("set {} in the environment", variable(name)))
        }));
        let tables: Vec<Read> = tried.tables.iter().map(Read::of).collect();
        let unread = tables.iter().any(|table| table.error.is_some());
        let exit = match (any_error(&findings), unread) {
            (true, _) => Exit::Findings,
            (false, true) => Exit::Environment,
            (false, false) => Exit::Clean,
        };
        let tried = Tried {
            ok: exit == Exit::Clean,
            findings,
            tables,
        };
        if cx.output.is_json() {
            cx.output.json(&tried);
        } else {
            cx.output.findings(&tried.findings);
            cx.output
                .text(&tried.tables.iter().map(Read::text).collect::<String>());
        }
        exit
    }

    /// The connector that the file is for.
    fn connector<'a>(&self, cx: &'a Context) -> Result<&'a Connector, Exit> {
        if let Some(name) = &self.connector {
            return cx.registry.get(name).map_err(|error| {
                let help = error.help_text().unwrap_or_default().to_owned();
                cx.unknown(error.to_string(), help)
            });
        }
        let mut fitting = cx
            .registry
            .iter()
            .filter(|connector| connector.description().is_some());
        match (fitting.next(), fitting.next()) {
            (Some(only), None) => Ok(only),
            (None, _) => Err(cx.unknown(
                "no connector of this binary is described by files".to_owned(),
                "`lockstep connectors list` shows the ones there are".to_owned(),
            )),
            (Some(_), Some(_)) => Err(cx.unknown(
                "several connectors are described by files".to_owned(),
                described(cx),
            )),
        }
    }
}

/// The connectors that files describe, as help.
fn described(cx: &Context) -> String {
    let fitting = cx
        .registry
        .iter()
        .filter(|connector| connector.description().is_some());
    let names: Vec<&str> = fitting.map(|connector| connector.name).collect();
    format!("name one with --connector: {}", names.join(", "))
}

/// The environment variable that holds a secret.
fn variable(name: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_uppercase()
        } else {
            '_'
        }
    };
    format!(
        "LOCKSTEP_SECRET_{}",
        name.chars().map(plain).collect::<String>()
    )
}

impl Read {
    fn of(table: &TriedTable) -> Read {
        let shape = &table.shape;
        let fields = shape.columns.iter().map(|column| Field {
            name: column.name.clone(),
            kind: column
                .kind
                .map_or_else(|| "any".to_owned(), |kind| kind.to_string()),
        });
        let value = |cell: &Cell| match cell.value() {
            None | Some(Value::Null) => None,
            Some(value) => Some(value.to_string()),
        };
        Read {
            name: shape.name.clone(),
            key: shape
                .key
                .iter()
                .map(|column| shape.columns[*column].name.clone())
                .collect(),
            fields: fields.collect(),
            rows: table
                .rows
                .iter()
                .map(|row| row.0.iter().map(value).collect())
                .collect(),
            cursor: table.cursor.clone(),
            growing: table.growing.clone(),
            error: table.error.as_ref().map(lockstep_core::Error::chain),
        }
    }

    /// The table for people.
    fn text(&self) -> String {
        let name = &self.name;
        if let Some(error) = &self.error {
            return format!("{name}: {error}\n");
        }
        let mut table = Table::new();
        table.load_style(presets::UTF8_HORIZONTAL_ONLY);
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header(
            self.fields
                .iter()
                .map(|field| format!("{}\n{}", field.name, field.kind)),
        );
        for row in &self.rows {
            table.add_row(row.iter().map(|value| match value {
                None => "null".to_owned(),
                Some(text) => shown(text),
            }));
        }
        let next = match &self.cursor {
            Some(cursor) => format!("next page: {}", shown(cursor)),
            None => "no further page".to_owned(),
        };
        let growing = match &self.growing {
            Some(field) => format!("changes by `{field}`"),
            None => "changes by listing everything".to_owned(),
        };
        let key = self.key.join(", ");
        format!("{name}: key {key}, {growing}, {next}\n{table}\n")
    }
}

/// A text on one line, cut where it is long, without what would steer a terminal.
fn shown(text: &str) -> String {
    let plain: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(CELL_MAX)
        .collect();
    if text.chars().count() > CELL_MAX {
        plain + "…"
    } else {
        plain
    }
}
