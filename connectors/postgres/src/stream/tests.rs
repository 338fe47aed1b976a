//! What the stream makes of transactions and chunks, without any server.

use lockstep_core::position::Mark;
use lockstep_core::{Cell, Row, Value};

use super::{AGAIN_MAX, Ask, Stream};
use crate::position::{Cursor, Lsn, Reading, RowKey};
use crate::snapshot::{Chunk, Waiting};
use crate::tables::tests::captured;

/// A column of a row of the stream.
#[derive(Clone, Copy)]
enum Col<'t> {
    Text(&'t str),
    Kept,
    Null,
}

use Col::{Kept, Null, Text};

fn tuple(out: &mut Vec<u8>, columns: &[Col<'_>]) {
    out.extend((columns.len() as u16).to_be_bytes());
    for column in columns {
        match column {
            Kept => out.push(b'u'),
            Null => out.push(b'n'),
            Text(text) => {
                out.push(b't');
                out.extend((text.len() as u32).to_be_bytes());
                out.extend(text.as_bytes());
            }
        }
    }
}

fn begin(commit: u64, xid: u32) -> Vec<u8> {
    let mut out = vec![b'B'];
    out.extend(commit.to_be_bytes());
    out.extend(0_u64.to_be_bytes());
    out.extend(xid.to_be_bytes());
    out
}

fn commit(end: u64) -> Vec<u8> {
    let mut out = vec![b'C', 0];
    out.extend(0_u64.to_be_bytes());
    out.extend(end.to_be_bytes());
    out.extend(0_u64.to_be_bytes());
    out
}

fn relation() -> Vec<u8> {
    let mut out = vec![b'R', 0, 0, 0, 1];
    out.extend(b"public\0orders\0d\0\x03");
    for (identifies, name) in [(1, "id"), (0, "a"), (0, "big")] {
        out.push(identifies);
        out.extend(name.bytes());
        out.extend([0, 0, 0, 0, 25, 255, 255, 255, 255]);
    }
    out
}

fn insert(id: &str, a: &str) -> Vec<u8> {
    let mut out = vec![b'I', 0, 0, 0, 1, b'N'];
    tuple(&mut out, &[Text(id), Text(a), Text("B")]);
    out
}

fn update(old: Option<&str>, id: &str, a: &str, big: Col<'_>) -> Vec<u8> {
    let mut out = vec![b'U', 0, 0, 0, 1];
    if let Some(old) = old {
        out.push(b'K');
        tuple(&mut out, &[Text(old), Null, Null]);
    }
    out.push(b'N');
    tuple(&mut out, &[Text(id), Text(a), big]);
    out
}

fn delete(id: &str) -> Vec<u8> {
    let mut out = vec![b'D', 0, 0, 0, 1, b'K'];
    tuple(&mut out, &[Text(id), Null, Null]);
    out
}

fn origin(name: &str) -> Vec<u8> {
    let mut out = vec![b'O'];
    out.extend([0; 8]);
    out.extend(name.bytes());
    out.push(0);
    out
}

fn note(content: &str) -> Vec<u8> {
    let mut out = vec![b'M', 1];
    out.extend([0; 8]);
    out.extend(b"lockstep\0");
    out.extend((content.len() as u32).to_be_bytes());
    out.extend(content.bytes());
    out
}

fn key(id: &str) -> RowKey {
    vec![id.to_owned()]
}

fn stored(id: &str, a: &str, again: bool) -> Waiting {
    let row = Row::of([Value::text(id), Value::text(a), Value::text("B")]);
    Waiting {
        key: key(id),
        row,
        again,
    }
}

/// A stream whose table is being snapshotted, or not.
fn stream(todo: &[&str]) -> Stream {
    let reading = Reading {
        incarnation: "1-0".into(),
        mark: Mark {
            commit: 10,
            ordinal: 0,
        },
        cursor: Cursor {
            from: Lsn(10),
            todo: todo.iter().map(|name| (*name).to_owned()).collect(),
            ..Cursor::default()
        },
    };
    let mut stream = Stream::new(
        vec![captured(&["id", "a", "big"])],
        Vec::new(),
        reading,
        true,
    );
    assert_eq!(stream.take(&relation()).unwrap(), Ask::Nothing);
    stream
}

/// Feeds transactions of (commit, xid, messages), then tells what finds its place.
fn feed(stream: &mut Stream, transactions: &[(u64, u32, Vec<Vec<u8>>)]) -> Vec<String> {
    for (at, xid, messages) in transactions {
        stream.take(&begin(*at, *xid)).unwrap();
        for message in messages {
            stream.take(message).unwrap();
        }
        stream.take(&commit(at + 5)).unwrap();
        stream.place(100, 100_000);
    }
    stream.batch().iter().map(told).collect()
}

/// `op id a big at commit.ordinal`, with a dash for what is unchanged.
fn told(change: &lockstep_core::Change) -> String {
    let cells = change.row.0.iter().map(|cell| match cell {
        Cell::Set(value) => value.to_string(),
        Cell::Unchanged => "-".to_owned(),
    });
    let cells: Vec<String> = cells.collect();
    format!(
        "{} {} at {}.{}",
        change.op.name(),
        cells.join(" "),
        change.mark.commit,
        change.mark.ordinal
    )
}

#[test]
fn a_chunk_finds_its_place_at_its_mark_in_the_log() {
    let mut stream = stream(&["orders"]);
    let rows = vec![stored("1", "x", false), stored("2", "x", false)];
    stream.chunk = Some(Chunk::of("n", "20:30:", rows, true));
    let told = feed(
        &mut stream,
        &[
            (100, 19, vec![update(None, "1", "x", Text("B"))]),
            (110, 31, vec![note("another")]),
            (120, 32, vec![note("n")]),
            (130, 33, vec![delete("1")]),
        ],
    );
    assert_eq!(
        told,
        [
            "updated 1 x B at 100.1",
            "snapshot 1 x B at 120.1",
            "snapshot 2 x B at 120.2",
            "deleted 1 - - at 130.1"
        ]
    );
    let cursor = &stream.reading.cursor;
    assert_eq!(
        (cursor.done.len(), cursor.todo.len(), cursor.from),
        (1, 0, Lsn(135))
    );
}

#[test]
fn a_chunk_that_is_told_says_that_nothing_more_comes_of_its_transaction() {
    let mut stream = stream(&["orders"]);
    let rows = ["1", "2", "3"].map(|id| stored(id, "x", false));
    stream.chunk = Some(Chunk::of("n", "20:30:", rows.into(), true));
    for message in [begin(120, 32), note("n"), commit(125)] {
        stream.take(&message).unwrap();
    }
    let mut marks = Vec::new();
    while stream.is_placing() {
        stream.place(2, 100_000);
        stream.batch();
        marks.push((stream.reading.mark.commit, stream.reading.mark.ordinal));
    }
    // Whoever waits for whole transactions has it whole with its last row.
    assert_eq!(marks, [(120, 2), (125, 0)]);
}

#[test]
fn a_change_that_the_chunk_does_not_contain_has_the_last_word() {
    let mut stream = stream(&["orders"]);
    let rows = ["1", "2", "3", "4", "5"].map(|id| stored(id, "old", false));
    stream.chunk = Some(Chunk::of("n", "20:30:25", rows.into(), true));
    let told = feed(
        &mut stream,
        &[
            // Under way when the chunk was read, though others behind it were over.
            (100, 25, vec![update(None, "1", "new", Kept)]),
            (105, 26, vec![update(None, "5", "old", Text("B"))]),
            (
                110,
                31,
                vec![
                    delete("2"),
                    insert("2", "again"),
                    update(Some("3"), "7", "moved", Kept),
                ],
            ),
            (120, 32, vec![note("n")]),
        ],
    );
    assert_eq!(
        told,
        [
            // What was not sent is known from the chunk, which is older.
            "updated 1 new B at 100.1",
            "updated 5 old B at 105.1",
            "deleted 2 - - at 110.1",
            "created 2 again B at 110.2",
            "updated 7 moved B at 110.3",
            "snapshot 4 old B at 120.1",
            "snapshot 5 old B at 120.2",
        ]
    );
}

#[test]
fn a_row_of_which_only_a_part_was_told_is_read_again() {
    let mut stream = stream(&["orders"]);
    let told = feed(
        &mut stream,
        &[(
            100,
            20,
            vec![
                update(None, "1", "new", Kept),
                update(Some("2"), "3", "moved", Kept),
            ],
        )],
    );
    // That the old key is gone is told at once.
    assert_eq!(told, ["deleted 2 - - at 100.2"]);
    assert_eq!(stream.reading.cursor.again, [key("1"), key("3")]);
    let rows = vec![
        stored("1", "new", true),
        stored("3", "moved", true),
        stored("3", "moved", false),
    ];
    stream.chunk = Some(Chunk::of("n", "30:30:", rows, true));
    let told = feed(&mut stream, &[(120, 32, vec![note("n")])]);
    assert_eq!(
        told,
        [
            "updated 1 new B at 120.1",
            "updated 3 moved B at 120.2",
            "snapshot 3 moved B at 120.3"
        ]
    );
    assert_eq!(stream.reading.cursor.done, ["orders"]);
    // Once the table is complete, what was not touched is told as unchanged.
    let told = feed(
        &mut stream,
        &[(130, 33, vec![update(None, "1", "newer", Kept)])],
    );
    assert_eq!(told, ["updated 1 newer - at 130.1"]);
}

#[test]
fn too_many_rows_to_read_again_are_told_as_they_are_or_the_table_begins_anew() {
    let mut stream = stream(&["orders"]);
    stream.reading.cursor.after = Some(key("5"));
    let many = (0..AGAIN_MAX).map(|id| update(None, &id.to_string(), "x", Kept));
    assert!(feed(&mut stream, &[(100, 20, many.collect())]).is_empty());
    let told = feed(
        &mut stream,
        &[(110, 21, vec![update(None, "more", "x", Kept)])],
    );
    assert_eq!(told, ["updated more x - at 110.1"]);
    assert_eq!(stream.reading.cursor.after, Some(key("5")));
    // A row that moved could otherwise have left what is still to be read for what was read already.
    let told = feed(
        &mut stream,
        &[(120, 22, vec![update(Some("a"), "b", "x", Kept)])],
    );
    assert_eq!(told, ["deleted a - - at 120.1"]);
    assert_eq!(stream.reading.cursor.after, None);
    assert!(stream.reading.cursor.again.is_empty());
}

#[test]
fn what_a_sink_of_ours_wrote_is_left_out_and_not_undone_by_the_snapshot() {
    let mut stream = stream(&["orders"]);
    let rows = vec![stored("1", "old", false), stored("2", "old", false)];
    stream.chunk = Some(Chunk::of("n", "20:30:", rows, true));
    let told = feed(
        &mut stream,
        &[
            (
                100,
                31,
                vec![origin("lockstep_erp"), update(None, "1", "ours", Text("B"))],
            ),
            (
                110,
                32,
                vec![origin("theirs"), update(None, "3", "theirs", Text("B"))],
            ),
            (120, 33, vec![note("n")]),
        ],
    );
    assert_eq!(
        told,
        ["updated 3 theirs B at 110.1", "snapshot 2 old B at 120.1"]
    );
    assert_eq!(stream.reading.cursor.again, [key("1")]);
    assert_eq!(stream.reading.cursor.todo, ["orders"]);
}

#[test]
fn a_chunk_that_lacks_what_was_told_is_noticed() {
    let mut stream = stream(&["orders"]);
    feed(&mut stream, &[(100, 25, vec![insert("1", "x")])]);
    let chunk = |seen| Chunk::of("n", seen, Vec::new(), true);
    assert!(stream.told_more_than(&chunk("20:30:25")));
    assert!(!stream.told_more_than(&chunk("20:30:24")));
}

#[test]
fn what_a_position_covers_is_not_told_again() {
    let mut stream = stream(&[]);
    stream.covered = Mark {
        commit: 100,
        ordinal: 2,
    };
    let told = feed(
        &mut stream,
        &[
            (90, 19, vec![insert("0", "x")]),
            (
                100,
                20,
                vec![insert("1", "x"), insert("2", "x"), insert("3", "x")],
            ),
        ],
    );
    assert_eq!(told, ["created 3 x B at 100.3"]);
}

#[test]
fn a_position_never_stands_inside_a_transaction_nor_goes_back() {
    let mut stream = stream(&[]);
    stream.take(&begin(100, 20)).unwrap();
    stream.take(&insert("1", "x")).unwrap();
    assert!(!stream.is_ahead(500));
    stream.skip_to(500);
    assert_eq!(stream.reading.cursor.from, Lsn(10));
    assert_eq!(
        stream.reading.mark,
        Mark {
            commit: 100,
            ordinal: 1
        }
    );
    stream.take(&commit(105)).unwrap();
    stream.skip_to(50);
    assert_eq!(stream.reading.cursor.from, Lsn(105));
    stream.skip_to(500);
    assert_eq!(
        (stream.reading.cursor.from, stream.reading.mark.commit),
        (Lsn(500), 500)
    );
}

#[test]
fn rows_that_nobody_described_or_began_are_refused() {
    let mut fresh = stream(&[]);
    assert!(fresh.take(&insert("1", "x")).is_err());
    fresh.take(&begin(100, 20)).unwrap();
    let mut unknown = insert("1", "x");
    unknown[4] = 9;
    assert!(fresh.take(&unknown).is_err());
    assert_eq!(fresh.batch().len(), 0);
}
