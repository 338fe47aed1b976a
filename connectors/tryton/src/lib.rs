#![doc = include_str!("../README.md")]

mod check;
mod client;
mod config;
mod convert;
mod domain;
mod fault;
mod lookup;
mod model;
mod plan;
mod reader;
mod rest;
mod rpc;
mod session;
mod sink;
mod work;
mod workflow;

use lockstep_core::connector::Connector;

pub use config::{Api, Config, Step};
pub use reader::TrytonReader;
pub use sink::TrytonSink;

/// The connector, for a registry.
#[must_use]
pub fn connector() -> Connector {
    Connector::new("tryton", env!("CARGO_PKG_VERSION"))
        .sink::<TrytonSink>()
        .reader::<TrytonReader>()
}
