//! Older majors whose subscribers still hear what is said: those within the sunset that their contract names, and those that the configuration lists.
//!
//! Decides which, in which version, and whether the way down to it exists; publishing is `capture`'s.

use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use lockstep_core::contract::Contract;
use lockstep_core::contract::migrate::Route;

use super::Known;

/// An older major of an entity that is published beside the newest.
#[derive(Debug)]
pub(crate) struct Older {
    /// Its newest version, as which its subscribers get records.
    pub(crate) contract: Arc<Contract>,
    /// The day from which it may be gone; none where the configuration lists it.
    pub(crate) until: Option<Date>,
    /// The way from the newest version down to it, or why there is none.
    pub(crate) route: Result<Route, String>,
}

/// The day by which it is decided whose sunset has come.
#[must_use]
pub(crate) fn today() -> Date {
    jiff::Timestamp::now().to_zoned(TimeZone::UTC).date()
}

/// The majors before `contract`'s that are to be published on a day, from the oldest on; `released` are versions that need not have run here.
#[must_use]
pub(crate) fn older(
    known: &Known,
    released: &[Arc<Contract>],
    contract: &Contract,
    listed: &[u64],
    today: Date,
) -> Vec<Older> {
    let ran = known.of(&contract.entity).iter().map(|kept| &kept.contract);
    // What ran comes last: of one version with two contents, the log's counts.
    let all: Vec<&Arc<Contract>> = released.iter().chain(ran).collect();
    let others: Vec<&Contract> = all.iter().map(|one| &***one).collect();
    let newest_of = |major: u64| {
        let of = all.iter().filter(|one| one.version.major == major);
        of.max_by(|a, b| a.version.cmp(&b.version))
    };
    let majors = (0..contract.version.major).filter_map(newest_of);
    let published = majors.filter_map(|newest| {
        let sunset = newest.terms.deprecation.as_ref().and_then(|d| d.sunset);
        let is_listed = listed.contains(&newest.version.major);
        let until = sunset.filter(|_| !is_listed);
        if !is_listed && until.is_none_or(|until| until <= today) {
            return None;
        }
        Some(Older {
            contract: Arc::clone(newest),
            until,
            route: route(contract, newest, &others),
        })
    });
    published.collect()
}

/// The way down, as long as it is known which lane a record has there.
fn route(from: &Contract, to: &Contract, others: &[&Contract]) -> Result<Route, String> {
    if places(to).is_none() && !has_same_lanes(from, to) {
        return Err(format!(
            "version {} chooses lanes by fields that are no part of the key, and not as version {} does",
            to.version, from.version
        ));
    }
    Route::between(from, to, others).map_err(|faults| {
        let told = faults
            .iter()
            .map(|fault| format!("{}; {}", fault.message, fault.help));
        told.collect::<Vec<_>>().join("; ")
    })
}

/// Where the fields that choose a contract's lanes stand in its key; none where one is no part of it.
#[must_use]
pub(crate) fn places(contract: &Contract) -> Option<Vec<usize>> {
    let place = |field: &usize| contract.key.iter().position(|key| key == field);
    contract.lane_key.iter().map(place).collect()
}

/// Whether every record has the same lane in two versions.
fn has_same_lanes(one: &Contract, other: &Contract) -> bool {
    let names = |contract: &Contract| -> Vec<String> {
        let fields = contract
            .lane_key
            .iter()
            .filter_map(|at| contract.fields.get(*at));
        fields.map(|field| field.name.clone()).collect()
    };
    one.lanes == other.lanes && names(one) == names(other)
}
