#![doc = include_str!("../README.md")]

mod auth;
mod client;
mod config;
mod convert;
mod describe;
mod filter;
mod lint;
mod listing;
mod reader;
mod sink;
mod template;
mod trial;
mod webhook;
mod write;
mod yaml;

use lockstep_core::connector::Connector;

pub use config::Config;
pub use describe::Description;
pub use reader::HttpReader;
pub use sink::HttpSink;

/// The connector, for a registry.
#[must_use]
pub fn connector() -> Connector {
    Connector::new("http", env!("CARGO_PKG_VERSION"))
        .sink::<HttpSink>()
        .reader::<HttpReader>()
        .described_by::<Description>(trial::try_file)
}
