//! A stand-in of an OData 4 service: fe-mockserver-core, which serves any description and keeps what is written in memory.
//!
//! `connectors/odata/README.md` says what it cannot show.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::process::Supervised;
use crate::{find, http, port, skip};

/// How long one may take until it is ready.
const READY_DEADLINE: Duration = Duration::from_secs(60);
/// How often a start is tried with another port when somebody else was quicker.
const STARTS: usize = 5;

/// The package is a router; whoever uses it listens.
const SERVE: &str = "\
const [folder, metadata, port] = process.argv.slice(1);
const Mock = require(folder).default;
const mock = new Mock({ services: [{ urlPath: '/odata', metadataPath: metadata, mockdataPath: '/nonexistent', generateMockData: false }] });
mock.isReady.then(() => require('http').createServer((request, response) => {
  const end = (error) => { response.statusCode = error ? 500 : 404; response.end(); };
  mock.getRouter()(request, response, end);
}).listen(+port, '127.0.0.1'));
";

/// A running stand-in; killed when dropped, and its data with it.
#[derive(Debug)]
pub struct Server {
    process: Supervised,
    port: u16,
}

impl Server {
    /// Starts one that serves a description (EDMX), or says that the test is skipped because it is not installed.
    ///
    /// # Panics
    ///
    /// When it is there but does not start, and where nothing may be skipped.
    #[must_use]
    pub fn start(metadata: &Path) -> Option<Server> {
        if find::odata().is_none() {
            skip("fe-mockserver-core");
            return None;
        }
        Some(Server::launch(metadata).unwrap_or_else(|error| panic!("{error:#}")))
    }

    /// Starts one.
    ///
    /// # Errors
    ///
    /// When it is not installed, or does not become ready.
    pub fn launch(metadata: &Path) -> Result<Server> {
        let folder = find::odata().context("fe-mockserver-core is not installed")?;
        let mut server = Server {
            process: Supervised::new("fe-mockserver-core", None)?,
            port: 0,
        };
        for attempt in 1..=STARTS {
            server.port = port::free()?;
            let mut command = Command::new("node");
            command.args(["-e", SERVE, "--"]).arg(&folder).arg(metadata);
            server.process.start(command.arg(server.port.to_string()))?;
            let port = server.port;
            let ready = server.process.until_ready(READY_DEADLINE, |_| {
                http::get(port, "/odata/").is_ok_and(|answer| answer.status == 200)
            });
            let is_taken = server.process.said().contains("EADDRINUSE");
            match ready {
                Err(_) if attempt < STARTS && is_taken => {}
                ready => return ready.map(|()| server),
            }
        }
        Ok(server)
    }

    /// The root of its service.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/odata", self.port)
    }

    /// Everything it has said since its start.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.said()
    }
}
