//! The pages behind the codes: what each means, what to check, what is safe to do.
//!
//! The pages stand beside the code that gives them; this module only brings the tables together.

use lockstep_core::diagnostic::nearest;
use lockstep_core::{contract, gate};

use crate::{cli, config, contract as files, inbox, log, quarantine, versions};

/// Every table of pages.
const TABLES: &[&[(&str, &str)]] = &[
    contract::CODES,
    contract::migrate::CODES,
    versions::CODES,
    gate::CODES,
    config::CODES,
    cli::CODES,
    log::CODES,
    inbox::CODES,
    files::CODES,
    files::import::CODES,
    quarantine::CODES,
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

/// The known code that is nearest to what somebody wrote.
#[must_use]
pub fn meant(code: &str) -> Option<&'static str> {
    nearest(code, pages().into_iter().map(|(known, _)| known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_well_formed() {
        let pages = pages();
        for pair in pages.windows(2) {
            assert_ne!(pair[0].0, pair[1].0);
        }
        for (code, page) in pages {
            let digits = code.strip_prefix("LS-").and_then(|rest| rest.get(1..));
            assert!(
                digits.is_some_and(|d| d.len() == 3 && d.bytes().all(|b| b.is_ascii_digit())),
                "{code}"
            );
            assert!(!page.is_empty());
        }
    }

    #[test]
    fn codes_are_found_in_any_case_and_near_ones_suggested() {
        assert_eq!(page(" ls-g003 ").unwrap().0, "LS-G003");
        assert_eq!(page("LS-G999"), None);
        assert_eq!(meant("LSG003"), Some("LS-G003"));
        assert_eq!(meant("nonsense"), None);
    }
}
