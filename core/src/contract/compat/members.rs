//! Members of a set: made-up values for witnesses, and all of them where they are few.

use bigdecimal::{BigDecimal, Signed as _, ToPrimitive as _};
use serde_json::{Map, Value as Json};

use super::set::{Arrays, Bound, Numbers, Objects, Set, Strings, same};
use super::texts::{TEXT_MAX, Texts};

/// Most items of a made-up list, most members of a made-up object.
const COUNT_MAX: u64 = 4_000;
/// Texts that people know at sight, tried before others are made up.
pub(super) const TEXTS: [&str; 14] = [
    "a",
    "abc",
    "ann@example.com",
    "2024-01-31",
    "12:30:00",
    "2024-01-31T12:30:00Z",
    "01890a5d-ac96-774b-bcce-b302099a8057",
    "1.00",
    "0",
    "192.0.2.1",
    "2001:db8::1",
    "https://example.com/",
    "a-b_c 1",
    "",
];

/// Some members of a set.
#[derive(Debug, Default)]
pub(super) struct Members {
    /// Different members.
    pub(super) values: Vec<Json>,
    /// Whether there are no others.
    pub(super) complete: bool,
}

impl Members {
    fn of(values: Vec<Json>, complete: bool) -> Members {
        Members { values, complete }
    }

    /// Whether it is proved that the set has no member.
    pub(super) fn is_empty(&self) -> bool {
        self.complete && self.values.is_empty()
    }
}

/// Up to `count` members.
pub(super) fn some(set: &Set, count: usize) -> Members {
    if let Some(values) = &set.values {
        let mut all: Vec<Json> = Vec::new();
        for value in values.iter().filter(|value| set.holds(value)) {
            if !all.iter().any(|before| same(before, value)) {
                all.push(value.clone());
            }
        }
        // Null is the least telling member.
        all.sort_by_key(Json::is_null);
        let complete = all.len() <= count && !set.unread;
        all.truncate(count);
        return Members::of(all, complete);
    }
    let mut found = Members::of(Vec::new(), !set.unread);
    let mut add = |more: Members| {
        found.complete &= more.complete;
        for value in more.values {
            if found.values.len() < count {
                found.values.push(value);
            } else {
                found.complete = false;
            }
        }
    };
    if let Some(strings) = &set.string {
        add(texts(strings, count));
    }
    if let Some(numbers) = &set.number {
        add(self::numbers(numbers, count));
    }
    if set.boolean {
        add(Members::of(vec![true.into(), false.into()], true));
    }
    if let Some(objects) = &set.object {
        add(self::objects(objects, count));
    }
    if let Some(arrays) = &set.array {
        add(self::arrays(arrays, count));
    }
    if set.null {
        add(Members::of(vec![Json::Null], true));
    }
    found
}

/// One member, if one is found.
pub(super) fn one(set: &Set) -> Option<Json> {
    some(set, 1).values.pop()
}

/// Values that anything may be; documents are left out, because they would hold anything again.
fn anything() -> Set {
    Set {
        array: None,
        object: None,
        ..Set::everything()
    }
}

fn texts(set: &Strings, count: usize) -> Members {
    let whole = Set {
        string: Some(set.clone()),
        ..Set::default()
    };
    let mut values: Vec<Json> = Vec::new();
    for text in TEXTS {
        let value = Json::from(text);
        if values.len() < count && whole.holds(&value) {
            values.push(value);
        }
    }
    for at in [set.low, set.high].into_iter().flatten() {
        values.extend(in_time(set, at).filter(|value| whole.holds(value)));
    }
    values.truncate(count);
    if values.len() == count {
        return Members::of(values, false);
    }
    if set.patterns.is_empty() && set.least <= TEXT_MAX {
        let most = set.most.unwrap_or(u64::MAX);
        if set.least > most {
            return Members::of(Vec::new(), true);
        }
        if most == 0 {
            return Members::of(vec!["".into()], true);
        }
        let length = set.least.max(1) as usize;
        for i in 0..count {
            let tail = i.to_string();
            let text = match length.checked_sub(tail.len()) {
                Some(rest) => "a".repeat(rest) + &tail,
                None if most >= tail.len() as u64 => tail,
                None => char::from_u32(0x100 + i as u32).map_or(tail, String::from),
            };
            push(&mut values, text.into(), count, &whole);
        }
        return Members::of(values, false);
    }
    let patterns: Vec<String> = set.patterns.iter().cloned().collect();
    let Some(language) = Texts::build(&patterns, &[]) else {
        return Members::of(values, false);
    };
    // Twice as many, because a text of the patterns may be no day of the calendar.
    let (more, complete) = language.some(2 * count + 16, set.least, set.most);
    for text in more {
        push(&mut values, text.into(), count, &whole);
    }
    let full = values.len() == count;
    if values.is_empty()
        && let super::texts::Found::Text(text) = language.one(set.least, set.most)
    {
        push(&mut values, text.into(), count, &whole);
    }
    Members::of(values, complete && !full)
}

fn push(values: &mut Vec<Json>, value: Json, count: usize, set: &Set) {
    if values.len() < count && set.holds(&value) && !values.contains(&value) {
        values.push(value);
    }
}

/// The text of an instant or time of day in the set's form.
pub(super) fn in_time(set: &Strings, at: i128) -> impl Iterator<Item = Json> {
    let stamp = jiff::Timestamp::from_nanosecond(at)
        .ok()
        .map(|at| at.to_string());
    let time = i64::try_from(at)
        .ok()
        .filter(|at| (0..86_400_000_000_000).contains(at))
        .and_then(|at| {
            let span = jiff::SignedDuration::from_nanos(at);
            jiff::civil::Time::midnight().checked_add(span).ok()
        })
        .map(|time| time.to_string());
    let stamped = set.format.as_deref() == Some("date-time");
    let first = if stamped { stamp } else { time };
    first.into_iter().map(Json::from)
}

fn numbers(set: &Numbers, count: usize) -> Members {
    if set.integer {
        return integers(set, count);
    }
    let mut values = Vec::new();
    let whole = Set {
        number: Some(set.clone()),
        ..Set::default()
    };
    for number in around(&[set.low.as_ref(), set.high.as_ref()]) {
        push(&mut values, number, count, &whole);
    }
    for i in 0..4 * count {
        push(&mut values, (i as i64).into(), count, &whole);
    }
    let empty = match (&set.low, &set.high) {
        (Some(low), Some(high)) => {
            low.at > high.at || (low.at == high.at && (low.exclusive || high.exclusive))
        }
        _ => false,
    };
    let point = matches!((&set.low, &set.high), (Some(low), Some(high)) if low.at == high.at);
    let complete = (empty || point) && values.len() < count.max(2) && set.step.is_none();
    values.truncate(count);
    Members::of(values, complete)
}

/// Numbers at and near bounds, and simple ones, the simplest first.
pub(super) fn around(bounds: &[Option<&Bound>]) -> Vec<Json> {
    let mut all: Vec<Json> = vec![1.5.into(), 0.into(), 1.into(), (-1).into(), 0.5.into()];
    let near: Vec<f64> = bounds
        .iter()
        .flatten()
        .filter_map(|bound| bound.at.to_f64())
        .collect();
    for bound in bounds.iter().flatten() {
        if let Some(whole) = bound.at.to_i64().filter(|_| bound.at.is_integer()) {
            all.extend([whole, whole.saturating_add(1), whole.saturating_sub(1)].map(Json::from));
        }
    }
    for a in &near {
        all.extend(
            [
                *a,
                a + 1.0,
                a - 1.0,
                a + 0.5,
                a - 0.5,
                a.next_up(),
                a.next_down(),
            ]
            .map(Json::from),
        );
        all.extend([a * 2.0, a / 2.0].map(Json::from));
        all.extend(near.iter().map(|b| Json::from(a / 2.0 + b / 2.0)));
    }
    all.retain(Json::is_number);
    all
}

/// First and last whole number of the set, and the step between them.
pub(super) fn whole(set: &Numbers) -> (Option<BigDecimal>, Option<BigDecimal>, BigDecimal) {
    let one = BigDecimal::from(1);
    let step = match &set.step {
        Some(step) if step.is_integer() && step.is_positive() => step.clone(),
        _ => one,
    };
    let low = set.low.as_ref().map(|bound| {
        let up = (&bound.at / &step).with_scale_round(0, bigdecimal::RoundingMode::Ceiling) * &step;
        if bound.exclusive && up == bound.at {
            up + &step
        } else {
            up
        }
    });
    let high = set.high.as_ref().map(|bound| {
        let down = (&bound.at / &step).with_scale_round(0, bigdecimal::RoundingMode::Floor) * &step;
        if bound.exclusive && down == bound.at {
            down - &step
        } else {
            down
        }
    });
    (low, high, step)
}

fn integers(set: &Numbers, count: usize) -> Members {
    let (low, high, step) = whole(set);
    let zero = BigDecimal::from(0);
    let inside = |number: &BigDecimal| {
        low.as_ref().is_none_or(|low| low <= number)
            && high.as_ref().is_none_or(|high| number <= high)
    };
    let mut values = Vec::new();
    let json = |number: &BigDecimal| number.to_i64().map(Json::from);
    let small = match (&low, &high) {
        (Some(low), Some(high)) if low > high => return Members::of(values, true),
        (Some(low), Some(high)) => (high - low) / &step < count as u64,
        _ => false,
    };
    // A range across one and zero is shown by its simplest numbers.
    let mut next = match &low {
        Some(low) if small => low.clone(),
        _ if inside(&step) => step.clone(),
        _ if inside(&zero) => zero,
        Some(low) if low.is_positive() => low.clone(),
        _ => high.clone().unwrap_or_default() - &step * BigDecimal::from(count as u64 - 1),
    };
    while values.len() < count && inside(&next) {
        match json(&next) {
            Some(number) => values.push(number),
            None => return Members::of(values, false),
        }
        next += &step;
    }
    if values.is_empty()
        && let Some(number) = high.as_ref().or(low.as_ref()).and_then(json)
    {
        values.push(number);
    }
    Members::of(values, small)
}

fn arrays(set: &Arrays, count: usize) -> Members {
    if set.most.is_some_and(|most| set.least > most) {
        return Members::of(Vec::new(), true);
    }
    if set.most == Some(0) {
        return Members::of(vec![Json::Array(Vec::new())], true);
    }
    let empty = set
        .items
        .as_ref()
        .is_some_and(|items| some(items, 1).is_empty());
    if empty {
        let values = if set.least == 0 {
            vec![Json::Array(Vec::new())]
        } else {
            Vec::new()
        };
        return Members::of(values, true);
    }
    let mut values = Vec::new();
    for length in set.least..set.least.saturating_add(count as u64) {
        let list = list(set, None, length);
        values.extend(list);
        if values.is_empty() || values.len() == count {
            break;
        }
    }
    Members::of(values, false)
}

/// A list of the set's items of this length, beginning with `first`.
pub(super) fn list(set: &Arrays, first: Option<Json>, length: u64) -> Option<Json> {
    if length > COUNT_MAX || set.most.is_some_and(|most| length > most) {
        return None;
    }
    let length = length as usize;
    let anything = anything();
    let items = set.items.as_ref().unwrap_or(&anything);
    let mut all: Vec<Json> = first.into_iter().collect();
    let needed = length.saturating_sub(all.len());
    if needed > 0 && set.unique {
        let more = some(items, length + 1).values;
        for item in more {
            if all.len() < length && !all.iter().any(|before| same(before, &item)) {
                all.push(item);
            }
        }
    } else if needed > 0 {
        let item = one(items)?;
        all.extend(std::iter::repeat_n(item, needed));
    }
    (all.len() == length).then_some(Json::Array(all))
}

fn objects(set: &Objects, count: usize) -> Members {
    for name in &set.required {
        if set.member(name).is_some_and(|set| some(set, 1).is_empty()) {
            return Members::of(Vec::new(), true);
        }
    }
    let most = set.most.unwrap_or(u64::MAX);
    if (set.required.len() as u64).max(set.least) > most {
        return Members::of(Vec::new(), true);
    }
    let mut values: Vec<Json> = object(set, &[], None).into_iter().collect();
    if count > 1 && !values.is_empty() {
        // Others differ in one member.
        let names = set
            .members
            .keys()
            .map(String::as_str)
            .chain(["a", "b", "c", "d"]);
        for name in names {
            let anything = anything();
            for value in some(set.member(name).unwrap_or(&anything), count.min(64)).values {
                let Some(made) = object(set, &[(name, value)], None) else {
                    continue;
                };
                if values.len() < count && !values.contains(&made) {
                    values.push(made);
                }
            }
        }
    }
    Members::of(values, false)
}

/// An object of the set with these members, without another, and otherwise with as little as it must have.
pub(super) fn object(set: &Objects, with: &[(&str, Json)], without: Option<&str>) -> Option<Json> {
    sized(set, with, without, set.least)
}

/// The same with at least `least` members.
pub(super) fn sized(
    set: &Objects,
    with: &[(&str, Json)],
    without: Option<&str>,
    least: u64,
) -> Option<Json> {
    if least > COUNT_MAX {
        return None;
    }
    let anything = anything();
    let mut made = Map::new();
    let member = |name: &str| one(set.member(name).unwrap_or(&anything));
    for name in set.required.iter().filter(|name| without != Some(name)) {
        let given = with.iter().find(|(given, _)| given == name);
        made.insert(
            name.clone(),
            given.map_or_else(|| member(name), |(_, value)| Some(value.clone()))?,
        );
    }
    for (name, value) in with {
        made.insert((*name).to_owned(), value.clone());
    }
    let names: Vec<String> = set.members.keys().cloned().collect();
    let more = (0..COUNT_MAX + 64).map(|i| format!("m{i}"));
    for name in names.into_iter().chain(more) {
        if made.len() as u64 >= least {
            break;
        }
        if without == Some(name.as_str()) || made.contains_key(&name) {
            continue;
        }
        if let Some(value) = member(&name) {
            made.insert(name, value);
        } else if set
            .others
            .as_ref()
            .is_some_and(|others| one(others).is_none())
            && !set.members.contains_key(&name)
        {
            break;
        }
    }
    let enough = made.len() as u64 >= least;
    (enough && set.most.is_none_or(|most| made.len() as u64 <= most)).then(|| Json::Object(made))
}
