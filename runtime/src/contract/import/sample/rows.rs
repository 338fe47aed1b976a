//! Rows of sample data, one by one: JSON, JSON lines, CSV.

use lockstep_core::diagnostic::Diagnostic;
use serde_json::{Map, Value as Json};

use super::super::notes::{Notes, shorten};
use super::Seen;
use crate::contract::cells::{self, Cells};

/// Most rows that are looked at.
pub const ROWS_MAX: u64 = 100_000;

/// The form of sample data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One object, or a list of objects.
    Json,
    /// One object a line.
    JsonLines,
    /// A line of names, then one line a row.
    Csv,
}

impl Form {
    /// The form that a file's name says it has.
    #[must_use]
    pub fn of(file: &str) -> Option<Form> {
        let ending = file.rsplit('.').next()?.to_ascii_lowercase();
        match ending.as_str() {
            "json" => Some(Form::Json),
            "jsonl" | "ndjson" => Some(Form::JsonLines),
            "csv" | "tsv" => Some(Form::Csv),
            _ => None,
        }
    }
}

/// All rows together.
pub(super) struct All {
    pub(super) seen: Seen,
    pub(super) count: u64,
}

pub(super) fn read(text: &str, form: Form, notes: &mut Notes<'_>) -> Result<All, Vec<Diagnostic>> {
    let mut all = All {
        seen: Seen::default(),
        count: 0,
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match form {
        Form::Csv => csv(text, &mut all, notes)?,
        Form::JsonLines => {
            for (i, line) in text.lines().enumerate() {
                if line.trim().is_empty() {
                    continue;
                }
                let row = serde_json::from_str(line)
                    .map_err(|error| broken(notes, i + 1, error.column(), &error))?;
                add(&mut all, &row, i + 1, notes)?;
                if all.count >= ROWS_MAX {
                    break;
                }
            }
        }
        Form::Json => {
            let read: Json = serde_json::from_str(text)
                .map_err(|error| broken(notes, error.line(), error.column(), &error))?;
            match &read {
                Json::Array(rows) => {
                    for row in rows.iter().take(ROWS_MAX as usize) {
                        add(&mut all, row, 1, notes)?;
                    }
                }
                row => add(&mut all, row, 1, notes)?,
            }
        }
    }
    if all.count >= ROWS_MAX {
        notes.remark("", format!("only the first {ROWS_MAX} rows were looked at"));
    }
    Ok(all)
}

fn add(all: &mut All, row: &Json, line: usize, notes: &Notes<'_>) -> Result<(), Vec<Diagnostic>> {
    if !row.is_object() {
        return Err(notes.fail_at(
            "LS-I102",
            line,
            1,
            "a row is not a JSON object",
            "give one object a record",
        ));
    }
    all.seen.add(row, 0);
    all.count += 1;
    Ok(())
}

fn broken(
    notes: &Notes<'_>,
    line: usize,
    column: usize,
    error: &serde_json::Error,
) -> Vec<Diagnostic> {
    let text = error.to_string();
    let reason = &text[..text.find(" at line ").unwrap_or(text.len())];
    notes.fail_at(
        "LS-I102",
        line,
        column,
        format!("the row is not JSON: {reason}"),
        "mend the row, or name another form with `--form`",
    )
}

fn csv(text: &str, all: &mut All, notes: &mut Notes<'_>) -> Result<(), Vec<Diagnostic>> {
    let first = text.lines().next().unwrap_or_default();
    let mut cells = Cells::new(text, cells::separator(first));
    let names = match cells.row() {
        Some(Ok(names)) => names,
        Some(Err(line)) => return Err(open_quote(notes, line)),
        None => return Ok(()),
    };
    if let Some(name) = cells::twice(&names) {
        let message = format!("the column `{}` stands twice", shorten(name));
        return Err(notes.fail("LS-I115", Some(0), message, "rename one of them"));
    }
    let mut uneven = 0u64;
    while all.count < ROWS_MAX
        && let Some(row) = cells.row()
    {
        let row = row.map_err(|line| open_quote(notes, line))?;
        if cells::is_blank(&row) {
            continue;
        }
        uneven += u64::from(row.len() != names.len());
        let mut cells = row.into_iter();
        let record: Map<String, Json> = names
            .iter()
            .map(|name| {
                let cell = cells.next().filter(|cell| !cell.is_empty());
                (name.clone(), cell.map_or(Json::Null, Json::String))
            })
            .collect();
        all.seen.add(&Json::Object(record), 0);
        all.count += 1;
    }
    if uneven > 0 {
        let what = format!("{uneven} rows have more or fewer cells than there are names");
        notes.warn(
            "LS-I113",
            "",
            None,
            what,
            "look whether a separator stands inside a cell without quotes",
        );
    }
    Ok(())
}

fn open_quote(notes: &Notes<'_>, line: usize) -> Vec<Diagnostic> {
    notes.fail_at(
        "LS-I102",
        line,
        1,
        "a quote is never closed",
        "write a quote inside quotes twice",
    )
}
