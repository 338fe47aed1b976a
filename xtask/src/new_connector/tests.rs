use std::collections::BTreeSet;

use super::*;

fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap().to_owned()
}

#[test]
fn a_name_that_will_not_do_is_answered_with_one_that_would() {
    let root = repository();
    for (name, part) in [
        ("AcmeCrm", "`acme-crm`"),
        ("acme_crm", "`acme-crm`"),
        ("2acme", "`acme`"),
        ("acme-", "`acme`"),
        ("acme--crm", "`acme-crm`"),
        ("", "`acme-crm`"),
        ("ü", "`acme-crm`"),
        ("odata", "connectors/odata"),
        ("http-client", "is taken"),
        ("business", "is taken"),
        ("inbox", "is taken"),
    ] {
        let refusal = plan(&root, name).unwrap().unwrap_err();
        assert!(refusal.contains(part), "{name}: {refusal}");
    }
    for name in ["acme", "acme-crm", "a1-2"] {
        assert!(plan(&root, name).unwrap().is_ok(), "{name}");
    }
}

#[test]
fn every_file_of_the_template_is_written_under_the_new_name() {
    let files = plan(&repository(), "point-of-sale2").unwrap().unwrap();
    let folder = Path::new("connectors/point-of-sale2");
    let mut written = BTreeSet::new();
    for (file, text) in &files {
        if let Ok(file) = file.strip_prefix(folder) {
            written.insert(file.to_owned());
            assert!(!text.to_lowercase().contains("acme"), "{}", file.display());
        }
    }
    let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates/api");
    let mut there = BTreeSet::new();
    let mut folders = vec![template.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                there.insert(path.strip_prefix(&template).unwrap().to_owned());
            }
        }
    }
    there.remove(Path::new("manifest.toml"));
    there.insert(PathBuf::from("Cargo.toml"));
    assert_eq!(written, there);
}

#[test]
fn the_connector_is_entered_where_the_others_are_and_in_their_order() {
    let root = repository();
    for name in ["aa", "middle-of", "zz"] {
        let files = plan(&root, name).unwrap().unwrap();
        let text = |file: &str| {
            let found = files.iter().find(|(known, _)| known == Path::new(file));
            found.unwrap().1.clone()
        };
        let sorted = |file: &str, prefix: &str, entry: &str| {
            let text = text(file);
            let all: Vec<&str> = text
                .lines()
                .filter(|line| line.starts_with(prefix))
                .collect();
            assert_eq!(
                all.iter().filter(|line| **line == entry).count(),
                1,
                "{file}: {all:?}"
            );
            let names: Vec<&str> = all
                .iter()
                .map(|line| {
                    line.split([' ', '"'])
                        .find(|word| word.contains(['-', '/']))
                        .unwrap_or(line)
                })
                .collect();
            assert!(names.is_sorted(), "{file}: {names:?}");
        };
        sorted(
            "Cargo.toml",
            "    \"connectors/",
            &format!("    \"connectors/{name}\","),
        );
        sorted(
            "Cargo.toml",
            "lockstep-",
            &format!("lockstep-{name} = {{ path = \"connectors/{name}\" }}"),
        );
        sorted(
            "connectors/Cargo.toml",
            "lockstep-",
            &format!("lockstep-{name} = {{ workspace = true, optional = true }}"),
        );
        let features = text("connectors/Cargo.toml");
        assert!(features.contains(&format!("\n{name} = [\"dep:lockstep-{name}\"]\n")));
        assert!(
            features.lines().any(
                |line| line.starts_with("default = [") && line.contains(&format!("\"{name}\""))
            )
        );
        let registry = text("connectors/src/lib.rs");
        let snake = name.replace('-', "_");
        let entry = format!(
            "    #[cfg(feature = \"{name}\")]\n    let registry = registry.with(lockstep_{snake}::connector());\n"
        );
        let at = registry.find(&entry).unwrap();
        assert!(at < registry.find("    registry\n}").unwrap());
        let table = text("connectors/README.md");
        let (table, _) = table.split_once("## Writing one").unwrap();
        assert!(table.contains(&format!("| [`{name}`]({name}/README.md) |")));
    }
}

#[test]
fn a_file_that_is_not_as_expected_is_named_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    copy(folder.path());
    fs::write(folder.path().join("connectors/src/lib.rs"), "// Empty.\n").unwrap();
    let error = plan(folder.path(), "acme").unwrap_err();
    assert!(
        error.to_string().contains("connectors/src/lib.rs"),
        "{error}"
    );
    assert!(!folder.path().join("connectors/acme").exists());
}

/// The promise of the task: without a line changed, the crate builds, the lints have nothing to say, and it passes the kit.
///
/// The crate is made in a workspace of its own, over the crates of this repository and in its target folder, so that little is built.
#[test]
fn a_new_connector_builds_without_a_warning_and_passes_the_conformance_kit() {
    let repository = Metadata::read(&["--no-deps"]).unwrap();
    // Always the same folder: what is built carries its name, and would pile up under others.
    let root = &repository.target_directory.join("new-connector");
    if root.exists() {
        fs::remove_dir_all(root).unwrap();
    }
    copy(root);
    let files = plan(root, "point-of-sale").unwrap().unwrap();
    write(root, &files).unwrap();
    join(root, "point-of-sale");
    assert!(format(root, "point-of-sale").unwrap());
    let mut test = cargo("test --offline -p lockstep-point-of-sale");
    // What cargo tells this test of its own package would make build scripts of others run again.
    for (variable, _) in std::env::vars_os() {
        let name = variable.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
        {
            test.env_remove(&variable);
        }
    }
    let output = test
        .current_dir(root)
        .env("CARGO_TARGET_DIR", &repository.target_directory)
        // The lints look on while the tests are built, so that nothing is built twice.
        .env("RUSTC_WORKSPACE_WRAPPER", "clippy-driver")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{told}");
    assert!(!told.contains("generated "), "it has warnings: {told}");
    for promise in [
        "reader::windows_over_the_growing_column_are_complete",
        "sink::an_apply_that_is_dropped_anywhere_can_be_repeated",
    ] {
        assert!(said.contains(&format!("{promise} ... ok")), "{said}");
    }
}

/// Copies what the task reads and what the build of a connector needs.
fn copy(root: &Path) {
    for file in [
        ".clippy.toml",
        "Cargo.lock",
        "Cargo.toml",
        "connectors/Cargo.toml",
        "connectors/README.md",
        "connectors/src/lib.rs",
    ] {
        let to = root.join(file);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(repository().join(file), to).unwrap();
    }
}

/// Makes a workspace of the facade and the new connector, over the repository's other crates.
fn join(root: &Path, name: &str) {
    let path = root.join("Cargo.toml");
    let text = fs::read_to_string(&path).unwrap();
    let (_, rest) = text.split_once("default-members = ").unwrap();
    let (_, rest) = rest.split_once('\n').unwrap();
    let own = ["connectors".to_owned(), format!("connectors/{name}")];
    let mut joined = format!("[workspace]\nresolver = \"3\"\nmembers = {own:?}\n");
    for line in rest.lines() {
        match line.split_once(" = { path = \"") {
            Some((package, path))
                if !own.iter().any(|own| path.starts_with(&format!("{own}\""))) =>
            {
                let folder = repository();
                joined += &format!("{package} = {{ path = \"{}/{path}\n", folder.display());
            }
            _ => joined += &format!("{line}\n"),
        }
    }
    // As members of the repository have it: what is built already is taken as it is.
    for package in ["core", "http-client", "tests"] {
        joined +=
            &format!("\n[profile.dev.package.lockstep-{package}]\ndebug = \"line-tables-only\"\n");
    }
    fs::write(path, joined).unwrap();
}
