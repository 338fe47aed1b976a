//! The conformance suite over real nats-servers: one to a test here, three that share their streams in [`cluster`].
//!
//! A test talks to its server through a [`proxy::Proxy`], which loses, delays and cuts.
//! [`trouble`] is about what goes wrong around a log, [`security`] about who may use it.

mod cluster;
mod keys;
mod large;
mod proxy;
mod security;
mod trouble;

use std::sync::Arc;
use std::time::Duration;

use lockstep::log::Log;
use lockstep::log::nats::{Nats, NatsOptions};
use lockstep_servers::nats::{Options, Server};

use crate::suite::{Fault, Fixture, conformance};
use proxy::Proxy;

/// How long these tests' logs wait for a connection and for an answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// A log on a server of its own.
pub(crate) struct OnServer {
    server: Server,
    proxy: Proxy,
    log: Arc<Nats>,
}

/// A server that takes the largest message and its headers.
fn options() -> Options {
    Options {
        // Only the machine's power is at stake, which no test cuts.
        sync_always: false,
        extra: "max_payload: 2MB".to_owned(),
        ..Options::default()
    }
}

/// How to reach a server.
fn at(url: String) -> NatsOptions {
    NatsOptions {
        servers: vec![url],
        patience: PATIENCE,
        ..NatsOptions::default()
    }
}

/// Whether there is a nats-server; says so if not.
fn is_there() -> bool {
    lockstep_servers::find::nats_server().is_some() || {
        lockstep_servers::skip("nats-server");
        false
    }
}

impl Fixture for OnServer {
    fn is_there() -> bool {
        is_there()
    }

    async fn fresh() -> Self {
        let server = Server::launch(&options()).unwrap();
        let proxy = Proxy::before(server.port()).await;
        let log = Nats::open(at(proxy.url())).await.unwrap();
        OnServer { server, proxy, log }
    }

    fn log(&self) -> Arc<dyn Log> {
        Arc::clone(&self.log) as Arc<dyn Log>
    }

    async fn reopened(mut self) -> Self {
        self.log.close().await;
        self.server.restart().unwrap();
        self.log = Nats::open(at(self.proxy.url())).await.unwrap();
        self
    }

    async fn killed(mut self) -> Self {
        self.server.kill().unwrap();
        self.server.restart().unwrap();
        self.log = Nats::open(at(self.proxy.url())).await.unwrap();
        self
    }

    /// The server writes them down a moment after it says that it has them.
    const ACKS_SURVIVE: bool = false;

    fn inject(&self, fault: Fault) -> bool {
        match fault {
            Fault::LoseAck => self.proxy.lose_next_answer(),
            // What cannot be sent is not stored.
            Fault::FailCommit => self.proxy.refuse_for(PATIENCE + PATIENCE / 4),
            Fault::FailFetch => self.proxy.cut(),
            Fault::SlowCommit(delay) => self.proxy.delay_answers(delay),
            // Only the server can deliver twice, and it does so in its own time; reads of last messages go to the leader.
            Fault::DoubleFetch | Fault::StaleRead => return false,
        }
        true
    }
}

conformance!(crate::nats::OnServer);
