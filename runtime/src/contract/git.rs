//! The object store of a Git repository, read through the `git` executable.
//!
//! Owns every call of Git and what can go wrong with it; knows nothing of contracts.
//! It reads only: the work tree and the index are neither looked at nor changed, no hook, pager, prompt or remote helper runs, and nothing is fetched.
//! A name that a user gives never stands where Git would take it for an option.

use std::fmt::Write as _;
use std::io::{BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::Trouble;

/// Variables by which a hook or a caller points Git somewhere else than at the folder in question.
const ELSEWHERE: [&str; 6] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_PREFIX",
    "GIT_OBJECT_DIRECTORY",
    "GIT_NAMESPACE",
];

/// A Git repository as seen from one folder.
#[derive(Clone, Debug)]
pub struct Git {
    program: String,
    folder: PathBuf,
    /// Whether the caller's variables say where the repository is: a work tree with its repository elsewhere.
    as_told: bool,
}

/// A commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Its full id.
    pub id: String,
}

impl Commit {
    /// The id as people write it.
    #[must_use]
    pub fn short(&self) -> &str {
        self.id.get(..10).unwrap_or(&self.id)
    }
}

/// A file in a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// Its path from the top of the repository.
    pub path: String,
    /// The id of its content.
    pub id: String,
}

/// What a file in a commit holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Its bytes.
    Bytes(Vec<u8>),
    /// It has so many bytes, which is more than asked for.
    TooLarge(u64),
}

impl Git {
    /// The repository that a folder is in.
    ///
    /// # Errors
    /// Git is missing, or there is no repository that it will read.
    pub fn open(folder: &Path) -> Result<Git, Trouble> {
        Git::with_program("git", folder)
    }

    fn with_program(program: &str, folder: &Path) -> Result<Git, Trouble> {
        let mut git = Git {
            program: program.to_owned(),
            folder: folder.to_owned(),
            as_told: false,
        };
        let mut said = git.output(&["rev-parse", "--git-dir"], None)?;
        if !said.status.success() && std::env::var_os("GIT_DIR").is_some() {
            git.as_told = true;
            said = git.output(&["rev-parse", "--git-dir"], None)?;
        }
        if said.status.success() {
            return Ok(git);
        }
        let reason = first_line(&said.stderr);
        let (message, help) = if reason.contains("dubious ownership") {
            (
                format!(
                    "git refuses to read the repository of `{}`: it belongs to another user",
                    folder.display()
                ),
                format!(
                    "if you trust it, run `git config --global --add safe.directory {}`",
                    quoted(&absolute(folder).display().to_string())
                ),
            )
        } else {
            (
                format!("`{}` is not in a git repository", folder.display()),
                "compare with `--against releases`, a folder or a file instead".to_owned(),
            )
        };
        Err(Trouble::environment("LS-K002", message, help))
    }

    /// The commit that a name means: a branch, a tag, an id, `HEAD~2`; `None` where there is none.
    ///
    /// # Errors
    /// Git cannot be run.
    pub fn commit(&self, name: &str) -> Result<Option<Commit>, Trouble> {
        // Git would read some names as instructions of its own, such as `:/text` or `--all`.
        if name.is_empty() || name.starts_with('-') || name.contains(['\0', '\n', '\r']) {
            return Ok(None);
        }
        let asked = format!("{name}^{{commit}}");
        let said = self.output(
            &[
                "rev-parse",
                "--verify",
                "--quiet",
                "--end-of-options",
                &asked,
            ],
            None,
        )?;
        let id = first_line(&said.stdout);
        Ok((said.status.success() && is_id(&id)).then_some(Commit { id }))
    }

    /// The nearest common ancestor of two commits; `None` where this clone has none.
    ///
    /// # Errors
    /// Git cannot be run or fails.
    pub fn merge_base(&self, one: &Commit, other: &Commit) -> Result<Option<Commit>, Trouble> {
        let said = self.output(&["merge-base", &one.id, &other.id], None)?;
        let id = first_line(&said.stdout);
        match said.status.code() {
            Some(0) if is_id(&id) => Ok(Some(Commit { id })),
            Some(1) => Ok(None),
            _ => Err(failed("merge-base", &said)),
        }
    }

    /// Whether a part of the history was left out when this clone was made.
    ///
    /// # Errors
    /// Git cannot be run.
    pub fn is_shallow(&self) -> Result<bool, Trouble> {
        let said = self.output(&["rev-parse", "--is-shallow-repository"], None)?;
        Ok(first_line(&said.stdout) == "true")
    }

    /// The path of a folder from the top of the repository, with `/` at its end; empty for the top itself.
    ///
    /// # Errors
    /// Git cannot be run or fails.
    pub fn prefix(&self, folder: &Path) -> Result<String, Trouble> {
        let here = Git {
            folder: folder.to_owned(),
            ..self.clone()
        };
        let said = here.output(&["rev-parse", "--show-prefix"], None)?;
        if !said.status.success() {
            return Err(failed("rev-parse", &said));
        }
        let text = String::from_utf8_lossy(&said.stdout);
        Ok(text.strip_suffix('\n').unwrap_or(&text).to_owned())
    }

    /// The folder that is the top of the work tree; `None` for a repository without one.
    ///
    /// # Errors
    /// Git cannot be run.
    pub fn top(&self) -> Result<Option<PathBuf>, Trouble> {
        let said = self.output(&["rev-parse", "--show-toplevel"], None)?;
        let text = String::from_utf8_lossy(&said.stdout);
        let path = text.strip_suffix('\n').unwrap_or(&text);
        Ok((said.status.success() && !path.is_empty()).then(|| PathBuf::from(path)))
    }

    /// When the commit was made that the work tree is on; `None` where there is none.
    ///
    /// # Errors
    /// Git cannot be run.
    pub fn time(&self) -> Result<Option<jiff::Timestamp>, Trouble> {
        let args = ["show", "-s", "--no-show-signature", "--format=%ct", "HEAD"];
        let said = self.output(&args, None)?;
        let seconds = first_line(&said.stdout).parse::<i64>().ok();
        let seconds = seconds.filter(|_| said.status.success());
        Ok(seconds.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok()))
    }

    /// The value of a setting, such as `user.email`.
    ///
    /// # Errors
    /// Git cannot be run.
    pub fn setting(&self, name: &str) -> Result<Option<String>, Trouble> {
        let said = self.output(&["config", "--get", name], None)?;
        let value = first_line(&said.stdout);
        Ok((said.status.success() && !value.is_empty()).then_some(value))
    }

    /// Every file of a commit below a folder, in Git's order; links and submodules are left out.
    ///
    /// # Errors
    /// Git cannot be run or fails.
    pub fn list(&self, commit: &Commit, prefix: &str) -> Result<Vec<Blob>, Trouble> {
        let mut args = vec!["ls-tree", "-r", "-z", "--full-tree", &commit.id, "--"];
        if !prefix.is_empty() {
            args.push(prefix);
        }
        let said = self.output(&args, None)?;
        if !said.status.success() {
            return Err(failed("ls-tree", &said));
        }
        let entries = said.stdout.split(|byte| *byte == 0);
        Ok(entries.filter_map(blob).collect())
    }

    /// The contents of files, in the order asked for.
    ///
    /// # Errors
    /// Git cannot be run or fails, or the clone was made without contents.
    pub fn read(&self, blobs: &[Blob], bytes_max: u64) -> Result<Vec<Content>, Trouble> {
        if blobs.is_empty() {
            return Ok(Vec::new());
        }
        // Sizes come first, so that a huge file is never held.
        let mut asked = String::new();
        for blob in blobs {
            let _ = writeln!(asked, "{}", blob.id);
        }
        let said = self.output(&["cat-file", "--batch-check=%(objectsize)"], Some(&asked))?;
        if !said.status.success() {
            return Err(failed("cat-file", &said));
        }
        let text = String::from_utf8_lossy(&said.stdout);
        let mut sizes = Vec::with_capacity(blobs.len());
        for (blob, line) in blobs.iter().zip(text.lines()) {
            sizes.push(line.trim().parse::<u64>().map_err(|_| self.absent(blob))?);
        }
        if sizes.len() != blobs.len() {
            return Err(failed("cat-file", &said));
        }
        let wanted: Vec<&Blob> = blobs
            .iter()
            .zip(&sizes)
            .filter(|(_, size)| **size <= bytes_max)
            .map(|(blob, _)| blob)
            .collect();
        let mut contents = self.contents(&wanted)?.into_iter();
        Ok(sizes
            .into_iter()
            .map(|size| {
                if size > bytes_max {
                    Content::TooLarge(size)
                } else {
                    Content::Bytes(contents.next().unwrap_or_default())
                }
            })
            .collect())
    }

    fn contents(&self, blobs: &[&Blob]) -> Result<Vec<Vec<u8>>, Trouble> {
        let mut child = self
            .command(&["cat-file", "--batch"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| self.missing(&error))?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let (Some(mut stdin), Some(stdout)) = (stdin, stdout) else {
            return Err(self.broken());
        };
        let mut asked = String::new();
        for blob in blobs {
            let _ = writeln!(asked, "{}", blob.id);
        }
        let mut contents = Vec::with_capacity(blobs.len());
        let read = std::thread::scope(|scope| {
            // Git answers while it is asked: one side alone would fill its pipe and wait for ever.
            scope.spawn(move || {
                let _ = stdin.write_all(asked.as_bytes());
            });
            let mut answers = BufReader::new(stdout);
            for blob in blobs {
                match answer(&mut answers) {
                    Ok(Some(bytes)) => contents.push(bytes),
                    Ok(None) => return Err(self.absent(blob)),
                    Err(_) => return Err(self.broken()),
                }
            }
            Ok(())
        });
        if read.is_err() {
            let _ = child.kill();
        }
        let _ = child.wait();
        read.map(|()| contents)
    }

    fn output(&self, args: &[&str], input: Option<&str>) -> Result<Output, Trouble> {
        let mut command = self.command(args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.stdin(if input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        });
        let mut child = command.spawn().map_err(|error| self.missing(&error))?;
        let stdin = child.stdin.take();
        std::thread::scope(|scope| {
            if let (Some(mut stdin), Some(input)) = (stdin, input) {
                scope.spawn(move || {
                    let _ = stdin.write_all(input.as_bytes());
                });
            }
            child
                .wait_with_output()
                .map_err(|error| self.missing(&error))
        })
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        // What a repository's own settings could start is turned off: this may be a stranger's change under review.
        command
            .current_dir(&self.folder)
            .args(["--no-pager", "--no-replace-objects", "--literal-pathspecs"])
            .args(["-c", "core.fsmonitor=false"])
            .args(["-c", "core.hooksPath=/dev/null"])
            .args(["-c", "protocol.allow=never"])
            .args(args)
            .env("LC_ALL", "C")
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_NO_LAZY_FETCH", "1");
        for name in ELSEWHERE {
            if !self.as_told {
                command.env_remove(name);
            }
        }
        command
    }

    fn missing(&self, error: &std::io::Error) -> Trouble {
        let folder = self.folder.display();
        if !self.folder.is_dir() {
            return Trouble::usage(
                "LS-K007",
                format!("there is no folder `{folder}`"),
                "name the folder of the contracts",
            );
        }
        Trouble::environment(
            "LS-K001",
            format!("git cannot be run: {error}"),
            "install git, or compare with `--against releases`, a folder or a file",
        )
    }

    fn broken(&self) -> Trouble {
        Trouble::environment(
            "LS-K006",
            "git cat-file ended early",
            "run `git fsck`; the object store may be damaged",
        )
    }

    fn absent(&self, blob: &Blob) -> Trouble {
        Trouble::environment(
            "LS-K005",
            format!("the content of `{}` is not in this clone", blob.path),
            format!(
                "run `git cat-file -e {0} || git fetch origin {0}`, or clone without `--filter`",
                blob.id
            ),
        )
    }
}

/// One entry of `ls-tree -z`: `<mode> blob <id>\t<path>`.
fn blob(entry: &[u8]) -> Option<Blob> {
    let text = std::str::from_utf8(entry).ok()?;
    let (head, path) = text.split_once('\t')?;
    let mut words = head.split(' ');
    let (mode, kind, id) = (words.next()?, words.next()?, words.next()?);
    (mode.starts_with("100") && kind == "blob").then(|| Blob {
        path: path.to_owned(),
        id: id.to_owned(),
    })
}

/// One answer of `cat-file --batch`: `<id> <kind> <size>`, the bytes, a line feed; `None` for a missing object.
fn answer(answers: &mut impl std::io::BufRead) -> std::io::Result<Option<Vec<u8>>> {
    let mut head = String::new();
    answers.read_line(&mut head)?;
    let mut words = head.trim_end().split(' ');
    let size = match (words.next(), words.next(), words.next()) {
        (Some(_), Some("missing"), None) => return Ok(None),
        (Some(_), Some(_), Some(size)) => size.parse::<usize>().ok(),
        _ => None,
    };
    let size = size.ok_or(std::io::ErrorKind::InvalidData)?;
    let mut bytes = vec![0; size];
    answers.read_exact(&mut bytes)?;
    answers.read_exact(&mut [0])?;
    Ok(Some(bytes))
}

fn failed(what: &str, said: &Output) -> Trouble {
    Trouble::environment(
        "LS-K006",
        format!("git {what} failed: {}", first_line(&said.stderr)),
        "run the same command by hand; git says more there",
    )
}

fn first_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.lines().next().unwrap_or_default().trim().to_owned()
}

fn is_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn absolute(folder: &Path) -> PathBuf {
    std::fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned())
}

/// A word as a shell takes it for one.
#[must_use]
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:=@%,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_git_is_said_with_what_works_without_it() {
        let trouble = Git::with_program("no-such-git-program", Path::new(".")).unwrap_err();
        assert_eq!(trouble.finding.code, "LS-K001");
        assert!(trouble.environment);
        assert!(trouble.finding.help.unwrap().contains("--against releases"));
    }

    #[test]
    fn only_plain_files_of_a_listing_count() {
        let id = "a".repeat(40);
        let plain = format!("100644 blob {id}\tschemas/a b.odcs.yaml");
        assert_eq!(
            blob(plain.as_bytes()).unwrap().path,
            "schemas/a b.odcs.yaml"
        );
        for other in [
            format!("120000 blob {id}\tlink"),
            format!("160000 commit {id}\tsubmodule"),
            "garbage".to_owned(),
        ] {
            assert_eq!(blob(other.as_bytes()), None);
        }
        assert_eq!(blob(&[0xff, b'\t', b'x']), None);
    }

    #[test]
    fn words_are_quoted_for_a_shell() {
        assert_eq!(quoted("origin/main"), "origin/main");
        assert_eq!(quoted("it's"), "'it'\\''s'");
        assert_eq!(quoted("a;b"), "'a;b'");
    }
}
