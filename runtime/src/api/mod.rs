//! The running process's own HTTP interface, and how the command line finds it.
//!
//! It listens on loopback only. [`Access`] is the file that holds its address and the token that every request must bear; it is readable by its owner alone and goes when the run ends.

mod access;
mod client;
mod reach;
mod server;

pub use access::Access;
pub use client::{Client, Reached};
pub use reach::Reach;
pub use server::Server;
