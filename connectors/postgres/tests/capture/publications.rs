//! What a publication has to tell, and what is missing to make it.

use lockstep_core::Kind;
use lockstep_core::change::Op;
use lockstep_core::connector::Need;
use lockstep_core::diagnostic::Severity;
use serde_json::json;

use crate::running::{Setup, says};
use crate::{TABLE, database, ops};

#[tokio::test]
async fn a_table_that_the_publication_lacks_is_added_and_read() {
    let Some(database) = database(TABLE) else {
        return;
    };
    database
        .sql("CREATE TABLE u(id int PRIMARY KEY, x text); INSERT INTO u VALUES (7, 'u')")
        .unwrap();
    let one = Setup::of(&database, &["t"]);
    let mut run = one.run(None).await;
    run.settled().await;
    let position = run.position();
    run.kill().await;
    let both = Setup::of(&database, &["t", "u"]);
    let mut run = both.run(Some(&position)).await;
    assert_eq!(ops(&run.settled().await), [(Op::Snapshot, 7)]);
    // A table that somebody took out has missed changes, so it is read again.
    let position = run.position();
    run.kill().await;
    database
        .sql(&format!(
            "ALTER PUBLICATION lockstep_{} DROP TABLE t; INSERT INTO t VALUES (8, 'missed')",
            database.name()
        ))
        .unwrap();
    let mut run = both.run(Some(&position)).await;
    let told = run.settled().await;
    assert_eq!(ops(&told).len(), 4, "{told:?}");
}

#[tokio::test]
async fn what_a_role_may_not_do_is_said_with_the_statement_that_grants_it() {
    let Some(database) = database(TABLE) else {
        return;
    };
    let role = format!("reader_{}", database.name());
    database
        .sql(&format!("CREATE ROLE {role} LOGIN PASSWORD 'pw'"))
        .unwrap();
    let setup = Setup::new(&database.url_as(&role, "pw"), database.name(), &["t"]);
    let error = setup.refused(None).await;
    assert_eq!(error.kind(), Kind::Unauthorized);
    says(&error, &format!("ALTER ROLE \"{role}\" REPLICATION"));
    let findings = setup.check().await.unwrap();
    for part in [
        "may not replicate",
        "may not read table `t`",
        "the role may not add them",
    ] {
        let found = findings
            .iter()
            .find(|finding| finding.message.contains(part));
        assert_eq!(
            found
                .unwrap_or_else(|| panic!("{part}: {findings:?}"))
                .severity,
            Severity::Error
        );
    }
    database
        .sql(&format!("ALTER ROLE {role} REPLICATION"))
        .unwrap();
    let error = setup.refused(None).await;
    says(&error, "CREATE PUBLICATION");
    // Mended by what the message says.
    let create = error.help_text().unwrap().split_once(": ").unwrap().1;
    database
        .sql(&format!("{create}; GRANT SELECT ON t TO {role}"))
        .unwrap();
    assert!(setup.check().await.unwrap().is_empty());
    let mut run = setup.run(None).await;
    assert_eq!(run.settled().await.len(), 3);
}

#[tokio::test]
async fn a_replica_identity_that_does_not_name_the_record_is_found_before_a_delete_needs_it() {
    let Some(database) =
        database("CREATE TABLE p (id bigint PRIMARY KEY, code text NOT NULL UNIQUE)")
    else {
        return;
    };
    let setup = Setup::of(&database, &["p"]);
    let need = |column: &str| Need {
        table: "p".to_owned(),
        columns: vec![column.to_owned()],
    };
    assert_eq!(setup.check_for(&[need("id")]).await.unwrap(), []);
    let findings = setup.check_for(&[need("code")]).await.unwrap();
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(findings[0].severity, Severity::Error);
    assert!(
        findings[0].message.contains("does not tell code"),
        "{findings:?}"
    );
    // Mended by what the message says.
    let mend = findings[0].help.split(';').next().unwrap();
    database.sql(mend).unwrap();
    assert_eq!(setup.check_for(&[need("code")]).await.unwrap(), []);
}

#[tokio::test]
async fn a_publication_that_leaves_something_out_is_refused() {
    let Some(database) = database(TABLE) else {
        return;
    };
    let setup = Setup::of(&database, &["t"]).with("publication", json!("theirs"));
    for (sql, part) in [
        (
            "CREATE PUBLICATION theirs FOR TABLE t WHERE (id > 1)",
            "row filter",
        ),
        (
            "CREATE PUBLICATION theirs FOR TABLE t (id)",
            "leaves out columns",
        ),
        (
            "CREATE PUBLICATION theirs FOR TABLE t WITH (publish = 'insert')",
            "leaves out update, delete, truncate",
        ),
    ] {
        database.sql(sql).unwrap();
        says(&setup.refused(None).await, part);
        assert!(
            setup
                .check()
                .await
                .unwrap()
                .iter()
                .any(|finding| finding.message.contains(part))
        );
        database.sql("DROP PUBLICATION theirs").unwrap();
    }
}

#[tokio::test]
async fn a_table_that_cannot_tell_its_changes_is_refused_with_the_cure() {
    let Some(database) = database(TABLE) else {
        return;
    };
    for (sql, cure) in [
        (
            "ALTER TABLE t REPLICA IDENTITY NOTHING",
            "REPLICA IDENTITY DEFAULT",
        ),
        (
            "ALTER TABLE t REPLICA IDENTITY DEFAULT; ALTER TABLE t SET UNLOGGED",
            "SET LOGGED",
        ),
        (
            "ALTER TABLE t SET LOGGED; ALTER TABLE t DROP CONSTRAINT t_pkey; ALTER TABLE t ALTER id SET NOT NULL; CREATE UNIQUE INDEX one ON t(id)",
            "USING INDEX \"one\"",
        ),
        ("DROP INDEX one", "primary key"),
    ] {
        database.sql(sql).unwrap();
        let error = Setup::of(&database, &["t"]).discover().await.unwrap_err();
        assert_eq!(error.kind(), Kind::Config);
        says(&error, cure);
    }
    // Two rows with one key in the middle of a statement would become one.
    database
        .sql("ALTER TABLE t ADD PRIMARY KEY (id) DEFERRABLE; ALTER TABLE t REPLICA IDENTITY FULL")
        .unwrap();
    let setup = Setup::of(&database, &["t"]);
    let error = setup.discover().await.unwrap_err();
    says(&error, "is deferrable");
    let findings = setup.check().await.unwrap();
    assert!(findings.iter().any(|f| f.message.contains("is deferrable")));
    database.sql(error.help_text().unwrap()).unwrap();
    setup.discover().await.unwrap();
    database
        .sql("ALTER TABLE t DROP CONSTRAINT t_pkey; CREATE UNIQUE INDEX one ON t(id); ALTER TABLE t REPLICA IDENTITY USING INDEX one")
        .unwrap();
    let mut run = Setup::of(&database, &["t"]).run(None).await;
    run.settled().await;
    database.sql("DELETE FROM t WHERE id = 2").unwrap();
    assert_eq!(ops(&run.changes(1).await), [(Op::Deleted, 2)]);
}
