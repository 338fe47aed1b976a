//! Where the servers are on this machine.
//!
//! A finder answers nothing when its server is missing; whether that is a skip or a failure is for its caller.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Names the folder of installed tools, when it is not `tools` in cargo's target folder.
pub const TOOLS: &str = "LOCKSTEP_TOOLS";

/// Names the nats-server to use.
pub const NATS_SERVER: &str = "LOCKSTEP_NATS_SERVER";

/// Names the folder with the PostgreSQL binaries to use.
pub const POSTGRES_BIN: &str = "LOCKSTEP_POSTGRES_BIN";

/// Names a Python interpreter that can `import nats`.
pub const PYTHON: &str = "LOCKSTEP_PYTHON";

/// The oldest nats-server that Lockstep works with.
pub const NATS_MIN: (u32, u32) = (2, 15);

/// The folder that installed tools are looked for in.
#[must_use]
pub fn tools() -> Option<PathBuf> {
    if let Some(folder) = named(TOOLS) {
        return Some(folder);
    }
    // Cargo marks its target folder with this file, and every test and task runs from inside it.
    let program = env::current_exe().ok()?;
    let target = program
        .ancestors()
        .find(|folder| folder.join("CACHEDIR.TAG").is_file())?;
    Some(target.join("tools"))
}

/// A nats-server that is new enough: the named one, one on the path, or an installed one.
///
/// A named one counts alone: falling back to another would test something else than was asked for.
#[must_use]
pub fn nats_server() -> Option<PathBuf> {
    let candidates = match named(NATS_SERVER) {
        Some(program) => vec![program],
        None => {
            let installed = tools().map(|tools| tools.join("nats/bin/nats-server"));
            on_path("nats-server")
                .into_iter()
                .chain(installed)
                .collect()
        }
    };
    candidates
        .into_iter()
        .find(|program| nats_version(program).is_some_and(|version| version >= NATS_MIN))
}

/// The version of a nats-server, major and minor.
fn nats_version(program: &Path) -> Option<(u32, u32)> {
    let output = Command::new(program).arg("--version").output().ok()?;
    version_of(&String::from_utf8_lossy(&output.stdout))
}

/// Reads `nats-server: v2.15.1`.
fn version_of(text: &str) -> Option<(u32, u32)> {
    let (_, version) = text.trim().rsplit_once('v')?;
    let mut numbers = version.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// The folder of a PostgreSQL that has a server and psql.
#[must_use]
pub fn postgres_bin() -> Option<PathBuf> {
    if let Some(folder) = named(POSTGRES_BIN) {
        return is_postgres(&folder).then_some(folder);
    }
    let configured = Command::new("pg_config")
        .arg("--bindir")
        .output()
        .ok()
        .map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    let on_path = on_path("postgres").and_then(|program| Some(program.parent()?.to_owned()));
    configured
        .into_iter()
        .chain(debian())
        .chain(on_path)
        .find(|folder| is_postgres(folder))
}

/// The folders of Debian's packages, the newest version first.
fn debian() -> Vec<PathBuf> {
    let Ok(folders) = std::fs::read_dir("/usr/lib/postgresql") else {
        return Vec::new();
    };
    let mut versions: Vec<u32> = folders
        .filter_map(|folder| folder.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    versions.sort_unstable();
    let folder = |version| PathBuf::from(format!("/usr/lib/postgresql/{version}/bin"));
    versions.into_iter().rev().map(folder).collect()
}

fn is_postgres(folder: &Path) -> bool {
    ["initdb", "postgres", "psql"]
        .iter()
        .all(|name| folder.join(name).is_file())
}

/// A Python interpreter that can `import nats`: the named one, or the installed one.
#[must_use]
pub fn python() -> Option<PathBuf> {
    let candidate =
        named(PYTHON).or_else(|| tools().map(|tools| tools.join("python/bin/python")))?;
    let mut import = Command::new(&candidate);
    let imports = import.args(["-c", "import nats"]).output().ok()?;
    imports.status.success().then_some(candidate)
}

fn named(variable: &str) -> Option<PathBuf> {
    env::var_os(variable)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_the_server_says() {
        let table = [
            ("nats-server: v2.15.1\n", Some((2, 15))),
            ("nats-server: v2.9.10", Some((2, 9))),
            ("nats-server: v3.0.0-RC.1", Some((3, 0))),
            ("nats-server: v2", None),
            ("command not found", None),
            ("", None),
        ];
        for (text, version) in table {
            assert_eq!(version_of(text), version, "{text}");
        }
        assert!(Some((2, 9)) < Some(NATS_MIN) && Some((3, 0)) > Some(NATS_MIN));
    }
}
