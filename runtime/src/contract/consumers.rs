//! Who receives an entity, from the flows of configurations.
//!
//! Reads no more of a configuration than its flows: neither its variables nor its connectors need to be there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use lockstep_core::diagnostic::{Diagnostic, Place};
use toml::{Table, Value};

use super::files::{reason, shown};

/// The systems that receive each entity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Consumers {
    by_entity: BTreeMap<String, BTreeSet<String>>,
}

impl Consumers {
    /// The systems that receive an entity, by name.
    #[must_use]
    pub fn of(&self, entity: &str) -> Vec<String> {
        self.by_entity
            .get(entity)
            .into_iter()
            .flatten()
            .cloned()
            .collect()
    }

    /// Adds the flows of a configuration.
    ///
    /// # Errors
    /// A warning that it cannot be read.
    pub fn add_file(&mut self, path: &Path) -> Result<(), Diagnostic> {
        let file = shown(path);
        let unreadable = |why: String, place: Place| {
            Diagnostic::warning(
                "LS-K019",
                format!("the flows of the configuration cannot be read: {why}"),
            )
            .at(place)
            .help("findings name only the consumers that the contracts list")
        };
        let text = std::fs::read_to_string(path)
            .map_err(|error| unreadable(reason(&error), Place::in_text(&file, "", 0, 0)))?;
        self.add(&text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            unreadable(
                error.message().to_owned(),
                Place::in_text(&file, &text, at, 1),
            )
        })
    }

    fn add(&mut self, text: &str) -> Result<(), toml::de::Error> {
        let table: Table = toml::from_str(text)?;
        let flows = table.get("flows").and_then(Value::as_table);
        for flow in flows.into_iter().flat_map(Table::values) {
            let entity = flow.get("entity").and_then(Value::as_str);
            let systems = flow.get("to").and_then(Value::as_array);
            if let (Some(entity), Some(systems)) = (entity, systems) {
                let systems = systems.iter().filter_map(Value::as_str).map(str::to_owned);
                self.by_entity
                    .entry(entity.to_owned())
                    .or_default()
                    .extend(systems);
            }
        }
        Ok(())
    }
}

/// The folder of the contracts that a configuration names, as seen from the current folder; `None` where it says nothing readable.
#[must_use]
pub fn contracts_folder(config: &Path) -> Option<std::path::PathBuf> {
    let text = std::fs::read_to_string(config).ok()?;
    let table: Table = toml::from_str(&text).ok()?;
    let written = table
        .get("contracts")
        .map_or(Some("contracts"), Value::as_str)?;
    let folder = config.parent().unwrap_or(Path::new("")).join(written);
    folder.is_dir().then_some(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_of_flows_are_consumers() {
        let mut consumers = Consumers::default();
        let text = "[flows.a]\nentity = \"customer\"\nfrom = \"crm\"\nto = [\"erp\", \"billing\"]\n\
                    [flows.b]\nentity = \"customer\"\nto = [\"erp\"]\n[flows.c]\nentity = 3\n";
        consumers.add(text).unwrap();
        assert_eq!(consumers.of("customer"), ["billing", "erp"]);
        assert!(consumers.of("order").is_empty());
        assert!(consumers.add("[flows").is_err());
        let gone = consumers.add_file(Path::new("no-such.toml")).unwrap_err();
        assert_eq!(gone.code, "LS-K019");
    }
}
