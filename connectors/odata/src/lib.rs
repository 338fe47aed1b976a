#![doc = include_str!("../README.md")]

mod batch;
mod check;
mod client;
mod config;
mod convert;
mod delta;
mod lookup;
mod metadata;
mod plan;
mod query;
mod reader;
mod refusal;
mod sink;
mod table;

use lockstep_core::connector::Connector;

pub use config::Config;
pub use reader::ODataReader;
pub use sink::ODataSink;

/// The connector, for a registry.
#[must_use]
pub fn connector() -> Connector {
    Connector::new("odata", env!("CARGO_PKG_VERSION"))
        .sink::<ODataSink>()
        .reader::<ODataReader>()
}
