//! House rules on the text of files: headers, READMEs, lengths, paths of one machine.

use std::collections::BTreeSet;

use anyhow::Result;

use crate::repository::Repository;

/// A file longer than this usually holds a second concept.
const LENGTH_MAX: usize = 700;

/// Rust files below a `src` folder that do not say what they are.
pub(super) fn without_header(repository: &Repository) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    for file in repository.files.iter().filter(|file| needs_header(file)) {
        let text = repository.text(file)?.unwrap_or_default();
        // A crate whose README is its documentation says so in its first line.
        if !text.starts_with("//!") && !text.starts_with("#![doc = include_str!") {
            findings.push(format!("{file} does not open with `//!`"));
        }
    }
    Ok(findings)
}

/// Tests belong to the module they test, which has said it already.
fn needs_header(file: &str) -> bool {
    let (folder, name) = file.rsplit_once('/').unwrap_or(("", file));
    let tests = name.ends_with("tests.rs") || folder.ends_with("/tests");
    name.ends_with(".rs") && !tests && folder.split('/').any(|part| part == "src")
}

/// Top-level folders without a README; hidden ones are for tools.
pub(super) fn without_readme(files: &[String]) -> Vec<String> {
    let folders: BTreeSet<&str> = files
        .iter()
        .filter_map(|file| Some(file.split_once('/')?.0))
        .collect();
    folders
        .into_iter()
        .filter(|folder| !folder.starts_with('.'))
        .map(|folder| format!("{folder}/README.md"))
        .filter(|readme| files.binary_search(readme).is_err())
        .map(|readme| format!("{readme} is missing"))
        .collect()
}

/// Rust files past the limit.
pub(super) fn too_long(repository: &Repository) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    for file in repository.files.iter().filter(|file| file.ends_with(".rs")) {
        let lines = repository.text(file)?.unwrap_or_default().lines().count();
        if lines > LENGTH_MAX {
            findings.push(format!(
                "{file} has {lines} lines; {LENGTH_MAX} is the limit"
            ));
        }
    }
    Ok(findings)
}

/// Lines that name a folder of the machine they were written on.
pub(super) fn machine_paths(repository: &Repository) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    for file in repository.files.iter().filter(|file| *file != "Cargo.lock") {
        let text = repository.text(file)?.unwrap_or_default();
        for (at, line) in text.lines().enumerate() {
            if let Some(folder) = machine_folder(line) {
                findings.push(format!("{file}:{} names a path below /{folder}", at + 1));
            }
        }
    }
    Ok(findings)
}

/// The home-like folder that an absolute path in the line starts at.
fn machine_folder(line: &str) -> Option<&'static str> {
    ["work", "root", "home"].into_iter().find(|folder| {
        line.match_indices(&format!("/{folder}/")).any(|(at, _)| {
            // Behind a name, a dot or a variable it is the middle of a relative path or an address.
            let before = line[..at].chars().next_back();
            !before.is_some_and(|c| c.is_alphanumeric() || "_-.~}*".contains(c))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_asked_of_sources_only() {
        let table = [
            ("core/src/lib.rs", true),
            ("core/src/gate/plan.rs", true),
            ("tests/src/lib.rs", true),
            ("core/src/log/tests.rs", false),
            ("core/src/gate/cast_tests.rs", false),
            ("core/src/gate/plan/tests/reading.rs", false),
            ("tests/tests/kill.rs", false),
            ("core/src/README.md", false),
            ("build.rs", false),
        ];
        for (file, needs) in table {
            assert_eq!(needs_header(file), needs, "{file}");
        }
    }

    #[test]
    fn every_visible_top_level_folder_needs_a_readme() {
        let files = [
            ".ci/run",
            "Cargo.toml",
            "core/README.md",
            "core/src/lib.rs",
            "docs/a/README.md",
        ];
        let files: Vec<String> = files.map(str::to_owned).to_vec();
        assert_eq!(without_readme(&files), ["docs/README.md is missing"]);
    }

    #[test]
    fn absolute_paths_are_told_from_addresses_and_relative_ones() {
        let folder = "home";
        let found = [format!("/{folder}/me/x"), format!("open(\"/{folder}/me\")")];
        let fine = [
            format!("https://example.com/{folder}/x"),
            format!("./{folder}/x"),
            format!("${{BASE}}/{folder}/x"),
            format!("/{folder}"),
        ];
        for line in found {
            assert_eq!(machine_folder(&line), Some("home"), "{line}");
        }
        for line in fine {
            assert_eq!(machine_folder(&line), None, "{line}");
        }
    }
}
