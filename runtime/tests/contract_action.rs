//! The GitHub Action and the pre-commit hooks, as far as they can be run without their services.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value as Json;

const CONTRACT: &str = "apiVersion: v3.1.0
kind: DataContract
id: acme-customer
version: 1.0.0
status: active
schema:
  - name: customer
    customProperties:
      - {property: lockstep.owner, value: crm}
    properties:
      - {name: id, logicalType: string, primaryKey: true, required: true}
      - {name: email, logicalType: string, required: true}
";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn yaml(path: &str) -> Json {
    serde_saphyr::from_str(&std::fs::read_to_string(root().join(path)).unwrap()).unwrap()
}

/// Runs a script of the action as GitHub would.
fn script(name: &str, args: &[&str], folder: &Path, set: &[(&str, &str)]) -> Output {
    let action = root().join(".github/actions/contracts");
    let mut command = Command::new(action.join(name));
    command.args(args).current_dir(folder);
    for name in [
        "LOCKSTEP_CONFIG",
        "GITHUB_BASE_REF",
        "GIT_DIR",
        "CI_MERGE_REQUEST_DIFF_BASE_SHA",
    ] {
        command.env_remove(name);
    }
    command
        .env("ACTION_PATH", &action)
        .env("GITHUB_ACTIONS", "true")
        .env("LOCKSTEP", env!("CARGO_BIN_EXE_lockstep"));
    command
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GITHUB_STEP_SUMMARY", folder.join("summary.md"));
    command.env("GITHUB_OUTPUT", folder.join("output"));
    command.envs(set.iter().copied()).output().unwrap()
}

fn git(folder: &Path, args: &[&str]) {
    let mut command = Command::new("git");
    command
        .args(["-c", "user.name=x", "-c", "user.email=x@example.com"])
        .args(args)
        .current_dir(folder);
    let output = command
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn every_step_has_its_script_and_every_variable_of_a_script_its_input() {
    let action = yaml(".github/actions/contracts/action.yml");
    assert_eq!(action["runs"]["using"], "composite");
    let inputs: BTreeSet<&String> = action["inputs"].as_object().unwrap().keys().collect();
    for step in action["runs"]["steps"].as_array().unwrap() {
        assert_eq!(step["shell"], "bash");
        let run = step["run"].as_str().unwrap();
        let name = run
            .strip_prefix("\"$ACTION_PATH/")
            .and_then(|rest| rest.split('"').next())
            .unwrap();
        let path = root().join(".github/actions/contracts").join(name);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o111 != 0,
            "{name} can be run"
        );
        let set = step["env"].as_object().unwrap();
        for (variable, value) in set {
            let read = variable == "ACTION_PATH" || text.contains(variable.as_str());
            assert!(read, "{name} reads {variable}");
            let input = value
                .as_str()
                .unwrap()
                .strip_prefix("${{ inputs.")
                .and_then(|rest| rest.strip_suffix(" }}"));
            assert!(
                input.is_none_or(|input| inputs.contains(&input.to_owned())),
                "{value}"
            );
        }
        // Inputs reach a script through its environment alone: no text of a change is ever part of a command.
        assert!(!run.contains("${{"), "{run}");
        if !name.starts_with("run") || run.ends_with("breaking") {
            for word in text
                .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                .filter(|word| word.starts_with("INPUT_"))
            {
                assert!(set.contains_key(word), "{name} is given {word}");
            }
        }
    }
}

#[test]
fn the_action_fetches_the_base_and_marks_the_break() {
    if Command::new("git").arg("--version").output().is_err()
        || Command::new("bash").arg("--version").output().is_err()
    {
        lockstep_servers::skip("git or bash");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let work = folder.path().join("work");
    std::fs::create_dir_all(work.join("my contracts")).unwrap();
    let file = work.join("my contracts/customer.odcs.yaml");
    std::fs::write(&file, CONTRACT).unwrap();
    git(&work, &["init", "-q", "-b", "main"]);
    git(&work, &["add", "-A"]);
    git(&work, &["commit", "-q", "-m", "begin"]);
    git(&work, &["mv", "my contracts", "contracts"]);
    git(&work, &["commit", "-q", "-m", "move"]);
    git(&work, &["checkout", "-q", "-b", "feature"]);
    let file = work.join("contracts/customer.odcs.yaml");
    let broken: String = CONTRACT
        .lines()
        .filter(|line| !line.contains("email"))
        .map(|line| format!("{line}\n"))
        .collect();
    std::fs::write(&file, broken).unwrap();
    git(&work, &["commit", "-q", "-a", "-m", "break"]);
    let url = format!("file://{}", work.display());
    git(
        folder.path(),
        &[
            "clone", "-q", "--depth", "1", "--branch", "feature", &url, "clone",
        ],
    );
    let clone = folder.path().join("clone");

    let base = [("GITHUB_BASE_REF", "main")];
    assert!(script("fetch.sh", &[], &clone, &base).status.success());
    assert_eq!(
        script("run.sh", &["lint"], &clone, &base).status.code(),
        Some(0)
    );
    let inputs = [
        ("GITHUB_BASE_REF", "main"),
        ("INPUT_PATHS", "contracts"),
        ("INPUT_SARIF", "a.sarif"),
        ("INPUT_FAIL_ON", "error"),
    ];
    let output = script("run.sh", &["breaking"], &clone, &inputs);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        output.status.code(),
        Some(1),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        text.lines()
            .any(|line| line.starts_with("::error file=contracts/customer.odcs.yaml,line=")),
        "{text}"
    );
    let read = |path: &str| std::fs::read_to_string(clone.join(path)).unwrap();
    assert!(read("output").contains("sarif=./a.sarif\n"));
    assert!(read("summary.md").contains("breaking failed"));
    assert!(serde_json::from_str::<Json>(&read("a.sarif")).is_ok());
    // A push is compared with the releases; there are none yet.
    let output = script("run.sh", &["breaking"], &clone, &[]);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    // A binary that is named is taken.
    let named = [("INPUT_BINARY", env!("CARGO_BIN_EXE_lockstep"))];
    assert!(script("find.sh", &[], &clone, &named).status.success());
    assert!(read("output").contains(&format!("binary={}\n", env!("CARGO_BIN_EXE_lockstep"))));
}

#[test]
fn the_hooks_are_commands_that_exist() {
    let hooks = yaml(".pre-commit-hooks.yaml");
    for hook in hooks.as_array().unwrap() {
        let mut words = hook["entry"].as_str().unwrap().split(' ');
        assert_eq!(words.next(), Some("lockstep"));
        let words: Vec<&str> = words.take_while(|word| !word.starts_with('-')).collect();
        let help = Command::new(env!("CARGO_BIN_EXE_lockstep"))
            .args(words)
            .arg("--help")
            .output()
            .unwrap();
        assert!(help.status.success(), "{hook}");
    }
}
