use std::sync::Arc;

use lockstep_core::position::Mark;
use lockstep_core::{Column, Op, Shape, Type, Value};

use super::*;
use crate::catalog::ColumnInfo;
use crate::convert::Form;
use crate::gtid::Gtids;
use crate::names::TableName;
use crate::position::Cursor;

fn column(name: &str) -> ColumnInfo {
    ColumnInfo {
        name: name.to_owned(),
        declared: "int(11)".to_owned(),
        form: Form::Int,
        charset: None,
        collation: None,
        nullable: false,
        has_default: false,
        generated: false,
        precision: None,
        scale: None,
        unsigned: false,
        fraction: 0,
        members: Vec::new(),
    }
}

fn captured(name: &str) -> Captured {
    Captured {
        spelled: name.to_owned(),
        name: TableName {
            database: "d".to_owned(),
            table: name.to_owned(),
        },
        shape: Arc::new(Shape {
            name: name.to_owned(),
            columns: vec![
                Column::new("id", Type::Int, false),
                Column::new("n", Type::Int, false),
            ],
            key: vec![0],
        }),
        columns: vec![column("id"), column("n")],
        reads: Default::default(),
    }
}

/// A log of one file, written event by event.
struct Log {
    stream: Stream,
    at: u32,
    sequence: u64,
}

impl Log {
    fn new(todo: &[&str]) -> Log {
        let cursor = Cursor {
            file: "binlog.000001".to_owned(),
            at: 300,
            todo: todo.iter().map(|name| (*name).to_owned()).collect(),
            ..Cursor::default()
        };
        Log::after(Reading {
            incarnation: "maria:1-100".into(),
            mark: Mark {
                commit: cursor.place().commit(),
                ordinal: 0,
            },
            gtids: Gtids::none(true),
            cursor,
        })
    }

    fn after(reading: Reading) -> Log {
        Log {
            at: u32::try_from(reading.cursor.at).unwrap(),
            stream: Stream::new(vec![captured("t"), captured("u")], reading, Case::Exact),
            sequence: 0,
        }
    }

    fn event(&mut self, kind: u8, body: &[u8]) -> Result<Ask> {
        let size = u32::try_from(19 + body.len()).unwrap();
        self.at += size;
        let header = Header {
            at: 1_700_000_000,
            kind,
            server: 1,
            size,
            end: self.at,
            flags: 0,
        };
        self.stream.take(&header, body)
    }

    fn begin(&mut self, flags: u8) {
        self.sequence += 1;
        let mut body = self.sequence.to_le_bytes().to_vec();
        body.extend([0, 0, 0, 0, flags, 0, 0, 0, 0, 0, 0]);
        self.event(162, &body).unwrap();
    }

    fn map(&mut self, id: u8, table: &str) {
        let mut body = vec![
            id,
            0,
            0,
            0,
            0,
            0,
            1,
            0,
            1,
            b'd',
            0,
            u8::try_from(table.len()).unwrap(),
        ];
        body.extend(table.bytes());
        body.extend([0, 2, 3, 3, 0, 0, 4, 5, 2, b'i', b'd', 1, b'n']);
        self.event(19, &body).unwrap();
    }

    fn rows(&mut self, kind: u8, id: u8, rows: &[(i32, i32)]) {
        let mut body = vec![id, 0, 0, 0, 0, 0, 1, 0, 2, 3];
        if kind == 24 {
            body.push(3);
        }
        for (key, value) in rows {
            body.push(0);
            body.extend(key.to_le_bytes());
            body.extend(value.to_le_bytes());
        }
        self.event(kind, &body).unwrap();
    }

    fn query(&mut self, text: &str) -> Result<Ask> {
        let mut body = vec![0; 8];
        body.extend([1, 0, 0, 0, 0, b'd', 0]);
        body.extend(text.bytes());
        self.event(2, &body)
    }

    fn commit(&mut self) {
        self.event(16, &[0; 8]).unwrap();
    }

    fn told(&mut self) -> Vec<Change> {
        self.stream.tell(1000, usize::MAX, Timestamp::UNIX_EPOCH);
        self.stream.batch()
    }

    fn chunk(&mut self, keys: &[i64]) {
        let row = |key: &i64| {
            (
                vec![Value::Int(*key)],
                lockstep_core::Row::of([Value::Int(*key), Value::Int(0)]),
            )
        };
        self.stream.chunk = Some(Chunk {
            table: 0,
            place: Place {
                file: 1,
                at: self.at.into(),
            },
            rows: keys.iter().map(row).collect(),
            complete: true,
            bytes: 0,
        });
    }
}

fn ops(changes: &[Change]) -> Vec<(Op, Option<i64>)> {
    let key = |change: &Change| match change.row.value(0) {
        Some(Value::Int(key)) => Some(*key),
        _ => None,
    };
    changes
        .iter()
        .map(|change| (change.op, key(change)))
        .collect()
}

#[test]
fn a_transaction_is_told_and_moves_the_position() {
    let mut log = Log::new(&[]);
    log.begin(4);
    log.map(7, "t");
    log.rows(23, 7, &[(1, 10), (2, 20)]);
    log.rows(24, 7, &[(1, 10), (3, 10)]);
    log.rows(25, 7, &[(2, 20)]);
    assert_eq!(
        log.stream.reading.cursor.at, 300,
        "inside a transaction the position does not move"
    );
    let changes = log.told();
    assert_eq!(
        ops(&changes),
        [
            (Op::Created, Some(1)),
            (Op::Created, Some(2)),
            (Op::Updated, Some(3)),
            (Op::Deleted, Some(2))
        ]
    );
    assert_eq!(
        changes[2].before.as_ref().unwrap().value(0),
        Some(&Value::Int(1))
    );
    assert!(changes.windows(2).all(|pair| pair[0].mark < pair[1].mark));
    log.commit();
    assert_eq!(log.stream.reading.cursor.at, u64::from(log.at));
    assert_eq!(log.stream.reading.gtids.to_string(), "0-1-1");
}

#[test]
fn what_a_position_covers_is_not_told_again() {
    let mut log = Log::new(&[]);
    log.begin(4);
    log.map(7, "t");
    log.rows(23, 7, &[(1, 10), (2, 20), (3, 30)]);
    log.stream.tell(2, usize::MAX, Timestamp::UNIX_EPOCH);
    let first = log.stream.batch();
    assert_eq!(first.len(), 2);
    let mut again = Log::after(log.stream.reading.clone());
    again.begin(4);
    again.map(7, "t");
    again.rows(23, 7, &[(1, 10), (2, 20), (3, 30)]);
    let rest = again.told();
    assert_eq!(ops(&rest), [(Op::Created, Some(3))]);
    assert_eq!(rest[0].mark, log.told()[0].mark);
}

#[test]
fn what_a_sink_wrote_is_left_out_and_moves_the_position() {
    let mut log = Log::new(&[]);
    log.begin(4);
    log.map(9, progress::TABLE);
    log.map(7, "t");
    log.rows(23, 9, &[(0, 0)]);
    log.rows(23, 7, &[(1, 10)]);
    log.commit();
    assert!(log.told().is_empty());
    assert_eq!(log.stream.reading.cursor.at, u64::from(log.at));
    log.begin(4);
    log.map(7, "t");
    log.rows(23, 7, &[(2, 10)]);
    log.commit();
    assert_eq!(ops(&log.told()), [(Op::Created, Some(2))]);
}

#[test]
fn rows_of_a_snapshot_stand_between_transactions() {
    let mut log = Log::new(&["t"]);
    let marks =
        |changes: &[Change]| -> Vec<Mark> { changes.iter().map(|change| change.mark).collect() };
    log.chunk(&[1, 2]);
    log.stream.settle();
    let snapshot = log.told();
    assert_eq!(
        ops(&snapshot),
        [(Op::Snapshot, Some(1)), (Op::Snapshot, Some(2))]
    );
    assert_eq!(log.stream.reading.cursor.done, ["t"]);
    log.begin(4);
    log.map(7, "t");
    log.rows(25, 7, &[(1, 0)]);
    log.commit();
    let change = log.told();
    assert!(marks(&snapshot).last() < marks(&change).first());
    // The next one waits until the log has been read as far as it stands.
    log.stream.read_again(0);
    log.at += 500;
    log.chunk(&[2]);
    log.at -= 500;
    log.stream.settle();
    assert!(!log.stream.is_waiting());
    log.event(161, &[0; 481]).unwrap();
    assert!(log.stream.is_waiting());
    assert!(marks(&change).last() < marks(&log.told()).first());
}

#[test]
fn statements_about_tables_are_told() {
    let mut log = Log::new(&[]);
    log.stream.reading.cursor.done = vec!["t".to_owned(), "u".to_owned()];
    log.begin(1);
    assert_eq!(log.query("TRUNCATE TABLE t").unwrap(), Ask::Nothing);
    assert_eq!(ops(&log.told()), [(Op::Truncated, None)]);
    assert!(log.stream.reading.cursor.todo.is_empty());
    log.begin(1);
    assert_eq!(
        log.query("RENAME TABLE d.u TO old, new TO u").unwrap(),
        Ask::Look(vec![1])
    );
    let told = log.told();
    assert_eq!(told.last().map(|change| change.op), Some(Op::Truncated));
    assert_eq!(log.stream.reading.cursor.todo, ["u"]);
    log.begin(1);
    assert_eq!(
        log.query("ALTER TABLE t ADD COLUMN x int").unwrap(),
        Ask::Look(vec![0])
    );
    assert!(log.told().is_empty());
    log.begin(4);
    assert!(log.query("INSERT INTO t VALUES (1, 2)").is_err());
}

#[test]
fn names_that_differ_by_case_are_other_tables() {
    let mut log = Log::new(&[]);
    log.begin(1);
    assert_eq!(log.query("DROP TABLE T").unwrap(), Ask::Nothing);
    assert!(log.told().is_empty());
    log.stream.case = Case::Ignored;
    log.begin(1);
    assert_eq!(log.query("DROP TABLE T").unwrap(), Ask::Look(vec![0]));
    assert_eq!(ops(&log.told()), [(Op::Truncated, None)]);
}

#[test]
fn a_column_that_is_dropped_and_added_again_lets_the_table_be_read_again() {
    let mut log = Log::new(&[]);
    log.stream.reading.cursor.done = vec!["t".to_owned(), "u".to_owned()];
    log.begin(1);
    let ask = log.query("ALTER TABLE t DROP COLUMN n, ADD COLUMN n int NOT NULL");
    assert_eq!(ask.unwrap(), Ask::Look(vec![0]));
    assert!(log.told().is_empty());
    assert_eq!(log.stream.reading.cursor.todo, ["t"]);
    assert_eq!(log.stream.reading.cursor.done, ["u"]);
}

#[test]
fn what_is_not_known_is_refused_where_it_may_change_rows() {
    let mut log = Log::new(&[]);
    log.begin(1);
    assert!(log.query("CONJURE t").is_ok(), "outside of a transaction");
    log.begin(4);
    assert!(log.query("CONJURE other").is_ok());
    let error = log.query("CONJURE t").unwrap_err();
    assert!(error.to_string().contains("as a statement"), "{error}");
    log.begin(4);
    assert!(log.query("WITH c AS (SELECT 1) DELETE FROM t").is_err());
}

#[test]
fn what_cannot_be_told_is_refused() {
    let mut log = Log::new(&[]);
    log.begin(4 | 64);
    log.map(9, "other");
    log.rows(23, 9, &[(1, 1)]);
    log.map(7, "t");
    let mut body = vec![7, 0, 0, 0, 0, 0, 1, 0, 2, 3, 0];
    body.extend([1, 0, 0, 0, 1, 0, 0, 0]);
    let error = log.event(23, &body).unwrap_err();
    assert!(error.to_string().contains("XA"), "{error}");
    let help = error.help_text().unwrap_or_default();
    assert!(help.contains("accept_gap_of = \"maria:1-100\""), "{help}");
    let mut log = Log::new(&[]);
    assert!(log.event(39, &[]).is_err());
    assert!(log.event(26, &[]).is_err());
    log.begin(4);
    assert!(
        log.event(23, &[5, 0, 0, 0, 0, 0, 1, 0, 2, 3]).is_err(),
        "rows of a table that was not described"
    );
}

#[test]
fn idle_time_moves_the_position() {
    let mut log = Log::new(&[]);
    let told = log.stream.reading.cursor.place();
    log.begin(4);
    log.map(9, "other");
    log.rows(23, 9, &[(1, 1)]);
    assert!(!log.stream.is_ahead(told));
    log.commit();
    assert!(log.stream.is_ahead(told));
    log.stream.skip();
    assert_eq!(log.stream.reading.cursor.at, u64::from(log.at));
    // The file ends, and the server says that nothing happens in the next one.
    log.event(4, b"\x04\0\0\0\0\0\0\0binlog.000002").unwrap();
    assert_eq!(log.stream.end(), Place { file: 2, at: 4 });
    assert_eq!(log.stream.reading.cursor.born, None);
    let described = Header {
        at: 77,
        kind: 15,
        server: 1,
        size: 100,
        end: 256,
        flags: 0,
    };
    log.stream.take(&described, &[0; 81]).unwrap();
    let header = Header {
        at: 0,
        kind: 27,
        server: 1,
        size: 40,
        end: 342,
        flags: 0,
    };
    log.stream.take(&header, b"binlog.000002").unwrap();
    log.stream.skip();
    assert_eq!(
        log.stream.reading.cursor.place(),
        Place { file: 2, at: 342 }
    );
    assert_eq!(log.stream.reading.cursor.file, "binlog.000002");
    assert_eq!(log.stream.reading.cursor.born, Some(77));
}
