//! The conformance suite over three servers that keep every stream threefold, one of them killed now and then.
//!
//! One cluster serves all promises, each in an account of its own; promises that kill a server have the cluster to themselves for that moment.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use lockstep::log::Log;
use lockstep::log::nats::{Nats, NatsOptions};
use lockstep_core::connector::Secret;
use lockstep_servers::nats::{Cluster, Options};
use tokio::sync::{Mutex, OwnedRwLockReadGuard, RwLock};

use crate::suite::{Fault, Fixture, Promise, promises};

/// More accounts than promises.
const ACCOUNTS: usize = 120;
/// Promises that run at a time.
const AT_ONCE: usize = 4;

struct Shared {
    cluster: Mutex<Cluster>,
    servers: Vec<String>,
    /// Held for reading by who relies on the cluster, for writing by who kills a server.
    peace: Arc<RwLock<()>>,
    accounts: AtomicUsize,
    kills: AtomicUsize,
}

static SHARED: OnceLock<Shared> = OnceLock::new();

/// A log in an account of its own.
struct OnCluster {
    account: usize,
    log: Arc<Nats>,
    _peace: OwnedRwLockReadGuard<()>,
}

fn shared() -> &'static Shared {
    SHARED.get_or_init(|| {
        let accounts = (0..ACCOUNTS).map(|n| {
            format!("a{n}: {{ jetstream: enabled, users: [ {{ user: a{n}, password: a{n} }} ] }}\n")
        });
        let accounts: String = accounts.collect();
        let options = Options {
            sync_always: false,
            extra: format!("max_payload: 2MB\naccounts {{\n{accounts}}}"),
            ..Options::default()
        };
        let cluster = Cluster::launch(&options).unwrap();
        Shared {
            servers: cluster.nodes().iter().map(|node| node.url()).collect(),
            cluster: Mutex::new(cluster),
            peace: Arc::default(),
            accounts: AtomicUsize::new(0),
            kills: AtomicUsize::new(0),
        }
    })
}

async fn open(account: usize) -> Arc<Nats> {
    let options = NatsOptions {
        servers: shared().servers.clone(),
        user: Some(format!("a{account}")),
        password: Some(Secret::new(format!("a{account}"))),
        replicas: 3,
        patience: Duration::from_secs(30),
        ..NatsOptions::default()
    };
    Nats::open(options).await.unwrap()
}

impl Fixture for OnCluster {
    async fn fresh() -> Self {
        let peace = Arc::clone(&shared().peace).read_owned().await;
        let account = shared().accounts.fetch_add(1, Ordering::Relaxed);
        let log = open(account).await;
        OnCluster {
            account,
            log,
            _peace: peace,
        }
    }

    fn log(&self) -> Arc<dyn Log> {
        Arc::clone(&self.log) as Arc<dyn Log>
    }

    async fn reopened(self) -> Self {
        self.log.close().await;
        let log = open(self.account).await;
        OnCluster { log, ..self }
    }

    async fn killed(self) -> Self {
        let account = self.account;
        let before = shared().kills.load(Ordering::SeqCst);
        drop(self);
        let alone = Arc::clone(&shared().peace).write_owned().await;
        // One death does for all who waited for one.
        if shared().kills.load(Ordering::SeqCst) == before {
            let mut cluster = shared().cluster.lock().await;
            let victim = before % shared().servers.len();
            cluster.node(victim).kill().unwrap();
            cluster.restart().unwrap();
            shared().kills.fetch_add(1, Ordering::SeqCst);
        }
        OnCluster {
            account,
            log: open(account).await,
            _peace: alone.downgrade(),
        }
    }

    const ACKS_SURVIVE: bool = false;
    const COPIES_LAG: bool = true;

    fn inject(&self, _fault: Fault) -> bool {
        // Faults of the connection do not depend on the number of servers.
        false
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_servers_keep_every_promise() {
    if !super::is_there() {
        return;
    }
    let all: Vec<Promise> = promises!(list, OnCluster);
    assert!(all.len() < ACCOUNTS);
    let outcomes = stream::iter(all).map(|(name, promise)| async move {
        let started = Instant::now();
        let outcome = tokio::spawn(promise()).await;
        (name, outcome, started.elapsed())
    });
    let outcomes: Vec<_> = outcomes.buffer_unordered(AT_ONCE).collect().await;
    let broken: Vec<String> = outcomes
        .into_iter()
        .filter_map(|(name, outcome, took)| {
            let panic = outcome.err()?.into_panic();
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or(panic.downcast_ref().copied()).unwrap_or_default();
            Some(format!("{name} after {took:?}: {text}"))
        })
        .collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
