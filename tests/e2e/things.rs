//! Two PostgreSQL servers with one table, the configuration that joins them, and the runtime beside them.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lockstep_servers::postgres;
use serde_json::Value;

use crate::stage::{DEADLINE, binary};

/// The runtime in a folder; killed when dropped.
pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn start(folder: &Path) -> Running {
        let file = folder.join("runtime.txt");
        let log = File::options().create(true).append(true).open(file);
        let mut command = Command::new(binary());
        command.arg("run").current_dir(folder).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(log.unwrap());
        Running(command.spawn().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const THING: &str = "apiVersion: v3.1.0\nkind: DataContract\nid: thing\nversion: 1.0.0\nstatus: active\nschema:\n  - name: thing\n    customProperties:\n      - property: lockstep.owner\n        value: from\n    properties:\n      - name: id\n        logicalType: integer\n        primaryKey: true\n        required: true\n      - name: name\n        logicalType: string\n        required: true\n";

/// The configuration, with a policy about drift on lines of its own.
pub(crate) const THINGS: &str = "contracts = \"contracts\"\n\n[log]\npath = \"lockstep.log\"\n\n[drift]\nadditive = \"propagate\"\n\n[systems.from]\nconnector = \"postgres\"\nurl = \"${file:from.url}\"\n\n[systems.from.map.thing]\ntable = \"things\"\nfields = { id = \"id\", name = \"name\" }\n\n[systems.to]\nconnector = \"postgres\"\nurl = \"${file:to.url}\"\n\n[systems.to.map.thing]\ntable = \"things\"\nfields = { id = \"id\", name = \"name\" }\n\n[flows.things]\nentity = \"thing\"\nfrom = \"from\"\nto = [\"to\"]\n";

/// Things from one database to another, in a folder with the configuration.
pub(crate) fn things() -> Option<(postgres::Server, postgres::Server, tempfile::TempDir)> {
    let from = postgres::Server::start(&postgres::Options::default())?;
    let to = postgres::Server::start(&postgres::Options::default())?;
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::create_dir(at.join("contracts")).unwrap();
    fs::write(at.join("contracts/thing.odcs.yaml"), THING).unwrap();
    fs::write(at.join("lockstep.toml"), THINGS).unwrap();
    for (server, name) in [(&from, "from"), (&to, "to")] {
        server.sql("postgres", "CREATE DATABASE things").unwrap();
        let table = "CREATE TABLE things (id bigint PRIMARY KEY, name text NOT NULL)";
        server.sql("things", table).unwrap();
        fs::write(at.join(format!("{name}.url")), server.url("things")).unwrap();
    }
    let all = "INSERT INTO things SELECT n, 'a' || n FROM generate_series(1, 500) n";
    from.sql("things", all).unwrap();
    Some((from, to, folder))
}

/// Waits for a condition on the runtime of a folder, with a deadline.
pub(crate) fn until_in(at: &Path, what: &str, holds: &dyn Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        let log = fs::read_to_string(at.join("runtime.txt")).unwrap_or_default();
        assert!(started.elapsed() < DEADLINE, "not in time: {what}\n{log}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The only flow, as `status` shows it.
pub(crate) fn flow_in(at: &Path) -> Value {
    let mut command = Command::new(binary());
    command.args(["status", "--json"]).current_dir(at);
    let output = command.output().unwrap();
    let status: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    status["flows"][0].clone()
}
