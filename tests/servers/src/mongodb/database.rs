//! A database of one's own in a server that is shared.

use std::env;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use anyhow::{Context, Result, ensure};

use super::wire;
use super::{Field, Options, Reply, SET, Server};
use crate::{find, random, skip};

/// Names the shared server by its port on 127.0.0.1. `cargo xtask test` starts one and sets it.
pub const SHARED: &str = "LOCKSTEP_TEST_MONGODB";

/// The private server of this process, where there is no shared one; it ends with its last database.
static PRIVATE: Mutex<Weak<Server>> = Mutex::new(Weak::new());

/// An empty database; dropped when this is.
#[derive(Debug)]
pub struct Database {
    name: String,
    port: u16,
    /// Keeps the private server alive.
    _server: Option<Arc<Server>>,
}

impl Database {
    /// A new database, or says that the test is skipped because there is no mongod.
    ///
    /// # Panics
    ///
    /// When mongod is there but does not start, and where nothing may be skipped.
    #[must_use]
    pub fn fresh() -> Option<Database> {
        if find::mongod().is_none() {
            skip("mongod");
            return None;
        }
        Some(Database::create().unwrap_or_else(|error| panic!("{error:#}")))
    }

    /// A new database in the shared server, or in a private one.
    ///
    /// # Errors
    ///
    /// When there is no mongod, or it does not start.
    pub fn create() -> Result<Database> {
        let (port, server) = match env::var(SHARED) {
            Ok(port) if !port.is_empty() => {
                let port = port
                    .parse()
                    .with_context(|| format!("{SHARED} is no port"))?;
                (port, None)
            }
            _ => {
                let server = private()?;
                (server.port(), Some(server))
            }
        };
        Ok(Database {
            name: format!("test_{}", random::hex()),
            port,
            _server: server,
        })
    }

    /// Its name: lower-case letters, digits and underscores.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where anybody connects to it.
    #[must_use]
    pub fn url(&self) -> String {
        format!(
            "mongodb://127.0.0.1:{}/{}?replicaSet={SET}",
            self.port, self.name
        )
    }
}

impl Database {
    /// Runs a command, its name first, on a connection of its own.
    ///
    /// # Errors
    ///
    /// When the server refuses it, or says that it did not write.
    pub fn command(&self, fields: &[(&str, Field)]) -> Result<Reply> {
        let reply = wire::command(self.port, &self.name, fields)?;
        ensure!(
            !reply.is_there("writeErrors"),
            "the server did not write everything"
        );
        Ok(reply)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // A server that ends takes its databases along, and one that is gone has none.
        let _ = wire::command(self.port, &self.name, &[("dropDatabase", Field::Int(1))]);
    }
}

fn private() -> Result<Arc<Server>> {
    let mut kept = PRIVATE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(server) = kept.upgrade() {
        return Ok(server);
    }
    let server = Arc::new(Server::launch(&Options::default())?);
    *kept = Arc::downgrade(&server);
    Ok(server)
}
