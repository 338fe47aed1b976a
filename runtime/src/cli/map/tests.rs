//! What a mapping makes of the toy's rows.

use super::*;
use crate::config::toy;

async fn tried(system: &str, direction: Option<Direction>, values: bool) -> Result<Tried, Failed> {
    let args = Try {
        system: system.to_owned(),
        entity: "customer".to_owned(),
        limit: 5,
        direction,
        show_values: values,
    };
    args.run(&toy::config(), &toy::registry()).await
}

#[tokio::test]
async fn reading_shows_records_and_what_does_not_fit() {
    let tried = tried("crm", None, false).await.unwrap();
    assert_eq!(
        (tried.direction, tried.table.as_str()),
        (Direction::Read, "companies")
    );
    let [fits, broken] = tried.rows.as_slice() else {
        panic!("{tried:?}");
    };
    assert_eq!(fits.row["account_no"], "A-1");
    assert_eq!(fits.row["name"], "[personal]");
    let record = fits.record.as_ref().unwrap();
    assert_eq!(
        (&record["id"], &record["country"]),
        (&"A-1".into(), &"US".into())
    );
    assert_eq!(record["name"], "[personal]");
    assert!(fits.violations.is_empty());
    assert_eq!(broken.violations[0].field.as_deref(), Some("country"));
    let shown = format!("{}{}", serde_json::to_string(&tried).unwrap(), tried.text());
    assert!(!shown.contains("Ann Lee"), "{shown}");
}

#[tokio::test]
async fn writing_takes_rows_of_the_source() {
    let tried = tried("erp", None, true).await.unwrap();
    assert_eq!(
        (tried.direction, tried.from.as_str()),
        (Direction::Write, "crm")
    );
    let written = tried.rows[0].written.as_ref().unwrap();
    assert_eq!(written["name"], "Ann Lee");
    assert_eq!(written["country_name"], "US");
    assert!(
        tried.rows[1].written.is_none(),
        "what breaks the contract is not written"
    );
}

#[tokio::test]
async fn a_target_can_be_read_back() {
    let tried = tried("erp", Some(Direction::Read), false).await.unwrap();
    assert_eq!(
        (tried.direction, tried.from.as_str()),
        (Direction::Read, "erp")
    );
    assert_eq!(tried.rows.len(), 2);
}

#[tokio::test]
async fn what_is_not_known_is_suggested() {
    for (system, direction, help) in [
        ("cmr", None, "did you mean `crm`?"),
        ("crm", Some(Direction::Write), "use `--direction read`"),
    ] {
        let (findings, exit) = tried(system, direction, false).await.unwrap_err();
        assert_eq!((findings[0].code, exit), ("LS-U001", Exit::Usage));
        assert!(findings[0].help.as_deref().unwrap().contains(help));
    }
}
