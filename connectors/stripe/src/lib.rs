#![doc = include_str!("../README.md")]

mod act;
mod check;
mod client;
mod config;
mod convert;
mod form;
mod hear;
mod journal;
mod lookup;
mod reader;
mod sink;
mod table;
mod writer;

use lockstep_core::connector::Connector;

pub use config::Config;
pub use reader::StripeReader;
pub use sink::StripeSink;

/// The connector, for a registry.
#[must_use]
pub fn connector() -> Connector {
    Connector::new("stripe", env!("CARGO_PKG_VERSION"))
        .sink::<StripeSink>()
        .reader::<StripeReader>()
}
