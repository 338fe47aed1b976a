use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use proptest::prelude::*;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::log::embedded::{Embedded, EmbeddedOptions};

const PATIENCE: Duration = Duration::from_secs(20);

async fn log() -> (tempfile::TempDir, Arc<dyn Log>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let log = Embedded::open(&path, EmbeddedOptions::default()).await;
    (folder, log.unwrap() as Arc<dyn Log>)
}

fn part() -> Part {
    Part::Deliver {
        flow: "accounts".into(),
        to: "erp".into(),
    }
}

fn order(act: Act) -> Order {
    Order {
        act,
        parts: vec![part()],
        by: "ann".into(),
        reason: Some("month end".into()),
        wanted: None,
    }
}

async fn outcome(control: &Control, act: Act) -> Outcome {
    let done = control.carry_out(&order(act), PATIENCE).await;
    done.unwrap().remove(0).outcome
}

#[tokio::test]
async fn an_order_given_twice_leaves_what_the_first_one_did() {
    let (_folder, log) = log().await;
    let control = Control::open(&*log).await.unwrap();
    assert_eq!(
        outcome(&control, Act::Resume).await,
        Outcome::Resumed { changed: false }
    );
    let Outcome::Paused {
        changed: true,
        pause,
    } = outcome(&control, Act::Pause).await
    else {
        panic!("not paused");
    };
    let again = outcome(&control, Act::Pause).await;
    assert_eq!(
        again,
        Outcome::Paused {
            changed: false,
            pause
        }
    );
    let skipped = outcome(&control, Act::Skip).await;
    assert!(!skipped.is_done(), "what rests has nothing to skip");
    assert_eq!(
        outcome(&control, Act::Resume).await,
        Outcome::Resumed { changed: true }
    );
}

#[tokio::test]
async fn work_rests_while_it_is_paused_and_begins_anew_when_told_to() {
    let (_folder, log) = log().await;
    let controls = Arc::new(Controls::open(&log).await.unwrap());
    let stop = CancellationToken::new();
    let lives = Arc::new(AtomicU32::new(0));
    let resting = Arc::new(AtomicU32::new(0));
    let tries = Arc::new(AtomicBool::new(false));
    let following = tokio::spawn({
        let (controls, stop) = (Arc::clone(&controls), stop.clone());
        async move { controls.follow(&stop).await }
    });
    let running = tokio::spawn({
        let (controls, stop) = (Arc::clone(&controls), stop.clone());
        let (lives, resting) = (Arc::clone(&lives), Arc::clone(&resting));
        let tries = Arc::clone(&tries);
        async move {
            let rests = |_: &Pause| Some(u64::from(resting.fetch_add(1, Ordering::SeqCst)) + 7);
            let work = async |token: CancellationToken| {
                lives.fetch_add(1, Ordering::SeqCst);
                token.cancelled().await;
            };
            controls
                .run(
                    &part(),
                    &stop,
                    rests,
                    || tries.store(true, Ordering::SeqCst),
                    work,
                )
                .await;
        }
    });
    let until = async |what: &dyn Fn() -> bool| {
        let waited = tokio::time::timeout(PATIENCE, async {
            while !what() {
                tokio::task::yield_now().await;
            }
        });
        waited.await.unwrap();
    };
    let control = Control::open(&*log).await.unwrap();
    until(&|| lives.load(Ordering::SeqCst) == 1).await;
    outcome(&control, Act::Pause).await;
    until(&|| resting.load(Ordering::SeqCst) == 1).await;
    assert_eq!(lives.load(Ordering::SeqCst), 1);
    let retried = |when| Outcome::Retried { when };
    assert_eq!(outcome(&control, Act::Retry).await, retried(When::Resumed));
    assert!(!tries.load(Ordering::SeqCst));
    outcome(&control, Act::Resume).await;
    until(&|| lives.load(Ordering::SeqCst) == 2).await;
    assert!(
        tries.swap(false, Ordering::SeqCst),
        "it was asked to while it rested"
    );
    assert_eq!(outcome(&control, Act::Retry).await, retried(When::Now));
    until(&|| lives.load(Ordering::SeqCst) == 3).await;
    assert!(tries.load(Ordering::SeqCst));
    assert_eq!(resting.load(Ordering::SeqCst), 1);
    stop.cancel();
    running.await.unwrap();
    following.await.unwrap();
}

#[tokio::test]
async fn what_nobody_has_tries_at_the_next_start() {
    let (_folder, log) = log().await;
    let control = Control::open(&*log).await.unwrap();
    let done = control.carry_out(&order(Act::Retry), Duration::ZERO).await;
    let start = Outcome::Retried { when: When::Start };
    assert_eq!(done.unwrap().remove(0).outcome, start);
    let controls = Controls::open(&log).await.unwrap();
    let tries = AtomicU32::new(0);
    let stop = CancellationToken::new();
    let tried = || {
        tries.fetch_add(1, Ordering::SeqCst);
    };
    // Once, and not again with the next start.
    for _ in 0..2 {
        controls
            .run(&part(), &stop, |_| None, tried, async |_| {})
            .await;
    }
    let controls = Controls::open(&log).await.unwrap();
    controls
        .run(&part(), &stop, |_| None, tried, async |_| {})
        .await;
    assert_eq!(tries.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_request_that_nobody_answers_is_withdrawn() {
    let (_folder, log) = log().await;
    let control = Control::open(&*log).await.unwrap();
    let done = control
        .carry_out(&order(Act::Skip), Duration::from_millis(1))
        .await
        .unwrap();
    assert!(!done[0].outcome.is_done());
    assert_eq!(control.wishes().await.unwrap()[&part()], Wish::default());
}

proptest! {
    #[test]
    fn a_part_is_found_again_by_its_key(a in "[a-zA-Z0-9_-]{1,9}", b in "[a-zA-Z0-9_-]{1,9}") {
        let capture = Part::Capture { system: a.clone() };
        prop_assert_eq!(Part::of(&capture.key()), Some(capture));
        let deliver = Part::Deliver { flow: a, to: b };
        prop_assert_eq!(Part::of(&deliver.key()), Some(deliver));
    }

    #[test]
    fn no_entry_of_somebody_else_panics(key in ".{0,40}", value in proptest::collection::vec(any::<u8>(), 0..80)) {
        let _ = (Part::of(&key), read(&value));
    }
}
