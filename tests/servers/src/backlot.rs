//! backlot, an emulator of what HubSpot's API can read, among others.
//!
//! It takes no writes, and its records come from files of lines of JSON; see `connectors/hubspot/README.md` for what it cannot show.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::process::Supervised;
use crate::{find, http, port, skip};

/// The token of somebody who may see every record.
pub const TOKEN: &str = "admin-service-token";

/// How long it may take until it is ready.
const READY_DEADLINE: Duration = Duration::from_secs(90);

/// A running backlot; killed, and its data removed, when dropped.
#[derive(Debug)]
pub struct Server {
    process: Supervised,
    port: u16,
}

impl Server {
    /// Starts one over the records of a file, or says that the test is skipped because it is not installed.
    ///
    /// # Panics
    ///
    /// When it is there but does not start, and where nothing may be skipped.
    #[must_use]
    pub fn start(corpus: &Path) -> Option<Server> {
        if find::backlot().is_none() {
            skip("backlot");
            return None;
        }
        Some(Server::launch(corpus).unwrap_or_else(|error| panic!("{error:#}")))
    }

    /// Starts one over the records of a file.
    ///
    /// # Errors
    ///
    /// When it is not installed, cannot read the file, or does not become ready.
    pub fn launch(corpus: &Path) -> Result<Server> {
        let program = find::backlot().context("backlot is not installed")?;
        let mut server = Server {
            process: Supervised::new("backlot", None)?,
            port: port::free()?,
        };
        let data = server.process.folder().join("data");
        let import = Command::new(&program)
            .arg("import")
            .arg(corpus)
            .arg("--data-dir")
            .arg(&data)
            .output()
            .context("cannot run backlot")?;
        ensure!(
            import.status.success(),
            "backlot does not read the corpus: {}",
            String::from_utf8_lossy(&import.stderr)
        );
        let mut command = Command::new(&program);
        command
            .arg("serve")
            .args(["--host", "127.0.0.1", "--disable-telemetry"])
            .args(["--port", &server.port.to_string()])
            .arg("--data-dir")
            .arg(&data);
        server.process.start(&mut command)?;
        let port = server.port;
        server
            .process
            .until_ready(READY_DEADLINE, |_| http::get(port, "/hubspot").is_ok())?;
        Ok(server)
    }

    /// Where its HubSpot is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hubspot", self.port)
    }

    /// Everything it has said since its start.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.said()
    }
}
