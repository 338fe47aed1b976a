//! What is special to writing PostgreSQL: refusals, constraints, equal values, altered tables, origins, checks.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use std::sync::Arc;

use lockstep_core::change::Op;
use lockstep_core::connector::Outcome;
use lockstep_core::diagnostic::Severity;
use lockstep_core::{Cell, Column, Kind, Shape, Type, Value};
use lockstep_postgres::connector;

use common::*;

fn decimal(text: &str) -> Value {
    Value::Decimal(text.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_name_what_is_wrong_and_the_cure() {
    let Some(database) = database(
        "CREATE TABLE parents(id int PRIMARY KEY);
         CREATE TABLE t(id text, must text NOT NULL, parent int REFERENCES parents(id), twice int GENERATED ALWAYS AS (parent * 2) STORED, code char(3) UNIQUE, late int UNIQUE DEFERRABLE);
         CREATE UNIQUE INDEX part ON t(must) WHERE parent IS NULL;
         CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
         CREATE TRIGGER swallow BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f();
         CREATE RULE away AS ON DELETE TO t DO INSTEAD NOTHING;
         CREATE VIEW v AS SELECT * FROM t;
         CREATE COLLATION lax (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
         CREATE TABLE l(id text COLLATE lax PRIMARY KEY, n int);",
    ) else {
        return;
    };
    let sink = sink(&database, &["t", "v", "l"]).await;
    let shapes = sink.discover().await.unwrap();
    let all = |names: &[&str]| part(&shapes[0], names);
    for (target, severity, message) in [
        (
            all(&["id", "parent"]),
            Severity::Error,
            "no unique index over exactly",
        ),
        (
            all(&["id", "parent"]),
            Severity::Error,
            "column `must` of table `t` is NOT NULL",
        ),
        (
            all(&["id", "parent"]),
            Severity::Warning,
            "foreign key `t_parent_fkey` to `parents`",
        ),
        (
            all(&["id", "parent"]),
            Severity::Warning,
            "trigger `swallow` of table `t` runs before",
        ),
        (
            all(&["id", "parent"]),
            Severity::Error,
            "rule `away` of table `t` rewrites",
        ),
        (
            all(&["code", "twice"]),
            Severity::Error,
            "column `twice` of table `t` is generated",
        ),
        (
            all(&["code", "must"]),
            Severity::Warning,
            "key column `code` of table `t` is a char(n)",
        ),
        (
            all(&["late", "must"]),
            Severity::Error,
            "no unique index over exactly",
        ),
        (
            part(&shapes[1], &["id", "must"]),
            Severity::Error,
            "`v` is a view",
        ),
        (
            part(&shapes[2], &["id", "n"]),
            Severity::Error,
            "key column `id` of table `l` does not compare to the letter",
        ),
    ] {
        let findings = sink.check(&[target]).await.unwrap();
        assert!(
            says(&findings, severity, message),
            "{message}: {findings:?}"
        );
    }
    let findings = sink.check(&[all(&["id", "must"])]).await.unwrap();
    let index = findings
        .iter()
        .find(|finding| finding.message.contains("no unique index"))
        .unwrap();
    database
        .sql(index.help.strip_prefix("run: ").unwrap())
        .unwrap();
    database.sql("DROP RULE away ON t").unwrap();
    let findings = sink.check(&[all(&["id", "must"])]).await.unwrap();
    assert!(
        findings
            .iter()
            .all(|finding| finding.severity < Severity::Error),
        "{findings:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refused_change_is_named_in_the_databases_words_without_values() {
    let Some(database) = database(
        "CREATE TYPE mood AS ENUM ('good');
         CREATE TABLE t(id int PRIMARY KEY, email text UNIQUE, n smallint NOT NULL, mood mood, at timestamptz(0), short varchar(3));
         CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN IF NEW.n = 13 THEN RAISE EXCEPTION ''the shop forbids that''; END IF; RETURN NEW; END';
         CREATE TRIGGER a BEFORE INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION f();
         INSERT INTO t VALUES (1, 'taken@x', 1);",
    ) else {
        return;
    };
    let (sink, shape) = prepared(&database, "t").await;
    let row = |id: i64, column: usize, value: Value| {
        let mut values = vec![
            Value::Int(id),
            Value::Null,
            Value::Int(1),
            Value::Null,
            Value::Null,
            Value::Null,
        ];
        values[column] = value;
        upsert(&shape, values)
    };
    let finer = "2024-01-01T00:00:00.5Z".parse().unwrap();
    let mut changes: Vec<_> = (100..160).map(|id| row(id, 2, Value::Int(2))).collect();
    let bad = [
        (
            3,
            row(3, 1, Value::text("taken@x")),
            "unique constraint \"t_email_key\"",
        ),
        (9, row(9, 2, Value::Null), "null value in column \"n\""),
        (
            10,
            row(10, 2, Value::Int(40_000)),
            "column `n`: the number is not in -32768 to 32767",
        ),
        (
            20,
            row(20, 3, Value::text("s3cret")),
            "invalid input value for enum mood",
        ),
        (
            21,
            row(21, 4, Value::Timestamp(finer)),
            "column `at`: the column keeps 0 digits",
        ),
        (
            22,
            row(22, 5, Value::text("s3cret")),
            "value too long for type character varying(3)",
        ),
        (
            40,
            row(40, 1, Value::text("a\0b")),
            "column `email`: the text holds a NUL",
        ),
        (41, row(41, 2, Value::Int(13)), "the shop forbids that"),
        (59, row(59, 0, Value::Null), "key field 0 is null (key: id)"),
    ];
    for (place, change, _) in &bad {
        changes[*place] = change.clone();
    }
    let found = refused(sink.apply(&step(0, changes.clone())).await);
    let places: Vec<usize> = found.iter().map(|(place, _)| *place).collect();
    assert_eq!(
        places,
        bad.each_ref().map(|(place, _, _)| *place),
        "{found:?}"
    );
    for ((_, outcome), (_, _, words)) in found.iter().zip(&bad) {
        assert!(
            matches!(outcome, Outcome::Rejected { reason } if reason.contains(words)),
            "{words}: {outcome:?}"
        );
    }
    assert!(!format!("{found:?}").contains("s3cret"), "{found:?}");
    assert_eq!(database.sql("SELECT count(*) FROM t").unwrap(), "1");
    assert!(sink.progress("f").await.unwrap().is_empty());
    for (place, _, _) in bad.iter().rev() {
        changes.remove(*place);
    }
    assert!(is_committed(&sink.apply(&step(0, changes)).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_whose_parent_is_missing_waits_also_where_the_constraint_is_deferred() {
    let Some(database) = database(
        "CREATE TABLE parents(id int PRIMARY KEY); INSERT INTO parents VALUES (1);
         CREATE TABLE t(id int PRIMARY KEY, parent int REFERENCES parents, boss int REFERENCES t DEFERRABLE INITIALLY DEFERRED);",
    ) else {
        return;
    };
    let (sink, shape) = prepared(&database, "t").await;
    let row = |id: i64, parent: i64, boss: i64| {
        upsert(
            &shape,
            [Value::Int(id), Value::Int(parent), Value::Int(boss)],
        )
    };
    // A boss may come after those who report to him, as long as he comes in the same batch.
    assert!(is_committed(
        &sink.apply(&batch(vec![row(1, 1, 2), row(2, 1, 2)])).await
    ));
    let found = refused(
        sink.apply(&batch(vec![row(3, 1, 1), row(4, 7, 1), row(5, 1, 9)]))
            .await,
    );
    let waits = |on: &str| Outcome::Waiting { on: on.to_owned() };
    assert_eq!(
        found,
        [
            (1, waits("the row that `t_parent_fkey` of `t` refers to")),
            (2, waits("the row that `t_boss_fkey` of `t` refers to")),
        ]
    );
    assert_eq!(database.sql("SELECT count(*) FROM t").unwrap(), "2");
    // A parent whose children are still there.
    let (parents, shape) = prepared(&database, "parents").await;
    let gone = change(&shape, Op::Deleted, [Value::Int(1)]);
    let found = refused(parents.apply(&batch(vec![gone])).await);
    assert_eq!(
        found,
        [(
            0,
            waits("the rows of `t` that refer to it by `t_parent_fkey` to go")
        )]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_are_equal_are_not_written_again_whatever_their_type() {
    let Some(database) = database(
        "CREATE COLLATION lax (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
         CREATE TABLE t(id uuid PRIMARY KEY, d numeric, f float8, x text COLLATE lax, j json, b bytea, c char(4), p point, n numeric[], at timestamp);
         CREATE TABLE audit(n int); INSERT INTO audit VALUES (0);
         CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN UPDATE audit SET n = n + 1; RETURN NULL; END';
         CREATE TRIGGER a AFTER INSERT OR UPDATE ON t FOR EACH ROW EXECUTE FUNCTION f();",
    ) else {
        return;
    };
    let (sink, shape) = prepared(&database, "t").await;
    let row = |text: &str, number: &str| {
        upsert(
            &shape,
            [
                Value::Uuid(uuid::Uuid::from_u128(1)),
                decimal(number),
                Value::Float(f64::NAN),
                Value::text(text),
                Value::Json("{\"a\":1}".into()),
                Value::Bytes(vec![0, 255]),
                Value::text("ab"),
                Value::text("(1,2)"),
                Value::Json("[\"1.50\",null]".into()),
                Value::Timestamp("0000-01-01T00:00:00.000001Z".parse().unwrap()),
            ],
        )
    };
    for (text, number, writes) in [
        ("a", "12.5", "1"),
        ("a", "12.50", "1"),
        ("A", "12.5", "2"),
        ("A", "12.5", "2"),
    ] {
        let mut change = row(text, number);
        assert!(is_committed(
            &sink.apply(&batch(vec![change.clone()])).await
        ));
        assert_eq!(
            database.sql("SELECT n FROM audit").unwrap(),
            writes,
            "{text}, whole"
        );
        change.row.0[1] = Cell::Unchanged;
        assert!(is_committed(&sink.apply(&batch(vec![change])).await));
        assert_eq!(
            database.sql("SELECT n FROM audit").unwrap(),
            writes,
            "{text}, in part"
        );
    }
    let held = database
        .sql("SELECT d, f, x, j, b, c, p, n, at FROM t")
        .unwrap();
    assert_eq!(
        held,
        "12.5|NaN|A|{\"a\":1}|\\x00ff|ab  |(1,2)|{1.50,NULL}|0001-01-01 00:00:00.000001 BC"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_altered_meanwhile_is_looked_at_again() {
    let Some(database) = database("CREATE TABLE t(id int PRIMARY KEY, n int)") else {
        return;
    };
    let (sink, shape) = prepared(&database, "t").await;
    let row = |n: i64| batch(vec![upsert(&shape, [Value::Int(1), Value::Int(n)])]);
    assert_eq!(refused(sink.apply(&row(1 << 40)).await).len(), 1);
    database.sql("ALTER TABLE t ALTER n TYPE bigint").unwrap();
    assert!(is_committed(&sink.apply(&row(1 << 40)).await));
    database.sql("ALTER TABLE t DROP n").unwrap();
    let error = fails(sink.apply(&row(2)).await);
    assert_eq!(error.kind(), Kind::Config, "{error:?}");
    database.sql("ALTER TABLE t ADD n int").unwrap();
    assert!(is_committed(&sink.apply(&row(2)).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_moves_and_patches_are_written_together() {
    let Some(database) = database(
        "CREATE TABLE t(id int PRIMARY KEY, a int, b int, note text DEFAULT 'ours'); INSERT INTO t SELECT i, i, i FROM generate_series(1, 500) i",
    ) else {
        return;
    };
    let (sink, shape) = prepared(&database, "t").await;
    let target = part(&shape, &["id", "a", "b"]);
    sink.prepare(&[Arc::clone(&target)]).await.unwrap();
    let moved = (1..=250_i64).map(|id| {
        let mut change = upsert(
            &target,
            [Value::Int(id + 1000), Value::Int(-id), Value::Null],
        );
        change.row.0[2] = Cell::Unchanged;
        change.before = Some(lockstep_core::Row(vec![
            Value::Int(id).into(),
            Cell::Unchanged,
            Cell::Unchanged,
        ]));
        change
    });
    let patched = (251..=300_i64).map(|id| {
        let mut change = upsert(&target, [Value::Int(id), Value::Null, Value::Int(7)]);
        change.row.0[1] = Cell::Unchanged;
        change
    });
    assert!(is_committed(
        &sink.apply(&batch(moved.chain(patched).collect())).await
    ));
    let sums = "SELECT count(*), sum(a) FILTER (WHERE id > 1000), sum(b) FILTER (WHERE id > 1000), count(*) FILTER (WHERE b = 7 AND a = id), count(*) FILTER (WHERE note = 'ours') FROM t";
    assert_eq!(database.sql(sums).unwrap(), "500|-31375|31375|50|500");
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_bear_a_mark_by_which_a_source_can_leave_them_out() {
    let Some(database) = database("CREATE TABLE t(id int PRIMARY KEY)") else {
        return;
    };
    let (sink, shape) = prepared(&database, "t").await;
    let name = database.name();
    database
        .sql(&format!(
            "SELECT pg_create_logical_replication_slot('{name}', 'test_decoding')"
        ))
        .unwrap();
    assert!(is_committed(
        &sink
            .apply(&batch(vec![upsert(&shape, [Value::Int(1)])]))
            .await
    ));
    let (second, _) = prepared(&database, "t").await;
    assert!(is_committed(
        &second
            .apply(&batch(vec![upsert(&shape, [Value::Int(2)])]))
            .await
    ));
    database.sql("INSERT INTO t VALUES (3)").unwrap();
    let told = |only_local: bool| {
        let sql = format!(
            "SELECT count(*) FROM pg_logical_slot_peek_changes('{name}', NULL, NULL, 'only-local', '{only_local}') WHERE data LIKE 'table public.t%'"
        );
        database.sql(&sql).unwrap()
    };
    assert_eq!((told(false).as_str(), told(true).as_str()), ("3", "1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncate_is_one_where_nobody_would_notice_and_deletes_otherwise() {
    let Some(database) = database(
        "CREATE TABLE gone(id int);
         CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO gone VALUES (OLD.id); RETURN OLD; END';
         CREATE TABLE t(id int PRIMARY KEY); INSERT INTO t VALUES (1), (2);",
    ) else {
        return;
    };
    let (sink, shape) = prepared(&database, "t").await;
    let clear = || batch(vec![change(&shape, Op::Truncated, [])]);
    let file = "SELECT relfilenode FROM pg_class WHERE relname = 't'";
    let before = database.sql(file).unwrap();
    assert!(is_committed(&sink.apply(&clear()).await));
    assert_eq!(database.sql("SELECT count(*) FROM t").unwrap(), "0");
    let after = database.sql(file).unwrap();
    assert_ne!(after, before, "the rows were deleted one by one");
    for (other, mend) in [
        (
            "CREATE TRIGGER a BEFORE DELETE ON t FOR EACH ROW EXECUTE FUNCTION f()",
            "DROP TRIGGER a ON t",
        ),
        (
            "CREATE TABLE child(id int PRIMARY KEY, t int REFERENCES t)",
            "DROP TABLE child",
        ),
        (
            "CREATE PUBLICATION partial FOR TABLE t WITH (publish = 'insert, delete')",
            "DROP PUBLICATION partial",
        ),
    ] {
        database
            .sql(&format!("INSERT INTO t VALUES (3); {other}"))
            .unwrap();
        assert!(is_committed(&sink.apply(&clear()).await), "{other}");
        assert_eq!(database.sql("SELECT count(*) FROM t").unwrap(), "0");
        assert_eq!(database.sql(file).unwrap(), after, "{other}");
        database.sql(mend).unwrap();
    }
    assert_eq!(database.sql("SELECT id FROM gone").unwrap(), "3");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_a_policy_refuses_is_set_aside_alone() {
    let Some(database) = database(
        "CREATE TABLE t(id int PRIMARY KEY, n int); ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON t USING (true) WITH CHECK (n > 0)",
    ) else {
        return;
    };
    let role = format!("writer_{}", database.name());
    database
        .sql(&format!(
            "CREATE ROLE {role} LOGIN PASSWORD 'pw'; CREATE SCHEMA lockstep AUTHORIZATION {role}; GRANT SELECT, INSERT, UPDATE, DELETE ON t TO {role}"
        ))
        .unwrap();
    let url = database.url_as(&role, "pw");
    let sink = connector()
        .open_sink(config(&url), context(&database, &["t"]))
        .await
        .unwrap();
    let shape = sink.discover().await.unwrap().remove(0);
    sink.prepare(&[Arc::clone(&shape)]).await.unwrap();
    let row = |id, n| upsert(&shape, [Value::Int(id), Value::Int(n)]);
    let found = refused(
        sink.apply(&batch(vec![row(1, 1), row(2, -1), row(3, 1)]))
            .await,
    );
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, 1);
    assert!(
        matches!(&found[0].1, Outcome::Rejected { reason } if reason.contains("BYPASSRLS")),
        "{found:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_was_given_up_does_not_go_on_in_the_server() {
    let Some(database) = database(
        "CREATE TABLE t(id int PRIMARY KEY);
         CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(600); RETURN NEW; END';
         CREATE TRIGGER a BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f();",
    ) else {
        return;
    };
    let (sink, shape) = prepared(&database, "t").await;
    let slow = batch(vec![upsert(&shape, [Value::Int(1)])]);
    let asleep = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'";
    let until = async |count: &str| {
        let start = std::time::Instant::now();
        while database.sql(asleep).unwrap() != count {
            assert!(start.elapsed() < std::time::Duration::from_secs(30));
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        written = sink.apply(&slow) => panic!("{written:?}"),
        () = until("1") => {}
    }
    until("0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_said_to_be_new_are_written_wherever_they_are() {
    let Some(database) = database("CREATE TABLE t(id int PRIMARY KEY, n int, UNIQUE (n))") else {
        return;
    };
    let (sink, shape) = prepared(&database, "t").await;
    let rows = |ids: std::ops::Range<i64>, add: i64| -> Vec<_> {
        let row = |id| change(&shape, Op::Created, [Value::Int(id), Value::Int(id + add)]);
        ids.map(row).collect()
    };
    let commit = async |at, changes| sink.apply(&step(at, changes)).await.unwrap();
    commit(0, rows(0..100, 0)).await;
    // Half of them are there, and one of those is another one by now.
    database.sql("UPDATE t SET n = -1 WHERE id = 7").unwrap();
    commit(1, rows(0..200, 0)).await;
    assert_eq!(
        database.sql("SELECT count(*), sum(n) FROM t").unwrap(),
        "200|19900"
    );
    // What is refused for another reason is named as ever.
    let mut wrong = rows(200..300, 0);
    wrong.push(change(
        &shape,
        Op::Created,
        [Value::Int(300), Value::Int(5)],
    ));
    let receipt = sink.apply(&step(2, wrong)).await;
    assert_eq!(refused(receipt).first().unwrap().0, 100);
    commit(2, rows(200..300, 0)).await;
    assert_eq!(database.sql("SELECT count(*) FROM t").unwrap(), "300");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_made_as_its_shape_says_and_only_where_there_is_none() {
    let Some(database) = database("CREATE SCHEMA sales; CREATE TABLE known(x int)") else {
        return;
    };
    let sink = sink(&database, &["known", "sales.orders"]).await;
    assert_eq!(sink.missing().await.unwrap(), ["sales.orders"]);
    let decimal = Type::Decimal {
        precision: Some(12),
        scale: Some(2),
    };
    let shape = Shape {
        name: "sales.orders".to_owned(),
        columns: vec![
            Column::new("No", Type::Int, false),
            Column::new("at", Type::Timestamp, false),
            Column::new("price", decimal, true),
        ],
        key: vec![1, 0],
    };
    for _ in 0..2 {
        sink.create_table(&shape).await.unwrap();
    }
    let known = Shape {
        name: "known".to_owned(),
        ..shape.clone()
    };
    sink.create_table(&known).await.unwrap();
    let made = sink.discover().await.unwrap();
    assert_eq!(*made[1], shape);
    assert_eq!(made[0].columns.len(), 1, "what is there stays as it is");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_does_not_own_a_table_is_told_what_adding_columns_takes() {
    let Some(database) = database("CREATE TABLE t(id int PRIMARY KEY, x text)") else {
        return;
    };
    let role = format!("{}_writer", database.name());
    let grants = format!(
        "CREATE ROLE {role} LOGIN PASSWORD 'pw'; GRANT ALL ON t TO {role}; GRANT ALL ON SCHEMA public TO {role}"
    );
    database.sql(&grants).unwrap();
    let url = database.url_as(&role, "pw");
    let sink = connector()
        .open_sink(config(&url), context(&database, &["t"]))
        .await
        .unwrap();
    let columns = [Column::new("memo", Type::Text, true)];
    let refused = sink.add_columns("t", &columns).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::Unauthorized);
    assert!(
        refused.chain().contains("must be owner"),
        "{}",
        refused.chain()
    );
    let help = refused.help_text().unwrap();
    assert!(
        help.contains("ALTER TABLE \"public\".\"t\" OWNER TO")
            && !help.contains("grant what is missing"),
        "{help}"
    );
    let owned = format!("ALTER TABLE t OWNER TO {role}");
    database.sql(&owned).unwrap();
    sink.add_columns("t", &columns).await.unwrap();
    drop(sink);
    database
        .sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"))
        .unwrap();
}
