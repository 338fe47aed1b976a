//! A simulator of Salesforce: our own, written from the vendor's public documentation; not Salesforce.
//!
//! It knows tokens (client credentials, JWT bearer without looking at the signature), descriptions, SOQL as far as Lockstep asks it, pages behind locators, collections, the recycle bin, the list of deletes, merges, and limits.
//! It is strict where the vendor is: what a field does not take, what a query may not say, ids that lead nowhere.
//! Faults are made by [`Simulator::fault`], or by `POST /simulator/fault` with `{"fault": "html", "path": "query", "skip": 0, "times": 1}`.

mod answer;
mod fault;
mod save;
mod soql;
mod store;
mod token;
mod write;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::response::Response;
use serde_json::Value as Json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use fault::Fault;
use store::Store;
pub use store::{Field, Record, full};

/// The consumer key that a new simulator takes.
pub const CLIENT_ID: &str = "3MVG9.test";
/// The consumer secret that belongs to it.
pub const CLIENT_SECRET: &str = "secret-test";
/// The user that the app may stand for.
pub const USER: &str = "lockstep@example.com";
/// Most bytes of a request.
const BODY_MAX: usize = 64 << 20;

/// How a simulator behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many records a page of a query holds.
    pub page: usize,
    /// How far its clock is ahead of this machine's, in seconds.
    pub ahead_s: i64,
    /// How many calls of a day it takes.
    pub calls: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            page: 2000,
            ahead_s: 0,
            calls: 1_000_000,
        }
    }
}

/// A running simulator; ended, and its records gone, when dropped.
#[derive(Debug)]
pub struct Simulator {
    login: SocketAddr,
    instance: SocketAddr,
    store: Shared,
    tasks: Vec<JoinHandle<()>>,
}

type Shared = Arc<Mutex<Store>>;

impl Simulator {
    /// Starts one on free ports of 127.0.0.1: one where tokens are given, and one where the API is.
    ///
    /// # Errors
    ///
    /// When it cannot listen.
    pub async fn start(options: Options) -> std::io::Result<Simulator> {
        let logins = TcpListener::bind("127.0.0.1:0").await?;
        let calls = TcpListener::bind("127.0.0.1:0").await?;
        let (login, instance) = (logins.local_addr()?, calls.local_addr()?);
        let store = Store::new(options, format!("http://{instance}"));
        let store: Shared = Arc::new(Mutex::new(store));
        let app = Router::new()
            .fallback(handle)
            .with_state(Arc::clone(&store));
        let tokens = Router::new()
            .route("/services/oauth2/token", axum::routing::post(handle))
            .with_state(Arc::clone(&store));
        let tasks = [(logins, tokens), (calls, app)].map(|(listener, app)| {
            tokio::spawn(async move {
                // It ends with the task.
                let _ = axum::serve(listener, app).await;
            })
        });
        Ok(Simulator {
            login,
            instance,
            store,
            tasks: tasks.into(),
        })
    }

    /// Where tokens are given; they say where the API is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.login)
    }

    /// Where the API is.
    #[must_use]
    pub fn instance_url(&self) -> String {
        format!("http://{}", self.instance)
    }

    /// Makes an object, or a field of one.
    pub fn field(&self, object: &str, field: Field) {
        self.store().define(object, field);
    }

    /// Takes a field away from whoever calls, as an administrator does.
    pub fn hide(&self, object: &str, field: &str) {
        self.store().hide(object, field);
    }

    /// Makes an object one whose deletes are not listed.
    pub fn unlist(&self, object: &str) {
        if let Some(object) = self.store().objects.get_mut(object) {
            object.is_listed = false;
        }
    }

    /// Makes or changes a record as a person does in the system; without an id, a new one. Gives the id.
    pub fn edit(&self, object: &str, id: Option<&str>, fields: &[(&str, Json)]) -> String {
        self.store().edit(object, id, fields)
    }

    /// Puts a record into the recycle bin.
    pub fn delete(&self, object: &str, id: &str) {
        self.store().delete(object, id, None);
    }

    /// Takes a record out of the recycle bin again.
    pub fn restore(&self, object: &str, id: &str) {
        self.store().restore(object, id);
    }

    /// Empties the recycle bin of a record.
    pub fn purge(&self, object: &str, id: &str) {
        self.store().purge(object, id);
    }

    /// Merges a record into another one.
    pub fn merge(&self, object: &str, loser: &str, master: &str) {
        self.store().delete(object, loser, Some(master));
    }

    /// Forgets deletes that are older than so many seconds.
    pub fn forget_deletes(&self, age_s: i64) {
        let mut store = self.store();
        let earliest = store.now() - age_s;
        for object in store.objects.values_mut() {
            object.earliest = earliest;
            object.deletes.retain(|(at, _)| *at >= earliest);
        }
    }

    /// The records of an object that are not deleted, by their ids.
    #[must_use]
    pub fn records(&self, object: &str) -> Vec<Record> {
        let store = self.store();
        let records = store.objects.get(object).map(|object| &object.records);
        let all = records.into_iter().flat_map(|records| records.values());
        all.filter(|record| !record.is_deleted).cloned().collect()
    }

    /// How often records were written so far.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.store().writes
    }

    /// How many calls there were whose path holds some words.
    #[must_use]
    pub fn calls(&self, words: &str) -> usize {
        let store = self.store();
        store
            .calls
            .iter()
            .filter(|path| path.contains(words))
            .count()
    }

    /// Records that hold this text in this field are not saved: a validation rule.
    pub fn forbid(&self, object: &str, field: &str, text: &str) {
        let rule = (object.to_owned(), field.to_owned(), text.to_owned());
        self.store().rules.push(rule);
    }

    /// Records that share this field with another one are not made, unless the call says so: a duplicate rule.
    pub fn warn_of_duplicates(&self, object: &str, field: &str) {
        let rule = (object.to_owned(), field.to_owned());
        self.store().duplicates.push(rule);
    }

    /// Something goes wrong with calls whose path holds some words: so many of them are skipped first, and so many go wrong.
    pub fn fault(&self, fault: Fault, path: &str, skip: u32, times: u32) {
        self.store().faults.add(fault, path, skip, times);
    }

    /// Deletes a record just before the next call whose path holds some words.
    pub fn delete_before(&self, path: &str, object: &str, id: &str) {
        let due = (path.to_owned(), object.to_owned(), id.to_owned(), true);
        self.store().meanwhile.push(due);
    }

    /// Changes a record, ten seconds later, just before the next call whose path holds some words.
    pub fn touch_before(&self, path: &str, object: &str, id: &str) {
        let due = (path.to_owned(), object.to_owned(), id.to_owned(), false);
        self.store().meanwhile.push(due);
    }

    /// Makes every token worthless.
    pub fn expire_tokens(&self) {
        self.store().tokens.clear();
    }

    /// Puts the clock ahead.
    pub fn pass(&self, seconds: i64) {
        self.store().options.ahead_s += seconds;
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
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
