//! The generated JSON Schemas: written beside their contract, or compared with what stands there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use lockstep_core::contract::load::editor_schema;
use lockstep_core::contract::{Library, Loaded, load, schema};

/// The folder of this crate's contracts in the source tree.
#[must_use]
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("contracts")
}

/// Brings the schema files of every contract below `folder` up to date and names the ones that were not.
///
/// With `check` nothing is written. Contracts are read from the folder, each `<entity>/<entity>.odcs.yaml`.
///
/// # Errors
/// A file that cannot be read or written, and a contract with errors, whose findings are the message.
pub fn generate(folder: &Path, check: bool) -> io::Result<Vec<PathBuf>> {
    let mut entities: Vec<PathBuf> = fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<_>>()?;
    entities.retain(|path| path.is_dir() && !path.ends_with("types"));
    entities.sort();
    let mut changed = Vec::new();
    for entity in entities {
        changed.extend(generate_one(folder, &entity, check)?);
    }
    Ok(changed)
}

/// Brings the schema of contract files, for editors, up to date; its path if it was not.
///
/// # Errors
/// The file cannot be written.
pub fn generate_editor_schema(check: bool) -> io::Result<Option<PathBuf>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("lockstep.contract.schema.json");
    let wanted = format!("{:#}\n", editor_schema());
    Ok(brought_up_to_date(&path, &wanted, check)?.then_some(path))
}

/// Writes a file that differs, or only says so; a checkout may have other line ends, which say nothing.
fn brought_up_to_date(path: &Path, wanted: &str, check: bool) -> io::Result<bool> {
    let current = fs::read_to_string(path).ok();
    let current = current.map(|text| text.replace("\r\n", "\n"));
    if current.as_deref() == Some(wanted) {
        return Ok(false);
    }
    if !check {
        fs::write(path, wanted)?;
    }
    Ok(true)
}

fn generate_one(folder: &Path, entity: &Path, check: bool) -> io::Result<Vec<PathBuf>> {
    let name = entity.file_name().unwrap_or_default().to_string_lossy();
    let source = entity.join(format!("{name}.odcs.yaml"));
    let text = fs::read_to_string(&source)?;
    let Loaded { contract, .. } =
        load(&source.to_string_lossy(), &text, &Types(folder)).map_err(|findings| {
            let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
            io::Error::new(io::ErrorKind::InvalidData, lines.join("\n"))
        })?;
    let mut changed = Vec::new();
    for (side, schema) in [
        ("writer", schema::writer(&contract)),
        ("reader", schema::reader(&contract)),
    ] {
        let path = entity.join(format!("{name}.{side}.schema.json"));
        let wanted = format!("{schema:#}\n");
        if !brought_up_to_date(&path, &wanted, check)? {
            continue;
        }
        changed.push(path);
    }
    Ok(changed)
}

/// The types that the contracts of a folder share; the folder is this project's own.
struct Types<'a>(&'a Path);

impl Library for Types<'_> {
    fn text(&self, reference: &str) -> Result<(String, String), String> {
        let path = self.0.join(format!("{reference}.odcs.yaml"));
        let text = fs::read_to_string(&path).map_err(|error| error.to_string())?;
        Ok((text, path.to_string_lossy().into_owned()))
    }
}
