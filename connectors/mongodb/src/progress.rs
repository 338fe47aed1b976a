//! How far each lane got, kept in the target beside its data, in the data's own transactions.
//!
//! A batch's transaction writes it first: a source on the same database knows by it that the whole transaction is ours.

use futures_util::TryStreamExt;
use lockstep_core::connector::{Batch, LaneProgress};
use lockstep_core::{Error, Kind, Result};
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::ReadConcern;

use crate::catalog::{PROGRESS, find};
use crate::client::{Client, code, failure, write_failure};
use crate::refusal::{Failed, answered};

/// NamespaceExists: somebody else was quicker.
const EXISTS: i32 = 48;

/// Makes the collection of the lanes' progress where there is none.
pub(crate) async fn prepare(client: &Client) -> Result<()> {
    if find(client, PROGRESS).await?.is_some() {
        return Ok(());
    }
    match client.db.create_collection(PROGRESS).await {
        Err(error) if code(&error) != Some(EXISTS) => {
            Err(failure("cannot create the progress collection", &error).help(CREATE_HELP))
        }
        _ => Ok(()),
    }
}

/// What lets a user keep progress.
pub(crate) const CREATE_HELP: &str = "grant the user of `url` the role readWrite on the database, or run db.createCollection(\"lockstep_progress\") and grant find, insert and update on it";

/// How far each lane of a flow got.
pub(crate) async fn read(client: &Client, flow: &str) -> Result<Vec<LaneProgress>> {
    let failed = |error| failure("cannot read the lanes' progress", &error);
    let lanes = client.db.collection::<Document>(PROGRESS);
    let find = lanes
        .find(doc! { "_id.flow": flow })
        .read_concern(ReadConcern::majority())
        .sort(doc! { "_id.lane": 1 });
    let found: Vec<Document> = find
        .await
        .map_err(failed)?
        .try_collect()
        .await
        .map_err(failed)?;
    Ok(found.iter().filter_map(lane).collect())
}

/// Takes a flow over for a session, and ends what an earlier session left open: the transaction of a process that was killed would stand in the way for a minute.
pub(crate) async fn claim(client: &Client, flow: &str, session: &Document) -> Result<()> {
    let failed = |error| write_failure("cannot take over the lanes' progress", &error);
    let writers = client.db.collection::<Document>(PROGRESS);
    let mine = doc! { "$set": { "session": session.clone() } };
    let earlier = writers
        .find_one_and_update(doc! { "_id": { "writer": flow } }, mine)
        .upsert(true)
        .await
        .map_err(failed)?;
    let earlier = earlier.and_then(|found| found.get_document("session").ok().cloned());
    if let Some(earlier) = earlier.filter(|earlier| earlier != session) {
        let kill = doc! { "killSessions": [earlier] };
        if let Err(error) = client.ask("cannot end an earlier session", kill).await {
            tracing::warn!(error = %error.chain(), flow, "what an earlier process left open ends by itself within a minute");
        }
    }
    Ok(())
}

fn lane(found: &Document) -> Option<LaneProgress> {
    let name = found.get_document("_id").ok()?.get_str("lane").ok()?;
    let reached = found.get_i64("seq").ok()?.cast_unsigned();
    let position = found.get_str("position").ok();
    Some(LaneProgress {
        lane: name.to_owned(),
        expected: reached,
        reached,
        position: position.and_then(|text| text.parse().ok()),
    })
}

/// Compares every lane's progress with what the batch expects, and sets it, inside a transaction. A lane without progress stands at 0.
pub(crate) async fn advance(
    client: &Client,
    session: &mut mongodb::ClientSession,
    batch: &Batch,
) -> Result<(), Failed> {
    if batch.progress.is_empty() {
        return Ok(());
    }
    let steps: Vec<Document> = batch
        .progress
        .iter()
        .map(|step| {
            let expected = step.expected.cast_signed();
            let position = step.position.as_ref().map(ToString::to_string);
            let position = position.map_or(Bson::Null, Bson::String);
            doc! {
                "q": { "_id": { "flow": &batch.flow, "lane": &step.lane }, "seq": expected },
                "u": { "$set": { "seq": step.reached.cast_signed(), "position": position } },
                "upsert": expected == 0,
            }
        })
        .collect();
    let command = doc! { "update": PROGRESS, "updates": steps, "ordered": true };
    let reply = client.inside(session, command).await;
    let reply = reply.map_err(|error| {
        Failed::of(error, |error| {
            write_failure("cannot move the lanes' progress", error)
        })
    })?;
    let answer = answered(&reply);
    if answer.refused.is_none() && answer.count == batch.progress.len() {
        return Ok(());
    }
    let stored = read(client, &batch.flow).await.map_err(Failed::Stop)?;
    Err(Failed::Stop(stale(batch, &stored)))
}

fn stale(batch: &Batch, stored: &[LaneProgress]) -> Error {
    let at = |name: &str| {
        let lane = stored.iter().find(|lane| lane.lane == name);
        lane.map_or(0, |lane| lane.reached)
    };
    let mut steps = batch.progress.iter();
    let odd = steps.find(|step| at(&step.lane) != step.expected);
    let words = match odd {
        Some(step) => format!(
            "lane `{}` of flow `{}` stands at {} in the target, not at {}",
            step.lane,
            batch.flow,
            at(&step.lane),
            step.expected
        ),
        None => format!(
            "a lane of flow `{}` does not stand where it should",
            batch.flow
        ),
    };
    Error::new(
        Kind::Stopped,
        format!("{words}: another writer took over, or this batch is already applied"),
    )
}
