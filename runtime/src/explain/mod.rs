//! The pages behind the codes: what each means, what to check, what is safe to do.
//!
//! The pages stand beside the code that gives them; this module only brings the tables together.

use lockstep_core::{connector, contract, gate};

use crate::{
    canary, cli, config, contract as files, control, inbox, log, quarantine, query, versions,
};

/// Every table of pages.
const TABLES: &[&[(&str, &str)]] = &[
    contract::CODES,
    contract::migrate::CODES,
    versions::CODES,
    gate::CODES,
    connector::CODES,
    config::CODES,
    cli::CODES,
    log::CODES,
    inbox::CODES,
    query::CODES,
    files::CODES,
    files::import::CODES,
    quarantine::CODES,
    control::CODES,
    canary::CODES,
];

/// Every code with its page, by code.
#[must_use]
pub fn pages() -> Vec<(&'static str, &'static str)> {
    let mut pages: Vec<_> = TABLES.iter().copied().flatten().copied().collect();
    pages.sort_unstable();
    pages
}

/// The page of a code, in either case.
#[must_use]
pub fn page(code: &str) -> Option<(&'static str, &'static str)> {
    pages()
        .into_iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(code.trim()))
}

#[cfg(test)]
mod tests;
