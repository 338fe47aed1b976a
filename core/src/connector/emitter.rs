//! The pipe between a source and the runtime: bounded, and aware of what is durable.

use std::sync::Arc;

use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc, watch};

use super::Filter;
use crate::change::Change;
use crate::error::{Error, Result};
use crate::position::Position;
use crate::shape::Shape;

/// A source's end of the pipe.
///
/// Every method takes `&self`, so that a source can wait for room and for its system in one `select!`.
#[derive(Clone, Debug)]
pub struct Emitter {
    batches: mpsc::UnboundedSender<Emitted>,
    room: Arc<Semaphore>,
    safe: watch::Receiver<Option<Position>>,
    stopped: watch::Receiver<bool>,
    control: Arc<Mutex<mpsc::Receiver<Control>>>,
}

/// Room for one batch. Hold it while reading, so that what was read can always be handed over.
#[derive(Debug)]
pub struct Slot<'a> {
    emitter: &'a Emitter,
    permit: OwnedSemaphorePermit,
}

/// One batch on its way to the gate. Its room is given back when it is dropped.
#[derive(Debug)]
pub struct Emitted {
    /// The changes, in order; may be empty, which moves a quiet source forward.
    pub changes: Vec<Change>,
    /// How far the source is read after them.
    pub position: Position,
    /// What became of tables by then.
    pub news: Vec<News>,
    _permit: OwnedSemaphorePermit,
}

/// What a source tells of a table beside its changes, as of the position of its batch.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// The table has this shape now, and so has every later change of it.
    Shape(Arc<Shape>),
    /// The table was read from its first row to its last.
    Read(String),
    /// The part of the table that was asked for was read.
    ReadPart(String),
    /// The table is being read, which has about so many rows.
    Reading {
        /// The table.
        table: String,
        /// How many rows it has, where that is known about.
        of: Option<u64>,
    },
    /// Deletes of the table are not told, and why; told again without a reason once they are.
    Withheld {
        /// The table.
        table: String,
        /// Why, with what to do about it.
        reason: Option<String>,
    },
}

/// What the runtime asks of a running source.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Control {
    /// Read this table again, while streaming goes on: what flows want of it, unless something else is said.
    Backfill {
        /// The table.
        table: String,
        /// What the rows fulfil that are wanted instead; see [`Parts`](super::Parts).
        filter: Option<Filter>,
    },
}

/// The runtime's end of the pipe.
#[derive(Debug)]
pub struct Feed {
    /// The batches, in the order they were emitted.
    pub batches: mpsc::UnboundedReceiver<Emitted>,
    /// Tells the source what is durable.
    pub safe: watch::Sender<Option<Position>>,
    /// Tells the source to end.
    pub stop: watch::Sender<bool>,
    /// Asks the source for something.
    pub control: mpsc::Sender<Control>,
}

/// Makes the two ends of a pipe that holds at most `batches_max` batches.
#[must_use]
pub fn feed(resume: Option<Position>, batches_max: usize) -> (Emitter, Feed) {
    let (batches, receive) = mpsc::unbounded_channel();
    let (safe, watch_safe) = watch::channel(resume);
    let (stop, stopped) = watch::channel(false);
    let (control, receive_control) = mpsc::channel(16);
    let emitter = Emitter {
        batches,
        // The semaphore bounds the channel: a batch exists only while it holds a permit.
        room: Arc::new(Semaphore::new(batches_max)),
        safe: watch_safe,
        stopped,
        control: Arc::new(Mutex::new(receive_control)),
    };
    (
        emitter,
        Feed {
            batches: receive,
            safe,
            stop,
            control,
        },
    )
}

impl Emitter {
    /// Waits until there is room for one more batch. Dropping the future is harmless.
    ///
    /// # Errors
    /// [`Kind::Stopped`](crate::Kind::Stopped) once the runtime is stopping.
    pub async fn room(&self) -> Result<Slot<'_>> {
        let acquire = Arc::clone(&self.room).acquire_owned();
        tokio::select! {
            biased;
            () = self.stopped() => Err(Error::stopped()),
            permit = acquire => {
                let permit = permit.map_err(|_| Error::stopped())?;
                Ok(Slot { emitter: self, permit })
            }
        }
    }

    /// Waits for room, then emits. For sources that hold a batch anyway.
    ///
    /// # Errors
    /// [`Kind::Stopped`](crate::Kind::Stopped) once the runtime is stopping.
    pub async fn emit(&self, changes: Vec<Change>, position: Position) -> Result<()> {
        self.room().await?.emit(changes, position)
    }

    /// The newest position up to which everything is durable downstream.
    #[must_use]
    pub fn safe(&self) -> Option<Position> {
        self.safe.borrow().clone()
    }

    /// Waits until everything up to a position is durable downstream.
    ///
    /// # Errors
    /// [`Kind::Stopped`](crate::Kind::Stopped) once the runtime is stopping.
    pub async fn until_safe(&self, position: &Position) -> Result<()> {
        let mut safe = self.safe.clone();
        let covers = |safe: &Option<Position>| {
            safe.as_ref()
                .is_some_and(|safe| safe.covers(&position.incarnation, position.mark()))
        };
        tokio::select! {
            biased;
            () = self.stopped() => Err(Error::stopped()),
            safe = safe.wait_for(covers) => safe.map(drop).map_err(|_| Error::stopped()),
        }
    }

    /// Waits for the runtime to ask for something; never ends if it asks for nothing. Dropping the future loses no request.
    pub async fn control(&self) -> Control {
        match self.control.lock().await.recv().await {
            Some(control) => control,
            None => std::future::pending().await,
        }
    }

    /// Waits until the runtime is stopping.
    pub async fn stopped(&self) {
        let mut stopped = self.stopped.clone();
        // An error means that the runtime's end is gone, which is stopping too.
        let _ = stopped.wait_for(|stop| *stop).await;
    }
}

impl Slot<'_> {
    /// Hands a batch over with the position after it.
    ///
    /// # Errors
    /// [`Kind::Stopped`](crate::Kind::Stopped) if the runtime's end is gone.
    pub fn emit(self, changes: Vec<Change>, position: Position) -> Result<()> {
        self.tell(changes, position, Vec::new())
    }

    /// Hands a batch over with what became of tables by its end.
    ///
    /// # Errors
    /// [`Kind::Stopped`](crate::Kind::Stopped) if the runtime's end is gone.
    pub fn tell(self, changes: Vec<Change>, position: Position, news: Vec<News>) -> Result<()> {
        let emitted = Emitted {
            changes,
            position,
            news,
            _permit: self.permit,
        };
        self.emitter
            .batches
            .send(emitted)
            .map_err(|_| Error::stopped())
    }
}
