//! Reads a contract from ODCS v3 YAML.
//!
//! Owns the way from text to [`Contract`] and everything that can be wrong on it: every finding has a place, a stable code ([`CODES`]) and a remedy, and all of them are reported at once.
//! Knows no files; no text makes it panic, loop or allocate beyond its limits.

mod codes;
mod field;
mod findings;
mod grammar;
mod keys;
mod odcs;
mod quality;
#[cfg(test)]
mod tests;
mod values;
mod words;
mod yaml;

use super::Contract;
use crate::diagnostic::Diagnostic;
use findings::Findings;

pub use codes::CODES;
pub use yaml::CONTRACT_BYTES_MAX;

/// Reads and lints a contract; `file` is the name shown in messages.
///
/// With the contract come the warnings, in the order of the text.
///
/// # Errors
/// Every finding of severity error, each with its place, together with any warnings.
pub fn load(file: &str, text: &str) -> Result<(Contract, Vec<Diagnostic>), Vec<Diagnostic>> {
    let mut findings = Findings::new(file, text);
    let contract =
        yaml::parse(text, &mut findings).and_then(|root| odcs::contract(&root, &mut findings));
    match contract {
        Some(contract) if !findings.any_error() => Ok((contract, findings.finish())),
        _ => Err(findings.finish()),
    }
}
