//! Connections that are cut or freeze.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use lockstep_core::change::Op;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::running::{Setup, fold};
use crate::{TABLE, database, ops};

/// A way to a server that can be cut and frozen.
struct Proxy {
    url: String,
    /// How many bytes a connection carries to the client before it is cut.
    cut_after: Arc<AtomicU64>,
    frozen: Arc<AtomicBool>,
}

impl Proxy {
    async fn to(url: &str) -> Proxy {
        let parsed = url::Url::parse(url).unwrap();
        let server = format!("{}:{}", parsed.host_str().unwrap(), parsed.port().unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut own = parsed;
        own.set_port(Some(listener.local_addr().unwrap().port()))
            .unwrap();
        let proxy = Proxy {
            url: own.to_string(),
            cut_after: Arc::new(AtomicU64::new(u64::MAX)),
            frozen: Arc::default(),
        };
        let (cut_after, frozen) = (Arc::clone(&proxy.cut_after), Arc::clone(&proxy.frozen));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&server).await.unwrap();
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                let limit = cut_after.load(Ordering::Relaxed);
                let frozen = Arc::clone(&frozen);
                tokio::spawn(async move {
                    tokio::select! {
                        () = carry(from_client, to_server, u64::MAX, &frozen) => {}
                        () = carry(from_server, to_client, limit, &frozen) => {}
                    }
                });
            }
        });
        proxy
    }
}

async fn carry(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    limit: u64,
    frozen: &AtomicBool,
) {
    let mut left = limit;
    let mut bytes = vec![0; 4096];
    while let Ok(read @ 1..) = from.read(&mut bytes).await {
        if frozen.load(Ordering::Relaxed) {
            // Neither end hears anything, and neither is told.
            return std::future::pending().await;
        }
        let carried = usize::try_from(left).unwrap_or(read).min(read);
        if to.write_all(&bytes[..carried]).await.is_err() || carried < read {
            return;
        }
        left -= carried as u64;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_cut_anywhere_loses_nothing() {
    let Some(database) = database("CREATE TABLE t(id int PRIMARY KEY, x text)") else {
        return;
    };
    let proxy = Proxy::to(&database.url()).await;
    let setup = Setup::new(&proxy.url, database.name(), &["t"])
        .with("batch_max", json!(20))
        .with("snapshot_rows", json!(20));
    database
        .sql("INSERT INTO t SELECT i, 'old' FROM generate_series(1, 100) i")
        .unwrap();
    let mut run = setup.run(None).await;
    let mut told = Vec::new();
    let mut position = None;
    let mut limit = 9000;
    for round in 0_i64..30 {
        database
            .sql(&format!("UPDATE t SET x = 'v{round}' WHERE id % 7 = {round} % 7; DELETE FROM t WHERE id = {round} + 1; INSERT INTO t VALUES ({round} + 1000, 'new')"))
            .unwrap();
        // The session of this round breaks off somewhere.
        while let Ok(Some(batch)) = tokio::time::timeout(
            std::time::Duration::from_millis(300),
            run.feed.batches.recv(),
        )
        .await
        {
            told.extend(batch.changes);
            position = Some(batch.position);
        }
        run.kill().await;
        limit += 531;
        proxy.cut_after.store(limit, Ordering::Relaxed);
        run = setup.run(position.as_ref()).await;
    }
    run.kill().await;
    proxy.cut_after.store(u64::MAX, Ordering::Relaxed);
    let mut run = setup.run(position.as_ref()).await;
    database.sql("INSERT INTO t VALUES (-1, 'last')").unwrap();
    told.extend(
        run.until(|told| ops(told).contains(&(Op::Created, -1)))
            .await,
    );
    told.extend(run.settled().await);
    run.kill().await;
    let fresh = Setup {
        system: format!("{}_fresh", database.name()),
        ..Setup::of(&database, &["t"])
    };
    let truth = fresh.run(None).await.settled().await;
    let (told, truth) = (fold(&told), fold(&truth));
    assert!(told == truth, "{}", told.difference(&truth));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_froze_does_not_keep_the_next_one_out() {
    let Some(database) = database(TABLE) else {
        return;
    };
    let proxy = Proxy::to(&database.url()).await;
    let setup = Setup::new(&proxy.url, database.name(), &["t"]);
    let mut run = setup.run(None).await;
    run.settled().await;
    let position = run.position();
    proxy.frozen.store(true, Ordering::Relaxed);
    database.sql("INSERT INTO t VALUES (4, 'x')").unwrap();
    // Its session still stands at the server, which has noticed nothing; the next one comes another way.
    let direct = Setup::of(&database, &["t"]);
    let mut next = direct.run(Some(&position)).await;
    assert_eq!(ops(&next.changes(1).await), [(Op::Created, 4)]);
    run.kill().await;
}
