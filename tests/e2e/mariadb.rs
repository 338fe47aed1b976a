//! MariaDB and PostgreSQL kept in step, each the source of one entity, while both are edited and the runtime is killed.

use std::fs;

use lockstep_servers::{mariadb, postgres};

use crate::kill::rounds;
use crate::stage::Stage;

const ITEM: &str = r#"
apiVersion: v3.1.0
kind: DataContract
id: item
name: Items
version: 1.0.0
status: active
schema:
  - name: item
    logicalType: object
    customProperties:
      - {property: lockstep.owner, value: shop}
    properties:
      - {name: id, logicalType: integer, primaryKey: true, required: true}
      - {name: title, logicalType: string, required: true}
      - {name: price, logicalType: number, physicalType: "decimal(12,2)", required: true}
      - {name: on_sale, logicalType: boolean}
      - {name: changed_at, logicalType: timestamp}
"#;

const CONFIG: &str = r#"
[systems.shop]
connector = "mysql"
url = "{shop}"
heartbeat_ms = 200

[systems.office]
connector = "postgres"
url = "{office}"

[systems.shop.map.item]
table = "items"
[systems.shop.map.item.fields]
id = "no"
title = "title"
price = "price"
on_sale = "on_sale"
changed_at = "changed_at"

[systems.office.map.item]
table = "articles"
[systems.office.map.item.fields]
id = "id"
title = "name"
price = "price"
on_sale = "on_sale"
changed_at = "changed_at"

[systems.office.map.remark]
table = "remarks"
[systems.office.map.remark.fields]
id = "id"
title = "name"
price = "price"
on_sale = "on_sale"
changed_at = "changed_at"

[systems.shop.map.remark]
table = "remarks"
[systems.shop.map.remark.fields]
id = "no"
title = "title"
price = "price"
on_sale = "on_sale"
changed_at = "changed_at"

[flows.items]
entity = "item"
from = "shop"
to = ["office"]

[flows.remarks]
entity = "remark"
from = "office"
to = ["shop"]
"#;

/// What the edits of a round are in both kinds of SQL, but for the names.
fn edits(table: &str, key: &str, title: &str, round: i64) -> String {
    let mut sql = String::new();
    for n in 0..20 {
        let id = round * 20 + n;
        sql += &format!(
            "INSERT INTO {table} ({key}, {title}, price, on_sale, changed_at) VALUES ({id}, 'Größe {id} 🚲', {id}.25, {}, '2024-02-29 01:02:03.{:06}');",
            ["true", "false", "NULL"][usize::try_from(n % 3).unwrap()],
            id * 7
        );
    }
    let last = round * 20;
    sql += &format!(
        "BEGIN; UPDATE {table} SET {title} = 'round {round}', price = -0.01 WHERE {key} <= {last}; DELETE FROM {table} WHERE {key} = {}; COMMIT;",
        last - 3
    );
    sql += &format!(
        "UPDATE {table} SET {key} = {} WHERE {key} = {};",
        last + 100_000,
        last - 7
    );
    sql
}

#[test]
fn mariadb_and_postgres_hold_the_same_however_often_the_runtime_dies() {
    let (Some(shop), Some(office)) = (mariadb::Database::fresh(), postgres::Database::fresh())
    else {
        return;
    };
    let columns = "price decimal(12,2) NOT NULL, on_sale boolean, changed_at";
    for table in ["items", "remarks"] {
        shop.sql(&format!(
            "CREATE TABLE {table}(no bigint PRIMARY KEY, title varchar(60) NOT NULL, {columns} datetime(6)) ENGINE = InnoDB CHARACTER SET utf8mb4"
        ))
        .unwrap();
    }
    for table in ["articles", "remarks"] {
        office
            .sql(&format!("CREATE TABLE {table}(id bigint PRIMARY KEY, name text NOT NULL, {columns} timestamp)"))
            .unwrap();
    }
    let stage = Stage::new();
    let config = CONFIG
        .replace("{shop}", &shop.url())
        .replace("{office}", &office.url());
    let path = stage.path().join("lockstep.toml");
    let text = fs::read_to_string(&path).unwrap() + &config;
    fs::write(path, text).unwrap();
    let contract = |name: &str, text: &str| {
        fs::write(
            stage.path().join(format!("contracts/{name}.odcs.yaml")),
            text,
        )
        .unwrap();
    };
    contract("item", ITEM);
    let remark = ITEM
        .replace("item", "remark")
        .replace("Items", "Remarks")
        .replace("value: shop", "value: office");
    contract("remark", &remark);

    let rounds = i64::try_from(rounds(5)).unwrap();
    for round in 0..rounds {
        let runtime = stage.run();
        shop.sql(&edits("items", "no", "title", round)).unwrap();
        office.sql(&edits("remarks", "id", "name", round)).unwrap();
        // Killed in the middle of whatever it does by now.
        runtime.kill();
    }
    let runtime = stage.run();
    let same = || {
        let of = |key: &str, title: &str, table: &str| {
            format!("SELECT {key}, {title}, price FROM {table} ORDER BY 1")
        };
        let ours = |text: String| text.replace('\t', "|");
        ours(shop.sql(&of("no", "title", "items")).unwrap())
            == office.sql(&of("id", "name", "articles")).unwrap()
            && ours(shop.sql(&of("no", "title", "remarks")).unwrap())
                == office.sql(&of("id", "name", "remarks")).unwrap()
    };
    stage.until("both systems hold the same", same);
    // Every round adds twenty and deletes one of the round before.
    let left = (rounds * 19 + 1).to_string();
    assert_eq!(shop.sql("SELECT count(*) FROM items").unwrap(), left);
    let verified = stage.lockstep(&["verify"]);
    assert_eq!(
        verified.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&verified.stdout)
    );
    assert!(stage.quarantined().is_empty());
    assert_eq!(runtime.stop(), 0);
    let drafted = stage.lockstep(&[
        "contract",
        "import",
        "table",
        "--url",
        &shop.url(),
        "--table",
        "items",
        "--entity",
        "item",
        "--owner",
        "shop",
    ]);
    let drafted = String::from_utf8_lossy(&drafted.stdout).into_owned();
    assert!(
        drafted.contains("decimal(12,2)") && drafted.contains("changed_at"),
        "{drafted}"
    );
}
