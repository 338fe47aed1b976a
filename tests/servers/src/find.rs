//! Where the servers are on this machine.
//!
//! A finder answers nothing when its server is missing; whether that is a skip or a failure is for its caller.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Names the folder of installed tools, when it is not `tools` in cargo's target folder.
pub const TOOLS: &str = "LOCKSTEP_TOOLS";

/// Names the nats-server to use.
pub const NATS_SERVER: &str = "LOCKSTEP_NATS_SERVER";

/// Names the folder with the PostgreSQL binaries to use.
pub const POSTGRES_BIN: &str = "LOCKSTEP_POSTGRES_BIN";

/// Names the mongod to use.
pub const MONGOD: &str = "LOCKSTEP_MONGOD";

/// Names the folder with the MariaDB binaries to use: the unpacked package's `usr`, or a folder that holds the programs.
pub const MARIADB_BIN: &str = "LOCKSTEP_MARIADB_BIN";

/// Names the clickhouse-server to use.
pub const CLICKHOUSE: &str = "LOCKSTEP_CLICKHOUSE";

/// Names a Python interpreter that can `import nats`.
pub const PYTHON: &str = "LOCKSTEP_PYTHON";

/// Names a Python interpreter that can `import localstripe`.
pub const LOCALSTRIPE: &str = "LOCKSTEP_LOCALSTRIPE";

/// Names a Python interpreter that can `import moto`.
pub const MOTO: &str = "LOCKSTEP_MOTO";

/// Names a Python interpreter that can `import duckdb`.
pub const DUCKDB: &str = "LOCKSTEP_DUCKDB";

/// Names the folder of the npm package stripe-stateful-mock.
pub const STRIPE_MOCK: &str = "LOCKSTEP_STRIPE_MOCK";

/// Names the folder of the npm package @sap-ux/fe-mockserver-core.
pub const ODATA: &str = "LOCKSTEP_ODATA";

/// Names the program backlot.
pub const BACKLOT: &str = "LOCKSTEP_BACKLOT";
/// Names the folder of an installed Tryton: a `venv` and, in `seed`, a database to begin with.
pub const TRYTON: &str = "LOCKSTEP_TRYTON";

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

/// A mongod that runs here: the named one, one on the path, or an installed one.
#[must_use]
pub fn mongod() -> Option<PathBuf> {
    let candidates = match named(MONGOD) {
        Some(program) => vec![program],
        None => {
            let installed = tools().map(|tools| tools.join("mongodb/fiftyone/db/bin/mongod"));
            on_path("mongod").into_iter().chain(installed).collect()
        }
    };
    // One that lacks a library of the system is there, but does not run.
    let runs = |program: &PathBuf| {
        let version = Command::new(program).arg("--version").output();
        version.is_ok_and(|output| output.status.success())
    };
    candidates.into_iter().find(runs)
}

/// A server of packages that were unpacked and not installed, with the libraries beside it.
fn unpacked(server: PathBuf) -> Option<Clickhouse> {
    let root = server.ancestors().nth(3)?;
    let places = ["usr/lib", "lib"].map(|lib| {
        let machine = format!("{}-linux-gnu", env::consts::ARCH);
        root.join(lib).join(machine)
    });
    Some(Clickhouse {
        libraries: Some(env::join_paths(places).ok()?),
        server,
    })
}

/// Where a MariaDB has its programs and its scripts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mariadb {
    /// The server.
    pub server: PathBuf,
    /// The command-line client.
    pub client: PathBuf,
    /// The folder of the scripts that make system tables.
    pub share: PathBuf,
}

/// A MariaDB that has a server, a client and its scripts.
#[must_use]
pub fn mariadb() -> Option<Mariadb> {
    if let Some(folder) = named(MARIADB_BIN) {
        return mariadb_below(&folder);
    }
    let unpacked = tools().map(|tools| tools.join("mariadb/usr"));
    let on_path =
        on_path("mariadbd").and_then(|program| Some(program.parent()?.parent()?.to_owned()));
    on_path
        .into_iter()
        .chain([PathBuf::from("/usr"), PathBuf::from("/usr/local")])
        .chain(unpacked)
        .find_map(|folder| mariadb_below(&folder))
}

/// Looks below a folder as packages lay theirs out; `folder` may also be the one that holds the programs.
fn mariadb_below(folder: &Path) -> Option<Mariadb> {
    let roots = [Some(folder), folder.parent()];
    let first = |names: &[&str]| {
        let below = roots
            .into_iter()
            .flatten()
            .flat_map(|root| names.iter().map(move |name| root.join(name)));
        below.into_iter().find(|path| path.exists())
    };
    let scripts = [
        "share/mysql/mysql_system_tables.sql",
        "share/mysql/mariadb_system_tables.sql",
        "share/mariadb/mariadb_system_tables.sql",
        "share/mariadb_system_tables.sql",
    ];
    Some(Mariadb {
        server: first(&["sbin/mariadbd", "bin/mariadbd", "mariadbd"])?,
        client: first(&["bin/mariadb", "mariadb"])?,
        share: first(&scripts)?.parent()?.to_owned(),
    })
}

/// A ClickHouse server, and where its libraries are when it was only unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clickhouse {
    /// The server.
    pub server: PathBuf,
    /// What the loader has to be told.
    pub libraries: Option<OsString>,
}

/// A ClickHouse server that runs here: the named one, one on the path, or an installed one.
#[must_use]
pub fn clickhouse() -> Option<Clickhouse> {
    let plain = |server| Clickhouse {
        server,
        libraries: None,
    };
    let candidates: Vec<Clickhouse> = match named(CLICKHOUSE) {
        // A named one may be an unpacked one, too.
        Some(program) => [Some(plain(program.clone())), unpacked(program)]
            .into_iter()
            .flatten()
            .collect(),
        None => {
            let installed =
                |tools: PathBuf| unpacked(tools.join("clickhouse/usr/sbin/clickhouse-server"));
            let unpacked = tools().and_then(installed);
            let on_path = on_path("clickhouse-server").map(plain);
            on_path.into_iter().chain(unpacked).collect()
        }
    };
    let runs = |found: &Clickhouse| {
        let mut version = Command::new(&found.server);
        if let Some(libraries) = &found.libraries {
            version.env("LD_LIBRARY_PATH", libraries);
        }
        // The oldest servers know no `--version` and say so; 127 is the loader's word for a missing library.
        let output = version.arg("--version").output();
        output.is_ok_and(|output| output.status.code() != Some(127))
    };
    candidates.into_iter().find(runs)
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

/// A Python interpreter that can `import localstripe`: the named one, or the installed one.
#[must_use]
pub fn localstripe() -> Option<PathBuf> {
    named(LOCALSTRIPE)
        .or_else(|| tools().map(|tools| tools.join("localstripe/bin/python")))
        // The package's own program is the last thing that is installed.
        .filter(|python| python.with_file_name("localstripe").is_file())
}

/// The Python interpreter of an environment with moto: the named one, or the installed one.
#[must_use]
pub fn moto() -> Option<PathBuf> {
    named(MOTO)
        .or_else(|| tools().map(|tools| tools.join("moto/bin/python")))
        .filter(|python| python.with_file_name("moto_server").is_file())
}

/// The Python interpreter of an environment with DuckDB: the named one, or the installed one.
#[must_use]
pub fn duckdb() -> Option<PathBuf> {
    named(DUCKDB)
        .or_else(|| tools().map(|tools| tools.join("duckdb/bin/python")))
        .filter(|python| {
            let import = Command::new(python).args(["-c", "import duckdb"]).output();
            import.is_ok_and(|output| output.status.success())
        })
}

/// The folder of stripe-stateful-mock, where node is there to run it: the named one, or the installed one.
#[must_use]
pub fn stripe_mock() -> Option<PathBuf> {
    on_path("node")?;
    named(STRIPE_MOCK)
        .or_else(|| {
            let tools = tools()?;
            Some(tools.join("stripe-stateful-mock/node_modules/stripe-stateful-mock"))
        })
        .filter(|folder| folder.join("package.json").is_file())
}

/// The folder of fe-mockserver-core, where node is there to run it: the named one, or the installed one.
#[must_use]
pub fn odata() -> Option<PathBuf> {
    on_path("node")?;
    named(ODATA)
        .or_else(|| Some(tools()?.join("odata/node_modules/@sap-ux/fe-mockserver-core")))
        .filter(|folder| folder.join("package.json").is_file())
}

/// The program backlot: the named one, or the installed one.
#[must_use]
pub fn backlot() -> Option<PathBuf> {
    named(BACKLOT)
        .or_else(|| tools().map(|tools| tools.join("backlot/bin/backlot")))
        .filter(|program| program.is_file())
}

/// The folder of an installed Tryton: the named one, or the one among the tools.
#[must_use]
pub fn tryton() -> Option<PathBuf> {
    let folder = named(TRYTON).or_else(|| tools().map(|tools| tools.join("tryton")))?;
    let is_there = |file: &str| folder.join(file).is_file();
    (is_there("venv/bin/trytond") && is_there("seed/erp.sqlite")).then_some(folder)
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
