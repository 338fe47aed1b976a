#![doc = include_str!("../README.md")]

mod check;
mod client;
mod config;
mod convert;
mod reader;
mod sink;
mod table;

use lockstep_core::connector::Connector;

pub use config::Config;
pub use reader::AcmeReader;
pub use sink::AcmeSink;

/// The connector, for a registry.
#[must_use]
pub fn connector() -> Connector {
    Connector::new("acme", env!("CARGO_PKG_VERSION"))
        .sink::<AcmeSink>()
        .reader::<AcmeReader>()
}
