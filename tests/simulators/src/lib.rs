//! Simulators of business systems that cannot be had from a registry.
//!
//! They are our own, written from the vendors' public documentation, and prove no more than that a connector does what that says.
//! They know nothing of Lockstep, listen on 127.0.0.1 only, and keep everything in memory.

pub mod hubspot;
pub mod salesforce;
