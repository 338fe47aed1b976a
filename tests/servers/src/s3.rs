//! A stand-in of an S3-compatible store: moto's server, which keeps objects in memory and checks no signatures.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::process::Supervised;
use crate::{find, http, port, skip};

/// How long one may take until it is ready.
const READY_DEADLINE: Duration = Duration::from_secs(60);
/// How often a start is tried with another port when somebody else was quicker.
const STARTS: usize = 5;

/// A running store; killed when dropped, and its data with it.
#[derive(Debug)]
pub struct Server {
    process: Supervised,
    port: u16,
}

impl Server {
    /// Starts one, or says that the test is skipped because it is not installed.
    ///
    /// # Panics
    ///
    /// When it is there but does not start, and where nothing may be skipped.
    #[must_use]
    pub fn start() -> Option<Server> {
        if find::moto().is_none() {
            skip("moto");
            return None;
        }
        Some(Server::launch().unwrap_or_else(|error| panic!("{error:#}")))
    }

    /// Starts one.
    ///
    /// # Errors
    ///
    /// When it is not installed, or does not become ready.
    pub fn launch() -> Result<Server> {
        let mut server = Server {
            process: Supervised::new("moto", None)?,
            port: 0,
        };
        for attempt in 1..=STARTS {
            server.port = port::free()?;
            match server.begin() {
                Err(_) if attempt < STARTS && server.is_port_taken() => {}
                begun => return begun.map(|()| server),
            }
        }
        Ok(server)
    }

    fn begin(&mut self) -> Result<()> {
        let python = find::moto().context("moto is not installed")?;
        let port = self.port;
        let mut command = Command::new(python);
        command.args(["-m", "moto.server", "-H", "127.0.0.1", "-p"]);
        self.process.start(command.arg(port.to_string()))?;
        self.process
            .until_ready(READY_DEADLINE, |_| http::get(port, "/moto-api/").is_ok())
    }

    fn is_port_taken(&self) -> bool {
        let said = self.process.said().to_lowercase();
        said.contains("address already in use")
    }

    /// Makes a bucket.
    ///
    /// # Errors
    ///
    /// When the store does not answer, or refuses.
    pub fn make_bucket(&self, name: &str) -> Result<()> {
        let answer = http::put(self.port, &format!("/{name}"))?;
        ensure!(
            answer.status == 200,
            "the store refused to make bucket `{name}`: {}",
            answer.body
        );
        Ok(())
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The port that it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}
