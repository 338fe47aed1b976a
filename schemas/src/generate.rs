//! The generated JSON Schemas: written beside their contract, or compared with what stands there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use lockstep_core::contract::{load, schema};

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
    entities.retain(|path| path.is_dir());
    entities.sort();
    let mut changed = Vec::new();
    for entity in entities {
        changed.extend(generate_one(&entity, check)?);
    }
    Ok(changed)
}

fn generate_one(entity: &Path, check: bool) -> io::Result<Vec<PathBuf>> {
    let name = entity.file_name().unwrap_or_default().to_string_lossy();
    let source = entity.join(format!("{name}.odcs.yaml"));
    let text = fs::read_to_string(&source)?;
    let (contract, _) = load(&source.to_string_lossy(), &text).map_err(|findings| {
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
        // A checkout may have other line ends; they say nothing about the schema.
        let current = fs::read_to_string(&path)
            .ok()
            .map(|text| text.replace("\r\n", "\n"));
        if current.as_deref() == Some(&wanted) {
            continue;
        }
        if !check {
            fs::write(&path, wanted)?;
        }
        changed.push(path);
    }
    Ok(changed)
}
