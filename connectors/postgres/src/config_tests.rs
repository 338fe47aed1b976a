//! Tests of the settings.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn parse(value: serde_json::Value) -> Result<Config, String> {
    serde_json::from_value(value).map_err(|error| error.to_string())
}

fn endpoint(url: &str) -> Result<Endpoint> {
    parse(json!({ "url": url }))
        .unwrap()
        .endpoint(Path::new("/etc/lockstep"))
}

#[test]
fn a_url_is_enough() {
    let config = parse(json!({ "url": "postgres://app@localhost/erp" })).unwrap();
    assert!(config.check().is_ok());
    assert_eq!(config.slot("My ERP"), "lockstep_my_erp");
    assert_eq!(config.publication("erp"), "lockstep_erp");
}

#[test]
fn every_part_of_a_url_is_taken() {
    let it = endpoint("postgresql://a%40b:p%2Fw@db.example.com:6000/we%20ird?sslmode=verify-ca&sslrootcert=ca.pem&sslcert=/c.pem&sslkey=k.pem").unwrap();
    assert_eq!(it.host, Host::Tcp("db.example.com".to_owned()));
    assert_eq!((it.port, it.user.as_str()), (6000, "a@b"));
    assert_eq!(
        it.password.as_ref().map(|p| p.expose().as_str()),
        Some("p/w")
    );
    assert_eq!(
        (it.database.as_str(), it.tls),
        ("we ird", TlsMode::VerifyCa)
    );
    assert_eq!(
        it.root_certificate.as_deref(),
        Some(Path::new("/etc/lockstep/ca.pem"))
    );
    assert_eq!(it.client_certificate.as_deref(), Some(Path::new("/c.pem")));
    assert!(!format!("{it:?}").contains("p/w"), "{it:?}");
    assert_eq!(it.to_string(), "db.example.com:6000/we ird");
}

#[test]
fn tls_is_verified_unless_the_host_is_this_machine() {
    for (url, tls) in [
        ("postgres://u@db.example.com/x", TlsMode::VerifyFull),
        ("postgres://u@10.0.0.1/x", TlsMode::VerifyFull),
        ("postgres://u@localhost/x", TlsMode::Prefer),
        ("postgres://u@127.0.0.1/x", TlsMode::Prefer),
        ("postgres://u@[::1]:5433/x", TlsMode::Prefer),
        ("postgres://u@db/x?sslmode=disable", TlsMode::Disable),
        ("postgres://u@/x?host=/run/pg", TlsMode::Disable),
    ] {
        assert_eq!(endpoint(url).unwrap().tls, tls, "{url}");
    }
    assert_eq!(
        endpoint("postgres://u@[::1]/x").unwrap().host,
        Host::Tcp("::1".to_owned())
    );
    let socket = endpoint("postgres:///x?host=/run/pg&user=u&port=7").unwrap();
    assert_eq!(
        (socket.host, socket.port),
        (Host::Socket("/run/pg".into()), 7)
    );
}

#[test]
fn what_a_url_may_not_say_is_named() {
    for (url, part) in [
        ("mysql://u@h/x", "begins with `mysql:`"),
        ("nonsense", "`url` cannot be read"),
        ("postgres://u@h/x?sslmod=require", "a parameter `sslmod`"),
        ("postgres://u@h/x?sslmode=on", "`sslmode=on`"),
        ("postgres://u@h/x?port=0", "`port=0`"),
        ("postgres://u@h/x?host=i", "says `host` twice"),
        ("postgres://u@h/x?sslcert=c.pem", "without the other"),
        ("postgres://h/x", "names no user"),
        ("postgres://u@/x", "names no host"),
    ] {
        let error = endpoint(url).unwrap_err();
        assert!(error.to_string().contains(part), "{url}: {error}");
        assert!(error.help_text().is_some(), "{url}");
    }
    let twice = parse(json!({ "url": "postgres://u:p@h/x", "password": "hunter2" })).unwrap();
    let error = twice.endpoint(Path::new(".")).unwrap_err();
    assert!(!format!("{error:?}").contains("hunter2"));
}

#[test]
fn bounds_and_names_are_checked() {
    for (name, value, part) in [
        (
            "batch_max",
            json!(0),
            "`batch_max = 0` is out of bounds: it must be 1 to 100000",
        ),
        ("slot", json!("My-Slot"), "`slot = \"My-Slot\"`"),
        ("publication", json!(""), "`publication = \"\"`"),
    ] {
        let config = parse(json!({ "url": "postgres://u@h/x", name: value })).unwrap();
        let error = config.check().unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    let error = parse(json!({ "url": "postgres://u@h/x", "slott": "x" })).unwrap_err();
    assert!(error.contains("slott"), "{error}");
}

proptest! {
    #[test]
    fn no_url_panics_or_shows_its_password(head in "[a-z:/@?=&%\\[\\]]{0,12}", tail in "\\PC{0,20}") {
        let url = format!("{head}postgres://u:s3cr3t-pw@h/{tail}");
        if let Err(error) = endpoint(&url) {
            prop_assert!(!format!("{error:?}").contains("s3cr3t-pw"), "{:?}", error);
        }
        let _ = endpoint(&format!("postgres://{tail}"));
    }
}
