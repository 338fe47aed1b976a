//! A system opened for the tables that can be read: one that is gone holds up its own entity, and nobody else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lockstep_core::Shape;
use lockstep_core::connector::DynSource;
use lockstep_core::error::{Error, Result};

use super::Capture;

/// A system that was opened.
pub(super) struct Opened {
    /// Its source, for the tables that can be read; none where none can.
    pub(super) source: Option<Box<dyn DynSource>>,
    /// The tables.
    pub(super) tables: Tables,
}

/// The tables of a system as they are.
#[derive(Default)]
pub(super) struct Tables {
    /// Those that can be read.
    pub(super) shapes: Vec<Arc<Shape>>,
    /// Those that cannot, by name, with the reason.
    pub(super) gone: BTreeMap<String, Error>,
}

impl Capture {
    /// Opens the system for every table that can be read; `gone` names those that could not the last time.
    ///
    /// # Errors
    /// A system that cannot be reached, or that cannot be opened whatever the table.
    pub(super) async fn opened(&self, gone: &BTreeSet<String>) -> Result<Opened> {
        if self.desk.is_some() {
            // An inbox's tables are the contracts themselves, which it always has.
            return Ok(Opened {
                source: Some((self.open)(None).await?),
                tables: Tables::default(),
            });
        }
        let all: BTreeSet<String> = self
            .entities
            .iter()
            .map(|captured| captured.mapping.table.clone())
            .collect();
        if gone.is_empty() {
            match self.open_for(all.clone()).await {
                Ok((source, shapes)) => {
                    let gone = BTreeMap::new();
                    return Ok(Opened {
                        source: Some(source),
                        tables: Tables { shapes, gone },
                    });
                }
                Err(error) if error.kind().is_retryable() => return Err(error),
                Err(_) => {}
            }
        }
        self.opened_singly(all, gone).await
    }

    /// Looks at tables one by one, and opens the system for those that are there.
    async fn opened_singly(
        &self,
        all: BTreeSet<String>,
        gone: &BTreeSet<String>,
    ) -> Result<Opened> {
        let (mut present, mut missing) = (BTreeSet::new(), BTreeMap::new());
        for table in all {
            // Those that were there the last time are mostly there still, and looked at together below.
            if !gone.is_empty() && !gone.contains(&table) {
                present.insert(table);
                continue;
            }
            match self.open_for(BTreeSet::from([table.clone()])).await {
                Ok(_) => drop(present.insert(table)),
                Err(error) if error.kind().is_retryable() => return Err(error),
                Err(error) => drop(missing.insert(table, error)),
            }
        }
        if present.is_empty() {
            return Ok(Opened {
                source: None,
                tables: Tables {
                    shapes: Vec::new(),
                    gone: missing,
                },
            });
        }
        match self.open_for(present.clone()).await {
            Ok((source, shapes)) => Ok(Opened {
                source: Some(source),
                tables: Tables {
                    shapes,
                    gone: missing,
                },
            }),
            Err(error) if error.kind().is_retryable() || gone.is_empty() => Err(error),
            // Another one is gone meanwhile.
            Err(_) => {
                Box::pin(self.opened_singly(
                    present.into_iter().chain(missing.into_keys()).collect(),
                    &BTreeSet::new(),
                ))
                .await
            }
        }
    }

    async fn open_for(
        &self,
        tables: BTreeSet<String>,
    ) -> Result<(Box<dyn DynSource>, Vec<Arc<Shape>>)> {
        let source = (self.open)(Some(tables)).await?;
        let shapes = source.discover().await?;
        Ok((source, shapes))
    }
}
