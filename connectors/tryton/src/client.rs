//! What the connector asks of a server, whichever of Tryton's two interfaces carries it.
//!
//! Knows the context that every call is made in; how a call is written down is [`Rpc`]'s and [`Rest`]'s.

use lockstep_core::connector::OpenContext;
use lockstep_core::{Error, Result};
use serde_json::{Map, Value as Json, json};
use tokio::sync::OnceCell;

use crate::config::{Access, Config};
use crate::fault::Fault;
use crate::rest::Rest;
use crate::rpc::Rpc;

/// Calls one database of a server.
#[derive(Debug)]
pub(crate) struct Client {
    wire: Wire,
    company: Option<i64>,
    language: Option<String>,
    context: OnceCell<Map<String, Json>>,
}

#[derive(Debug)]
enum Wire {
    Rpc(Rpc),
    Rest(Rest),
}

/// Records that are asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Search<'a> {
    pub(crate) model: &'a str,
    pub(crate) domain: &'a Json,
    /// Most records; all of them where absent.
    pub(crate) limit: Option<usize>,
    /// Fields and their directions; the model's own order where null.
    pub(crate) order: &'a Json,
    pub(crate) fields: &'a [&'a str],
}

/// One record's write, with what tells whether it is still as it was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Edit<'a> {
    pub(crate) id: i64,
    pub(crate) stamp: &'a Json,
    pub(crate) values: &'a Map<String, Json>,
}

impl Client {
    /// Makes a client; nothing is asked yet.
    pub(crate) fn open(config: &Config, cx: &OpenContext) -> Result<Client> {
        config.check()?;
        let settings = config.settings(cx)?;
        let (database, accepts) = (&config.database, config.accept_warnings);
        let wire = match config.access()? {
            Access::Login { user, password } => {
                Wire::Rpc(Rpc::new(settings, database, user, password, accepts)?)
            }
            Access::Key(key) => Wire::Rest(Rest::new(settings, database, key, accepts)?),
        };
        Ok(Client {
            wire,
            company: config.company,
            language: config.language.clone(),
            context: OnceCell::new(),
        })
    }

    /// The server's version; none where the interface does not tell it.
    pub(crate) async fn version(&self) -> Result<Option<String>> {
        match &self.wire {
            Wire::Rpc(rpc) => Ok(Some(rpc.version().await?)),
            Wire::Rest(_) => Ok(None),
        }
    }

    /// Whether a write is refused by the server itself when the record is no longer as it was read.
    pub(crate) fn locks(&self) -> bool {
        matches!(self.wire, Wire::Rpc(_))
    }

    /// Most records that one call may change.
    pub(crate) fn records_max(&self) -> usize {
        match &self.wire {
            Wire::Rpc(_) => usize::MAX,
            Wire::Rest(_) => 1,
        }
    }

    /// Most bytes that a condition may take.
    pub(crate) fn condition_max(&self) -> usize {
        match &self.wire {
            Wire::Rpc(_) => usize::MAX,
            Wire::Rest(_) => crate::rest::CONDITION_MAX,
        }
    }

    /// Calls a method of a model that changes nothing.
    pub(crate) async fn ask(
        &self,
        model: &str,
        method: &str,
        parameters: &[(&str, Json)],
    ) -> Result<Json, Fault> {
        let context = self.context().await?;
        self.ask_as(model, method, parameters, &context).await
    }

    async fn ask_as(
        &self,
        model: &str,
        method: &str,
        parameters: &[(&str, Json)],
        context: &Map<String, Json>,
    ) -> Result<Json, Fault> {
        match &self.wire {
            Wire::Rpc(rpc) => rpc.ask(model, method, parameters, context).await,
            Wire::Rest(rest) => rest.ask(model, method, parameters, context).await,
        }
    }

    /// Records that fulfil a condition.
    pub(crate) async fn search(&self, search: Search<'_>) -> Result<Vec<Json>, Fault> {
        let context = self.context().await?;
        let found = match &self.wire {
            Wire::Rpc(rpc) => rpc.search(search, &context).await?,
            Wire::Rest(rest) => rest.search(search, &context).await?,
        };
        match found {
            Json::Array(records) => Ok(records),
            _ => Err(Error::unexpected(format!(
                "the server's answer to a search in `{}` is no list",
                search.model
            ))
            .into()),
        }
    }

    /// Makes records, all or none, and at most [`Client::records_max`]; gives their ids.
    pub(crate) async fn create(
        &self,
        model: &str,
        records: &[&Map<String, Json>],
    ) -> Result<Vec<i64>, Fault> {
        let context = self.context().await?;
        let ids = match &self.wire {
            Wire::Rpc(rpc) => rpc.create(model, records, context).await?,
            Wire::Rest(rest) => rest.create(model, records, &context).await?,
        };
        if ids.len() == records.len() {
            return Ok(ids);
        }
        Err(Error::unexpected("the server made records without telling their ids").into())
    }

    /// Writes records, all or none, and at most [`Client::records_max`].
    pub(crate) async fn write(&self, model: &str, edits: &[Edit<'_>]) -> Result<(), Fault> {
        let context = self.context().await?;
        match &self.wire {
            Wire::Rpc(rpc) => rpc.write(model, edits, context).await,
            Wire::Rest(rest) => rest.write(model, edits, &context).await,
        }
    }

    /// Deletes records by id and stamp, all or none, and at most [`Client::records_max`].
    pub(crate) async fn delete(&self, model: &str, records: &[(i64, &Json)]) -> Result<(), Fault> {
        let context = self.context().await?;
        match &self.wire {
            Wire::Rpc(rpc) => rpc.delete(model, records, context).await,
            Wire::Rest(rest) => rest.delete(model, records, &context).await,
        }
    }

    /// Presses a record's button, once: nobody can tell whether a failed call was carried out.
    pub(crate) async fn press(&self, model: &str, button: &str, id: i64) -> Result<(), Fault> {
        let context = self.context().await?;
        match &self.wire {
            Wire::Rpc(rpc) => rpc.press(model, button, id, context).await,
            Wire::Rest(rest) => rest.press(model, button, id, &context).await,
        }
    }

    /// What every call tells of its surroundings: the user's own, with what the configuration says instead.
    ///
    /// Records that are not active are asked for too: to hide a record is not to delete it.
    async fn context(&self) -> Result<Map<String, Json>> {
        let context = self.context.get_or_try_init(|| async {
            let parameters = [("context_only", Json::Bool(true))];
            let none = Map::new();
            let asked = self.ask_as("res.user", "get_preferences", &parameters, &none);
            let asked = asked.await;
            let own = asked.map_err(|fault| fault.error("the user's preferences"))?;
            let mut context = Map::new();
            for name in [
                "company",
                "company_filter",
                "companies",
                "employee",
                "language",
            ] {
                if let Some(value) = own.get(name) {
                    context.insert(name.to_owned(), value.clone());
                }
            }
            if let Some(company) = self.company {
                context.insert("company".to_owned(), json!(company));
            }
            if let Some(language) = &self.language {
                context.insert("language".to_owned(), json!(language));
            }
            context.insert("active_test".to_owned(), Json::Bool(false));
            Ok::<_, Error>(context)
        });
        Ok(context.await?.clone())
    }
}
