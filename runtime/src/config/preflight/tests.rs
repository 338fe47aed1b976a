//! What is said about a sound file whose systems are not as it says.

use std::path::Path;

use super::*;
use crate::config::read::read;
use crate::config::toy::{World, registry};
use crate::log::embedded::{Embedded, EmbeddedOptions};

const FILE: &str = r#"contracts = "contracts"
[log]
path = "LOG"

[systems.crm]
connector = "toy"
path = "crm.db"
password = "${TOY_PASSWORD}"
[systems.crm.map.customer]
table = "companies"
fields = { id = "account_no", name = "name", country = "country_name" }
[systems.crm.map.order]
table = "orders"
fields = { id = "account_no", name = "name", country = "country_name" }

[systems.erp]
connector = "toy"
path = "erp.db"
[systems.erp.map.customer]
table = "customers"
fields = { id = "account_no", name = "name", country = "country_name" }
[systems.erp.map.order]
table = "orders"
fields = { id = "account_no", name = "name", country = "country_name" }

[flows.customers]
entity = "customer"
from = "crm"
to = ["erp"]
[flows.orders]
entity = "order"
from = "crm"
to = ["erp"]
"#;

async fn look(folder: &Path, changes: &[(&str, &str)]) -> Preflight {
    let mut text = FILE.to_owned();
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replacen(from, to, 1);
    }
    let text = text.replace("LOG", &folder.join("log").display().to_string());
    let file = Path::new("conf/lockstep.toml");
    let (config, _) = read(file, &text, &registry(), &World::usual()).unwrap();
    preflight(&config, &registry()).await
}

/// Code, line and message of every finding.
fn said(preflight: &Preflight) -> Vec<(&str, usize, &str)> {
    let findings = preflight.findings.iter();
    findings
        .map(|finding| {
            let line = finding.place.as_ref().map_or(0, |place| place.line);
            (finding.code, line, finding.message.as_str())
        })
        .collect()
}

#[tokio::test]
async fn sound_systems_give_compiled_flows() {
    let folder = tempfile::tempdir().unwrap();
    let preflight = look(folder.path(), &[]).await;
    assert_eq!(said(&preflight), []);
    assert!(preflight.is_sound());
    let names: Vec<&str> = preflight.flows.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names, ["customers", "orders"]);
    let customers = &preflight.flows[0];
    assert_eq!(customers.source.name, "companies");
    assert_eq!(customers.targets[0].system, "erp");
    assert_eq!(customers.targets[0].table.name, "customers");
    // Looking leaves nothing behind.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_system_out_of_reach_is_the_surroundings_fault_and_shows_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let preflight = look(folder.path(), &[("crm.db", "unreachable")]).await;
    let message = "system `crm` cannot be reached: refused \"[secret]\"";
    assert_eq!(said(&preflight), [("LS-P001", 5, message)]);
    assert!(preflight.is_environment());
    assert!(preflight.flows.is_empty());
}

#[tokio::test]
async fn every_missing_table_is_found_and_the_others_still_run() {
    let folder = tempfile::tempdir().unwrap();
    let missing = "path = \"erp.db\"\nmissing = [\"customers\", \"nothing\"]";
    let preflight = look(folder.path(), &[("path = \"erp.db\"", missing)]).await;
    let message =
        "system `erp` cannot do what the configuration asks: there is no table `customers`";
    assert_eq!(said(&preflight), [("LS-P002", 21, message)]);
    assert_eq!(
        preflight.findings[0].help.as_deref(),
        Some("create the table")
    );
    assert!(!preflight.is_environment());
    let names: Vec<&str> = preflight.flows.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names, ["orders"]);
}

#[tokio::test]
async fn a_wrong_column_is_placed_in_the_mapping() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = [(
        "table = \"customers\"\nfields = { id = \"account_no\"",
        "table = \"customers\"\nfields = { id = \"acount_no\"",
    )];
    let preflight = look(folder.path(), &wrong).await;
    assert!(!preflight.is_sound());
    for (code, line, message) in said(&preflight) {
        assert!(code.starts_with("LS-M"), "{code}");
        assert_eq!(line, 21, "{message}");
    }
}

/// A third system that `orders` of `erp` go on to, in the table that `customers` writes there.
const CHAIN: &str = r#"
[systems.shop]
connector = "toy"
path = "shop.db"
[systems.shop.map.order]
table = "orders"
fields = { id = "account_no", name = "name", country = "country_name" }

[flows.orders]
entity = "order"
from = "erp"
to = ["shop"]
"#;

#[tokio::test]
async fn a_flow_that_reads_what_another_one_writes_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let old = "\n[flows.orders]\nentity = \"order\"\nfrom = \"crm\"\nto = [\"erp\"]\n";
    let erp_orders = "[systems.erp.map.order]\ntable = \"orders\"";
    let same = "[systems.erp.map.order]\ntable = \"customers\"";
    let apart = look(folder.path(), &[(old, CHAIN)]).await;
    assert!(apart.is_sound(), "{:?}", apart.findings);

    let preflight = look(folder.path(), &[(old, CHAIN), (erp_orders, same)]).await;
    let errors: Vec<&Diagnostic> = preflight.errors().collect();
    let [finding] = errors.as_slice() else {
        panic!("{errors:?}");
    };
    assert_eq!(finding.code, "LS-P011");
    assert!(
        finding.message.contains(
            "flow `orders` reads table `customers` of `erp`, which flow `customers` writes"
        )
    );
    assert!(
        finding
            .help
            .as_ref()
            .unwrap()
            .contains("add `shop` to the `to` of flow `customers`")
    );
    assert!(!preflight.is_environment());

    let filtered =
        "[systems.erp.map.order]\nfilter = \"row.country_name == 'x'\"\ntable = \"customers\"";
    let preflight = look(folder.path(), &[(old, CHAIN), (erp_orders, filtered)]).await;
    let codes = said(&preflight)
        .iter()
        .map(|said| said.0)
        .collect::<Vec<_>>();
    assert_eq!((codes, preflight.is_sound()), (vec!["LS-P011"], true));
}

#[tokio::test]
async fn what_a_connector_finds_is_passed_on() {
    let folder = tempfile::tempdir().unwrap();
    let complaint = "path = \"crm.db\"\ncomplaint = \"slow disk\"";
    let preflight = look(folder.path(), &[("path = \"crm.db\"", complaint)]).await;
    assert_eq!(
        said(&preflight),
        [("LS-P003", 5, "system `crm`: slow disk")]
    );
    assert!(preflight.is_sound(), "a warning stops nothing");
}

#[tokio::test]
async fn a_log_that_cannot_have_its_folder_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let fresh = look(&folder.path().join("made/at/start"), &[]).await;
    assert_eq!(said(&fresh), []);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);

    std::fs::write(folder.path().join("file"), "").unwrap();
    let preflight = look(&folder.path().join("file/log"), &[]).await;
    let [finding] = preflight.findings.as_slice() else {
        panic!("{:?}", preflight.findings);
    };
    assert_eq!(finding.code, "LS-P005");
    assert!(finding.message.contains("file/log` cannot be written: "));
    assert!(preflight.is_environment());
}

#[tokio::test]
async fn the_holder_of_a_log_is_named_only_while_it_lives() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    assert_eq!(holder(&path), None);
    let log = Embedded::open(&path, EmbeddedOptions::default())
        .await
        .unwrap();
    let this = format!("process {}", std::process::id());
    assert_eq!(holder(&path).as_deref(), Some(this.as_str()));

    // Looking beside a running Lockstep says so and is no error.
    let preflight = look(folder.path(), &[]).await;
    assert_eq!(preflight.findings[0].code, "LS-P006");
    assert!(preflight.findings[0].message.contains(&this));
    assert!(preflight.is_sound());

    log.close().await.unwrap();
    drop(log);
    assert_eq!(holder(&path), None);
    // A holder that died leaves its name, but no lock.
    std::fs::write(folder.path().join("log.lock"), "process 4711").unwrap();
    assert_eq!(holder(&path), None);
}

#[tokio::test]
async fn an_inbox_is_compiled_from_its_contracts_without_being_opened() {
    let folder = tempfile::tempdir().unwrap();
    let start = FILE.find("[systems.crm]").unwrap();
    let end = FILE.find("[systems.erp]").unwrap();
    let text = format!(
        "{}[systems.crm]\nconnector = \"inbox\"\n{}",
        &FILE[..start],
        &FILE[end..]
    );
    let text = text.replace("LOG", &folder.path().join("log").display().to_string());
    let registry = registry().with(crate::inbox::connector());
    let file = Path::new("conf/lockstep.toml");
    let (config, _) = read(file, &text, &registry, &World::usual()).unwrap();
    let preflight = preflight(&config, &registry).await;
    assert_eq!(said(&preflight), []);
    let sources: Vec<&str> = preflight
        .flows
        .iter()
        .map(|flow| flow.source.name.as_str())
        .collect();
    assert_eq!(sources, ["customer", "order"]);
}
