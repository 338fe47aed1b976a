//! Tables in partitions.

use lockstep_core::change::Op;
use lockstep_core::{Position, Value};

use crate::running::{Setup, says};
use crate::{database, ops};

const PARTED: &str = "CREATE TABLE p(id int PRIMARY KEY, x text) PARTITION BY RANGE (id);
    CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (100); CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (100) TO (200) PARTITION BY LIST (x);
    CREATE TABLE p2a PARTITION OF p2 DEFAULT; INSERT INTO p VALUES (1, 'a'), (101, 'b')";

#[tokio::test]
async fn rows_of_partitions_are_told_as_those_of_their_table() {
    let Some(database) = database(PARTED.replace("id int PRIMARY KEY", "id int").as_str()) else {
        return;
    };
    database
        .sql("CREATE UNIQUE INDEX ON p1(id); ALTER TABLE p ALTER id SET NOT NULL")
        .unwrap();
    // A partition has no key of its own where the table has none.
    says(
        &Setup::of(&database, &["p"]).refused(None).await,
        "has no key",
    );
    database
        .sql("DROP TABLE p; CREATE TABLE p(id int PRIMARY KEY, x text) PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (100); CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (100) TO (200); INSERT INTO p VALUES (1, 'a'), (101, 'b')")
        .unwrap();
    let setup = Setup::of(&database, &["p"]);
    let mut run = setup.run(None).await;
    assert_eq!(
        ops(&run.settled().await),
        [(Op::Snapshot, 1), (Op::Snapshot, 101)]
    );
    database
        .sql("INSERT INTO p VALUES (2, 'c'); INSERT INTO p2 VALUES (102, 'd'); UPDATE p SET id = 103 WHERE id = 2; DELETE FROM p1; TRUNCATE p; CREATE TABLE p3 PARTITION OF p FOR VALUES FROM (300) TO (400); INSERT INTO p VALUES (301, 'e')")
        .unwrap();
    let told = run.changes(7).await;
    assert!(told.iter().all(|change| change.shape.name == "p"));
    assert_eq!(
        ops(&told),
        [
            (Op::Created, 2),
            (Op::Created, 102),
            (Op::Deleted, 2),
            (Op::Created, 103),
            (Op::Deleted, 1),
            (Op::Truncated, 0),
            (Op::Created, 301)
        ]
    );
    assert_eq!(told[6].row.value(1), Some(&Value::text("e")));
}

/// What a position remembers of the partitions.
fn parts(position: &Position) -> u64 {
    let cursor: serde_json::Value =
        serde_json::from_str(position.cursor.as_deref().unwrap()).unwrap();
    cursor["known"]["p"]["parts"].as_u64().unwrap()
}

#[tokio::test]
async fn what_becomes_of_a_single_partition_is_noticed_though_nobody_tells_it() {
    let Some(database) = database(PARTED.split(" PARTITION BY LIST").next().unwrap()) else {
        return;
    };
    let setup = Setup::of(&database, &["p"]);
    let mut run = setup.run(None).await;
    run.settled().await;
    let mut position = run.position();
    for sql in [
        "TRUNCATE p1",
        "CREATE TABLE p3(LIKE p INCLUDING ALL); INSERT INTO p3 VALUES (301, 'x'); ALTER TABLE p ATTACH PARTITION p3 FOR VALUES FROM (300) TO (400)",
        "ALTER TABLE p DETACH PARTITION p1",
    ] {
        let before = parts(&position);
        run.kill().await;
        database.sql(sql).unwrap();
        run = setup.run(Some(&position)).await;
        database
            .sql("INSERT INTO p VALUES (150, 'y'); DELETE FROM p WHERE id = 150")
            .unwrap();
        assert_eq!(
            ops(&run.changes(2).await),
            [(Op::Created, 150), (Op::Deleted, 150)]
        );
        position = run.position();
        assert_ne!(parts(&position), before, "{sql}");
    }
}
