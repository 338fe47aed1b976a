//! References between records of a target that gives ids of its own: what a system calls a record there is looked up, a child waits for its parent, and back it is the entity's key again.

use std::fs;

use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;

use crate::things::{Running, until_in};

/// A contract of records that are named by a text.
fn contract(entity: &str, more: &str) -> String {
    format!(
        "apiVersion: v3.1.0\nkind: DataContract\nid: {entity}\nversion: 1.0.0\nstatus: active\nschema:\n  - name: {entity}\n    customProperties:\n      - property: lockstep.owner\n        value: shop\n    properties:\n      - name: no\n        logicalType: string\n        primaryKey: true\n        required: true\n{more}"
    )
}

const CUSTOMER: &str = "      - name: name\n        logicalType: string\n        required: true\n";
const ORDER: &str = "      - name: customer_no\n        logicalType: string\n        required: true\n      - name: total\n        logicalType: integer\n        required: true\n";

/// A shop that names customers by their numbers, an ERP with ids of its own, and a warehouse that gets the orders from there.
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
[systems.shop.map.order]
table = "orders"
fields = { no = "no", customer_no = "customer_no", total = "total" }

[systems.erp]
connector = "sqlite"
path = "erp.db"
[systems.erp.map.customer]
table = "parties"
fields = { no = "code", name = "name" }
[systems.erp.map.order]
table = "sales"
fields = { no = "reference", customer_no = { column = "party", link = "customer" }, total = "total" }

[flows.orders]
entity = "order"
from = "shop"
to = ["erp"]

[flows.customers]
entity = "customer"
from = "shop"
to = ["erp"]
"#;

const SHOP: &str = "CREATE TABLE customers (no TEXT PRIMARY KEY NOT NULL, name TEXT NOT NULL);
    CREATE TABLE orders (no TEXT PRIMARY KEY NOT NULL, customer_no TEXT NOT NULL, total INTEGER NOT NULL)";
const ERP: &str = "CREATE TABLE parties (id INTEGER PRIMARY KEY AUTOINCREMENT, code TEXT NOT NULL UNIQUE, name TEXT NOT NULL);
    CREATE TABLE sales (id INTEGER PRIMARY KEY AUTOINCREMENT, reference TEXT NOT NULL UNIQUE, party INTEGER NOT NULL REFERENCES parties (id), total INTEGER NOT NULL);
    INSERT INTO parties (id, code, name) VALUES (700, 'C1', 'made by hand')";

struct Folder(TempDir);

impl Folder {
    fn new(more: &str) -> Folder {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        fs::create_dir(at.join("contracts")).unwrap();
        for (entity, more) in [("customer", CUSTOMER), ("order", ORDER)] {
            let file = at.join(format!("contracts/{entity}.odcs.yaml"));
            fs::write(file, contract(entity, more)).unwrap();
        }
        fs::write(at.join("lockstep.toml"), format!("{CONFIG}{more}")).unwrap();
        let folder = Folder(folder);
        folder.db("shop").execute_batch(SHOP).unwrap();
        folder.db("erp").execute_batch(ERP).unwrap();
        folder
    }

    fn db(&self, name: &str) -> Connection {
        let db = Connection::open(self.0.path().join(format!("{name}.db"))).unwrap();
        db.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
        db
    }

    /// The orders of the ERP, with the code of the party that each names by its id.
    fn sales(&self) -> Vec<(String, String, i64)> {
        let erp = self.db("erp");
        let mut asked = erp
            .prepare("SELECT reference, code, total FROM sales JOIN parties ON parties.id = party ORDER BY reference")
            .unwrap();
        let rows = asked.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
        rows.unwrap().map(Result::unwrap).collect()
    }

    fn until(&self, what: &str, holds: &dyn Fn() -> bool) {
        until_in(self.0.path(), what, holds);
    }

    fn lockstep(&self, args: &[&str]) -> Value {
        let mut command = std::process::Command::new(crate::stage::binary());
        let output = command.args(args).current_dir(self.0.path()).output();
        serde_json::from_slice(&output.unwrap().stdout).unwrap()
    }
}

fn sale(no: &str, customer: &str, total: i64) -> (String, String, i64) {
    (no.to_owned(), customer.to_owned(), total)
}

#[test]
fn a_child_waits_for_its_parent_and_gets_the_targets_own_id() {
    let folder = Folder::new("");
    let shop = folder.db("shop");
    shop.execute_batch(
        "INSERT INTO customers VALUES ('C1', 'Ada'), ('C2', 'Bea');
         INSERT INTO orders VALUES ('O1', 'C1', 10), ('O2', 'C2', 20), ('O3', 'C9', 30)",
    )
    .unwrap();
    let _running = Running::start(folder.0.path());
    let two = [sale("O1", "C1", 10), sale("O2", "C2", 20)];
    folder.until("orders of known customers", &|| folder.sales() == two);
    // What waits for too long waits in quarantine, and goes on by itself when the parent is there.
    let waits = || folder.lockstep(&["quarantine", "list", "--json"]);
    folder.until("the third waits", &|| waits().to_string().contains("O3"));
    shop.execute("INSERT INTO customers VALUES ('C9', 'Cid')", [])
        .unwrap();
    let three = [two[0].clone(), two[1].clone(), sale("O3", "C9", 30)];
    folder.until("the third order", &|| folder.sales() == three);
    // Another customer of the same key gets another id.
    shop.execute_batch("UPDATE orders SET customer_no = 'C2' WHERE no = 'O1'; DELETE FROM customers WHERE no = 'C1'")
        .unwrap();
    let gone = || {
        let count =
            folder
                .db("erp")
                .query_row("SELECT count(*) FROM parties WHERE code = 'C1'", [], |r| {
                    r.get::<_, i64>(0)
                });
        count.unwrap() == 0
    };
    folder.until("the first customer is gone", &gone);
    shop.execute_batch(
        "INSERT INTO customers VALUES ('C1', 'Ada again'); INSERT INTO orders VALUES ('O4', 'C1', 40)",
    )
    .unwrap();
    let four = [
        sale("O1", "C2", 10),
        sale("O2", "C2", 20),
        sale("O3", "C9", 30),
        sale("O4", "C1", 40),
    ];
    folder.until("all orders", &|| folder.sales() == four);
    folder.until("nothing waits", &|| !waits().to_string().contains("\"O3\""));
    let verified = folder.lockstep(&["verify", "--json"]);
    assert_eq!(verified["equal"], true, "{verified}");
}

#[test]
fn own_ids_are_the_entitys_keys_again_when_they_are_read() {
    let more = "
[systems.dwh]
connector = \"sqlite\"
path = \"dwh.db\"
[systems.dwh.map.order]
table = \"orders\"
fields = { no = \"no\", customer_no = \"customer_no\", total = \"total\" }
";
    let folder = Folder::new(more);
    let at = folder.0.path().join("lockstep.toml");
    let text = fs::read_to_string(&at).unwrap();
    // The ERP owns the orders now.
    let text = text
        .replace(
            "path = \"erp.db\"\n",
            "path = \"erp.db\"\ncapture = \"query\"\nquery = { every = \"100ms\" }\n",
        )
        .replace(
            "from = \"shop\"\nto = [\"erp\"]\n\n[flows.customers]",
            "from = \"erp\"\nto = [\"dwh\"]\n\n[flows.customers]",
        );
    fs::write(&at, text).unwrap();
    let contract = folder.0.path().join("contracts/order.odcs.yaml");
    let owned = fs::read_to_string(&contract).unwrap();
    fs::write(&contract, owned.replace("value: shop", "value: erp")).unwrap();
    folder
        .db("dwh")
        .execute_batch("CREATE TABLE orders (no TEXT PRIMARY KEY NOT NULL, customer_no TEXT NOT NULL, total INTEGER NOT NULL)")
        .unwrap();
    folder
        .db("shop")
        .execute_batch("INSERT INTO customers VALUES ('C1', 'Ada')")
        .unwrap();
    folder
        .db("erp")
        .execute_batch("INSERT INTO sales (reference, party, total) VALUES ('S1', 700, 5)")
        .unwrap();
    let _running = Running::start(folder.0.path());
    let orders = || -> Vec<(String, String, i64)> {
        let dwh = folder.db("dwh");
        let mut asked = dwh
            .prepare("SELECT no, customer_no, total FROM orders ORDER BY no")
            .unwrap();
        let rows = asked.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
        rows.unwrap().map(Result::unwrap).collect()
    };
    folder.until("the order", &|| orders() == [sale("S1", "C1", 5)]);
    let verified = folder.lockstep(&["verify", "--json"]);
    assert_eq!(verified["equal"], true, "{verified}");
}
