use std::io::Write as _;

use lockstep_core::{Cell, Row, Value};
use proptest::prelude::*;

use super::reader::Reader;
use super::rows::{Target, Wire, image};
use super::table_map::{MapColumn, TableMap, kind};
use super::*;
use crate::charset::Charset;
use crate::convert::Form;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn header(kind: u8) -> Header {
    Header {
        at: 1_700_000_000,
        kind,
        server: 1,
        size: 100,
        end: 500,
        flags: 0,
    }
}

fn target(place: usize, form: Form) -> Target {
    Target {
        place,
        form,
        unsigned: false,
        charset: Charset::Utf8,
        members: vec!["a".to_owned(), "b".to_owned()],
    }
}

/// What MariaDB 10.11 wrote for `t(id int, u uuid, i inet6, b binary(6), c char(5), j json, d decimal(10,3), f float, ts timestamp(3), y year, e enum('a','b'), s set('x','y'), bt bit(9), g geometry, v int virtual, w int stored, h int)`.
const MAP: &str = "12000000000001000164000174001103fefefefefcf604110dfefe10ff03030314fe10fe10fe06fe05040a030403f701f801010104feff0101011002053f0308042e07010004250269640175016901620163016a0164016602747301790165017302627401670176017701680a01080505020178017906050201610162080100";
/// The row `(1, '01020304-0506-4708-890a-0b0c0d0e0f10', '::1', x'010200', 'ab', '{}', -12.5)`, the rest null, of that table.
const ROW: &str = "120000000000010011ffff01803fff01000000100102030405064708890a0b0c0d0e0f101000000000000000000000000000000001020102026162020000007b7d7ffffff3fe0b0200000002000000";

#[test]
fn a_recorded_row_is_read() {
    let map = bytes(MAP);
    let map = TableMap::parse(&map).unwrap();
    assert_eq!((map.database.as_str(), map.table.as_str()), ("d", "t"));
    let names: Vec<&str> = map
        .columns
        .iter()
        .map(|column| column.name.as_deref().unwrap())
        .collect();
    assert_eq!(names.join(" "), "id u i b c j d f ts y e s bt g v w h");
    assert_eq!(map.columns[10].members, [b"a".to_vec(), b"b".to_vec()]);
    let forms = [
        Form::Int,
        Form::Uuid,
        Form::Inet,
        Form::Fixed(6),
        Form::Padded,
        Form::Json,
        Form::Decimal,
    ];
    let mut wires: Vec<Wire> = map.columns.iter().map(Wire::of).collect();
    for (place, form) in forms.into_iter().enumerate() {
        wires[place].target = Some(target(place, form));
    }
    let row = bytes(ROW);
    let Event::Rows(event) = Event::parse(&header(23), &row).unwrap() else {
        panic!("no rows");
    };
    assert_eq!((event.table, event.op, event.width), (18, RowOp::Write, 17));
    let unfolded = event.bytes().unwrap();
    let mut reader = Reader::new(&unfolded);
    let read = image(&mut reader, &wires, event.present, forms.len()).unwrap();
    assert!(reader.is_empty());
    let expected = Row::of([
        Value::Int(1),
        Value::Uuid("01020304-0506-4708-890a-0b0c0d0e0f10".parse().unwrap()),
        Value::text("::1"),
        Value::Bytes(vec![1, 2, 0, 0, 0, 0]),
        Value::text("ab"),
        Value::Json("{}".into()),
        Value::Decimal("-12.500".parse().unwrap()),
    ]);
    assert_eq!(read, expected);
}

#[test]
fn recorded_names_of_transactions_are_read() {
    let maria = bytes("03000000000000000000 00000c000000000000");
    let Event::MariaGtid {
        domain,
        sequence,
        standalone,
        xa,
    } = Event::parse(&header(162), &maria).unwrap()
    else {
        panic!("no name");
    };
    assert_eq!((domain, sequence, standalone, xa), (0, 3, false, false));
    // Made after MySQL's description: flags, the server's number, the sequence, and what follows it.
    let mysql = bytes(
        "01 3e11fa4771ca11e19e33c80aa9429562 1700000000000000 02 0000000000000000 0100000000000000",
    );
    let Event::MysqlGtid { source, sequence } = Event::parse(&header(33), &mysql).unwrap() else {
        panic!("no name");
    };
    assert_eq!((source[0], sequence), (0x3e, 23));
}

fn one(kind: u8, meta: u16, form: Form, hex: &str) -> Value {
    let wire = Wire {
        kind,
        meta,
        target: Some(target(0, form)),
    };
    let mut row = vec![0];
    row.extend(bytes(hex));
    let mut reader = Reader::new(&row);
    let read = image(&mut reader, &[wire], &[1], 1).unwrap();
    assert!(reader.is_empty(), "{hex}");
    match &read.0[0] {
        Cell::Set(value) => value.clone(),
        Cell::Unchanged => panic!("not read"),
    }
}

#[test]
fn values_are_read_as_the_servers_write_them() {
    let decimal = |text: &str| Value::Decimal(text.parse().unwrap());
    let at = |text: &str| Value::Timestamp(text.parse().unwrap());
    for (kind, meta, form, hex, value) in [
        (kind::TINY, 0, Form::Int, "ff", Value::Int(-1)),
        (kind::INT24, 0, Form::Int, "000080", Value::Int(-8_388_608)),
        (
            kind::LONGLONG,
            0,
            Form::Int,
            "ffffffffffffff7f",
            Value::Int(i64::MAX),
        ),
        (
            kind::NEWDECIMAL,
            0x0e04,
            Form::Decimal,
            "810dfb38d204d2",
            decimal("1234567890.1234"),
        ),
        (
            kind::NEWDECIMAL,
            0x0e04,
            Form::Decimal,
            "7ef204c72dfb2d",
            decimal("-1234567890.1234"),
        ),
        (
            kind::NEWDECIMAL,
            0x0202,
            Form::Decimal,
            "85",
            decimal("0.05"),
        ),
        (kind::YEAR, 0, Form::Year, "7c", Value::Int(2024)),
        (
            kind::DATE,
            0,
            Form::Date,
            "5dd00f",
            Value::Date(jiff::civil::date(2024, 2, 29)),
        ),
        (
            kind::DATETIME2,
            0,
            Form::Datetime,
            "99b2ba9780",
            at("2024-02-29T09:30:00Z"),
        ),
        (
            kind::DATETIME2,
            6,
            Form::Datetime,
            "99b2ba978001e240",
            at("2024-02-29T09:30:00.123456Z"),
        ),
        (
            kind::TIMESTAMP2,
            3,
            Form::Timestamp,
            "65e04f4804e2",
            at("2024-02-29T09:32:56.125Z"),
        ),
        (
            kind::TIME2,
            0,
            Form::Time,
            "809780",
            Value::Time(jiff::civil::time(9, 30, 0, 0)),
        ),
        (
            kind::TIME2,
            1,
            Form::Time,
            "7fffffce",
            Value::text("-00:00:00.5"),
        ),
        (kind::ENUM, 1, Form::Enum, "02", Value::text("b")),
        (kind::ENUM, 1, Form::Enum, "00", Value::text("")),
        (kind::SET, 1, Form::Set, "03", Value::text("a,b")),
        (kind::BIT, 0x0101, Form::Bit, "0101", Value::Int(257)),
        (kind::VARCHAR, 300, Form::Text, "0200c3bc", Value::text("ü")),
        (kind::BLOB, 2, Form::Bytes, "010000", Value::Bytes(vec![0])),
        (kind::FLOAT, 0, Form::Float, "cdcccc3d", Value::Float(0.1)),
    ] {
        assert_eq!(one(kind, meta, form, hex), value, "{hex}");
    }
}

#[test]
fn compressed_events_are_unfolded() {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(b"TRUNCATE t").unwrap();
    let packed = encoder.finish().unwrap();
    let mut body = bytes("00000000 00000000 01 0000 0000 6400");
    body.extend([0x81, 10]);
    body.extend(&packed);
    let Event::Query { database, text } = Event::parse(&header(165), &body).unwrap() else {
        panic!("no query");
    };
    assert_eq!((&database[..], &text[..]), (&b"d"[..], &b"TRUNCATE t"[..]));
    // A length that is not that of the content, and one that no server writes.
    let place = body.len() - packed.len() - 1;
    body[place] = 9;
    assert!(Event::parse(&header(165), &body).is_err());
    body.truncate(place);
    assert!(Event::parse(&header(165), &body).is_err());
}

proptest! {
    #[test]
    fn no_event_panics(kind: u8, body in prop::collection::vec(any::<u8>(), 0..80)) {
        if let Ok(Event::Rows(event)) = Event::parse(&header(kind), &body) {
            let _ = (event.size(), event.bytes());
        }
    }

    #[test]
    fn no_damaged_map_or_row_panics(place in 0..usize::MAX, byte: u8, cut in 0..200_usize) {
        let mut map = bytes(MAP);
        let at = place % map.len();
        map[at] = byte;
        map.truncate(map.len().saturating_sub(cut / 8));
        let parsed = TableMap::parse(&map);
        let mut row = bytes(ROW);
        let at = place % row.len();
        row[at] = byte;
        row.truncate(row.len().saturating_sub(cut / 8));
        let columns = parsed.map_or_else(|_| TableMap::parse(&bytes(MAP)).unwrap().columns, |map| map.columns);
        let wires: Vec<Wire> = columns.iter().enumerate().map(|(place, column)| {
            let mut wire = Wire::of(column);
            wire.target = Some(target(place, Form::Text));
            wire
        }).collect();
        if let Ok(Event::Rows(event)) = Event::parse(&header(23), &row) {
            let unfolded = event.bytes().unwrap();
            let _ = image(&mut Reader::new(&unfolded), &wires, event.present, wires.len());
        }
    }

    #[test]
    fn no_value_panics(kind: u8, meta: u16, body in prop::collection::vec(any::<u8>(), 0..40)) {
        let column = MapColumn { kind, meta, ..MapColumn::default() };
        for form in [Form::Int, Form::Text, Form::Decimal, Form::Uuid, Form::Inet, Form::Json, Form::Fixed(8)] {
            let mut wire = Wire::of(&column);
            wire.target = Some(target(0, form));
            let _ = image(&mut Reader::new(&body), &[wire], &[1], 1);
        }
    }
}
