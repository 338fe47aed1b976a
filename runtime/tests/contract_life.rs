//! The life of a contract: released, changed, stopped, approved, told.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "not every file of tests needs all that they share"
)]
mod work;

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value as Json;
use work::*;

#[test]
fn an_approval_lets_a_finding_pass_by_the_right_person_for_a_time() {
    let Some(work) = Work::new() else { return };
    work.git(&["checkout", "-q", "-b", "feature"]);
    work.edit("classification: personal", "classification: public");
    work.edit("version: 1.0.0", "version: 1.1.0");
    work.commit("weaken");
    let (exit, report) = work.breaking(&[]);
    assert_eq!(exit, 1, "{report}");
    let item = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .find(|item| item["severity"] == "error")
        .unwrap();
    assert_eq!(item["approver"], "dataProtection", "{item}");
    let fingerprint = item["fingerprint"].as_str().unwrap().to_owned();

    let approve = |fingerprint: &str, more: &[&str]| {
        let args = [
            &[
                "approve",
                fingerprint,
                "--reason",
                "addresses are public by law",
            ],
            more,
        ]
        .concat();
        let output = work.run(&args);
        (output.status.code().unwrap(), out(&output))
    };
    assert_eq!(approve(&fingerprint, &["--by", "jane@example.com"]).0, 1);
    assert!(
        approve(&fingerprint, &["--by", "jane@example.com"])
            .1
            .contains("dora@example.com")
    );
    assert_eq!(approve("ffffffffffff", &["--by", "dora@example.com"]).0, 1);
    assert_eq!(
        approve(
            &fingerprint,
            &["--by", "dora@example.com", "--expires", "2001-01-01"]
        )
        .0,
        2
    );
    assert_eq!(
        approve(
            &fingerprint,
            &["--by", "dora@example.com", "--expires", "2999-01-01"]
        )
        .0,
        2
    );
    let (exit, said) = approve(&fingerprint, &["--by", "dora@example.com"]);
    assert_eq!(exit, 0, "{said}");
    let file = format!("contracts/approvals/{fingerprint}.yaml");
    assert!(said.contains(&file), "{said}");

    let (exit, report) = work.breaking(&[]);
    assert_eq!((exit, errors(&report)), (0, vec![]), "{report}");
    assert_eq!(report["counts"]["approved"], 1);
    assert!(
        out(&work.run(&["breaking"])).contains("approved by dora@example.com")
            || out(&work.run(&["breaking"])).contains("approved: by dora@example.com")
    );

    // Nobody appoints himself with the change that needs it.
    let text = work.read(&file);
    work.edit(
        "dora@example.com, role: dataProtection",
        "eve@example.com, role: dataProtection",
    );
    work.write(&file, &text.replace("dora@", "eve@"));
    let (exit, report) = work.breaking(&[]);
    assert_eq!(exit, 1);
    assert!(errors(&report).contains(&"LS-K015"), "{report}");
    work.edit("eve@example.com", "dora@example.com");

    // Neither does one that is to count for longer than anybody may approve.
    let day = text
        .lines()
        .find(|line| line.starts_with("expires"))
        .unwrap();
    work.write(&file, &text.replace(day, "expires: \"2999-01-01\""));
    assert!(errors(&work.breaking(&[]).1).contains(&"LS-K012"));

    // An approval that is over excuses nothing.
    let day = text
        .lines()
        .find(|line| line.starts_with("expires"))
        .unwrap();
    work.write(&file, &text.replace(day, "expires: \"2001-01-01\""));
    let (exit, report) = work.breaking(&[]);
    assert_eq!(exit, 1);
    assert!(report.to_string().contains("LS-K013"), "{report}");

    // One that fits nothing is told while it is new, and no more once it is merged.
    work.write(&file, &text);
    work.edit("classification: public", "classification: internal");
    let (_, report) = work.breaking(&[]);
    assert!(report.to_string().contains("LS-K014"), "{report}");
    work.edit("classification: internal", "classification: public");
    work.commit("approve");
    work.git(&["branch", "-q", "-f", "main"]);
    let (exit, report) = work.breaking(&[]);
    assert_eq!(
        (exit, report["findings"].as_array().unwrap().len()),
        (0, 0),
        "{report}"
    );
    assert_eq!(work.run(&["lint"]).status.code(), Some(0));
}

#[test]
fn a_release_is_frozen_and_the_next_one_takes_the_step_it_needs() {
    let Some(work) = Work::new() else { return };
    let file = "contracts/customer/customer.odcs.yaml";
    let lock = |version: &str| format!("contracts/customer/releases/{version}.lock.json");
    let release = |args: &[&str]| {
        let output = work.run(&[&["release"], args].concat());
        (output.status.code().unwrap(), out(&output))
    };
    let (exit, said) = release(&["customer", "--dry-run"]);
    assert!(
        exit == 0 && said.contains("would release customer 1.0.0"),
        "{said}"
    );
    assert!(!work.at(&lock("1.0.0")).exists());
    assert_eq!(release(&["--all"]).0, 0);
    let first = work.read(&lock("1.0.0"));
    work.commit("release");
    let (exit, said) = release(&["customer"]);
    assert!(exit == 0 && said.contains("nothing changed"), "{said}");
    // A published version is not published again, whatever it would hold.
    let (exit, said) = release(&["customer", "--version", "1.0.0"]);
    assert!(exit == 1 && said.contains("LS-K017"), "{said}");
    assert_eq!(release(&["nobody"]).0, 2);

    // An addition is a minor step, with comments kept; nothing breaks.
    let note = "      - {name: note, logicalType: string}\n";
    work.edit(
        note,
        &format!("{note}      - {{name: phone, logicalType: string}} # new\n"),
    );
    let (exit, said) = release(&["customer"]);
    assert!(
        exit == 0 && said.contains("released customer 1.1.0 after 1.0.0"),
        "{said}"
    );
    let text = work.read(file);
    assert!(
        text.contains("version: 1.1.0\n")
            && text.contains("# new")
            && text.contains("# What identifies"),
        "{text}"
    );
    assert_eq!(work.read(&lock("1.0.0")), first);
    let (exit, report) = work.breaking(&["--against", "releases"]);
    assert_eq!((exit, errors(&report)), (0, vec![]), "{report}");

    // A break needs a new major version, and a lower step is refused.
    work.edit(EMAIL, "");
    let (exit, said) = release(&["customer", "--bump", "minor"]);
    assert!(
        exit == 1 && said.contains("refused customer 1.2.0"),
        "{said}"
    );
    assert!(work.read(file).contains("version: 1.1.0\n"));
    let (exit, said) = release(&["customer"]);
    assert!(
        exit == 0 && said.contains("released customer 2.0.0"),
        "{said}"
    );
    let (exit, report) = work.breaking(&["--against", "releases"]);
    assert_eq!((exit, errors(&report)), (0, vec![]), "{report}");
    // What is not sound is not released.
    work.edit("logicalType: string", "logicalType: strong");
    assert_ne!(release(&["--all"]).0, 0);
}

#[test]
fn a_published_file_that_is_edited_or_gone_is_found() {
    let Some(work) = Work::new() else { return };
    assert_eq!(work.run(&["release", "--all"]).status.code(), Some(0));
    work.commit("release");
    let lock = "contracts/customer/releases/1.0.0.lock.json";
    let text = work.read(lock);

    work.write(
        lock,
        &text.replace("\"status\": \"active\"", "\"status\": \"retired\""),
    );
    let (_, report) = work.breaking(&[]);
    assert!(errors(&report).contains(&"LSC-RELEASE-EDITED"), "{report}");
    assert_eq!(work.run(&["lint"]).status.code(), Some(1));

    std::fs::remove_file(work.at(lock)).unwrap();
    let (exit, report) = work.breaking(&[]);
    assert_eq!((exit, errors(&report)), (1, vec!["LSC-RELEASE-EDITED"]));
    let hint = report["findings"][0]["hint"].as_str().unwrap();
    let restore = hint
        .split('`')
        .find(|part| part.starts_with("git checkout"))
        .unwrap();
    assert!(
        Command::new("sh")
            .args(["-c", restore])
            .current_dir(&work.path)
            .output()
            .unwrap()
            .status
            .success()
    );
    assert_eq!(work.read(lock), text);

    // It may move with its contract, as long as it stays what it is.
    work.git(&["mv", "contracts/customer", "contracts/client"]);
    work.git(&[
        "mv",
        "contracts/client/customer.odcs.yaml",
        "contracts/client/client.odcs.yaml",
    ]);
    let (exit, report) = work.breaking(&[]);
    assert_eq!((exit, errors(&report)), (0, vec![]), "{report}");
    // A copy under another version is none.
    let copy = "contracts/client/releases/1.0.1.lock.json";
    work.write(copy, &text);
    let output = work.run(&["lint"]);
    assert!(out(&output).contains("LS-K011"), "{}", out(&output));
}

#[test]
fn a_changelog_says_what_breaks_and_what_does_not() {
    let Some(work) = Work::new() else { return };
    work.edit(EMAIL, "");
    let note = "      - {name: note, logicalType: string}\n";
    work.edit(note, "      - {name: note, logicalType: string, description: What was said.}\n      - {name: phone, logicalType: string}\n");
    work.edit("version: 1.0.0", "version: 1.1.0");
    let text = out(&work.run(&["diff"]));
    let expected = "customer 1.0.0 → 1.1.0\n  Breaking\n    field `email` removed (text, required)";
    assert!(text.starts_with(expected), "{text}");
    assert!(
        text.contains("  Compatible\n    field `phone` added (text, optional)\n"),
        "{text}"
    );
    assert!(
        text.contains("  Documentation\n    field `note`, description added: `What was said.`\n"),
        "{text}"
    );
    let markdown = out(&work.run(&["diff", "--format", "markdown"]));
    assert!(
        markdown.starts_with("## customer 1.0.0 → 1.1.0\n\n### Breaking\n\n- "),
        "{markdown}"
    );
    let json: Json = serde_json::from_slice(&work.run(&["diff", "--json"]).stdout).unwrap();
    assert_eq!(json["contracts"][0]["changes"][0]["group"], "breaking");
    assert_eq!(json["contracts"][0]["new_version"], "1.1.0");
}

#[test]
fn reports_go_to_files_and_to_the_build_server_at_once() {
    let Some(work) = Work::new() else { return };
    work.edit(EMAIL, "");
    let summary = work.at("summary.md");
    let set = [
        ("GITHUB_ACTIONS", "true"),
        ("GITHUB_STEP_SUMMARY", summary.to_str().unwrap()),
    ];
    let outputs = [
        "--output",
        "sarif=a.sarif",
        "--output",
        "junit=no/b.xml",
        "--output",
        "gitlab=c.json",
    ];
    let args = [&["breaking", "../contracts"][..], &outputs].concat();
    let output = lockstep(&work.at("contracts"), &args, &set);
    assert_eq!(output.status.code(), Some(3), "{}", out(&output));
    let args: Vec<&str> = args
        .iter()
        .map(|arg| {
            arg.strip_suffix("=no/b.xml")
                .map_or(*arg, |_| "junit=b.xml")
        })
        .collect();
    let output = lockstep(&work.at("contracts"), &args, &set);
    let text = out(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("\n::error file=contracts/customer/customer.odcs.yaml,line="),
        "{text}"
    );
    assert!(
        work.read("summary.md")
            .contains("## Contracts: breaking failed")
    );
    let sarif: Json = serde_json::from_str(&work.read("contracts/a.sarif")).unwrap();
    let at = &sarif["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]
        ["uri"];
    assert_eq!(at, "contracts/customer/customer.odcs.yaml");
    assert!(work.read("contracts/b.xml").contains("<failure"));
    // One document stands alone.
    let output = work.run(&["lint", "--format", "json", "--format", "human"]);
    assert_eq!(output.status.code(), Some(2));
    // The same bytes each time.
    let run = || work.run(&["breaking", "--format", "jsonl"]).stdout;
    assert_eq!(run(), run());
}

#[test]
fn flat_folders_and_shared_types_are_found_on_both_sides() {
    let Some(work) = Work::new() else { return };
    work.git(&["rm", "-q", "-r", "contracts"]);
    let text = CUSTOMER.replace(EMAIL, "      - name: address\n        customProperties:\n          - {property: lockstep.type, value: types/address}\n");
    work.write("schemas/customer.odcs.yaml", &text);
    let address = "apiVersion: v3.1.0\nkind: DataContract\nid: address\nversion: 1.0.0\nstatus: active\nschema:\n  - name: address\n    logicalType: object\n    properties:\n      - {name: street, logicalType: string, required: true}\n";
    work.write("schemas/types/address.odcs.yaml", address);
    let output = work.run(&["lint"]);
    assert_eq!(output.status.code(), Some(0), "{}", out(&output));
    assert_eq!(work.run(&["release", "customer"]).status.code(), Some(0));
    assert!(
        work.at("schemas/releases/customer/1.0.0.lock.json")
            .exists()
    );
    work.commit("flat");
    assert_eq!(work.breaking(&[]).0, 0);
    work.write(
        "schemas/types/address.odcs.yaml",
        &address.replace("street", "road"),
    );
    let (exit, report) = work.breaking(&[]);
    assert_eq!(exit, 1, "{report}");
    let found = report["findings"].as_array().unwrap().iter();
    let files: Vec<&str> = found
        .filter_map(|item| item["old_place"]["file"].as_str())
        .collect();
    assert!(
        files.contains(&"schemas/types/address.odcs.yaml"),
        "{files:?}"
    );
    // A mistake in a type is told at the type.
    work.write(
        "schemas/types/address.odcs.yaml",
        &address.replace("string", "strong"),
    );
    let output = work.run(&["lint"]);
    assert!(
        output.status.code() == Some(1)
            && out(&output).contains("schemas/types/address.odcs.yaml:10:"),
        "{}",
        out(&output)
    );
}

#[test]
fn any_file_that_is_named_is_a_contract_and_two_are_compared_without_git() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("old.yaml"), CUSTOMER).unwrap();
    std::fs::write(
        folder.path().join("new.yml"),
        CUSTOMER
            .replace(EMAIL, "")
            .replace("acme-customer", "acme-client"),
    )
    .unwrap();
    let (exit, report) = breaking(
        folder.path(),
        &["new.yml", "--against", "old.yaml"],
        &[("PATH", "")],
    );
    assert_eq!(exit, 1, "{report}");
    assert!(removed(&report)["witness"].is_object());
    assert_eq!(
        lockstep(folder.path(), &["lint", "old.yaml"], &[])
            .status
            .code(),
        Some(0)
    );
    // Two files with one contract cannot both be the newer one.
    std::fs::write(folder.path().join("copy.yaml"), CUSTOMER).unwrap();
    let (exit, report) = breaking(
        folder.path(),
        &["copy.yaml", "old.yaml", "--against", "old.yaml"],
        &[],
    );
    assert_eq!((exit, errors(&report)), (1, vec!["LS-K010"]), "{report}");
}

#[test]
fn the_standards_own_examples_are_accepted() {
    let Some(data) = std::env::var_os("LOCKSTEP_TEST_DATA").map(PathBuf::from) else {
        lockstep_servers::skip("the public test data (LOCKSTEP_TEST_DATA)");
        return;
    };
    let output = lockstep(
        &data.join("contracts/odcs-examples"),
        &["lint", "docs/examples"],
        &[],
    );
    let text = out(&output);
    assert!(
        output.status.code() == Some(0) && text.contains("18 contracts: 0 errors"),
        "{text}"
    );
}

#[test]
fn a_change_may_carry_its_own_release() {
    let Some(work) = Work::new() else { return };
    assert_eq!(
        work.run(&["release", "--all"]).status.code(),
        Some(0),
        "the first release"
    );
    work.commit("release");
    work.git(&["checkout", "-q", "-b", "feature"]);
    let note = "      - {name: note, logicalType: string}\n";
    work.edit(
        note,
        &format!("{note}      - {{name: phone, logicalType: string}}\n"),
    );
    assert_eq!(work.run(&["release", "--all"]).status.code(), Some(0));
    let (exit, report) = work.breaking(&["--against", "main"]);
    assert_eq!((exit, errors(&report)), (0, vec![]), "{report}");
}

#[test]
fn the_last_contract_is_missed_too() {
    let Some(work) = Work::new() else { return };
    assert_eq!(work.run(&["release", "--all"]).status.code(), Some(0));
    work.commit("release");
    work.git(&["checkout", "-q", "-b", "feature"]);
    std::fs::remove_file(work.at("contracts/customer/customer.odcs.yaml")).unwrap();
    for args in [&[][..], &["--against", "releases"], &["--against", "main"]] {
        let (exit, report) = work.breaking(args);
        assert_eq!(exit, 1, "{args:?} {report}");
        assert!(
            errors(&report).contains(&"LSC-ENTITY-REMOVED"),
            "{args:?} {report}"
        );
    }
}

/// The way that the guide shows: the change is written with its migration, and the release makes the version.
#[test]
fn a_change_and_its_migration_are_written_before_the_version_is_made() {
    let Some(work) = Work::new() else { return };
    assert_eq!(work.run(&["release", "--all"]).status.code(), Some(0));
    work.commit("release");
    work.git(&["checkout", "-q", "-b", "feature"]);
    work.edit(
        "{name: name, logicalType: string, required: true}",
        "{name: title, logicalType: string, required: true}",
    );
    let owner = "      - {property: lockstep.owner, value: crm}\n";
    let migration = |to: &str| {
        format!(
            "{owner}      - property: lockstep.migrations\n        value:\n          - from: 1.0.0\n            to: {to}\n            up: [{{rename: {{from: name, to: title}}}}]\n"
        )
    };
    work.edit(owner, &migration("2.0.0"));
    let code = |args: &[&str]| work.run(args).status.code().unwrap();
    assert_eq!(code(&["lint", "--fail-on", "info"]), 0);
    assert_eq!(code(&["diff"]), 0);
    assert_eq!(code(&["gen", "jsonschema", "customer"]), 0);
    // The change is stopped, and what mends it is the release.
    let (exit, report) = work.breaking(&[]);
    assert_eq!(exit, 1, "{report}");
    let findings = report["findings"].as_array().unwrap();
    let unchanged = findings
        .iter()
        .find(|item| item["rule"] == "LSC-VERSION-UNCHANGED");
    let hint = unchanged.unwrap()["hint"].as_str().unwrap();
    assert!(hint.contains("contract release"), "{hint}");

    // A number that no release makes is named at its place, with the one that it must be.
    work.edit("to: 2.0.0", "to: 1.0.1");
    for command in [&["lint"][..], &["breaking"], &["release", "customer"]] {
        let output = work.run(command);
        let said = out(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.contains("LS-C044") && said.contains("write `to: 2.0.0`"),
            "{said}"
        );
    }
    work.edit("to: 1.0.1", "to: 4.0.0");
    assert!(out(&work.run(&["lint"])).contains("1.0.1, 1.1.0 or 2.0.0"));

    work.edit("to: 4.0.0", "to: 2.0.0");
    let said = out(&work.run(&["release", "customer"]));
    assert!(
        said.contains("released customer 2.0.0 after 1.0.0"),
        "{said}"
    );
    let (exit, report) = work.breaking(&[]);
    assert_eq!((exit, errors(&report)), (0, vec![]), "{report}");
    assert_eq!(code(&["lint", "--fail-on", "warning"]), 0);
}

#[test]
fn one_judgement_stands_in_the_changelog_and_in_the_check() {
    let Some(work) = Work::new() else { return };
    let rule = |least: &str| {
        format!(
            "    quality:\n      - {{name: named, type: custom, engine: lockstep, implementation: {{field: name, length: [{least}, 9]}}}}\n    properties:\n"
        )
    };
    work.edit("    properties:\n", &rule("2"));
    work.commit("a rule");
    work.git(&["checkout", "-q", "-b", "feature"]);
    work.edit("length: [2, 9]", "length: [1, 9]");
    work.edit("version: 1.0.0", "version: 1.1.0");
    let (_, report) = work.breaking(&[]);
    assert_eq!(errors(&report), ["LSC-RULE-LOOSENED"], "{report}");
    let said = out(&work.run(&["diff"]));
    assert!(
        said.contains("  Breaking\n    rule `named check` changed"),
        "{said}"
    );
    assert!(
        said.contains("(LSC-RULE-LOOSENED)") && !said.contains("Compatible"),
        "{said}"
    );
}

#[test]
fn an_approver_who_leaves_with_the_change_was_entitled_and_stays_believed() {
    let Some(work) = Work::new() else { return };
    work.git(&["checkout", "-q", "-b", "feature"]);
    work.edit(EMAIL, "");
    work.edit("version: 1.0.0", "version: 1.1.0");
    let (_, report) = work.breaking(&[]);
    let found = removed(&report);
    let fingerprint = found["fingerprint"].as_str().unwrap().to_owned();
    let approve = |fingerprint: &str| {
        let reason = ["--reason", "agreed", "--by", "jane@example.com"];
        let output = work.run(&[&["approve", fingerprint], &reason[..]].concat());
        (output.status.code().unwrap(), out(&output))
    };
    let (exit, said) = approve(&fingerprint[..3]);
    assert!(exit == 1 && said.contains("at least four"), "{said}");
    let (exit, said) = approve(&fingerprint[..5]);
    assert!(exit == 0 && said.contains(&fingerprint), "{said}");
    let (_, report) = work.breaking(&[]);
    let rest: Vec<String> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|item| item["severity"] == "error" && item.get("approved").is_none())
        .map(|item| item["fingerprint"].as_str().unwrap().to_owned())
        .collect();
    for fingerprint in rest {
        assert_eq!(approve(&fingerprint).0, 0);
    }
    work.edit(
        "    - {username: jane@example.com, role: owner}\n",
        "    - {username: john@example.com, role: owner}\n",
    );
    let (exit, report) = work.breaking(&[]);
    assert_eq!((exit, errors(&report)), (0, vec![]), "{report}");
    let lint = work.run(&["lint"]);
    assert_eq!(lint.status.code(), Some(0), "{}", out(&lint));
    // Once it is merged, later changes are not held up by who left.
    work.commit("remove");
    work.git(&["branch", "-q", "-f", "main"]);
    let (exit, report) = work.breaking(&[]);
    assert_eq!((exit, errors(&report)), (0, vec![]), "{report}");

    // Nothing is said of approvals while their contract cannot be read.
    work.edit("logicalType: string", "logicalType: strong");
    for command in ["lint", "breaking"] {
        let said = out(&work.run(&[command]));
        assert!(
            !said.contains("LS-K014") && !said.contains("LS-K015"),
            "{said}"
        );
    }
}

#[test]
fn a_release_of_all_names_what_is_refused_and_what_only_waits() {
    let Some(work) = Work::new() else { return };
    let other = CUSTOMER.replace("customer", "order");
    let other = other.replace(
        "logicalType: string, required",
        "logicalType: strong, required",
    );
    work.write("contracts/order/order.odcs.yaml", &other);
    let output = work.run(&["release", "--all"]);
    let said = out(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("refused contracts/order/order.odcs.yaml: it has errors"),
        "{said}"
    );
    assert!(said.contains("held back customer 1.0.0"), "{said}");
    assert!(said.contains("2 contracts: "), "{said}");
    assert!(!work.at("contracts/customer/releases").exists());
}

#[test]
fn only_what_fails_asks_for_an_approval() {
    let Some(work) = Work::new() else { return };
    work.git(&["checkout", "-q", "-b", "feature"]);
    let note = "      - {name: note, logicalType: string}\n";
    work.edit(
        note,
        &format!("{note}      - {{name: phone, logicalType: string}}\n"),
    );
    work.edit("version: 1.0.0", "version: 1.1.0");
    for form in ["human", "markdown", "github"] {
        let output = work.run(&["breaking", "--format", form]);
        let said = out(&output);
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert!(
            said.contains("phone") && !said.contains("contract approve"),
            "{said}"
        );
    }
}

/// A release between others cannot go unseen, without Git either.
#[test]
fn a_gap_between_releases_is_found() {
    let Some(work) = Work::new() else { return };
    let release = || assert_eq!(work.run(&["release", "--all"]).status.code(), Some(0));
    release();
    for n in 0..2 {
        let field = format!("      - {{name: f{n}, logicalType: string}}\n      - {{name: note,");
        work.edit("      - {name: note,", &field);
        release();
    }
    let lock = |version: &str| format!("contracts/customer/releases/{version}.lock.json");
    assert!(work.read(&lock("1.2.0")).contains("\"after\": \"1.1.0\""));
    assert_eq!(work.run(&["lint"]).status.code(), Some(0));
    let text = work.read(&lock("1.1.0"));
    std::fs::remove_file(work.at(&lock("1.1.0"))).unwrap();
    for args in [
        &["lint"][..],
        &["lint", "contracts/customer/customer.odcs.yaml"],
        &["release", "--all"],
    ] {
        let output = work.run(args);
        let said = out(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("error[LS-K025]: version 1.1.0 of `acme-customer` was released before 1.2.0 and is gone"), "{said}");
        assert!(
            said.contains("git log -- contracts/customer/releases/1.1.0.lock.json"),
            "{said}"
        );
    }
    work.write(&lock("1.1.0"), &text);
    assert_eq!(work.run(&["lint"]).status.code(), Some(0));
}
