//! The mark on a sink's writes: a replication origin, by which a source on the same database leaves them out.
//!
//! One session at a time may use an origin, so there is one for each connection of a sink: `lockstep_<system>`, `lockstep_<system>_2` and so on.
//! A role that may not use origins writes without a mark, which `check` says.

use lockstep_core::Result;
use sqlx::postgres::PgConnection;

use crate::client::{failure, sqlstate};
use crate::config::own_name;

/// How many origins are tried beyond the number of connections: a session that was cut may hold its own a little longer.
const SPARE: usize = 4;

/// The origins of a sink's connections.
pub(crate) fn names(system: &str, connections: usize) -> Vec<String> {
    let base = own_name(system);
    let name = |number: usize| match number {
        1 => base.clone(),
        number => format!("{base}_{number}"),
    };
    (1..=connections + SPARE).map(name).collect()
}

/// Marks everything that this session will write, by the first origin that nobody else uses.
pub(crate) async fn mark(conn: &mut PgConnection, names: &[String]) -> Result<()> {
    let failed = |error| failure("cannot use a replication origin", error);
    for name in names {
        let created = sqlx::query(
            "SELECT pg_catalog.pg_replication_origin_create($1) WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_replication_origin WHERE roname = $1)",
        )
        .bind(name)
        .execute(&mut *conn)
        .await;
        match created {
            Ok(_) => {}
            // Another session made it in between.
            Err(error) if matches!(sqlstate(&error), Some("23505" | "42710")) => {}
            Err(error) if is_denied(&error) => return unmarked(&error),
            Err(error) => return Err(failed(error)),
        }
        let used = sqlx::query("SELECT pg_catalog.pg_replication_origin_session_setup($1)")
            .bind(name)
            .execute(&mut *conn)
            .await;
        match used {
            Ok(_) => return Ok(()),
            Err(error) if sqlstate(&error) == Some("55006") => {}
            Err(error) if is_denied(&error) => return unmarked(&error),
            Err(error) => return Err(failed(error)),
        }
    }
    if names.is_empty() {
        return Ok(());
    }
    tracing::warn!("every replication origin of this system is in use; these writes bear no mark");
    Ok(())
}

/// No permission, or the server keeps no room for another origin.
fn is_denied(error: &sqlx::Error) -> bool {
    matches!(sqlstate(error), Some("42501" | "53400" | "55000"))
}

fn unmarked(error: &sqlx::Error) -> Result<()> {
    tracing::debug!(%error, "no replication origin can be used; writes bear no mark");
    Ok(())
}

/// The functions that a role must be allowed to call to mark its writes.
pub(crate) const FUNCTIONS: [&str; 2] = [
    "pg_replication_origin_create(text)",
    "pg_replication_origin_session_setup(text)",
];
