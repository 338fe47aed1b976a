//! Records in files: JSON lines, JSON documents and comma-separated values, read piece by piece.
//!
//! Owns the way from a file to single records and the limits on it; knows no contract.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};

use lockstep_core::contract::check::lines;

use super::cells::{self, Cells, Quotes};
use crate::config::reason;

/// Most bytes of one line.
const LINE_BYTES_MAX: usize = 16 << 20;
/// Most bytes of a file that is read as one JSON document.
const DOCUMENT_BYTES_MAX: u64 = 256 << 20;
/// Bytes that are read at once.
const BUFFER_BYTES: usize = 256 << 10;

/// How records stand in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One JSON object a line: `.jsonl`, `.ndjson`.
    Lines,
    /// One JSON document, or a list of them: `.json`.
    Document,
    /// Values under a line of names, parted by commas, semicolons or tabs: `.csv`, `.tsv`.
    Table,
}

/// One record as it stands in a file.
#[derive(Clone, Copy, Debug)]
pub enum Piece<'a> {
    /// JSON text.
    Json(&'a [u8]),
    /// Values under their names.
    Values(&'a [String], &'a [String]),
    /// What stands where a record should, and why it is none.
    Broken(&'a str),
}

/// Why a file cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// What is wrong.
    pub message: String,
    /// Whether the surroundings are to blame, and not what stands in the file.
    pub environment: bool,
}

/// What in data cannot be read, and keeps what follows from being read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The line, from 1.
    pub line: u64,
    /// Why.
    pub why: String,
}

impl Fault {
    fn new(line: u64, why: impl Into<String>) -> Fault {
        Fault {
            line,
            why: why.into(),
        }
    }
}

/// A file of records.
#[derive(Clone, Debug)]
pub struct DataFile {
    /// Where it is.
    pub path: PathBuf,
    /// How records stand in it.
    pub form: Form,
}

impl Form {
    /// The form that the end of a file's name tells.
    #[must_use]
    pub fn of(path: &Path) -> Option<Form> {
        let end = path.extension().and_then(|end| end.to_str());
        match end.map(str::to_ascii_lowercase).as_deref() {
            Some("jsonl" | "ndjson") => Some(Form::Lines),
            Some("json") => Some(Form::Document),
            Some("csv" | "tsv") => Some(Form::Table),
            _ => None,
        }
    }
}

impl DataFile {
    /// A file whose form is told by the end of its name.
    ///
    /// # Errors
    /// The name ends in nothing that is known.
    pub fn of(path: &Path) -> Result<DataFile, Unreadable> {
        let form = Form::of(path).ok_or_else(|| Unreadable {
            message: format!(
                "`{}` has no form that is known; data is read from .jsonl, .ndjson, .json, .csv and .tsv",
                path.display()
            ),
            environment: false,
        })?;
        Ok(DataFile {
            path: path.to_owned(),
            form,
        })
    }

    /// Hands over every record with its line.
    ///
    /// # Errors
    /// The file cannot be read further; what stands before that place has been handed over.
    pub fn read(&self, each: &mut dyn FnMut(Piece<'_>, u64)) -> Result<(), Unreadable> {
        let file = File::open(&self.path).map_err(|error| Unreadable {
            message: format!(
                "`{}` cannot be read: {}",
                self.path.display(),
                reason(&error)
            ),
            environment: true,
        })?;
        read(file, self.form, each).map_err(|fault| Unreadable {
            message: format!(
                "`{}` cannot be read: line {}: {}",
                self.path.display(),
                fault.line,
                fault.why
            ),
            environment: false,
        })
    }
}

/// Hands over every record of some data with its line.
///
/// # Errors
/// The data cannot be read further; what stands before that place has been handed over.
pub fn read(
    input: impl Read,
    form: Form,
    each: &mut dyn FnMut(Piece<'_>, u64),
) -> Result<(), Fault> {
    match form {
        Form::Lines => read_lines(input, each),
        Form::Document => read_document(input, each),
        Form::Table => read_table(input, each),
    }
}

fn read_lines(file: impl Read, each: &mut dyn FnMut(Piece<'_>, u64)) -> Result<(), Fault> {
    let mut input = BufReader::with_capacity(BUFFER_BYTES, file);
    let mut line = Vec::new();
    let mut number = 0;
    loop {
        line.clear();
        let most = LINE_BYTES_MAX as u64 + 1;
        let read = input.by_ref().take(most).read_until(b'\n', &mut line);
        match read {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) => return Err(Fault::new(number + 1, reason(&error))),
        }
        number += 1;
        if line.len() > LINE_BYTES_MAX {
            return Err(Fault::new(number, too_long()));
        }
        let text = after_mark(&line, number).trim_ascii();
        if !text.is_empty() {
            each(Piece::Json(text), number);
        }
    }
}

fn too_long() -> String {
    format!("it is longer than {LINE_BYTES_MAX} bytes")
}

fn read_document(file: impl Read, each: &mut dyn FnMut(Piece<'_>, u64)) -> Result<(), Fault> {
    let mut bytes = Vec::new();
    let read = file.take(DOCUMENT_BYTES_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|error| Fault::new(1, reason(&error)))?;
    if bytes.len() as u64 > DOCUMENT_BYTES_MAX {
        let why = format!(
            "the document has more than {DOCUMENT_BYTES_MAX} bytes; write one record a line as .jsonl"
        );
        return Err(Fault::new(1, why));
    }
    let lines = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        let line = 1 + lines(&bytes[..error.valid_up_to()]);
        Fault::new(line, "it is not UTF-8 text")
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (mut line, mut counted) = (1, 0);
    let read = lines::items(text, &mut |item, offset| {
        line += lines(&text.as_bytes()[counted..offset]);
        counted = offset;
        each(Piece::Json(item.as_bytes()), line);
    });
    read.map_err(|(line, why)| Fault::new(line, why))
}

fn read_table(file: impl Read, each: &mut dyn FnMut(Piece<'_>, u64)) -> Result<(), Fault> {
    let mut lines = Rows::new(BufReader::with_capacity(BUFFER_BYTES, file));
    let Some((_, names)) = lines.next()? else {
        return Ok(());
    };
    let names = names.map_err(|why| Fault::new(1, why))?;
    if let Some(name) = cells::twice(&names) {
        let why = format!("the column `{name}` stands twice; rename one of them");
        return Err(Fault::new(1, why));
    }
    while let Some((line, row)) = lines.next()? {
        match row {
            Ok(row) if row.len() == names.len() => each(Piece::Values(&names, &row), line),
            Ok(row) => {
                let why = format!("{} values under {} names", row.len(), names.len());
                each(Piece::Broken(&why), line);
            }
            Err(why) => each(Piece::Broken(why), line),
        }
    }
    Ok(())
}

/// Rows of a table, read line by line.
struct Rows<R> {
    input: BufReader<R>,
    quotes: Option<Quotes>,
    separator: char,
    /// The lines of one row.
    text: Vec<u8>,
    number: u64,
}

/// A row with the line it begins in, or why it is none.
type Numbered = (u64, Result<Vec<String>, &'static str>);

impl<R: Read> Rows<R> {
    fn new(input: BufReader<R>) -> Rows<R> {
        Rows {
            input,
            quotes: None,
            separator: ',',
            text: Vec::new(),
            number: 0,
        }
    }

    /// The next row that is not blank.
    fn next(&mut self) -> Result<Option<Numbered>, Fault> {
        loop {
            let Some(start) = self.gather()? else {
                return Ok(None);
            };
            let text = after_mark(&self.text, start);
            let Ok(text) = std::str::from_utf8(text) else {
                return Ok(Some((start, Err("not UTF-8 text"))));
            };
            match Cells::new(text, self.separator).row() {
                Some(Ok(row)) if !cells::is_blank(&row) => return Ok(Some((start, Ok(row)))),
                Some(Err(_)) => return Ok(Some((start, Err("a quote is never closed")))),
                Some(Ok(_)) | None => {}
            }
        }
    }

    /// Gathers the lines of the next row; gives the number of the first.
    fn gather(&mut self) -> Result<Option<u64>, Fault> {
        self.text.clear();
        let start = self.number + 1;
        let mut open = None;
        loop {
            let from = self.text.len();
            let most = (LINE_BYTES_MAX - from) as u64 + 1;
            let read = self
                .input
                .by_ref()
                .take(most)
                .read_until(b'\n', &mut self.text);
            let failed = |error: std::io::Error| Fault::new(self.number + 1, reason(&error));
            if read.map_err(failed)? == 0 {
                return match open {
                    Some(line) => Err(Fault::new(line, "a quote is never closed")),
                    None => Ok(None),
                };
            }
            self.number += 1;
            if self.text.len() > LINE_BYTES_MAX {
                return Err(match open {
                    Some(line) => {
                        let why = format!("a quote is not closed within {LINE_BYTES_MAX} bytes");
                        Fault::new(line, why)
                    }
                    None => Fault::new(start, too_long()),
                });
            }
            let line = after_mark(&self.text[from..], self.number);
            let quotes = match &mut self.quotes {
                Some(quotes) => quotes,
                none => {
                    self.separator = cells::separator(&String::from_utf8_lossy(line));
                    none.insert(Quotes::new(self.separator))
                }
            };
            open = quotes.line(line, self.number);
            if open.is_none() {
                quotes.begin();
                return Ok(Some(start));
            }
        }
    }
}

/// The text of a file's first line after the mark of UTF-8.
fn after_mark(line: &[u8], number: u64) -> &[u8] {
    let mark = line.strip_prefix("\u{feff}".as_bytes());
    mark.filter(|_| number == 1).unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str) -> (Vec<(String, u64)>, Result<(), String>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        let mut seen = Vec::new();
        let file = DataFile::of(&path).unwrap();
        let read = file.read(&mut |piece, line| {
            let text = match piece {
                Piece::Json(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                Piece::Values(names, values) => {
                    let pairs = names.iter().zip(values).map(|(n, v)| format!("{n}={v}"));
                    pairs.collect::<Vec<_>>().join(",")
                }
                Piece::Broken(why) => why.to_owned(),
            };
            seen.push((text, line));
        });
        let path = format!("{}", path.display());
        (
            seen,
            read.map_err(|error| error.message.replace(&path, "F")),
        )
    }

    fn at(pieces: &[(&str, u64)]) -> Vec<(String, u64)> {
        pieces
            .iter()
            .map(|(text, line)| ((*text).to_owned(), *line))
            .collect()
    }

    #[test]
    fn each_form_gives_its_records_with_their_lines() {
        for (name, text, expected) in [
            (
                "a.jsonl",
                "{\"a\":1}\r\n\n [2]",
                at(&[("{\"a\":1}", 1), ("[2]", 3)]),
            ),
            (
                "a.json",
                "[\n{},\n {\"a\":\n1}, 3]",
                at(&[("{}", 2), ("{\"a\":\n1}", 3), ("3", 4)]),
            ),
            ("a.json", "\n{\"a\":[1]}", at(&[("{\"a\":[1]}", 2)])),
            (
                "a.csv",
                "a,b\n1,\n\"x\ny\",2\n",
                at(&[("a=1,b=", 2), ("a=x\ny,b=2", 3)]),
            ),
            (
                "a.jsonl",
                "\u{feff}{}\n\u{feff}{}",
                at(&[("{}", 1), ("\u{feff}{}", 2)]),
            ),
            ("a.json", "\u{feff}[1]", at(&[("1", 1)])),
            (
                "a.csv",
                "\u{feff}a;b\r\n\r\n1;\"x\r\ny\"\r\n2\r\n3;4\r\n",
                at(&[
                    ("a=1,b=x\r\ny", 3),
                    ("1 values under 2 names", 5),
                    ("a=3,b=4", 6),
                ]),
            ),
            ("a.tsv", "a\tb\n1\t2", at(&[("a=1,b=2", 2)])),
        ] {
            assert_eq!(read(name, text), (expected, Ok(())), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_said_with_its_line() {
        for (name, text, why) in [
            (
                "a.json",
                "[1,\n2",
                "`F` cannot be read: line 2: `,` or the end must stand here",
            ),
            (
                "a.json",
                "",
                "`F` cannot be read: line 1: the text ends where a value must stand",
            ),
            (
                "a.csv",
                "a,b\n1,2\n\n3,\"4\n5,6\n",
                "`F` cannot be read: line 4: a quote is never closed",
            ),
            (
                "a.csv",
                "a,b,a\n1,2,3\n",
                "`F` cannot be read: line 1: the column `a` stands twice; rename one of them",
            ),
        ] {
            assert_eq!(read(name, text).1, Err(why.to_owned()));
        }
        assert!(!DataFile::of(Path::new("a.xlsx")).unwrap_err().environment);
        let gone = DataFile::of(Path::new("gone.csv")).unwrap();
        assert!(gone.read(&mut |_, _| {}).unwrap_err().environment);
    }
}
