//! The texts that a repository of contracts is made of, from a folder or from a Git commit.
//!
//! Owns which files count and the limits on them; knows nothing of what they say.
//! Paths are shown as the user gave them, so a file has one name whether it is read from the disk or from an older commit.

mod disk;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lockstep_core::contract::load::CONTRACT_BYTES_MAX;
use lockstep_core::diagnostic::Diagnostic;

use super::Trouble;
use super::git::{Commit, Content, Git};
pub(crate) use disk::releases_beside;
use disk::{Walk, on_disk, text, too_large, too_many};

/// The end of a contract file's name.
pub const CONTRACT: &str = ".odcs.yaml";
/// The end of a release file's name.
pub const RELEASE: &str = ".lock.json";
/// The folder of releases, beside a contract.
pub const RELEASES: &str = "releases";
/// The folder of approvals, at the root of the contracts.
pub const APPROVALS: &str = "approvals";
/// The folder of shared types, at the root of the contracts.
pub const TYPES: &str = "types";

/// Most bytes of a release file, which holds a contract and its two schemas.
const RELEASE_BYTES_MAX: usize = 8 << 20;

/// What a file is, by its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// A contract, or a type that contracts share.
    Contract,
    /// A frozen version of a contract.
    Release,
    /// An approval.
    Approval,
}

impl Sort {
    /// What a file below a root is; `None` for what is not ours.
    #[must_use]
    pub fn of(path: &str) -> Option<Sort> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        if name.starts_with('.') {
            None
        } else if name.ends_with(CONTRACT) {
            Some(Sort::Contract)
        } else if name.ends_with(RELEASE) && folder.split('/').any(|part| part == RELEASES) {
            Some(Sort::Release)
        } else if folder == APPROVALS && (name.ends_with(".yaml") || name.ends_with(".yml")) {
            Some(Sort::Approval)
        } else {
            None
        }
    }

    fn bytes_max(self) -> usize {
        match self {
            Sort::Release => RELEASE_BYTES_MAX,
            Sort::Contract | Sort::Approval => CONTRACT_BYTES_MAX,
        }
    }
}

/// Whether a contract file below a root is a type that contracts share.
#[must_use]
pub fn is_type(below: &str) -> bool {
    below
        .strip_prefix(TYPES)
        .is_some_and(|rest| rest.starts_with('/'))
}

/// A folder of contracts, and what of it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// The folder as the user names it; `.` for the current one.
    pub shown: String,
    /// The files, and folders with `/` at their end, that are asked for; everything if empty.
    pub only: BTreeSet<String>,
    /// Files that were named though their names do not say what they are.
    pub extra: BTreeSet<String>,
}

impl Root {
    /// The whole of a folder.
    #[must_use]
    pub fn folder(path: &Path) -> Root {
        Root {
            shown: shown(path),
            only: BTreeSet::new(),
            extra: BTreeSet::new(),
        }
    }

    /// The root that a path given by a user belongs to: a folder of contracts, one contract's folder, or a contract file.
    ///
    /// # Errors
    /// There is nothing there, or it is no contract.
    pub fn of(path: &Path) -> Result<Root, Trouble> {
        let kind = std::fs::metadata(path).map_err(|error| {
            let message = format!("`{}` cannot be read: {}", path.display(), reason(&error));
            Trouble::usage(
                "LS-K007",
                message,
                "name a contract file or a folder of them",
            )
        })?;
        let name = name(path);
        let parent = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        if kind.is_dir() {
            let whole = name.is_empty() || !path.join(format!("{name}{CONTRACT}")).is_file();
            return Ok(if whole {
                Root::folder(path)
            } else {
                Root::part(parent, format!("{name}/"))
            });
        }
        let Some(stem) = name.strip_suffix(CONTRACT) else {
            // A file that is named is what its caller says it is, whatever it is called.
            let mut root = Root::part(parent, name.clone());
            root.extra.insert(name);
            return Ok(root);
        };
        let folder = self::name(parent);
        let above = parent
            .parent()
            .filter(|_| folder == stem || folder == TYPES);
        Ok(match above {
            Some(above) if above == Path::new("") => {
                Root::part(Path::new("."), format!("{folder}/{name}"))
            }
            Some(above) => Root::part(above, format!("{folder}/{name}")),
            None => Root::part(parent, name),
        })
    }

    fn part(folder: &Path, only: String) -> Root {
        Root {
            shown: shown(folder),
            only: BTreeSet::from([only]),
            extra: BTreeSet::new(),
        }
    }

    /// The same root with everything in it asked for.
    #[must_use]
    pub fn whole(&self) -> Root {
        Root {
            only: BTreeSet::new(),
            ..self.clone()
        }
    }

    /// What a file below this root is; `None` for what is not ours.
    #[must_use]
    pub fn sort(&self, below: &str) -> Option<Sort> {
        let named = || {
            let release = below.ends_with(RELEASE);
            let sort = if release {
                Sort::Release
            } else {
                Sort::Contract
            };
            self.extra.contains(below).then_some(sort)
        };
        Sort::of(below).or_else(named)
    }

    /// The path of a file below this root, as the user would name it.
    #[must_use]
    pub fn path(&self, below: &str) -> String {
        match self.shown.as_str() {
            "." => below.to_owned(),
            folder => format!("{}/{below}", folder.trim_end_matches('/')),
        }
    }

    /// The part of a path that is below this root.
    #[must_use]
    pub fn below<'a>(&self, path: &'a str) -> Option<&'a str> {
        match self.shown.as_str() {
            "." => Some(path),
            folder => path
                .strip_prefix(folder.trim_end_matches('/'))?
                .strip_prefix('/'),
        }
    }

    /// Whether a file was asked for, and not only needed for one that was.
    #[must_use]
    pub fn asks_for(&self, below: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| is_in(below, only))
    }

    /// Whether a file is asked for, or may be needed for one that is.
    fn reads(&self, below: &str) -> bool {
        self.only.is_empty() || self.scopes().iter().any(|scope| is_in(below, scope))
    }

    /// The files and folders to read, folders with `/` at their end.
    fn scopes(&self) -> BTreeSet<String> {
        if self.only.is_empty() {
            return BTreeSet::from([String::new()]);
        }
        let mut scopes = BTreeSet::from([format!("{APPROVALS}/"), format!("{TYPES}/")]);
        for only in &self.only {
            scopes.insert(only.clone());
            if let Some(path) = only.strip_suffix(CONTRACT) {
                let (folder, stem) = path.rsplit_once('/').map_or(("", path), |(f, s)| (f, s));
                scopes.insert(releases(folder, stem));
            }
        }
        scopes
    }
}

/// The folder of a contract's releases, with `/` at its end: beside the contract, and named after it where the folder is not.
#[must_use]
pub fn releases(folder: &str, stem: &str) -> String {
    let slash = if folder.is_empty() { "" } else { "/" };
    let own = folder.rsplit('/').next().unwrap_or_default() == stem;
    if own {
        format!("{folder}{slash}{RELEASES}/")
    } else {
        format!("{folder}{slash}{RELEASES}/{stem}/")
    }
}

/// Roots of the paths given, each root once.
///
/// # Errors
/// A path is none.
pub fn roots(paths: &[PathBuf]) -> Result<Vec<Root>, Trouble> {
    let mut roots: Vec<Root> = Vec::new();
    for path in paths {
        let root = Root::of(path)?;
        let Some(known) = roots.iter_mut().find(|known| known.shown == root.shown) else {
            roots.push(root);
            continue;
        };
        known.extra.extend(root.extra);
        if known.only.is_empty() || root.only.is_empty() {
            known.only.clear();
        } else {
            known.only.extend(root.only);
        }
    }
    Ok(roots)
}

/// The files of some roots.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// Where they were looked for.
    pub roots: Vec<Root>,
    /// The commit that they are from; none for the disk.
    pub commit: Option<Commit>,
    /// By path.
    pub by_path: Texts,
    /// Files of the disk that look like contracts and are not read, by path.
    pub near: Vec<String>,
}

/// By path: the text, or why there is none.
pub type Texts = BTreeMap<String, Result<Arc<str>, Diagnostic>>;

impl Files {
    /// The files on the disk.
    ///
    /// # Errors
    /// A folder cannot be read, or there are too many files.
    pub fn on_disk(roots: &[Root]) -> Result<Files, Trouble> {
        let mut files = Files {
            roots: roots.to_vec(),
            ..Files::default()
        };
        for root in roots {
            let mut walk = Walk::default();
            for scope in root.scopes().iter().chain(&root.extra) {
                walk.scope(Path::new(&root.shown), scope)?;
            }
            let named = |below: &&String| !root.extra.contains(*below) && root.asks_for(below);
            let near = walk.near.iter().filter(named);
            files.near.extend(near.map(|below| root.path(below)));
            for below in walk.found {
                let path = root.path(&below);
                if let Some(sort) = root.sort(&below) {
                    let text = on_disk(&path, sort.bytes_max());
                    files.by_path.insert(path, text);
                }
            }
        }
        Ok(files)
    }

    /// The same roots as they were in a commit.
    ///
    /// # Errors
    /// Git fails, or there are too many files.
    pub fn in_commit(git: &Git, commit: &Commit, roots: &[Root]) -> Result<Files, Trouble> {
        let mut files = Files {
            roots: roots.to_vec(),
            commit: Some(commit.clone()),
            ..Files::default()
        };
        for root in roots {
            let prefix = git.prefix(Path::new(&root.shown))?;
            let mut names = Vec::new();
            let mut blobs = Vec::new();
            for blob in git.list(commit, &prefix)? {
                let Some(below) = blob.path.strip_prefix(&prefix) else {
                    continue;
                };
                let Some(sort) = root.sort(below).filter(|_| root.reads(below)) else {
                    continue;
                };
                names.push((root.path(below), sort));
                blobs.push(blob);
            }
            too_many(blobs.len())?;
            let contents = git.read(&blobs, RELEASE_BYTES_MAX as u64)?;
            for ((path, sort), content) in names.into_iter().zip(contents) {
                let text = match content {
                    Content::Bytes(bytes) => text(&path, bytes, sort.bytes_max()),
                    Content::TooLarge(size) => Err(too_large(&path, size, sort.bytes_max())),
                };
                files.by_path.insert(path, text);
            }
        }
        Ok(files)
    }

    /// The text of a file, if it is there and can be read.
    #[must_use]
    pub fn text(&self, path: &str) -> Option<&Arc<str>> {
        self.by_path.get(path)?.as_ref().ok()
    }
}

fn is_in(path: &str, scope: &str) -> bool {
    if scope.is_empty() || scope.ends_with('/') {
        path.starts_with(scope)
    } else {
        path == scope
    }
}

/// The last part of a path, also where it is written as `.` or `..`.
fn name(path: &Path) -> String {
    let written = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    written.unwrap_or_else(|| {
        let real = std::fs::canonicalize(path).unwrap_or_default();
        real.file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default()
    })
}

/// A path as it is shown: with `/`, and without `./` before it.
#[must_use]
pub fn shown(path: &Path) -> String {
    let text = path.to_string_lossy().replace('\\', "/");
    let mut text = text.as_str();
    while let Some(rest) = text.strip_prefix("./") {
        text = rest.trim_start_matches('/');
    }
    let text = if text.len() > 1 {
        text.trim_end_matches('/')
    } else {
        text
    };
    if text.is_empty() {
        ".".to_owned()
    } else {
        text.to_owned()
    }
}

/// Why a file cannot be read, without its name.
pub(crate) fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "it does not exist".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string().to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_is_shows_in_its_path() {
        let table = [
            ("customer/customer.odcs.yaml", Some(Sort::Contract)),
            ("types/address.odcs.yaml", Some(Sort::Contract)),
            ("customer/releases/1.0.0.lock.json", Some(Sort::Release)),
            ("releases/customer/1.0.0.lock.json", Some(Sort::Release)),
            ("customer/1.0.0.lock.json", None),
            ("package.lock.json", None),
            ("approvals/abc.yaml", Some(Sort::Approval)),
            ("approvals/deep/abc.yaml", None),
            ("approvals/README.md", None),
            ("customer/.customer.odcs.yaml", None),
        ];
        for (path, sort) in table {
            assert_eq!(Sort::of(path), sort, "{path}");
        }
    }

    #[test]
    fn releases_stand_beside_their_contract() {
        assert_eq!(releases("customer", "customer"), "customer/releases/");
        assert_eq!(releases("a/customer", "customer"), "a/customer/releases/");
        assert_eq!(releases("", "customer"), "releases/customer/");
        assert_eq!(releases("sales", "customer"), "sales/releases/customer/");
    }

    #[test]
    fn a_single_file_brings_what_it_needs_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "x").unwrap();
            path
        };
        let asked = at("customer/customer.odcs.yaml");
        at("customer/releases/1.0.0.lock.json");
        at("types/address.odcs.yaml");
        at("approvals/abc.yaml");
        at("order/order.odcs.yaml");
        let roots = roots(&[asked]).unwrap();
        assert_eq!(roots[0].shown, shown(folder.path()));
        let files = Files::on_disk(&roots).unwrap();
        let below: Vec<&str> = files
            .by_path
            .keys()
            .filter_map(|path| roots[0].below(path))
            .collect();
        assert_eq!(
            below,
            [
                "approvals/abc.yaml",
                "customer/customer.odcs.yaml",
                "customer/releases/1.0.0.lock.json",
                "types/address.odcs.yaml"
            ]
        );
        assert!(!roots[0].asks_for("types/address.odcs.yaml"));
        // A folder of everything takes the place of a file in it.
        let both = super::roots(&[folder.path().join("order"), folder.path().to_owned()]).unwrap();
        assert_eq!((both.len(), both[0].only.len()), (1, 0));
    }

    #[test]
    fn files_that_cannot_be_read_are_findings_with_their_place() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.odcs.yaml"), b"id: x\nname: \xff\n").unwrap();
        let large = vec![b' '; CONTRACT_BYTES_MAX + 1];
        std::fs::write(folder.path().join("b.odcs.yaml"), large).unwrap();
        let files = Files::on_disk(&[Root::folder(folder.path())]).unwrap();
        let found: Vec<_> = files
            .by_path
            .values()
            .map(|text| text.clone().unwrap_err())
            .collect();
        let places: Vec<_> = found
            .iter()
            .map(|found| found.place.as_ref().map(|p| (p.line, p.column)))
            .collect();
        assert_eq!(places, [Some((2, 7)), Some((1, 1))]);
        assert!(found.iter().all(|found| found.code == "LS-K008"));
    }

    #[cfg(unix)]
    #[test]
    fn links_out_of_the_root_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("x.odcs.yaml"), "x").unwrap();
        std::fs::write(folder.path().join("in.odcs.yaml"), "x").unwrap();
        for (target, name) in [(outside.path(), "x"), (folder.path(), "in")] {
            let target = target.join(format!("{name}.odcs.yaml"));
            std::os::unix::fs::symlink(
                target,
                folder.path().join(format!("link-{name}.odcs.yaml")),
            )
            .unwrap();
        }
        std::os::unix::fs::symlink(folder.path(), folder.path().join("loop")).unwrap();
        let root = Root::folder(folder.path());
        let files = Files::on_disk(std::slice::from_ref(&root)).unwrap();
        let below: Vec<&str> = files
            .by_path
            .keys()
            .filter_map(|path| root.below(path))
            .collect();
        assert_eq!(below, ["in.odcs.yaml", "link-in.odcs.yaml"]);
    }

    #[test]
    fn paths_are_shown_as_they_were_given() {
        assert_eq!(shown(Path::new("./schemas/")), "schemas");
        assert_eq!(shown(Path::new(".")), ".");
        assert_eq!(shown(Path::new("./")), ".");
        assert_eq!(shown(Path::new("../x")), "../x");
        assert_eq!(Root::folder(Path::new(".")).path("a"), "a");
        assert_eq!(Root::folder(Path::new("/x")).below("/x/a"), Some("a"));
    }
}
