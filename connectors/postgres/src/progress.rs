//! How far each lane got, kept in the target beside its data.

use lockstep_core::connector::{Batch, LaneProgress};
use lockstep_core::{Error, Kind, Result};
use sqlx::postgres::PgConnection;

use crate::client::{failure, run, sqlstate};

/// Tells whether there are a progress table and its schema already: creating what exists asks for permissions that a writer need not have.
const EXISTS: &str = "SELECT pg_catalog.to_regclass('lockstep.progress') IS NOT NULL, pg_catalog.to_regnamespace('lockstep') IS NOT NULL";
/// Two writers that start at once create one after the other.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7237089327862154096)";
const CREATE_SCHEMA: &str = "CREATE SCHEMA lockstep";
/// Room is left in each page, so that a lane's step stays on it and touches no index.
const CREATE: &str = "CREATE TABLE IF NOT EXISTS lockstep.progress(flow text NOT NULL, lane text NOT NULL, seq bigint NOT NULL, position text, PRIMARY KEY (flow, lane)) WITH (fillfactor = 50)";

/// Makes the progress table where there is none, inside a transaction.
pub(crate) async fn prepare(conn: &mut PgConnection) -> Result<()> {
    let failed = |error| {
        let denied = sqlstate(&error) == Some("42501");
        let error = failure("cannot create the progress table", error);
        if denied {
            error.help(CREATE_HELP)
        } else {
            error
        }
    };
    if exists(conn).await.map_err(failed)?.0 {
        return Ok(());
    }
    run(&mut *conn, LOCK).await.map_err(failed)?;
    let (_, has_schema) = exists(conn).await.map_err(failed)?;
    if !has_schema {
        run(&mut *conn, CREATE_SCHEMA).await.map_err(failed)?;
    }
    run(conn, CREATE).await.map_err(failed)?;
    Ok(())
}

async fn exists(conn: &mut PgConnection) -> sqlx::Result<(bool, bool)> {
    sqlx::query_as(EXISTS).fetch_one(conn).await
}

/// What lets a role make the progress table.
pub(crate) const CREATE_HELP: &str =
    "run, as the database's owner: CREATE SCHEMA lockstep AUTHORIZATION <the role of `url`>";

/// How far each lane of a flow got.
pub(crate) async fn read(conn: &mut PgConnection, flow: &str) -> Result<Vec<LaneProgress>> {
    let failed = |error| failure("cannot read the lanes' progress", error);
    if !exists(conn).await.map_err(failed)?.0 {
        return Ok(Vec::new());
    }
    let lanes: Vec<(String, i64, Option<String>)> = sqlx::query_as(
        "SELECT lane, seq, position FROM lockstep.progress WHERE flow = $1 ORDER BY lane",
    )
    .bind(flow)
    .fetch_all(conn)
    .await
    .map_err(failed)?;
    let lane = |(lane, seq, position): (String, i64, Option<String>)| LaneProgress {
        lane,
        expected: seq.cast_unsigned(),
        reached: seq.cast_unsigned(),
        position: position.and_then(|text| text.parse().ok()),
    };
    Ok(lanes.into_iter().map(lane).collect())
}

/// Moves every lane that stands where the batch expects it, and names those that do not. A lane without a row stands at 0.
///
/// Two writers of one lane meet here: the second waits for the first to commit, and then finds the lane moved.
const ADVANCE: &str = "WITH step AS (
         SELECT * FROM unnest($2::text[], $3::int8[], $4::int8[], $5::text[]) AS s(lane, expected, reached, position) ORDER BY s.lane),
     moved AS (
         INSERT INTO lockstep.progress AS p (flow, lane, seq, position)
         SELECT $1, s.lane, s.reached, s.position FROM step s
         WHERE s.expected = 0 OR EXISTS (SELECT FROM lockstep.progress p WHERE p.flow = $1 AND p.lane = s.lane)
         ORDER BY s.lane
         ON CONFLICT (flow, lane) DO UPDATE SET seq = excluded.seq, position = excluded.position
         WHERE p.seq = (SELECT s.expected FROM step s WHERE s.lane = excluded.lane)
         RETURNING lane)
     SELECT s.lane, s.expected, coalesce(p.seq, 0) FROM step s LEFT JOIN lockstep.progress p ON p.flow = $1 AND p.lane = s.lane
     WHERE NOT EXISTS (SELECT FROM moved m WHERE m.lane = s.lane) ORDER BY s.lane LIMIT 1";

/// Compares every lane's progress with what the batch expects, and sets it.
pub(crate) async fn advance(conn: &mut PgConnection, batch: &Batch) -> Result<()> {
    if batch.progress.is_empty() {
        return Ok(());
    }
    let steps = batch.progress.iter();
    let lanes: Vec<&str> = steps.clone().map(|step| step.lane.as_str()).collect();
    let expected: Vec<i64> = steps
        .clone()
        .map(|step| step.expected.cast_signed())
        .collect();
    let reached: Vec<i64> = steps
        .clone()
        .map(|step| step.reached.cast_signed())
        .collect();
    let positions: Vec<Option<String>> = steps
        .map(|step| step.position.as_ref().map(ToString::to_string))
        .collect();
    let stale: Option<(String, i64, i64)> = sqlx::query_as(ADVANCE)
        .bind(&batch.flow)
        .bind(lanes)
        .bind(expected)
        .bind(reached)
        .bind(positions)
        .fetch_optional(conn)
        .await
        .map_err(|error| failure("cannot move the lanes' progress", error))?;
    match stale {
        None => Ok(()),
        Some((lane, expected, stored)) => Err(Error::new(
            Kind::Stopped,
            format!(
                "lane `{lane}` of flow `{}` stands at {} in the target, not at {}: another writer took over, or this batch is already applied",
                batch.flow,
                stored.cast_unsigned(),
                expected.cast_unsigned()
            ),
        )),
    }
}
