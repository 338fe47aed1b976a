#![doc = include_str!("../README.md")]

mod check;
mod client;
mod config;
mod convert;
mod form;
mod literal;
mod reader;
mod sink;
mod state;
mod table;
mod tsv;

use lockstep_core::connector::Connector;

pub use config::Config;
pub use reader::ClickhouseReader;
pub use sink::ClickhouseSink;

/// The connector, for a registry.
#[must_use]
pub fn connector() -> Connector {
    Connector::new("clickhouse", env!("CARGO_PKG_VERSION"))
        .sink::<ClickhouseSink>()
        .reader::<ClickhouseReader>()
}
