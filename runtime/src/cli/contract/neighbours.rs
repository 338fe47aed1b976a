//! The contracts that are there already when others are imported, and the tables that their entities stand in.
//!
//! Reads no more of a configuration than its mappings, and takes what cannot be read for what is not there: an import needs neither.

use std::path::{Path, PathBuf};

use lockstep_core::contract::Loaded;
use toml::{Table, Value};

use super::opening::Paths;
use super::written::Out;
use crate::cli::Context;
use crate::contract::files::{Files, Root, roots};
use crate::contract::import::{Other, Stand};
use crate::contract::repository::Repository;

/// The contracts of the usual folder and of the one that is written to.
///
/// With a system, only its own mappings say what stands in a table; otherwise those of all.
pub(super) fn others(cx: &Context, out: &Out, system: Option<&str>) -> Vec<Other> {
    let target: Option<PathBuf> = match out {
        Out::Standard => None,
        Out::Folder(folder) => Some(folder.clone()),
        Out::File(file) => file.parent().map(Path::to_owned),
    };
    let target = target.filter(|folder| folder.is_dir());
    let target = target.and_then(|folder| roots(&[folder]).ok());
    let usual = Paths::default().roots(&cx.file).ok();
    let places = [target, usual].into_iter().flatten().flatten();
    let mappings = mappings(&cx.file, system);
    let mut others: Vec<Other> = Vec::new();
    for root in places {
        let files = Files::on_disk(&[Root::whole(&root)]);
        for entry in files.map(Repository::load).unwrap_or_default().contracts {
            let entity = &entry.loaded.contract.entity;
            // The folder that is written to comes first, and is mostly the usual one.
            if !others.iter().any(|known| known.entity == *entity) {
                others.push(other(&entry.loaded, &mappings));
            }
        }
    }
    others
}

fn other(loaded: &Loaded, mappings: &[(String, Stand)]) -> Other {
    let contract = &loaded.contract;
    let physical = loaded.places.remarks();
    let physical = physical.and_then(|remarks| remarks.get("/physicalName")?.as_str());
    let physical = physical.map(|table| Stand {
        table: table.to_owned(),
        columns: Vec::new(),
    });
    let mapped = mappings.iter();
    let mapped = mapped.filter(|(entity, _)| *entity == contract.entity);
    let key = match contract.key.as_slice() {
        [one] => contract.fields.get(*one),
        _ => None,
    };
    Other {
        entity: contract.entity.clone(),
        fields: contract.fields.iter().map(|f| f.name.clone()).collect(),
        key: key.map(|field| field.name.clone()),
        tables: mapped
            .map(|(_, stand)| stand.clone())
            .chain(physical)
            .collect(),
    }
}

/// By entity, the tables of a configuration.
fn mappings(config: &Path, system: Option<&str>) -> Vec<(String, Stand)> {
    let text = std::fs::read_to_string(config).unwrap_or_default();
    let table: Table = toml::from_str(&text).unwrap_or_default();
    let systems = table.get("systems").and_then(Value::as_table);
    let systems = systems.into_iter().flatten();
    let meant = systems.filter(|(name, _)| system.is_none_or(|system| system == *name));
    let maps = meant.filter_map(|(_, system)| system.get("map")?.as_table());
    maps.flatten()
        .filter_map(|(entity, map)| Some((entity.clone(), stand(map)?)))
        .collect()
}

fn stand(map: &Value) -> Option<Stand> {
    let table = map.get("table")?.as_str()?.to_owned();
    let fields = map.get("fields").and_then(Value::as_table);
    let columns = fields.into_iter().flatten().filter_map(|(field, from)| {
        let column = from.as_str().or_else(|| from.get("column")?.as_str())?;
        Some((column.to_owned(), field.clone()))
    });
    Some(Stand {
        table,
        columns: columns.collect(),
    })
}
