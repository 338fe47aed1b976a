//! Tryton on a database of its own: a copy of one that was made when Tryton was installed, with a company, accounts, fiscal years and a key for REST.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::process::Supervised;
use crate::{find, http, port, skip};

/// The database.
pub const DATABASE: &str = "erp";
/// The administrator.
pub const USER: &str = "admin";
/// The administrator's password.
pub const PASSWORD: &str = "lockstep-erp";
/// The key of the administrator's application for REST.
pub const REST_KEY: &str = "lockstep-rest-key";

/// How long a server may take until it is ready.
const READY_DEADLINE: Duration = Duration::from_secs(120);
/// How often a start is tried with another port when somebody else was quicker.
const STARTS: usize = 5;

/// A running server; killed, and its data removed, when dropped.
#[derive(Debug)]
pub struct Server {
    folder: PathBuf,
    process: Supervised,
    port: u16,
    settings: String,
}

impl Server {
    /// Starts a server, or says that the test is skipped because there is no Tryton.
    ///
    /// # Panics
    ///
    /// When Tryton is there but does not start, and where nothing may be skipped.
    #[must_use]
    pub fn start() -> Option<Server> {
        Server::start_with("")
    }

    /// Starts a server with more lines in its configuration, which begins in the section `web`.
    ///
    /// # Panics
    ///
    /// When Tryton is there but does not start, and where nothing may be skipped.
    #[must_use]
    pub fn start_with(settings: &str) -> Option<Server> {
        if find::tryton().is_none() {
            skip("Tryton");
            return None;
        }
        Some(Server::launch(settings).unwrap_or_else(|error| panic!("{error:#}")))
    }

    /// Starts a server on a copy of the installed database.
    ///
    /// # Errors
    ///
    /// When there is no Tryton, or it does not become ready.
    pub fn launch(settings: &str) -> Result<Server> {
        let mut server = Server {
            folder: find::tryton().context("Tryton is not installed")?,
            process: Supervised::new("tryton", None)?,
            port: 0,
            settings: settings.to_owned(),
        };
        let data = server.process.folder().join(format!("{DATABASE}.sqlite"));
        fs::copy(server.folder.join("seed/erp.sqlite"), data)
            .context("cannot copy the database")?;
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
        let folder = self.process.folder().to_owned();
        let file = folder.join("trytond.conf");
        let text = format!(
            "[database]\nuri = sqlite://\npath = {}\n[web]\nlisten = 127.0.0.1:{}\n{}\n",
            folder.display(),
            self.port,
            self.settings
        );
        fs::write(&file, text)?;
        let mut command = Command::new(self.folder.join("venv/bin/trytond"));
        command.arg("-c").arg(&file).args(["-d", DATABASE]);
        self.process.start(&mut command)?;
        let port = self.port;
        self.process.until_ready(READY_DEADLINE, |_| {
            let question = r#"{"id":1,"method":"common.server.version","params":[]}"#;
            http::post(port, "/rpc/", question).is_ok_and(|answer| answer.body.contains("result"))
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

    /// Starts it again on the same port and data, after killing it where it still runs.
    ///
    /// # Errors
    ///
    /// When it does not become ready.
    pub fn restart(&mut self) -> Result<()> {
        self.process.kill()?;
        self.begin()
    }

    /// Freezes it: connections stay open and nobody answers.
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

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Everything it has logged since its first start.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.said()
    }
}
