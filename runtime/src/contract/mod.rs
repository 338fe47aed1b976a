//! Contracts as files: where they stand, what Git knew of them, other forms of them, and how findings are told to people and machines.
//!
//! `core` decides whether a contract is sound and whether a new version breaks an old one; this module finds the texts and carries the answers out.
//! The way of a comparison: [`files`] are read from a folder or from [`git`], a [`repository`] is made of them, [`base`] says what it is compared with, [`judge`] compares, [`approvals`] excuse, [`report`] tells.

pub mod approvals;
pub mod base;
mod cells;
pub mod changelog;
mod codes;
pub mod consumers;
pub mod data;
pub mod files;
pub mod generate;
pub mod git;
pub mod import;
pub mod judge;
pub mod library;
pub mod links;
pub mod migrations;
pub mod release;
pub mod report;
pub mod repository;
pub mod trial;

pub use codes::CODES;

use lockstep_core::diagnostic::Diagnostic;

/// Why a command about contracts cannot go on.
#[derive(Clone, Debug)]
pub struct Trouble {
    /// What is wrong and what to do.
    pub finding: Diagnostic,
    /// Whether the surroundings are to blame (a revision, Git, a disk), and not the input.
    pub environment: bool,
}

impl Trouble {
    /// Something outside stood in the way.
    #[must_use]
    pub fn environment(
        code: &'static str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Trouble {
            finding: Diagnostic::error(code, message).help(help),
            environment: true,
        }
    }

    /// What the caller asked for cannot be used.
    #[must_use]
    pub fn usage(code: &'static str, message: impl Into<String>, help: impl Into<String>) -> Self {
        Trouble {
            finding: Diagnostic::error(code, message).help(help),
            environment: false,
        }
    }
}
