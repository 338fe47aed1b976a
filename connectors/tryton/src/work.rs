//! Carrying out plans: many records in a call, halved where one of them is refused until it is known which.
//!
//! A call of Tryton's is all or nothing, so a refused one has changed nothing.

use std::collections::VecDeque;

use lockstep_core::connector::Outcome;
use lockstep_core::{Error, Kind, Result, Value};
use serde_json::{Map, Value as Json};

use crate::check::{self, Right};
use crate::client::{Client, Edit};
use crate::fault::{Fault, without};
use crate::lookup;
use crate::model::STATE;
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
            portions(records, CREATE_MAX.min(self.client.records_max()));
        while let Some(some) = rest.pop_front() {
            let values: Vec<&Map<String, Json>> = some.iter().map(|(_, values)| values).collect();
            match self.client.create(self.model, &values).await {
                Ok(ids) => {
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
        let mut rest = portions(writes, self.client.records_max());
        while let Some(some) = rest.pop_front() {
            let each = some.iter();
            let edits: Vec<Edit<'_>> = each
                .map(|write| Edit {
                    id: write.id,
                    stamp: &write.stamp,
                    values: &write.values,
                })
                .collect();
            let answer = self.client.write(self.model, &edits).await;
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
        let mut rest = portions(records, self.client.records_max());
        while let Some(some) = rest.pop_front() {
            let each = some.iter();
            let gone: Vec<(i64, &Json)> = each.map(|(_, gone)| (gone.id, &gone.stamp)).collect();
            let answer = self.client.delete(self.model, &gone).await;
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
        let mut pressed: Option<(String, String)> = None;
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
            if let Some((_, button)) = pressed.take_if(|(from, _)| *from == state) {
                // Stock that is not there, an approval that is due: another press would say the same.
                return Ok(Outcome::Waiting {
                    on: format!("what keeps button `{button}` from moving it out of `{state}`"),
                });
            }
            // Refused before, and nothing has moved since: it is the record's fault.
            if let Some(reason) = refused {
                return Ok(Outcome::Rejected { reason });
            }
            match self.client.press(self.model, &button, id).await {
                Ok(()) => pressed = Some((state, button)),
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
        let record = lookup::one(self.client, self.model, id, &[STATE]).await?;
        let state = record
            .as_ref()
            .and_then(|record| record.get(STATE)?.as_str());
        Ok(state.map(str::to_owned))
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
        // A right that was taken away is nobody's fault among the records; one to delete may be held back for good.
        if right != Right::Delete && !check::may(self.client, self.model, right).await? {
            return Err(Error::new(
                Kind::Unauthorized,
                format!(
                    "the user may not {} records of `{}`",
                    right.verb(),
                    self.model
                ),
            )
            .help(check::HELP));
        }
        let at = positions.first().copied().unwrap_or(0);
        Ok(Narrowed::One(
            at,
            match fault {
                Fault::Concurrency | Fault::Gone(_) => Refused::Changed,
                fault => Refused::Words(words(fault)),
            },
        ))
    }
}

/// Lists of at most so many, in their order.
fn portions<T>(all: Vec<T>, max: usize) -> VecDeque<Vec<T>> {
    let mut portions: VecDeque<Vec<T>> = VecDeque::new();
    for one in all {
        match portions.back_mut() {
            Some(last) if last.len() < max => last.push(one),
            _ => portions.push_back(vec![one]),
        }
    }
    portions
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
        Fault::Gone(_) => "the record is gone".to_owned(),
        Fault::Exception(text) => format!("the server failed: {text}"),
        Fault::Other(error) => error.to_string(),
    }
}
