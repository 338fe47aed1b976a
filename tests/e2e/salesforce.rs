//! A shop whose customers are made in Salesforce, and a warehouse that gets the orders from there, through kills of the runtime and answers that are lost; Salesforce is a simulator of our own.

use std::fs;

use lockstep_simulators::salesforce::{CLIENT_ID, CLIENT_SECRET, Fault, Field, Options, Simulator};
use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::stage::binary;
use crate::things::{Running, until_in};

fn contract(entity: &str, owner: &str, more: &str) -> String {
    format!(
        "apiVersion: v3.1.0\nkind: DataContract\nid: {entity}\nversion: 1.0.0\nstatus: active\nschema:\n  - name: {entity}\n    customProperties:\n      - property: lockstep.owner\n        value: {owner}\n    properties:\n      - name: no\n        logicalType: string\n        primaryKey: true\n        required: true\n{more}"
    )
}

const CUSTOMER: &str = "      - name: name\n        logicalType: string\n        required: true\n";
const ORDER: &str = "      - name: customer_no\n        logicalType: string\n        required: true\n      - name: total\n        logicalType: number\n        physicalType: decimal(12,2)\n        required: true\n";

const CONFIG: &str = r#"
contracts = "contracts"

[log]
path = "lockstep.log"

[systems.shop]
connector = "sqlite"
path = "shop.db"
[systems.shop.map.customer]
table = "customers"
fields = { no = "no", name = "name" }

[systems.crm]
connector = "salesforce"
url = "URL"
client_id = "CLIENT_ID"
client_secret = "CLIENT_SECRET"
calls_per_second = 1000
capture = "query"
query = { every = "200ms" }
[systems.crm.map.customer]
table = "Account"
fields = { no = "Erp__c", name = "Name" }
[systems.crm.map.order]
table = "Opportunity"
fields = { no = "Erp__c", customer_no = { column = "AccountId", link = "customer" }, total = "Amount" }

[systems.dwh]
connector = "sqlite"
path = "dwh.db"
[systems.dwh.map.order]
table = "orders"
fields = { no = "no", customer_no = "customer_no", total = "total" }

[flows.customers]
entity = "customer"
from = "shop"
to = ["crm"]

[flows.orders]
entity = "order"
from = "crm"
to = ["dwh"]
"#;

struct Company {
    folder: TempDir,
    crm: Simulator,
    /// What the simulator runs on.
    _tasks: tokio::runtime::Runtime,
}

impl Company {
    fn new() -> Company {
        let tasks = tokio::runtime::Runtime::new().unwrap();
        let crm = tasks
            .block_on(Simulator::start(Options::default()))
            .unwrap();
        crm.field("Account", Field::external("Erp__c"));
        crm.field("Opportunity", Field::external("Erp__c"));
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        fs::create_dir(at.join("contracts")).unwrap();
        for (entity, owner, more) in [("customer", "shop", CUSTOMER), ("order", "crm", ORDER)] {
            let file = at.join(format!("contracts/{entity}.odcs.yaml"));
            fs::write(file, contract(entity, owner, more)).unwrap();
        }
        let config = CONFIG
            .replace("URL", &crm.url())
            .replace("CLIENT_ID", CLIENT_ID)
            .replace("CLIENT_SECRET", CLIENT_SECRET);
        fs::write(at.join("lockstep.toml"), config).unwrap();
        let company = Company {
            folder,
            crm,
            _tasks: tasks,
        };
        let make = "CREATE TABLE customers (no TEXT PRIMARY KEY NOT NULL, name TEXT NOT NULL)";
        company.db("shop").execute_batch(make).unwrap();
        let make = "CREATE TABLE orders (no TEXT PRIMARY KEY NOT NULL, customer_no TEXT NOT NULL, total TEXT NOT NULL)";
        company.db("dwh").execute_batch(make).unwrap();
        company
    }

    fn db(&self, name: &str) -> Connection {
        let db = Connection::open(self.folder.path().join(format!("{name}.db"))).unwrap();
        db.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
        db
    }

    fn put(&self, no: i64, name: &str) {
        let shop = self.db("shop");
        let put = "INSERT INTO customers VALUES (?1, ?2) ON CONFLICT (no) DO UPDATE SET name = excluded.name";
        shop.execute(put, (format!("C{no}"), name)).unwrap();
    }

    /// The customers of the shop.
    fn customers(&self) -> Vec<(String, String)> {
        let shop = self.db("shop");
        let mut asked = shop
            .prepare("SELECT no, name FROM customers ORDER BY no")
            .unwrap();
        let rows = asked.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
        rows.unwrap().map(Result::unwrap).collect()
    }

    /// The accounts of Salesforce, by their numbers in the shop; one that is there twice is there twice.
    fn accounts(&self) -> Vec<(String, String)> {
        let text =
            |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
        let records = self.crm.records("Account");
        let pair = |values: &std::collections::BTreeMap<String, Value>| {
            (text(values.get("Erp__c")), text(values.get("Name")))
        };
        let mut all: Vec<_> = records.iter().map(|record| pair(&record.values)).collect();
        all.sort();
        all
    }

    fn orders(&self) -> Vec<(String, String, String)> {
        let dwh = self.db("dwh");
        let mut asked = dwh
            .prepare("SELECT no, customer_no, total FROM orders ORDER BY no")
            .unwrap();
        let rows = asked.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
        rows.unwrap().map(Result::unwrap).collect()
    }

    /// The id of an account in Salesforce.
    fn account(&self, no: &str) -> String {
        let records = self.crm.records("Account");
        let found = records.iter().find(|record| record.values["Erp__c"] == no);
        found.unwrap().id.clone()
    }

    fn until(&self, what: &str, holds: &dyn Fn() -> bool) {
        until_in(self.folder.path(), what, holds);
    }

    fn lockstep(&self, args: &[&str]) -> Value {
        let mut command = std::process::Command::new(binary());
        let output = command.args(args).current_dir(self.folder.path()).output();
        serde_json::from_slice(&output.unwrap().stdout).unwrap()
    }
}

fn order(no: &str, customer: &str, total: &str) -> (String, String, String) {
    (no.to_owned(), customer.to_owned(), total.to_owned())
}

#[test]
fn customers_are_made_once_in_salesforce_and_orders_follow_from_there() {
    let company = Company::new();
    for n in 0..50 {
        company.put(n, "first");
    }
    // Killed while records are made, and after answers that nobody heard.
    for round in 0..5 {
        company
            .crm
            .fault(Fault::DoneThenFailed, "composite/sobjects/Account", 0, 2);
        let before = company.crm.writes();
        let running = Running::start(company.folder.path());
        company.until("something is written", &|| company.crm.writes() > before);
        drop(running);
        for n in 0..20 {
            company.put(round * 7 + n, &format!("round {round}"));
        }
        company.put(100 + round, "new");
        let gone = format!("C{}", 40 + round);
        company
            .db("shop")
            .execute("DELETE FROM customers WHERE no = ?1", [gone])
            .unwrap();
    }
    let _running = Running::start(company.folder.path());
    company.until("the accounts", &|| {
        company.accounts() == company.customers()
    });

    // A person works in Salesforce.
    let edit =
        |id: Option<&str>, fields: &[(&str, Value)]| company.crm.edit("Opportunity", id, fields);
    let first = edit(
        None,
        &[
            ("Name", json!("one")),
            ("Erp__c", json!("O1")),
            ("AccountId", json!(company.account("C1"))),
            ("Amount", json!(1_250_000_000.5)),
        ],
    );
    let second = edit(
        None,
        &[
            ("Name", json!("two")),
            ("Erp__c", json!("O2")),
            ("AccountId", json!(company.account("C2"))),
            ("Amount", json!(0.1)),
        ],
    );
    let two = [
        order("O1", "C1", "1250000000.50"),
        order("O2", "C2", "0.10"),
    ];
    company.until("both orders", &|| company.orders() == two);
    company.crm.expire_tokens();
    edit(
        Some(&second),
        &[
            ("AccountId", json!(company.account("C3"))),
            ("Amount", json!(7)),
        ],
    );
    company.crm.delete("Opportunity", &first);
    let one = [order("O2", "C3", "7.00")];
    company.until("the change and the delete", &|| company.orders() == one);
    company.crm.restore("Opportunity", &first);
    let two = [two[0].clone(), one[0].clone()];
    company.until("what came back", &|| company.orders() == two);
    let verified = company.lockstep(&["verify", "--json"]);
    assert_eq!(verified["equal"], true, "{verified}");
}
