//! Tests of notices: whatever a journal or a call names is read again, and what it is by then is told.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use lockstep_core::connector::{Call, News, Notice};
use lockstep_core::{Kind, Op, Value};

use super::Case;
use crate::query::{QueryTable, notices};

/// What the system says of its records beside showing them.
#[derive(Default)]
pub(super) struct Journal {
    /// Whether it keeps one.
    pub(super) is_kept: bool,
    /// The records that it names.
    pub(super) named: Vec<i64>,
    /// How many of them it has forgotten.
    pub(super) forgotten: usize,
}

pub(super) fn notice(id: i64) -> Notice {
    Notice {
        table: "orders".to_owned(),
        key: vec![Value::Int(id)],
    }
}

/// Seldom enough that only notices tell anything during a test.
const NEVER: Option<Duration> = Some(Duration::from_secs(3600));

fn seldom() -> QueryTable {
    QueryTable {
        sweep: NEVER,
        ..QueryTable::default()
    }
}

async fn copied(case: &mut Case) -> super::Life {
    let mut life = case.start();
    let read = News::Read("orders".to_owned());
    case.until(&mut life, |case| {
        case.news.contains(&read) && case.is_equal()
    })
    .await;
    life
}

#[tokio::test]
async fn what_a_journal_names_is_told_as_it_is_by_then() {
    for dies in [false, true] {
        let mut case = Case::new(seldom()).await;
        case.memory.journal().is_kept = true;
        for id in 0..8 {
            case.memory.put(id, "old", 0);
        }
        let life = copied(&mut case).await;
        let life = if dies {
            life.kill().await;
            None
        } else {
            Some(life)
        };
        // Made and gone, gone, changed twice, new: each named in an order of its own, and some not at all.
        case.memory.rows().remove(&3);
        case.memory.put(5, "new", 0);
        case.memory.put(20, "made", 0);
        case.memory.put(7, "untold", 0);
        case.memory.journal().named = vec![30, 3, 20, 3, 5, 5, 30, 20];
        let mut life = life.unwrap_or_else(|| case.start());
        case.until(&mut life, |case| {
            case.target.get(&5).is_some_and(|state| state.0 == "new")
                && case.target.contains_key(&20)
                && !case.target.contains_key(&3)
        })
        .await;
        assert_eq!(case.target[&7].0, "old", "nothing named it");
        assert_eq!(case.times(Op::Deleted, 3), 1);
        assert_eq!(case.times(Op::Deleted, 30), 0, "nobody was told of it");
        // What the journal does not reach back to any more is found by comparing.
        life.kill().await;
        case.memory.journal().named.extend([1; 4]);
        case.memory.journal().forgotten = 10;
        let mut life = case.start();
        case.until(&mut life, Case::is_equal).await;
        life.end().await;
    }
}

#[tokio::test]
async fn a_call_is_kept_until_what_it_named_is_told() {
    let mut case = Case::new(seldom()).await;
    case.query.schedule = lockstep_core::schedule::Schedule::Every(Duration::from_secs(3600));
    for id in 0..4 {
        case.memory.put(id, "old", 0);
    }
    let mut life = copied(&mut case).await;
    let call = |signature: &str, id: i64| Call {
        method: "POST".to_owned(),
        url: String::new(),
        headers: BTreeMap::from([("signature".to_owned(), signature.to_owned())]),
        body: id.to_string().into_bytes(),
        at: Timestamp::UNIX_EPOCH,
    };
    // The delete is heard before what made the record.
    case.memory.rows().remove(&2);
    for id in [2, 9, 2] {
        let answer = notices::take(&case.memory, &case.log, "crm", &call("good", id)).await;
        assert_eq!(answer.unwrap().as_deref(), Some("heard"));
    }
    let forged = notices::take(&case.memory, &case.log, "crm", &call("bad", 1)).await;
    assert_eq!(forged.unwrap_err().kind(), Kind::Unauthorized);
    life.kill().await;
    life = case.start();
    case.until(&mut life, Case::is_equal).await;
    assert_eq!(case.times(Op::Deleted, 2), 1);
    life.end().await;
}
