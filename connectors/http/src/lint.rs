//! Judges a description before anything is asked: every finding names its place in the file.

use std::collections::BTreeSet;

use lockstep_core::diagnostic::{Diagnostic, Severity, suggestion};
use lockstep_core::{Error, Result};
use lockstep_http_client::{Method, Url};

use crate::auth;
use crate::convert;
use crate::describe::{Auth, Description, Paging, Table, Write};
use crate::template;
use crate::yaml::{self, Tree};

/// The description in a text.
///
/// # Errors
/// The first mistake in it, with its place.
pub(crate) fn load(file: &str, text: &str) -> Result<Description> {
    let (described, findings) = lint(file, text);
    let mistake = findings.into_iter().find(|f| f.severity == Severity::Error);
    match (mistake, described) {
        (None, Some(described)) => Ok(described),
        (Some(mistake), _) => {
            let error = Error::config(mistake.to_string());
            Err(match mistake.help {
                Some(help) => error.help(help),
                None => error,
            })
        }
        (None, None) => Err(Error::config(format!("`{file}` cannot be read"))),
    }
}

/// The description in a text, as far as it can be read, and what is wrong with it.
pub(crate) fn lint(file: &str, text: &str) -> (Option<Description>, Vec<Diagnostic>) {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: 50_000, max_depth: 32, max_documents: 1, max_aliases: 0, max_anchors: 0
        },
    };
    let described: Description = match serde_saphyr::from_str_with_options(text, options) {
        Ok(described) => described,
        Err(error) => {
            let location = error.location().unwrap_or(serde_saphyr::Location::UNKNOWN);
            let message = error.without_snippet().to_string();
            let message = message.lines().next().unwrap_or_default();
            // The place is said by the finding; the library repeats it at the end of its own message.
            let message = message.split(" at line ").next().unwrap_or(message);
            let message = message.trim_end_matches([' ', ':', ',']);
            let finding = Diagnostic::error("LS-Y001", message)
                .at(yaml::place(location, file, text))
                .help("`lockstep connectors schema http --description` prints what a file may say");
            return (None, vec![finding]);
        }
    };
    let mut lint = Lint {
        described: &described,
        tree: Tree::of(text),
        file,
        text,
        findings: Vec::new(),
    };
    lint.all();
    let findings = lint.findings;
    (Some(described), findings)
}

/// The secrets that a description names.
pub(crate) fn secrets(described: &Description) -> BTreeSet<&str> {
    let webhook = described.webhook.iter();
    auth::names(&described.auth)
        .into_iter()
        .chain(webhook.map(|webhook| webhook.signature.secret.as_str()))
        .collect()
}

struct Lint<'a> {
    described: &'a Description,
    tree: Tree,
    file: &'a str,
    text: &'a str,
    findings: Vec<Diagnostic>,
}

impl Lint<'_> {
    fn find(&mut self, code: &'static str, path: &[&str], message: String, help: String) {
        let place = self.tree.place(path, self.file, self.text);
        let finding = Diagnostic::error(code, message).at(place).help(help);
        self.findings.push(finding);
    }

    fn warn(&mut self, path: &[&str], message: String, help: &str) {
        self.find("LS-Y003", path, message, help.to_owned());
        if let Some(last) = self.findings.last_mut() {
            last.severity = Severity::Warning;
        }
    }

    fn all(&mut self) {
        let described = self.described;
        match Url::parse(&described.base) {
            Ok(url) if matches!(url.scheme(), "http" | "https") => {}
            _ => self.find(
                "LS-Y003",
                &["base"],
                format!("`{}` is no address of an API", described.base),
                "give one such as https://api.example.com/v2".to_owned(),
            ),
        }
        let limits = &described.limits;
        for (name, value, least, most) in [
            ("concurrent", limits.concurrent as u64, 1, 64),
            ("timeout_secs", limits.timeout_secs, 1, 600),
            ("batch_max", limits.batch_max as u64, 1, 1000),
            ("rows_max", limits.rows_max as u64, 1, 10_000_000),
            ("body_max", limits.body_max as u64, 1024, 1 << 30),
        ] {
            if !(least..=most).contains(&value) {
                self.find(
                    "LS-Y003",
                    &["limits", name],
                    format!("`{name}` is {value}"),
                    format!("give a number from {least} to {most}"),
                );
            }
        }
        self.auth();
        if described.tables.is_empty() {
            self.find(
                "LS-Y003",
                &["tables"],
                "there are no tables".to_owned(),
                "describe at least one".to_owned(),
            );
        }
        for (name, table) in &described.tables {
            self.table(name, table);
        }
        self.webhook();
    }

    fn auth(&mut self) {
        match &self.described.auth {
            Auth::Oauth2 {
                secret: None,
                refresh_token: None,
                ..
            } => self.find(
                "LS-Y003",
                &["auth", "type"],
                "a client without a secret gets no token".to_owned(),
                "name its `secret` or a `refresh_token`".to_owned(),
            ),
            Auth::Hmac { signed, .. } => {
                self.template(
                    &["auth", "signed"],
                    signed,
                    &["method", "path", "timestamp", "body"],
                );
            }
            _ => {}
        }
    }

    fn webhook(&mut self) {
        let described = self.described;
        let Some(webhook) = &described.webhook else {
            return;
        };
        let path = ["webhook", "signature", "signed"];
        let known = ["timestamp", "body", "method", "url"];
        self.template(&path, &webhook.signature.signed, &known);
        if !webhook.signature.signed.contains("{body}") {
            self.find(
                "LS-Y003",
                &path,
                "the signature is not over the body".to_owned(),
                "add `{body}`: whoever saw one call could otherwise send any other".to_owned(),
            );
        }
        let signs_time = webhook.signature.signed.contains("{timestamp}");
        if signs_time != webhook.signature.timestamp_header.is_some() {
            self.find(
                "LS-Y003",
                &path,
                "the time of a call is signed but not named, or named but not signed".to_owned(),
                "give both `timestamp_header` and `{timestamp}` in `signed`, or neither".to_owned(),
            );
        } else if !signs_time {
            self.warn(
                &path,
                "a call can be repeated at any time: its time is not signed".to_owned(),
                "a repeated call only has a record read again; name `timestamp_header` where the vendor sends one",
            );
        }
        for (kind, table) in &webhook.tables {
            match described.tables.get(table) {
                None => self.unknown(
                    &["webhook", "tables", kind],
                    "table",
                    table,
                    described.tables.keys().map(String::as_str),
                ),
                Some(of) if of.key.len() != webhook.key.len() => self.find(
                    "LS-Y003",
                    &["webhook", "key"],
                    format!("the key of `{table}` has {} fields", of.key.len()),
                    "give the place of each of them in an event, in that order".to_owned(),
                ),
                Some(_) => {}
            }
        }
    }

    fn table(&mut self, name: &str, table: &Table) {
        let fields = || table.fields.keys().map(String::as_str);
        if table.key.is_empty() {
            self.find(
                "LS-Y003",
                &["tables", name, "key"],
                format!("`{name}` has no key"),
                "name the fields that are the system's own id of a record".to_owned(),
            );
        }
        for (i, key) in table.key.iter().enumerate() {
            if !table.fields.contains_key(key) {
                self.unknown(
                    &["tables", name, "key", &i.to_string()],
                    "field",
                    key,
                    fields(),
                );
            }
        }
        for (field, described) in &table.fields {
            if convert::kind(&described.kind).is_none() {
                let known = [
                    "text",
                    "int",
                    "decimal",
                    "float",
                    "bool",
                    "date",
                    "time",
                    "timestamp",
                    "uuid",
                    "bytes",
                    "json",
                ];
                let path = ["tables", name, "fields", field, "type"];
                self.unknown(&path, "type", &described.kind, known.into_iter());
            }
        }
        self.paging(name, table);
        let keys: Vec<&str> = table.key.iter().map(String::as_str).collect();
        if let Some(incremental) = &table.incremental {
            let path = ["tables", name, "incremental", "field"];
            if !table.fields.contains_key(&incremental.field) {
                self.unknown(&path, "field", &incremental.field, fields());
            }
            let path = ["tables", name, "incremental", "value"];
            self.template(&path, &incremental.value, &["value"]);
        }
        if let Some(get) = &table.get {
            self.template(&["tables", name, "get", "path"], &get.path, &keys);
        }
        if let Some(look_up) = &table.look_up {
            if !table.fields.contains_key(&look_up.by) {
                self.unknown(
                    &["tables", name, "look_up", "by"],
                    "field",
                    &look_up.by,
                    fields(),
                );
            }
            self.template(
                &["tables", name, "look_up", "path"],
                &look_up.path,
                &["value"],
            );
            let all = look_up.query.values().chain([&look_up.path]);
            if !all.into_iter().any(|text| text.contains("{value}")) {
                self.find(
                    "LS-Y003",
                    &["tables", name, "look_up"],
                    "the look-up asks for no value".to_owned(),
                    "put `{value}` into its path or query".to_owned(),
                );
            }
        }
        for (call, write) in [
            ("create", &table.create),
            ("update", &table.update),
            ("delete", &table.delete),
        ] {
            if let Some(write) = write {
                self.write(name, call, write, &keys);
            }
        }
        let can_find = table.look_up.is_some() || table.get.is_some();
        if table.create.is_some() && !can_find {
            self.find(
                "LS-Y003",
                &["tables", name, "create"],
                format!("records of `{name}` can be created, but not found: a create could be done twice"),
                "describe `look_up` by a field that holds the contract's key, or `get` by the table's own id".to_owned(),
            );
        }
    }

    fn write(&mut self, name: &str, call: &str, write: &Write, keys: &[&str]) {
        self.template(&["tables", name, call, "path"], &write.path, keys);
        if call == "create"
            && template::names(&write.path)
                .iter()
                .any(|name| keys.contains(name))
        {
            self.find(
                "LS-Y003",
                &["tables", name, call, "path"],
                "a record that is not there yet has no id".to_owned(),
                "give the path of the collection".to_owned(),
            );
        }
        if let Some(method) = &write.method
            && !matches!(method.as_str(), "POST" | "PUT" | "PATCH" | "DELETE")
        {
            let is_method = Method::from_bytes(method.as_bytes()).is_ok();
            let what = if is_method {
                "does not write"
            } else {
                "is no method"
            };
            self.find(
                "LS-Y003",
                &["tables", name, call, "method"],
                format!("`{method}` {what}"),
                "give POST, PUT, PATCH or DELETE".to_owned(),
            );
        }
    }

    fn paging(&mut self, name: &str, table: &Table) {
        let path = ["tables", name, "list", "page"];
        match &table.list.page {
            Paging::Cursor {
                next: None,
                last: None,
                ..
            } => self.find(
                "LS-Y003",
                &path,
                "nothing says where the next cursor stands".to_owned(),
                "give `next` (in the answer) or `last` (in the last record)".to_owned(),
            ),
            Paging::Cursor {
                next: None,
                more: None,
                ..
            } => self.warn(
                &path,
                "the end of the listing is told by an empty page only".to_owned(),
                "name `more` where the answer says whether there is more",
            ),
            Paging::Offset { size, .. } if *size < 2 => self.find(
                "LS-Y003",
                &["tables", name, "list", "page", "size"],
                format!("pages of {size} cannot overlap"),
                "give 2 or more".to_owned(),
            ),
            Paging::Number { total: None, .. } => self.warn(
                &path,
                "records that move between numbered pages are noticed by listing everything twice"
                    .to_owned(),
                "name `total` where the answer tells how many records there are",
            ),
            _ => {}
        }
    }

    fn template(&mut self, path: &[&str], text: &str, known: &[&str]) {
        for name in template::names(text) {
            if !known.contains(&name) {
                self.unknown(path, "word", name, known.iter().copied());
            }
        }
    }

    fn unknown<'n>(
        &mut self,
        path: &[&str],
        what: &str,
        name: &str,
        known: impl Iterator<Item = &'n str> + Clone,
    ) {
        let help = suggestion(name, known);
        self.find(
            "LS-Y002",
            path,
            format!("there is no {what} `{name}` here"),
            help,
        );
    }
}
