use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::log::embedded::{Embedded, EmbeddedOptions};

const SUBJECT: &str = "ls.lease.capture.crm";
const DEADLINE: Duration = Duration::from_secs(20);

/// Fast enough for a test; a lease of one second is the shortest that logs know.
const TIMES: Times = Times {
    ttl: Duration::from_secs(1),
    renew: Duration::from_millis(200),
    give_up: Duration::from_millis(600),
    again: Duration::from_millis(50),
    look: Duration::from_millis(20),
};

/// One runtime that wants to work.
struct Worker {
    leases: Leases,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

/// How many work at this moment, and how often work began.
#[derive(Default)]
struct Work {
    now: AtomicUsize,
    begun: Mutex<Vec<String>>,
}

async fn log(folder: &Path) -> Arc<dyn Log> {
    let log = Embedded::open(&folder.join("log"), EmbeddedOptions::default()).await;
    let log: Arc<dyn Log> = log.unwrap();
    ensure(&*log).await.unwrap();
    log
}

fn worker(name: &str, log: &Arc<dyn Log>, work: &Arc<Work>) -> Worker {
    let me = Holder {
        name: name.into(),
        id: name.into(),
    };
    let leases = Leases {
        log: Arc::clone(log),
        me,
        times: TIMES,
        parts: Arc::default(),
    };
    let stop = CancellationToken::new();
    let task = {
        let (leases, stop) = (leases.clone(), stop.clone());
        let (work, name) = (Arc::clone(work), name.to_owned());
        tokio::spawn(async move {
            let job = |token: CancellationToken| {
                let (work, name) = (Arc::clone(&work), name.clone());
                async move {
                    assert_eq!(
                        work.now.fetch_add(1, Ordering::SeqCst),
                        0,
                        "two work at once"
                    );
                    work.begun.lock().unwrap().push(name);
                    token.cancelled().await;
                    work.now.fetch_sub(1, Ordering::SeqCst);
                    Ended::ForNow
                }
            };
            leases.run(SUBJECT, &stop, |_| {}, job).await;
        })
    };
    Worker { leases, stop, task }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < DEADLINE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn begun(work: &Work) -> Vec<String> {
    work.begun.lock().unwrap().clone()
}

#[tokio::test]
async fn an_orderly_stop_moves_the_work_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (log, work) = (log(folder.path()).await, Arc::default());
    let first = worker("first", &log, &work);
    until("the first works", || begun(&work) == ["first"]).await;
    let second = worker("second", &log, &work);
    assert_eq!(holder(&*log, SUBJECT).await.unwrap().unwrap().name, "first");
    let stopped = Instant::now();
    first.stop.cancel();
    first.task.await.unwrap();
    until("the second works", || begun(&work).len() == 2).await;
    assert!(stopped.elapsed() < TIMES.ttl / 2, "{:?}", stopped.elapsed());
    second.stop.cancel();
    second.task.await.unwrap();
    assert_eq!(holder(&*log, SUBJECT).await.unwrap(), None);
}

#[tokio::test]
async fn a_holder_that_dies_is_followed_when_its_lease_ends() {
    let folder = tempfile::tempdir().unwrap();
    let (log, work) = (log(folder.path()).await, Arc::<Work>::default());
    let first = worker("first", &log, &work);
    until("the first works", || begun(&work) == ["first"]).await;
    let second = worker("second", &log, &work);
    // Longer than a lease lasts: it was renewed.
    tokio::time::sleep(TIMES.ttl + TIMES.ttl / 2).await;
    assert_eq!(begun(&work), ["first"]);
    first.task.abort();
    let _ = first.task.await;
    work.now.store(0, Ordering::SeqCst);
    until("the second works", || begun(&work) == ["first", "second"]).await;
    second.stop.cancel();
    second.task.await.unwrap();
}

#[tokio::test]
async fn a_lease_that_somebody_else_wrote_is_lost_and_the_work_ends() {
    let folder = tempfile::tempdir().unwrap();
    let (log, work) = (log(folder.path()).await, Arc::<Work>::default());
    let first = worker("first", &log, &work);
    until("the first works", || begun(&work) == ["first"]).await;
    let thief = Leases {
        me: Holder {
            name: "thief".into(),
            id: "thief".into(),
        },
        ..first.leases.clone()
    };
    loop {
        let last = log.last(LEASES, SUBJECT).await.unwrap().unwrap();
        if thief.say(SUBJECT, last.seq, false, DEADLINE).await.is_ok() {
            break;
        }
    }
    until("the first has ended", || {
        work.now.load(Ordering::SeqCst) == 0
    })
    .await;
    assert_eq!(holder(&*log, SUBJECT).await.unwrap().unwrap().name, "thief");
    assert_eq!(begun(&work), ["first"]);
    first.stop.cancel();
    first.task.await.unwrap();
}

#[tokio::test]
async fn runtimes_that_start_together_each_get_some_of_the_work() {
    let folder = tempfile::tempdir().unwrap();
    let log = log(folder.path()).await;
    let stop = CancellationToken::new();
    let took = Arc::new(Mutex::new(Vec::new()));
    let runtimes = ["a", "b"].map(|name| Leases {
        log: Arc::clone(&log),
        me: Holder {
            name: name.into(),
            id: name.into(),
        },
        times: TIMES,
        parts: Arc::default(),
    });
    let mut tasks = tokio::task::JoinSet::new();
    // With a fair coin all forty go to one side once in ten to the twelfth.
    for part in 0..40 {
        for leases in &runtimes {
            let (leases, stop, took) = (leases.clone(), stop.clone(), Arc::clone(&took));
            tasks.spawn(async move {
                let subject = format!("ls.lease.deliver.f.{part}");
                let work = |token: CancellationToken| {
                    took.lock().unwrap().push(leases.me.name.clone());
                    async move {
                        token.cancelled().await;
                        Ended::ForNow
                    }
                };
                leases.run(&subject, &stop, |_| {}, work).await;
            });
        }
    }
    until("all is taken", || took.lock().unwrap().len() == 40).await;
    stop.cancel();
    while tasks.join_next().await.is_some() {}
    let of_a = took
        .lock()
        .unwrap()
        .iter()
        .filter(|name| *name == "a")
        .count();
    assert!((1..40).contains(&of_a), "all went to one: {of_a}");
}

#[tokio::test]
async fn a_runtime_that_comes_later_is_given_its_share() {
    const PARTS: usize = 6;
    let folder = tempfile::tempdir().unwrap();
    let log = log(folder.path()).await;
    let stop = CancellationToken::new();
    let mut tasks = tokio::task::JoinSet::new();
    let mut runtimes = Vec::new();
    for name in ["first", "second"] {
        let leases = Leases {
            log: Arc::clone(&log),
            me: Holder {
                name: name.into(),
                id: name.into(),
            },
            times: TIMES,
            parts: Arc::default(),
        };
        for part in 0..PARTS {
            let (leases, stop) = (leases.clone(), stop.clone());
            tasks.spawn(async move {
                let subject = format!("ls.lease.deliver.f.{part}");
                let work = |token: CancellationToken| async move {
                    token.cancelled().await;
                    Ended::ForNow
                };
                leases.run(&subject, &stop, |_| {}, work).await;
            });
        }
        let (spreading, token) = (leases.clone(), stop.clone());
        tasks.spawn(async move { spreading.spread(PARTS, &token).await });
        runtimes.push(leases);
        if name == "first" {
            until("the first has all", || runtimes[0].parts.count() == PARTS).await;
        }
    }
    let shares = || {
        runtimes
            .iter()
            .map(|leases| leases.parts.count())
            .collect::<Vec<_>>()
    };
    until("each has half", || shares() == [PARTS / 2; 2]).await;
    stop.cancel();
    while tasks.join_next().await.is_some() {}
}

#[tokio::test]
async fn work_that_a_policy_ended_is_not_begun_again() {
    let folder = tempfile::tempdir().unwrap();
    let log = log(folder.path()).await;
    let leases = worker("a", &log, &Arc::default());
    leases.task.abort();
    let (stop, begun) = (CancellationToken::new(), AtomicUsize::new(0));
    let work = |_: CancellationToken| {
        let before = begun.fetch_add(1, Ordering::SeqCst);
        async move {
            if before == 0 {
                Ended::ForNow
            } else {
                Ended::ByPolicy
            }
        }
    };
    let run = leases.leases.run(SUBJECT, &stop, |_| {}, work);
    tokio::time::timeout(DEADLINE, run).await.unwrap();
    assert_eq!(begun.load(Ordering::SeqCst), 2);
    assert_eq!(holder(&*log, SUBJECT).await.unwrap(), None);
}

#[tokio::test]
async fn a_stream_of_leases_that_is_gone_is_made_again_and_what_hinders_that_is_told() {
    let fresh = async |folder: &Path| -> Arc<dyn Log> {
        let log = Embedded::open(&folder.join("log"), EmbeddedOptions::default()).await;
        let log: Arc<dyn Log> = log.unwrap();
        log
    };
    let folder = tempfile::tempdir().unwrap();
    let work = Arc::new(Work::default());
    let gone = worker("a", &fresh(folder.path()).await, &work);
    until("it works", || work.now.load(Ordering::SeqCst) == 1).await;
    gone.stop.cancel();
    gone.task.await.unwrap();

    // Somebody else's stream has its subjects.
    let folder = tempfile::tempdir().unwrap();
    let log = fresh(folder.path()).await;
    let theirs = StreamConfig {
        name: "THEIRS".to_owned(),
        ..stream()
    };
    log.ensure_stream(&theirs).await.unwrap();
    let hindered = worker("b", &log, &work);
    hindered.task.abort();
    let (stop, heard) = (CancellationToken::new(), Mutex::new(Vec::new()));
    let told = |error: Option<LogError>| {
        heard.lock().unwrap().push(error.is_some());
        stop.cancel();
    };
    let idle = |token: CancellationToken| async move {
        token.cancelled().await;
        Ended::ForNow
    };
    let run = hindered.leases.run(SUBJECT, &stop, told, idle);
    tokio::time::timeout(DEADLINE, run).await.unwrap();
    assert_eq!(*heard.lock().unwrap(), [true]);
}

#[test]
fn a_folder_has_one_runtime_whose_id_outlives_it() {
    let folder = tempfile::tempdir().unwrap();
    let (first, lock) = Holder::of(folder.path()).unwrap();
    let Err(refused) = Holder::of(folder.path()) else {
        panic!("two runtimes in one folder");
    };
    assert!(refused.help_text().unwrap().contains("api.folder"));
    drop(lock);
    let (again, _lock) = Holder::of(folder.path()).unwrap();
    assert_eq!(again.id, first.id);
    let elsewhere = tempfile::tempdir().unwrap();
    assert_ne!(Holder::of(elsewhere.path()).unwrap().0.id, first.id);
}
