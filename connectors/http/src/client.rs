//! An API as its description says: opened once, shared by whatever reads and writes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lockstep_core::connector::{OpenContext, Secret};
use lockstep_core::diagnostic::suggestion;
use lockstep_core::{Error, Result, Shape};
use lockstep_http_client::{Answer, Budget, Client, Json, Settings, Timeouts, Url};

use crate::auth::{Secrets, auth};
use crate::config::Config;
use crate::convert::Columns;
use crate::describe::{Description, Table};
use crate::lint;

/// An API, ready to be asked.
pub(crate) struct Api {
    pub(crate) client: Client,
    pub(crate) described: Description,
    pub(crate) secrets: Secrets,
    pub(crate) system: String,
    tables: BTreeMap<String, Columns>,
    wanted: Vec<String>,
}

/// One table of an API.
#[derive(Clone, Copy)]
pub(crate) struct Kind<'a> {
    pub(crate) api: &'a Api,
    pub(crate) name: &'a str,
    pub(crate) table: &'a Table,
    pub(crate) columns: &'a Columns,
}

impl Api {
    pub(crate) fn open(config: Config, cx: &OpenContext) -> Result<Api> {
        let file = cx.folder.join(&config.file);
        let text = std::fs::read_to_string(&file).map_err(|error| {
            Error::config(format!("`{}` cannot be read", file.display()))
                .because(error)
                .help("name the file that describes the API with `file`")
        })?;
        let described = lint::load(&config.file.display().to_string(), &text)?;
        let url = config.url.as_deref();
        let ca_file = config.ca_file.map(|path| cx.folder.join(path));
        let mut api = Api::of(
            described,
            &cx.system,
            url,
            config.secrets,
            ca_file.as_deref(),
        )?;
        api.wanted.clone_from(&cx.tables);
        Ok(api)
    }

    pub(crate) fn of(
        described: Description,
        system: &str,
        url: Option<&str>,
        secrets: Secrets,
        ca_file: Option<&Path>,
    ) -> Result<Api> {
        let base = url.unwrap_or(&described.base);
        let base = Url::parse(base).map_err(|error| {
            Error::config("the API's address cannot be read")
                .because(error)
                .help("give an address such as https://api.example.com/v2")
        })?;
        let limits = &described.limits;
        let client = Client::new(Settings {
            system: system.to_owned(),
            auth: auth(&described.auth, &secrets, &base)?,
            base,
            budget: Budget {
                per_second: limits.per_second,
                concurrent: limits.concurrent,
                burst: limits.burst,
            },
            timeouts: Timeouts {
                total: Duration::from_secs(limits.timeout_secs),
                ..Timeouts::default()
            },
            body_max: limits.body_max,
            headers: described.headers.clone().into_iter().collect(),
            ca_file: ca_file.map(Path::to_owned),
            ..Settings::default()
        })?;
        let tables = described.tables.iter();
        let tables = tables.map(|(name, table)| Ok((name.clone(), Columns::of(name, table)?)));
        Ok(Api {
            client,
            tables: tables.collect::<Result<_>>()?,
            described,
            secrets,
            system: system.to_owned(),
            wanted: Vec::new(),
        })
    }

    /// The table of a name.
    pub(crate) fn kind<'a>(&'a self, name: &'a str) -> Result<Kind<'a>> {
        let described = self.described.tables.get(name).zip(self.tables.get(name));
        let (table, columns) = described.ok_or_else(|| {
            let known = self.described.tables.keys().map(String::as_str);
            Error::config(format!(
                "system `{}` has no table `{name}` in its description",
                self.system
            ))
            .code(lockstep_core::contract::drift::GONE)
            .help(suggestion(name, known))
        })?;
        Ok(Kind {
            api: self,
            name,
            table,
            columns,
        })
    }

    /// The shapes of the context's tables.
    pub(crate) fn shapes(&self) -> Result<Vec<Arc<Shape>>> {
        let shape = |name: &String| Ok(Arc::new(self.kind(name)?.columns.shape.clone()));
        self.wanted.iter().map(shape).collect()
    }

    /// What an error's body says, in the system's words; cut where it is long.
    pub(crate) fn words(&self, error: &Error) -> String {
        let status = lockstep_http_client::HttpError::of(error);
        let said = status.and_then(|http| {
            let body = Json::parse(&http.body).ok()?;
            let found = body.at(self.described.errors.as_deref()?)?;
            found.plain().or_else(|| Some(found.to_string()))
        });
        match (said, status) {
            (Some(said), _) => said.chars().take(300).collect(),
            (None, Some(http)) => format!("status {}", http.status),
            (None, None) => error.to_string(),
        }
    }
}

/// The part of an answer under a path.
pub(crate) fn part(answer: &Answer, path: &str, what: &str) -> Result<Json> {
    let tree = answer.tree()?;
    tree.at(path).cloned().ok_or_else(|| {
        Error::unexpected(format!("an answer about {what} has nothing under `{path}`"))
            .help("check `records` and `record` in the description")
    })
}

/// Secrets for one try, by name, from a function.
pub(crate) fn secrets_of(
    described: &Description,
    find: &dyn Fn(&str) -> Option<String>,
) -> Secrets {
    lint::secrets(described)
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), Secret::new(find(name)?))))
        .collect()
}
