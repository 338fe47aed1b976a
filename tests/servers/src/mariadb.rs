//! A MariaDB server that writes a binary log of rows.
//!
//! [`Database`] is the cheap way, one database in a shared server; [`Server`] is a server of one's own, for kills and special settings.

mod database;

pub use database::{Database, SHARED};

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::certificates::Leaf;
use crate::process::{Supervised, User};
use crate::{find, port, random, skip};

/// The user who may do everything.
pub const SUPERUSER: &str = "root";

/// How long a server may take until it is ready; after a kill it replays its journal first.
const READY_DEADLINE: Duration = Duration::from_secs(60);

/// How often a start is tried with another port when somebody else was quicker.
const STARTS: usize = 5;

/// What every server is set to, unless the options say otherwise.
const SETTINGS: [&str; 14] = [
    "--bind-address=127.0.0.1",
    "--skip-name-resolve",
    "--log-bin=binlog",
    "--server-id=1",
    "--binlog-format=ROW",
    "--binlog-row-image=FULL",
    "--binlog-row-metadata=FULL",
    "--max-connections=400",
    "--innodb-buffer-pool-size=32M",
    "--innodb-log-file-size=24M",
    "--max-allowed-packet=64M",
    "--character-set-server=utf8mb4",
    "--default-time-zone=+03:00",
    "--performance-schema=OFF",
];

/// How a server is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether commits are synced to disk. Not needed to outlive SIGKILL, only to outlive the machine.
    pub fsync: bool,
    /// Arguments, after ours: the last one of a name counts.
    pub settings: Vec<String>,
    /// The certificate to serve TLS with; its authority is the one that client certificates have to come from.
    pub tls: Option<Leaf>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            fsync: true,
            settings: Vec::new(),
            tls: None,
        }
    }
}

/// A running server; killed, and its data removed, when dropped.
#[derive(Debug)]
pub struct Server {
    programs: find::Mariadb,
    user: Option<User>,
    process: Supervised,
    options: Options,
    port: u16,
    password: String,
}

impl Server {
    /// Starts a server, or says that the test is skipped because there is no MariaDB.
    ///
    /// # Panics
    ///
    /// When MariaDB is there but does not start, and where nothing may be skipped.
    #[must_use]
    pub fn start(options: &Options) -> Option<Server> {
        if find::mariadb().is_none() {
            skip("MariaDB");
            return None;
        }
        Some(Server::launch(options).unwrap_or_else(|error| panic!("{error:#}")))
    }

    /// Makes and starts a server.
    ///
    /// # Errors
    ///
    /// When there is no MariaDB, or it does not become ready.
    pub fn launch(options: &Options) -> Result<Server> {
        let user = User::instead_of_root()?;
        let mut server = Server {
            programs: find::mariadb().context("MariaDB is not installed")?,
            user,
            process: Supervised::new("mariadb", user)?,
            options: options.clone(),
            port: 0,
            password: random::hex(),
        };
        server.initialise()?;
        for attempt in 1..=STARTS {
            server.port = port::free()?;
            match server.begin() {
                Ok(()) => break,
                // Somebody else has taken the port since it was found free.
                Err(_) if attempt < STARTS && server.log().contains("Address already in use") => {}
                Err(error) => return Err(error),
            }
        }
        Ok(server)
    }

    /// Makes the data folder: the system tables by the server's own bootstrap mode, from the scripts that belong to it.
    fn initialise(&self) -> Result<()> {
        // Temporary tables of servers that start at the same time bear the same names.
        for folder in [self.data(), self.temporary()] {
            fs::create_dir(&folder)?;
            if let Some(user) = self.user {
                user.owns(&folder)?;
            }
        }
        let mut script = String::from("CREATE DATABASE mysql;\nUSE mysql;\n");
        // Release 11 renamed it.
        let names = ["mariadb", "mysql"].map(|brand| format!("{brand}_system_tables.sql"));
        let files = names.map(|name| self.programs.share.join(name));
        let file = files.iter().find(|file| file.exists());
        let file = file.context("MariaDB's scripts are missing")?;
        let text =
            fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        script.push_str(&text);
        script.push_str(&format!(
            "\nFLUSH PRIVILEGES;\nCREATE USER {SUPERUSER}@'%' IDENTIFIED BY '{}';\nGRANT ALL PRIVILEGES ON *.* TO {SUPERUSER}@'%' WITH GRANT OPTION;\n",
            self.password
        ));
        let mut command = self.command();
        command.args([
            "--bootstrap",
            "--skip-log-bin",
            "--loose-innodb-fast-shutdown=2",
        ]);
        let said = fed(&mut command, &script)?;
        if !said.status.success() {
            bail!(
                "mariadbd --bootstrap failed: {}",
                String::from_utf8_lossy(&said.stderr).trim()
            );
        }
        Ok(())
    }

    fn data(&self) -> PathBuf {
        self.process.folder().join("data")
    }

    fn temporary(&self) -> PathBuf {
        self.process.folder().join("tmp")
    }

    /// The server's program, set up for this server's folder.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.programs.server);
        command.current_dir("/").arg("--no-defaults");
        command.arg(format!("--datadir={}", self.data().display()));
        command.arg(format!("--tmpdir={}", self.temporary().display()));
        command.arg(format!(
            "--lc-messages-dir={}",
            self.programs.share.display()
        ));
        command.arg("--innodb-buffer-pool-size=32M");
        if let Some(user) = self.user {
            user.runs(&mut command);
        }
        command
    }

    fn begin(&mut self) -> Result<()> {
        let mut command = self.command();
        command.args(SETTINGS);
        command.arg(format!("--port={}", self.port));
        command.arg(format!(
            "--socket={}",
            self.process.folder().join("s").display()
        ));
        command.arg(format!(
            "--pid-file={}",
            self.process.folder().join("pid").display()
        ));
        if !self.options.fsync {
            command.args(["--innodb-flush-log-at-trx-commit=2", "--sync-binlog=0"]);
        }
        if let Some(leaf) = &self.options.tls {
            for (setting, name, from) in [
                ("ssl-cert", "server.pem", &leaf.certificate),
                ("ssl-key", "server.key", &leaf.key),
                ("ssl-ca", "authority.pem", &leaf.authority),
            ] {
                let file = self.process.folder().join(name);
                fs::copy(from, &file)?;
                if let Some(user) = self.user {
                    user.owns(&file)?;
                }
                command.arg(format!("--{setting}={}", file.display()));
            }
        }
        command.args(&self.options.settings);
        let begun = self.log().len();
        self.process.start(&mut command)?;
        let port = self.port;
        self.process.until_ready(READY_DEADLINE, |process| {
            // A log line says that it is ready; the port alone may be somebody else's.
            process
                .said()
                .get(begun..)
                .is_some_and(|said| said.contains("ready for connections"))
                && TcpStream::connect(("127.0.0.1", port)).is_ok()
        })
    }

    /// Ends the server with SIGKILL.
    ///
    /// # Errors
    ///
    /// When it could not be killed.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Ends it as an operator would.
    ///
    /// # Errors
    ///
    /// When it could not be stopped.
    pub fn stop(&mut self) -> Result<()> {
        self.process.stop("TERM")
    }

    /// Starts it again on the same port and data, after stopping it where it still runs, and waits until it is ready.
    ///
    /// # Errors
    ///
    /// When it does not become ready.
    pub fn restart(&mut self) -> Result<()> {
        self.stop()?;
        self.begin()
    }

    /// Freezes it, as a machine does that swaps: connections stay open and nobody answers.
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub fn freeze(&self) -> Result<()> {
        self.process.freeze()
    }

    /// Lets a frozen server go on.
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub fn thaw(&self) -> Result<()> {
        self.process.thaw()
    }

    /// Where a superuser connects to a database.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        self.url_as(SUPERUSER, &self.password, database)
    }

    /// Where somebody else connects to a database.
    #[must_use]
    pub fn url_as(&self, user: &str, password: &str, database: &str) -> String {
        format!(
            "mysql://{user}:{password}@127.0.0.1:{}/{database}",
            self.port
        )
    }

    /// The port that it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The server's process, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.pid()
    }

    /// Everything it has logged since its first start.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.said()
    }

    /// Runs statements as superuser and gives what they return: a line a row, tabs between columns.
    ///
    /// # Errors
    ///
    /// When a statement fails; those before it have been done.
    pub fn sql(&self, database: &str, text: &str) -> Result<String> {
        sql(&self.programs.client, &self.url(database), text)
    }
}

/// Runs statements through the command-line client.
fn sql(client: &Path, url: &str, text: &str) -> Result<String> {
    let parts = || {
        let (login, place) = url.strip_prefix("mysql://")?.split_once('@')?;
        let (user, password) = login.split_once(':')?;
        let (address, database) = place.split_once('/')?;
        let (host, port) = address.split_once(':')?;
        Some((user, password, host, port, database))
    };
    let (user, password, host, port, database) =
        parts().context("the address of the database cannot be read")?;
    let mut command = Command::new(client);
    command
        .args([
            "--no-defaults",
            "--batch",
            "--skip-column-names",
            "--raw",
            "--default-character-set=utf8mb4",
            "--skip-ssl",
            "--protocol=tcp",
        ])
        .args(["-h", host, "-P", port, "-u", user, "-D", database])
        .env("MYSQL_PWD", password)
        .current_dir("/");
    let output = fed(&mut command, text)?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let answer = String::from_utf8(output.stdout).context("the client answered in no text")?;
    Ok(answer.trim_end_matches('\n').to_owned())
}

/// Runs a program that reads `text`.
fn fed(command: &mut Command, text: &str) -> Result<std::process::Output> {
    use std::io::Write as _;

    let name = command.get_program().display().to_string();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {name}"))?;
    let mut stdin = child
        .stdin
        .take()
        .with_context(|| format!("{name} has no input"))?;
    let text = text.to_owned();
    // Written beside the reading: a long script and a long answer would wait for each other.
    let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
    let output = child.wait_with_output()?;
    let written = writer.join();
    if let Ok(written) = written
        && output.status.success()
    {
        written.with_context(|| format!("{name} did not read its statements"))?;
    }
    Ok(output)
}
