//! One lake, as a sink or a reader has it open: its settings, its store, its log, and the footers of files that were read.

use std::sync::Arc;

use lockstep_core::connector::OpenContext;
use lockstep_core::{Error, Result, Shape};

use crate::config::Config;
use crate::journal::Journal;
use crate::read::{Cursor, Footers, Want};
use crate::state::DataFile;
use crate::store::Store;

/// An open lake.
#[derive(Debug)]
pub(crate) struct Lake {
    /// The system's name in the configuration.
    system: String,
    pub(crate) config: Config,
    pub(crate) store: Arc<Store>,
    pub(crate) journal: Journal,
    footers: Footers,
}

impl Lake {
    pub(crate) fn open(config: Config, cx: &OpenContext) -> Result<Lake> {
        config.check()?;
        let store = Arc::new(Store::open(&config, cx)?);
        Ok(Lake {
            system: cx.system.clone(),
            journal: Journal::new(Arc::clone(&store), config.checkpoint_every, config.keep()),
            store,
            config,
            footers: Footers::default(),
        })
    }

    /// What a flow's progress is kept under.
    pub(crate) fn writer(&self, flow: &str) -> String {
        format!("{}/{flow}", self.system)
    }

    /// The rows of a file that are wanted.
    pub(crate) async fn cursor(&self, path: &str, file: &DataFile, want: Want) -> Result<Cursor> {
        Cursor::open(&self.store, &self.footers, path, file, want).await
    }

    /// The shapes of tables, in the order of their names here.
    pub(crate) async fn shapes(&self, tables: &[String]) -> Result<Vec<Arc<Shape>>> {
        let state = self.journal.now().await?;
        let shape = |name: &String| Ok(Arc::new(state.table(name)?.shape.clone()));
        tables.iter().map(shape).collect()
    }
}

/// The place of a column in a shape.
///
/// # Errors
/// [`lockstep_core::Kind::Config`] for a column that the table does not have.
pub(crate) fn place(shape: &Shape, column: &str) -> Result<usize> {
    shape.position(column).ok_or_else(|| {
        Error::config(format!("table `{}` has no column `{column}`", shape.name))
            .help("let Lockstep add it (`drift` in the configuration), or change the mapping")
    })
}
