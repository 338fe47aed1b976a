//! A database of one's own in a server that is shared.

use std::env;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use anyhow::{Context, Result};

use super::{Options, Server, sql};
use crate::{find, random, skip};

/// Names the shared server: the address of a superuser. `cargo xtask test` starts one and sets it.
pub const SHARED: &str = "LOCKSTEP_TEST_MARIADB";

/// The private server of this process, where there is no shared one; it ends with its last database.
static PRIVATE: Mutex<Weak<Server>> = Mutex::new(Weak::new());

/// An empty database; dropped when this is, with the users whose names hold its own.
#[derive(Debug)]
pub struct Database {
    name: String,
    /// The superuser's address without the database.
    address: String,
    client: PathBuf,
    /// Keeps the private server alive.
    _server: Option<Arc<Server>>,
}

impl Database {
    /// A new database, or says that the test is skipped because there is no MariaDB.
    ///
    /// # Panics
    ///
    /// When MariaDB is there but no database can be made, and where nothing may be skipped.
    #[must_use]
    pub fn fresh() -> Option<Database> {
        if find::mariadb().is_none() {
            skip("MariaDB");
            return None;
        }
        Some(Database::create().unwrap_or_else(|error| panic!("{error:#}")))
    }

    /// A new database in the shared server, or in a private one.
    ///
    /// # Errors
    ///
    /// When there is no MariaDB, or the server refuses.
    pub fn create() -> Result<Database> {
        let client = find::mariadb().context("MariaDB is not installed")?.client;
        let (admin, server) = match env::var(SHARED) {
            Ok(url) if !url.is_empty() => (url, None),
            _ => {
                let server = private()?;
                (server.url("mysql"), Some(server))
            }
        };
        let (address, _) = admin
            .rsplit_once('/')
            .with_context(|| format!("{SHARED} is no address of a database"))?;
        let database = Database {
            name: format!("test_{}", random::hex()),
            address: address.to_owned(),
            client,
            _server: server,
        };
        database.admin(&format!("CREATE DATABASE {}", database.name))?;
        Ok(database)
    }

    /// Its name: lower-case letters, digits and underscores.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where a superuser connects to it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}/{}", self.address, self.name)
    }

    /// Where somebody else connects to it.
    #[must_use]
    pub fn url_as(&self, user: &str, password: &str) -> String {
        let host = self.address.rsplit_once('@').map_or("", |(_, host)| host);
        format!("mysql://{user}:{password}@{host}/{}", self.name)
    }

    /// Runs statements as superuser; see [`Server::sql`].
    ///
    /// # Errors
    ///
    /// When a statement fails; those before it have been done.
    pub fn sql(&self, text: &str) -> Result<String> {
        sql(&self.client, &self.url(), text)
    }

    fn admin(&self, text: &str) -> Result<String> {
        sql(&self.client, &format!("{}/mysql", self.address), text)
    }

    fn remove(&self) -> Result<()> {
        let name = &self.name;
        self.admin(&format!("DROP DATABASE {name}"))?;
        let users = self.admin(&format!(
            "SELECT CONCAT(QUOTE(user), '@', QUOTE(host)) FROM mysql.user WHERE LOCATE('{name}', user) > 0"
        ))?;
        for user in users.lines() {
            self.admin(&format!("DROP USER {user}"))?;
        }
        Ok(())
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // A server that ends takes its databases along, and one that is gone has none.
        let _ = self.remove();
    }
}

fn private() -> Result<Arc<Server>> {
    let mut kept = PRIVATE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(server) = kept.upgrade() {
        return Ok(server);
    }
    let options = Options {
        fsync: false,
        ..Options::default()
    };
    let server = Arc::new(Server::launch(&options)?);
    *kept = Arc::downgrade(&server);
    Ok(server)
}
