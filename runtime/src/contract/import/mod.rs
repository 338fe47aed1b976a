//! Contracts from other forms: JSON Schema and OpenAPI, Avro, ODCS files of others, SQL, a table, sample data.
//!
//! Every importer takes text and gives [`Draft`]s; it opens nothing, fetches nothing, and no input makes it panic, loop or allocate beyond its limits.
//! What a contract cannot say is never dropped in silence: it becomes a finding with its place, and a comment in the contract that comes out.

pub mod avro;
mod codes;
mod draft;
mod json;
pub mod json_schema;
mod links;
mod names;
mod notes;
pub mod odcs;
mod relationships;
pub mod sample;
mod sound;
pub mod sql;
pub mod table;
#[cfg(test)]
mod tests;
mod text;
mod yaml;

use lockstep_core::diagnostic::Diagnostic;

pub use codes::CODES;
pub use draft::{Asked, Draft};
pub use links::{Other, Stand};
pub use text::text;

use notes::Notes;

/// Largest text that describes records, in bytes.
pub const DEFINITION_BYTES_MAX: usize = 4 << 20;
/// Most fields of one import, those inside documents included.
pub(crate) const FIELDS_MAX: usize = 1000;
/// Deepest nesting of documents in a contract that comes out.
pub(crate) const DEPTH_MAX: usize = 16;

/// What an import gives, or every reason why it gives nothing.
pub type Imported = Result<Vec<Draft>, Vec<Diagnostic>>;

/// Reads bytes as text, where they are one of a bearable size.
///
/// # Errors
/// The one reason why they are not.
pub fn readable<'t>(file: &str, bytes: &'t [u8]) -> Result<&'t str, Vec<Diagnostic>> {
    let notes = Notes::new(file, "");
    if bytes.len() > DEFINITION_BYTES_MAX {
        return Err(notes.fail(
            "LS-I101",
            None,
            format!(
                "the text has {} bytes; at most {DEFINITION_BYTES_MAX} are read",
                bytes.len()
            ),
            "import the part that describes one entity",
        ));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    std::str::from_utf8(bytes).map_err(|error| {
        let line = 1 + bytes[..error.valid_up_to()]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count();
        notes.fail(
            "LS-I101",
            None,
            format!("line {line} is not UTF-8"),
            "save the file as UTF-8",
        )
    })
}
