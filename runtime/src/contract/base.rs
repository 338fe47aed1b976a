//! What contracts are compared with: a revision, its merge base, a folder, a file, or the releases.
//!
//! Owns the choice of the base and the words that name it; reads environment variables of build servers through a function, so that a test says what they are.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Serialize;

use super::Trouble;
use super::files::{self, Files, Root};
use super::git::{Commit, Git, quoted};

/// What contracts are compared with, as it is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Base {
    /// Of which kind it is.
    pub kind: Kind,
    /// Its name: a revision, a path, or `releases`.
    pub name: String,
    /// The commit that was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}

/// Kinds of what contracts are compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The nearest common ancestor with a revision: what others merged meanwhile is not held against the change.
    MergeBase,
    /// A revision itself.
    Tip,
    /// A folder or a file.
    Path,
    /// The last release of each contract.
    Releases,
}

impl Base {
    /// How it is told to people.
    #[must_use]
    pub fn words(&self) -> String {
        let commit = self.commit.as_deref().and_then(|id| id.get(..10));
        match (self.kind, commit) {
            (Kind::MergeBase, Some(id)) => format!("the merge base {id} with {}", self.name),
            (Kind::Tip, Some(id)) => format!("{} at {id}", self.name),
            (Kind::Releases, _) => "the releases".to_owned(),
            _ => self.name.clone(),
        }
    }
}

/// Whatever stands on the older side of a comparison.
#[derive(Debug)]
pub enum Older {
    /// Files of a commit, a folder or a file.
    Files(Box<Files>),
    /// The releases beside the contracts themselves.
    Releases,
}

/// What the user asked to compare with.
#[derive(Clone, Debug, Default)]
pub struct Against {
    /// The name: a revision, a path, `releases`; the upstream default branch if absent.
    pub name: Option<String>,
    /// Whether a revision itself is meant, and not its merge base.
    pub tip: bool,
}

impl Against {
    /// Finds and reads it.
    ///
    /// # Errors
    /// It is not there, or cannot be read.
    pub fn read(
        &self,
        roots: &[Root],
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<(Base, Older), Trouble> {
        let Some(name) = self.name.as_deref() else {
            let git = repository(roots)?;
            let (name, tip) = default_base(&git, variable)?;
            return self.revision(&git, &name, tip || self.tip, roots, variable);
        };
        if name == "releases" {
            let base = Base {
                kind: Kind::Releases,
                name: name.to_owned(),
                commit: None,
            };
            return Ok((base, Older::Releases));
        }
        let path = Path::new(name);
        if !path.exists() {
            let git = repository(roots)?;
            return self.revision(&git, name, self.tip, roots, variable);
        }
        let plain = !name.contains(['/', '\\']) && !name.ends_with(files::CONTRACT);
        if plain && repository(roots).is_ok_and(|git| matches!(git.commit(name), Ok(Some(_)))) {
            return Err(Trouble::usage(
                "LS-K021",
                format!("`{name}` is both a path and a revision"),
                format!("write `./{name}` for the path, or `refs/heads/{name}` for the branch"),
            ));
        }
        let base = Base {
            kind: Kind::Path,
            name: files::shown(path),
            commit: None,
        };
        let files = Files::on_disk(&files::roots(&[PathBuf::from(name)])?)?;
        Ok((base, Older::Files(Box::new(files))))
    }

    fn revision(
        &self,
        git: &Git,
        name: &str,
        tip: bool,
        roots: &[Root],
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<(Base, Older), Trouble> {
        // A build server often has a branch under its upstream name only.
        let upstream = format!("origin/{name}");
        let (name, there) = match git.commit(name)? {
            Some(there) => (name, there),
            None => match git.commit(&upstream)? {
                Some(there) => (upstream.as_str(), there),
                None => return Err(unknown(git, name, variable)?),
            },
        };
        let (kind, commit) = if tip {
            (Kind::Tip, there)
        } else {
            (Kind::MergeBase, merge_base(git, name, &there, variable)?)
        };
        // The contracts may stand elsewhere by now: what is asked for by file is looked for everywhere below the root.
        let whole: Vec<Root> = roots.iter().map(Root::whole).collect();
        let files = Files::in_commit(git, &commit, &whole)?;
        let base = Base {
            kind,
            name: name.to_owned(),
            commit: Some(commit.id),
        };
        Ok((base, Older::Files(Box::new(files))))
    }
}

/// The Git repository that all roots are in.
///
/// # Errors
/// There is none, or there are several.
pub fn repository(roots: &[Root]) -> Result<Git, Trouble> {
    let mut found: Option<(Git, Option<PathBuf>)> = None;
    for root in roots {
        let git = Git::open(Path::new(&root.shown))?;
        let top = git.top()?;
        match &found {
            Some((_, known)) if *known != top => {
                return Err(Trouble::usage(
                    "LS-K021",
                    "the paths are of different git repositories",
                    "run the command once for each",
                ));
            }
            Some(_) => {}
            None => found = Some((git, top)),
        }
    }
    match found {
        Some((git, _)) => Ok(git),
        None => Git::open(Path::new(".")),
    }
}

/// The branch that changes go to, and whether the name is the base itself already.
fn default_base(
    git: &Git,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<(String, bool), Trouble> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    if let Some(branch) = set("GITHUB_BASE_REF") {
        return Ok((format!("origin/{branch}"), false));
    }
    if let Some(commit) = set("CI_MERGE_REQUEST_DIFF_BASE_SHA") {
        return Ok((commit, true));
    }
    if let Some(branch) = set("CI_MERGE_REQUEST_TARGET_BRANCH_NAME") {
        return Ok((format!("origin/{branch}"), false));
    }
    for name in [
        "origin/HEAD",
        "origin/main",
        "origin/master",
        "main",
        "master",
    ] {
        if git.commit(name)?.is_some() {
            return Ok((name.to_owned(), false));
        }
    }
    if git.commit("HEAD")?.is_none() {
        return Err(Trouble::environment(
            "LS-K003",
            "the repository has no commit yet, so there is nothing to compare with",
            "commit the contracts first; `--against releases` needs no Git",
        ));
    }
    Err(Trouble::environment(
        "LS-K003",
        "there is no branch `main` or `master`, here or at `origin`, to compare with",
        format!(
            "say `--against REVISION`, or fetch the branch: `{}`",
            fetch(git, "origin/main")?
        ),
    ))
}

fn merge_base(
    git: &Git,
    name: &str,
    there: &Commit,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Commit, Trouble> {
    let Some(head) = git.commit("HEAD")? else {
        return Err(Trouble::environment(
            "LS-K003",
            "HEAD is no commit yet",
            "commit first, or say `--tip`",
        ));
    };
    if let Some(base) = git.merge_base(&head, there)? {
        return Ok(base);
    }
    let message = format!("HEAD and `{name}` have no common ancestor in this clone");
    if !git.is_shallow()? {
        let help = "the histories are unrelated; `--tip` compares with the revision itself";
        return Err(Trouble::environment("LS-K004", message, help));
    }
    Err(Trouble::environment(
        "LS-K004",
        format!("{message}: it is shallow"),
        format!("run `{}`{}", fetch(git, name)?, on_servers(variable)),
    ))
}

fn unknown(
    git: &Git,
    name: &str,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Trouble, Trouble> {
    let message = format!("no such revision `{name}`, and no such path");
    let remote = name
        .strip_prefix("origin/")
        .or_else(|| name.strip_prefix("refs/remotes/origin/"));
    let help = if remote.is_some() || git.is_shallow()? || variable("CI").is_some() {
        format!("run `{}`{}", fetch(git, name)?, on_servers(variable))
    } else {
        "name a branch, a tag, a commit, a folder, a contract file, or `releases`".to_owned()
    };
    Ok(Trouble::environment("LS-K003", message, help))
}

/// The command that brings a revision and the history that it shares with this clone.
fn fetch(git: &Git, name: &str) -> Result<String, Trouble> {
    let unshallow = if git.is_shallow()? {
        " --unshallow"
    } else {
        ""
    };
    let name = name.strip_prefix("refs/remotes/").unwrap_or(name);
    let branch = name
        .strip_prefix("origin/")
        .filter(|branch| *branch != "HEAD");
    Ok(match branch {
        Some(branch) => {
            let what = quoted(&format!(
                "+refs/heads/{branch}:refs/remotes/origin/{branch}"
            ));
            format!("git fetch{unshallow} origin {what}")
        }
        // It may be a branch, a tag or a commit: all branches and tags bring each of them.
        None => format!("git fetch{unshallow} --tags origin '+refs/heads/*:refs/remotes/origin/*'"),
    })
}

/// What to set on a build server so that it fetches enough by itself.
fn on_servers(variable: &dyn Fn(&str) -> Option<String>) -> &'static str {
    if variable("GITHUB_ACTIONS").is_some() {
        ", or set `fetch-depth: 0` at actions/checkout"
    } else if variable("GITLAB_CI").is_some() {
        ", or set the variable `GIT_DEPTH: 0`"
    } else {
        ""
    }
}
