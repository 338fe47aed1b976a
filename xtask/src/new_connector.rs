//! `cargo xtask new-connector`: a crate that builds, has its harness, and passes the conformance kit.
//!
//! The template is itself a connector, of a system called Acme with a small REST API; the name is put into its place.
//! Everything is made up first and written last, so that a repository that is not as expected is left alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::cargo::{cargo, succeeds};
use crate::repository::Metadata;
use crate::say;

/// The files of the template by their paths in the new crate.
const TEMPLATE: &[(&str, &str)] = &[
    // Under its own name cargo would take the template for a package.
    ("Cargo.toml", include_str!("../templates/api/manifest.toml")),
    ("README.md", include_str!("../templates/api/README.md")),
    ("src/lib.rs", include_str!("../templates/api/src/lib.rs")),
    (
        "src/check.rs",
        include_str!("../templates/api/src/check.rs"),
    ),
    (
        "src/client.rs",
        include_str!("../templates/api/src/client.rs"),
    ),
    (
        "src/config.rs",
        include_str!("../templates/api/src/config.rs"),
    ),
    (
        "src/convert.rs",
        include_str!("../templates/api/src/convert.rs"),
    ),
    (
        "src/reader.rs",
        include_str!("../templates/api/src/reader.rs"),
    ),
    ("src/sink.rs", include_str!("../templates/api/src/sink.rs")),
    (
        "src/table.rs",
        include_str!("../templates/api/src/table.rs"),
    ),
    (
        "tests/conformance.rs",
        include_str!("../templates/api/tests/conformance.rs"),
    ),
    (
        "tests/stand_in/mod.rs",
        include_str!("../templates/api/tests/stand_in/mod.rs"),
    ),
    (
        "examples/system.rs",
        include_str!("../templates/api/examples/system.rs"),
    ),
    (
        "examples/sync/.gitignore",
        include_str!("../templates/api/examples/sync/.gitignore"),
    ),
    (
        "examples/sync/lockstep.toml",
        include_str!("../templates/api/examples/sync/lockstep.toml"),
    ),
    (
        "examples/sync/contracts/customer.odcs.yaml",
        include_str!("../templates/api/examples/sync/contracts/customer.odcs.yaml"),
    ),
];

/// Names that a configuration gives another meaning.
const RESERVED: [&str; 1] = ["inbox"];

/// Longest name: it stands in names of crates, environment variables and metrics.
const NAME_MAX: usize = 40;

pub(crate) fn run(name: &str) -> Result<ExitCode> {
    let root = Metadata::read(&["--no-deps"])?.workspace_root;
    let files = match plan(&root, name)? {
        Ok(files) => files,
        Err(refusal) => {
            say(&format!("error: {refusal}"));
            return Ok(ExitCode::from(2));
        }
    };
    write(&root, &files)?;
    if !format(&root, name)? {
        say("the files are written, and `cargo fmt` should be run over them");
    }
    for (file, _) in &files {
        say(&format!("wrote {}", file.display()));
    }
    say("\nnext:");
    for (what, why) in [
        (
            format!("cargo test -p lockstep-{name}"),
            "the conformance kit, against a stand-in of the template's own",
        ),
        (
            format!("connectors/{name}/README.md"),
            "what to replace, and in which order",
        ),
        (
            "connectors/README.md".to_owned(),
            "\"Writing one\": from here to a running sync",
        ),
    ] {
        say(&format!("  {what:<36}  {why}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// What is to be written where, relative to the root; or why the name will not do.
fn plan(root: &Path, name: &str) -> Result<Result<Vec<(PathBuf, String)>, String>> {
    let read = |file: &str| {
        fs::read_to_string(root.join(file)).with_context(|| format!("cannot read {file}"))
    };
    let workspace = read("Cargo.toml")?;
    if let Some(refusal) = refusal(root, &workspace, name) {
        return Ok(Err(refusal));
    }
    let folder = Path::new("connectors").join(name);
    let fill = |(file, text): &(&str, &str)| (folder.join(file), filled(text, name));
    let mut files: Vec<(PathBuf, String)> = TEMPLATE.iter().map(fill).collect();
    let edits: [(&str, String, Edit); 4] = [
        ("Cargo.toml", workspace, in_workspace),
        (
            "connectors/Cargo.toml",
            read("connectors/Cargo.toml")?,
            in_features,
        ),
        (
            "connectors/src/lib.rs",
            read("connectors/src/lib.rs")?,
            in_registry,
        ),
        (
            "connectors/README.md",
            read("connectors/README.md")?,
            in_table,
        ),
    ];
    for (file, text, edit) in edits {
        let edited = edit(&text, name);
        let edited = edited.with_context(|| {
            format!(
                "{file} is not laid out as expected: enter the connector by hand, as the others are"
            )
        })?;
        files.push((PathBuf::from(file), edited));
    }
    Ok(Ok(files))
}

/// Enters a connector into a file; none where its place is not found.
type Edit = fn(&str, &str) -> Option<String>;

fn write(root: &Path, files: &[(PathBuf, String)]) -> Result<()> {
    for (file, text) in files {
        let path = root.join(file);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        fs::write(&path, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

/// Formats the new crate: a name of another length breaks lines elsewhere.
fn format(root: &Path, name: &str) -> Result<bool> {
    let mut format = cargo("fmt -p");
    format.arg(format!("lockstep-{name}")).current_dir(root);
    succeeds(&mut format)
}

/// Why a name will not do, and what would.
fn refusal(root: &Path, workspace: &str, name: &str) -> Option<String> {
    let is_word = |word: &str| {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        !word.is_empty() && word.chars().all(plain)
    };
    let starts = name.starts_with(|c: char| c.is_ascii_lowercase());
    if !starts || !name.split('-').all(is_word) || name.len() > NAME_MAX {
        return Some(format!(
            "`{name}` is no name for a connector: take lower-case words joined by hyphens, at most {NAME_MAX} characters, such as `{}`",
            kebab(name)
        ));
    }
    let crate_is_there = workspace
        .lines()
        .any(|line| line.starts_with(&format!("lockstep-{name} ")));
    let is_taken =
        crate_is_there || RESERVED.contains(&name) || root.join("connectors").join(name).exists();
    is_taken.then(|| {
        format!("`{name}` is taken: choose another name, such as `{name}-2`, or remove connectors/{name} and its lines in Cargo.toml and connectors/")
    })
}

/// A name as it should have been written, as far as that can be guessed.
fn kebab(name: &str) -> String {
    let mut words = String::new();
    for c in name.chars() {
        match c {
            'A'..='Z' => {
                if words.ends_with(|last: char| last.is_ascii_lowercase()) {
                    words.push('-');
                }
                words.push(c.to_ascii_lowercase());
            }
            'a'..='z' => words.push(c),
            '0'..='9' if !words.is_empty() => words.push(c),
            _ if !words.is_empty() && !words.ends_with('-') => words.push('-'),
            _ => {}
        }
    }
    words.truncate(NAME_MAX);
    let words = words.trim_end_matches('-');
    if words.is_empty() { "acme-crm" } else { words }.to_owned()
}

/// The template's text with a name in the place of its own.
fn filled(text: &str, name: &str) -> String {
    let snake = name.replace('-', "_");
    let pascal: String = name
        .split('-')
        .map(|word| {
            let (first, rest) = word.split_at(1);
            first.to_ascii_uppercase() + rest
        })
        .collect();
    text.replace("lockstep_acme", &format!("lockstep_{snake}"))
        .replace("ACME", &snake.to_ascii_uppercase())
        .replace("Acme", &pascal)
        .replace("acme", name)
}

fn in_workspace(text: &str, name: &str) -> Option<String> {
    let text = insert(
        text,
        |line| line.strip_prefix("    \"connectors/")?.strip_suffix("\","),
        name,
        &[format!("    \"connectors/{name}\",")],
    )?;
    insert(
        &text,
        |line| {
            let (package, _) = line.split_once(" = { path = \"")?;
            package.strip_prefix("lockstep-")
        },
        name,
        &[format!(
            "lockstep-{name} = {{ path = \"connectors/{name}\" }}"
        )],
    )
}

fn in_features(text: &str, name: &str) -> Option<String> {
    let (before, rest) = text.split_once("default = [")?;
    let (list, after) = rest.split_once(']')?;
    let mut names: Vec<&str> = list
        .split(", ")
        .map(|name| name.trim_matches('"'))
        .collect();
    names.push(name);
    names.sort_unstable();
    let list: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    let list = list.join(", ");
    let text = format!("{before}default = [{list}]{after}");
    let text = insert(
        &text,
        |line| Some(line.split_once(" = [\"dep:lockstep-")?.0),
        name,
        &[format!("{name} = [\"dep:lockstep-{name}\"]")],
    )?;
    insert(
        &text,
        |line| {
            let package = line.strip_suffix(" = { workspace = true, optional = true }")?;
            package.strip_prefix("lockstep-")
        },
        name,
        &[format!(
            "lockstep-{name} = {{ workspace = true, optional = true }}"
        )],
    )
}

fn in_registry(text: &str, name: &str) -> Option<String> {
    let snake = name.replace('-', "_");
    insert(
        text,
        |line| {
            line.strip_prefix("    #[cfg(feature = \"")?
                .strip_suffix("\")]")
        },
        name,
        &[
            format!("    #[cfg(feature = \"{name}\")]"),
            format!("    let registry = registry.with(lockstep_{snake}::connector());"),
        ],
    )
}

fn in_table(text: &str, name: &str) -> Option<String> {
    let row = filled(
        "| [`acme`](acme/README.md) | Acme | windows over a time of change and listings, by query |",
        name,
    );
    let mut lines: Vec<&str> = text.lines().collect();
    // This table alone is in an order of its own.
    let last = lines
        .iter()
        .rposition(|line| line.starts_with("| [`") && line.contains("/README.md) | "))?;
    lines.insert(last + 1, &row);
    Some(lines.join("\n") + "\n")
}

/// Puts lines into a sorted list of such lines; `key` gives the name that an entry of the list is for.
fn insert(
    text: &str,
    key: impl Fn(&str) -> Option<&str>,
    name: &str,
    entry: &[String],
) -> Option<String> {
    let mut lines: Vec<&str> = text.lines().collect();
    let is_later = |line: &&str| key(line).is_some_and(|other| other > name);
    let last = lines.iter().rposition(|line| key(line).is_some())?;
    let at = lines.iter().position(is_later);
    let at = at.unwrap_or(last + entry.len());
    for (offset, line) in entry.iter().enumerate() {
        lines.insert(at + offset, line);
    }
    Some(lines.join("\n") + "\n")
}

#[cfg(test)]
mod tests;
