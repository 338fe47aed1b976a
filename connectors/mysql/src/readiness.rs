//! What would keep a source from working, and how to mend it; changes nothing.

use jiff::Timestamp;
use lockstep_core::Result;
use lockstep_core::connector::{Finding, Reads};
use lockstep_core::diagnostic::Severity::{self, Error, Warning};
use mysql_async::Conn;

use crate::catalog::Table;
use crate::client::{Client, code, failure, texts};
use crate::config::Config;
use crate::enter::Settings;
use crate::snapshot;
use crate::tables::Captured;

/// How far the server's clock may be from this machine's, in seconds.
const CLOCK_MAX_S: i64 = 5;
/// After how long the server should throw its log away at the earliest, in seconds: a weekend.
const KEPT_MIN_S: u64 = 3 * 24 * 3600;

pub(crate) fn find(
    findings: &mut Vec<Finding>,
    severity: Severity,
    message: impl Into<String>,
    help: impl Into<String>,
) {
    findings.push(Finding {
        severity,
        message: message.into(),
        help: help.into(),
    });
}

/// Looks at what the source needs.
pub(crate) async fn check(
    conn: &mut Conn,
    client: &Client,
    config: &Config,
    system: &str,
    tables: &[Table],
) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let server = client.server();
    clock(conn, &mut findings).await?;
    let settings = Settings::ask(conn).await?;
    for (message, help) in settings.faults(server) {
        find(&mut findings, Error, message, help);
    }
    privileges(conn, client, &mut findings).await?;
    retention(conn, &mut findings).await?;
    let id = config.server_id(system);
    if settings.identity == format!("maria-{id}") {
        find(
            &mut findings,
            Error,
            format!("the source would read under server_id {id}, which is the server's own"),
            "give the system another `server_id`",
        );
    }
    for table in tables {
        if let Err(error) = Captured::of(table, Reads::default()) {
            find(
                &mut findings,
                Error,
                error.to_string(),
                error.help_text().unwrap_or_default(),
            );
        }
        cascades(table, &mut findings);
        let generated = table.columns.iter().filter(|column| column.generated);
        let generated: Vec<&str> = generated.map(|column| column.name.as_str()).collect();
        if !generated.is_empty() {
            find(
                &mut findings,
                Severity::Info,
                format!(
                    "generated columns of table `{}` are not captured: {}",
                    table.spelled,
                    generated.join(", ")
                ),
                "map the columns that they are computed from",
            );
        }
        for (column, declared) in &table.left_out {
            find(
                &mut findings,
                Warning,
                format!(
                    "column `{column}` of table `{}` is left out: Lockstep has no values for type {declared}",
                    table.spelled
                ),
                "leave it out of the mapping, or add a column that holds it as a text",
            );
        }
    }
    Ok(findings)
}

/// The server's clock; both directions look at it.
pub(crate) async fn clock(conn: &mut Conn, findings: &mut Vec<Finding>) -> Result<()> {
    let asked = Timestamp::now();
    let lines = texts(
        conn,
        "SELECT CAST(UNIX_TIMESTAMP(SYSDATE(6)) * 1000000 AS SIGNED)",
    )
    .await;
    let lines = lines.map_err(|error| failure("cannot check the server", error))?;
    let answered = Timestamp::now();
    let server = lines
        .first()
        .and_then(|line| line.first()?.as_ref()?.parse::<i64>().ok());
    let Some(server) = server else {
        return Ok(());
    };
    // The server looked at its clock somewhere between the question and the answer.
    let early = asked.as_microsecond() - server;
    let late = server - answered.as_microsecond();
    let off = early.max(late) / 1_000_000;
    if off > CLOCK_MAX_S {
        let which = if early > late { "behind" } else { "ahead of" };
        find(
            findings,
            Warning,
            format!("the server's clock is {off} s {which} this machine's"),
            "let both follow a time server; until then delays are shown wrong, and rules that compare times decide wrong",
        );
    }
    Ok(())
}

/// Whether the user may read the log.
async fn privileges(conn: &mut Conn, client: &Client, findings: &mut Vec<Finding>) -> Result<()> {
    let user = &client.endpoint().user;
    let grants = texts(conn, "SHOW GRANTS")
        .await
        .map_err(|error| failure("cannot check privileges", error))?;
    let granted = |words: &[&str]| {
        grants.iter().flatten().flatten().any(|grant| {
            let grant = grant.to_ascii_uppercase();
            grant.contains(" ON *.*") && words.iter().any(|word| grant.contains(word))
        })
    };
    if !granted(&["REPLICATION SLAVE", "REPLICATION REPLICA", "ALL PRIVILEGES"]) {
        find(
            findings,
            Error,
            format!("user `{user}` may not read the binary log"),
            format!("run: GRANT REPLICATION SLAVE ON *.* TO {user}"),
        );
    }
    match snapshot::end(conn, client.server()).await {
        Ok(Some(_)) => {}
        Ok(None) => find(
            findings,
            Error,
            "the server does not say where its binary log ends",
            "put log_bin, with a name to which numbers can be added, into the server's configuration, and restart it",
        ),
        Err(error) => find(
            findings,
            Error,
            format!(
                "user `{user}` may not ask where the binary log ends: {}",
                error.chain()
            ),
            format!("run: GRANT REPLICATION CLIENT ON *.* TO {user}"),
        ),
    }
    Ok(())
}

/// How long the log is kept.
async fn retention(conn: &mut Conn, findings: &mut Vec<Finding>) -> Result<()> {
    let sql = "SELECT CAST(@@GLOBAL.binlog_expire_logs_seconds AS UNSIGNED)";
    let lines = match texts(conn, sql).await {
        Ok(lines) => lines,
        // Older servers count in days, and by default keep the log for ever.
        Err(error) if code(&error) == 1193 => return Ok(()),
        Err(error) => return Err(failure("cannot check the server", error)),
    };
    let kept: u64 = lines
        .first()
        .and_then(|line| line.first()?.as_ref()?.parse().ok())
        .unwrap_or(0);
    if (1..KEPT_MIN_S).contains(&kept) {
        find(
            findings,
            Warning,
            format!(
                "the server throws its binary log away after {} hours",
                kept / 3600
            ),
            "let an administrator run: SET GLOBAL binlog_expire_logs_seconds = 604800, so that an outage of some days costs no changes",
        );
    }
    Ok(())
}

/// Foreign keys that change rows of a captured table when others change: the server does that below its log, which tells nobody.
fn cascades(table: &Table, findings: &mut Vec<Finding>) {
    for (name, other) in &table.cascades {
        find(
            findings,
            Error,
            format!(
                "foreign key `{name}` changes rows of `{}` when rows of `{other}` change, and the binary log tells nobody",
                table.spelled
            ),
            "declare the foreign key with ON DELETE RESTRICT ON UPDATE RESTRICT, and let the program that deletes say so for each row",
        );
    }
}
