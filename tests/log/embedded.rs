//! The conformance suite over the embedded engine.

use std::path::PathBuf;
use std::sync::Arc;

use lockstep::log::Log;
use lockstep::log::embedded::{Embedded, EmbeddedOptions, FaultPlan};
use tempfile::TempDir;

use crate::suite::{Fault, Fixture, conformance};

/// An embedded log in a folder of its own.
pub(crate) struct InFolder {
    pub(crate) folder: TempDir,
    pub(crate) log: Arc<Embedded>,
    faults: FaultPlan,
}

impl InFolder {
    pub(crate) fn path(folder: &TempDir) -> PathBuf {
        folder.path().join("lockstep.db")
    }

    async fn open(folder: TempDir) -> Self {
        let faults = FaultPlan::default();
        let options = EmbeddedOptions {
            faults: faults.clone(),
            ..EmbeddedOptions::default()
        };
        let log = Embedded::open(Self::path(&folder), options).await.unwrap();
        Self {
            folder,
            log,
            faults,
        }
    }
}

impl Fixture for InFolder {
    async fn fresh() -> Self {
        Self::open(TempDir::new().unwrap()).await
    }

    fn log(&self) -> Arc<dyn Log> {
        Arc::clone(&self.log) as Arc<dyn Log>
    }

    async fn reopened(self) -> Self {
        self.log.close().await.unwrap();
        Self::open(self.folder).await
    }

    async fn killed(self) -> Self {
        self.log.crash().await;
        Self::open(self.folder).await
    }

    fn inject(&self, fault: Fault) -> bool {
        match fault {
            Fault::LoseAck => self.faults.lose_acks(1),
            Fault::FailCommit => self.faults.fail_commits(1),
            Fault::DoubleFetch => self.faults.duplicate_fetches(1),
            Fault::StaleRead => self.faults.stale_reads(1),
            Fault::FailFetch => self.faults.fail_fetches(1),
            Fault::SlowCommit(delay) => self.faults.slow_commits(delay),
        }
        true
    }
}

conformance!(crate::embedded::InFolder);
