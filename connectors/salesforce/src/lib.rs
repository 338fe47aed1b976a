#![doc = include_str!("../README.md")]

mod check;
mod client;
mod collection;
mod config;
mod convert;
mod id;
mod journal;
mod read;
mod reader;
mod refusal;
mod sink;
mod soql;
mod table;
mod tables;
mod work;

use lockstep_core::connector::Connector;

pub use config::{Config, Jwt};
pub use reader::SalesforceReader;
pub use sink::SalesforceSink;

/// The connector, for a registry.
#[must_use]
pub fn connector() -> Connector {
    Connector::new("salesforce", env!("CARGO_PKG_VERSION"))
        .sink::<SalesforceSink>()
        .reader::<SalesforceReader>()
}
