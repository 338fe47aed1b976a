//! From the file's text to a [`Config`]: types first, then names, then what names mean together.
//!
//! Every step adds to one list of findings and goes on with what is sound; names that are written but broken still count as known, so that no mistake is reported twice.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lockstep_core::connector::{Connector, RawConfig, Registry, Secret};
use lockstep_core::contract::Contract;
use lockstep_core::contract::drift::Policy;
use lockstep_core::diagnostic::{Diagnostic, Severity, suggestion};
use serde_json::Value as Json;

use crate::inbox;

use super::contracts::Contracts;
use super::file::{
    ApiText, CanaryText, CaptureText, DriftText, EachText, FileText, PolicyText, RulesText,
    SystemText, VersionsText,
};
use super::interpolate::fill;
use super::limits::duration;
use super::schema::{Fit, parts};
use super::surroundings::Surroundings;
use super::text::{self, Places};
use super::{ApiConfig, CanaryConfig, Config, Flow, PolicyPart, RulesConfig, System, flows, log};

/// Reads a configuration's text; `file` is its path as the user gave it.
///
/// # Errors
/// Every finding, if one of them is an error.
pub(super) fn read(
    file: &Path,
    text: &str,
    registry: &Registry,
    world: &dyn Surroundings,
) -> Result<(Config, Vec<Diagnostic>), Vec<Diagnostic>> {
    let (config, findings) = read_part(file, text, Part::Whole, registry, world)?;
    Ok((config, sound(findings)?))
}

/// Reads one system of a configuration's text: there may be no contract yet, and no flow.
///
/// # Errors
/// Every finding, if one of them is an error.
pub(super) fn read_system(
    file: &Path,
    text: &str,
    system: &str,
    registry: &Registry,
    world: &dyn Surroundings,
) -> Result<(Config, Vec<Diagnostic>), Vec<Diagnostic>> {
    let (config, findings) = read_part(file, text, Part::System(system), registry, world)?;
    Ok((config, sound(findings)?))
}

/// Reads of a configuration's text what it takes to reach a run and to name its parts, and gives it with all that was found in the rest, errors included.
///
/// # Errors
/// Every finding about the file's form, its log and its interface, if one of them is an error.
pub(super) fn read_to_operate(
    file: &Path,
    text: &str,
    registry: &Registry,
    world: &dyn Surroundings,
) -> Result<(Config, Vec<Diagnostic>), Vec<Diagnostic>> {
    read_part(file, text, Part::Operation, registry, world)
}

/// Findings without an error.
///
/// # Errors
/// All of them, if one of them is an error.
fn sound(findings: Vec<Diagnostic>) -> Result<Vec<Diagnostic>, Vec<Diagnostic>> {
    if findings.iter().any(|f| f.severity == Severity::Error) {
        return Err(findings);
    }
    Ok(findings)
}

/// How much of a configuration somebody needs.
#[derive(Clone, Copy)]
enum Part<'a> {
    /// All of it.
    Whole,
    /// One system, by its name.
    System(&'a str),
    /// What it takes to operate a run: its log, its interface, and names.
    Operation,
}

/// Reads a part; what is wrong with what else was read is given beside it.
fn read_part(
    file: &Path,
    text: &str,
    part: Part<'_>,
    registry: &Registry,
    world: &dyn Surroundings,
) -> Result<(Config, Vec<Diagnostic>), Vec<Diagnostic>> {
    let (data, places) = text::parse(&file.display().to_string(), text)?;
    let folder = match file.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let mut reading = Reading {
        places: &places,
        folder,
        world,
        registry,
        findings: Vec::new(),
        of_place: 0,
    };
    let mut file_text = reading.shape(&data);
    let mut beside = Vec::new();
    let config = match part {
        Part::Whole => {
            let contracts = reading.contracts(&file_text.contracts);
            reading.config(file, file_text, contracts)
        }
        Part::Operation => {
            let form = reading.findings.len();
            let contracts = reading.contracts(&file_text.contracts);
            beside = reading.findings.split_off(form);
            let config = reading.config(file, file_text, contracts);
            beside.extend(reading.findings.split_off(reading.of_place));
            config
        }
        Part::System(only) => {
            let systems = std::mem::take(&mut file_text.systems);
            let systems: BTreeMap<String, System> = systems
                .into_iter()
                .map(|(name, system)| {
                    let system = match name == only {
                        true => reading.system(name.clone(), system),
                        // Only its name counts, for whoever misspelt another.
                        false => System::named(name.clone(), system.connector),
                    };
                    (name, system)
                })
                .collect();
            let findings = std::mem::take(&mut reading.findings);
            let config = reading.config(file, FileText::default(), Contracts::default());
            reading.findings = findings;
            Config { systems, ..config }
        }
    };
    let mut findings = reading.findings;
    // The order of the file is the order in which somebody mends it; other files' findings follow.
    let place = |finding: &Diagnostic| {
        finding.place.as_ref().map(|place| {
            let own = place.file == file.display().to_string();
            (!own, place.file.clone(), place.offset)
        })
    };
    findings.sort_by_key(place);
    beside.sort_by_key(place);
    if matches!(part, Part::Operation) {
        findings = sound(findings)?;
    }
    findings.append(&mut beside);
    let config = Config { places, ..config };
    Ok((config, findings))
}

/// A reading under way.
pub(super) struct Reading<'a> {
    pub(super) places: &'a Places,
    pub(super) folder: PathBuf,
    pub(super) world: &'a dyn Surroundings,
    pub(super) registry: &'a Registry,
    pub(super) findings: Vec<Diagnostic>,
    /// How many findings there were once the log and the interface were read.
    of_place: usize,
}

impl Reading<'_> {
    /// The part of the data that has known keys of the right types.
    fn shape(&mut self, data: &Json) -> FileText {
        let schema = schemars::schema_for!(FileText).to_value();
        let fitting = Fit {
            places: self.places,
            root: &schema,
            connector: None,
            filled: &BTreeSet::new(),
            findings: &mut self.findings,
        }
        .fit(data, &schema, &mut Vec::new());
        match serde_json::from_value(fitting.unwrap_or_default()) {
            Ok(file) => file,
            Err(error) => {
                // What fits the schema of a type also reads as that type; should they ever disagree, say so.
                if self.findings.is_empty() {
                    let finding = Diagnostic::error("LS-G004", error.to_string());
                    self.findings.push(finding.at(self.places.start()));
                }
                FileText::default()
            }
        }
    }

    fn config(&mut self, file: &Path, text: FileText, contracts: Contracts) -> Config {
        let log = log::read(self, &text.log);
        let api = self.api(&text.api);
        self.of_place = self.findings.len();
        let rules = self.rules(&text.rules);
        let Contracts {
            current: contracts,
            released,
            all_read,
        } = contracts;
        let canary = self.canary(&text.canary);
        let (drift, drift_every) = self.drift(&text.drift);
        let accept_older = self.accept_older(&text.versions, &contracts, all_read);
        self.publish_majors(&text.versions, &contracts, all_read);
        let systems = text
            .systems
            .into_iter()
            .map(|(name, system)| (name.clone(), self.system(name, system)));
        let mut systems: BTreeMap<String, System> = systems.collect();
        let flows: BTreeMap<String, Flow> = text
            .flows
            .into_iter()
            .map(|(name, flow)| {
                let mode = self.mode(&name, &flow);
                let flow = Flow {
                    mode,
                    name: name.clone(),
                    entity: flow.entity,
                    from: flow.from,
                    to: flow.to,
                    drift: part(flow.drift),
                    consistency: flow.consistency,
                    snapshot: flow.snapshot,
                    versions: flow.versions,
                };
                (name, flow)
            })
            .collect();
        self.inboxes(&mut systems, &flows, &contracts);
        let config = Config {
            file: file.to_owned(),
            folder: self.folder.clone(),
            log,
            api,
            rules,
            canary,
            contracts,
            released,
            values: text.values,
            systems,
            flows,
            drift,
            drift_every,
            drift_exit: text.drift.exit,
            accept_older,
            publish_majors: text.versions.publish_majors,
            taken: BTreeMap::new(),
            known: Arc::default(),
            places: Places::default(),
        };
        flows::check(self, &config, all_read);
        config
    }

    /// Observations come in contract form, so an inbox has the identity for its mapping and takes no other.
    fn inboxes(
        &mut self,
        systems: &mut BTreeMap<String, System>,
        flows: &BTreeMap<String, Flow>,
        contracts: &BTreeMap<String, Arc<Contract>>,
    ) {
        for system in systems.values_mut().filter(|system| system.is_inbox()) {
            if self.places.holds(&["systems", &system.name, "map"]) {
                let message = format!(
                    "system `{}` is an inbox, which takes no `map`: programs publish records as the contract has them",
                    system.name
                );
                let place = self.places.key(&["systems", &system.name, "map"]);
                let finding = Diagnostic::error("LS-G007", message).at(place);
                self.findings.push(finding.help("remove it"));
            }
            let said = flows.values().filter(|flow| flow.from == system.name);
            let said = said.filter_map(|flow| contracts.get(&flow.entity));
            system.map = said
                .map(|contract| (contract.entity.clone(), inbox::mapping(contract)))
                .collect();
        }
    }

    fn rules(&mut self, text: &RulesText) -> RulesConfig {
        let Some(written) = &text.every else {
            return RulesConfig::default();
        };
        let written = self.filled(&["rules", "every"], written);
        let read = |text: &str| match text {
            "never" => Ok(None),
            text => duration(text).map(Some),
        };
        let every = written.and_then(|text| self.parsed(&["rules", "every"], read(&text)));
        RulesConfig {
            every: every.flatten(),
        }
    }

    fn canary(&mut self, text: &CanaryText) -> CanaryConfig {
        let read = |text: &str| match text {
            "never" => Ok(None),
            text => duration(text).map(Some),
        };
        let usual = CanaryConfig::default();
        let every = self.filled(&["canary", "every"], &text.every);
        let every = every.and_then(|text| self.parsed(&["canary", "every"], read(&text)));
        let deadline = self.filled(&["canary", "deadline"], &text.deadline);
        let path = ["canary", "deadline"];
        let deadline = deadline.and_then(|text| self.parsed(&path, duration(&text)));
        CanaryConfig {
            every: every.unwrap_or(usual.every),
            deadline: deadline.unwrap_or(usual.deadline),
        }
    }

    fn drift(&mut self, text: &DriftText) -> (Policy, Duration) {
        let every = self.filled(&["drift", "every"], &text.every);
        let every = every.and_then(|every| self.parsed(&["drift", "every"], duration(&every)));
        let usual = Policy::default();
        let policy = Policy {
            additive: text.additive.unwrap_or(usual.additive),
            breaking: text.breaking.unwrap_or(usual.breaking),
        };
        (policy, every.unwrap_or(Duration::from_secs(600)))
    }

    fn accept_older(
        &mut self,
        text: &VersionsText,
        contracts: &BTreeMap<String, Arc<Contract>>,
        all_read: bool,
    ) -> BTreeMap<String, semver::Version> {
        let mut accepted = BTreeMap::new();
        for (entity, version) in &text.accept_older {
            let path = ["versions", "accept_older", entity];
            if all_read && !contracts.contains_key(entity) {
                let known = contracts.keys().map(String::as_str);
                let finding = Diagnostic::error("LS-G015", format!("no such entity `{entity}`"))
                    .at(self.places.key(&path))
                    .help(suggestion(entity, known));
                self.findings.push(finding);
            }
            let read = version.parse::<semver::Version>().map_err(|_| {
                let help = "write three numbers, such as `1.2.0`".to_owned();
                (format!("`{version}` is not a version"), help)
            });
            if let Some(version) = self.parsed(&path, read) {
                accepted.insert(entity.clone(), version);
            }
        }
        accepted
    }

    /// Judges the older majors that are to be published.
    fn publish_majors(
        &mut self,
        text: &VersionsText,
        contracts: &BTreeMap<String, Arc<Contract>>,
        all_read: bool,
    ) {
        for (entity, majors) in &text.publish_majors {
            let path = ["versions", "publish_majors", entity];
            let place = self.places.key(&path);
            let Some(contract) = contracts.get(entity) else {
                if all_read {
                    let known = contracts.keys().map(String::as_str);
                    let finding =
                        Diagnostic::error("LS-G015", format!("no such entity `{entity}`"));
                    let finding = finding.at(place).help(suggestion(entity, known));
                    self.findings.push(finding);
                }
                continue;
            };
            let own = contract.version.major;
            for major in majors.iter().filter(|major| **major >= own) {
                let message =
                    format!("`{major}` is no major before that of `{entity}`, which is {own}");
                let finding = Diagnostic::error("LS-G008", message).at(place.clone());
                let help = "list majors that were published before; the newest is published anyway";
                self.findings.push(finding.help(help));
            }
        }
    }

    fn api(&mut self, text: &ApiText) -> ApiConfig {
        let unknown = SocketAddr::from(([127, 0, 0, 1], 0));
        let listen = self.filled(&["api", "listen"], &text.listen);
        let listen = listen.and_then(|written| {
            let address = written.parse::<SocketAddr>().map_err(|_| {
                (
                    format!("`{written}` is not an address with a port"),
                    "write an address of this machine such as `127.0.0.1:7300`; port 0 takes a free one".to_owned(),
                )
            });
            let loopback = address.and_then(|address| {
                if address.ip().is_loopback() {
                    return Ok(address);
                }
                Err((
                    format!("`{written}` is not an address of this machine alone"),
                    "listen on 127.0.0.1 or [::1]; put a proxy with TLS before it for access from elsewhere".to_owned(),
                ))
            });
            self.parsed(&["api", "listen"], loopback)
        });
        let folder = self.filled(&["api", "folder"], &text.folder);
        ApiConfig {
            listen: listen.unwrap_or(unknown),
            folder: self.folder.join(folder.unwrap_or_default()),
        }
    }

    /// A text with `${…}` filled in.
    pub(super) fn filled(&mut self, path: &[&str], text: &str) -> Option<String> {
        match fill(text, &self.folder, self.world) {
            Ok(None) => Some(text.to_owned()),
            Ok(Some((text, _))) => Some(text),
            Err((code, message, help)) => {
                let finding = Diagnostic::error(code, message).help(help);
                self.findings.push(finding.at(self.places.value(path)));
                None
            }
        }
    }

    pub(super) fn parsed<T>(
        &mut self,
        path: &[&str],
        result: Result<T, (String, String)>,
    ) -> Option<T> {
        let (message, help) = match result {
            Ok(value) => return Some(value),
            Err(wrong) => wrong,
        };
        // A value that came from elsewhere is not shown, here as anywhere.
        let written = self.places.text_of(path);
        let message = if written.contains("${") {
            format!(
                "what `{}.{}` is filled in with does not fit",
                path[0], path[1]
            )
        } else {
            message
        };
        let finding = Diagnostic::error("LS-G008", message).help(help);
        self.findings.push(finding.at(self.places.value(path)));
        None
    }

    fn system(&mut self, name: String, text: SystemText) -> System {
        let path = ["systems", name.as_str()];
        let mut secrets = Vec::new();
        let settings = match self.registry.get(&text.connector) {
            Ok(connector) => self.settings(&name, connector, text.settings, &mut secrets),
            Err(error) => {
                let mut finding = Diagnostic::error("LS-G006", error.to_string())
                    .at(self.places.value(&[path[0], path[1], "connector"]));
                finding.help = error.help_text().map(str::to_owned);
                self.findings.push(finding);
                RawConfig::new()
            }
        };
        // Whoever can only be asked is captured by asking.
        let connector = self.registry.get(&text.connector);
        let is_asked = connector.is_ok_and(|connector| connector.is_only_read());
        let capture = text.capture.or(is_asked.then_some(CaptureText::Query));
        let query = self.query(&name, (capture, is_asked), text.query);
        System {
            name,
            connector: text.connector,
            query,
            settings,
            map: text.map,
            drift: part(text.drift),
            create_tables: text.create_tables,
            secrets,
        }
    }

    /// The settings with `${…}` filled in, as far as they fit the connector's schema.
    fn settings(
        &mut self,
        system: &str,
        connector: &Connector,
        written: RawConfig,
        secrets: &mut Vec<Secret<String>>,
    ) -> RawConfig {
        let mut data = Json::Object(written.into_iter().collect());
        let mut path = vec!["systems".to_owned(), system.to_owned()];
        let mut filled = BTreeSet::new();
        self.fill_all(&mut data, &mut path, &mut filled, secrets);
        self.warn_of_plain_secrets(&data, connector, &path, &filled);
        let fitting = Fit {
            places: self.places,
            root: &connector.schema,
            connector: Some(connector.name),
            filled: &filled,
            findings: &mut self.findings,
        }
        .fit(&data, &connector.schema, &mut path);
        match fitting {
            Some(Json::Object(object)) => object.into_iter().collect(),
            _ => RawConfig::new(),
        }
    }

    fn fill_all(
        &mut self,
        data: &mut Json,
        path: &mut Vec<String>,
        filled: &mut BTreeSet<Vec<String>>,
        secrets: &mut Vec<Secret<String>>,
    ) {
        match data {
            Json::String(text) => match fill(text, &self.folder, self.world) {
                Ok(None) => {}
                Ok(Some((value, used))) => {
                    *text = value;
                    secrets.extend(used);
                    filled.insert(path.clone());
                }
                Err((code, message, help)) => {
                    let finding = Diagnostic::error(code, message).help(help);
                    self.findings
                        .push(finding.at(self.places.value(&parts(path))));
                    // Nothing more can be said about a value that is not there.
                    filled.insert(path.clone());
                    *data = Json::Null;
                }
            },
            Json::Array(items) => {
                for (i, item) in items.iter_mut().enumerate() {
                    path.push(i.to_string());
                    self.fill_all(item, path, filled, secrets);
                    path.pop();
                }
            }
            Json::Object(object) => {
                for (key, value) in object.iter_mut() {
                    path.push(key.clone());
                    self.fill_all(value, path, filled, secrets);
                    path.pop();
                }
            }
            _ => {}
        }
    }

    /// Warns where a setting that the connector calls secret is written out in the file.
    fn warn_of_plain_secrets(
        &mut self,
        data: &Json,
        connector: &Connector,
        path: &[String],
        filled: &BTreeSet<Vec<String>>,
    ) {
        let properties = connector.schema.get("properties").and_then(Json::as_object);
        for (key, schema) in properties.into_iter().flatten() {
            let mut path = path.to_vec();
            path.push(key.clone());
            let text = data.get(key).and_then(Json::as_str);
            let written = text.is_some_and(|text| !is_open_url(text)) && !filled.contains(&path);
            if written && is_secret(schema, &connector.schema, 0) {
                let name = key.to_uppercase();
                let message = format!("the secret `{key}` is written out in the configuration");
                self.findings.push(
                    Diagnostic::warning("LS-G027", message)
                        .at(self.places.key(&parts(&path)))
                        .help(format!(
                            "write `{key} = \"${{{name}}}\"` and set the variable, or `${{file:…}}`"
                        )),
                );
            }
        }
    }
}

/// What a system or a flow says about drift.
fn part(text: Option<PolicyText>) -> PolicyPart {
    match text {
        None => PolicyPart::default(),
        Some(PolicyText::All(action)) => PolicyPart {
            additive: Some(action),
            breaking: Some(action),
        },
        Some(PolicyText::Each(EachText { additive, breaking })) => {
            PolicyPart { additive, breaking }
        }
    }
}

/// Tells whether a text is a URL that holds no password, so that it may be seen though its setting could hold one.
fn is_open_url(text: &str) -> bool {
    let Some((_, rest)) = text.split_once("://") else {
        return false;
    };
    let (authority, more) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let user = authority.rsplit_once('@').map_or("", |(user, _)| user);
    let password = user.split_once(':').map_or("", |(_, password)| password);
    let more = more.to_lowercase();
    // A password with a slash in it ends up behind the authority.
    let strange = more
        .split('?')
        .next()
        .is_some_and(|path| path.contains('@'));
    let named = ["pass", "secret", "token", "key"];
    password.is_empty() && !strange && !named.iter().any(|name| more.contains(name))
}

/// Tells whether a property's schema marks it as secret, directly or by what it refers to.
fn is_secret(schema: &Json, root: &Json, depth: usize) -> bool {
    if depth > 8 {
        return false;
    }
    if schema.get("writeOnly") == Some(&Json::Bool(true)) {
        return true;
    }
    let reference = schema
        .get("$ref")
        .and_then(Json::as_str)
        .and_then(|reference| reference.strip_prefix('#'))
        .and_then(|pointer| root.pointer(pointer));
    let parts = ["allOf", "anyOf", "oneOf"]
        .into_iter()
        .filter_map(|word| schema.get(word).and_then(Json::as_array))
        .flatten();
    reference
        .into_iter()
        .chain(parts)
        .any(|part| is_secret(part, root, depth + 1))
}
