//! SIGKILL at random moments of a running sync: from the tables, nothing lost, nothing doubled, order kept per key.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::stage::{Stage, put};

/// Keys that are edited.
const KEYS: u64 = 60;

/// A small random number generator, so that a failing run can be repeated by its seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

#[test]
fn killed_at_random_moments_nothing_is_lost_doubled_or_reordered() {
    let seed = seed();
    let stage = Stage::new();
    // Enough that the first kills fall into the snapshot.
    let mut crm = stage.crm();
    let transaction = crm.transaction().unwrap();
    for n in 0..20_000 {
        put(&transaction, &format!("S{n:05}"), 0);
    }
    transaction.commit().unwrap();

    let over = AtomicBool::new(false);
    let history = std::thread::scope(|scope| {
        let editor = scope.spawn(|| edit(&stage, seed, &over));
        let mut random = Random(seed.rotate_left(17) | 1);
        for _ in 0..rounds(12) {
            let runtime = stage.spawn();
            std::thread::sleep(Duration::from_millis(30 + random.below(900)));
            runtime.kill();
        }
        over.store(true, Ordering::Relaxed);
        editor.join().unwrap()
    });
    let runtime = stage.run();
    stage.until_equal();
    stage.until("the flow rests", || stage.state() == "idle");
    drop(runtime);

    assert_each_once_and_in_order(&stage, &history);
    assert_eq!(stage.lockstep(&["verify"]).status.code(), Some(0));
}

/// How many rounds of edits and harm a test goes through: few, unless `LOCKSTEP_ROUNDS` says how many.
pub(crate) fn rounds(few: u64) -> u64 {
    let said = std::env::var("LOCKSTEP_ROUNDS").ok();
    said.and_then(|text| text.parse().ok()).unwrap_or(few)
}

/// The seed of this run, said so that a failing one can be repeated.
#[expect(
    clippy::print_stderr,
    reason = "whoever reads a failure needs the seed"
)]
pub(crate) fn seed() -> u64 {
    let seed = std::env::var("LOCKSTEP_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| {
            std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .unwrap()
                .as_nanos() as u64
                | 1
        });
    eprintln!("repeat with LOCKSTEP_SEED={seed}");
    seed
}

/// Every write that the target saw, per key: versions never go back and none comes twice in a row.
pub(crate) fn assert_each_once_and_in_order(stage: &Stage, history: &BTreeMap<String, Vec<i64>>) {
    let mut seen: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for (no, version) in stage.writes() {
        seen.entry(no).or_default().push(version);
    }
    for (no, versions) in &seen {
        let ordered = versions.windows(2).all(|pair| pair[0] < pair[1]);
        assert!(
            ordered,
            "{no} was written out of order or twice: {versions:?}"
        );
        if let Some(told) = history.get(no) {
            assert!(
                versions
                    .iter()
                    .all(|version| *version == 0 || told.contains(version)),
                "{no}: a version nobody wrote"
            );
        }
    }
}

#[test]
fn what_is_deleted_between_a_first_start_and_the_next_is_deleted_in_the_target() {
    let stage = Stage::new();
    let mut crm = stage.crm();
    for round in 0..8 {
        let transaction = crm.transaction().unwrap();
        for n in 0..3000 {
            put(&transaction, &format!("R{round}-{n:04}"), 1);
        }
        transaction.commit().unwrap();
        let mine = format!("R{round}-");
        let runtime = stage.spawn();
        // As soon as the first rows arrive, long before anything has come to rest.
        stage.until("the first rows arrive", || {
            stage.partners().iter().any(|(no, _)| no.starts_with(&mine))
        });
        runtime.kill();
        crm.execute("DELETE FROM accounts WHERE no LIKE 'R%'", [])
            .unwrap();
    }
    stage.put("LAST", 1);
    let _runtime = stage.run();
    stage.until_equal();
}

/// Edits as an application would until told to end; the versions each key was given.
pub(crate) fn edit(stage: &Stage, seed: u64, over: &AtomicBool) -> BTreeMap<String, Vec<i64>> {
    let mut random = Random(seed);
    let mut crm = stage.crm();
    let mut history: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    let mut version = 0;
    while !over.load(Ordering::Relaxed) {
        let transaction = crm.transaction().unwrap();
        for _ in 0..1 + random.below(20) {
            version += 1;
            let no = match random.below(4) {
                0 => format!("S{:05}", random.below(20_000)),
                _ => format!("K{:03}", random.below(KEYS)),
            };
            if random.below(5) == 0 {
                transaction
                    .execute("DELETE FROM accounts WHERE no = ?1", [&no])
                    .unwrap();
            } else {
                put(&transaction, &no, version);
                history.entry(no).or_default().push(version);
            }
        }
        transaction.commit().unwrap();
        std::thread::sleep(Duration::from_millis(random.below(8)));
    }
    history
}
