//! A repository of contracts in a folder of its own, and the binary run in it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value as Json;
use tempfile::TempDir;

pub const CUSTOMER: &str = "apiVersion: v3.1.0
kind: DataContract
id: acme-customer
version: 1.0.0
status: active
team:
  members:
    - {username: jane@example.com, role: owner}
    - {username: dora@example.com, role: dataProtection}
customProperties:
  - {property: lockstep.consumers, value: [billing]}
schema:
  - name: customer
    customProperties:
      - {property: lockstep.owner, value: crm}
    properties:
      # What identifies a customer.
      - {name: id, logicalType: string, primaryKey: true, required: true}
      - {name: name, logicalType: string, required: true}
      - {name: email, logicalType: string, required: true, classification: personal}
      - {name: note, logicalType: string}
";

pub const EMAIL: &str =
    "      - {name: email, logicalType: string, required: true, classification: personal}\n";

/// A work tree of its own, with nothing of the caller's Git settings.
pub struct Work {
    _folder: TempDir,
    pub path: PathBuf,
}

impl Work {
    /// A repository with one committed contract; nothing where Git is missing.
    pub fn new() -> Option<Work> {
        if Command::new("git").arg("--version").output().is_err() {
            lockstep_servers::skip("git");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("work");
        std::fs::create_dir(&path).unwrap();
        let work = Work {
            _folder: folder,
            path,
        };
        work.git(&["init", "-q", "-b", "main"]);
        work.write("contracts/customer/customer.odcs.yaml", CUSTOMER);
        work.commit("begin");
        Some(work)
    }

    pub fn at(&self, path: &str) -> PathBuf {
        self.path.join(path)
    }

    pub fn write(&self, path: &str, text: &str) {
        let path = self.at(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.at(path)).unwrap()
    }

    /// Changes the contract's text.
    pub fn edit(&self, from: &str, to: &str) {
        let file = "contracts/customer/customer.odcs.yaml";
        let text = self.read(file);
        assert!(text.contains(from), "{text}");
        self.write(file, &text.replace(from, to));
    }

    pub fn git(&self, args: &[&str]) -> String {
        git(&self.path, args)
    }

    pub fn commit(&self, message: &str) {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", message]);
    }

    pub fn run(&self, args: &[&str]) -> Output {
        lockstep(&self.path, args, &[])
    }

    /// Runs `breaking --json` and gives the exit code and the report.
    pub fn breaking(&self, args: &[&str]) -> (i32, Json) {
        breaking(&self.path, args, &[])
    }
}

pub fn git(folder: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .args(args)
        .current_dir(folder)
        .envs([
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_AUTHOR_NAME", "jane"),
            ("GIT_AUTHOR_EMAIL", "jane@example.com"),
            ("GIT_COMMITTER_NAME", "jane"),
            ("GIT_COMMITTER_EMAIL", "jane@example.com"),
        ])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git {args:?}: {said}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Runs the binary with nothing of the caller's environment that it reads.
pub fn lockstep(folder: &Path, args: &[&str], set: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockstep"));
    command.args(["contract"]).args(args).current_dir(folder);
    for name in [
        "LOCKSTEP_CONFIG",
        "LOCKSTEP_LOG",
        "CI",
        "GITHUB_ACTIONS",
        "GITHUB_BASE_REF",
        "GITHUB_STEP_SUMMARY",
        "GITLAB_CI",
        "CI_MERGE_REQUEST_DIFF_BASE_SHA",
        "CI_MERGE_REQUEST_TARGET_BRANCH_NAME",
        "GIT_DIR",
    ] {
        command.env_remove(name);
    }
    command
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1");
    command.envs(set.iter().copied()).output().unwrap()
}

pub fn breaking(folder: &Path, args: &[&str], set: &[(&str, &str)]) -> (i32, Json) {
    let output = lockstep(
        folder,
        &[&["breaking", "--format", "json"], args].concat(),
        set,
    );
    let text = String::from_utf8(output.stdout).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let json = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}{said}"));
    (output.status.code().unwrap(), json)
}

pub fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap() + &String::from_utf8_lossy(&output.stderr)
}

/// The rules of the errors of a report that nobody approved.
pub fn errors(report: &Json) -> Vec<&str> {
    let found = report["findings"].as_array().unwrap().iter();
    let found = found.filter(|item| item["severity"] == "error" && item.get("approved").is_none());
    found.map(|item| item["rule"].as_str().unwrap()).collect()
}

/// The finding that a required field was removed.
pub fn removed(report: &Json) -> &Json {
    let mut found = report["findings"].as_array().unwrap().iter();
    found
        .find(|item| item["pointer"] == "/fields/email" && item["severity"] == "error")
        .unwrap()
}
