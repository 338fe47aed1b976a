use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::*;

/// Folders with code that may print a code.
const SOURCES: &[&str] = &[
    "core/src",
    "runtime/src",
    "connectors",
    "schemas/src",
    "tests/business/src",
    "xtask/src",
];
/// Codes that stand in the sources and mean nothing.
const MEANINGLESS: &[&str] = &["LS-G999"];

#[test]
fn codes_are_unique_and_well_formed() {
    let pages = pages();
    for pair in pages.windows(2) {
        assert_ne!(pair[0].0, pair[1].0);
    }
    for (code, _) in pages {
        assert_eq!(in_text(code).collect::<Vec<_>>(), [code]);
    }
}

#[test]
fn codes_are_found_in_any_case() {
    assert_eq!(page(" ls-g003 ").unwrap().0, "LS-G003");
    assert_eq!(page("LS-G999"), None);
}

#[test]
fn every_code_that_can_be_printed_has_a_page() {
    let explained: BTreeSet<&str> = pages().into_iter().map(|(code, _)| code).collect();
    let found = in_sources();
    let unexplained: Vec<_> = found
        .iter()
        .filter(|(code, _)| !explained.contains(code.as_str()))
        .filter(|(code, _)| !MEANINGLESS.contains(&code.as_str()))
        .collect();
    assert!(unexplained.is_empty(), "no page for {unexplained:?}");
}

#[test]
fn every_page_says_what_to_do() {
    for (code, page) in pages() {
        let says = |word| page.lines().any(|line| line.trim_start().starts_with(word));
        // What can only be mended in one way says so in one line: the meaning, and then the remedy.
        let short = page.lines().count() == 1 && page.contains(". ");
        assert!(short || (says("Check:") && says("Safe:")), "{code}: {page}");
    }
}

/// Every code of the sources, with the places at which it stands.
fn in_sources() -> BTreeMap<String, Vec<(PathBuf, usize)>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut folders: Vec<PathBuf> = SOURCES.iter().map(|folder| root.join(folder)).collect();
    let mut found: BTreeMap<String, Vec<(PathBuf, usize)>> = BTreeMap::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let is_tests = path.file_stem().is_some_and(|stem| stem == "tests");
            if path.is_dir() && !is_tests {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs") && !is_tests {
                let text = std::fs::read_to_string(&path).unwrap();
                for (number, line) in text.lines().enumerate() {
                    for code in in_text(line) {
                        let place = (path.clone(), number + 1);
                        found.entry(code.to_owned()).or_default().push(place);
                    }
                }
            }
        }
    }
    found
}

/// The codes in a text: `LS-`, a letter, three digits.
fn in_text(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("LS-").filter_map(|(at, _)| {
        let code = text.get(at..at + 7)?;
        let (letter, digits) = code[3..].split_at(1);
        let fits = letter.bytes().all(|byte| byte.is_ascii_uppercase())
            && digits.bytes().all(|byte| byte.is_ascii_digit());
        fits.then_some(code)
    })
}
