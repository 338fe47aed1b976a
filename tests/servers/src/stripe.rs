//! Stand-ins of Stripe: localstripe, which knows invoices, subscriptions, events and webhooks, and stripe-stateful-mock, which knows prices and idempotency keys.
//!
//! Neither is Stripe; `connectors/stripe/README.md` says what they cannot show.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::process::Supervised;
use crate::{find, http, port, skip};

/// A key that both take.
pub const KEY: &str = "sk_test_lockstep";

/// How long one may take until it is ready.
const READY_DEADLINE: Duration = Duration::from_secs(60);
/// How often a start is tried with another port when somebody else was quicker.
const STARTS: usize = 5;

/// Its own command listens on every interface and keeps its data in a file that every instance shares; this does neither.
const LOCALSTRIPE: &str = "\
import sys
from aiohttp import web
from localstripe.resources import Store
Store.dump_to_disk = lambda self: None
from localstripe.server import app
web.run_app(app, host='127.0.0.1', port=int(sys.argv[1]))
";

/// Its own command listens on every interface.
const STATEFUL: &str = "\
const [folder, port] = process.argv.slice(1);
require('loglevel').setDefaultLevel('warn');
require(folder).createExpressApp().listen(+port, '127.0.0.1');
";

/// Which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// localstripe (PyPI).
    Local,
    /// stripe-stateful-mock (npm).
    Stateful,
}

/// A running stand-in; killed when dropped, and its data with it.
#[derive(Debug)]
pub struct Server {
    kind: Kind,
    process: Supervised,
    port: u16,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Local => "localstripe",
            Kind::Stateful => "stripe-stateful-mock",
        }
    }

    fn is_there(self) -> bool {
        match self {
            Kind::Local => find::localstripe().is_some(),
            Kind::Stateful => find::stripe_mock().is_some(),
        }
    }

    fn command(self, port: u16) -> Result<Command> {
        let port = port.to_string();
        let missing = || format!("{} is not installed", self.name());
        Ok(match self {
            Kind::Local => {
                let mut command = Command::new(find::localstripe().with_context(missing)?);
                command.args(["-c", LOCALSTRIPE, &port]);
                command
            }
            Kind::Stateful => {
                let folder = find::stripe_mock().with_context(missing)?;
                let modules = folder.parent().unwrap_or(Path::new("/"));
                let mut command = Command::new("node");
                command.env("NODE_PATH", modules);
                command.args(["-e", STATEFUL, "--"]).arg(&folder).arg(&port);
                command
            }
        })
    }
}

impl Server {
    /// Starts one, or says that the test is skipped because it is not installed.
    ///
    /// # Panics
    ///
    /// When it is there but does not start, and where nothing may be skipped.
    #[must_use]
    pub fn start(kind: Kind) -> Option<Server> {
        if !kind.is_there() {
            skip(kind.name());
            return None;
        }
        Some(Server::launch(kind).unwrap_or_else(|error| panic!("{error:#}")))
    }

    /// Starts one.
    ///
    /// # Errors
    ///
    /// When it is not installed, or does not become ready.
    pub fn launch(kind: Kind) -> Result<Server> {
        let mut server = Server {
            kind,
            process: Supervised::new(kind.name(), None)?,
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
        let port = self.port;
        self.process.start(&mut self.kind.command(port)?)?;
        self.process.until_ready(READY_DEADLINE, |_| {
            // Without a key, which is an answer too.
            http::get(port, "/v1/customers").is_ok()
        })
    }

    fn is_port_taken(&self) -> bool {
        let said = self.process.said().to_lowercase();
        said.contains("address already in use") || said.contains("eaddrinuse")
    }

    /// Where its API is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The port that it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Everything it has said since its start.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.said()
    }
}
