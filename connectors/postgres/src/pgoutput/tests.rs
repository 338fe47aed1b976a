//! What is read of each kind of message, and that nothing else is.

use proptest::prelude::*;

use super::*;

fn text(bytes: &mut Vec<u8>, text: &[u8]) {
    bytes.push(b't');
    bytes.extend((text.len() as u32).to_be_bytes());
    bytes.extend(text);
}

/// One of each, as the server writes them.
fn samples() -> Vec<Vec<u8>> {
    let mut begin = vec![b'B'];
    begin.extend(77_u64.to_be_bytes());
    begin.extend(5_i64.to_be_bytes());
    begin.extend(9_u32.to_be_bytes());
    let mut commit = vec![b'C', 0];
    commit.extend(77_u64.to_be_bytes());
    commit.extend(88_u64.to_be_bytes());
    commit.extend(5_i64.to_be_bytes());
    let mut origin = vec![b'O'];
    origin.extend(1_u64.to_be_bytes());
    origin.extend(b"lockstep_erp\0");
    let mut relation = vec![b'R'];
    relation.extend(3_u32.to_be_bytes());
    relation.extend(b"public\0orders\0d");
    relation.extend(1_u16.to_be_bytes());
    relation.push(1);
    relation.extend(b"id\0");
    relation.extend(20_u32.to_be_bytes());
    relation.extend((-1_i32).to_be_bytes());
    let mut update = vec![b'U', 0, 0, 0, 3, b'K', 0, 1];
    text(&mut update, b"1");
    update.extend([b'N', 0, 3]);
    text(&mut update, "ü".as_bytes());
    update.extend([b'n', b'u']);
    let mut insert = vec![b'I', 0, 0, 0, 3, b'N', 0, 1];
    text(&mut insert, b"");
    let delete = vec![b'D', 0, 0, 0, 3, b'O', 0, 1, b'n'];
    let truncate = vec![b'T', 0, 0, 0, 2, 1, 0, 0, 0, 3, 0, 0, 0, 4];
    let mut note = vec![b'M', 1];
    note.extend(1_u64.to_be_bytes());
    note.extend(b"lockstep\0\0\0\0\x02hi");
    vec![
        begin, commit, origin, relation, update, insert, delete, truncate, note,
    ]
}

#[test]
fn messages_are_read() {
    let samples = samples();
    let read: Vec<Message> = samples.iter().map(|m| Message::parse(m).unwrap()).collect();
    assert_eq!(
        read[0],
        Message::Begin {
            commit: 77,
            at: 5,
            xid: 9
        }
    );
    assert_eq!(
        read[1],
        Message::Commit {
            commit: 77,
            end: 88
        }
    );
    assert_eq!(
        read[2],
        Message::Origin {
            name: "lockstep_erp"
        }
    );
    let Message::Relation(relation) = &read[3] else {
        panic!()
    };
    assert_eq!(
        (relation.name, relation.columns[0].modifier),
        ("orders", -1)
    );
    let Message::Update {
        table: 3,
        old: Some(old @ Old::Key(_)),
        new,
    } = &read[4]
    else {
        panic!("{:?}", read[4])
    };
    assert_eq!(old.tuple().iter().next(), Some(Datum::Text(b"1")));
    let new: Vec<Datum> = new.iter().collect();
    assert_eq!(
        new,
        [Datum::Text("ü".as_bytes()), Datum::Null, Datum::Unchanged]
    );
    assert_eq!(read[7], Message::Truncate { tables: vec![3, 4] });
    assert_eq!(
        read[8],
        Message::Note {
            transactional: true,
            at: 1,
            prefix: b"lockstep",
            content: b"hi"
        }
    );
}

#[test]
fn a_message_that_was_cut_is_refused() {
    for sample in samples() {
        for cut in 0..sample.len() {
            let read = Message::parse(&sample[..cut]);
            // The time at the end of a commit is not read, so what lacks only that is whole.
            let whole = sample[0] == b'C' && cut >= 18;
            assert!(
                whole || read.is_err(),
                "{:?} cut at {cut}",
                sample[0] as char
            );
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes: Vec<u8>, sample in 0_usize..9, place: prop::sample::Index, byte: u8) {
        let _ = Message::parse(&bytes);
        let mut bent = samples().swap_remove(sample);
        let place = place.index(bent.len());
        bent[place] = byte;
        if let Ok(Message::Update { new, .. } | Message::Insert { new, .. }) = Message::parse(&bent) {
            prop_assert_eq!(new.iter().count(), usize::from(new.count));
        }
    }
}
