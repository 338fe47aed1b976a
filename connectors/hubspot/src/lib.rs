#![doc = include_str!("../README.md")]

mod check;
mod client;
mod config;
mod convert;
mod hear;
mod links;
mod properties;
mod reader;
mod sink;
mod table;

use lockstep_core::connector::Connector;

pub use config::Config;
pub use reader::HubSpotReader;
pub use sink::HubSpotSink;

/// The connector, for a registry.
#[must_use]
pub fn connector() -> Connector {
    Connector::new("hubspot", env!("CARGO_PKG_VERSION"))
        .sink::<HubSpotSink>()
        .reader::<HubSpotReader>()
}
