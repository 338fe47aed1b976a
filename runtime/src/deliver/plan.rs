//! What a delivery does at the moment: the contract's version that its target gets, and the mapping compiled for the table as it is.
//!
//! A target's table may have changed since the start, and fields may have been taken along from a source; both are looked at whenever a life of the delivery begins.

use std::sync::Arc;

use lockstep_core::Change;
use lockstep_core::Shape;
use lockstep_core::connector::{DynSink, Incarnation};
use lockstep_core::contract::drift::{
    self, Action, Decision, Expected, Kind, Side, compare, with_columns,
};
use lockstep_core::contract::migrate::{Fault, MIGRATION, Route};
use lockstep_core::contract::{Contract, Outcome, Violation};
use lockstep_core::error::{Error, Result};
use lockstep_core::gate::{Mapping, WritePlan};

use super::{Delivery, refill};
use crate::quarantine::Entry;
use crate::versions::{Table, target_key, terms};

/// What a life of a delivery works with.
#[derive(Clone, Debug)]
pub(super) struct Current {
    /// The contract, in the version that the target gets.
    pub(super) contract: Arc<Contract>,
    /// The target's table.
    pub(super) shape: Arc<Shape>,
    /// From records to rows.
    pub(super) write: Arc<WritePlan>,
    /// What tells the table and its columns from others of their names.
    pub(super) incarnation: Option<Incarnation>,
}

impl Delivery {
    /// Looks at the target's table, adds what the policy lets be added, and compiles the mapping.
    ///
    /// # Errors
    /// A table that does not fit: the delivery is held, or ends.
    pub(super) async fn current(&self, sink: &dyn DynSink) -> Result<Current> {
        let (contract, mapping) = self.version();
        let mut now = self.discover(sink, &mapping.table).await?;
        let key = target_key(&self.plan.flow, &self.plan.to);
        let terms = terms(&contract, &mapping);
        let seen = self.versions.table(&key).await?;
        let mut incarnation = sink.incarnation(&mapping.table).await?;
        let again = match &seen {
            Some(seen) => {
                let place = (key.as_str(), &mapping);
                self.losses(place, seen, &now, incarnation.as_ref()).await?
            }
            None => None,
        };
        let applied_to = seen.as_ref().and_then(|seen| seen.incarnation.clone());
        let known = seen.filter(|known| known.terms == terms);
        // Once more behind what is added; a table that lacks it even then is held.
        for added in [false, true] {
            let expected = Expected {
                contract: &contract,
                mapping: &mapping,
                values: &self.plan.values,
                side: Side::Target,
                before: known.as_ref().map(|known| &known.shape),
                policy: self.plan.policy,
            };
            let mut drifts = compare(expected, &now);
            drifts.retain(|drift| drift.kind != Kind::Ok);
            let (flow, to) = (&self.plan.flow, &self.plan.to);
            self.board.flow_fits(flow, to, &contract, drifts.clone());
            match self.plan.policy.decide(&drifts) {
                Decision::GoOn => break,
                Decision::Add(columns) if !added => {
                    let names: Vec<&str> = columns.iter().map(|c| c.name.as_str()).collect();
                    let names = names.join(", ");
                    tracing::info!(flow, to, table = mapping.table, names, "columns are added");
                    sink.add_columns(&mapping.table, &columns).await?;
                    now = self.discover(sink, &mapping.table).await?;
                    incarnation = sink.incarnation(&mapping.table).await?;
                }
                Decision::Add(_) => return Err(held("the columns that were added are not there")),
                Decision::Hold(reason) => return Err(held(&reason)),
                Decision::Fail(reason) => return Err(crate::drift::failed(&reason)),
            }
        }
        let write = WritePlan::compile(&mapping, &contract, &now, &self.plan.values);
        let write = write.map_err(|problems| {
            let first = problems.first().map(|problem| problem.message.as_str());
            held(first.unwrap_or("the mapping does not fit the table"))
        })?;
        let (whole, columns) = incarnation.clone().map_or_else(Default::default, |now| {
            let columns = refill::mapped(&mapping, now.columns);
            (Some(now.table), columns)
        });
        let table = Table {
            shape: known.map_or_else(|| (*now).clone(), |known| known.shape),
            terms,
            version: contract.version.clone(),
            again,
            was_held: false,
            // Another one stays unknown until it was seen to that it is filled.
            incarnation: applied_to.or(whole),
            columns,
            writes: refill::writes(&mapping),
            majors: Vec::new(),
            direct: None,
        };
        self.versions.keep_table(&key, table).await?;
        Ok(Current {
            contract,
            shape: now,
            write: Arc::new(write),
            incarnation,
        })
    }

    /// What does not fit of a table that was altered; where it fits as it is now, another life takes it so.
    pub(super) async fn misfit(&self, sink: &dyn DynSink) -> Error {
        match self.current(sink).await {
            Ok(_) => Error::transient("the target's table was altered"),
            Err(error) => error,
        }
    }

    /// Whether fields were taken along since, with a version that the target goes on to.
    pub(super) fn goes_further(&self, current: &Current) -> bool {
        self.version().0.version > current.contract.version
    }

    /// The version that the target gets, and its mapping: with the fields that were taken along, where the target takes additions.
    fn version(&self) -> (Arc<Contract>, Mapping) {
        let plan = &self.plan;
        let known = self.versions.known();
        let newest = known.of(&plan.contract.entity).last();
        let newest = newest.filter(|kept| self.goes_on_to(&kept.contract, &kept.taken));
        let Some(kept) = newest else {
            return (Arc::clone(&plan.contract), plan.mapping.clone());
        };
        let takes = plan.policy.additive == Action::Propagate;
        let taken = kept.taken.iter().map(String::as_str).filter(|_| takes);
        let mapping = with_columns(&plan.mapping, taken);
        (Arc::clone(&kept.contract), mapping)
    }

    /// Whether the target goes on to a version, because it came about by taking columns along.
    pub(super) fn goes_on_to(&self, contract: &Contract, taken: &[String]) -> bool {
        let (own, version) = (&self.plan.contract.version, &contract.version);
        !self.plan.pinned && !taken.is_empty() && version.major == own.major && version > own
    }

    async fn discover(&self, sink: &dyn DynSink, table: &str) -> Result<Arc<Shape>> {
        let shapes = sink.discover().await.map_err(|error| {
            let is_gone = error.error_code() == Some(drift::GONE);
            match self.plan.policy.breaking {
                Action::Fail if is_gone => crate::drift::failed(&error.chain()),
                _ => error,
            }
        })?;
        let now = shapes.into_iter().find(|shape| shape.name == table);
        now.ok_or_else(|| held(&format!("table `{table}` is gone")))
    }

    /// A change from quarantine as the version that the target gets; entries keep the version that they were of.
    pub(super) fn risen(
        &self,
        entry: &Entry,
        contract: &Arc<Contract>,
    ) -> Result<Change, Vec<Violation>> {
        let change = Change {
            // The old row of a key change went with its own tombstone; another record may have that key by now.
            before: None,
            ..entry.change()
        };
        if entry.contract == contract.version.to_string() || *change.shape == *contract.shape() {
            return Ok(change);
        }
        let known = self.versions.known();
        let urn = format!(
            "urn:lockstep:contract:{}:{}",
            contract.entity, entry.contract
        );
        let Some(kept) = known.by_urn(&urn) else {
            let message = format!(
                "version {} of the contract is not known here",
                entry.contract
            );
            return Err(vec![violation(message)]);
        };
        let others = known.of(&contract.entity).iter();
        let others: Vec<&Contract> = others.map(|kept| &*kept.contract).collect();
        let route = Route::between(&kept.contract, contract, &others);
        carried(&change, route.as_ref())
    }
}

/// A change carried over to another version, or why it cannot be.
pub(super) fn carried(
    change: &Change,
    route: Result<&Route, &Vec<Fault>>,
) -> Result<Change, Vec<Violation>> {
    match route {
        Ok(route) => route.change(change),
        Err(faults) => Err(faults
            .iter()
            .map(|fault| violation(format!("{}; {}", fault.message, fault.help)))
            .collect()),
    }
}

fn violation(message: String) -> Violation {
    Violation {
        field: None,
        rule: MIGRATION.to_owned(),
        message,
        outcome: Outcome::Quarantine,
    }
}

/// Whether a target's error may come of its table having been altered: no other kind of trouble is of a kind like this.
pub(super) fn may_be_the_tables(error: &Error) -> bool {
    use lockstep_core::error::Kind;
    matches!(
        error.kind(),
        Kind::Config | Kind::Invalid | Kind::Unsupported | Kind::Unexpected
    )
}

fn held(reason: &str) -> Error {
    Error::config(format!("the target's table does not fit: {reason}"))
        .code(drift::BREAKING)
        .help("change the table, the mapping or the contract; nothing is lost meanwhile")
}
