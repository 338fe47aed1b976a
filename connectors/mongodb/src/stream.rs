//! The change stream, read ahead by a task of its own, so that the server is answered while the source waits for room.
//!
//! The driver finds a new primary by itself and goes on there; what it cannot get over ends the stream with an error.
//! What is read ahead is bounded by its bytes.

use std::sync::Arc;
use std::time::Duration;

use lockstep_core::Error;
use mongodb::Database;
use mongodb::bson::{Document, RawDocumentBuf, Timestamp, doc};
use mongodb::change_stream::ChangeStream;
use mongodb::change_stream::event::ResumeToken;
use mongodb::options::{
    ChangeStreamOptions, FullDocumentBeforeChangeType, FullDocumentType, ReadConcern,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;

use crate::client::{Client, failure};
use crate::event::{Event, Fragments, Happened};

/// How long the server waits for a change before it says that there is none.
const AWAIT: Duration = Duration::from_millis(250);
/// Kilobytes of events that are read ahead; one larger event still travels, alone.
const AHEAD_KB: usize = 32 * 1024;
/// Events that are read ahead.
const AHEAD: usize = 2000;
/// From this version on the server splits events that are too large for a message.
const SPLITS: (i32, i32) = (7, 0);
/// BSONObjectTooLarge.
const TOO_LARGE: i32 = 10334;

/// What the stream told.
#[derive(Debug)]
pub(crate) enum Told {
    /// Something happened.
    Event(Event, OwnedSemaphorePermit),
    /// There is nothing more for now; everything before this token is told.
    Quiet(String),
}

/// Where a stream begins.
#[derive(Clone, Debug)]
pub(crate) enum From {
    /// Behind a token.
    Token(String),
    /// With what happens at a time or later.
    Time(Timestamp),
}

/// What a stream tells of.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) collections: Vec<String>,
    pub(crate) version: (i32, i32),
}

/// A stream that is read ahead; dropping it ends its task.
#[derive(Debug)]
pub(crate) struct Stream {
    told: mpsc::Receiver<Result<Told, mongodb::error::Error>>,
    task: JoinHandle<()>,
}

impl Stream {
    /// Opens a stream, and gives the token that stands for its beginning.
    ///
    /// # Errors
    /// The driver's own: the caller asks whether the server has forgotten the place.
    pub(crate) async fn open(
        client: &Client,
        wanted: Wanted,
        from: From,
    ) -> Result<(Stream, String), mongodb::error::Error> {
        let opened = open(&client.db, &wanted, from.clone()).await?;
        let token = opened.resume_token().as_ref().and_then(data);
        let token = match (token, from) {
            (Some(token), _) | (None, From::Token(token)) => token,
            (None, From::Time(_)) => String::new(),
        };
        let (tell, told) = mpsc::channel(AHEAD);
        let reading = Ahead {
            db: client.db.clone(),
            wanted,
            stream: opened,
            tell,
            room: Arc::new(Semaphore::new(AHEAD_KB)),
        };
        let task = tokio::spawn(reading.run());
        Ok((Stream { told, task }, token))
    }

    /// What comes next. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Told, mongodb::error::Error> {
        let told = self.told.recv().await;
        told.unwrap_or_else(|| Err(over()))
    }

    /// What has come already.
    pub(crate) fn ready(&mut self) -> Result<Option<Told>, mongodb::error::Error> {
        match self.told.try_recv() {
            Ok(told) => told.map(Some),
            Err(mpsc::error::TryRecvError::Empty) => Ok(None),
            Err(mpsc::error::TryRecvError::Disconnected) => Err(over()),
        }
    }
}

fn over() -> mongodb::error::Error {
    mongodb::error::Error::custom("the change stream ended by itself")
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What an error of an open stream means, unless its place is forgotten.
pub(crate) fn ended(error: &mongodb::error::Error) -> Error {
    if crate::client::code(error) == Some(TOO_LARGE) {
        return Error::unsupported("a change is larger than a message of the server can be")
            .because(failure("the change stream ended", error))
            .help("MongoDB 7.0 sends such changes in pieces; on older servers switch changeStreamPreAndPostImages off for the collection, or keep its documents below 8 MB");
    }
    failure("the change stream ended", error)
}

/// The task's side.
struct Ahead {
    db: Database,
    wanted: Wanted,
    stream: ChangeStream<RawDocumentBuf>,
    tell: mpsc::Sender<Result<Told, mongodb::error::Error>>,
    room: Arc<Semaphore>,
}

impl Ahead {
    async fn run(mut self) {
        if let Err(error) = self.read().await {
            // Nobody listens any more where this fails.
            let _ = self.tell.send(Err(error)).await;
        }
    }

    async fn read(&mut self) -> Result<(), mongodb::error::Error> {
        let mut fragments = Fragments::default();
        loop {
            let Some(piece) = self.stream.next_if_any().await? else {
                let Some(token) = self.stream.resume_token().as_ref().and_then(data) else {
                    continue;
                };
                if self.tell.send(Ok(Told::Quiet(token))).await.is_err() {
                    return Ok(());
                }
                continue;
            };
            let whole = fragments.take(piece);
            let whole = whole.map_err(|_| {
                mongodb::error::Error::custom("an event's pieces are more than 64 MB")
            })?;
            let Some(event) = whole else { continue };
            // A stream ends with the database it is of; the next one may be of another of its name.
            let reopen = (event.happened() == Happened::Invalidate)
                .then(|| event.token().map(str::to_owned))
                .flatten();
            let kilobytes = (event.bytes() / 1024 + 1).min(AHEAD_KB);
            let room = Arc::clone(&self.room)
                .acquire_many_owned(kilobytes as u32)
                .await;
            let Ok(room) = room else { return Ok(()) };
            if self.tell.send(Ok(Told::Event(event, room))).await.is_err() {
                return Ok(());
            }
            if let Some(token) = reopen {
                self.stream = open(&self.db, &self.wanted, From::Token(token)).await?;
            }
        }
    }
}

async fn open(
    db: &Database,
    wanted: &Wanted,
    from: From,
) -> Result<ChangeStream<RawDocumentBuf>, mongodb::error::Error> {
    let mut options = ChangeStreamOptions::default();
    options.full_document = Some(FullDocumentType::WhenAvailable);
    options.full_document_before_change = Some(FullDocumentBeforeChangeType::WhenAvailable);
    options.show_expanded_events = Some(true);
    options.max_await_time = Some(AWAIT);
    // The first answer holds nothing but the token that stands for the beginning.
    options.batch_size = Some(0);
    options.read_concern = Some(ReadConcern::majority());
    match from {
        From::Token(token) => {
            let token: ResumeToken =
                mongodb::bson::deserialize_from_document(doc! { "_data": token })?;
            options.start_after = Some(token);
        }
        From::Time(time) => options.start_at_operation_time = Some(time),
    }
    let stream = db
        .watch()
        .pipeline(pipeline(wanted))
        .with_options(options)
        .await?;
    Ok(stream.with_type())
}

/// Leaves out what nobody wants, on the server.
fn pipeline(wanted: &Wanted) -> Vec<Document> {
    let collections = &wanted.collections;
    let happened = [
        "insert", "update", "replace", "delete", "drop", "rename", "create",
    ];
    let filter = doc! { "$match": { "$or": [
        { "operationType": { "$in": happened.to_vec() }, "ns.coll": { "$in": collections } },
        { "operationType": "rename", "to.coll": { "$in": collections } },
        { "operationType": "invalidate" },
    ] } };
    let mut pipeline = vec![filter];
    if wanted.version >= SPLITS {
        pipeline.push(doc! { "$changeStreamSplitLargeEvent": {} });
    }
    pipeline
}

fn data(token: &ResumeToken) -> Option<String> {
    let token = mongodb::bson::serialize_to_bson(token).ok()?;
    token
        .as_document()?
        .get_str("_data")
        .ok()
        .map(str::to_owned)
}
