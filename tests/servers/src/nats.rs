//! A nats-server with JetStream, alone or as a cluster of three.

mod cluster;

pub use cluster::Cluster;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::process::Supervised;
use crate::{find, http, port, random, skip, wait};

/// How long a server may take until it is ready.
const READY_DEADLINE: Duration = Duration::from_secs(30);

/// How often a start is tried with other ports when somebody else was quicker.
const STARTS: usize = 5;

/// How a server is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether every message is synced to disk before it is acknowledged (`sync_interval: always`).
    pub sync_always: bool,
    /// The most that streams on disk may hold together, in bytes.
    pub store_max: u64,
    /// The most that streams in memory may hold together, in bytes.
    pub memory_max: u64,
    /// More configuration, as it would stand in the server's file: accounts, authorization, tls, limits.
    pub extra: String,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            sync_always: true,
            store_max: 2 << 30,
            memory_max: 64 << 20,
            extra: String::new(),
        }
    }
}

/// A running nats-server; killed, and its data removed, when dropped.
#[derive(Debug)]
pub struct Server {
    program: PathBuf,
    process: Supervised,
    name: String,
    port: u16,
    monitor: u16,
    /// What a member of a cluster has in its configuration besides, with its ports.
    routes: Option<Routes>,
}

/// A member's place in its cluster.
#[derive(Clone, Debug)]
struct Routes {
    cluster: String,
    port: u16,
    all: Vec<u16>,
}

impl Server {
    /// Starts a server, or says that the test is skipped because there is none.
    ///
    /// # Panics
    ///
    /// When the server is there but does not start, and where nothing may be skipped.
    #[must_use]
    pub fn start(options: &Options) -> Option<Server> {
        if find::nats_server().is_none() {
            skip("nats-server");
            return None;
        }
        Some(Server::launch(options).unwrap_or_else(|error| panic!("{error:#}")))
    }

    /// Starts a server.
    ///
    /// # Errors
    ///
    /// When there is none, or it does not become ready.
    pub fn launch(options: &Options) -> Result<Server> {
        let mut tries = 1..=STARTS;
        loop {
            let _ = tries.next();
            let mut server = Server::prepare(options, port::free()?, None)?;
            match server.begin(Server::is_healthy) {
                Ok(()) => return Ok(server),
                // Somebody else has taken one of the ports since they were found free.
                Err(_) if server.log().contains("address already in use") && !tries.is_empty() => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// A server that does not run yet.
    fn prepare(options: &Options, port: u16, routes: Option<Routes>) -> Result<Server> {
        let program = find::nats_server().context("nats-server is not installed")?;
        let server = Server {
            program,
            process: Supervised::new("nats-server", None)?,
            name: format!("lockstep-{}", random::hex()),
            port,
            monitor: port::free()?,
            routes,
        };
        server.configure(options)?;
        Ok(server)
    }

    /// Writes the server's file; a running server takes note at its next start or [`Server::reload`].
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn configure(&self, options: &Options) -> Result<()> {
        let folder = self.process.folder();
        let sync = if options.sync_always { "always" } else { "2m" };
        let mut text = format!(
            "server_name: {}\nlisten: \"127.0.0.1:{}\"\nhttp: \"127.0.0.1:{}\"\n\
             jetstream {{ store_dir: \"{}\", max_file_store: {}, max_memory_store: {}, sync_interval: {sync} }}\n",
            self.name,
            self.port,
            self.monitor,
            folder.join("store").display(),
            options.store_max,
            options.memory_max,
        );
        if let Some(routes) = &self.routes {
            let all: Vec<String> = routes
                .all
                .iter()
                .map(|port| format!("\"nats://127.0.0.1:{port}\""))
                .collect();
            text.push_str(&format!(
                "cluster {{ name: {}, listen: \"127.0.0.1:{}\", routes: [{}] }}\n",
                routes.cluster,
                routes.port,
                all.join(", ")
            ));
        }
        text.push_str(&options.extra);
        text.push('\n');
        fs::write(self.file(), text).context("cannot write the server's configuration")
    }

    fn file(&self) -> PathBuf {
        self.process.folder().join("nats.conf")
    }

    fn begin(&mut self, ready: impl Fn(&Server) -> bool) -> Result<()> {
        let mut command = Command::new(&self.program);
        command.arg("-c").arg(self.file());
        self.process.start(&mut command)?;
        self.until_ready(ready)
    }

    fn until_ready(&mut self, ready: impl Fn(&Server) -> bool) -> Result<()> {
        let (name, monitor) = (self.name.clone(), self.monitor);
        // Somebody else may answer on a port that this server failed to get, so it has to say its name.
        self.process.until_ready(READY_DEADLINE, |_| {
            answers(monitor, "/varz", |body| body.contains(&name))
        })?;
        wait::until("a healthy nats-server", READY_DEADLINE, || {
            Ok(ready(self).then_some(()))
        })
        .with_context(|| format!("it said:\n{}", self.log()))
    }

    /// Whether it serves. Alone, it has read all of its streams by then, and one that it could not read is its clients' matter; a cluster's members also have to follow their leaders.
    fn is_healthy(&self) -> bool {
        let path = match self.routes {
            Some(_) => "/healthz",
            None => "/healthz?js-server-only=true",
        };
        answers(self.monitor, path, |_| true)
    }

    /// Ends it with SIGKILL.
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

    /// Starts it again on the same port and store, after stopping it where it still runs, and waits until it is ready.
    ///
    /// # Errors
    ///
    /// When it does not become ready.
    pub fn restart(&mut self) -> Result<()> {
        self.stop()?;
        self.begin(Server::is_healthy)
    }

    /// Lets the running server read its file again.
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub fn reload(&self) -> Result<()> {
        self.process.signal("HUP")
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

    /// The folder in which it keeps a stream of its only account.
    #[must_use]
    pub fn stream_folder(&self, stream: &str) -> PathBuf {
        let streams = self.process.folder().join("store/jetstream/$G/streams");
        streams.join(stream)
    }

    /// Where clients connect: `nats://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// The port that clients connect to.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where the server tells about itself: `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn monitor_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.monitor)
    }

    /// What the server answers on a path of its monitor, such as `/jsz?streams=true`.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub fn monitor(&self, path: &str) -> Result<String> {
        Ok(http::get(self.monitor, path)?.body)
    }

    /// The name it gave itself, which is also its name among the peers of a stream.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.pid()
    }

    /// Everything it has logged since its first start.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.said()
    }
}

fn answers(monitor: u16, path: &str, fits: impl Fn(&str) -> bool) -> bool {
    http::get(monitor, path).is_ok_and(|answer| answer.status == 200 && fits(&answer.body))
}
