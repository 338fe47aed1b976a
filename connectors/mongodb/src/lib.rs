#![doc = include_str!("../README.md")]

mod catalog;
mod check;
mod client;
mod columns;
mod config;
mod convert;
mod enter;
mod event;
mod json;
mod parse;
mod patch;
mod position;
mod progress;
mod reader;
mod readiness;
mod record;
mod refusal;
mod sample;
mod sink;
mod snapshot;
mod source;
mod stream;
mod tell;
mod url;
mod work;
mod writer;

use lockstep_core::connector::Connector;

pub use config::Config;
pub use reader::MongoReader;
pub use sink::MongoSink;
pub use source::MongoSource;

/// The connector, for a registry.
#[must_use]
pub fn connector() -> Connector {
    Connector::new("mongodb", env!("CARGO_PKG_VERSION"))
        .source::<MongoSource>()
        .sink::<MongoSink>()
        .reader::<MongoReader>()
}
