//! A PostgreSQL cluster set up for logical replication.
//!
//! [`Database`] is the cheap way, one database in a shared cluster; [`Server`] is a cluster of one's own, for kills and special settings.

mod database;

pub use database::{Database, SHARED};

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::certificates::Leaf;
use crate::process::{Supervised, User};
use crate::{find, port, random, skip};

/// The superuser of every cluster.
pub const SUPERUSER: &str = "postgres";

/// How long a server may take until it is ready; after a kill it replays its journal first.
const READY_DEADLINE: Duration = Duration::from_secs(60);

/// How often a start is tried with another port when somebody else was quicker.
const STARTS: usize = 5;

/// What every cluster is set to, unless the options say otherwise.
const SETTINGS: &str = "\
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 300
shared_buffers = 64MB
wal_level = logical
max_replication_slots = 200
max_wal_senders = 200
log_timezone = 'UTC'
timezone = 'UTC'
";

/// How a cluster is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether commits are synced to disk. Not needed to outlive SIGKILL, only to outlive the machine.
    pub fsync: bool,
    /// Lines of `postgresql.conf`, after ours: the last one of a name counts.
    pub settings: Vec<String>,
    /// Lines of `pg_hba.conf`, before ours: the first one that fits counts.
    pub hba: Vec<String>,
    /// The certificate to serve TLS with; its authority is the one that client certificates have to come from.
    pub tls: Option<Leaf>,
    /// The port to listen on; a free one unless given.
    pub port: Option<u16>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            fsync: true,
            settings: Vec::new(),
            hba: Vec::new(),
            tls: None,
            port: None,
        }
    }
}

/// A running cluster; killed, and its data removed, when dropped.
#[derive(Debug)]
pub struct Server {
    bin: PathBuf,
    user: Option<User>,
    process: Supervised,
    port: u16,
    password: String,
}

impl Server {
    /// Starts a cluster, or says that the test is skipped because there is no PostgreSQL.
    ///
    /// # Panics
    ///
    /// When PostgreSQL is there but does not start, and where nothing may be skipped.
    #[must_use]
    pub fn start(options: &Options) -> Option<Server> {
        if find::postgres_bin().is_none() {
            skip("PostgreSQL");
            return None;
        }
        Some(Server::launch(options).unwrap_or_else(|error| panic!("{error:#}")))
    }

    /// Makes and starts a cluster.
    ///
    /// # Errors
    ///
    /// When there is no PostgreSQL, or it does not become ready.
    pub fn launch(options: &Options) -> Result<Server> {
        let user = User::instead_of_root()?;
        let mut server = Server {
            bin: find::postgres_bin().context("PostgreSQL is not installed")?,
            user,
            process: Supervised::new("postgres", user)?,
            port: 0,
            password: random::hex(),
        };
        server.initialise()?;
        for attempt in 1..=STARTS {
            server.port = match options.port {
                Some(port) => port,
                None => port::free()?,
            };
            server.configure(options)?;
            match server.begin() {
                Ok(()) => break,
                // Somebody else has taken the port since it was found free.
                Err(_)
                    if attempt < STARTS
                        && options.port.is_none()
                        && server.log().contains("Address already in use") => {}
                Err(error) => return Err(error),
            }
        }
        Ok(server)
    }

    /// Makes the data folder: half a second, so that no template has to be kept and copied.
    fn initialise(&self) -> Result<()> {
        let password = self.process.folder().join("password");
        self.write(&password, &self.password)?;
        let mut initdb = self.command("initdb");
        initdb.arg("-D").arg(self.data()).args([
            "--no-sync",
            "--no-instructions",
            "--encoding=UTF8",
            "--locale=C",
            "--auth=scram-sha-256",
        ]);
        initdb
            .args(["-U", SUPERUSER])
            .arg("--pwfile")
            .arg(&password);
        let output = initdb.output().context("cannot run initdb")?;
        if !output.status.success() {
            bail!(
                "initdb failed: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        fs::remove_file(&password)?;
        // Our settings stand in a file of their own, so that writing them again is writing one file.
        let main = self.data().join("postgresql.conf");
        let mut text = fs::read_to_string(&main)?;
        text.push_str("\ninclude 'lockstep.conf'\n");
        fs::write(&main, text)?;
        Ok(())
    }

    /// Writes settings and access rules; a running server takes note at its next start or [`Server::reload`].
    ///
    /// # Errors
    ///
    /// When a file cannot be written.
    pub fn configure(&self, options: &Options) -> Result<()> {
        let mut settings = format!("{SETTINGS}port = {}\n", self.port);
        if !options.fsync {
            settings.push_str("fsync = off\nfull_page_writes = off\n");
        }
        if let Some(leaf) = &options.tls {
            for (name, from) in [
                ("server.pem", &leaf.certificate),
                ("server.key", &leaf.key),
                ("authority.pem", &leaf.authority),
            ] {
                self.write(&self.data().join(name), &fs::read_to_string(from)?)?;
            }
            settings.push_str(
                "ssl = on\nssl_cert_file = 'server.pem'\nssl_key_file = 'server.key'\nssl_ca_file = 'authority.pem'\n",
            );
        }
        for line in &options.settings {
            settings.push_str(line);
            settings.push('\n');
        }
        self.write(&self.data().join("lockstep.conf"), &settings)?;
        let mut rules = options.hba.join("\n");
        rules.push_str(
            "\nhost all all 127.0.0.1/32 scram-sha-256\nhost replication all 127.0.0.1/32 scram-sha-256\n",
        );
        self.write(&self.data().join("pg_hba.conf"), &rules)
    }

    /// Writes a file that the server's user alone may read; PostgreSQL insists on that for keys.
    fn write(&self, path: &Path, text: &str) -> Result<()> {
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        match self.user {
            Some(user) => user.owns(path),
            None => Ok(()),
        }
    }

    fn data(&self) -> PathBuf {
        self.process.folder().join("data")
    }

    fn begin(&mut self) -> Result<()> {
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data());
        self.process.start(&mut command)?;
        let file = self.data().join("postmaster.pid");
        self.process.until_ready(READY_DEADLINE, |process| {
            let text = fs::read_to_string(&file).unwrap_or_default();
            is_ready(&text, process.pid())
        })
    }

    /// A command for one of PostgreSQL's programs, run as the user of the server.
    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.bin(name));
        command.current_dir("/").env("LC_ALL", "C");
        if let Some(user) = self.user {
            user.runs(&mut command);
        }
        command
    }

    /// The path of one of PostgreSQL's programs, such as `pg_recvlogical`; it need not exist.
    #[must_use]
    pub fn bin(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    /// Ends the server and all its backends with SIGKILL.
    ///
    /// # Errors
    ///
    /// When they could not be killed.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Ends it as an operator would, without waiting for its clients (a fast shutdown).
    ///
    /// # Errors
    ///
    /// When it could not be stopped.
    pub fn stop(&mut self) -> Result<()> {
        self.process.stop("INT")
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

    /// Lets the running server read its files again.
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub fn reload(&self) -> Result<()> {
        self.process.signal("HUP")
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
            "postgresql://{user}:{password}@127.0.0.1:{}/{database}",
            self.port
        )
    }

    /// The port that it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The password of [`SUPERUSER`].
    #[must_use]
    pub fn password(&self) -> &str {
        &self.password
    }

    /// The postmaster, while it runs; its backends are its children.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.pid()
    }

    /// Everything it has logged since its first start.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.said()
    }

    /// Runs statements through psql as superuser and gives what they return: a line a row, `|` between columns.
    ///
    /// The statements run one after another, each in a transaction of its own unless they say `BEGIN`.
    ///
    /// # Errors
    ///
    /// When a statement fails; those before it have been done.
    pub fn sql(&self, database: &str, text: &str) -> Result<String> {
        sql(&self.bin("psql"), &self.url(database), text)
    }
}

/// Runs statements through psql.
fn sql(psql: &Path, url: &str, text: &str) -> Result<String> {
    use std::io::Write as _;
    use std::process::Stdio;

    let mut child = Command::new(psql)
        .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", url])
        .env("PGCONNECT_TIMEOUT", "10")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run psql")?;
    let mut stdin = child.stdin.take().context("psql has no input")?;
    let text = text.to_owned();
    // Written beside the reading: a long script and a long answer would wait for each other.
    let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
    let output = child.wait_with_output()?;
    let written = writer.join();
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    if let Ok(written) = written {
        written.context("psql did not read its statements")?;
    }
    let answer = String::from_utf8(output.stdout).context("psql answered in no text")?;
    Ok(answer.trim_end_matches('\n').to_owned())
}

/// Whether `postmaster.pid` says that this very server takes connections: its eighth line is its state.
fn is_ready(file: &str, pid: Option<u32>) -> bool {
    let mut lines = file.lines();
    let first = lines.next().and_then(|line| line.trim().parse().ok());
    first.is_some() && first == pid && lines.nth(6).is_some_and(|line| line.trim() == "ready")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_servers_own_file_says_that_it_is_ready() {
        let file = "77\n/data\n1700000000\n5432\n\n127.0.0.1\n  123 456\nready   \n";
        assert!(is_ready(file, Some(77)));
        assert!(!is_ready(file, Some(78)));
        assert!(!is_ready(file, None));
        assert!(!is_ready(&file.replace("ready", "starting"), Some(77)));
        assert!(!is_ready("", Some(77)));
        assert!(!is_ready("77\n", None));
    }
}
