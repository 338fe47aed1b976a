//! Texts that a command makes: to standard output, into files, or as JSON.

use std::io::Read;
use std::path::{Path, PathBuf};

use lockstep_core::diagnostic::Diagnostic;
use schemars::JsonSchema;
use serde::Serialize;

use crate::cli::{Context, Exit};
use crate::contract::files::reason;
use crate::contract::import::DEFINITION_BYTES_MAX;

/// The result of `lockstep contract gen`, `import` and `init` with `--json`.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(in crate::cli) struct Written {
    /// What was made, in the order of the contracts.
    documents: Vec<Document>,
    /// What somebody should look at.
    findings: Vec<Diagnostic>,
}

/// One text that was made.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Document {
    /// The entity; absent where the text is about several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) entity: Option<String>,
    /// The file that was written, where one was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) file: Option<String>,
    /// The text, where no file was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<String>,
    /// The name that a file would have.
    #[serde(skip)]
    pub(super) name: String,
}

impl Document {
    pub(super) fn new(entity: Option<&str>, name: impl Into<String>, text: String) -> Document {
        Document {
            entity: entity.map(str::to_owned),
            file: None,
            text: Some(text),
            name: name.into(),
        }
    }
}

/// Where texts go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Out {
    /// To standard output.
    Standard,
    /// Into files of a folder, under their own names.
    Folder(PathBuf),
    /// Into one file.
    File(PathBuf),
}

impl Out {
    /// Reads what stands after `--out`; a name that ends in one of `endings` is a file.
    pub(super) fn of(written: Option<&str>, endings: &[&str]) -> Out {
        match written {
            None | Some("-") => Out::Standard,
            Some(path) if endings.iter().any(|ending| path.ends_with(ending)) => {
                Out::File(path.into())
            }
            Some(path) => Out::Folder(path.into()),
        }
    }
}

impl Written {
    pub(super) fn new(documents: Vec<Document>, findings: Vec<Diagnostic>) -> Written {
        Written {
            documents,
            findings,
        }
    }

    /// Sends the texts where they belong; `keep` refuses to overwrite, `between` parts them on standard output.
    pub(super) fn finish(mut self, cx: &Context, out: &Out, keep: bool, between: &str) -> Exit {
        if !cx.output.is_json() {
            cx.output.findings(&self.findings);
        }
        if let Out::File(path) = out
            && self.documents.len() > 1
        {
            let message = format!(
                "{} texts do not fit into the one file `{}`",
                self.documents.len(),
                path.display()
            );
            return cx.unknown(
                message,
                "name a folder with `--out`, or one entity".to_owned(),
            );
        }
        if keep {
            for document in &self.documents {
                let Some(path) = document.path(out).filter(|path| path.exists()) else {
                    continue;
                };
                let message = format!("`{}` is there already", path.display());
                let finding = Diagnostic::error("LS-I111", message)
                    .help("choose another file with `--out`, or remove it");
                return cx.fail(&[finding], Exit::Usage);
            }
        }
        let count = self.documents.len();
        for (i, document) in self.documents.iter_mut().enumerate() {
            let text = document.text.take().unwrap_or_default();
            let Some(path) = document.path(out) else {
                if !cx.output.is_json() {
                    cx.output.text(&text);
                    if i + 1 < count && !between.is_empty() {
                        cx.output.text(between);
                    }
                }
                document.text = Some(text);
                continue;
            };
            if let Err(error) = write(&path, &text) {
                let message = format!("`{}` cannot be written: {error}", path.display());
                let finding = Diagnostic::error("LS-U003", message)
                    .help("check the folder and its permissions");
                return cx.fail(&[finding], Exit::Environment);
            }
            cx.output.note(&format!("wrote {}", path.display()));
            document.file = Some(path.display().to_string());
        }
        if cx.output.is_json() {
            cx.output.json(&self);
        }
        Exit::Clean
    }
}

impl Document {
    fn path(&self, out: &Out) -> Option<PathBuf> {
        match out {
            Out::Standard => None,
            Out::Folder(folder) => Some(folder.join(&self.name)),
            Out::File(path) => Some(path.clone()),
        }
    }
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let end = if text.ends_with('\n') { "" } else { "\n" };
    std::fs::write(path, format!("{text}{end}"))
}

/// Opens a file, or standard input where it is `-`.
pub(super) fn open(source: &str) -> Result<Box<dyn Read>, Vec<Diagnostic>> {
    if source == "-" {
        return Ok(Box::new(std::io::stdin().lock()));
    }
    match std::fs::File::open(source) {
        Ok(file) => Ok(Box::new(file)),
        Err(error) => Err(unreadable(source, &error)),
    }
}

/// Reads a text that describes records, at most one byte more than is taken.
pub(super) fn definition(source: &str) -> Result<String, Vec<Diagnostic>> {
    let mut bytes = Vec::new();
    let read = open(source)?
        .take(DEFINITION_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes);
    read.map_err(|error| unreadable(source, &error))?;
    crate::contract::import::readable(source, &bytes).map(str::to_owned)
}

fn unreadable(source: &str, error: &std::io::Error) -> Vec<Diagnostic> {
    let message = format!("`{source}` cannot be read: {}", reason(error));
    let finding = Diagnostic::error("LS-U001", message);
    vec![finding.help("name a file, or `-` for standard input")]
}
