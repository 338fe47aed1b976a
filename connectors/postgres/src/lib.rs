#![doc = include_str!("../README.md")]

mod array;
mod catalog;
mod check;
mod client;
mod config;
mod convert;
mod copying;
mod definition;
mod encode;
mod enter;
mod history;
mod messages;
mod names;
mod origin;
mod pgoutput;
mod position;
mod progress;
mod publication;
mod reader;
mod readiness;
mod sink;
mod slot;
mod snapshot;
mod source;
mod spool;
mod stamp;
mod statements;
mod stream;
mod tables;
mod wire;
mod writer;

use lockstep_core::connector::Connector;

pub use config::{Config, Snapshot};
pub use history::{History, HistoryKind};
pub use reader::PostgresReader;
pub use sink::PostgresSink;
pub use source::PostgresSource;

/// The connector, for a registry.
#[must_use]
pub fn connector() -> Connector {
    Connector::new("postgres", env!("CARGO_PKG_VERSION"))
        .source::<PostgresSource>()
        .with_transactions()
        .sink::<PostgresSink>()
        .reader::<PostgresReader>()
}
