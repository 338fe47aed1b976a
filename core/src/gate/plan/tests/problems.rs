use super::*;
use crate::diagnostic::Severity;

fn reading(mapping: &Mapping) -> Vec<Problem> {
    ReadPlan::compile(mapping, &table(), &contract(), &values(), false)
        .err()
        .unwrap_or_default()
}

fn writing(mapping: &Mapping) -> Vec<Problem> {
    WritePlan::compile(mapping, &contract(), &table(), &values())
        .err()
        .unwrap_or_default()
}

fn changed(name: &str, map: FieldMap) -> Mapping {
    let mut mapping = mapping();
    mapping.fields.insert(name.to_owned(), map);
    mapping
}

#[test]
fn each_mistake_has_its_code_path_and_words() {
    let table = [
        (
            changed("email", column("male")),
            "LS-M001",
            "fields.email",
            "did you mean `mail`?",
        ),
        (
            changed("emial", column("mail")),
            "LS-M002",
            "fields.emial",
            "did you mean `email`?",
        ),
        (
            changed("issued_on", column("settled")),
            "LS-M004",
            "fields.issued_on",
            "`settled` holds int",
        ),
        (
            changed("country", on("land", |r| r.values = Some("country".into()))),
            "LS-M005",
            "fields.country.values",
            "did you mean `countries`?",
        ),
        (
            changed(
                "country",
                on("state", |r| r.values = Some("countries".into())),
            ),
            "LS-M007",
            "fields.country.values",
            "the column `state` holds int",
        ),
        (
            changed("country", rule(|_| ())),
            "LS-M009",
            "fields.country",
            "neither",
        ),
        (
            changed("country", on("land", |r| r.constant = Some("US".into()))),
            "LS-M009",
            "fields.country",
            "constant and something else",
        ),
        (
            changed(
                "country",
                on("land", |r| {
                    r.prefix = Some("x".into());
                    r.scale = Some(2);
                }),
            ),
            "LS-M009",
            "fields.country",
            "scale and prefix at once",
        ),
        (
            changed("country", on("land", |r| r.scale = Some(2))),
            "LS-M004",
            "fields.country.scale",
            "scale is for",
        ),
        (
            changed("amount", on("cents", |r| r.scale = Some(40))),
            "LS-M009",
            "fields.amount.scale",
            "a scale of 40",
        ),
        (
            changed(
                "issued_on",
                on("issued", |r| r.format = Some("%H:%M".into())),
            ),
            "LS-M010",
            "fields.issued_on.format",
            "`%H:%M`",
        ),
        (
            changed("issued_on", on("issued", |r| r.format = Some("%!".into()))),
            "LS-M010",
            "fields.issued_on.format",
            "`%!`",
        ),
    ];
    for (mapping, code, path, words) in table {
        let problems = reading(&mapping);
        let mut found = codes(&problems);
        // A value map names each of its entries that is wrong.
        found.dedup();
        assert_eq!(found, [code]);
        let problem = &problems[0];
        assert_eq!(problem.path.join("."), path);
        let text = format!(
            "{} {}",
            problem.message,
            problem.help.as_deref().unwrap_or_default()
        );
        assert!(text.contains(words), "{text}");
        // Both directions say the same, so that a report can drop one.
        if !matches!(code, "LS-M007") {
            assert_eq!(writing(&mapping), problems);
        }
    }
}

#[test]
fn mistakes_of_reading_alone() {
    let mut unmapped = mapping();
    unmapped.fields.remove("country");
    let mut filtered = mapping();
    filtered.filter = Some("row.kin == 'bill'".to_owned());
    let table = [
        (unmapped, "LS-M003", "`country` is required"),
        (filtered, "LS-M011", "did you mean `kind`?"),
        (
            changed("paid", rule(|r| r.read = Some("row.settled".into()))),
            "LS-M011",
            "gives int, but bool is wanted",
        ),
        (
            changed("paid", rule(|r| r.constant = Some(7.into()))),
            "LS-M012",
            "type bool",
        ),
        (
            changed("status", rule(|r| r.constant = Some("lost".into()))),
            "LS-M012",
            "allowed values: open, shut",
        ),
        (
            changed(
                "country",
                rule(|r| r.constant = Some(serde_json::Value::Null)),
            ),
            "LS-M012",
            "null",
        ),
    ];
    for (mapping, code, words) in table {
        let problems = reading(&mapping);
        assert_eq!(codes(&problems), [code]);
        assert!(
            problems[0].message.contains(words),
            "{}",
            problems[0].message
        );
    }
    for constant in [
        serde_json::json!(12.5),
        serde_json::json!("12.50"),
        serde_json::json!(12),
    ] {
        assert_eq!(
            reading(&changed("amount", rule(|r| r.constant = Some(constant)))),
            []
        );
    }
}

#[test]
fn mistakes_of_writing_alone() {
    let mut twice = mapping();
    let cel = "status".to_owned();
    twice.columns.insert("mail".to_owned(), ColumnMap { cel });
    let mut unknown = mapping();
    let cel = "statu".to_owned();
    unknown.columns.insert("kind".to_owned(), ColumnMap { cel });
    let mut nowhere = mapping();
    let cel = "status".to_owned();
    nowhere.columns.insert("kin".to_owned(), ColumnMap { cel });
    let mut keyless = mapping();
    keyless.fields.remove("id");
    let computed = on("bill_no", |r| r.read = Some("row.bill_no".into()));
    let table = [
        (twice, "LS-M014", "`mail` is written twice"),
        (
            changed("country", column("mail")),
            "LS-M014",
            "`mail` is written twice",
        ),
        (unknown, "LS-M011", "did you mean `status`?"),
        (nowhere, "LS-M001", "no column `kin`"),
        (keyless, "LS-M013", "key field `id`"),
        (changed("id", computed), "LS-M013", "key field `id`"),
    ];
    for (mapping, code, words) in table {
        let problems = writing(&mapping);
        assert_eq!(codes(&problems), [code], "{problems:?}");
        assert!(
            problems[0].message.contains(words),
            "{}",
            problems[0].message
        );
    }
}

fn states(pairs: &[(&str, &str)], open: bool) -> (Vec<Problem>, Vec<Problem>) {
    let mut values = values();
    let pairs = pairs
        .iter()
        .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()));
    values.insert("states".to_owned(), pairs.collect());
    let mut contract = contract();
    contract.fields[3].allowed.as_mut().unwrap().open = open;
    let read = ReadPlan::compile(&mapping(), &table(), &contract, &values, false);
    let write = WritePlan::compile(&mapping(), &contract, &table(), &values);
    let read = read
        .map(|plan| plan.warnings().to_vec())
        .unwrap_or_else(|problems| problems);
    let write = write.map(|plan| {
        let about = |p: &&Problem| p.path.contains(&"values".to_owned());
        plan.warnings().iter().filter(about).cloned().collect()
    });
    (read, write.unwrap_or_else(|problems| problems))
}

#[test]
fn a_value_map_covers_what_the_contract_allows_or_says_what_is_missing() {
    let say = |problems: &[Problem]| {
        problems
            .iter()
            .map(|p| (p.code.to_owned(), p.severity))
            .collect::<Vec<_>>()
    };
    let code = |code: &str, severity| vec![(code.to_owned(), severity)];
    let (read, write) = states(&[("1", "open"), ("2", "shut")], false);
    assert_eq!((read, write), (vec![], vec![]));
    // A source may never say `shut`; a target must be able to take it.
    let (read, write) = states(&[("1", "open")], false);
    assert_eq!(say(&read), code("LS-M006", Severity::Warning));
    assert!(read[0].message.contains("`shut`"));
    assert!(say(&write).contains(&("LS-M006".to_owned(), Severity::Error)));
    let (_, write) = states(&[("1", "open")], true);
    assert_eq!(say(&write), code("LS-M006", Severity::Warning));
    // What the contract does not know cannot come out of the map.
    let (read, _) = states(&[("1", "open"), ("2", "shut"), ("3", "lost")], false);
    assert_eq!(say(&read), code("LS-M007", Severity::Error));
    let (read, _) = states(&[("1", "open"), ("2", "shut"), ("3", "lost")], true);
    assert_eq!(say(&read), code("LS-M007", Severity::Warning));
    // Two codes for one value are fine to read, and ambiguous to write.
    let (read, write) = states(&[("1", "open"), ("2", "shut"), ("3", "shut")], false);
    assert_eq!(read, vec![]);
    assert!(say(&write).contains(&("LS-M008".to_owned(), Severity::Error)));
}

#[test]
fn a_column_that_takes_less_than_the_contract_is_warned_of() {
    let mut narrow = (*table()).clone();
    narrow.columns[2].kind = Some(Type::Decimal {
        precision: Some(8),
        scale: Some(2),
    });
    narrow.columns[5].nullable = false;
    let mapping = changed("amount", column("cents"));
    let plan = WritePlan::compile(&mapping, &contract(), &narrow, &values()).unwrap();
    assert_eq!(codes(plan.warnings()), ["LS-M016", "LS-M016"]);
    assert!(plan.warnings()[0].message.contains("decimal(8,2)"));
    assert!(plan.warnings()[1].message.contains("may be null"));
}
