//! What the repository holds: its files, its packages and what they depend on.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::cargo::cargo;

/// The repository as the checks see it.
pub(crate) struct Repository {
    pub(crate) metadata: Metadata,
    /// Relative paths with `/`, sorted; ignored files are left out, new ones are not.
    pub(crate) files: Vec<String>,
}

impl Repository {
    pub(crate) fn open() -> Result<Self> {
        let metadata = Metadata::read(&[])?;
        let files = listed_files(&metadata.workspace_root)?;
        Ok(Self { metadata, files })
    }

    /// The text of a listed file; nothing when it is not text.
    pub(crate) fn text(&self, file: &str) -> Result<Option<String>> {
        let bytes =
            std::fs::read(self.root().join(file)).with_context(|| format!("cannot read {file}"))?;
        Ok(String::from_utf8(bytes).ok())
    }

    pub(crate) fn root(&self) -> &Path {
        &self.metadata.workspace_root
    }
}

fn listed_files(root: &Path) -> Result<Vec<String>> {
    // New files count before `git add`: whoever forgot it should hear of the file's faults now.
    let list = [
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ];
    let output = Command::new("git")
        .args(list)
        .current_dir(root)
        .output()
        .context("cannot run git")?;
    if !output.status.success() {
        bail!(
            "git ls-files failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let listing = String::from_utf8_lossy(&output.stdout);
    let mut files: Vec<String> = listing
        .split('\0')
        .filter(|file| !file.is_empty() && root.join(file).is_file())
        .map(str::to_owned)
        .collect();
    files.sort();
    files.dedup();
    Ok(files)
}

/// The part of `cargo metadata` that tasks look at.
#[derive(Deserialize)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
    pub(crate) workspace_root: PathBuf,
    pub(crate) target_directory: PathBuf,
    /// Absent when asked for without dependencies.
    pub(crate) resolve: Option<Resolve>,
}

impl Metadata {
    pub(crate) fn read(options: &[&str]) -> Result<Self> {
        let output = cargo("metadata --format-version=1")
            .args(options)
            .output()
            .context("cannot run cargo metadata")?;
        if !output.status.success() {
            bail!(
                "cargo metadata failed: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        serde_json::from_slice(&output.stdout).context("unreadable output of cargo metadata")
    }

    /// The packages of this workspace, each with its folder relative to the root.
    pub(crate) fn members(&self) -> impl Iterator<Item = (&str, &Package)> {
        self.packages.iter().filter_map(|package| {
            let manifest = package
                .manifest_path
                .strip_prefix(&self.workspace_root)
                .ok()?;
            // A vendored package may lie below the root as well, but it names where it is from.
            let own = package.source.is_none();
            own.then_some((manifest.parent()?.to_str()?, package))
        })
    }

    pub(crate) fn has_binary(&self, name: &str) -> bool {
        let mut targets = self.members().flat_map(|(_, package)| &package.targets);
        targets.any(|target| target.name == name && target.kind.iter().any(|kind| kind == "bin"))
    }
}

#[derive(Deserialize)]
pub(crate) struct Package {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) license: Option<String>,
    /// Where a package of somebody else comes from.
    pub(crate) source: Option<String>,
    pub(crate) manifest_path: PathBuf,
    pub(crate) dependencies: Vec<Dependency>,
    pub(crate) targets: Vec<Target>,
}

impl Package {
    /// What the package needs to run, leaving out its tests and its build script.
    pub(crate) fn normal_dependencies(&self) -> impl Iterator<Item = &Dependency> {
        self.dependencies
            .iter()
            .filter(|dependency| dependency.kind.is_none())
    }
}

#[derive(Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// `dev` or `build`; nothing for a normal one.
    pub(crate) kind: Option<String>,
    pub(crate) optional: bool,
    pub(crate) features: Vec<String>,
}

#[derive(Deserialize)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) kind: Vec<String>,
}

/// Which package pulls in which.
#[derive(Deserialize)]
pub(crate) struct Resolve {
    pub(crate) nodes: Vec<Node>,
}

#[derive(Deserialize)]
pub(crate) struct Node {
    pub(crate) id: String,
    pub(crate) deps: Vec<Edge>,
}

#[derive(Deserialize)]
pub(crate) struct Edge {
    pub(crate) pkg: String,
    pub(crate) dep_kinds: Vec<EdgeKind>,
}

#[derive(Deserialize)]
pub(crate) struct EdgeKind {
    pub(crate) kind: Option<String>,
}
