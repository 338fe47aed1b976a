//! A system that is away when the runtime starts: the others are kept in step, and it catches up once it is back.

use lockstep_servers::postgres::{Options, Server};

use crate::stage::Stage;

#[test]
fn a_system_that_is_away_at_the_start_holds_up_nobody_and_catches_up() {
    let Some(mut server) = Server::start(&Options::default()) else {
        return;
    };
    server
        .sql(
            "postgres",
            "CREATE TABLE partners (code text PRIMARY KEY, name text, country text, balance numeric, credit_limit numeric, version bigint)",
        )
        .unwrap();
    let stage = Stage::new();
    let url = server.url("postgres");
    stage.configure(
        "[flows.accounts]",
        &format!(
            "[systems.dwh]\nconnector = \"postgres\"\nurl = \"{url}\"\n\n[systems.dwh.map.account]\ntable = \"partners\"\n[systems.dwh.map.account.fields]\nid = \"code\"\nname = \"name\"\ncountry = \"country\"\nbalance = \"balance\"\ncredit_limit = \"credit_limit\"\nversion = \"version\"\n\n[flows.accounts]"
        ),
    );
    stage.configure("to = [\"erp\"]", "to = [\"erp\", \"dwh\"]");
    server.kill().unwrap();
    for n in 0..20 {
        stage.put(&format!("A{n}"), n);
    }
    let runtime = stage.run();
    stage.until_equal();
    let status = stage.status();
    let away = status["flows"].as_array().unwrap().iter();
    let away = away.clone().find(|flow| flow["to"] == "dwh").unwrap();
    assert_eq!(away["state"], "stalled", "{status}");
    assert!(
        away["reason"].as_str().unwrap().contains("away"),
        "{status}"
    );

    server.restart().unwrap();
    stage.put("B", 1);
    let all = |server: &Server| server.sql("postgres", "SELECT count(*) FROM partners");
    stage.until("it has caught up", || {
        all(&server).is_ok_and(|count| count.trim() == "21")
    });
    stage.until_equal();
    assert_eq!(runtime.stop(), 0);
}

#[test]
fn where_every_system_is_away_the_runtime_waits_for_them() {
    let Some(mut server) = Server::start(&Options::default()) else {
        return;
    };
    let make = "CREATE TABLE accounts (no text PRIMARY KEY, title text, land text, balance_cents bigint, limit_cents bigint, version bigint); INSERT INTO accounts VALUES ('A', 'Ann', 'Germany', 100, 200, 7)";
    server.sql("postgres", make).unwrap();
    let stage = Stage::new();
    let url = server.url("postgres");
    stage.configure(
        "connector = \"sqlite\"\npath = \"crm.db\"",
        &format!("connector = \"postgres\"\nurl = \"{url}\""),
    );
    server.kill().unwrap();
    let _runtime = stage.run();
    server.restart().unwrap();
    stage.until("the record has arrived", || {
        stage.partners() == [("A".to_owned(), 7)]
    });
}
