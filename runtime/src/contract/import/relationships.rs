//! Relationships in the documents that others wrote: the ends that they get here, and those that are taken out.

use lockstep_core::contract::Reference;
use serde_json::Value as Json;

/// Gives one side of the relationships of an object or a property other names, where `other` knows one.
pub(super) fn relink(node: &mut Json, side: &str, other: &dyn Fn(&str) -> Option<String>) {
    let relationships = node.get_mut("relationships").and_then(Json::as_array_mut);
    let relationships = relationships.into_iter().flatten();
    for end in relationships.filter_map(|one| one.get_mut(side)) {
        let ends = match end {
            Json::Array(ends) => ends.as_mut_slice(),
            one => std::slice::from_mut(one),
        };
        for end in ends {
            if let Some(moved) = end.as_str().and_then(other) {
                *end = moved.into();
            }
        }
    }
}

/// Leads the relationships of a field, in the document of one object, from one reference to another, or takes them out.
pub(super) fn redirect(
    document: &mut Json,
    field: &str,
    before: &Reference,
    now: Option<&Reference>,
) {
    let before = written(before);
    let now = now.map(written);
    let Some(object) = document.pointer_mut("/schema/0") else {
        return;
    };
    let of_field = |from: &str| from.rsplit('.').next() == Some(field);
    replace(object, &before, now.as_deref(), &|one| {
        one.get("from").and_then(single).is_some_and(of_field)
    });
    let properties = object.get_mut("properties").and_then(Json::as_array_mut);
    for property in properties.into_iter().flatten() {
        if property.get("name").and_then(Json::as_str) == Some(field) {
            replace(property, &before, now.as_deref(), &|_| true);
        }
    }
}

fn replace(node: &mut Json, before: &str, now: Option<&str>, is_meant: &dyn Fn(&Json) -> bool) {
    let Some(own) = node.as_object_mut() else {
        return;
    };
    let Some(list) = own.get_mut("relationships").and_then(Json::as_array_mut) else {
        return;
    };
    list.retain_mut(|one| {
        let meant = is_meant(one) && one.get("to").and_then(single) == Some(before);
        if let (true, Some(now), Some(to)) = (meant, now, one.get_mut("to")) {
            match to {
                Json::Array(ends) => *ends = vec![now.into()],
                one => *one = now.into(),
            }
        }
        !meant || now.is_some()
    });
    if list.is_empty() {
        own.shift_remove("relationships");
    }
}

/// The only name that a side of a relationship has.
fn single(side: &Json) -> Option<&str> {
    match side {
        Json::Array(ends) => match ends.as_slice() {
            [one] => one.as_str(),
            _ => None,
        },
        one => one.as_str(),
    }
}

fn written(reference: &Reference) -> String {
    format!("{}.{}", reference.entity, reference.field)
}
