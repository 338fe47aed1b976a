//! A ClickHouse server, for warehouses: Debian's of 2018, the oldest that Lockstep works with, or whatever is named.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::process::Supervised;
use crate::{find, http, port, random, skip};

/// How long a server may take until it is ready.
const READY_DEADLINE: Duration = Duration::from_secs(60);
/// How often a start is tried with another port when somebody else was quicker.
const STARTS: usize = 5;

/// A running server; killed, and its data removed, when dropped.
#[derive(Debug)]
pub struct Server {
    program: find::Clickhouse,
    process: Supervised,
    port: u16,
    password: String,
}

impl Server {
    /// Starts a server, or says that the test is skipped because there is no ClickHouse.
    ///
    /// # Panics
    ///
    /// When ClickHouse is there but does not start, and where nothing may be skipped.
    #[must_use]
    pub fn start() -> Option<Server> {
        if find::clickhouse().is_none() {
            skip("ClickHouse");
            return None;
        }
        Some(Server::launch().unwrap_or_else(|error| panic!("{error:#}")))
    }

    /// Makes and starts a server.
    ///
    /// # Errors
    ///
    /// When there is no ClickHouse, or it does not become ready.
    pub fn launch() -> Result<Server> {
        let mut server = Server {
            program: find::clickhouse().context("ClickHouse is not installed")?,
            process: Supervised::new("clickhouse", None)?,
            port: 0,
            password: random::hex(),
        };
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

    fn begin(&mut self) -> Result<()> {
        let config = self.configure()?;
        let mut command = Command::new(&self.program.server);
        if let Some(libraries) = &self.program.libraries {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        command.arg("--config-file").arg(config);
        self.process.start(&mut command)?;
        let port = self.port;
        self.process.until_ready(READY_DEADLINE, |_| {
            http::get(port, "/ping").is_ok_and(|answer| answer.body.starts_with("Ok"))
        })
    }

    /// A zone that is not UTC shows what reads instants as local time.
    fn configure(&self) -> Result<PathBuf> {
        let folder = self.process.folder();
        let at = folder.display();
        let config = folder.join("config.xml");
        let text = format!(
            "<yandex><logger><level>warning</level><console>1</console></logger>\
             <listen_host>127.0.0.1</listen_host><http_port>{}</http_port>\
             <path>{at}/data/</path><tmp_path>{at}/tmp/</tmp_path><users_config>{at}/users.xml</users_config>\
             <mark_cache_size>16777216</mark_cache_size><timezone>America/Sao_Paulo</timezone></yandex>",
            self.port
        );
        fs::write(&config, text)?;
        let users = format!(
            "<yandex><profiles><default/></profiles><quotas><default/></quotas><users><default>\
             <password>{}</password><networks><ip>127.0.0.1</ip></networks>\
             <profile>default</profile><quota>default</quota></default></users></yandex>",
            self.password
        );
        fs::write(folder.join("users.xml"), users)?;
        Ok(config)
    }

    /// Runs a statement, and gives what it answers, tab-separated.
    ///
    /// # Errors
    ///
    /// When the server cannot be asked, or refuses.
    pub fn sql(&self, statement: &str) -> Result<String> {
        let path = format!("/?user=default&password={}", self.password);
        let answer = http::post(self.port, &path, statement)?;
        anyhow::ensure!(answer.status == 200, "{statement}: {}", answer.body);
        Ok(answer.body)
    }

    /// Ends the server with SIGKILL.
    ///
    /// # Errors
    ///
    /// When it could not be killed.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Starts it again on the same port and data, after killing it where it still runs.
    ///
    /// # Errors
    ///
    /// When it does not become ready.
    pub fn restart(&mut self) -> Result<()> {
        self.process.kill()?;
        self.begin()
    }

    /// Where its HTTP interface is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The password of the user `default`.
    #[must_use]
    pub fn password(&self) -> &str {
        &self.password
    }

    /// Everything it has logged since its first start.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.said()
    }
}
