//! Versions in a log.

use lockstep_core::contract::drift::{Action, extended, next_minor};
use lockstep_core::contract::{Field, Migration};
use lockstep_core::{Column, Type};

use super::*;
use crate::config::{Config, toy};
use crate::log::embedded::{Embedded, EmbeddedOptions};

async fn log(folder: &tempfile::TempDir) -> Arc<Embedded> {
    let path = folder.path().join("log.db");
    Embedded::open(&path, EmbeddedOptions::default())
        .await
        .unwrap()
}

fn contract(version: &str) -> Contract {
    let fields = vec![Field::new("id", Type::Int), Field::new("name", Type::Text)];
    Contract {
        owner: Some("crm".to_owned()),
        ..Contract::new("thing", version.parse().unwrap(), fields)
    }
}

fn kept(contract: &Contract) -> Kept {
    Kept::of(Arc::new(contract.clone()))
}

#[tokio::test]
async fn a_version_is_written_once_and_found_by_whoever_reads_an_event_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let log = log(&folder).await;
    let versions = Versions::open(&*log).await.unwrap();
    let one = contract("1.0.0+b.2");
    versions.enter(kept(&one)).await.unwrap();
    versions.enter(kept(&one)).await.unwrap();
    let mut other = one.clone();
    other.fields[1].required = false;
    let error = versions.enter(kept(&other)).await.unwrap_err();
    assert_eq!(error.error_code(), Some("LS-E005"));
    let later = Versions::open(&*log).await.unwrap();
    assert_eq!(*later.known().of("thing")[0].contract, one);
    // Entered by another runtime since.
    let two = contract("1.1.0");
    versions.enter(kept(&two)).await.unwrap();
    let found = later.find(&two.urn()).await.unwrap().unwrap();
    assert_eq!(*found.contract, two);
    for unknown in [
        "urn:lockstep:contract:thing:9.0.0",
        "urn:x",
        "urn:lockstep:contract:a b:1",
    ] {
        assert!(later.find(unknown).await.unwrap().is_none());
    }
    log.close().await.unwrap();
}

#[tokio::test]
async fn a_released_version_is_known_though_it_never_ran_and_never_replaces_one_that_did() {
    let folder = tempfile::tempdir().unwrap();
    let log = log(&folder).await;
    let versions = Versions::open(&*log).await.unwrap();
    let (ran, released) = (contract("1.0.0"), Arc::new(contract("1.1.0")));
    versions.enter(kept(&ran)).await.unwrap();
    let other = Versions::open(&*log).await.unwrap();
    versions.enter_released(&released).await.unwrap();
    let found = other.find(&released.urn()).await.unwrap().unwrap();
    assert_eq!(found.contract, released);
    // The release of what ran was edited, or written later: its events are of what ran.
    let mut edited = ran.clone();
    edited.fields[1].required = false;
    let late = Versions::open(&*log).await.unwrap();
    for versions in [&versions, &late] {
        versions
            .enter_released(&Arc::new(edited.clone()))
            .await
            .unwrap();
        assert_eq!(*versions.known().of("thing")[0].contract, ran);
    }
    log.close().await.unwrap();
}

#[test]
fn what_was_taken_along_stays_until_the_file_has_it() {
    let mut config = toy::config();
    let file = Arc::clone(&config.contracts["customer"]);
    let memo = [Column::new("memo", Type::Text, true)];
    let taken = extended(&file, &memo, next_minor(&file.version));
    let mut known = Known::default();
    known.add(Kept::of(Arc::clone(&file)));
    known.add(Kept {
        taken: vec!["memo".to_owned()],
        ..kept(&taken)
    });
    config.drift.additive = Action::Propagate;
    let mut cautious = config.clone();
    cautious.flows.get_mut("customers").unwrap().drift.additive = Some(Action::Ignore);
    known.clone().apply(&mut config);
    known.clone().apply(&mut cautious);
    assert_eq!(*config.contracts["customer"], taken);
    let has = |config: &Config, system: &str| {
        let mapping = config.mapping(system, "customer").unwrap();
        mapping.fields.contains_key("memo")
    };
    assert!(has(&config, "crm") && has(&config, "erp"));
    assert!(has(&cautious, "crm") && !has(&cautious, "erp"));
    assert!(config.known.judge(&config).is_empty());

    // The owner takes it up under the same version, worded anew.
    let mut owned = taken.clone();
    owned.fields.last_mut().unwrap().description = Some("a note".to_owned());
    let mut config = toy::config();
    config
        .contracts
        .insert("customer".to_owned(), Arc::new(owned.clone()));
    assert!(known.judge(&config).is_empty());
    assert!(known.of("customer")[1].is_taken_up_by(&kept(&owned)));
    config.drift.additive = Action::Propagate;
    assert!(known.is_news(&config));
    known.clone().apply(&mut config);
    assert_eq!(*config.contracts["customer"], owned);
    // Mappings that do not name it go on with its column, also when the log knows the file's version by now.
    assert!(has(&config, "crm") && has(&config, "erp"));
    assert!(!known.is_news(&config));
    let mut later = Known::default();
    later.add(Kept::of(Arc::clone(&file)));
    later.add(Kept {
        took: vec!["memo".to_owned()],
        ..kept(&owned)
    });
    let mut config = toy::config();
    config.drift.additive = Action::Propagate;
    config
        .contracts
        .insert("customer".to_owned(), Arc::new(owned.clone()));
    later.apply(&mut config);
    assert!(has(&config, "crm") && has(&config, "erp"));

    // A patch of the file below it goes on with what was taken along, as a version of its own.
    let mut patched = (*file).clone();
    patched.version.patch += 1;
    patched.description = Some("better words".to_owned());
    let mut config = toy::config();
    config
        .contracts
        .insert("customer".to_owned(), Arc::new(patched));
    known.apply(&mut config);
    let effective = &config.contracts["customer"];
    assert!(effective.version > taken.version);
    assert!(effective.field("memo").is_some());
}

#[test]
fn columns_taken_along_together_make_the_same_version_at_the_next_start() {
    let mut config = toy::config();
    let file = Arc::clone(&config.contracts["customer"]);
    let columns = [
        Column::new("weight", Type::Int, true),
        Column::new("memo", Type::Text, true),
    ];
    let taken = Arc::new(extended(&file, &columns, next_minor(&file.version)));
    let names = ["memo", "weight"].map(str::to_owned).into();
    let mut known = Known::default();
    known.add(Kept::of(file));
    known.add(Kept::taking(Arc::clone(&taken), &names));
    config.drift.additive = Action::Propagate;
    known.apply(&mut config);
    assert_eq!(config.contracts["customer"], taken);
}

#[test]
fn another_contract_of_the_same_version_and_an_older_one_are_refused() {
    let mut config = toy::config();
    let file = Arc::clone(&config.contracts["customer"]);
    let mut other = (*file).clone();
    other.description = Some("other".to_owned());
    let mut known = Known::default();
    known.add(kept(&other));
    let found = known.judge(&config);
    assert_eq!(found[0].code, "LS-E005");
    // A text between two versions is told as that (`LS-C044`), and nowhere twice.
    let between = Contract {
        migrations: vec![Migration {
            from: file.version.clone(),
            to: next_minor(&file.version),
            up: Vec::new(),
            down: Vec::new(),
        }],
        ..(*file).clone()
    };
    let mut ahead = toy::config();
    ahead
        .contracts
        .insert("customer".to_owned(), Arc::new(between));
    assert_eq!(known.judge(&ahead), Vec::new());
    assert_eq!(crate::config::preflight::between(&ahead)[0].code, "LS-C044");
    let mut newer = other;
    newer.version.minor += 1;
    let mut known = Known::default();
    known.add(kept(&newer));
    assert_eq!(known.judge(&config)[0].code, "LS-E006");
    config
        .accept_older
        .insert("customer".to_owned(), file.version.clone());
    assert!(known.judge(&config).is_empty());
}
