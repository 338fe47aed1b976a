//! Copies that go past the log: killed in the middle, beside edits, refused rows, pauses, and targets that come later.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lockstep_servers::postgres::{Options, Server};

use crate::kill::{Random, seed};
use crate::on_postgres::Pair;

/// Rows that are there before the first start.
const ROWS: u64 = 24_000;
/// Most bytes of the log that say that the rows are not in it.
const LOG_BYTES_MAX: u64 = 1_500_000;

/// A pair whose things are copied past the log, in small chunks.
fn pair() -> Option<Pair> {
    let pair = Pair::new()?;
    configure(
        &pair,
        "[flows.things]\n",
        "[flows.things]\nsnapshot = \"direct\"\n",
    );
    configure(
        &pair,
        "url = \"${file:from.url}\"\n",
        "url = \"${file:from.url}\"\nsnapshot_rows = 1000\n",
    );
    Some(pair)
}

fn configure(pair: &Pair, from: &str, to: &str) {
    let file = pair.path().join("lockstep.toml");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains(from), "{from}");
    fs::write(file, text.replacen(from, to, 1)).unwrap();
}

fn fill(pair: &Pair, rows: u64) {
    pair.say("INSERT INTO parties VALUES (1, 'one')");
    pair.say(&format!(
        "INSERT INTO things SELECT n, 'code ' || n, 1, n % 100, now() FROM generate_series(1, {rows}) n"
    ));
}

fn count(server: &Server) -> u64 {
    let count = server.sql("work", "SELECT count(*) FROM things");
    count.unwrap().parse().unwrap()
}

fn rests(pair: &Pair) -> bool {
    pair.flow("thing")["state"] == "idle"
}

fn log_bytes(pair: &Pair) -> u64 {
    let status = pair.json(&["status", "--json"]);
    status["log"]["bytes"].as_u64().unwrap()
}

/// Edits rows anywhere, also those that are not copied yet, until told that it is over; gives how many times.
fn edit(pair: &Pair, seed: u64, over: &AtomicBool) -> u64 {
    let mut random = Random(seed);
    let mut fresh = ROWS;
    let mut edits = 0;
    while !over.load(Ordering::Relaxed) {
        let id = 1 + random.below(ROWS);
        match random.below(5) {
            0 => {
                fresh += 1;
                pair.say(&format!(
                    "INSERT INTO things VALUES ({fresh}, 'new', 1, 7)"
                ));
            }
            1 => pair.say(&format!("DELETE FROM things WHERE id = {id}")),
            2 => pair.say(&format!(
                "UPDATE things SET id = -id WHERE id = {id} AND NOT EXISTS (SELECT FROM things WHERE id = -{id})"
            )),
            _ => pair.say(&format!(
                "UPDATE things SET weight = weight + 1, code = code || '+' WHERE id BETWEEN {id} AND {id} + 20 AND weight < 100"
            )),
        }
        edits += 1;
        std::thread::sleep(Duration::from_millis(20));
    }
    edits
}

#[test]
fn killed_in_the_middle_of_a_copy_past_the_log_nothing_is_lost_or_doubled() {
    let seed = seed();
    let Some(pair) = pair() else { return };
    fill(&pair, ROWS);
    let over = AtomicBool::new(false);
    let edits = std::thread::scope(|scope| {
        let editing = scope.spawn(|| edit(&pair, seed, &over));
        for part in 1..5 {
            let running = pair.run();
            pair.until("a part is copied", || count(&pair.to) >= ROWS / 6 * part);
            drop(running);
        }
        over.store(true, Ordering::Relaxed);
        editing.join().unwrap()
    });
    assert!(count(&pair.to) < ROWS, "the last kill came too late");
    let _running = pair.run();
    pair.until("everything arrives", || pair.is_equal("things"));
    pair.until("it rests", || rests(&pair));
    assert_eq!(pair.lockstep(&["verify"]).status.code(), Some(0));
    assert!(pair.json(&["quarantine", "list", "--json"])["entries"] == serde_json::json!([]));
    // The slower the machine, the more edits there are, and those are in the log; all rows would be some 7 MB.
    let (bytes, most) = (log_bytes(&pair), LOG_BYTES_MAX + edits * 1000);
    assert!(
        bytes < most,
        "the log has {bytes} bytes after {edits} edits"
    );
}

#[test]
fn rows_that_are_refused_wait_in_quarantine_and_the_others_arrive() {
    let Some(pair) = pair() else { return };
    fill(&pair, 3000);
    pair.say("UPDATE things SET weight = 5000 WHERE id = 10");
    pair.say("UPDATE things SET weight = 76 WHERE weight = 77");
    pair.say("UPDATE things SET weight = 77 WHERE id = 1078");
    let check = "ALTER TABLE things ADD CONSTRAINT odd CHECK (weight <> 77)";
    pair.to.sql("work", check).unwrap();
    let _running = pair.run();
    pair.until("the others arrive", || count(&pair.to) == 2998);
    let listed = || pair.json(&["quarantine", "list", "--json"])["entries"].clone();
    let rules = || {
        let entries = listed().as_array().cloned().unwrap_or_default();
        let rule =
            |entry: &serde_json::Value| entry["reasons"][0]["rule"].as_str().map(str::to_owned);
        let mut rules: Vec<String> = entries.iter().filter_map(rule).collect();
        rules.sort();
        rules
    };
    assert_eq!(rules(), ["light", "target"]);
    // The next good version of each closes its entry, over the log.
    pair.say("UPDATE things SET weight = 1 WHERE id IN (10, 1078)");
    pair.until("all are equal", || pair.is_equal("things"));
    pair.until("none waits", || rules().is_empty());
}

#[test]
fn rows_go_through_the_log_while_the_delivery_rests_and_targets_that_come_later_get_all() {
    let Some(pair) = pair() else { return };
    fill(&pair, ROWS);
    let running = pair.run();
    pair.until("everything is copied", || pair.is_equal("things"));
    let bytes = log_bytes(&pair);
    assert!(bytes < LOG_BYTES_MAX, "the log has {bytes} bytes");
    pair.did(&["pause", "things", "--to", "to"]);
    pair.until("the delivery rests", || {
        pair.flow("thing")["paused"]["reached"].is_u64()
    });
    // Read again while nobody takes it: rows, and a change among them, wait in the log.
    let drop_some = "DELETE FROM things WHERE id % 3 = 0";
    pair.to.sql("work", drop_some).unwrap();
    pair.did(&["backfill", "things"]);
    pair.say("UPDATE things SET weight = weight + 1 WHERE id = 7");
    pair.until("the rows are in the log", || {
        log_bytes(&pair) > LOG_BYTES_MAX
    });
    pair.did(&["resume", "things", "--to", "to"]);
    pair.until("everything arrives", || pair.is_equal("things"));
    drop(running);
    // Another target: what went past the log is nowhere in it.
    let Some(more) = Server::start(&Options::default()) else {
        return;
    };
    more.sql("postgres", "CREATE DATABASE work").unwrap();
    let things = "CREATE TABLE things (id bigint PRIMARY KEY, code text NOT NULL, party bigint NOT NULL, weight bigint NOT NULL, changed_at timestamptz NOT NULL DEFAULT now())";
    more.sql("work", things).unwrap();
    fs::write(pair.path().join("more.url"), more.url("work")).unwrap();
    configure(
        &pair,
        "[flows.parties]",
        "[systems.more]\nconnector = \"postgres\"\nurl = \"${file:more.url}\"\n[systems.more.map.thing]\ntable = \"things\"\nfields = { id = \"id\", code = \"code\", party = \"party\", weight = \"weight\", changed_at = \"changed_at\" }\n\n[flows.parties]",
    );
    let things = "entity = \"thing\"\nfrom = \"from\"\nto = [\"to\"";
    configure(&pair, things, &format!("{things}, \"more\""));
    let output = pair.lockstep(&["check"]);
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(
        said.contains("LS-G044") && said.contains("2 targets"),
        "{said}"
    );
    configure(&pair, "snapshot = \"direct\"\n", "");
    let _running = pair.run();
    pair.until("the new target has everything", || count(&more) == ROWS);
    let all = "SELECT sum(hashtext(t::text)) FROM things t";
    pair.until("and as it is", || {
        more.sql("work", all).unwrap() == pair.from.sql("work", all).unwrap()
    });
}
