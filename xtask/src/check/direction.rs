//! Which way dependencies point: connectors → core ← runtime.
//!
//! Only normal dependencies count; tests may reach for anything.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use crate::repository::{Metadata, Package, Repository};

/// What a package is for, which decides what it may depend on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Area {
    Core,
    Runtime,
    /// The crate that lists the built-in connectors.
    Facade,
    /// The HTTP layer that connectors share.
    HttpClient,
    Connector,
    Schemas,
    /// The conformance kit for connector authors.
    Kit,
    /// The business systems of the demo; they execute the runtime and never link it.
    Stage,
    /// Real servers, found and started for tests, and simulators of systems that no registry has.
    Servers,
    Tasks,
}

impl Area {
    fn of(folder: &str) -> Option<Self> {
        Some(match folder {
            "core" => Area::Core,
            "runtime" => Area::Runtime,
            "connectors" => Area::Facade,
            "connectors/http-client" => Area::HttpClient,
            "schemas" => Area::Schemas,
            "tests" => Area::Kit,
            "tests/business" => Area::Stage,
            "tests/servers" | "tests/simulators" => Area::Servers,
            "xtask" => Area::Tasks,
            _ if folder.starts_with("connectors/") => Area::Connector,
            _ => return None,
        })
    }

    /// The areas of this workspace that the area may depend on.
    fn may_use(self) -> &'static [Area] {
        match self {
            Area::Core | Area::Servers => &[],
            Area::Tasks => &[Area::Servers],
            Area::Runtime => &[Area::Core, Area::Facade],
            Area::Facade => &[Area::Core, Area::Connector],
            Area::Connector => &[Area::Core, Area::HttpClient],
            Area::HttpClient | Area::Schemas | Area::Kit => &[Area::Core],
            Area::Stage => &[Area::Core, Area::Schemas, Area::Servers],
        }
    }
}

/// Clients that one kind of package keeps to itself, and the folder of that kind.
///
/// The stage plays people and programs at work in the business systems, so it reaches those as connectors do.
const KEPT: [(&str, &[Area], &str); 6] = [
    ("async-nats", &[Area::Runtime], "runtime"),
    ("sqlx", &[Area::Connector, Area::Stage], "connectors"),
    ("mongodb", &[Area::Connector, Area::Stage], "connectors"),
    ("mysql", &[Area::Connector], "connectors"),
    ("mysql_async", &[Area::Connector, Area::Stage], "connectors"),
    ("tokio-postgres", &[Area::Connector], "connectors"),
];

/// What the core must not reach, however far away: it has no sockets and no storage.
const OUTSIDE: [&str; 6] = [
    "rusqlite",
    "reqwest",
    "axum",
    "async-nats",
    "sqlx",
    "mongodb",
];

/// The parts of tokio that need neither a runtime nor the system; `macros` is for `select!`.
const CORE_TOKIO: [&str; 2] = ["macros", "sync"];

/// Dependencies that point the wrong way.
pub(super) fn findings(metadata: &Metadata) -> Vec<String> {
    let mut findings = Vec::new();
    let mut areas = BTreeMap::new();
    for (folder, package) in metadata.members() {
        match Area::of(folder) {
            Some(area) => {
                areas.insert(package.name.as_str(), (area, package));
            }
            None => findings.push(format!(
                "{folder} has no place in the order of dependencies"
            )),
        }
    }
    for (name, (area, package)) in &areas {
        for dependency in package.normal_dependencies() {
            let used = dependency.name.as_str();
            if let Some((other, _)) = areas.get(used) {
                if !area.may_use().contains(other) {
                    findings.push(format!("{name} must not depend on {used}"));
                } else if *area == Area::Runtime && *other == Area::Facade && !dependency.optional {
                    findings.push(format!("{name} may depend on {used} only as an option"));
                }
            }
            if let Some((_, keepers, folder)) = KEPT.iter().find(|(client, ..)| *client == used)
                && !keepers.contains(area)
            {
                findings.push(format!(
                    "{name} must not depend on {used}, which stays in {folder}"
                ));
            }
        }
        if *area == Area::Core {
            findings.extend(beyond_the_core(metadata, package));
        }
    }
    findings
}

/// What would let input or output into the core.
fn beyond_the_core(metadata: &Metadata, core: &Package) -> Vec<String> {
    let tokio = core
        .normal_dependencies()
        .filter(|dependency| dependency.name == "tokio");
    let mut features: Vec<&str> = tokio
        .flat_map(|dependency| &dependency.features)
        .map(String::as_str)
        .collect();
    features.retain(|feature| !CORE_TOKIO.contains(feature));
    features.sort_unstable();
    features.dedup();

    let mut findings = Vec::new();
    if !features.is_empty() {
        findings.push(format!(
            "{} must not turn on features of tokio beyond {}: {}",
            core.name,
            CORE_TOKIO.join(" and "),
            features.join(", "),
        ));
    }
    for package in reached(metadata, &core.id) {
        if OUTSIDE.contains(&package) {
            findings.push(format!(
                "{} must not reach {package}, not even through others",
                core.name
            ));
        }
    }
    findings
}

/// The names of all packages that a package needs to run.
fn reached<'m>(metadata: &'m Metadata, from: &'m str) -> BTreeSet<&'m str> {
    let nodes = metadata.resolve.iter().flat_map(|resolve| &resolve.nodes);
    let edges: BTreeMap<&str, _> = nodes.map(|node| (node.id.as_str(), &node.deps)).collect();
    let mut seen = BTreeSet::new();
    let mut open = vec![from];
    while let Some(id) = open.pop() {
        if seen.insert(id) {
            let normal = edges.get(id).into_iter().flat_map(|deps| deps.iter());
            let normal =
                normal.filter(|edge| edge.dep_kinds.iter().any(|kind| kind.kind.is_none()));
            open.extend(normal.map(|edge| edge.pkg.as_str()));
        }
    }
    let packages = metadata
        .packages
        .iter()
        .filter(|package| seen.contains(package.id.as_str()));
    packages.map(|package| package.name.as_str()).collect()
}

/// Files of the runtime, other than `main.rs`, that name the facade.
///
/// A deployer's own `main` chooses its connectors; the library must not have chosen before.
pub(super) fn facade_named_elsewhere(repository: &Repository) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    for file in &repository.files {
        let source = file.starts_with("runtime/") && file.ends_with(".rs");
        if !source || file == "runtime/src/main.rs" {
            continue;
        }
        if repository
            .text(file)?
            .unwrap_or_default()
            .contains("lockstep_connectors")
        {
            findings.push(format!(
                "{file} names lockstep_connectors; only main.rs may"
            ));
        }
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A workspace of (folder, dependencies), each package named after its folder.
    fn workspace(packages: &[(&str, &[Value])]) -> Metadata {
        let packages: Vec<Value> = packages
            .iter()
            .map(|(folder, dependencies)| {
                json!({
                    "id": folder, "name": folder, "version": "0.1.0", "targets": [],
                    "manifest_path": format!("/repository/{folder}/Cargo.toml"),
                    "dependencies": dependencies,
                })
            })
            .collect();
        let metadata = json!({
            "packages": packages, "workspace_root": "/repository", "target_directory": "/target",
        });
        serde_json::from_value(metadata).unwrap()
    }

    fn on(name: &str) -> Value {
        json!({"name": name, "kind": null, "optional": false, "features": []})
    }

    fn with(mut dependency: Value, field: &str, value: Value) -> Value {
        dependency[field] = value;
        dependency
    }

    #[test]
    fn the_intended_workspace_is_clean() {
        let metadata = workspace(&[
            (
                "core",
                &[with(on("tokio"), "features", json!(["sync", "macros"]))],
            ),
            (
                "runtime",
                &[
                    on("core"),
                    with(on("connectors"), "optional", json!(true)),
                    on("async-nats"),
                    on("rusqlite"),
                ],
            ),
            ("connectors", &[on("core"), on("connectors/postgres")]),
            ("connectors/http-client", &[on("core"), on("reqwest")]),
            (
                "connectors/postgres",
                &[
                    on("core"),
                    on("sqlx"),
                    on("connectors/http-client"),
                    with(on("tests"), "kind", json!("dev")),
                ],
            ),
            ("schemas", &[on("core")]),
            (
                "tests",
                &[on("core"), with(on("runtime"), "kind", json!("dev"))],
            ),
            (
                "tests/business",
                &[on("rusqlite"), on("sqlx"), on("mysql_async"), on("mongodb")],
            ),
            ("xtask", &[]),
        ]);
        assert_eq!(findings(&metadata), [""; 0]);
    }

    #[test]
    fn each_wrong_direction_is_named() {
        let table: [(&str, Value, &str); 12] = [
            ("core", on("schemas"), "core must not depend on schemas"),
            (
                "connectors/a",
                on("runtime"),
                "connectors/a must not depend on runtime",
            ),
            (
                "connectors/a",
                on("connectors/b"),
                "connectors/a must not depend on connectors/b",
            ),
            (
                "connectors/a",
                on("connectors"),
                "connectors/a must not depend on connectors",
            ),
            (
                "connectors",
                on("runtime"),
                "connectors must not depend on runtime",
            ),
            (
                "runtime",
                on("connectors/a"),
                "runtime must not depend on connectors/a",
            ),
            (
                "runtime",
                on("connectors"),
                "runtime may depend on connectors only as an option",
            ),
            ("tests", on("runtime"), "tests must not depend on runtime"),
            (
                "tests/business",
                on("runtime"),
                "tests/business must not depend on runtime",
            ),
            (
                "schemas",
                on("async-nats"),
                "schemas must not depend on async-nats, which stays in runtime",
            ),
            (
                "runtime",
                on("mongodb"),
                "runtime must not depend on mongodb, which stays in connectors",
            ),
            (
                "core",
                with(on("tokio"), "features", json!(["sync", "net"])),
                "core must not turn on features of tokio beyond macros and sync: net",
            ),
        ];
        let folders = [
            "core",
            "runtime",
            "connectors",
            "connectors/a",
            "connectors/b",
            "schemas",
            "tests",
            "tests/business",
        ];
        for (guilty, dependency, expected) in table {
            let dependencies = [dependency];
            let packages = folders.map(|folder| {
                (
                    folder,
                    if folder == guilty {
                        dependencies.as_slice()
                    } else {
                        &[]
                    },
                )
            });
            assert_eq!(findings(&workspace(&packages)), [expected]);
        }
    }

    #[test]
    fn a_package_without_a_place_is_named() {
        let metadata = workspace(&[("tools/x", &[])]);
        assert_eq!(
            findings(&metadata),
            ["tools/x has no place in the order of dependencies"]
        );
    }

    #[test]
    fn the_core_may_not_reach_the_outside_through_others() {
        let mut metadata = workspace(&[("core", &[]), ("xtask", &[])]);
        let edge = |to: &str, kind: Value| json!({"pkg": to, "dep_kinds": [{"kind": kind}]});
        metadata
            .packages
            .extend(["helper", "reqwest", "axum"].map(|name| {
                serde_json::from_value(json!({
                    "id": name, "name": name, "version": "1.0.0", "targets": [], "dependencies": [],
                    "source": "registry", "manifest_path": "/elsewhere/Cargo.toml",
                }))
                .unwrap()
            }));
        let nodes = json!({"nodes": [
            {"id": "core", "deps": [edge("helper", json!(null)), edge("axum", json!("dev"))]},
            {"id": "helper", "deps": [edge("reqwest", json!(null)), edge("core", json!(null))]},
        ]});
        metadata.resolve = Some(serde_json::from_value(nodes).unwrap());
        let expected = "core must not reach reqwest, not even through others";
        assert_eq!(findings(&metadata), [expected]);
    }
}
