//! Carrying out plans: many records in a call, halved where one of them is refused until it is known which.
//!
//! A call of Tryton's is all or nothing, so a refused one has changed nothing.

use std::collections::VecDeque;

use lockstep_core::connector::Outcome;
use lockstep_core::{Error, Kind, Result, Value};
use serde_json::{Map, Value as Json, json};

use crate::check::{self, Right};
use crate::client::Client;
use crate::fault::{Fault, without};
use crate::lookup;
use crate::model::{ID, STATE};
use crate::plan::Gone;
use crate::workflow::{Next, Workflow};

/// Most records that one call makes: a small call is soon over, so that whoever looks for its records after a crash finds them.
const CREATE_MAX: usize = 25;

/// What was written, or why not, by the position in the batch.
pub(crate) type Done<T> = Vec<(usize, Result<T, Refused>)>;

/// Why one record was not written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Refused {
    /// The record is at fault, in these words.
    Words(String),
    /// Somebody else changed it since it was read.
    Changed,
}

impl Refused {
    /// The outcome, without the values of the row in it.
    pub(crate) fn outcome<'a>(self, values: impl Iterator<Item = &'a str>) -> Outcome {
        match self {
            Refused::Words(words) => Outcome::Rejected {
                reason: without(&words, values),
            },
            Refused::Changed => Outcome::Conflict {
                reason: "somebody else changed the record in between".to_owned(),
            },
        }
    }
}

/// Works on the records of one model.
pub(crate) struct Work<'a> {
    pub(crate) client: &'a Client,
    pub(crate) model: &'a str,
}

/// One record's write, with what tells whether it is still as it was read.
pub(crate) struct Write {
    pub(crate) at: usize,
    pub(crate) id: i64,
    pub(crate) stamp: Json,
    pub(crate) values: Map<String, Json>,
}

impl Work<'_> {
    /// Makes records; gives their ids.
    pub(crate) async fn create(
        &self,
        records: Vec<(usize, Map<String, Json>)>,
    ) -> Result<Done<i64>> {
        let mut done = Vec::with_capacity(records.len());
        let mut rest: VecDeque<Vec<(usize, Map<String, Json>)>> =
            records.chunks(CREATE_MAX).map(<[_]>::to_vec).collect();
        while let Some(some) = rest.pop_front() {
            let values: Vec<&Map<String, Json>> = some.iter().map(|(_, values)| values).collect();
            let made = self.call("create", vec![json!(values)], Map::new()).await;
            match made {
                Ok(ids) => {
                    let ids: Vec<i64> = serde_json::from_value(ids)
                        .ok()
                        .filter(|ids: &Vec<i64>| ids.len() == some.len())
                        .ok_or_else(|| {
                            Error::unexpected("the server made records without telling their ids")
                        })?;
                    let each = some.into_iter().zip(ids);
                    done.extend(each.map(|((at, _), id)| (at, Ok(id))));
                }
                Err(fault) => {
                    let positions = some.iter().map(|(at, _)| *at).collect();
                    match self.narrow(fault, some, positions, Right::Create).await? {
                        Narrowed::Halves(a, b) => {
                            rest.push_front(b);
                            rest.push_front(a);
                        }
                        Narrowed::One(at, refused) => done.push((at, Err(refused))),
                    }
                }
            }
        }
        Ok(done)
    }

    /// Writes records, each only if it is as it was read.
    pub(crate) async fn write(&self, writes: Vec<Write>) -> Result<Done<()>> {
        let mut done = Vec::with_capacity(writes.len());
        let mut rest = VecDeque::from([writes]);
        while let Some(some) = rest.pop_front() {
            if some.is_empty() {
                continue;
            }
            let mut params = Vec::with_capacity(some.len() * 2);
            for write in &some {
                params.push(json!([write.id]));
                params.push(Json::Object(write.values.clone()));
            }
            let stamps = some.iter().map(|write| (write.id, &write.stamp));
            let answer = self.call("write", params, self.stamps(stamps)).await;
            let positions = some.iter().map(|write| write.at).collect();
            match answer {
                Ok(_) => done.extend(some.into_iter().map(|write| (write.at, Ok(())))),
                Err(fault) => match self.narrow(fault, some, positions, Right::Write).await? {
                    Narrowed::Halves(a, b) => {
                        rest.push_front(b);
                        rest.push_front(a);
                    }
                    Narrowed::One(at, refused) => done.push((at, Err(refused))),
                },
            }
        }
        Ok(done)
    }

    /// Deletes records, each only if it is as it was read.
    pub(crate) async fn delete(&self, records: Vec<(usize, Gone)>) -> Result<Done<()>> {
        let mut done = Vec::with_capacity(records.len());
        let mut rest = VecDeque::from([records]);
        while let Some(some) = rest.pop_front() {
            if some.is_empty() {
                continue;
            }
            let ids: Vec<i64> = some.iter().map(|(_, gone)| gone.id).collect();
            let stamps = some.iter().map(|(_, gone)| (gone.id, &gone.stamp));
            let answer = self
                .call("delete", vec![json!(ids)], self.stamps(stamps))
                .await;
            let positions = some.iter().map(|(at, _)| *at).collect();
            match answer {
                Ok(_) => done.extend(some.into_iter().map(|(at, _)| (at, Ok(())))),
                Err(fault) => match self.narrow(fault, some, positions, Right::Delete).await? {
                    Narrowed::Halves(a, b) => {
                        rest.push_front(b);
                        rest.push_front(a);
                    }
                    Narrowed::One(at, refused) => done.push((at, Err(refused))),
                },
            }
        }
        Ok(done)
    }

    /// Presses the buttons that bring a record to a state; its state is read before each, so that what was done already is not done again.
    ///
    /// What Tryton says is passed on without `values`, those of the row.
    pub(crate) async fn bring(
        &self,
        workflow: &Workflow,
        id: i64,
        to: &str,
        values: &[String],
    ) -> Result<Outcome> {
        let mut refused: Option<String> = None;
        let applied = Outcome::Applied {
            target_id: Some(Value::Int(id)),
        };
        for _ in 0..=workflow.len() {
            let Some(state) = self.state(id).await? else {
                return Ok(Outcome::Waiting {
                    on: "the record, which was deleted in between".to_owned(),
                });
            };
            let button = match workflow.next(&state, to) {
                Next::Nothing => return Ok(applied),
                Next::Beyond => return Ok(Outcome::Stale),
                Next::Press(button) => button,
                Next::Wait => {
                    return Ok(Outcome::Waiting {
                        on: format!(
                            "the step from `{state}` to `{to}`, which tryton takes by itself"
                        ),
                    });
                }
                Next::Nowhere => {
                    return Ok(Outcome::Rejected {
                        reason: format!(
                            "no button leads from state `{state}` to `{to}`; known: {}",
                            workflow.states().join(", ")
                        ),
                    });
                }
            };
            // Refused before, and nothing has moved since: it is the record's fault.
            if let Some(reason) = refused {
                return Ok(Outcome::Rejected { reason });
            }
            match self.call(&button, vec![json!([id])], Map::new()).await {
                Ok(_) => {}
                Err(Fault::Other(error)) => return Err(error),
                Err(fault) => {
                    let words = without(&words(fault), values.iter().map(String::as_str));
                    refused = Some(format!("button `{button}` is refused: {words}"));
                }
            }
        }
        Ok(Outcome::Waiting {
            on: format!("state `{to}`, which the record did not come to"),
        })
    }

    async fn state(&self, id: i64) -> Result<Option<String>> {
        let domain = json!([[ID, "=", id]]);
        let records = lookup::search(
            self.client,
            self.model,
            &domain,
            Some(1),
            &Json::Null,
            &[STATE],
        );
        let records = records.await?;
        let state = records
            .first()
            .and_then(|record| record.get(STATE)?.as_str());
        Ok(state.map(str::to_owned))
    }

    async fn call(
        &self,
        method: &str,
        params: Vec<Json>,
        context: Map<String, Json>,
    ) -> Result<Json, Fault> {
        let method = format!("model.{}.{method}", self.model);
        self.client.change(&method, params, context).await
    }

    fn stamps<'a>(&self, records: impl Iterator<Item = (i64, &'a Json)>) -> Map<String, Json> {
        let known = records.filter(|(_, stamp)| stamp.is_string());
        let stamps: Map<String, Json> = known
            .map(|(id, stamp)| (format!("{},{id}", self.model), stamp.clone()))
            .collect();
        Map::from_iter([("_timestamp".to_owned(), Json::Object(stamps))])
    }

    /// A refused call as two smaller ones, or as what is wrong with its only record.
    async fn narrow<T>(
        &self,
        fault: Fault,
        mut some: Vec<T>,
        positions: Vec<usize>,
        right: Right,
    ) -> Result<Narrowed<T>> {
        if !fault.is_of_records() {
            return Err(fault.error("a write"));
        }
        if some.len() > 1 {
            let half = some.split_off(some.len() / 2);
            return Ok(Narrowed::Halves(some, half));
        }
        // A right that was taken away is nobody's fault among the records.
        let may = check::may(self.client, self.model, right).await?;
        if !may {
            return Err(Error::new(
                Kind::Unauthorized,
                format!(
                    "the user may not {} records of `{}`",
                    right.verb(),
                    self.model
                ),
            )
            .help("give the user's group that right under Administration, Models, Models Access"));
        }
        let at = positions.first().copied().unwrap_or(0);
        Ok(Narrowed::One(
            at,
            match fault {
                Fault::Concurrency => Refused::Changed,
                fault => Refused::Words(words(fault)),
            },
        ))
    }
}

enum Narrowed<T> {
    Halves(Vec<T>, Vec<T>),
    One(usize, Refused),
}

/// What Tryton said of one record.
fn words(fault: Fault) -> String {
    match fault {
        Fault::User(message) => message,
        Fault::Warning { message, .. } => format!("tryton wants it confirmed: {message}"),
        Fault::Concurrency => "somebody else changed the record in between".to_owned(),
        Fault::Exception(text) => format!("the server failed: {text}"),
        Fault::Other(error) => error.to_string(),
    }
}
