#![doc = include_str!("../README.md")]

mod capture;
mod catalog;
mod check;
mod client;
mod config;
mod convert;
mod position;
mod reader;
mod resume;
mod sink;
mod source;
mod statements;
mod step;
mod triggers;
mod writer;

use lockstep_core::connector::Connector;

pub use config::Config;
pub use reader::SqliteReader;
pub use sink::SqliteSink;
pub use source::SqliteSource;

/// The connector, for a registry.
#[must_use]
pub fn connector() -> Connector {
    Connector::new("sqlite", env!("CARGO_PKG_VERSION"))
        .source::<SqliteSource>()
        .sink::<SqliteSink>()
        .reader::<SqliteReader>()
}
