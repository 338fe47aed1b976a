//! A running replication stream: a task that reads the socket, keeps the server content, and says how far everything is durable.
//!
//! The task does not know what it reads. What whoever reads has no room for stays in the socket; the server is answered all the same, because its time-out counts our words and not our reading.
//! Invariant: the server never hears of a position beyond the one that was released.

use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use lockstep_core::{Error, Result};
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::message::{self, HEADER};
use super::{Connection, Socket, failure, fill};

/// Most slabs between socket and reader; each holds about what one read gives, or one larger message.
const SLABS_MAX: usize = 8;
/// Most bytes of words to the server that wait; a later word says what an earlier one did.
const OUTBOX_MAX: usize = 4096;
/// Microseconds between 1970 and 2000, where PostgreSQL's clock begins.
const EPOCH_US: i64 = 946_684_800_000_000;

/// How often to speak, and how long to put up with silence.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// The server hears from us at least this often.
    pub(crate) every: Duration,
    /// A server that is silent for longer, though it was asked, counts as gone.
    pub(crate) silence_max: Duration,
}

/// The reader's end of a stream; dropping it ends the stream.
#[derive(Debug)]
pub(crate) struct Streaming {
    slabs: mpsc::Receiver<Result<Slab>>,
    released: watch::Sender<u64>,
    task: JoinHandle<()>,
}

/// Says what the server may forget.
#[derive(Clone, Debug)]
pub(crate) struct Release(watch::Sender<u64>);

/// Whole messages that arrived together.
#[derive(Debug, Default)]
pub(crate) struct Slab(Bytes);

/// Begins to stream on a connection that is in a two-way copy.
pub(crate) fn stream(connection: Connection, released: u64, pace: Pace) -> Streaming {
    let (socket, inbox) = connection.into_parts();
    let (reader, writer) = tokio::io::split(socket);
    let (slabs, receive) = mpsc::channel(SLABS_MAX);
    let (release, watch_released) = watch::channel(released);
    let task = Task {
        reader,
        writer,
        inbox,
        outbox: BytesMut::new(),
        slabs: slabs.clone(),
        released: watch_released,
        pace,
        heard: Instant::now(),
    };
    let task = tokio::spawn(async move {
        let Err(error) = task.run().await;
        // Nobody waits for the word if the reader is gone.
        let _ = slabs.send(Err(error)).await;
    });
    Streaming {
        slabs: receive,
        released: release,
        task,
    }
}

impl Streaming {
    /// What arrived next; waits for it. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Slab> {
        self.slabs
            .recv()
            .await
            .unwrap_or_else(|| Err(failure::closed()))
    }

    /// What has arrived by now.
    pub(crate) fn ready(&mut self) -> Result<Option<Slab>> {
        match self.slabs.try_recv() {
            Ok(slab) => slab.map(Some),
            Err(mpsc::error::TryRecvError::Empty) => Ok(None),
            Err(mpsc::error::TryRecvError::Disconnected) => Err(failure::closed()),
        }
    }

    /// By which the server is told what it may forget.
    pub(crate) fn release(&self) -> Release {
        Release(self.released.clone())
    }
}

impl Release {
    /// Lets the server forget everything before a place of its log; never goes back.
    pub(crate) fn up_to(&self, lsn: u64) {
        self.0.send_if_modified(|released| {
            let further = lsn > *released;
            *released = lsn.max(*released);
            further
        });
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Slab {
    /// Takes the next message: its tag and its body.
    pub(crate) fn pop(&mut self) -> Result<Option<(u8, Bytes)>> {
        let Some(length) = message::whole(&self.0)? else {
            return Ok(None);
        };
        let mut whole = self.0.split_to(length);
        let tag = whole[0];
        whole.advance(HEADER);
        Ok(Some((tag, whole)))
    }
}

struct Task {
    reader: ReadHalf<Socket>,
    writer: WriteHalf<Socket>,
    inbox: BytesMut,
    outbox: BytesMut,
    slabs: mpsc::Sender<Result<Slab>>,
    released: watch::Receiver<u64>,
    pace: Pace,
    heard: Instant,
}

impl Task {
    async fn run(mut self) -> Result<std::convert::Infallible> {
        let mut tick = tokio::time::interval(self.pace.every);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut waiting = self.whole()?;
        let slabs = self.slabs.clone();
        self.status(true);
        loop {
            let full = waiting.is_some();
            tokio::select! {
                room = slabs.reserve(), if full => {
                    let room = room.map_err(|_| Error::stopped())?;
                    match waiting.take() {
                        Some(slab) => room.send(Ok(slab)),
                        None => drop(room),
                    }
                    waiting = self.whole()?;
                    // Silence while nobody listened was ours.
                    self.heard = Instant::now();
                }
                read = fill(&mut self.reader, &mut self.inbox), if !full => {
                    read?;
                    self.heard = Instant::now();
                    waiting = self.whole()?;
                }
                written = self.writer.write_buf(&mut self.outbox), if self.outbox.has_remaining() => {
                    if written.map_err(|error| failure::cut(&error))? == 0 {
                        return Err(failure::closed());
                    }
                    if !self.outbox.has_remaining() {
                        self.writer.flush().await.map_err(|error| failure::cut(&error))?;
                    }
                }
                moved = self.released.changed() => {
                    moved.map_err(|_| Error::stopped())?;
                    self.status(false);
                }
                _ = tick.tick() => {
                    let silence = self.heard.elapsed();
                    if !full && silence > self.pace.silence_max {
                        return Err(Error::transient(format!("the server has been silent for {} s", silence.as_secs()))
                            .help("it is tried again; check the network, and whether the server is overloaded"));
                    }
                    self.status(silence >= self.pace.every);
                }
            }
        }
    }

    /// Takes what is there as a whole.
    fn whole(&mut self) -> Result<Option<Slab>> {
        let mut end = 0;
        while let Some(length) = message::whole(&self.inbox[end..])? {
            end += length;
        }
        Ok((end > 0).then(|| Slab(self.inbox.split_to(end).freeze())))
    }

    /// Queues a standby status update.
    fn status(&mut self, reply: bool) {
        let released = *self.released.borrow_and_update();
        if self.outbox.len() > OUTBOX_MAX {
            return;
        }
        let now = jiff::Timestamp::now().as_microsecond() - EPOCH_US;
        self.outbox.put_u8(b'd');
        self.outbox.put_u32(4 + 34);
        self.outbox.put_u8(b'r');
        // Written, flushed and applied are one to us: durable in the log.
        for _ in 0..3 {
            self.outbox.put_u64(released);
        }
        self.outbox.put_i64(now);
        self.outbox.put_u8(u8::from(reply));
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(10);

    /// A stream, and the server's end of its socket.
    async fn pair(pace: Pace) -> (Streaming, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (server, _) = listener.accept().await.unwrap();
        let connection = Connection {
            socket: Socket::Plain(client),
            inbox: BytesMut::new(),
            outbox: BytesMut::new(),
        };
        (stream(connection, 7, pace), server)
    }

    /// What one status update says: what is released, and whether an answer is wanted.
    async fn status(server: &mut TcpStream) -> (u64, bool) {
        let mut bytes = [0; 39];
        let read = tokio::time::timeout(DEADLINE, server.read_exact(&mut bytes)).await;
        read.unwrap().unwrap();
        assert_eq!((bytes[0], bytes[5]), (b'd', b'r'));
        let number = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap());
        assert_eq!((number(6), number(14)), (number(14), number(22)));
        (number(6), bytes[38] == 1)
    }

    #[tokio::test]
    async fn the_server_hears_from_us_while_nobody_reads() {
        let every = Duration::from_millis(20);
        let (streaming, mut server) = pair(Pace {
            every,
            silence_max: DEADLINE,
        })
        .await;
        // More than all buffers hold, so that the task has no room and the socket none either.
        let flood = tokio::spawn(async move {
            let message = [&b"d\0\0\x10\x03"[..], &[b'x'; 4095]].concat();
            let (mut reader, mut writer) = server.split();
            let write = async { while writer.write_all(&message).await.is_ok() {} };
            let read = async {
                let mut bytes = [0; 39];
                for _ in 0..20 {
                    reader.read_exact(&mut bytes).await.unwrap();
                }
            };
            tokio::select! { () = write => false, () = read => true }
        });
        let heard = tokio::time::timeout(DEADLINE, flood).await;
        assert!(heard.unwrap().unwrap(), "the connection ended");
        drop(streaming);
    }

    #[tokio::test]
    async fn the_server_hears_of_nothing_but_what_is_released() {
        let pace = Pace {
            every: Duration::from_secs(5),
            silence_max: DEADLINE,
        };
        let (streaming, mut server) = pair(pace).await;
        assert_eq!(status(&mut server).await, (7, true));
        assert_eq!(status(&mut server).await.0, 7);
        let release = streaming.release();
        release.up_to(9);
        assert_eq!(status(&mut server).await, (9, false));
        release.up_to(8);
        release.up_to(12);
        assert_eq!(status(&mut server).await, (12, false));
    }

    #[tokio::test]
    async fn a_server_that_is_silent_is_given_up() {
        let pace = Pace {
            every: Duration::from_millis(10),
            silence_max: Duration::from_millis(100),
        };
        let (mut streaming, server) = pair(pace).await;
        let next = tokio::time::timeout(DEADLINE, streaming.next())
            .await
            .unwrap();
        assert!(next.unwrap_err().to_string().contains("silent"));
        drop(server);
    }

    #[tokio::test]
    async fn whole_messages_come_out_however_they_arrived() {
        let pace = Pace {
            every: Duration::from_secs(5),
            silence_max: DEADLINE,
        };
        let (mut streaming, mut server) = pair(pace).await;
        let sent: Vec<Bytes> = (0..50_u8)
            .map(|n| Bytes::from(vec![n; usize::from(n) * 7]))
            .collect();
        let mut bytes = BytesMut::new();
        for body in &sent {
            bytes.put_u8(b'd');
            bytes.put_u32(4 + body.len() as u32);
            bytes.put_slice(body);
        }
        let writing = tokio::spawn(async move {
            for piece in bytes.chunks(13) {
                server.write_all(piece).await.unwrap();
                server.flush().await.unwrap();
            }
            server
        });
        let mut read = Vec::new();
        while read.len() < sent.len() {
            let mut slab = tokio::time::timeout(DEADLINE, streaming.next())
                .await
                .unwrap()
                .unwrap();
            while let Some((tag, body)) = slab.pop().unwrap() {
                assert_eq!(tag, b'd');
                read.push(body);
            }
        }
        assert_eq!(read, sent);
        drop(writing.await.unwrap());
        let end = tokio::time::timeout(DEADLINE, streaming.next())
            .await
            .unwrap();
        assert!(end.is_err(), "the end is told");
    }
}
