//! What is large, wide or full: bounded memory, and nothing lost where a disk has no room.

use std::fs;
use std::process::Command;

use lockstep_servers::{nats, postgres};

use crate::kill::rounds;
use crate::stage::{Stage, binary};

/// What the runtime may hold in memory while it takes one transaction of any size.
const PEAK_KB: u64 = 150 * 1024;

const EVENT: &str = r#"
apiVersion: v3.1.0
kind: DataContract
id: event
version: 1.0.0
status: active
schema:
  - name: event
    customProperties:
      - {property: lockstep.owner, value: from}
    properties:
      - {name: id, logicalType: integer, primaryKey: true, required: true}
      - {name: kind, logicalType: string}
      - {name: amount, logicalType: number, physicalType: "decimal(12,2)"}
"#;

/// Two databases of PostgreSQL, joined by a table `events` of this contract's fields, whose names are its columns.
fn stage(
    from: &postgres::Database,
    to: &postgres::Database,
    contract: &str,
    fields: &[String],
    log: &str,
) -> Stage {
    let stage = Stage::new();
    let at = stage.path();
    fs::remove_file(at.join("contracts/account.odcs.yaml")).unwrap();
    let contract = contract.replace("value: from", &format!("value: {}", from.name()));
    fs::write(at.join("contracts/event.odcs.yaml"), contract).unwrap();
    let mut config = format!("contracts = \"contracts\"\n\n[log]\n{log}\n");
    let fields: String = fields.iter().map(|f| format!("{f} = \"{f}\"\n")).collect();
    for side in [from, to] {
        // Slots and origins belong to the whole cluster, so each system is called as its database.
        let (name, url) = (side.name(), side.url());
        config += &format!(
            "\n[systems.{name}]\nconnector = \"postgres\"\nurl = \"{url}\"\n[systems.{name}.map.event]\ntable = \"events\"\n[systems.{name}.map.event.fields]\n{fields}"
        );
    }
    config += &format!(
        "\n[flows.events]\nentity = \"event\"\nfrom = \"{}\"\nto = [\"{}\"]\n",
        from.name(),
        to.name()
    );
    fs::write(at.join("lockstep.toml"), config).unwrap();
    stage
}

fn number(database: &postgres::Database, sql: &str) -> u64 {
    database.sql(sql).unwrap().parse().unwrap()
}

#[test]
fn one_huge_transaction_arrives_whole_in_little_memory_although_the_runtime_is_killed() {
    let (Some(from), Some(to), Some(log)) = (
        postgres::Database::fresh(),
        postgres::Database::fresh(),
        nats::Server::start(&nats::Options::default()),
    ) else {
        return;
    };
    // A million where there is time for it.
    let rows = if rounds(0) == 0 { 60_000 } else { 1_000_000 };
    for side in [&from, &to] {
        side.sql("CREATE TABLE events (id bigint PRIMARY KEY, kind text, amount numeric(12,2))")
            .unwrap();
    }
    let log = format!("engine = \"nats\"\nservers = [\"{}\"]", log.url());
    let fields = ["id", "kind", "amount"].map(str::to_owned);
    let stage = stage(&from, &to, EVENT, &fields, &log);
    from.sql("INSERT INTO events VALUES (0, 'first', 1)")
        .unwrap();
    let runtime = stage.run();
    let there = || number(&to, "SELECT count(*) FROM events");
    stage.until("the first row arrives", || there() == 1);
    from.sql(&format!(
        "BEGIN; INSERT INTO events SELECT n, 'kind ' || n % 7, n * 0.01 FROM generate_series(1, {rows}) n; \
         UPDATE events SET kind = 'again' WHERE id % 10 = 0; DELETE FROM events WHERE id % 10 = 1; COMMIT"
    ))
    .unwrap();
    stage.until("some of it arrives", || there() > 1000);
    let mut peak = peak_kb(runtime.pid());
    runtime.kill();
    let runtime = stage.run();
    let sum =
        "SELECT count(*) || ' ' || md5(string_agg(events::text, ',' ORDER BY id)) FROM events";
    let left = from.sql(sum).unwrap();
    let expected = number(&from, "SELECT count(*) FROM events");
    let mut seen = 0;
    while seen != expected {
        // Progress is what is waited for: how long all of it takes depends on the machine.
        stage.until("more of it arrives", || {
            let now = there();
            let more = now != seen;
            seen = now;
            more
        });
    }
    stage.until("all of it is applied", || to.sql(sum).unwrap() == left);
    peak = peak.max(peak_kb(runtime.pid()));
    assert!(peak < PEAK_KB, "the runtime held {peak} KiB");
    assert_eq!(runtime.stop(), 0);
}

#[test]
fn lanes_applied_at_once_write_every_row_once_although_the_runtime_is_killed() {
    let (Some(from), Some(to)) = (postgres::Database::fresh(), postgres::Database::fresh()) else {
        return;
    };
    for side in [&from, &to] {
        side.sql("CREATE TABLE events (id bigint PRIMARY KEY, kind text, amount numeric(12,2))")
            .unwrap();
    }
    // Some lanes take longer than others, so that a kill finds them at different places.
    to.sql(
        "CREATE TABLE seen (id bigint);
         CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             INSERT INTO seen VALUES (new.id); IF new.id % 500 = 7 THEN PERFORM pg_sleep(0.02); END IF; RETURN new; END $$;
         CREATE TRIGGER see AFTER INSERT OR UPDATE ON events FOR EACH ROW EXECUTE FUNCTION see()",
    )
    .unwrap();
    let fields = ["id", "kind", "amount"].map(str::to_owned);
    let stage = stage(&from, &to, EVENT, &fields, "path = \"lockstep.log\"");
    from.sql("INSERT INTO events VALUES (0, 'first', 1)")
        .unwrap();
    let there = || number(&to, "SELECT count(*) FROM events");
    let mut runtime = stage.run();
    stage.until("the first row arrives", || there() == 1);
    for block in 0..8 {
        from.sql(&format!(
            "INSERT INTO events SELECT {block} * 4000 + n, 'kind ' || n % 7, n * 0.01 FROM generate_series(1, 4000) n"
        ))
        .unwrap();
    }
    let mut seen = 1;
    while seen < 32_001 {
        stage.until("more of it arrives", || there() > seen);
        runtime.kill();
        seen = there();
        runtime = stage.run();
        if seen > 20_000 {
            stage.until("the rest arrives", || there() == 32_001);
            seen = 32_001;
        }
    }
    let twice = "SELECT count(*) FROM (SELECT id FROM seen GROUP BY id HAVING count(*) > 1) x";
    assert_eq!(number(&to, twice), 0, "written more than once");
    assert_eq!(number(&to, "SELECT count(*) FROM seen"), 32_001);
    let floor = "SELECT count(*) FROM lockstep.progress WHERE lane LIKE '*#%' AND seq > 0";
    assert_eq!(number(&to, floor), 1);
    assert_eq!(runtime.stop(), 0);
}

/// The most memory that a process ever held, in KiB.
fn peak_kb(pid: u32) -> u64 {
    let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else {
        // Only Linux tells.
        return 0;
    };
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let figure = line.and_then(|line| line.split_whitespace().nth(1));
    figure.unwrap().parse().unwrap()
}

#[test]
fn a_table_of_a_thousand_columns_is_kept_in_step() {
    let (Some(from), Some(to)) = (postgres::Database::fresh(), postgres::Database::fresh()) else {
        return;
    };
    let columns: Vec<String> = (0..999).map(|n| format!("c{n}")).collect();
    let table: String = columns.iter().map(|c| format!(", {c} bigint")).collect();
    for side in [&from, &to] {
        side.sql(&format!(
            "CREATE TABLE events (id bigint PRIMARY KEY{table})"
        ))
        .unwrap();
    }
    let mut contract = EVENT
        .split_once("      - {name: kind")
        .unwrap()
        .0
        .to_owned();
    for column in &columns {
        contract += &format!("      - {{name: {column}, logicalType: integer}}\n");
    }
    let mut fields = vec!["id".to_owned()];
    fields.extend(columns.iter().cloned());
    let stage = stage(&from, &to, &contract, &fields, "path = \"lockstep.log\"");
    let values: String = (0..999).map(|n| format!(", n * {n}")).collect();
    let fill = |first: u32, last: u32| {
        format!("INSERT INTO events SELECT n{values} FROM generate_series({first}, {last}) n")
    };
    from.sql(&fill(1, 50)).unwrap();
    let runtime = stage.run();
    let same = || {
        let sum = "SELECT md5(coalesce(string_agg(events::text, ',' ORDER BY id), '')) FROM events";
        from.sql(sum).unwrap() == to.sql(sum).unwrap()
    };
    stage.until("the rows arrive", same);
    from.sql(&fill(51, 100)).unwrap();
    from.sql(
        "UPDATE events SET c998 = NULL, c0 = id WHERE id % 2 = 0; DELETE FROM events WHERE id = 3",
    )
    .unwrap();
    stage.until("the changes arrive", same);
    assert!(stage.quarantined().is_empty());
    assert_eq!(stage.lockstep(&["verify"]).status.code(), Some(0));
    assert_eq!(runtime.stop(), 0);
}

#[test]
fn a_log_whose_disk_is_full_holds_the_source_back_and_says_so() {
    let (Some(from), Some(to)) = (postgres::Database::fresh(), postgres::Database::fresh()) else {
        return;
    };
    for side in [&from, &to] {
        side.sql("CREATE TABLE events (id bigint PRIMARY KEY, kind text, amount numeric(12,2))")
            .unwrap();
    }
    let fields = ["id", "kind", "amount"].map(str::to_owned);
    let stage = stage(&from, &to, EVENT, &fields, "path = \"lockstep.log\"");
    from.sql("INSERT INTO events SELECT n, (SELECT string_agg(md5(n || ' ' || m), '') FROM generate_series(1, 12) m), n FROM generate_series(1, 30000) n")
        .unwrap();
    // No file may grow beyond 2 MiB: to whoever writes it that is a disk without room.
    let mut full = Command::new("bash");
    full.args(["-c", "trap '' XFSZ; ulimit -f 2048; exec \"$0\" run"]);
    let full = stage.spawn_by(full.arg(binary()));
    stage.until("status says what is wrong", || {
        let said = stage.lockstep(&["status"]).stdout;
        String::from_utf8_lossy(&said).contains("could not be stored in the log")
    });
    let said = full.log();
    full.kill();
    assert!(!said.contains("panicked"), "{said}");
    assert!(number(&to, "SELECT count(*) FROM events") < 30_000);
    from.sql("DELETE FROM events WHERE id % 100 = 0").unwrap();
    // The disk has room again.
    let runtime = stage.run();
    stage.until("everything arrives", || {
        number(&to, "SELECT count(*) FROM events") == 29_700
    });
    stage.until("verify finds them equal", || {
        stage.json(&["verify", "--json"])["equal"] == true
    });
    assert_eq!(runtime.stop(), 0);
}
