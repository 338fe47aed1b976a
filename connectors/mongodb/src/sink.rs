//! The sink: one transaction a batch, with the lanes' progress in it.
//!
//! Progress is compared and set first: where it is not what the batch expects, another writer took over, and nothing is written.
//! A batch in which something is refused is taken back and tried again without it, until everything that is refused is known; then nothing of it stays.
//! The work is done by a task of its own, which ends a transaction whatever becomes of the `apply` that began it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lockstep_core::connector::{Batch, Finding, LaneProgress, Limits, OpenContext, Receipt, Sink};
use lockstep_core::{Result, Shape};

use crate::check;
use crate::client::Client;
use crate::columns::Table;
use crate::config::Config;
use crate::progress;
use crate::work::{Held, Work};
use crate::writer::Target;

/// How long one `apply` may take; a server ends transactions after a minute by itself.
const DEADLINE: Duration = Duration::from_secs(120);
/// Writes to a MongoDB database.
#[derive(Debug)]
pub struct MongoSink {
    client: Client,
    config: Config,
    tables: Vec<String>,
    targets: Mutex<HashMap<String, Arc<Target>>>,
    /// The session of all transactions, one after another.
    held: Arc<tokio::sync::Mutex<Held>>,
}

impl Sink for MongoSink {
    type Config = Config;

    async fn open(config: Config, cx: OpenContext) -> Result<Self> {
        Ok(MongoSink {
            client: Client::open(&config, &cx).await?,
            config,
            tables: cx.tables,
            targets: Mutex::default(),
            held: Arc::default(),
        })
    }

    async fn discover(&self) -> Result<Vec<Arc<Shape>>> {
        let mut shapes = Vec::with_capacity(self.tables.len());
        for name in &self.tables {
            let table = Table::find(&self.client, &self.config, name).await?;
            shapes.push(table.shape);
        }
        Ok(shapes)
    }

    async fn check(&self, targets: &[Arc<Shape>]) -> Result<Vec<Finding>> {
        let mut tables = Vec::with_capacity(targets.len());
        for shape in targets {
            tables.push(Table::find(&self.client, &self.config, &shape.name).await?);
        }
        check::sink(&self.client, targets, &tables).await
    }

    async fn prepare(&self, targets: &[Arc<Shape>]) -> Result<()> {
        for shape in targets {
            self.remember(shape).await?;
        }
        progress::prepare(&self.client).await
    }

    async fn progress(&self, flow: &str) -> Result<Vec<LaneProgress>> {
        progress::read(&self.client, flow).await
    }

    async fn apply(&self, batch: &Batch) -> Result<Receipt> {
        let work = Work {
            targets: self.targets(batch).await?,
            client: self.client.clone(),
            batch: batch.clone(),
        };
        work.begin(Arc::clone(&self.held)).await
    }

    fn limits(&self) -> Limits {
        Limits {
            batch_max: self.config.batch_max,
            progress: true,
            deadline: DEADLINE,
            ..Limits::default()
        }
    }
}

impl MongoSink {
    /// The targets of a batch's shapes, looked up once.
    async fn targets(&self, batch: &Batch) -> Result<Vec<Arc<Target>>> {
        let mut targets: Vec<Arc<Target>> = Vec::new();
        for change in &batch.changes {
            if targets.iter().any(|target| target.is_for(&change.shape)) {
                continue;
            }
            let known = self.known().get(&change.shape.name).cloned();
            targets.push(match known.filter(|target| target.is_for(&change.shape)) {
                Some(target) => target,
                None => self.remember(&change.shape).await?,
            });
        }
        Ok(targets)
    }

    async fn remember(&self, shape: &Arc<Shape>) -> Result<Arc<Target>> {
        let table = Table::find(&self.client, &self.config, &shape.name).await?;
        let target = Arc::new(Target::new(&table, shape));
        self.known().insert(shape.name.clone(), Arc::clone(&target));
        Ok(target)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Target>>> {
        self.targets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
