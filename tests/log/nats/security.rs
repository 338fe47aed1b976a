//! Who may use a log, and what is said to who may not.

use std::path::Path;
use std::time::Duration;

use lockstep::log::nats::survey::survey;
use lockstep::log::nats::{Nats, NatsOptions, Tls};
use lockstep::log::{Log, LogError, PublishError, StreamConfig, to_error};
use lockstep_core::connector::Secret;
use lockstep_core::error::Kind;
use lockstep_servers::certificates::{Authority, LOOPBACK};
use lockstep_servers::nats::{Options, Server};
use tempfile::TempDir;

use super::{at, keys};
use crate::suite::{message, publish_one, stream, until};

fn with(extra: String) -> Options {
    Options {
        sync_always: false,
        extra,
        ..Options::default()
    }
}

/// Opens the log and stores something.
async fn works(options: NatsOptions) {
    let log = Nats::open(options).await.unwrap();
    log.ensure_stream(&stream("s")).await.unwrap();
    publish_one(&*log, message("s.a", 1)).await.unwrap();
}

async fn refused(options: NatsOptions) -> LogError {
    match Nats::open(options).await {
        Ok(_) => panic!("it was let in"),
        Err(error) => {
            let told = to_error(error.clone());
            assert!(told.help_text().is_some() && told.error_code().is_some());
            error
        }
    }
}

fn url(server: &Server, scheme: &str) -> String {
    format!("{scheme}://localhost:{}", server.port())
}

fn secret(text: &str) -> Option<Secret<String>> {
    Some(Secret::new(text.to_owned()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_is_known_by_its_password() {
    let extra = "accounts { A: { jetstream: enabled, users: [ { user: me, password: right } ] } }";
    let Some(server) = Server::start(&with(extra.to_owned())) else {
        return;
    };
    let as_me = |password: &str| NatsOptions {
        user: Some("me".to_owned()),
        password: secret(password),
        ..at(server.url())
    };
    works(as_me("right")).await;
    for options in [as_me("wrong-password"), at(server.url())] {
        let error = refused(options).await;
        assert!(matches!(error, LogError::Credentials(_)), "{error:?}");
        assert!(!error.to_string().contains("wrong-password"));
        assert_eq!(to_error(error).kind(), Kind::Unauthorized);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_enough() {
    let Some(server) = Server::start(&with("authorization { token: t0ken }".to_owned())) else {
        return;
    };
    works(NatsOptions {
        token: secret("t0ken"),
        ..at(server.url())
    })
    .await;
    assert!(matches!(
        refused(at(server.url())).await,
        LogError::Credentials(_)
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_is_known_by_its_nkey() {
    let extra = format!(
        "accounts {{ A: {{ jetstream: enabled, users: [ {{ nkey: {} }} ] }} }}",
        keys::NKEY
    );
    let Some(server) = Server::start(&with(extra)) else {
        return;
    };
    let by = |seed: &str| NatsOptions {
        nkey: secret(seed),
        ..at(server.url())
    };
    works(by(keys::NKEY_SEED)).await;
    for (seed, words) in [
        (keys::USER_SEED, "does not accept"),
        ("no seed", "cannot be read as a seed"),
    ] {
        let error = refused(by(seed)).await;
        assert!(matches!(error, LogError::Credentials(_)), "{error:?}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_is_known_by_its_credentials_file() {
    let extra = format!(
        "operator: {}\nsystem_account: {}\nresolver: MEMORY\nresolver_preload: {{\n{}: {}\n{}: {}\n}}",
        keys::OPERATOR,
        keys::SYSTEM,
        keys::ACCOUNT,
        keys::ACCOUNT_TOKEN,
        keys::SYSTEM,
        keys::SYSTEM_TOKEN
    );
    let Some(server) = Server::start(&with(extra)) else {
        return;
    };
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("runtime.creds");
    let lines = |what: &str, body: &str| {
        format!("-----BEGIN {what}-----\n{body}\n------END {what}------\n\n")
    };
    let text = lines("NATS USER JWT", keys::USER_TOKEN) + &lines("USER NKEY SEED", keys::USER_SEED);
    std::fs::write(&path, text).unwrap();
    let by = |path: &Path| NatsOptions {
        credentials: Some(path.to_owned()),
        ..at(server.url())
    };
    works(by(&path)).await;
    let missing = folder.path().join("none.creds");
    let error = refused(by(&missing)).await.to_string();
    assert!(error.contains("none.creds"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_verified_on_both_sides() {
    let folder = TempDir::new().unwrap();
    let authority = Authority::new(folder.path(), "ca").unwrap();
    let other = Authority::new(folder.path(), "other").unwrap();
    let leaf = authority.server("server", &LOOPBACK).unwrap();
    let client = authority.client("client", "lockstep").unwrap();
    let stranger = other.client("stranger", "lockstep").unwrap();
    let extra = format!(
        "tls {{ cert_file: \"{}\", key_file: \"{}\", ca_file: \"{}\", verify: true }}",
        leaf.certificate.display(),
        leaf.key.display(),
        authority.certificate().display()
    );
    let Some(server) = Server::start(&with(extra)) else {
        return;
    };
    let by = |ca: &Path, ours: Option<&lockstep_servers::certificates::Leaf>| NatsOptions {
        tls: Some(Tls {
            ca: Some(ca.to_owned()),
            certificate: ours.map(|leaf| leaf.certificate.clone()),
            key: ours.map(|leaf| leaf.key.clone()),
        }),
        ..at(url(&server, "tls"))
    };
    works(by(authority.certificate(), Some(&client))).await;
    for options in [
        // A server that nobody we trust vouches for.
        by(other.certificate(), Some(&client)),
        // A client that nobody the server trusts vouches for, or none at all.
        by(authority.certificate(), Some(&stranger)),
        by(authority.certificate(), None),
    ] {
        let error = refused(options).await;
        let told = matches!(
            error,
            LogError::Unreachable { .. } | LogError::Credentials(_)
        );
        assert!(told, "{error:?}");
        assert!(
            error.to_string().to_lowercase().contains("certificate"),
            "{error}"
        );
    }
    let gone = folder.path().join("gone.pem");
    let error = refused(by(&gone, None)).await.to_string();
    assert!(error.contains("gone.pem"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_for_another_name_is_refused() {
    let folder = TempDir::new().unwrap();
    let authority = Authority::new(folder.path(), "ca").unwrap();
    let leaf = authority.server("server", &["elsewhere.example"]).unwrap();
    let extra = format!(
        "tls {{ cert_file: \"{}\", key_file: \"{}\" }}",
        leaf.certificate.display(),
        leaf.key.display()
    );
    let Some(server) = Server::start(&with(extra)) else {
        return;
    };
    let options = NatsOptions {
        tls: Some(Tls {
            ca: Some(authority.certificate().to_owned()),
            ..Tls::default()
        }),
        ..at(url(&server, "tls"))
    };
    let error = refused(options).await.to_string();
    assert!(error.contains("certificate"), "{error}");
}

/// A user that may do what a run needs, but for one subject.
fn all_but(denied: &str) -> Options {
    me_with(&format!(
        "permissions: {{ publish: {{ deny: [\"{denied}\"] }} }}"
    ))
}

/// A user with these permissions, and one with all of them.
fn me_with(permissions: &str) -> Options {
    with(format!(
        "accounts {{ A: {{ jetstream: enabled, users: [ {{ user: me, password: x, {permissions} }}, \
         {{ user: admin, password: x }} ] }} }}"
    ))
}

fn user(server: &Server, name: &str) -> NatsOptions {
    NatsOptions {
        user: Some(name.to_owned()),
        password: secret("x"),
        ..at(server.url())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_denied_publish_is_named_at_once() {
    let Some(server) = Server::start(&all_but("s.secret")) else {
        return;
    };
    let log = Nats::open(user(&server, "me")).await.unwrap();
    log.ensure_stream(&stream("s")).await.unwrap();
    let started = std::time::Instant::now();
    let messages = vec![message("s.a", 1), message("s.secret", 2), message("s.b", 3)];
    let outcomes = log.publish("s", messages).await;
    assert!(outcomes[0].is_ok() && outcomes[2].is_ok(), "{outcomes:?}");
    assert_eq!(outcomes[1], Err(PublishError::Denied("s.secret".into())));
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "it took a time-out to know"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_permission_is_found_before_the_start() {
    let cases = [
        ("ls.set.>", "ls.set.probe.v0.probe"),
        ("ls.lease.>", "ls.lease.probe.none"),
        ("ls.dlq.>", "ls.dlq.probe.probe"),
        ("ls.ctl.>", "ls.ctl.probe.none"),
        ("$KV.LS_QUARANTINE.>", "$KV.LS_QUARANTINE.probe"),
        (
            "$JS.API.CONSUMER.INFO.>",
            "$JS.API.CONSUMER.INFO.LS-PROBE.x",
        ),
        (
            "$JS.API.CONSUMER.DELETE.>",
            "$JS.API.CONSUMER.DELETE.LS-PROBE.x",
        ),
    ];
    let Some(server) = Server::start(&all_but(cases[0].0)) else {
        return;
    };
    let declared = [StreamConfig {
        subjects: vec!["ls.set.>".to_owned()],
        ..stream("LS_SET")
    }];
    for (subject, probed) in cases {
        server.configure(&all_but(subject)).unwrap();
        server.reload().unwrap();
        let found = denied(&server, &declared, probed).await;
        assert_eq!(found, [probed], "{subject}");
    }
    let deaf = "permissions: { subscribe: { deny: [\"ls.ctl.>\"] } }";
    server.configure(&me_with(deaf)).unwrap();
    server.reload().unwrap();
    let found = denied(&server, &declared, "ls.ctl.probe.none").await;
    assert_eq!(found, ["ls.ctl.probe.none"]);
    let found = survey(user(&server, "admin"), &declared).await.unwrap();
    assert_eq!(found.denied, [""; 0]);
    assert_eq!(found.skew, None, "a check makes no stream");
}

/// What `me` is denied, once the server knows of `probed`.
async fn denied(server: &Server, declared: &[StreamConfig], probed: &str) -> Vec<String> {
    until("the permissions hold", || async {
        let found = survey(user(server, "me"), declared).await.ok()?;
        found
            .denied
            .iter()
            .any(|denied| denied == probed)
            .then_some(found.denied)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_that_are_taken_away_under_a_run_are_named() {
    let with_password = |password: &str| {
        with(format!(
            "accounts {{ A: {{ jetstream: enabled, users: [ {{ user: me, password: {password} }} ] }} }}"
        ))
    };
    let Some(server) = Server::start(&with_password("x")) else {
        return;
    };
    let log = Nats::open(user(&server, "me")).await.unwrap();
    log.ensure_stream(&stream("s")).await.unwrap();
    server.configure(&with_password("other")).unwrap();
    server.reload().unwrap();
    until("the log says why", || async {
        let error = log.stream("s").await.err()?;
        matches!(error, LogError::Credentials(_)).then_some(())
    })
    .await;
    server.configure(&with_password("x")).unwrap();
    server.reload().unwrap();
    until("the log goes on", || async { log.stream("s").await.ok() }).await;
}
