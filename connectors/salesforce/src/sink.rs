//! The sink: records are read by their key, and what differs is written in collections, by the vendor's own upsert.
//!
//! The contract's key maps to an external id, so that whatever is repeated finds what is there: a record is never made twice.

use std::sync::Arc;
use std::time::Duration;

use lockstep_core::connector::{Batch, Finding, Limits, OpenContext, Outcome, Receipt, Sink};
use lockstep_core::{Result, Shape};

use crate::check;
use crate::client::{Api, BATCH_MAX};
use crate::config::Config;
use crate::table::{Field, ID, Table};
use crate::tables::Tables;
use crate::work::Work;

/// How long a batch may take.
const DEADLINE: Duration = Duration::from_secs(300);

/// Applies changes to a Salesforce account.
#[derive(Debug)]
pub struct SalesforceSink {
    api: Api,
    names: Vec<String>,
    tables: Tables,
}

/// How records of one shape are told apart and written.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) table: Arc<Table>,
    /// Where the key is in the shape.
    pub(crate) at: usize,
    /// The field of the key.
    pub(crate) key: Field,
    /// The fields of the shape's columns.
    pub(crate) fields: Vec<Field>,
}

impl Target {
    /// Whether records are known by Salesforce's own id.
    pub(crate) fn is_by_id(&self) -> bool {
        self.key.name == ID
    }
}

impl Sink for SalesforceSink {
    type Config = Config;

    async fn open(config: Config, cx: OpenContext) -> Result<Self> {
        let api = Api::open(&config, &cx)?;
        Ok(SalesforceSink {
            tables: Tables::new(api.clone()),
            api,
            names: cx.tables,
        })
    }

    async fn discover(&self) -> Result<Vec<Arc<Shape>>> {
        self.tables.discover(&self.names).await
    }

    async fn check(&self, targets: &[Arc<Shape>]) -> Result<Vec<Finding>> {
        check::writes(&self.api, &self.tables, targets).await
    }

    async fn prepare(&self, targets: &[Arc<Shape>]) -> Result<()> {
        for shape in targets {
            self.target(shape).await?;
        }
        Ok(())
    }

    async fn apply(&self, batch: &Batch) -> Result<Receipt> {
        let mut outcomes: Vec<Outcome> = Vec::with_capacity(batch.changes.len());
        // Runs of one shape, so that references of one table are there before those of the next.
        let runs = batch
            .changes
            .chunk_by(|a, b| Arc::ptr_eq(&a.shape, &b.shape) || a.shape == b.shape);
        for run in runs {
            let target = self.target(&run[0].shape).await?;
            let work = Work::new(&self.api, &self.tables, &target, run);
            outcomes.extend(work.done().await?);
        }
        Ok(Receipt::Committed(outcomes))
    }

    fn limits(&self) -> Limits {
        Limits {
            batch_max: BATCH_MAX,
            progress: false,
            writers: 1,
            deadline: DEADLINE,
        }
    }
}

impl SalesforceSink {
    async fn target(&self, shape: &Shape) -> Result<Target> {
        let table = self.tables.get(&shape.name).await?;
        let names: Vec<String> = shape.names().map(str::to_owned).collect();
        let fields = table.all(&names)?;
        let key = check::key_of(&table, shape).ok_or_else(|| check::no_place(&shape.name))?;
        Ok(Target {
            at: shape.key.first().copied().unwrap_or_default(),
            key: key.clone(),
            fields,
            table,
        })
    }
}
