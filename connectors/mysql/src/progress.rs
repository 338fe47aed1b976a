//! How far each lane got, kept in the target database beside its data.
//!
//! The row is written first in every transaction of a sink, so that a source that reads the same server's log knows from the first event on whose transaction it is.

use lockstep_core::connector::{Batch, LaneProgress};
use lockstep_core::{Error, Kind, Result};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use crate::client::{code, failure, texts};
use crate::names::literal;

/// The table's name, in every database that is written to.
pub(crate) const TABLE: &str = "lockstep_progress";
/// Each step counts, so that even one that changes nothing else stands in the log.
const CREATE: &str = "CREATE TABLE IF NOT EXISTS lockstep_progress(flow varbinary(500) NOT NULL, lane varbinary(250) NOT NULL, seq bigint unsigned NOT NULL, steps bigint unsigned NOT NULL DEFAULT 0, position longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin, PRIMARY KEY (flow, lane)) ENGINE = InnoDB";
/// The lane of transactions that belong to none.
const NO_LANE: &str = "";

/// What lets a user make the progress table.
pub(crate) const CREATE_HELP: &str = "run: GRANT CREATE, SELECT, INSERT, UPDATE ON <the database>.lockstep_progress TO <the user of `url`>";

/// Makes the progress table where there is none.
pub(crate) async fn prepare(conn: &mut Conn) -> Result<()> {
    if exists(conn).await? {
        return Ok(());
    }
    conn.query_drop(CREATE).await.map_err(|error| {
        let error = failure("cannot create the progress table", error);
        if error.kind() == Kind::Unauthorized {
            error.help(CREATE_HELP)
        } else {
            error
        }
    })
}

/// Whether there is a progress table.
pub(crate) async fn exists(conn: &mut Conn) -> Result<bool> {
    match conn
        .query_drop("SELECT 1 FROM lockstep_progress LIMIT 0")
        .await
    {
        Ok(()) => Ok(true),
        // It is not there, or it may not be seen while it is not there.
        Err(error) if matches!(code(&error), 1146 | 1142) => Ok(false),
        Err(error) => Err(failure("cannot look for the progress table", error)),
    }
}

/// How far each lane of a flow got.
pub(crate) async fn read(conn: &mut Conn, flow: &str) -> Result<Vec<LaneProgress>> {
    if !exists(conn).await? {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT CONVERT(lane USING utf8mb4), seq, position FROM lockstep_progress WHERE flow = {} AND lane <> '' ORDER BY lane",
        literal(flow)
    );
    let lines = texts(conn, &sql).await;
    let lines = lines.map_err(|error| failure("cannot read the lanes' progress", error))?;
    let lane = |line: Vec<Option<String>>| {
        let [lane, seq, position] = <[Option<String>; 3]>::try_from(line).ok()?;
        let seq = seq?.parse().ok()?;
        Some(LaneProgress {
            lane: lane?,
            expected: seq,
            reached: seq,
            position: position.and_then(|text| text.parse().ok()),
        })
    };
    Ok(lines.into_iter().filter_map(lane).collect())
}

/// Compares every lane's progress with what the batch expects, and sets it. Two writers of one lane meet here: the second waits for the first to commit, and then finds the lane moved.
pub(crate) async fn advance(conn: &mut Conn, batch: &Batch) -> Result<()> {
    let failed = |error| failure("cannot move the lanes' progress", error);
    let flow = literal(&batch.flow);
    if batch.progress.is_empty() {
        let sql = format!(
            "INSERT INTO lockstep_progress (flow, lane, seq, steps) VALUES ({flow}, '{NO_LANE}', 0, 1) ON DUPLICATE KEY UPDATE steps = steps + 1"
        );
        return conn.query_drop(sql).await.map_err(failed);
    }
    // In one order for all writers, so that none waits for another in a circle.
    let mut steps: Vec<&LaneProgress> = batch.progress.iter().collect();
    steps.sort_by(|a, b| a.lane.cmp(&b.lane));
    let lanes: Vec<String> = steps.iter().map(|step| literal(&step.lane)).collect();
    let sql = format!(
        "SELECT CONVERT(lane USING utf8mb4), seq FROM lockstep_progress WHERE flow = {flow} AND lane IN ({}) ORDER BY lane FOR UPDATE",
        lanes.join(", ")
    );
    let lines = texts(conn, &sql).await.map_err(failed)?;
    let stored = |lane: &str| {
        let line = lines.iter().find(|line| {
            line.first()
                .is_some_and(|name| name.as_deref() == Some(lane))
        });
        line.and_then(|line| line.get(1)?.as_ref()?.parse::<u64>().ok())
    };
    let mut values = Vec::with_capacity(steps.len());
    for (step, lane) in steps.iter().zip(&lanes) {
        let found = stored(&step.lane).unwrap_or(0);
        if found != step.expected {
            return Err(stale(&batch.flow, step, found));
        }
        let position = step
            .position
            .as_ref()
            .map_or("NULL".to_owned(), |position| literal(&position.to_string()));
        values.push(format!("({flow}, {lane}, {}, 1, {position})", step.reached));
    }
    // A lane that another writer made since it was looked for stands elsewhere by now, so nothing of it may be written.
    let fresh = steps.iter().any(|step| stored(&step.lane).is_none());
    let insert = format!(
        "INSERT INTO lockstep_progress (flow, lane, seq, steps, position) VALUES {}",
        values.join(", ")
    );
    let update = " ON DUPLICATE KEY UPDATE seq = VALUES(seq), steps = steps + 1, position = VALUES(position)";
    if !fresh {
        return conn.query_drop(insert + update).await.map_err(failed);
    }
    let (new, known): (Vec<usize>, Vec<usize>) =
        (0..steps.len()).partition(|place| stored(&steps[*place].lane).is_none());
    let pick = |places: &[usize]| {
        places
            .iter()
            .map(|place| values[*place].clone())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let into = "INSERT INTO lockstep_progress (flow, lane, seq, steps, position) VALUES ";
    if let Err(error) = conn.query_drop(format!("{into}{}", pick(&new))).await {
        return match (code(&error), new.first()) {
            (1062, Some(place)) => Err(stale(&batch.flow, steps[*place], u64::MAX)),
            _ => Err(failed(error)),
        };
    }
    if known.is_empty() {
        return Ok(());
    }
    conn.query_drop(format!("{into}{}{update}", pick(&known)))
        .await
        .map_err(failed)
}

fn stale(flow: &str, step: &LaneProgress, found: u64) -> Error {
    let at = if found == u64::MAX {
        "elsewhere".to_owned()
    } else {
        format!("at {found}")
    };
    Error::new(
        Kind::Stopped,
        format!(
            "lane `{}` of flow `{flow}` stands {at} in the target, not at {}: another writer took over, or this batch is already applied",
            step.lane, step.expected
        ),
    )
}
