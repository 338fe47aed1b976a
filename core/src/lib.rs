//! What is true in Lockstep, and every decision it takes.
//!
//! A change goes one way: **capture → gate → log → settle → deliver → verify**.
//! The modules of those names hold the decisions of each step as pure functions; the crate `lockstep` (runtime) performs them under the same names.
//!
//! This crate knows no sockets, no files, no clock of its own and spawns no tasks.
//! Text comes in as `&str`, time comes in as an argument, and what should happen next goes out as a value.
//!
//! Reading order: the words ([`value`], [`shape`], [`key`], [`version`], [`position`], [`change`]), the agreement ([`contract`]), the author's side ([`connector`]), then the six steps.

pub mod error;

pub mod change;
pub mod key;
pub mod position;
pub mod shape;
pub mod value;
pub mod version;

pub mod connector;
pub mod contract;

pub mod capture;
pub mod deliver;
pub mod gate;
pub mod log;
pub mod settle;
pub mod verify;

pub mod diagnostic;
pub mod schedule;

pub use change::{Change, Op};
pub use error::{Error, Kind, Result};
pub use key::Key;
pub use position::Position;
pub use shape::{Column, Row, Shape};
pub use value::{Cell, Decimal, Type, Value};
pub use version::Version;
