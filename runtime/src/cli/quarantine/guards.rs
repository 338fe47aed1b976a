//! What may be shown of each entity in each system, looked up once.

use std::collections::HashMap;

use crate::config::Config;
use crate::quarantine::{Entry, Guarded, HIDDEN, Summary};

/// What may be shown, by system and entity.
pub(super) struct Guards<'c> {
    config: &'c Config,
    known: HashMap<(String, String), Guarded>,
}

impl<'c> Guards<'c> {
    pub(super) fn new(config: &'c Config) -> Self {
        Guards {
            config,
            known: HashMap::new(),
        }
    }

    /// What may be shown of an entry.
    pub(super) fn of(&mut self, entry: &Entry) -> &Guarded {
        let place = (entry.system.clone(), entry.entity.clone());
        self.known
            .entry(place)
            .or_insert_with(|| Guarded::of(self.config, &entry.system, &entry.entity))
    }

    /// An entry as lists show it, its key only where it may be shown.
    pub(super) fn summary(&mut self, entry: &Entry, show_values: bool) -> Summary {
        let mut summary = entry.summary();
        if !show_values {
            let key = self.of(entry).key_of(entry);
            summary.key = key.unwrap_or_else(|| HIDDEN.to_owned());
        }
        summary
    }
}
