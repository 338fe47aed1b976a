//! Which values of a held record may be shown: those of columns that no protected field of the contract comes from.
//!
//! What is not known to be harmless is protected: a column that the mapping does not read may hold anything.

use std::collections::HashSet;

use lockstep_core::contract::{Class, Contract};
use lockstep_core::gate::{FieldMap, Mapping};

use super::entry::{Entry, Stage};
use crate::config::Config;

/// What stands where a protected value would.
pub const HIDDEN: &str = "(protected)";

/// What of an entity's records in one system may be shown.
#[derive(Debug, Default)]
pub struct Guarded {
    /// Columns of the system, or fields of the contract, whose values may be shown.
    columns: HashSet<String>,
    /// Fields of the contract whose values may be shown.
    fields: HashSet<String>,
    /// Whether the key may be shown.
    key: bool,
}

impl Guarded {
    /// What may be shown of an entity's records, as they stand in a system.
    #[must_use]
    pub fn of(config: &Config, system: &str, entity: &str) -> Guarded {
        let Some(contract) = config.contracts.get(entity) else {
            return Guarded::default();
        };
        match config.mapping(system, entity) {
            Some(mapping) => Guarded::new(contract, mapping),
            None => Guarded::default(),
        }
    }

    /// What may be shown under a contract and a mapping.
    #[must_use]
    pub fn new(contract: &Contract, mapping: &Mapping) -> Guarded {
        let harmless = |name: &str| {
            let field = contract.field(name).map(|at| &contract.fields[at]);
            field.is_some_and(|field| field.class < Class::Personal)
        };
        let mut columns = HashSet::new();
        let mut protected = Vec::new();
        for (name, map) in &mapping.fields {
            let (column, read) = match map {
                FieldMap::Column(column) => (Some(column), None),
                FieldMap::Rule(rule) => (rule.column.as_ref(), rule.read.as_deref()),
            };
            if harmless(name) {
                columns.extend(column.cloned());
            } else {
                protected.extend(column.map(String::as_str));
                protected.extend(read);
            }
        }
        // A column is protected as soon as one protected field comes from it, an expression's included.
        columns.retain(|column| !protected.iter().any(|text| mentions(text, column)));
        let fields = contract.fields.iter().map(|field| field.name.clone());
        Guarded {
            columns,
            fields: fields.filter(|name| harmless(name)).collect(),
            key: contract
                .key
                .iter()
                .all(|at| contract.fields[*at].class < Class::Personal),
        }
    }

    /// Whether a column of an entry may be shown: of a source's row at the gate, of the contract's record at a target.
    #[must_use]
    pub fn shows(&self, entry: &Entry, column: &str) -> bool {
        match entry.stage {
            Stage::Gate => self.columns.contains(column),
            Stage::Deliver => self.fields.contains(column),
        }
    }

    /// Whether the whole record may be shown.
    #[must_use]
    pub fn shows_all(&self, entry: &Entry) -> bool {
        let mut names = entry.held.shape.names();
        entry.held.raw.is_none() && names.all(|name| self.shows(entry, name))
    }

    /// An entry's key, where it may be shown.
    #[must_use]
    pub fn key_of(&self, entry: &Entry) -> Option<String> {
        // A record that has no key of the contract is called by its row's own.
        let shape = &entry.held.shape;
        let mut own = shape.key.iter().filter_map(|at| shape.columns.get(*at));
        let harmless =
            entry.key != entry.row_name() || own.all(|column| self.shows(entry, &column.name));
        self.key(&entry.key).filter(|_| harmless)
    }

    /// A key of the contract, where it may be shown.
    #[must_use]
    pub fn key(&self, key: &str) -> Option<String> {
        self.key.then(|| key.to_owned())
    }
}

/// Whether a text names a column.
fn mentions(text: &str, column: &str) -> bool {
    let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    text == column
        || text.match_indices(column).any(|(at, _)| {
            let before = text[..at].chars().next_back();
            let after = text[at + column.len()..].chars().next();
            !before.is_some_and(is_word) && !after.is_some_and(is_word)
        })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use lockstep_core::Type;
    use lockstep_core::contract::Field;
    use lockstep_core::gate::FieldRule;

    use super::*;

    #[test]
    fn a_column_is_shown_only_where_nothing_protected_comes_from_it() {
        let mut name = Field::new("name", Type::Text);
        name.class = Class::Personal;
        let fields = vec![
            Field::new("id", Type::Text),
            name,
            Field::new("land", Type::Text),
            Field::new("initial", Type::Text),
        ];
        let contract = Contract::new("account", "1.0.0".parse().unwrap(), fields);
        let column = |name: &str| FieldMap::Column(name.to_owned());
        let read = FieldMap::Rule(FieldRule {
            read: Some("row.first + ' ' + row.last".to_owned()),
            ..FieldRule::default()
        });
        let mapping = Mapping {
            table: "t".into(),
            fields: BTreeMap::from([
                ("id".to_owned(), column("no")),
                ("name".to_owned(), read),
                ("land".to_owned(), column("land")),
                ("initial".to_owned(), column("first")),
            ]),
            ..Mapping::default()
        };
        let guarded = Guarded::new(&contract, &mapping);
        let shown = |column: &str| guarded.columns.contains(column);
        assert!(shown("no") && shown("land"));
        assert!(!shown("first"), "a protected field is made from it");
        assert!(!shown("last") && !shown("remarks"));
        assert_eq!(guarded.key("K"), Some("K".to_owned()));
        assert!(!guarded.fields.contains("name"));
    }
}
