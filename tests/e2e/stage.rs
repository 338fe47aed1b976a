//! Two small databases, the configuration that joins them, and the runtime as a process of its own.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take to come about.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

const CONTRACT: &str = r#"
apiVersion: v3.1.0
kind: DataContract
id: account
name: Accounts
version: 1.0.0
status: active
schema:
  - name: account
    logicalType: object
    customProperties:
      - property: lockstep.owner
        value: crm
    quality:
      - name: limit_covers_balance
        type: custom
        engine: cel
        implementation: decCmp(balance, credit_limit) <= 0
    properties:
      - name: id
        logicalType: string
        primaryKey: true
        required: true
      - name: name
        logicalType: string
        required: true
        classification: personal
        logicalTypeOptions:
          maxLength: 40
      - name: country
        logicalType: string
        required: true
        customProperties:
          - property: lockstep.enum
            value: [DE, FR, US]
      - name: balance
        logicalType: number
        physicalType: decimal(12,2)
        required: true
      - name: credit_limit
        logicalType: number
        physicalType: decimal(12,2)
        required: true
      - name: version
        logicalType: integer
        required: true
"#;

const CONFIG: &str = r#"
contracts = "contracts"

[log]
path = "log/lockstep.log"

[values.countries]
"Germany" = "DE"
"France" = "FR"
"United States" = "US"

[systems.crm]
connector = "sqlite"
path = "crm.db"

[systems.crm.map.account]
table = "accounts"
[systems.crm.map.account.fields]
id = "no"
name = "title"
country = { column = "land", values = "countries" }
balance = { column = "balance_cents", scale = 2 }
credit_limit = { column = "limit_cents", scale = 2 }
version = "version"

[systems.erp]
connector = "sqlite"
path = "erp.db"

[systems.erp.map.account]
table = "partners"
[systems.erp.map.account.fields]
id = { column = "code", prefix = "P-" }
name = "name"
country = "country"
balance = "balance"
credit_limit = "credit_limit"
version = "version"

[flows.accounts]
entity = "account"
from = "crm"
to = ["erp"]
"#;

/// A folder with two systems and their configuration.
pub(crate) struct Stage {
    folder: TempDir,
}

/// The embedded log, as the configuration names it.
const EMBEDDED: &str = "path = \"log/lockstep.log\"";

impl Stage {
    /// Makes both databases, empty.
    pub(crate) fn new() -> Stage {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        fs::create_dir(at.join("contracts")).unwrap();
        fs::create_dir(at.join("log")).unwrap();
        fs::write(at.join("contracts/account.odcs.yaml"), CONTRACT).unwrap();
        fs::write(at.join("lockstep.toml"), CONFIG).unwrap();
        let stage = Stage { folder };
        stage.make_source();
        let erp = stage.erp();
        erp.pragma_update(None, "journal_mode", "wal").unwrap();
        erp.execute_batch(
            "CREATE TABLE partners (id INTEGER PRIMARY KEY AUTOINCREMENT, code TEXT NOT NULL UNIQUE, \
             name TEXT NOT NULL, country TEXT NOT NULL, balance TEXT NOT NULL, \
             credit_limit TEXT NOT NULL, version INTEGER NOT NULL);
             CREATE TABLE audit (n INTEGER PRIMARY KEY, code TEXT, version INTEGER);
             CREATE TRIGGER audit_i AFTER INSERT ON partners BEGIN \
                INSERT INTO audit (code, version) VALUES (new.code, new.version); END;
             CREATE TRIGGER audit_u AFTER UPDATE ON partners BEGIN \
                INSERT INTO audit (code, version) VALUES (new.code, new.version); END;",
        )
        .unwrap();
        stage
    }

    /// Makes the source's database anew.
    pub(crate) fn make_source(&self) {
        for file in ["crm.db", "crm.db-wal", "crm.db-shm"] {
            let _ = fs::remove_file(self.path().join(file));
        }
        let crm = self.crm();
        crm.pragma_update(None, "journal_mode", "wal").unwrap();
        crm.execute_batch(
            "CREATE TABLE accounts (no TEXT PRIMARY KEY, title TEXT, land TEXT, balance_cents INTEGER, \
             limit_cents INTEGER, version INTEGER) WITHOUT ROWID",
        )
        .unwrap();
    }

    /// Puts the log on servers, with more lines for its section.
    pub(crate) fn log_on(&self, servers: &str, more: &str) {
        let section = format!("engine = \"nats\"\nservers = [{servers}]\n{more}");
        self.configure(EMBEDDED, &section);
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn crm(&self) -> Connection {
        open(&self.path().join("crm.db"))
    }

    pub(crate) fn erp(&self) -> Connection {
        open(&self.path().join("erp.db"))
    }

    /// Inserts or replaces a good account.
    pub(crate) fn put(&self, no: &str, version: i64) {
        put(&self.crm(), no, version);
    }

    /// Starts the runtime and waits until it answers.
    pub(crate) fn run(&self) -> Runtime<'_> {
        let runtime = self.spawn();
        self.until("the runtime answers", || self.status()["running"] == true);
        runtime
    }

    /// Starts the runtime without waiting.
    pub(crate) fn spawn(&self) -> Runtime<'_> {
        self.spawn_by(Command::new(binary()).arg("run"))
    }

    /// Starts the runtime by a command of one's own.
    pub(crate) fn spawn_by(&self, command: &mut Command) -> Runtime<'_> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.path().join("runtime.txt"))
            .unwrap();
        let child = command
            .current_dir(self.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Runtime { stage: self, child }
    }

    /// Runs a command to its end.
    pub(crate) fn lockstep(&self, args: &[&str]) -> Output {
        Command::new(binary())
            .args(args)
            .current_dir(self.path())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// The one JSON object that a command prints.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let output = self.lockstep(args);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
            panic!(
                "{args:?} printed no JSON ({error}): {}",
                String::from_utf8_lossy(&output.stderr)
            )
        })
    }

    pub(crate) fn status(&self) -> Value {
        self.json(&["status", "--json"])
    }

    pub(crate) fn state(&self) -> String {
        self.status()["flows"][0]["state"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// Open quarantine entries.
    pub(crate) fn quarantined(&self) -> Vec<Value> {
        self.json(&["quarantine", "list", "--json"])["entries"]
            .as_array()
            .unwrap()
            .clone()
    }

    /// Every partner in the target: code without prefix, version.
    pub(crate) fn partners(&self) -> Vec<(String, i64)> {
        rows(
            &self.erp(),
            "SELECT substr(code, 3), version FROM partners ORDER BY code",
        )
    }

    /// Every account in the source: number, version.
    pub(crate) fn accounts(&self) -> Vec<(String, i64)> {
        rows(&self.crm(), "SELECT no, version FROM accounts ORDER BY no")
    }

    /// Every write that the target saw: code without prefix, version, in order.
    pub(crate) fn writes(&self) -> Vec<(String, i64)> {
        rows(
            &self.erp(),
            "SELECT substr(code, 3), version FROM audit ORDER BY n",
        )
    }

    /// Waits for a condition, with a deadline.
    pub(crate) fn until(&self, what: &str, mut condition: impl FnMut() -> bool) {
        let started = Instant::now();
        while !condition() {
            if started.elapsed() > DEADLINE {
                let log = fs::read_to_string(self.path().join("runtime.txt")).unwrap_or_default();
                panic!(
                    "not in time: {what}\nsource {:?}\ntarget {:?}\n{log}",
                    self.accounts().len(),
                    self.partners().len()
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the target holds what the source holds.
    pub(crate) fn until_equal(&self) {
        self.until("the target equals the source", || {
            self.partners() == self.accounts()
        });
    }

    /// Replaces part of the configuration.
    pub(crate) fn configure(&self, from: &str, to: &str) {
        self.edit("lockstep.toml", from, to);
    }

    /// Replaces part of a file.
    pub(crate) fn edit(&self, file: &str, from: &str, to: &str) {
        let path = self.path().join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file} has no {from:?}");
        fs::write(path, text.replacen(from, to, 1)).unwrap();
    }
}

/// Inserts or replaces a good account.
pub(crate) fn put(crm: &Connection, no: &str, version: i64) {
    let land = ["Germany", "France", "United States"][version as usize % 3];
    crm.prepare_cached(
        "INSERT INTO accounts (no, title, land, balance_cents, limit_cents, version) VALUES (?1, ?2, ?3, ?4, 100000000, ?5) \
         ON CONFLICT (no) DO UPDATE SET title = excluded.title, land = excluded.land, \
         balance_cents = excluded.balance_cents, version = excluded.version",
    )
    .unwrap()
    .execute((no, format!("account {no}"), land, version * 101, version))
    .unwrap();
}

fn open(path: &Path) -> Connection {
    let db = Connection::open(path).unwrap();
    db.busy_timeout(Duration::from_secs(20)).unwrap();
    db
}

fn rows(db: &Connection, sql: &str) -> Vec<(String, i64)> {
    let mut select = db.prepare(sql).unwrap();
    let rows = select
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    rows.map(Result::unwrap).collect()
}

/// The runtime's process; killed when dropped.
pub(crate) struct Runtime<'s> {
    stage: &'s Stage,
    child: Child,
}

impl Runtime<'_> {
    /// Kills it as a power failure would.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop, as a service manager does, and gives its exit code.
    pub(crate) fn stop(mut self) -> i32 {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
        self.wait()
    }

    /// Waits for its end and gives its exit code.
    pub(crate) fn wait(&mut self) -> i32 {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(
                started.elapsed() < DEADLINE,
                "it did not end: {}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What it said so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.stage.path().join("runtime.txt")).unwrap_or_default()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Runtime<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The runtime's binary: named by `LOCKSTEP_BIN`, or built beside this test.
pub(crate) fn binary() -> PathBuf {
    static BUILT: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    BUILT
        .get_or_init(|| {
            if let Some(path) = std::env::var_os("LOCKSTEP_BIN") {
                return path.into();
            }
            let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
            let built = Command::new(cargo)
                .args(["build", "--quiet", "-p", "lockstep"])
                .status()
                .unwrap();
            assert!(built.success(), "the runtime does not build");
            let test = std::env::current_exe().unwrap();
            test.parent()
                .and_then(Path::parent)
                .unwrap()
                .join("lockstep")
        })
        .clone()
}
