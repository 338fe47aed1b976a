//! Tests of what is known of rows: whatever was told goes when its row does, and comes back with it.

use std::time::Duration;

use lockstep_core::connector::News;
use lockstep_core::{Op, capture::listing::Share};

use super::{Case, PATIENCE, watermark};
use crate::query::QueryTable;

#[tokio::test]
async fn a_row_that_lives_between_two_sweeps_only_is_deleted() {
    for dies in [false, true] {
        let mut case = Case::new(watermark(Some(Duration::from_millis(600)))).await;
        case.query.share = Share { percent: 20 };
        let mut life = case.start();
        case.until(&mut life, |case| {
            case.news.contains(&News::Read("orders".to_owned()))
        })
        .await;
        for id in 0..5 {
            case.memory.put(id, "new", 100);
        }
        case.memory.put(20, "short", 101);
        case.until(&mut life, Case::is_equal).await;
        if dies {
            life.kill().await;
            life = case.start();
        }
        // Its key changes: to the log that is one row that goes and one that comes.
        case.memory.rows().remove(&20);
        case.memory.put(21, "short", 102);
        case.until(&mut life, Case::is_equal).await;
        life.end().await;
        assert_eq!(case.times(Op::Deleted, 20), 1);
    }
}

#[tokio::test]
async fn a_record_that_gets_another_name_is_told_with_the_one_before() {
    let mut case = Case::new(watermark(Some(Duration::from_secs(3600)))).await;
    case.names.insert("state".to_owned());
    for id in 0..20 {
        case.memory.put(id, &format!("name {id}"), 100);
    }
    let mut life = case.start();
    let read = News::Read("orders".to_owned());
    case.until(&mut life, |case| {
        case.news.contains(&read) && case.is_equal()
    })
    .await;
    // Long after the copy, so that only its pages know the name.
    for at in [2000, 3000] {
        for id in [3, 12] {
            case.memory.put(id, &format!("name {id} of {at}"), at);
        }
        case.until(&mut life, Case::is_equal).await;
    }
    life.end().await;
    for id in [3, 12] {
        for before in [format!("name {id}"), format!("name {id} of 2000")] {
            assert!(case.renamed.contains(&(id, before)), "{:?}", case.renamed);
        }
    }
}

#[tokio::test]
async fn a_row_that_comes_back_as_it_was_is_told_again() {
    let mut case = Case::new(watermark(Some(Duration::from_millis(20)))).await;
    for id in 0..9 {
        case.memory.put(id, "new", 100);
    }
    let mut life = case.start();
    case.until(&mut life, Case::is_equal).await;
    case.memory.put(20, "short", 103);
    case.until(&mut life, Case::is_equal).await;
    case.memory.rows().remove(&20);
    case.until(&mut life, Case::is_equal).await;
    case.memory.put(20, "short", 103);
    case.until(&mut life, Case::is_equal).await;
    // What a sweep tells of a row goes before what a window told of it.
    case.memory.put(20, "long", 1);
    case.until(&mut life, Case::is_equal).await;
    case.memory.put(20, "short", 103);
    case.until(&mut life, Case::is_equal).await;
    life.end().await;
}

#[tokio::test]
async fn rows_that_go_while_nothing_runs_are_deleted_wherever_a_listing_was_killed() {
    for by_watermark in [false, true] {
        for (batches, is_safe) in (2..9).flat_map(|n| [(n, false), (n, true)]) {
            let mut case = Case::new(if by_watermark {
                watermark(Some(Duration::from_millis(10)))
            } else {
                QueryTable::default()
            })
            .await;
            case.query.share = Share { percent: 100 };
            for id in 0..20 {
                case.memory.put(id, "new", id);
            }
            let mut life = case.start();
            for _ in 0..batches {
                case.take(&mut life).await;
            }
            if !is_safe {
                case.take_lost(&mut life).await;
            }
            life.kill().await;
            let told = case.target.clone();
            case.memory.rows().retain(|id, _| !told.contains_key(id));
            let mut life = case.start();
            case.until(&mut life, Case::is_equal).await;
            life.end().await;
        }
    }
}

#[tokio::test]
async fn two_rows_of_one_key_are_found_wherever_chunks_end() {
    let case = Case::new(QueryTable {
        key: vec!["at".to_owned()],
        ..QueryTable::default()
    })
    .await;
    for id in 0..6 {
        case.memory.put(id, "new", [1, 3, 5, 5, 7, 9][id as usize]);
    }
    let mut life = case.start();
    let deadline = tokio::time::timeout(PATIENCE, async {
        while let Some(batch) = life.feed.batches.recv().await {
            // It may have ended by now.
            let _ = life.feed.safe.send(Some(batch.position));
        }
        (&mut life.task).await.unwrap().unwrap_err()
    });
    let error = deadline.await.unwrap();
    assert_eq!(error.error_code(), Some("LS-Q002"));
}

#[tokio::test]
async fn a_sweep_finds_values_that_are_old_to_it_and_new_to_targets() {
    let mut case = Case::new(watermark(Some(Duration::from_millis(500)))).await;
    case.memory.put(5, "new", 100);
    let mut life = case.start();
    case.until(&mut life, Case::is_equal).await;
    // A window tells it, and it goes back too far behind for the next one.
    case.memory.put(5, "paid", 200);
    case.until(&mut life, Case::is_equal).await;
    case.memory.put(5, "new", 100);
    case.until(&mut life, Case::is_equal).await;
    life.end().await;
}
