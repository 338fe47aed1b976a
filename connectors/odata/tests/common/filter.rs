//! Conditions and orders of the stand-in: comparisons joined by `and` and `or`.

use std::cmp::Ordering;

use serde_json::Value as Json;

/// The records that fulfil a condition; an error for one that cannot be read.
pub(crate) fn filtered(records: &[Json], text: Option<&str>) -> Result<Vec<Json>, ()> {
    let Some(text) = text else {
        return Ok(records.to_vec());
    };
    let words = words(text);
    let mut kept = Vec::new();
    for record in records {
        let mut at = 0;
        if any(&words, &mut at, record)? {
            kept.push(record.clone());
        }
        if at < words.len() {
            return Err(());
        }
    }
    Ok(kept)
}

pub(crate) fn ordered(records: &mut [Json], order: &str) {
    records.sort_by(|a, b| {
        let each = order.split(',').map(|one| {
            let (name, is_back) = one
                .split_once(' ')
                .map_or((one, false), |(name, way)| (name, way == "desc"));
            let side = compare(&a[name], &text(&b[name]));
            if is_back { side.reverse() } else { side }
        });
        each.fold(Ordering::Equal, Ordering::then)
    });
}

fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let (mut word, mut is_quoted) = (String::new(), false);
    for c in text.chars() {
        is_quoted ^= c == '\'';
        if is_quoted || !matches!(c, ' ' | '(' | ')') {
            word.push(c);
            continue;
        }
        words.extend(Some(std::mem::take(&mut word)).filter(|word| !word.is_empty()));
        if c != ' ' {
            words.push(c.to_string());
        }
    }
    words.extend(Some(word).filter(|word| !word.is_empty()));
    words
}

fn any(words: &[String], at: &mut usize, record: &Json) -> Result<bool, ()> {
    let mut is = all(words, at, record)?;
    while words.get(*at).is_some_and(|word| word == "or") {
        *at += 1;
        is |= all(words, at, record)?;
    }
    Ok(is)
}

fn all(words: &[String], at: &mut usize, record: &Json) -> Result<bool, ()> {
    let mut is = one(words, at, record)?;
    while words.get(*at).is_some_and(|word| word == "and") {
        *at += 1;
        is &= one(words, at, record)?;
    }
    Ok(is)
}

fn one(words: &[String], at: &mut usize, record: &Json) -> Result<bool, ()> {
    if words.get(*at).is_some_and(|word| word == "(") {
        *at += 1;
        let is = any(words, at, record)?;
        *at += 1;
        return Ok(is);
    }
    let [name, sign, literal] = words.get(*at..*at + 3).ok_or(())? else {
        return Err(());
    };
    *at += 3;
    let held = record.pointer(&format!("/{name}")).unwrap_or(&Json::Null);
    if literal == "null" || held.is_null() {
        let is_null = held.is_null() && literal == "null";
        return Ok(match sign.as_str() {
            "eq" => is_null,
            "ne" => !is_null,
            _ => false,
        });
    }
    let literal = match literal
        .strip_prefix('\'')
        .and_then(|text| text.strip_suffix('\''))
    {
        Some(text) => text.replace("''", "'"),
        None => literal.clone(),
    };
    let side = compare(held, &literal);
    Ok(match sign.as_str() {
        "eq" => side.is_eq(),
        "ne" => side.is_ne(),
        "lt" => side.is_lt(),
        "le" => side.is_le(),
        "gt" => side.is_gt(),
        "ge" => side.is_ge(),
        _ => return Err(()),
    })
}

fn text(value: &Json) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn compare(held: &Json, literal: &str) -> Ordering {
    match (held.as_f64(), literal.parse::<f64>()) {
        (Some(held), Ok(literal)) => held.total_cmp(&literal),
        _ => text(held).as_str().cmp(literal),
    }
}
