#![doc = include_str!("../README.md")]

mod check;
mod compact;
mod config;
mod file;
mod form;
mod journal;
mod lake;
mod merge;
mod order;
mod partition;
mod play;
mod read;
mod reader;
mod sink;
mod state;
mod store;
mod sweep;

use lockstep_core::connector::Connector;

pub use config::{Config, History, Keeping, Unit};
pub use reader::ParquetReader;
pub use sink::ParquetSink;

/// The connector, for a registry.
#[must_use]
pub fn connector() -> Connector {
    Connector::new("parquet", env!("CARGO_PKG_VERSION"))
        .sink::<ParquetSink>()
        .reader::<ParquetReader>()
}
