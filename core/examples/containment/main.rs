//! Measures the containment of plain JSON Schemas: how often it is decided, how quickly, and whether any answer is wrong.
//!
//! The pairs are made from the public test data that `LOCKSTEP_TEST_DATA` names: schemas of the test suite against each other, and published schemas against edits of them.
//! Every "no" is held against two validators, every "yes" is attacked with documents, and an edit whose direction is known must not be answered the other way.
//! `cargo run -p lockstep-core --example containment -- [BUDGET_MS] [SHARE] [FILTER] [FILE...]` takes every SHARE-th pair whose name has FILTER in it.
//! A FILE is a folder of schemas to be edited, or lines of `{"id", "old", "new"}`; without one the test data are taken.
//! With `SHOW` set, pairs that were not decided or not read are printed.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement that cannot read its data has failed, and prints what it found"
)]

mod edits;
mod judge;
mod suite;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lockstep_core::contract::contain::{self, Budget, Verdict};
use serde_json::{Value as Json, json};

use self::judge::{Judge, near};

/// A question, and what may contradict its answer.
struct Pair {
    /// The sort it is counted under.
    name: String,
    old: Arc<Json>,
    new: Arc<Json>,
    /// Documents to attack a "yes" with.
    documents: Arc<Vec<Json>>,
    /// Whether the answer must not be "no".
    contained: bool,
}

/// What became of the pairs of one sort.
#[derive(Default)]
struct Count {
    yes: usize,
    no: usize,
    unproven: usize,
    errors: usize,
    wrong: usize,
}

impl Count {
    fn add(&mut self, other: &Count) {
        self.yes += other.yes;
        self.no += other.no;
        self.unproven += other.unproven;
        self.errors += other.errors;
        self.wrong += other.wrong;
    }

    fn told(&self) -> String {
        let all = self.yes + self.no + self.unproven + self.errors;
        format!(
            "{} yes, {} no, {} unproven, {} unread, {} wrong; {:.1} % decided",
            self.yes,
            self.no,
            self.unproven,
            self.errors,
            self.wrong,
            100.0 * (self.yes + self.no) as f64 / all.max(1) as f64
        )
    }
}

/// What became of one pair.
struct Outcome {
    count: Count,
    time: Duration,
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default| {
        arguments
            .next()
            .map_or(default, |text| text.parse().unwrap())
    };
    let (budget, share) = (
        Duration::from_millis(number(200)),
        number(1).max(1) as usize,
    );
    let filter = arguments.next().unwrap_or_default();
    let named: Vec<PathBuf> = arguments.map(PathBuf::from).collect();
    let mut pairs = Vec::new();
    for file in &named {
        pairs.extend(if file.is_dir() {
            edits::of(&files(file), "edit", &Arc::default())
        } else {
            lines(file)
        });
    }
    if named.is_empty() {
        let data = std::env::var_os("LOCKSTEP_TEST_DATA").expect("LOCKSTEP_TEST_DATA is not set");
        let root = Path::new(&data).join("contracts");
        pairs.extend(suite::pairs(
            &root.join("json-schema-test-suite/tests/draft2020-12"),
        ));
        pairs.extend(edits::published(&root));
    }
    pairs.retain(|pair| pair.name.contains(&filter));
    let pairs: Vec<Pair> = pairs.into_iter().step_by(share).collect();
    println!("{} pairs", pairs.len());
    tell(answer(&pairs, budget));
}

fn answer(pairs: &[Pair], budget: Duration) -> Vec<(String, Outcome)> {
    let next = AtomicUsize::new(0);
    let found = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let work = || {
                while let Some(pair) = pairs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = ask(pair, budget);
                    found.lock().unwrap().push((pair.name.clone(), outcome));
                }
            };
            let thread = std::thread::Builder::new().stack_size(contain::STACK_BYTES);
            thread.spawn_scoped(scope, work).unwrap();
        }
    });
    found.into_inner().unwrap()
}

fn tell(outcomes: Vec<(String, Outcome)>) {
    let mut all = Count::default();
    let mut sorts: BTreeMap<String, Count> = BTreeMap::new();
    let mut times = Vec::new();
    for (name, outcome) in outcomes {
        sorts.entry(name).or_default().add(&outcome.count);
        all.add(&outcome.count);
        times.push(outcome.time);
    }
    for (name, count) in &sorts {
        if count.unproven + count.errors + count.wrong > 0 {
            println!("{name}: {}", count.told());
        }
    }
    times.sort_unstable();
    let at = |hundredths: usize| times[(times.len() - 1) * hundredths / 100];
    println!("all: {}", all.told());
    println!(
        "times: half {:?}, 95 % {:?}, 99 % {:?}, longest {:?}, together {:?}",
        at(50),
        at(95),
        at(99),
        at(100),
        times.iter().sum::<Duration>()
    );
}

/// The time that this thread has had the processor, where the system tells.
fn processor_time() -> Option<Duration> {
    let text = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanos = text.split(' ').next()?.parse().ok()?;
    Some(Duration::from_nanos(nanos))
}

/// Asks, and holds the answer against validators.
fn ask(pair: &Pair, total: Duration) -> Outcome {
    let (old, new) = (&pair.old, &pair.new);
    let (began, began_wall) = (processor_time(), Instant::now());
    let elapsed = || match (began, processor_time()) {
        (Some(began), Some(now)) => now.saturating_sub(began),
        _ => began_wall.elapsed(),
    };
    let budget = Budget {
        total,
        elapsed: &elapsed,
    };
    let decision = contain::decide(old, new, budget);
    let time = elapsed();
    let mut outcome = Outcome {
        count: Count::default(),
        time,
    };
    let name = &pair.name;
    let show = std::env::var_os("SHOW").is_some();
    if time > total * 3 / 2 {
        println!("SLOW {time:?} {name}: {}", shown(pair));
    }
    let told = Told {
        verdict: decision.verdict,
        witness: decision.witness.as_ref(),
    };
    if let Some(error) = decision.error {
        outcome.count.errors = 1;
        if show {
            println!("UNREAD {name}: {error}");
        }
    } else if decision.verdict == Verdict::Unproven {
        outcome.count.unproven = 1;
        if show {
            println!("UNPROVEN {time:?} {name}: {}", shown(pair));
        }
    } else if let Some(doubt) = told.doubt(pair) {
        outcome.count.wrong = 1;
        println!("WRONG {name}: {doubt}: {}", shown(pair));
    }
    outcome.count.yes = usize::from(decision.verdict == Verdict::Yes);
    outcome.count.no = usize::from(decision.verdict == Verdict::No);
    outcome
}

/// An answer that was given.
struct Told<'a> {
    verdict: Verdict,
    witness: Option<&'a Json>,
}

impl Told<'_> {
    /// What speaks against it.
    fn doubt(&self, pair: &Pair) -> Option<String> {
        let judges = [Judge::of(&pair.old), Judge::of(&pair.new)];
        match self.verdict {
            Verdict::Unproven => None,
            Verdict::No => {
                let witness = self.witness.unwrap();
                if pair.contained {
                    return Some(format!("no with {witness}, but the edit only widens"));
                }
                let told = judge::parts(&judges, witness);
                (told < judge::asked(&judges))
                    .then(|| format!("no with {witness}, but not by every validator"))
            }
            Verdict::Yes => {
                let own = Arc::new(judge::samples(&pair.old));
                let documents = pair.documents.iter().chain(own.iter());
                let mut tried = documents.flat_map(|document| {
                    let mut all = near(document);
                    all.push(document.clone());
                    all
                });
                tried
                    .find(|document| judge::parts(&judges, document) > 0)
                    .map(|document| format!("yes, but {document}"))
            }
        }
    }
}

fn shown(pair: &Pair) -> String {
    let text = format!("{} => {}", pair.old, pair.new);
    if text.len() < 1_500 {
        return text;
    }
    let mut found = Vec::new();
    differences(&pair.old, &pair.new, "", &mut found);
    found.truncate(6);
    let found: Vec<String> = found
        .into_iter()
        .map(|one| one.chars().take(160).collect())
        .collect();
    format!("({} bytes) {}", text.len(), found.join("; "))
}

fn differences(old: &Json, new: &Json, at: &str, found: &mut Vec<String>) {
    match (old, new) {
        _ if old == new => {}
        (Json::Object(a), Json::Object(b)) if found.len() < 6 => {
            for (name, inner) in a {
                if name == "description" || name == "title" {
                    continue;
                }
                differences(
                    inner,
                    b.get(name).unwrap_or(&json!("(none)")),
                    &format!("{at}/{name}"),
                    found,
                );
            }
            for (name, inner) in b.iter().filter(|(name, _)| !a.contains_key(*name)) {
                found.push(format!("{at}/{name}: new {inner}"));
            }
        }
        _ => found.push(format!("{at}: {old} => {new}")),
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else if path.extension().is_some_and(|end| end == "json") {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn read(file: &Path) -> Json {
    serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

/// Pairs as `--pairs` takes them.
fn lines(file: &Path) -> Vec<Pair> {
    let text = fs::read_to_string(file).unwrap();
    let lines = text.lines().map(|line| {
        let mut line: Json = serde_json::from_str(line).unwrap();
        Pair {
            name: line["id"].to_string(),
            old: Arc::new(line["old"].take()),
            new: Arc::new(line["new"].take()),
            documents: Arc::default(),
            contained: false,
        }
    });
    lines.collect()
}
