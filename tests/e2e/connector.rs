//! The connector in Python that the guide shows, over a real nats-server: it speaks for a file, keeps what is settled, and is killed meanwhile.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::outside::Outside;
use crate::stage::put;

/// The example at work; killed when dropped.
struct Connector<'o> {
    outside: &'o Outside,
    child: Child,
    said: PathBuf,
}

impl Drop for Connector<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl<'o> Connector<'o> {
    /// Starts it: it observes `articles.json` and hears of accounts.
    fn start(outside: &'o Outside, durable: &str) -> Connector<'o> {
        let said = outside.stage.path().join(format!("{durable}.out"));
        let file = || {
            let mut options = File::options();
            options.create(true).append(true);
            options.open(&said).unwrap()
        };
        let mut command = outside.script("connector.py");
        command
            .current_dir(outside.stage.path())
            .args(["--state", "state.db", "--every", "0.05"])
            .args(["--observe", "articles.json"])
            .args(["--system", "shop", "--entity", "article"])
            .args(["--hear", "account", "--durable", durable])
            .stdin(Stdio::null())
            .stdout(file());
        let child = command.spawn().unwrap();
        Connector {
            outside,
            child,
            said,
        }
    }

    /// What it printed so far; a kill may have cut the last line.
    fn said(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.said).unwrap();
        let lines = text.lines();
        lines
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// How many events it applied, and how many it knew already.
    fn counts(&self) -> (u64, u64) {
        let said = self.said();
        let sum = |name: &str| said.iter().filter_map(|line| line[name].as_u64()).sum();
        (sum("applied"), sum("known"))
    }

    fn kill(self) {
        drop(self);
    }

    /// Waits until it holds what the source holds, and the target what the file holds.
    fn until_equal(&self, articles: &[(&str, i64)]) {
        let stage = &self.outside.stage;
        let expected: Vec<(String, i64)> = articles
            .iter()
            .map(|(no, stock)| ((*no).to_owned(), *stock))
            .collect();
        stage.until("the connector holds the accounts", || {
            self.accounts() == stage.accounts()
        });
        stage.until("the target holds the file's articles", || {
            self.outside.articles() == expected
        });
    }

    /// The accounts that it keeps: key and version.
    fn accounts(&self) -> Vec<(String, i64)> {
        // It makes its tables when it starts.
        let Ok(db) = Connection::open(self.outside.stage.path().join("state.db")) else {
            return Vec::new();
        };
        db.busy_timeout(Duration::from_secs(20)).unwrap();
        let select = "SELECT key, data FROM records WHERE entity = 'account' AND data IS NOT NULL ORDER BY key";
        let Ok(mut select) = db.prepare(select) else {
            return Vec::new();
        };
        let rows = select.query_map([], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
        });
        rows.unwrap()
            .map(|row| {
                let (key, data) = row.unwrap();
                let data: Value = serde_json::from_str(&data).unwrap();
                assert_eq!(data["id"], json!(key));
                (key, data["version"].as_i64().unwrap())
            })
            .collect()
    }
}

/// What the shop holds: whoever looks sees the file before or after, never in between.
fn stock(outside: &Outside, articles: &[(&str, i64)]) {
    let records: Vec<Value> = articles
        .iter()
        .map(|(id, stock)| json!({"id": id, "stock": stock}))
        .collect();
    let folder = outside.stage.path();
    fs::write(folder.join("articles.tmp"), json!(records).to_string()).unwrap();
    fs::rename(folder.join("articles.tmp"), folder.join("articles.json")).unwrap();
}

#[test]
fn a_connector_in_python_is_killed_again_and_again_and_nothing_is_lost_or_doubled() {
    let Some(outside) = Outside::new() else {
        return;
    };
    let stage = &outside.stage;
    // An account that does not fit into a message of the log.
    stage.edit(
        "contracts/account.odcs.yaml",
        "maxLength: 40",
        "maxLength: 9000000",
    );
    let crm = stage.crm();
    for n in 0..50 {
        put(&crm, &format!("A{n:02}"), n);
    }
    let large = "x".repeat(1_500_000);
    let change = "UPDATE accounts SET title = ?1 WHERE no = 'A07'";
    crm.execute(change, [&large]).unwrap();
    stock(&outside, &[("A", 3), ("B", -1)]);
    let _runtime = stage.run();
    let connector = Connector::start(&outside, "first");
    connector.until_equal(&[("A", 3)]);
    let db = Connection::open(stage.path().join("state.db")).unwrap();
    let kept = "SELECT json_extract(data, '$.name') = ?1 FROM records WHERE key = 'A07'";
    assert!(
        db.query_row(kept, [&large], |row| row.get::<_, bool>(0))
            .unwrap()
    );
    drop(db);

    // What does not fit is told to whoever said it.
    let refused = |line: &Value| line["verdict"]["outcome"] == "refused";
    stage.until("the verdict came", || connector.said().iter().any(refused));
    let refusal = connector.said().into_iter().find(refused).unwrap();
    assert_eq!(
        (&refusal["verdict"]["field"], &refusal["data"]["id"]),
        (&json!("stock"), &json!("B"))
    );
    connector.kill();

    // Rows are made, changed, deleted and given other keys, on both sides, while it is killed at moments nobody chose.
    for round in 1..8 {
        let connector = Connector::start(&outside, "first");
        for n in 0..20 {
            put(
                &crm,
                &format!("A{:02}", (round * 7 + n) % 60),
                100 * round + n,
            );
        }
        let gone = format!("A{:02}", round * 5);
        crm.execute("DELETE FROM accounts WHERE no = ?1", [&gone])
            .unwrap();
        let rekey = "UPDATE accounts SET no = 'Z' || ?2 WHERE no = ?1";
        crm.execute(rekey, (format!("A{:02}", round * 5 + 1), round))
            .unwrap();
        stock(&outside, &[("A", round), ("B", 5), ("C", 7)]);
        let heard = connector.counts();
        if round % 2 == 0 {
            stage.until("it hears something", || connector.counts() != heard);
        }
        connector.kill();
    }
    stock(&outside, &[("A", 3), ("C", 7)]);
    let connector = Connector::start(&outside, "first");
    connector.until_equal(&[("A", 3), ("C", 7)]);
    connector.kill();
    let db = Connection::open(stage.path().join("state.db")).unwrap();
    // All of it once more, by another durable name: everything is known.
    let connector = Connector::start(&outside, "second");
    let settled: i64 = db
        .query_row("SELECT count(*) FROM records", [], |row| row.get(0))
        .unwrap();
    stage.until("everything was heard again", || {
        let (applied, known) = connector.counts();
        applied + known >= u64::try_from(settled).unwrap()
    });
    assert_eq!(connector.counts().0, 0, "what was known was applied again");
    connector.until_equal(&[("A", 3), ("C", 7)]);
}
