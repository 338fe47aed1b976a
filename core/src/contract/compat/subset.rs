//! Whether one set of values is part of another.
//!
//! *Yes* is only said where it is proved for every value, *no* only with a value that was tried on both sides.

use bigdecimal::{BigDecimal, ToPrimitive as _};
use serde_json::Value as Json;

use super::members::{self, some};
use super::set::{Arrays, Bound, Numbers, Objects, Set, Strings, divides};
use super::texts::{Found, TEXT_MAX, Texts};

/// Most values of a list that others are compared with one by one.
const LISTED_MAX: usize = 2_000;
/// Values tried where nothing is proved.
const TRIES: usize = 24;

/// The answer to whether one set is part of another.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Answer {
    /// It is.
    Yes,
    /// It is not: this value is in the one and not in the other.
    No(Json),
    /// Nothing could be shown.
    Unproven,
}

impl Answer {
    /// The answer to both questions.
    fn and(self, other: impl FnOnce() -> Answer) -> Answer {
        match self {
            Answer::No(_) => self,
            Answer::Yes => other(),
            Answer::Unproven => match other() {
                no @ Answer::No(_) => no,
                _ => Answer::Unproven,
            },
        }
    }
}

/// Whether every value of `a` is in `b`.
pub(super) fn part(a: &Set, b: &Set) -> Answer {
    let outside = |values: Vec<Json>| values.into_iter().find(|v| a.holds(v) && !b.holds(v));
    if a.values.is_some() && !a.unread && !b.unread {
        let all = some(a, usize::MAX);
        return outside(all.values).map_or(Answer::Yes, Answer::No);
    }
    if a.unread || b.unread {
        return outside(some(a, TRIES).values).map_or(Answer::Unproven, Answer::No);
    }
    if let Some(listed) = &b.values {
        if listed.len() > LISTED_MAX {
            return outside(some(a, TRIES).values).map_or(Answer::Unproven, Answer::No);
        }
        // One more than are listed: if they are all in, there are no others.
        let all = some(a, listed.len() + 1);
        let complete = all.complete;
        return match outside(all.values) {
            Some(value) => Answer::No(value),
            None if complete => Answer::Yes,
            None => Answer::Unproven,
        };
    }
    strings(a, b)
        .and(|| numbers(a, b))
        .and(|| {
            if a.boolean && !b.boolean {
                Answer::No(true.into())
            } else {
                Answer::Yes
            }
        })
        .and(|| objects(a, b))
        .and(|| arrays(a, b))
        .and(|| {
            if a.null && !b.null {
                Answer::No(Json::Null)
            } else {
                Answer::Yes
            }
        })
}

/// A value that was made to be in the one and not in the other, once it is tried.
fn tried(a: &Set, b: &Set, value: Option<Json>) -> Answer {
    match value {
        Some(value) if a.holds(&value) && !b.holds(&value) => Answer::No(value),
        _ => Answer::Unproven,
    }
}

/// What both sets say of one type, or the answer where one of them does not take it; `only` is the set of such values alone.
fn both<'s, T>(
    a: &Set,
    b: &Set,
    of: (Option<&'s T>, Option<&'s T>),
    only: impl Fn(&T) -> Set,
) -> Result<(&'s T, &'s T), Answer> {
    match of {
        (None, _) => Err(Answer::Yes),
        (Some(from), None) => Err(none_of(a, b, &only(from))),
        (Some(from), Some(to)) => Ok((from, to)),
    }
}

/// All members of a type are outside.
fn none_of(a: &Set, b: &Set, only: &Set) -> Answer {
    let members = some(only, TRIES);
    if members.is_empty() {
        return Answer::Yes;
    }
    let first = members.values.into_iter().find(|value| a.holds(value));
    tried(a, b, first)
}

fn numbers(a: &Set, b: &Set) -> Answer {
    let only = |from: &Numbers| Set {
        number: Some(from.clone()),
        ..Set::default()
    };
    let (from, to) = match both(a, b, (a.number.as_ref(), b.number.as_ref()), only) {
        Ok(pair) => pair,
        Err(answer) => return answer,
    };
    if from.integer {
        return integers(a, b, from, to);
    }
    if from.step.is_none() && is_inside(from, to) {
        return Answer::Yes;
    }
    let bounds = [&from.low, &from.high, &to.low, &to.high].map(Option::as_ref);
    let found = members::around(&bounds)
        .into_iter()
        .find(|number| a.holds(number) && !b.holds(number));
    tried(a, b, found)
}

/// Whether a range of any numbers lies in the other.
fn is_inside(from: &Numbers, to: &Numbers) -> bool {
    if let (Some(low), Some(high)) = (&from.low, &from.high) {
        if low.at > high.at || (low.at == high.at && (low.exclusive || high.exclusive)) {
            return true;
        }
        if low.at == high.at {
            return to.holds(&low.at);
        }
    }
    let covers = |mine: &Option<Bound>,
                  theirs: &Option<Bound>,
                  beyond: fn(&BigDecimal, &BigDecimal) -> bool| {
        match (mine, theirs) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(mine), Some(theirs)) => {
                beyond(&mine.at, &theirs.at)
                    || (mine.at == theirs.at && (mine.exclusive || !theirs.exclusive))
            }
        }
    };
    !to.integer
        && to.step.is_none()
        && covers(&from.low, &to.low, |mine, theirs| mine > theirs)
        && covers(&from.high, &to.high, |mine, theirs| mine < theirs)
}

fn integers(a: &Set, b: &Set, from: &Numbers, to: &Numbers) -> Answer {
    if from.step.as_ref().is_some_and(|step| !step.is_integer()) {
        return Answer::Unproven;
    }
    let (low, high, step) = members::whole(from);
    if let (Some(low), Some(high)) = (&low, &high)
        && low > high
    {
        return Answer::Yes;
    }
    let json = |number: BigDecimal| number.to_i64().map(Json::from);
    // The ends tell about bounds, two neighbours about steps.
    let near = match (&low, &high) {
        (Some(low), _) => [low.clone(), low + &step],
        (None, Some(high)) => [high.clone(), high - &step],
        (None, None) => [BigDecimal::from(0), step.clone()],
    };
    let mut candidates: Vec<BigDecimal> =
        [low.clone(), high.clone()].into_iter().flatten().collect();
    candidates.extend(near.clone());
    for bound in [&to.low, &to.high].into_iter().flatten() {
        let at = (&bound.at / &step).with_scale_round(0, bigdecimal::RoundingMode::Down) * &step;
        candidates.extend([&at - &step, at.clone(), &at + &step]);
    }
    candidates.extend([-3i64, -2, -1, 0, 1, 2, 3].map(|n| &step * BigDecimal::from(n)));
    // Small numbers are read more easily, and no validator rounds them.
    candidates.sort_by_key(BigDecimal::abs);
    let found = candidates
        .into_iter()
        .filter_map(json)
        .find(|number| a.holds(number) && !b.holds(number));
    if let Some(found) = found {
        return Answer::No(found);
    }
    let unstepped = Numbers {
        integer: false,
        step: None,
        ..to.clone()
    };
    let bounded = Numbers {
        integer: false,
        step: None,
        low: low.map(|at| Bound {
            at,
            exclusive: false,
        }),
        high: high.map(|at| Bound {
            at,
            exclusive: false,
        }),
    };
    let single = bounded.low.is_some() && bounded.low == bounded.high;
    let steps = match &to.step {
        None => true,
        Some(coarse) => divides(coarse, &step) || (single && divides(coarse, &near[0])),
    };
    if steps && is_inside(&bounded, &unstepped) {
        Answer::Yes
    } else {
        Answer::Unproven
    }
}

fn strings(a: &Set, b: &Set) -> Answer {
    let only = |from: &Strings| Set {
        string: Some(from.clone()),
        ..Set::default()
    };
    let (from, to) = match both(a, b, (a.string.as_ref(), b.string.as_ref()), only) {
        Ok(pair) => pair,
        Err(answer) => return answer,
    };
    if from.most.is_some_and(|most| from.least > most) {
        return Answer::Yes;
    }
    let mine: Vec<String> = from.patterns.iter().cloned().collect();
    let mut answer = Answer::Yes;
    for pattern in to.patterns.difference(&from.patterns) {
        answer = answer.and(|| matches(a, b, from, &mine, pattern));
    }
    if to.least > from.least {
        let most = Some((to.least - 1).min(from.most.unwrap_or(u64::MAX)));
        answer = answer.and(|| long(a, b, &mine, from.least, most));
    }
    if let Some(most) = to.most
        && from.most.is_none_or(|mine| mine > most)
    {
        let least = from.least.max(most.saturating_add(1));
        answer = answer.and(|| long(a, b, &mine, least, from.most));
    }
    answer
        .and(|| formed(a, b, from, to))
        .and(|| in_time(a, b, from, to))
}

/// Whether the texts of `a` match a pattern of `b`.
fn matches(a: &Set, b: &Set, from: &Strings, mine: &[String], pattern: &String) -> Answer {
    // An automaton is dear; most breaks are shown by a text that everybody knows.
    let known = members::TEXTS.into_iter().map(Json::from);
    if let Some(text) = known
        .into_iter()
        .find(|text| a.holds(text) && !b.holds(text))
    {
        return Answer::No(text);
    }
    let Some(outside) = Texts::build(mine, std::slice::from_ref(pattern)) else {
        return search(a, b);
    };
    match outside.one(from.least, from.most) {
        Found::Nothing => Answer::Yes,
        Found::Unknown => search(a, b),
        Found::Text(text) => {
            let text = Json::from(text);
            if a.holds(&text) {
                return tried(a, b, Some(text));
            }
            // Not every text of the patterns is a day of the calendar or in the bounds.
            let (more, complete) = outside.some(4_000, from.least, from.most);
            let found = more.into_iter().map(Json::from).find(|text| a.holds(text));
            match found {
                None if complete => Answer::Yes,
                found => tried(a, b, found),
            }
        }
    }
}

/// Whether `a` has no text of such a length, which `b` does not allow.
fn long(a: &Set, b: &Set, mine: &[String], least: u64, most: Option<u64>) -> Answer {
    if most.is_some_and(|most| least > most) {
        return Answer::Yes;
    }
    if mine.is_empty() {
        let text = usize::try_from(least.min(TEXT_MAX)).map(|length| "a".repeat(length));
        return tried(a, b, text.ok().map(Json::from));
    }
    let Some(texts) = Texts::build(mine, &[]) else {
        return search(a, b);
    };
    match texts.one(least, most) {
        Found::Nothing => Answer::Yes,
        Found::Unknown => search(a, b),
        Found::Text(text) => {
            let text = Json::from(text);
            if a.holds(&text) {
                return tried(a, b, Some(text));
            }
            let (more, complete) = texts.some(4_000, least, most);
            let found = more.into_iter().map(Json::from).find(|text| a.holds(text));
            match found {
                None if complete => Answer::Yes,
                found => tried(a, b, found),
            }
        }
    }
}

/// Whether the texts of `a` have a format that patterns do not say in full.
fn formed(a: &Set, b: &Set, from: &Strings, to: &Strings) -> Answer {
    match to.format.as_deref() {
        Some("date" | "date-time") if from.format != to.format => {
            let all = some(a, TRIES);
            let found = all.values.into_iter().find(|v| a.holds(v) && !b.holds(v));
            match found {
                None if all.complete => Answer::Yes,
                found => tried(a, b, found),
            }
        }
        _ => Answer::Yes,
    }
}

fn in_time(a: &Set, b: &Set, from: &Strings, to: &Strings) -> Answer {
    let above = to
        .low
        .is_none_or(|low| from.low.is_some_and(|mine| mine >= low));
    let below = to
        .high
        .is_none_or(|high| from.high.is_some_and(|mine| mine <= high));
    let none = matches!((from.low, from.high), (Some(low), Some(high)) if low > high);
    if none || (above && below) {
        return Answer::Yes;
    }
    // The ends of both ranges and what stands just beside them.
    let ends = [from.low, from.high, to.low, to.high];
    let candidates = ends.into_iter().flatten().flat_map(|at| {
        [0, -1, 1, -1_000_000_000, 1_000_000_000]
            .into_iter()
            .map(move |step: i128| at.saturating_add(step))
    });
    let found = candidates
        .flat_map(|at| members::in_time(from, at).collect::<Vec<_>>())
        .find(|text| a.holds(text) && !b.holds(text));
    match found {
        Some(text) => Answer::No(text),
        None if same_form(from, to) && is_in_domain(from, to) => Answer::Yes,
        None => Answer::Unproven,
    }
}

fn same_form(from: &Strings, to: &Strings) -> bool {
    from.patterns == to.patterns && from.format == to.format
}

/// Whether the bounds of `to` lie at or beyond the first and last moment there is.
fn is_in_domain(from: &Strings, to: &Strings) -> bool {
    const DAY: i128 = 86_400_000_000_000;
    const FIRST: i128 = -62_167_219_200_000_000_000;
    const LAST: i128 = 253_402_207_200_999_999_999;
    let (first, last) = if from.format.as_deref() == Some("date-time") {
        (FIRST, LAST)
    } else {
        (0, DAY - 1)
    };
    to.low
        .is_none_or(|low| low <= from.low.unwrap_or(first).max(first))
        && to
            .high
            .is_none_or(|high| high >= from.high.unwrap_or(last).min(last))
}

/// Looks for a value outside where nothing can be proved.
fn search(a: &Set, b: &Set) -> Answer {
    let found = some(a, TRIES)
        .values
        .into_iter()
        .find(|value| a.holds(value) && !b.holds(value));
    found.map_or(Answer::Unproven, Answer::No)
}

fn arrays(a: &Set, b: &Set) -> Answer {
    let only = |from: &Arrays| Set {
        array: Some(Box::new(from.clone())),
        ..Set::default()
    };
    let (from, to) = match both(a, b, (a.array.as_deref(), b.array.as_deref()), only) {
        Ok(pair) => pair,
        Err(answer) => return answer,
    };
    let most = longest(from);
    if most.is_some_and(|most| from.least > most) {
        return Answer::Yes;
    }
    let mut answer = Answer::Yes;
    if to.least > from.least {
        answer = answer.and(|| tried(a, b, members::list(from, None, from.least)));
    }
    if let Some(limit) = to.most
        && most.is_none_or(|most| most > limit)
    {
        let length = from.least.max(limit.saturating_add(1));
        answer = answer.and(|| tried(a, b, members::list(from, None, length)));
    }
    if most != Some(0)
        && let Some(items) = &to.items
    {
        let anything = Set::everything();
        let mine = from.items.as_ref().unwrap_or(&anything);
        answer = answer.and(|| match part(mine, items) {
            Answer::No(item) => tried(a, b, members::list(from, Some(item), from.least.max(1))),
            other => other,
        });
    }
    if to.unique && !from.unique && most.is_none_or(|most| most > 1) {
        let list = members::list(from, None, from.least.max(2));
        answer = answer.and(|| tried(a, b, list));
    }
    answer
}

/// Most items that a list of the set can really have.
fn longest(set: &Arrays) -> Option<u64> {
    let Some(items) = &set.items else {
        return set.most;
    };
    let few = some(items, 64);
    if !few.complete {
        return set.most;
    }
    let kinds = few.values.len() as u64;
    let limit = (kinds == 0 || set.unique).then_some(kinds);
    match (limit, set.most) {
        (Some(limit), Some(most)) => Some(limit.min(most)),
        (limit, most) => limit.or(most),
    }
}

fn objects(a: &Set, b: &Set) -> Answer {
    let only = |from: &Objects| Set {
        object: Some(Box::new(from.clone())),
        ..Set::default()
    };
    let (from, to) = match both(a, b, (a.object.as_deref(), b.object.as_deref()), only) {
        Ok(pair) => pair,
        Err(answer) => return answer,
    };
    if some(&only(from), 1).is_empty() {
        return Answer::Yes;
    }
    let mut answer = Answer::Yes;
    for name in to.required.difference(&from.required) {
        answer = answer.and(|| tried(a, b, members::object(from, &[], Some(name))));
    }
    let mut names: Vec<&String> = from.members.keys().chain(to.members.keys()).collect();
    names.sort();
    names.dedup();
    for name in names {
        answer = answer.and(|| member(a, b, from, to, name));
    }
    // A name that neither side knows stands for all of them.
    let mut other = "other".to_owned();
    while from.members.contains_key(&other) || to.members.contains_key(&other) {
        other.push('_');
    }
    answer = answer.and(|| member(a, b, from, to, &other));
    answer.and(|| counts(a, b, from, to))
}

fn member(a: &Set, b: &Set, from: &Objects, to: &Objects, name: &str) -> Answer {
    let Some(theirs) = to.member(name) else {
        return Answer::Yes;
    };
    let anything = Set::everything();
    match part(from.member(name).unwrap_or(&anything), theirs) {
        Answer::No(value) => tried(a, b, members::object(from, &[(name, value)], None)),
        other => other,
    }
}

fn counts(a: &Set, b: &Set, from: &Objects, to: &Objects) -> Answer {
    let closed = from
        .others
        .as_ref()
        .is_some_and(|others| some(others, 1).is_empty());
    // Of a closed object with all its members required the count is fixed.
    let fewest = from.least.max(from.required.len() as u64);
    let greatest = match (closed, from.most) {
        (true, Some(most)) => Some(most.min(from.members.len() as u64)),
        (true, None) => Some(from.members.len() as u64),
        (false, most) => most,
    };
    let mut answer = Answer::Yes;
    if to.least > fewest {
        answer = answer.and(|| tried(a, b, members::object(from, &[], None)));
    }
    if let Some(limit) = to.most
        && greatest.is_none_or(|greatest| greatest > limit)
    {
        let made = members::sized(from, &[], None, limit.saturating_add(1).max(from.least));
        answer = answer.and(|| tried(a, b, made));
    }
    answer
}
