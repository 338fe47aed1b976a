//! Connectors whose systems a file describes, and trying such a file out before any configuration names it.
//!
//! The registry's user knows no connector by name: it hands the file over and shows what comes back.

use std::fmt;
use std::sync::Arc;

use super::erased::Boxed;
use crate::diagnostic::Diagnostic;
use crate::error::Error;
use crate::shape::{Row, Shape};

/// What each code of a description means, for `lockstep explain`.
pub const CODES: &[(&str, &str)] = &[
    (
        "LS-Y001",
        "A file that describes a system cannot be read: it is no YAML, or has a key or value that is not known there.\n\
         Check: the marked place; `lockstep connectors schema NAME --description` prints everything that a file may say.\n\
         Safe: mend the file and try it again; nothing was read or written.",
    ),
    (
        "LS-Y002",
        "A description names something that it does not have: a field, a table, a type, or a word in a template.\n\
         Check: the marked place and the names in the help.\n\
         Safe: mend the file and try it again; nothing was read or written.",
    ),
    (
        "LS-Y003",
        "What a description says cannot work, or can lose or double records.\n\
         Check: the help line says what is needed instead.\n\
         Safe: mend the file and try it again; a warning alone stops nothing.",
    ),
];

/// A description to be tried.
#[derive(Clone)]
pub struct Trial {
    /// The file's name, for places in findings.
    pub file: String,
    /// What it says.
    pub text: String,
    /// Another address than the one it says.
    pub url: Option<String>,
    /// The one table to be read; all of them where absent.
    pub table: Option<String>,
    /// Most rows of each table.
    pub rows: usize,
    /// Whether the system is left alone: the description is judged only.
    pub offline: bool,
    /// Finds a secret by its name.
    pub secret: FindSecret,
}

/// What came of a trial.
#[derive(Debug, Default)]
pub struct Tried {
    /// What is wrong with the description.
    pub findings: Vec<Diagnostic>,
    /// Secrets that it names and that were not found; nothing was read then.
    pub missing: Vec<String>,
    /// The tables that were read, by name.
    pub tables: Vec<TriedTable>,
}

/// What a trial read of one table.
#[derive(Debug)]
pub struct TriedTable {
    /// The table as the description declares it.
    pub shape: Arc<Shape>,
    /// Its first rows, in the system's order.
    pub rows: Vec<Row>,
    /// What the next page is asked for with; none where there is no further page.
    pub cursor: Option<String>,
    /// The column that tells which rows changed of late.
    pub growing: Option<String>,
    /// Why it could not be read.
    pub error: Option<Error>,
}

/// Finds a secret by its name.
pub type FindSecret = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Tries a description.
pub type TryFile = fn(Trial) -> Boxed<'static, Tried>;

impl fmt::Debug for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Trial({})", self.file)
    }
}
