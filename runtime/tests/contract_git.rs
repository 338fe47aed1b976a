//! Contracts in real Git repositories, as CI and people at a terminal compare them.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "not every file of tests needs all that they share"
)]
mod work;

use std::process::Command;

use serde_json::Value as Json;
use work::*;

#[test]
fn a_break_is_stopped_with_both_places_and_a_witness() {
    let Some(work) = Work::new() else { return };
    assert_eq!(work.breaking(&[]).0, 0);
    work.edit(EMAIL, "");
    let (exit, report) = work.breaking(&[]);
    assert_eq!(exit, 1);
    let item = removed(&report);
    assert_eq!(item["old_place"]["line"], 20);
    assert_eq!(
        item["old_place"]["file"],
        "contracts/customer/customer.odcs.yaml"
    );
    assert!(item["witness"].is_object(), "{item}");
    assert!(item["consumers"].to_string().contains("billing"));
    assert_eq!(report["against"]["name"], "main");
    // People see the commit, so that `git show` takes the place as it stands.
    let text = out(&work.run(&["breaking"]));
    let head = work.git(&["rev-parse", "HEAD"]);
    assert!(
        text.contains(&format!(
            "{}:contracts/customer/customer.odcs.yaml:20:",
            &head[..10]
        )),
        "{text}"
    );
    // A configuration tells who else receives the entity.
    work.write(
        "lockstep.toml",
        "[flows.a]\nentity = \"customer\"\nfrom = \"crm\"\nto = [\"ledger\"]\n",
    );
    let (_, report) = work.breaking(&[]);
    assert!(removed(&report)["consumers"].to_string().contains("ledger"));
}

#[test]
fn what_others_merged_meanwhile_is_not_held_against_a_change() {
    let Some(work) = Work::new() else { return };
    work.git(&["checkout", "-q", "-b", "feature"]);
    work.edit("name: note", "name: remark");
    work.commit("a change of mine");
    work.git(&["checkout", "-q", "main"]);
    work.write(
        "contracts/order/order.odcs.yaml",
        &CUSTOMER.replace("customer", "order"),
    );
    work.commit("an entity of theirs");
    work.git(&["checkout", "-q", "feature"]);
    let rules = |args: &[&str]| {
        let (_, report) = work.breaking(args);
        errors(&report).join(" ")
    };
    assert!(!rules(&["--against", "main"]).contains("LSC-ENTITY-REMOVED"));
    assert!(rules(&["--against", "main", "--tip"]).contains("LSC-ENTITY-REMOVED"));
    // The same from a subfolder, and without a branch.
    work.git(&["checkout", "-q", "--detach"]);
    let (exit, report) = breaking(&work.at("contracts"), &[".", "--against", "main"], &[]);
    assert_eq!(report["against"]["kind"], "merge-base");
    assert!(
        !errors(&report).contains(&"LSC-ENTITY-REMOVED"),
        "{exit} {report}"
    );
}

#[test]
fn a_renamed_file_is_the_same_contract_and_a_deleted_one_is_missed() {
    let Some(work) = Work::new() else { return };
    work.git(&["mv", "contracts/customer", "contracts/client"]);
    work.git(&[
        "mv",
        "contracts/client/customer.odcs.yaml",
        "contracts/client/client.odcs.yaml",
    ]);
    let (exit, report) = work.breaking(&[]);
    assert_eq!((exit, errors(&report)), (0, vec![]), "{report}");
    work.write(
        "contracts/order/order.odcs.yaml",
        &CUSTOMER.replace("customer", "order"),
    );
    std::fs::remove_dir_all(work.at("contracts/client")).unwrap();
    let (exit, report) = work.breaking(&[]);
    assert_eq!(exit, 1);
    assert!(errors(&report).contains(&"LSC-ENTITY-REMOVED"), "{report}");
    // With one file asked for, nothing is said about the others.
    let (exit, report) = work.breaking(&["contracts/order/order.odcs.yaml"]);
    assert_eq!((exit, errors(&report)), (0, vec![]), "{report}");
}

#[test]
fn the_base_is_found_as_build_servers_and_clones_have_it() {
    let Some(work) = Work::new() else { return };
    let clone = work.at("../clone");
    git(
        work.path.parent().unwrap(),
        &["clone", "-q", "work", "clone"],
    );
    git(&clone, &["checkout", "-q", "-b", "feature"]);
    let name = |set: &[(&str, &str)]| {
        let (exit, report) = breaking(&clone, &[], set);
        assert_eq!(exit, 0, "{report}");
        (
            report["against"]["name"].as_str().unwrap().to_owned(),
            report["against"]["kind"].as_str().unwrap().to_owned(),
        )
    };
    let head = work.git(&["rev-parse", "HEAD"]);
    let of = |name: &str, kind: &str| (name.to_owned(), kind.to_owned());
    assert_eq!(name(&[]), of("origin/HEAD", "merge-base"));
    assert_eq!(
        name(&[("GITHUB_BASE_REF", "main")]),
        of("origin/main", "merge-base")
    );
    assert_eq!(
        name(&[("CI_MERGE_REQUEST_TARGET_BRANCH_NAME", "main")]),
        of("origin/main", "merge-base")
    );
    assert_eq!(
        name(&[("CI_MERGE_REQUEST_DIFF_BASE_SHA", &head)]),
        of(&head, "tip")
    );
    // A branch that is here under its upstream name only is found by its own.
    git(&clone, &["branch", "-q", "-D", "main"]);
    let (_, report) = breaking(&clone, &["--against", "main"], &[]);
    assert_eq!(report["against"]["name"], "origin/main");
}

/// The command that a finding's hint asks to run.
fn asked_for(report: &Json) -> String {
    let hint = report["findings"][0]["hint"].as_str().unwrap();
    let command = hint
        .split('`')
        .find(|part| part.starts_with("git fetch"))
        .unwrap();
    command.to_owned()
}

#[test]
fn a_shallow_clone_is_told_what_to_fetch_and_that_is_enough() {
    let Some(work) = Work::new() else { return };
    work.git(&["checkout", "-q", "-b", "feature"]);
    work.edit(EMAIL, "");
    work.commit("break");
    work.git(&["checkout", "-q", "main"]);
    work.commit("go on");
    let url = format!("file://{}", work.path.display());
    for (folder, against) in [
        ("one", None),
        ("two", Some("main")),
        ("three", Some("origin/main")),
    ] {
        let clone = work.at("..").join(folder);
        git(
            work.path.parent().unwrap(),
            &[
                "clone", "-q", "--depth", "1", "--branch", "feature", &url, folder,
            ],
        );
        let args: Vec<&str> = against.map_or_else(Vec::new, |against| vec!["--against", against]);
        let (exit, report) = breaking(&clone, &args, &[]);
        assert_eq!((exit, errors(&report)), (3, vec!["LS-K003"]), "{report}");
        let command = asked_for(&report);
        assert!(command.contains("--unshallow"), "{command}");
        assert!(
            Command::new("sh")
                .args(["-c", &command])
                .current_dir(&clone)
                .output()
                .unwrap()
                .status
                .success()
        );
        let (exit, report) = breaking(&clone, &args, &[]);
        assert_eq!(exit, 1, "{report}");
        assert!(removed(&report)["old_place"].is_object());
    }
    // Both ends are there, but not what joins them.
    git(
        work.path.parent().unwrap(),
        &[
            "clone",
            "-q",
            "--depth",
            "1",
            "--no-single-branch",
            "--branch",
            "feature",
            &url,
            "four",
        ],
    );
    let clone = work.at("../four");
    let (exit, report) = breaking(
        &clone,
        &["--against", "origin/main"],
        &[("GITHUB_ACTIONS", "true")],
    );
    assert_eq!((exit, errors(&report)), (3, vec!["LS-K004"]), "{report}");
    assert!(
        report["findings"][0]["hint"]
            .as_str()
            .unwrap()
            .contains("fetch-depth: 0")
    );
    assert!(
        Command::new("sh")
            .args(["-c", &asked_for(&report)])
            .current_dir(&clone)
            .output()
            .unwrap()
            .status
            .success()
    );
    assert_eq!(breaking(&clone, &["--against", "origin/main"], &[]).0, 1);
}

#[test]
fn strange_names_are_names_and_nothing_else() {
    let Some(work) = Work::new() else { return };
    work.write(
        "contracts/with space/with space.odcs.yaml",
        &CUSTOMER
            .replace("acme-customer", "spaced")
            .replace("name: customer", "name: spaced"),
    );
    work.commit("a name with a space");
    work.git(&["update-ref", "refs/heads/-odd", "HEAD"]);
    work.edit(EMAIL, "");
    for name in [
        "--all",
        "-odd",
        "--output=x",
        ":/begin",
        "no such\nname",
        "HEAD:contracts",
    ] {
        let against = format!("--against={name}");
        let (exit, report) = work.breaking(&[&against]);
        assert_eq!(exit, 3, "{name}: {report}");
    }
    assert!(!work.at("x").exists());
    let (exit, report) = work.breaking(&["--against", "refs/heads/-odd"]);
    assert_eq!(exit, 1, "{report}");
    // A name that is both asks which is meant.
    work.git(&["branch", "contracts"]);
    let (exit, report) = work.breaking(&["--against", "contracts"]);
    assert_eq!((exit, errors(&report)), (2, vec!["LS-K021"]));
    assert_eq!(work.breaking(&["--against", "./contracts"]).0, 0);
    assert_eq!(work.breaking(&["--against", "refs/heads/contracts"]).0, 1);
}

#[test]
fn the_work_tree_and_the_index_stay_as_they_are_and_no_hook_runs() {
    let Some(work) = Work::new() else { return };
    work.git(&["config", "core.fsmonitor", "touch ran; false"]);
    work.git(&["config", "core.pager", "touch ran"]);
    work.edit(EMAIL, "");
    work.write("untracked", "x");
    let index = std::fs::read(work.at(".git/index")).unwrap();
    assert_eq!(work.breaking(&[]).0, 1);
    assert_eq!(std::fs::read(work.at(".git/index")).unwrap(), index);
    assert!(!work.at("ran").exists() && work.at("untracked").exists());
}

#[test]
fn worktrees_and_hooks_find_their_own_repository() {
    let Some(work) = Work::new() else { return };
    work.git(&["worktree", "add", "-q", "-b", "feature", "../tree"]);
    let tree = work.at("../tree");
    let file = tree.join("contracts/customer/customer.odcs.yaml");
    std::fs::write(&file, CUSTOMER.replace(EMAIL, "")).unwrap();
    assert_eq!(breaking(&tree, &[], &[]).0, 1);
    // A hook is told where its repository is, as seen from its own folder.
    let (exit, report) = breaking(
        &work.at("contracts"),
        &["."],
        &[("GIT_DIR", ".git"), ("GIT_INDEX_FILE", ".git/index")],
    );
    assert_eq!(exit, 0, "{report}");
}

#[test]
fn what_is_no_repository_says_what_works_without_git() {
    let folder = tempfile::tempdir().unwrap();
    let contracts = folder.path().join("contracts");
    std::fs::create_dir(&contracts).unwrap();
    std::fs::write(contracts.join("customer.odcs.yaml"), CUSTOMER).unwrap();
    let alone = [("GIT_CEILING_DIRECTORIES", folder.path().to_str().unwrap())];
    let (exit, report) = breaking(folder.path(), &[], &alone);
    assert_eq!((exit, errors(&report)), (3, vec!["LS-K002"]), "{report}");
    let (exit, report) = breaking(folder.path(), &["--against", "releases"], &alone);
    assert_eq!(exit, 0, "{report}");
    // Git itself may be missing.
    let (exit, report) = breaking(folder.path(), &[], &[("PATH", "")]);
    assert_eq!((exit, errors(&report)), (3, vec!["LS-K001"]), "{report}");
    // A folder and a file need no Git either.
    let older = folder.path().join("older");
    std::fs::create_dir(&older).unwrap();
    std::fs::write(
        older.join("customer.odcs.yaml"),
        CUSTOMER.replace(EMAIL, ""),
    )
    .unwrap();
    for against in ["older", "older/customer.odcs.yaml"] {
        let (exit, report) = breaking(folder.path(), &["--against", against], &[("PATH", "")]);
        assert_eq!(exit, 1, "{report}");
    }
    std::fs::remove_dir_all(&contracts).unwrap();
    let (exit, report) = breaking(folder.path(), &[], &alone);
    assert_eq!((exit, errors(&report)), (2, vec!["LS-K007"]));
}

#[test]
fn a_contract_that_cannot_be_read_is_not_compared() {
    let Some(work) = Work::new() else { return };
    work.edit("logicalType: string", "logicalType: strong");
    let (exit, report) = work.breaking(&[]);
    assert_eq!(exit, 2, "{report}");
    assert!(
        report["findings"]
            .as_array()
            .unwrap()
            .iter()
            .all(|item| item["new_place"]["line"].as_u64() > Some(1))
    );
    assert!(!errors(&report).contains(&"LSC-ENTITY-REMOVED"));
    // Nor is one whose older text was broken; mending it is not stopped.
    work.commit("a mistake");
    work.edit("logicalType: strong", "logicalType: string");
    let (exit, report) = work.breaking(&[]);
    assert_eq!(exit, 0, "{report}");
    assert_eq!(report["findings"][0]["rule"], "LS-K023");
}

#[test]
fn a_fingerprint_survives_a_rebase_and_dies_with_its_change() {
    let Some(work) = Work::new() else { return };
    work.git(&["checkout", "-q", "-b", "feature"]);
    work.edit(EMAIL, "");
    work.commit("break");
    let fingerprint = || removed(&work.breaking(&["--against", "main"]).1)["fingerprint"].clone();
    let before = fingerprint();
    work.git(&["checkout", "-q", "main"]);
    work.edit(
        "      # What identifies a customer.\n",
        "      # The key.\n      # It never changes.\n",
    );
    work.commit("comments");
    work.git(&["checkout", "-q", "feature"]);
    work.git(&["rebase", "-q", "main"]);
    assert_eq!(fingerprint(), before);
    work.git(&["checkout", "-q", "main"]);
    work.edit(
        "name: email, logicalType: string",
        "name: email, logicalType: integer",
    );
    work.commit("another field under that name");
    work.git(&["checkout", "-q", "feature"]);
    work.git(&["rebase", "-q", "-X", "theirs", "main"]);
    work.write(
        "contracts/customer/customer.odcs.yaml",
        &CUSTOMER.replace(EMAIL, ""),
    );
    assert_ne!(fingerprint(), before);
}

/// Only what differs in an edited release is shown, not all of it.
#[test]
fn an_edited_release_shows_the_edit() {
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
    let finding = &report["findings"];
    let finding = finding
        .as_array()
        .unwrap()
        .iter()
        .find(|f| f["rule"] == "LSC-RELEASE-EDITED")
        .unwrap();
    assert_eq!(finding["old"].to_string(), "{\"status\":\"active\"}");
    assert_eq!(finding["new"].to_string(), "{\"status\":\"retired\"}");
    std::fs::remove_file(work.at(lock)).unwrap();
    let (_, report) = work.breaking(&[]);
    assert_eq!(report["findings"][0]["old"], "1.0.0");
}

/// A reference that never led anywhere is mended without anybody's leave.
#[test]
fn a_dead_reference_is_mended_without_an_approval() {
    let Some(work) = Work::new() else { return };
    let order = "apiVersion: v3.1.0\nkind: DataContract\nid: order\nversion: 1.0.0\nstatus: active\nschema:\n  - name: order\n    customProperties:\n      - {property: lockstep.owner, value: shop}\n    properties:\n      - {name: id, logicalType: string, primaryKey: true, required: true}\n      - {name: buyer, logicalType: string, relationships: [{to: customers.id}]}\n";
    let file = "contracts/order/order.odcs.yaml";
    work.write(file, order);
    work.commit("an order that leads nowhere");
    let (exit, report) = work.breaking(&[]);
    assert_eq!((exit, errors(&report)), (1, vec!["LS-C050"]), "{report}");

    work.write(
        file,
        &order
            .replace("customers.id", "customer.id")
            .replace("version: 1.0.0", "version: 1.1.0"),
    );
    let (exit, report) = work.breaking(&[]);
    assert_eq!((exit, errors(&report)), (0, vec![]), "{report}");
    assert!(
        report
            .to_string()
            .contains("led nowhere and leads elsewhere now"),
        "{report}"
    );
    work.write(
        file,
        &order
            .replace(", relationships: [{to: customers.id}]", "")
            .replace("version: 1.0.0", "version: 1.1.0"),
    );
    let (exit, report) = work.breaking(&[]);
    assert_eq!((exit, errors(&report)), (0, vec![]), "{report}");

    // One that led somewhere is somebody's.
    work.write(file, &order.replace("customers.id", "customer.id"));
    work.commit("mended");
    work.write(
        file,
        &order
            .replace("customers.id", "customer.name")
            .replace("version: 1.0.0", "version: 1.1.0"),
    );
    let (exit, report) = work.breaking(&[]);
    assert_eq!(
        (exit, errors(&report)),
        (1, vec!["LSC-REFERENCE-REMOVED"]),
        "{report}"
    );
}
