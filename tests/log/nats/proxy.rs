//! A connection that loses, delays and is cut on demand: it stands between a client and a server.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Chunks under way between a client and a server.
const CHUNKS: usize = 1024;
/// What every answer to a publish holds.
const ANSWER: &[u8] = b"\"seq\":";

/// A proxy; its connections end with it.
pub(crate) struct Proxy {
    port: u16,
    state: Arc<State>,
    listening: JoinHandle<()>,
}

struct State {
    /// Counts cuts: a connection of an earlier number forwards nothing any more.
    cuts: watch::Sender<u64>,
    refuse_until: Mutex<Instant>,
    /// Attempts that were refused.
    refused: AtomicU64,
    lose_answer: AtomicBool,
    delay_micros: AtomicU64,
}

impl Proxy {
    /// Starts before a server on this machine.
    pub(crate) async fn before(server: u16) -> Proxy {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State {
            cuts: watch::Sender::new(0),
            refuse_until: Mutex::new(Instant::now()),
            refused: AtomicU64::new(0),
            lose_answer: AtomicBool::new(false),
            delay_micros: AtomicU64::new(0),
        });
        let shared = Arc::clone(&state);
        let listening = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let refused = Instant::now() < *shared.refuse_until.lock().unwrap();
                if refused {
                    shared.refused.fetch_add(1, Ordering::SeqCst);
                }
                if !refused && let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await {
                    tokio::spawn(join(client, server, Arc::clone(&shared)));
                }
            }
        });
        Proxy {
            port,
            state,
            listening,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Cuts every connection: not a byte gets through any more.
    pub(crate) fn cut(&self) {
        self.state.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Cuts every connection and lets nobody connect for a time; returns once the client has noticed, which a second attempt tells.
    pub(crate) fn refuse_for(&self, time: Duration) {
        let enough = self.state.refused.load(Ordering::SeqCst) + 2;
        let until = Instant::now() + time;
        *self.state.refuse_until.lock().unwrap() = until;
        self.cut();
        tokio::task::block_in_place(|| {
            while self.state.refused.load(Ordering::SeqCst) < enough && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(1));
            }
        });
    }

    /// Lets the next publish through and cuts the connection in place of its answer.
    pub(crate) fn lose_next_answer(&self) {
        self.state.lose_answer.store(true, Ordering::SeqCst);
    }

    /// Holds whatever the server says back for a time.
    pub(crate) fn delay_answers(&self, delay: Duration) {
        let micros = u64::try_from(delay.as_micros()).unwrap();
        self.state.delay_micros.store(micros, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listening.abort();
        self.cut();
    }
}

async fn join(client: TcpStream, server: TcpStream, state: Arc<State>) {
    let mut cuts = state.cuts.subscribe();
    cuts.mark_unchanged();
    let born = *cuts.borrow();
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        _ = cuts.changed() => {}
        () = up(from_client, to_server, &state, born) => {}
        () = down(from_server, to_client, &state) => {}
    }
}

async fn up(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, state: &State, born: u64) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if *state.cuts.borrow() != born || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

async fn down(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, state: &State) {
    let (sender, mut chunks) = mpsc::channel::<(Instant, Vec<u8>)>(CHUNKS);
    let reading = async {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            let chunk = &buffer[..count];
            let is_answer = chunk.windows(ANSWER.len()).any(|window| window == ANSWER);
            if is_answer && state.lose_answer.swap(false, Ordering::SeqCst) {
                return;
            }
            let delay = Duration::from_micros(state.delay_micros.load(Ordering::SeqCst));
            if sender
                .send((Instant::now() + delay, chunk.to_vec()))
                .await
                .is_err()
            {
                return;
            }
        }
    };
    let writing = async {
        while let Some((due, chunk)) = chunks.recv().await {
            tokio::time::sleep_until(due).await;
            if to.write_all(&chunk).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = reading => {}
        () = writing => {}
    }
}
