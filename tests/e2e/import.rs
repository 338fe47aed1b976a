//! Contracts made of tables of running systems: what a system says of a table in its own words stands in the contract.

use std::fs;
use std::process::Command;

use lockstep_servers::{mariadb, postgres};

use crate::stage::binary;

/// A table with whatever MariaDB lets somebody say of it.
const MARIADB: &str = r#"
SET NAMES utf8mb4;
CREATE TABLE `cus``tomers` (id bigint PRIMARY KEY, code varchar(9) UNIQUE) ENGINE=InnoDB;
CREATE TABLE `or``ders, odd` (
  `id` bigint unsigned NOT NULL AUTO_INCREMENT COMMENT 'the number; it''s "given" by `us`',
  `cust``omer` bigint NOT NULL,
  `state` enum('open','it''s, closed','zurück','a\\b') NOT NULL DEFAULT 'open' COMMENT 'PRIMARY KEY (`x`), CHECK (1)',
  `flags` set('red','it''s','zurück') DEFAULT NULL,
  `größe (cm)` decimal(8,2) NOT NULL DEFAULT 1.50 CHECK (`größe (cm)` >= 0 AND `größe (cm)` < 500),
  `qty` int(11) NOT NULL DEFAULT 1,
  `code` varchar(12) CHARACTER SET latin1 DEFAULT 'it''s' COMMENT 'Straße 日本 \\ und "so"',
  `kind` varchar(10) NOT NULL DEFAULT (concat('a', 'b')),
  `doc` json DEFAULT NULL,
  `at` timestamp NOT NULL DEFAULT current_timestamp() ON UPDATE current_timestamp(),
  `day` date DEFAULT '2020-01-01',
  `bits` bit(1) DEFAULT b'0',
  `total` decimal(12,2) GENERATED ALWAYS AS (`größe (cm)` * `qty`) VIRTUAL COMMENT 'computed',
  `label` varchar(40) GENERATED ALWAYS AS (concat(`code`, ' (', `state`, ')')) STORED,
  `note` text COMMENT '',
  `secret` int INVISIBLE DEFAULT 3,
  PRIMARY KEY (`id`),
  UNIQUE KEY `one code` (`code`),
  UNIQUE KEY `two` (`qty`,`kind`),
  KEY `idx_kind` (`kind`) USING BTREE COMMENT 'an index, `quoted`',
  FULLTEXT KEY `words` (`note`),
  CONSTRAINT `fk,1` FOREIGN KEY (`cust``omer`) REFERENCES `cus``tomers` (`id`) ON DELETE CASCADE ON UPDATE NO ACTION,
  CONSTRAINT `kinds` CHECK (`kind` in ('ab','cd','it''s')),
  CONSTRAINT `some``qty` CHECK (`qty` between 1 and 99),
  CONSTRAINT `both` CHECK (`qty` < 10 or `kind` <> 'ab')
) ENGINE=InnoDB AUTO_INCREMENT=7 DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci COMMENT='What was sold; it''s "odd", `really`: CREATE TABLE x (y int);';
"#;

/// The contract that is made of a table, and what is said of it.
fn imported(url: &str, table: &str) -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(binary());
    command.current_dir(folder.path());
    command.args([
        "contract", "import", "table", "--url", url, "--table", table,
    ]);
    command.args([
        "--entity",
        "order",
        "--owner",
        "shop",
        "--out",
        "order.yaml",
    ]);
    let done = command.output().unwrap();
    let said = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(0), "{said}");
    let written = fs::read_to_string(folder.path().join("order.yaml")).unwrap();
    (written, said)
}

#[test]
fn a_postgres_table_brings_what_it_says_of_itself_and_nothing_that_it_computes() {
    let Some(server) = postgres::Server::start(&postgres::Options::default()) else {
        return;
    };
    let table = "CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, total numeric(12,2) CHECK (total >= 0), \"with tax\" numeric(12,2) GENERATED ALWAYS AS (total * 1.19) STORED, land varchar(2)); COMMENT ON COLUMN orders.total IS 'it''s net'; COMMENT ON COLUMN orders.\"with tax\" IS 'gross'";
    server.sql("postgres", table).unwrap();
    let (written, said) = imported(&server.url("postgres"), "orders");
    for part in ["- name: id", "minimum: 0", "it''s net", "maxLength: 2"] {
        assert!(written.contains(part), "{part}\n{written}");
    }
    let computed = "the column `with tax` that the database computes was left out";
    assert!(said.contains(computed), "{said}");
    assert!(
        !written.contains("name: with_tax") && !written.contains("gross"),
        "{written}"
    );
}

#[test]
fn a_mariadb_table_brings_what_it_says_of_itself() {
    let Some(server) = mariadb::Server::start(&mariadb::Options::default()) else {
        return;
    };
    server.sql("mysql", "CREATE DATABASE shop").unwrap();
    server.sql("shop", MARIADB).unwrap();
    let (written, said) = imported(&server.url("shop"), "or`ders, odd");
    let field = |name: &str| {
        let begin = format!("      - name: {name}\n");
        let rest = written.split_once(&begin).unwrap_or_default().1;
        rest.split("\n      - name: ").next().unwrap_or_default()
    };
    let table = r#"description: 'What was sold; it''s "odd", `really`: CREATE TABLE x (y int);'"#;
    assert!(written.contains(table), "{written}");
    // No contract here is of the other table.
    let reference = "# the reference to `cus`tomers.id` is left out";
    assert!(written.contains(reference), "{written}");
    for (name, part) in [
        ("id", r#"description: 'the number; it''s "given" by `us`'"#),
        ("id", "primaryKey: true"),
        ("state", "description: 'PRIMARY KEY (`x`), CHECK (1)'"),
        ("state", r"value: [open, 'it''s, closed', zurück, 'a\b']"),
        ("flags", "logicalType: string"),
        ("groesse_cm", "physicalType: 'decimal(8,2)'"),
        ("groesse_cm", "minimum: 0\n          exclusiveMaximum: 500"),
        ("qty", "minimum: 1\n          maximum: 99"),
        ("code", r#"description: 'Straße 日本 \ und "so"'"#),
        ("code", "unique: true"),
        ("code", "maxLength: 12"),
        ("kind", "value: [ab, cd, 'it''s']"),
        ("doc", "logicalType: object"),
        ("at", "logicalType: timestamp\n        required: true"),
        ("day", "logicalType: date"),
        ("bits", "logicalType: boolean"),
        ("note", "logicalType: string"),
        ("secret", "logicalType: integer"),
    ] {
        assert!(field(name).contains(part), "`{name}`: {part}\n{written}");
    }
    // What no bound says is told, and what the database computes cannot be written.
    for part in [
        "that `qty`, `kind` are unique together is not checked",
        "`qty` < 10",
        "the column `total` that the database computes was left out",
        "the column `label` that the database computes was left out",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
    for computed in ["total", "label"] {
        assert_eq!(field(computed), "", "{written}");
    }
}
