//! A database of one's own in a cluster that is shared.

use std::env;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Options, Server, sql};
use crate::{find, random, skip, wait};

/// Names the shared cluster: the address of a superuser. `cargo xtask test` starts one and sets it.
pub const SHARED: &str = "LOCKSTEP_TEST_POSTGRES";

/// How long the last clients of a dropped database may take to end.
const DROP_DEADLINE: Duration = Duration::from_secs(10);

/// The private cluster of this process, where there is no shared one; it ends with its last database.
static PRIVATE: Mutex<Weak<Server>> = Mutex::new(Weak::new());

/// An empty database; dropped, together with its replication slots, when this is.
///
/// Roles and replication origins belong to the cluster, so a test that makes some puts [`Database::name`] into their names;
/// origins and roles with it in their names go with the database.
#[derive(Debug)]
pub struct Database {
    name: String,
    /// The superuser's address without the database.
    address: String,
    psql: PathBuf,
    /// Keeps the private cluster alive.
    _server: Option<Arc<Server>>,
}

impl Database {
    /// A new database, or says that the test is skipped because there is no PostgreSQL.
    ///
    /// # Panics
    ///
    /// When PostgreSQL is there but no database can be made, and where nothing may be skipped.
    #[must_use]
    pub fn fresh() -> Option<Database> {
        if find::postgres_bin().is_none() {
            skip("PostgreSQL");
            return None;
        }
        Some(Database::create().unwrap_or_else(|error| panic!("{error:#}")))
    }

    /// A new database in the shared cluster, or in a private one.
    ///
    /// # Errors
    ///
    /// When there is no PostgreSQL, or the cluster refuses.
    pub fn create() -> Result<Database> {
        let psql = find::postgres_bin()
            .context("PostgreSQL is not installed")?
            .join("psql");
        let (admin, server) = match env::var(SHARED) {
            Ok(url) if !url.is_empty() => (url, None),
            _ => {
                let server = private()?;
                (server.url("postgres"), Some(server))
            }
        };
        let address = without_database(&admin)
            .with_context(|| format!("{SHARED} is no address of a database"))?;
        let database = Database {
            name: format!("test_{}", random::hex()),
            address: address.to_owned(),
            psql,
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
        format!("postgresql://{user}:{password}@{host}/{}", self.name)
    }

    /// Runs statements through psql as superuser; see [`Server::sql`].
    ///
    /// # Errors
    ///
    /// When a statement fails; those before it have been done.
    pub fn sql(&self, text: &str) -> Result<String> {
        sql(&self.psql, &self.url(), text)
    }

    fn admin(&self, text: &str) -> Result<String> {
        sql(&self.psql, &format!("{}/postgres", self.address), text)
    }

    /// Ends whoever still reads from a slot of the database, then drops it with its slots, origins and roles.
    fn remove(&self) -> Result<()> {
        let name = &self.name;
        // Nobody new comes in, so that those who are ended do not come back.
        self.admin(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false"))?;
        wait::until(
            "the end of the database's walsenders",
            DROP_DEADLINE,
            || {
                let left = self.admin(&format!(
                "SELECT count(*) FROM (SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots \
                 WHERE database = '{name}' AND active) s"
            ))?;
                Ok((left == "0").then_some(()))
            },
        )?;
        self.admin(&format!("DROP DATABASE {name} WITH (FORCE)"))?;
        self.admin(&format!(
            "SELECT pg_replication_origin_drop(roname) FROM pg_replication_origin WHERE strpos(roname, '{name}') > 0;
             SELECT format('DROP ROLE %I', rolname) FROM pg_roles WHERE strpos(rolname, '{name}') > 0 \\gexec"
        ))?;
        Ok(())
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // A cluster that ends takes its databases along, and one that is gone has none.
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

/// An address up to the slash before the database.
fn without_database(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once("://")?;
    let end = rest.find('/').unwrap_or(rest.len());
    rest.contains('@')
        .then(|| &url[..scheme.len() + "://".len() + end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_cut_before_the_database() {
        let table = [
            (
                "postgresql://a:b@h:1/postgres",
                Some("postgresql://a:b@h:1"),
            ),
            ("postgresql://a:b@h:1", Some("postgresql://a:b@h:1")),
            ("postgresql://h/postgres", None),
            ("h:1/postgres", None),
        ];
        for (url, address) in table {
            assert_eq!(without_database(url), address, "{url}");
        }
    }
}
