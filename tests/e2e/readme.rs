//! The README's way from an existing pair of PostgreSQL databases to a running sync, command by command as it is written.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lockstep_servers::{nats, postgres};

use crate::stage::{DEADLINE, binary};

const README: &str = include_str!("../../README.md");

/// The shell commands of a section, a block each.
fn blocks(section: &str) -> Vec<String> {
    let from = README.find(section).unwrap_or_else(|| panic!("{section}"));
    let rest = &README[from + section.len()..];
    let section = &rest[..rest.find("\n##").unwrap_or(rest.len())];
    let parts = section.split("```sh\n").skip(1);
    parts
        .map(|part| part.split("```").next().unwrap().to_owned())
        .collect()
}

/// A shell in a folder of its own as the README has it.
struct Reader<'s> {
    folder: tempfile::TempDir,
    server: &'s postgres::Server,
}

impl Reader<'_> {
    fn new(server: &postgres::Server) -> Reader<'_> {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("sync")).unwrap();
        Reader { folder, server }
    }

    fn command(&self, script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-e", "-c", script]);
        command.current_dir(self.folder.path().join("sync"));
        let path = std::env::var("PATH").unwrap_or_default();
        let (lockstep, psql) = (binary(), self.server.bin("psql"));
        let path = format!(
            "{}:{}:{path}",
            lockstep.parent().unwrap().display(),
            psql.parent().unwrap().display()
        );
        command.env("PATH", path).stdin(Stdio::null());
        for (name, database) in [("SHOP", "shop"), ("OFFICE", "office")] {
            command.env(name, self.server.url(database));
            let own = self.server.url_as("lockstep", "change-me", database);
            command.env(format!("{name}_URL"), own);
        }
        command
    }

    /// Runs a block to its end and gives what it said.
    fn run(&self, block: &str) -> String {
        let output = self.command(block).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{block}\n{said}\n{complaint}");
        said
    }

    /// Starts a block that runs until it is told to stop.
    fn start(&self, block: &str) -> Running {
        let file = self.folder.path().join("said.txt");
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(file)
            .unwrap();
        let mut command = self.command(&format!("exec {block}"));
        command.stdout(Stdio::null()).stderr(log).process_group(0);
        Running(command.spawn().unwrap())
    }

    /// Repeats a block until it succeeds and says this.
    fn until(&self, block: &str, told: &str) {
        let started = Instant::now();
        loop {
            let output = self.command(block).output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            if output.status.success() && said.contains(told) {
                return;
            }
            let log = fs::read_to_string(self.folder.path().join("said.txt")).unwrap_or_default();
            let complaint = String::from_utf8_lossy(&output.stderr);
            assert!(
                started.elapsed() < DEADLINE,
                "{block}\n{said}{complaint}\n{log}"
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// A process that is killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_way_that_the_readme_shows_leads_to_a_running_sync() {
    let Some(server) = postgres::Server::start(&postgres::Options::default()) else {
        return;
    };
    for database in ["shop", "office"] {
        server
            .sql("postgres", &format!("CREATE DATABASE {database}"))
            .unwrap();
    }
    let reader = Reader::new(&server);
    let mut running = None;
    for block in blocks("### Two PostgreSQL databases") {
        match block.trim() {
            // Where the databases are, only the reader knows.
            block if block.starts_with("export SHOP=") => {}
            "lockstep run" => {
                running = Some(reader.start("lockstep run"));
                reader.until("lockstep status", "idle");
            }
            // What is compared may still be on its way.
            block if block.contains("lockstep verify") => reader.until(block, ""),
            block => drop(reader.run(block)),
        }
    }
    assert!(running.is_some(), "the README starts nothing");
    server
        .sql(
            "shop",
            "UPDATE customers SET credit = 77 WHERE id = 1; DELETE FROM customers WHERE id = 2",
        )
        .unwrap();
    let there = "psql -AtX \"$OFFICE\" -c 'SELECT client_no, credit FROM clients ORDER BY 1'";
    reader.until(there, "1|77");
    reader.until("lockstep verify", "");
    drop(running);

    let Some(nats) = nats::Server::start(&nats::Options::default()) else {
        return;
    };
    // The server runs already, set up alike; only its ports are others.
    let section = README
        .split("### The log on NATS JetStream")
        .nth(1)
        .unwrap();
    let section = section.split("```toml\n").nth(1).unwrap();
    let log = section.split("```").next().unwrap();
    let log = log
        .replace("nats://127.0.0.1:4222", &nats.url())
        .replace("http://127.0.0.1:8222", &nats.monitor_url());
    let file = reader.folder.path().join("sync/lockstep.toml");
    let old = "[log]\npath = \"lockstep.log\"\n";
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains(old), "{text}");
    fs::write(&file, text.replace(old, &log)).unwrap();
    reader.run("lockstep check");
    let _running = reader.start("lockstep run");
    server
        .sql("shop", "UPDATE customers SET credit = 78 WHERE id = 1")
        .unwrap();
    reader.until(there, "1|78");
    reader.until("lockstep verify", "");
}

/// A table of everything that people keep in PostgreSQL, with names that mean something else elsewhere.
const ODD: &str = r"
CREATE TYPE mood AS ENUM ('no', 'Ja', 'maybe not');
CREATE DOMAIN share AS numeric(5,4) CHECK (VALUE BETWEEN 0 AND 1);
CREATE TABLE thing (
    region char(2), no integer, n numeric(30,12), part share, big numeric(20,0), small smallint, real8 double precision,
    real4 real, flag boolean, day date, clock time, at timestamptz, at_local timestamp, ref uuid, raw bytea,
    doc jsonb, text_doc json, words text[], numbers integer[], feeling mood, title varchar(20), note text,
    PRIMARY KEY (region, no)
);
ALTER TABLE thing ALTER note SET STORAGE EXTERNAL;";

const ODD_ROWS: &str = r#"
INSERT INTO thing SELECT 'DE', n, n / 7.0, 0.5, 99999999999999999999, n, n / 3.0, 0.1, n % 2 = 0,
    DATE '2024-02-29' + n, TIME '23:59:59.999999', now(), '2024-03-31 02:30:00', gen_random_uuid(), '\x00ff',
    '{"a": [1, null, "é"], "b": 1.10}', '{"z": 1, "a": 2}', ARRAY['a,b', NULL, '"q"'], '{1,2,3}',
    'maybe not', 'ünïcödé', repeat(md5(n::text), 200) FROM generate_series(1, 50) n;
INSERT INTO thing (region, no) VALUES ('FR', -1);
"#;

#[test]
fn any_table_can_be_kept_in_step_with_what_is_imported() {
    let Some(server) = postgres::Server::start(&postgres::Options::default()) else {
        return;
    };
    for database in ["shop", "office"] {
        let sql = format!("CREATE DATABASE {database}");
        server.sql("postgres", &sql).unwrap();
        server.sql(database, ODD).unwrap();
    }
    server
        .sql(
            "shop",
            "CREATE ROLE lockstep SUPERUSER LOGIN PASSWORD 'change-me'",
        )
        .unwrap();
    server.sql("shop", ODD_ROWS).unwrap();
    let reader = Reader::new(&server);
    reader.run(
        "lockstep contract import table --url \"$SHOP_URL\" --table thing --owner shop --out contracts/thing.odcs.yaml
         printf 'contracts = \"contracts\"\n[log]\npath = \"lockstep.log\"\n' > lockstep.toml
         for system in shop office; do
            url=\"\\${$(echo $system | tr a-z A-Z)_URL}\"
            printf '[systems.%s]\nconnector = \"postgres\"\nurl = \"%s\"\n' $system \"$url\" >> lockstep.toml
            lockstep contract import table --url \"$SHOP_URL\" --table thing --mapping $system >> lockstep.toml
         done
         printf '[flows.things]\nentity = \"thing\"\nfrom = \"shop\"\nto = [\"office\"]\n' >> lockstep.toml
         lockstep check",
    );
    let _running = reader.start("lockstep run");
    // A document of type json keeps its meaning, not its blanks and the order of its names.
    let rows = "SET timezone = 'UTC';
        SELECT md5(string_agg((to_jsonb(thing) || jsonb_build_object('text_doc', text_doc::jsonb))::text, '|'
                              ORDER BY region, no)), count(*) FROM thing";
    let until_equal = |what: &str| {
        let started = Instant::now();
        while server.sql("office", rows).unwrap() != server.sql("shop", rows).unwrap() {
            let log = fs::read_to_string(reader.folder.path().join("said.txt")).unwrap_or_default();
            let first = "SET timezone = 'UTC'; SELECT left(thing::text, 900) FROM thing ORDER BY region, no LIMIT 1";
            let rows = ["shop", "office"].map(|database| server.sql(database, first).unwrap());
            assert!(
                started.elapsed() < DEADLINE,
                "{what}\n{}\n{}\n{log}",
                rows[0],
                rows[1]
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    until_equal("the copy");
    // The note is large and kept out of line, so the first update does not carry it.
    let changes = "UPDATE thing SET flag = NOT flag, words = '{}', feeling = 'Ja' WHERE no % 2 = 0;
         UPDATE thing SET no = no + 1000, note = note || '!' WHERE no > 40;
         DELETE FROM thing WHERE no BETWEEN 10 AND 20;";
    server.sql("shop", changes).unwrap();
    until_equal("the changes");
    reader.until("lockstep verify", "");
    let quarantine = reader.run("lockstep quarantine list --json");
    assert!(quarantine.contains("\"entries\":[]"), "{quarantine}");
}
