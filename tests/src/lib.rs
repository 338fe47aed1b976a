//! The conformance kit: what every connector promises, as tests its author gets for one macro line each.
//!
//! An author implements [`SourceHarness`], [`SinkHarness`] or [`ReaderHarness`] for a system of the connector's kind (a temporary file, a container, a fake server) and writes, in `tests/conformance.rs`:
//!
//! ```ignore
//! lockstep_tests::source_conformance!(MySystem);
//! lockstep_tests::sink_conformance!(MySystem);
//! lockstep_tests::reader_conformance!(MySystem);
//! ```
//!
//! Each check becomes a test of its own, named after the promise it holds the connector to.
//! The kit depends on `lockstep-core` only; it plays the runtime's part itself.
//! Checks wait for conditions, with a deadline; none sleeps in the hope that something has happened by then.

mod bench;
mod edit;
mod fold;
mod manifest;
mod pump;
mod schema;

pub mod reader;
pub mod sink;
pub mod source;

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use lockstep_core::connector::{Connector, OpenContext, RawConfig};

pub use edit::Edit;
pub use fold::State;
pub use manifest::{Creates, Deletes, Manifest};
pub use reader::ReaderHarness;
pub use sink::SinkHarness;
pub use source::SourceHarness;

/// How long one thing may take that should happen at once.
pub const DEADLINE: Duration = Duration::from_secs(20);
/// How long a whole check may take.
pub const CHECK_MAX: Duration = Duration::from_secs(180);

/// A system to test against: one of its own for every check.
pub trait System: Sized + Send + Sync + 'static {
    /// Makes a system with its tables and no rows.
    fn start() -> impl Future<Output = Self> + Send;

    /// Whether such a system can be made on this machine; says so where not, and the checks are skipped.
    fn is_available() -> bool {
        true
    }

    /// The connector under test.
    fn connector() -> Connector;

    /// What the connector cannot do is declared here; checks hold it to that.
    fn manifest() -> Manifest {
        Manifest::DATABASE
    }

    /// The connector's settings for this system; batches and chunks should be small, so that there are many.
    fn config(&self) -> RawConfig;

    /// The tables, the one that checks work on first.
    fn tables(&self) -> Vec<String>;

    /// The folder at which relative paths in the settings start.
    fn folder(&self) -> PathBuf {
        PathBuf::from(".")
    }

    /// What the connector is told when it is opened.
    fn context(&self) -> OpenContext {
        OpenContext {
            system: "conformance".to_owned(),
            folder: self.folder(),
            tables: self.tables(),
            reads: Default::default(),
        }
    }
}

/// Runs one check on a runtime of its own.
///
/// # Panics
/// When the check fails, takes longer than [`CHECK_MAX`], or no runtime can be made.
pub fn check(promise: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(async {
            let done = tokio::time::timeout(CHECK_MAX, promise).await;
            assert!(done.is_ok(), "the check did not end within {CHECK_MAX:?}");
        }),
        Err(error) => panic!("no runtime for the check: {error}"),
    }
}

/// The value, or a failed check that says what was tried.
pub(crate) fn ok<T>(result: lockstep_core::Result<T>, what: &str) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{what}: {error:?}"),
    }
}

/// Makes a module of tests out of a list of checks.
#[doc(hidden)]
#[macro_export]
macro_rules! __checks {
    ($module:ident, $harness:ty, $($name:ident),+ $(,)?) => {
        mod $module {
            #[allow(unused_imports)]
            use super::*;
            $(
                #[test]
                fn $name() {
                    if <$harness as $crate::System>::is_available() {
                        $crate::check($crate::$module::$name::<$harness>());
                    }
                }
            )+
        }
    };
}
