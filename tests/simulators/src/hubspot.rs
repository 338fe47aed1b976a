//! A simulator of HubSpot's CRM: our own, written from the vendor's public documentation; not HubSpot.
//!
//! It knows objects (list, search, batches), properties, associations in the default way, refresh tokens and rate limits.
//! A search is behind by as much as one asks for, and ends at 10,000 records, as the vendor says.

mod answer;
mod store;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::response::Response;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use store::Record;
use store::Store;

/// The token that a new simulator takes.
pub const TOKEN: &str = "pat-eu1-test";
/// Most bytes of a request.
const BODY_MAX: usize = 16 << 20;

/// How a simulator behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// How far its search is behind.
    pub search_delay: Duration,
    /// How many calls it takes within the window.
    pub calls: Option<u32>,
    /// Over how long it counts calls: ten seconds, as HubSpot does, unless somebody is in a hurry.
    pub window: Duration,
    /// How many records a search gives at most.
    pub search_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            search_delay: Duration::ZERO,
            calls: None,
            window: Duration::from_secs(10),
            search_max: 10_000,
        }
    }
}

/// A running simulator; ended, and its records gone, when dropped.
#[derive(Debug)]
pub struct Simulator {
    address: SocketAddr,
    store: Shared,
    task: JoinHandle<()>,
}

type Shared = Arc<Mutex<Store>>;

impl Simulator {
    /// Starts one on a free port of 127.0.0.1.
    ///
    /// # Errors
    ///
    /// When it cannot listen.
    pub async fn start(options: Options) -> std::io::Result<Simulator> {
        Simulator::on(0, options).await
    }

    /// Starts one on a port of 127.0.0.1.
    ///
    /// # Errors
    ///
    /// When it cannot listen there.
    pub async fn on(port: u16, options: Options) -> std::io::Result<Simulator> {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let address = listener.local_addr()?;
        let store: Shared = Arc::new(Mutex::new(Store::new(options)));
        let app = Router::new()
            .fallback(handle)
            .with_state(Arc::clone(&store));
        let task = tokio::spawn(async move {
            // It ends with the task.
            let _ = axum::serve(listener, app).await;
        });
        Ok(Simulator {
            address,
            store,
            task,
        })
    }

    /// Where its API is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The records of an object that are not archived, by their ids.
    #[must_use]
    pub fn records(&self, object: &str) -> Vec<Record> {
        let store = self.store();
        store
            .records(object)
            .filter(|record| !record.archived)
            .cloned()
            .collect()
    }

    /// How often records were written so far.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.store().writes
    }

    /// Makes a property whose values are unique.
    pub fn unique(&self, object: &str, name: &str) {
        self.store().define(object, name, "string", true);
    }

    /// Makes an ordinary property of a type: `string`, `number`, `bool`, `date`, `datetime`.
    pub fn property(&self, object: &str, name: &str, kind: &str) {
        self.store().define(object, name, kind, false);
    }

    /// Makes or changes a record as a person does in the system; without an id, a new one. Gives the id.
    pub fn edit(&self, object: &str, id: Option<u64>, properties: &[(&str, &str)]) -> u64 {
        self.store().edit(object, id, properties)
    }

    /// Archives a record as a person does in the system.
    pub fn archive(&self, object: &str, id: u64) {
        self.store().archive(object, id);
    }

    /// Associates two records as a person does in the system.
    pub fn associate(&self, from: &str, id: u64, to: &str, other: u64) {
        let mut store = self.store();
        store
            .links
            .insert((from.to_owned(), id, to.to_owned(), other));
        store
            .links
            .insert((to.to_owned(), other, from.to_owned(), id));
    }

    /// The ids of the records that one is associated with.
    #[must_use]
    pub fn associated(&self, from: &str, id: u64, to: &str) -> Vec<String> {
        let store = self.store();
        let links = store
            .links
            .iter()
            .filter(|(a, one, b, _)| a == from && *one == id && b == to);
        links.map(|(.., other)| other.to_string()).collect()
    }

    /// Makes every access token worthless.
    pub fn expire_tokens(&self) {
        self.store().tokens.clear();
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn handle(State(store): State<Shared>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body: Bytes = match axum::body::to_bytes(body, BODY_MAX).await {
        Ok(body) => body,
        Err(_) => Bytes::new(),
    };
    let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
    answer::answer(&mut store, &head, &body)
}
