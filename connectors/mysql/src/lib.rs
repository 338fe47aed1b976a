#![doc = include_str!("../README.md")]

mod binlog;
mod catalog;
mod charset;
mod check;
mod client;
mod config;
mod convert;
mod ddl;
mod declared;
mod encode;
mod enter;
mod gtid;
mod names;
mod position;
mod progress;
mod reader;
mod readiness;
mod sink;
mod snapshot;
mod source;
mod statements;
mod stream;
mod tables;
mod writer;

use lockstep_core::connector::Connector;

pub use config::{Config, Snapshot};
pub use reader::MysqlReader;
pub use sink::MysqlSink;
pub use source::MysqlSource;

/// The connector, for a registry.
#[must_use]
pub fn connector() -> Connector {
    Connector::new("mysql", env!("CARGO_PKG_VERSION"))
        .source::<MysqlSource>()
        .sink::<MysqlSink>()
        .reader::<MysqlReader>()
}
