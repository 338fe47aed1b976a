//! Associations as columns: the first record of another object, by the number of its id.

use lockstep_core::Result;
use serde_json::{Value as Json, json};

use crate::client::Api;
use crate::table::{LINKED, id};

/// Notes in records what they are associated with.
pub(crate) async fn attach(
    api: &Api,
    table: &str,
    to: &[String],
    records: &mut [Json],
) -> Result<()> {
    if to.is_empty() || records.is_empty() {
        return Ok(());
    }
    let ids: Vec<String> = records.iter().filter_map(id).map(str::to_owned).collect();
    for to in to {
        let links = api.links(table, to, &ids).await?;
        for record in records.iter_mut() {
            let linked = links.iter().find(|(from, _)| id(record) == Some(from));
            let all = linked.map(|(_, all)| all.clone()).unwrap_or_default();
            note(record, to, &all);
        }
    }
    Ok(())
}

/// Notes in a record what it is associated with: the first counts, the others are kept beside it.
pub(crate) fn note(record: &mut Json, to: &str, all: &[String]) {
    let mut all = all.to_vec();
    all.sort_by_key(|id| (id.len(), id.clone()));
    all.dedup();
    record[LINKED][to] = json!(all.first());
    record[LINKED][format!("{to} all")] = json!(all);
}

/// Everything that a record is associated with.
pub(crate) fn all(record: &Json, to: &str) -> Vec<String> {
    let all = record
        .get(LINKED)
        .and_then(|linked| linked.get(format!("{to} all")));
    let ids = all.and_then(Json::as_array).into_iter().flatten();
    ids.filter_map(Json::as_str).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_by_its_number_is_the_one() {
        let mut record = json!({"id": "1"});
        note(
            &mut record,
            "companies",
            &["10", "9", "9"].map(str::to_owned),
        );
        assert_eq!(record[LINKED]["companies"], json!("9"));
        assert_eq!(all(&record, "companies"), ["9", "10"]);
        note(&mut record, "companies", &[]);
        assert_eq!(record[LINKED]["companies"], Json::Null);
    }
}
