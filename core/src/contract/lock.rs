//! Released versions, frozen: `releases/<version>.lock.json` holds the contract in its canonical form and the two schemas that were published with it.
//!
//! A lock file is written once and never edited; its digest covers everything in it, so that an edit is found wherever the file is read.

use semver::Version;
use serde_json::{Map, Value as Json};
use sha2::{Digest as _, Sha256};

use super::load::lock as frozen;
use super::{Contract, Loaded, document, schema};
use crate::diagnostic::{Diagnostic, Place};

/// The newest form of lock files that is read; a first release has the first one, which names none before it.
pub const FORMAT: u64 = 2;

/// A released version as it was read.
#[derive(Clone, Debug)]
pub struct Lock {
    /// The contract; its places lie in the lock file.
    pub contract: Loaded,
    /// The schema that was published for writers.
    pub writer: Json,
    /// The schema that was published for readers.
    pub reader: Json,
    /// The release before it, as far as the file tells.
    pub after: Option<Version>,
    /// The contract's own digest, as [`digest`] gives it.
    pub digest: String,
}

/// Writes the lock file of a contract that follows the release `after`.
#[must_use]
pub fn write(loaded: &Loaded, after: Option<&Version>) -> String {
    let contract = document::write(&loaded.contract);
    let writer = schema::writer(&loaded.contract);
    let reader = schema::reader(&loaded.contract);
    let after = after.map(|after| Json::from(after.to_string()));
    let seal = seal(&contract, &writer, &reader, after.as_ref());
    let mut lock = Map::new();
    lock.insert("format".to_owned(), (1 + u64::from(after.is_some())).into());
    // Beside the next one, it shows that one between them is gone.
    lock.extend(after.map(|after| ("after".to_owned(), after)));
    let rest = [
        ("contract", contract),
        ("writer", writer),
        ("reader", reader),
    ];
    lock.extend(rest.map(|(key, part)| (key.to_owned(), part)));
    lock.insert("digest".to_owned(), seal.into());
    format!("{:#}\n", Json::Object(lock))
}

/// Reads a lock file; `file` is the name shown in messages.
///
/// # Errors
/// A text that is no lock file, one of a newer form, and one that was edited since it was written.
pub fn read(file: &str, text: &str) -> Result<Lock, Vec<Diagnostic>> {
    let fault = |code, message: String, help: &str, key: &str| {
        let offset = text.find(&format!("\"{key}\"")).unwrap_or_default();
        let place = Place::in_text(file, text, offset, key.len() + 2);
        vec![Diagnostic::error(code, message).help(help).at(place)]
    };
    const RESTORE: &str = "restore the file as it was released; a change is a new version";
    let json: Json = serde_json::from_str(text).map_err(|error| {
        let line_start: usize = text
            .split_inclusive('\n')
            .take(error.line().saturating_sub(1))
            .map(str::len)
            .sum();
        let place = Place::in_text(file, text, line_start + error.column().saturating_sub(1), 1);
        let message = format!("the lock file is not readable as JSON: {error}");
        vec![
            Diagnostic::error("LS-C047", message)
                .help(RESTORE)
                .at(place),
        ]
    })?;
    let format = json.get("format").and_then(Json::as_u64);
    if !format.is_some_and(|format| (1..=FORMAT).contains(&format)) {
        let message = match format {
            Some(format) => {
                format!("the lock file is of form {format}; this version reads 1 to {FORMAT}")
            }
            None => "the file is no lock file: it has no `format`".to_owned(),
        };
        let help = "use a version of Lockstep at least as new as the one that wrote it";
        return Err(fault("LS-C047", message, help, "format"));
    }
    let part = |key: &str| {
        json.get(key).ok_or_else(|| {
            let message = format!("the lock file has no `{key}`");
            fault("LS-C047", message, RESTORE, "format")
        })
    };
    let (contract, writer, reader) = (part("contract")?, part("writer")?, part("reader")?);
    let after = json.get("after");
    let seal = seal(contract, writer, reader, after);
    if part("digest")?.as_str() != Some(seal.as_str()) {
        let message = "the lock file was edited after it was written: its digest does not fit";
        return Err(fault("LS-C048", message.to_owned(), RESTORE, "digest"));
    }
    let loaded = frozen(file, text)?;
    Ok(Lock {
        digest: digest(&loaded.contract),
        contract: loaded,
        writer: writer.clone(),
        reader: reader.clone(),
        after: after.and_then(|after| after.as_str()?.parse().ok()),
    })
}

/// Names a contract by everything it says: equal for contracts whose canonical documents are equal.
#[must_use]
pub fn digest(contract: &Contract) -> String {
    hash(&[&document::write(contract)])
}

/// The digest of all that a lock file freezes.
fn seal(contract: &Json, writer: &Json, reader: &Json, after: Option<&Json>) -> String {
    let parts = [contract, writer, reader].into_iter().chain(after);
    hash(&parts.collect::<Vec<_>>())
}

fn hash(parts: &[&Json]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        // One text is the end of the one before, whatever stands in it: JSON holds no line end.
        hash.update(part.to_string());
        hash.update(b"\n");
    }
    let digest = hash.finalize();
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

#[cfg(test)]
mod tests;
