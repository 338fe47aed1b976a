//! What the names of a configuration mean together: entities, systems, mappings, flows.

use std::collections::{BTreeMap, BTreeSet};

use lockstep_core::connector::Connector;
use lockstep_core::diagnostic::{Diagnostic, suggestion};
use lockstep_core::gate::FieldMap;

use super::read::Reading;
use super::{Config, Consistency, Flow, Mode, Snapshot};

/// Checks names and flows. Entities are judged only where `all_read` says that every contract is known.
pub(super) fn check(reading: &mut Reading<'_>, config: &Config, all_read: bool) {
    let mut check = Check {
        reading,
        config,
        all_read,
    };
    check.names();
    check.mappings();
    for flow in config.flows.values() {
        check.flow(flow);
    }
    check.writers();
    check.inboxes();
    check.unused();
}

/// A version of which the first numbers are given.
pub(crate) fn version_of(text: &str) -> Option<semver::Comparator> {
    let parts: Vec<u64> = text
        .split('.')
        .map(|part| part.parse().ok())
        .collect::<Option<_>>()?;
    let (major, minor, patch) = match parts.as_slice() {
        [major] => (*major, None, None),
        [major, minor] => (*major, Some(*minor), None),
        [major, minor, patch] => (*major, Some(*minor), Some(*patch)),
        _ => return None,
    };
    Some(semver::Comparator {
        op: semver::Op::Exact,
        major,
        minor,
        patch,
        pre: semver::Prerelease::EMPTY,
    })
}

fn is_above(wanted: &semver::Comparator, version: &semver::Version) -> bool {
    let at = |number: Option<u64>, other: u64| number.unwrap_or(other);
    let minor = at(wanted.minor, version.minor);
    let patch = at(wanted.patch, version.patch);
    (wanted.major, minor, patch) > (version.major, version.minor, version.patch)
}

struct Check<'c, 'r, 'a> {
    reading: &'c mut Reading<'a>,
    config: &'r Config,
    all_read: bool,
}

impl Check<'_, '_, '_> {
    fn error(&mut self, code: &'static str, path: &[&str], message: String, help: String) {
        let place = self.reading.places.value(path);
        let finding = Diagnostic::error(code, message).at(place).help(help);
        self.reading.findings.push(finding);
    }

    fn warning(&mut self, path: &[&str], message: String, help: &str) {
        let place = self.reading.places.key(path);
        let finding = Diagnostic::warning("LS-G028", message).at(place).help(help);
        self.reading.findings.push(finding);
    }

    /// Names of systems and flows become parts of subjects and of files.
    fn names(&mut self) {
        let systems = self.config.systems.keys().map(|name| ("systems", name));
        let flows = self.config.flows.keys().map(|name| ("flows", name));
        for (section, name) in systems.chain(flows).collect::<Vec<_>>() {
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            if name.is_empty() || !name.chars().all(plain) {
                let place = self.reading.places.key(&[section, name]);
                let finding = Diagnostic::error("LS-G009", format!("`{name}` cannot be a name"))
                    .at(place)
                    .help("use letters, digits, `_` and `-`");
                self.reading.findings.push(finding);
            }
        }
    }

    fn mappings(&mut self) {
        for (name, system) in &self.config.systems {
            for (entity, mapping) in &system.map {
                let path = ["systems", name, "map", entity];
                if self.entity_is_unknown(entity) {
                    let place = self.reading.places.key(&path);
                    let finding =
                        Diagnostic::error("LS-G015", format!("no such entity `{entity}`"))
                            .at(place)
                            .help(self.known_entities(entity));
                    self.reading.findings.push(finding);
                }
                for (field, map) in &mapping.fields {
                    let FieldMap::Rule(rule) = map else { continue };
                    let Some(values) = &rule.values else { continue };
                    if !self.reading.places.holds(&["values", values]) {
                        let known = self.config.values.keys().map(String::as_str);
                        let help = suggestion(values, known);
                        let path = ["systems", name, "map", entity, "fields", field, "values"];
                        self.error(
                            "LS-G016",
                            &path,
                            format!("no such value map `{values}`"),
                            help,
                        );
                    }
                }
            }
        }
    }

    fn flow(&mut self, flow: &Flow) {
        let name = flow.name.as_str();
        if self.entity_is_unknown(&flow.entity) {
            let message = format!("no such entity `{}`", flow.entity);
            let help = self.known_entities(&flow.entity);
            self.error("LS-G015", &["flows", name, "entity"], message, help);
        }
        self.end(flow, &flow.from, &["flows", name, "from"], "source");
        if flow.to.is_empty() {
            let message = format!("flow `{name}` goes nowhere");
            let help = "name at least one system in `to`".to_owned();
            self.error("LS-G021", &["flows", name, "to"], message, help);
        }
        let mut seen = BTreeSet::new();
        for (i, target) in flow.to.iter().enumerate() {
            let i = i.to_string();
            let path = ["flows", name, "to", &i];
            if !seen.insert(target) {
                let message = format!("flow `{name}` names the target `{target}` twice");
                self.error(
                    "LS-G020",
                    &path,
                    message,
                    "remove one of the two".to_owned(),
                );
                continue;
            }
            if *target == flow.from {
                let message = format!("flow `{name}` goes from `{target}` to `{target}` itself");
                let help = format!("remove `{target}` from `to`");
                self.error("LS-G019", &path, message, help);
                continue;
            }
            self.end(flow, target, &path, "sink");
        }
        self.versions(flow);
        self.transactions(flow);
        self.direct(flow);
    }

    /// Rows that go past the log are nowhere but in the one target, so nobody else may need them.
    fn direct(&mut self, flow: &Flow) {
        if flow.snapshot != Snapshot::Direct {
            return;
        }
        let (name, entity) = (flow.name.as_str(), flow.entity.as_str());
        let system = self.config.systems.get(&flow.from);
        let mut others = self.config.flows.values();
        let other = others.find(|other| other.entity == entity && other.name != name);
        let majors = self.config.publish_majors(entity);
        let why = if flow.to.len() > 1 {
            format!("it has {} targets", flow.to.len())
        } else if let Some(other) = other {
            format!("flow `{}` brings `{entity}` somewhere, too", other.name)
        } else if flow.mode != Mode::Realtime {
            "its `mode` does not apply what comes at once".to_owned()
        } else if flow.consistency == Consistency::Transaction {
            "it asks for whole transactions, of which a copy is none".to_owned()
        } else if let Some(major) = majors.first() {
            format!("subscribers of major {major} of `{entity}` hear of its rows in the log only")
        } else if system.is_some_and(|system| system.is_inbox() || system.query.is_some()) {
            format!(
                "system `{}` is not read by its own log of changes",
                flow.from
            )
        } else {
            return;
        };
        let message = format!("flow `{name}` cannot copy past the log: {why}");
        let help = "leave `snapshot` out: rows that are there already go through the log then, for whoever needs them".to_owned();
        self.error("LS-G044", &["flows", name, "snapshot"], message, help);
    }

    /// Whole transactions need a source that tells them.
    fn transactions(&mut self, flow: &Flow) {
        if flow.consistency != Consistency::Transaction {
            return;
        }
        if flow.mode != Mode::Realtime {
            let message = format!(
                "flow `{}` asks for whole transactions, but not to apply them as they come",
                flow.name
            );
            let help = "leave out `mode` or `consistency`".to_owned();
            let path = ["flows", flow.name.as_str(), "mode"];
            self.error("LS-G043", &path, message, help);
        }
        let Some(system) = self.config.systems.get(&flow.from) else {
            return;
        };
        let connector = self.reading.registry.get(&system.connector);
        let tells =
            |connector: &Connector| connector.tells_transactions() && system.query.is_none();
        if connector.is_ok_and(|connector| !tells(connector)) {
            let how = if system.query.is_some() {
                "captured by query".to_owned()
            } else {
                format!("captured by connector `{}`", system.connector)
            };
            let message = format!(
                "flow `{}` asks for whole transactions, which system `{}` does not tell as it is {how}",
                flow.name, flow.from
            );
            let help = "leave `consistency` out: every record arrives by itself then".to_owned();
            let path = ["flows", flow.name.as_str(), "consistency"];
            self.error("LS-G042", &path, message, help);
        }
    }

    /// The versions of a flow's targets: the target is one of them, and the version is one before the contract's.
    fn versions(&mut self, flow: &Flow) {
        for (target, version) in &flow.versions {
            let path = ["flows", flow.name.as_str(), "versions", target];
            if !flow.to.contains(target) {
                let message = format!("flow `{}` has no target `{target}`", flow.name);
                let known = flow.to.iter().map(String::as_str);
                self.error("LS-G015", &path, message, suggestion(target, known));
            }
            let current = self.config.contracts.get(&flow.entity);
            let Some(wanted) = version_of(version) else {
                let message = format!("`{version}` is not a version");
                let help = "write one to three numbers, such as `1`, `1.2` or `1.2.0`".to_owned();
                self.error("LS-G008", &path, message, help);
                continue;
            };
            let newer = current.filter(|current| {
                !wanted.matches(&current.version) && is_above(&wanted, &current.version)
            });
            if let Some(current) = newer {
                let message = format!(
                    "version {version} of `{}` is newer than its contract, which is {}",
                    flow.entity, current.version
                );
                let help = "name a version that the contract had before".to_owned();
                self.error("LS-G008", &path, message, help);
            }
        }
    }

    /// One end of a flow: the system is known, its connector offers what is needed, and the entity is mapped.
    fn end(&mut self, flow: &Flow, system: &str, path: &[&str], offer: &str) {
        let places = self.reading.places;
        if !places.holds(&["systems", system]) {
            let help = suggestion(system, self.config.systems.keys().map(String::as_str));
            self.error("LS-G014", path, format!("no such system `{system}`"), help);
            return;
        }
        let Some(known) = self.config.systems.get(system) else {
            // The system is there but broken, which has its own finding.
            return;
        };
        if let Ok(connector) = self.reading.registry.get(&known.connector) {
            let offers = connector.offers();
            let offer = match (&known.query, offer) {
                (Some(_), "source") => "reader",
                _ => offer,
            };
            if !offers.contains(&offer) {
                let message = format!(
                    "connector `{}` of system `{system}` has no {offer}",
                    known.connector
                );
                let help = if known.is_inbox() {
                    format!(
                        "an inbox only takes what other programs publish; they read `{}` by subscribing to its settled events, without a flow",
                        flow.entity
                    )
                } else {
                    format!("it offers: {}", offers.join(", "))
                };
                self.error("LS-G025", path, message, help);
            }
        }
        if known.is_inbox() || places.holds(&["systems", system, "map", &flow.entity]) {
            return;
        }
        let entity = &flow.entity;
        let (code, message) = if offer == "source" {
            (
                "LS-G017",
                format!(
                    "flow `{}` reads `{entity}` from `{system}`, which has no mapping for it",
                    flow.name
                ),
            )
        } else {
            (
                "LS-G018",
                format!(
                    "flow `{}` writes `{entity}` to `{system}`, which has no mapping for it",
                    flow.name
                ),
            )
        };
        let help = format!("add `[systems.{system}.map.{entity}]` with `table` and `fields`");
        self.error(code, path, message, help);
    }

    /// One entity has one writer, and one flow brings it to a target.
    fn writers(&mut self) {
        let mut writers: BTreeMap<&str, &Flow> = BTreeMap::new();
        let mut deliveries: BTreeMap<(&str, &str), &Flow> = BTreeMap::new();
        let config = self.config;
        for flow in config.flows.values() {
            let first = *writers.entry(&flow.entity).or_insert(flow);
            if first.from != flow.from {
                let message = format!(
                    "entity `{}` has two writers: flow `{}` from `{}` and flow `{}` from `{}`",
                    flow.entity, first.name, first.from, flow.name, flow.from
                );
                let help = "several writers of one entity are not supported in this version: let one system say it and the others hear it".to_owned();
                self.error("LS-G022", &["flows", &flow.name, "from"], message, help);
            }
            for (i, target) in flow.to.iter().enumerate() {
                let first = *deliveries.entry((&flow.entity, target)).or_insert(flow);
                if first.name != flow.name {
                    let message = format!(
                        "flows `{}` and `{}` both bring `{}` to `{target}`",
                        first.name, flow.name, flow.entity
                    );
                    let path = ["flows", &flow.name, "to", &i.to_string()];
                    let help = "remove the target from one of the two".to_owned();
                    self.error("LS-G020", &path, message, help);
                }
            }
        }
    }

    /// An inbox needs a log that others can publish to.
    fn inboxes(&mut self) {
        let config = self.config;
        if config.log.is_shared() {
            return;
        }
        for system in config.systems.values().filter(|system| system.is_inbox()) {
            let message = format!(
                "nobody can publish to the inbox `{}`: the embedded log is a file of this process",
                system.name
            );
            let place = self.reading.places.key(&["systems", &system.name]);
            let finding = Diagnostic::warning("LS-G040", message).at(place);
            let finding = finding.help("set `engine = \"nats\"` in `[log]`");
            self.reading.findings.push(finding);
        }
    }

    fn unused(&mut self) {
        let config = self.config;
        // A flow that could not be read might use anything.
        let broken = |section: &str| {
            self.reading.findings.iter().any(|finding| {
                finding.code == "LS-G005" && finding.message.starts_with(&format!("`{section}."))
            })
        };
        if broken("flows") {
            return;
        }
        if config.flows.is_empty() {
            let message = "the configuration has no flow, so nothing will happen".to_owned();
            self.warning(
                &[],
                message,
                "add `[flows.NAME]` with `entity`, `from` and `to`",
            );
            return;
        }
        let uses = |system: &str, entity: Option<&str>| {
            config.flows.values().any(|flow| {
                (flow.from == system || flow.to.iter().any(|to| to == system))
                    && entity.is_none_or(|entity| flow.entity == entity)
            })
        };
        for (name, system) in &config.systems {
            if !uses(name, None) {
                let message = format!("system `{name}` is used by no flow");
                self.warning(
                    &["systems", name],
                    message,
                    "remove it, or name it in a flow",
                );
                continue;
            }
            for entity in system.map.keys() {
                if !uses(name, Some(entity)) && !self.entity_is_unknown(entity) {
                    let message =
                        format!("the mapping of `{entity}` in `{name}` is used by no flow");
                    let path = ["systems", name, "map", entity];
                    self.warning(
                        &path,
                        message,
                        "remove it, or name the system in a flow of the entity",
                    );
                }
            }
        }
    }

    fn entity_is_unknown(&self, entity: &str) -> bool {
        self.all_read && !self.config.contracts.contains_key(entity)
    }

    fn known_entities(&self, entity: &str) -> String {
        suggestion(entity, self.config.contracts.keys().map(String::as_str))
    }
}
