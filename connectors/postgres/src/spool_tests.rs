//! What the spool gives out, and when.

use proptest::prelude::*;

use super::*;

fn start(xid: u32) -> Bytes {
    [&b"S"[..], &xid.to_be_bytes(), &[1]].concat().into()
}

fn stop() -> Bytes {
    Bytes::from_static(b"E")
}

fn piece(tag: u8, part: u32, content: &[u8]) -> Bytes {
    [&[tag], &part.to_be_bytes()[..], content].concat().into()
}

fn abort(xid: u32, part: u32) -> Bytes {
    [&b"A"[..], &xid.to_be_bytes(), &part.to_be_bytes()]
        .concat()
        .into()
}

fn commit(xid: u32) -> Bytes {
    let mut message = [&b"c"[..], &xid.to_be_bytes(), &[0]].concat();
    message.extend([0; 24]);
    message.into()
}

async fn feed(spool: &mut Spool, messages: impl IntoIterator<Item = Bytes>) {
    for message in messages {
        assert_eq!(spool.take(message).await.unwrap(), None);
    }
}

/// What is given out, without begin and commit.
async fn given(spool: &mut Spool) -> Vec<Bytes> {
    let mut all = Vec::new();
    while let Some(message) = spool.next().await.unwrap() {
        all.push(message);
    }
    assert_eq!(all.first().map(|message| message[0]), Some(b'B'));
    assert_eq!(all.last().map(|message| message[0]), Some(b'C'));
    all[1..all.len() - 1].to_vec()
}

fn files(folder: &Path) -> usize {
    fs::read_dir(folder).map_or(0, Iterator::count)
}

#[tokio::test]
async fn nothing_is_given_out_before_its_commit_and_nothing_of_what_was_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("spool");
    let mut spool = Spool::open(place.clone(), u64::MAX).await.unwrap();
    let big = vec![7; BLOCK];
    feed(
        &mut spool,
        [
            start(1),
            Bytes::from_static(b"Oname\0"),
            piece(b'I', 1, &big),
            stop(),
            start(2),
            piece(b'I', 2, b"other"),
            piece(b'I', 3, b"gone"),
            stop(),
            start(1),
            piece(b'I', 4, b"taken back"),
            piece(b'I', 1, b"last"),
            stop(),
        ],
    )
    .await;
    assert_eq!(files(&place), 1, "what is small stays in memory");
    assert_eq!(spool.next().await.unwrap(), None);
    // What has no block passes by.
    let plain = Bytes::from_static(b"B-something");
    assert_eq!(spool.take(plain.clone()).await.unwrap(), Some(plain));
    feed(&mut spool, [abort(1, 4), commit(1)]).await;
    let whole: [Bytes; 3] = [
        Bytes::from_static(b"Oname\0"),
        [b"I", &big[..]].concat().into(),
        Bytes::from_static(b"Ilast"),
    ];
    assert_eq!(given(&mut spool).await, whole);
    assert_eq!(files(&place), 0);
    feed(&mut spool, [abort(2, 3), commit(2)]).await;
    assert_eq!(given(&mut spool).await, [Bytes::from_static(b"Iother")]);
    // A transaction that never happened leaves nothing.
    let all = [start(5), piece(b'I', 5, &big), stop(), abort(5, 5)];
    feed(&mut spool, all).await;
    assert_eq!((files(&place), spool.bytes, spool.buffered), (0, 0, 0));
    assert!(spool.take(commit(5)).await.is_err());
}

#[tokio::test]
async fn a_table_that_only_a_part_taken_back_described_is_known_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(folder.path().to_owned(), u64::MAX)
        .await
        .unwrap();
    let table = 77_u32.to_be_bytes();
    let described = piece(b'R', 2, &[&table[..], b"public\0t\0"].concat());
    let all = [
        start(1),
        described,
        stop(),
        abort(1, 2),
        start(1),
        piece(b'I', 1, &[&table[..], b"N"].concat()),
        stop(),
        commit(1),
    ];
    feed(&mut spool, all).await;
    let row = given(&mut spool).await.remove(0);
    let truncate = [&b"T\0\0\0\x02\0\0\0\0\x09"[..], &table].concat();
    assert_eq!(spool.description(b"I\0\0\0\x05"), None);
    for needs in [&truncate, &row[..]] {
        let description = spool.description(needs).unwrap();
        assert!(description.starts_with(b"R\0\0\0\x4dpublic"));
        assert_eq!(spool.description(needs), None, "once is enough");
        spool.late.insert(77, description);
    }
    // A newer description counts.
    assert_eq!(spool.description(&[&b"R"[..], &table].concat()), None);
    assert_eq!(spool.description(&row), None);
}

#[tokio::test]
async fn what_an_earlier_run_left_is_removed_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["7.spool", "notes.txt"] {
        fs::write(folder.path().join(name), "x").unwrap();
    }
    let place = folder.path().to_owned();
    let mut spool = Spool::open(place.clone(), u64::MAX).await.unwrap();
    assert_eq!(files(&place), 1);
    feed(&mut spool, [start(1), piece(b'I', 1, &[0; BLOCK])]).await;
    assert_eq!(files(&place), 2);
    drop(spool);
    assert_eq!(files(&place), 1);
}

#[tokio::test]
async fn a_spool_that_is_full_or_cannot_be_written_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(folder.path().to_owned(), 100).await.unwrap();
    feed(&mut spool, [start(1)]).await;
    let error = spool.take(piece(b'I', 1, &[0; 100])).await.unwrap_err();
    assert!(error.to_string().contains("spool_bytes = 100"), "{error}");

    let blocked = folder.path().join("file");
    fs::write(&blocked, "x").unwrap();
    let mut spool = Spool::open(blocked.join("below"), u64::MAX).await;
    let error = match &mut spool {
        Ok(spool) => {
            feed(spool, [start(1)]).await;
            spool.take(piece(b'I', 1, &[0; BLOCK])).await.unwrap_err()
        }
        Err(_) => spool.unwrap_err(),
    };
    assert!(error.help_text().unwrap().contains("nothing is lost"));
    let full = trouble("written", folder.path(), ErrorKind::StorageFull.into());
    assert!(full.kind().is_retryable());
}

/// One step of the server.
#[derive(Clone, Debug)]
enum Step {
    /// Rows of a transaction, each with its part and its size.
    Block(u32, Vec<(u32, usize)>),
    Abort(u32, u32),
    End(u32, bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let rows = proptest::collection::vec((0_u32..4, 0_usize..BLOCK), 1..6);
    let step = prop_oneof![
        4 => (1_u32..4, rows).prop_map(|(xid, rows)| Step::Block(xid * 10, rows)),
        1 => (1_u32..4, 1_u32..4).prop_map(|(xid, part)| Step::Abort(xid * 10, part)),
        1 => (1_u32..4, any::<bool>()).prop_map(|(xid, commits)| Step::End(xid * 10, commits)),
    ];
    proptest::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 30, ..ProptestConfig::default() })]
    #[test]
    fn what_is_given_out_is_what_was_committed_in_its_order(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let mut spool = Spool::open(folder.path().to_owned(), u64::MAX).await.unwrap();
            let mut model: HashMap<u32, Vec<(u32, Vec<u8>)>> = HashMap::new();
            let mut serial = 0_u64;
            for step in steps {
                match step {
                    Step::Block(xid, rows) => {
                        feed(&mut spool, [start(xid)]).await;
                        let known = model.entry(xid).or_default();
                        for (part, size) in rows {
                            serial += 1;
                            let content = [&serial.to_be_bytes()[..], &vec![1; size]].concat();
                            feed(&mut spool, [piece(b'I', xid + part, &content)]).await;
                            known.push((part, content));
                        }
                        feed(&mut spool, [stop()]).await;
                    }
                    Step::Abort(xid, part) => {
                        // Numbers are not used again, so neither are those of parts that are gone.
                        if let Some(known) = model.get_mut(&xid) && known.iter().any(|(p, _)| *p == part) {
                            feed(&mut spool, [abort(xid, xid + part), commit(xid)]).await;
                            let known = model.remove(&xid).unwrap();
                            let kept = known.into_iter().filter(|(p, _)| *p != part);
                            let kept: Vec<Bytes> = kept.map(|(_, row)| [&b"I"[..], &row].concat().into()).collect();
                            assert_eq!(given(&mut spool).await, kept);
                        }
                    }
                    Step::End(xid, true) => {
                        if let Some(known) = model.remove(&xid) {
                            feed(&mut spool, [commit(xid)]).await;
                            let all: Vec<Bytes> = known.into_iter().map(|(_, row)| [&b"I"[..], &row].concat().into()).collect();
                            assert_eq!(given(&mut spool).await, all);
                        }
                    }
                    Step::End(xid, false) => {
                        model.remove(&xid);
                        feed(&mut spool, [abort(xid, xid)]).await;
                    }
                }
                assert!(spool.buffered <= BUFFERED_MAX);
            }
            if model.is_empty() {
                assert_eq!((spool.bytes, spool.buffered, files(folder.path())), (0, 0, 0));
            }
        });
    }
}
