//! What cannot be repeated: finalizing, paying, voiding, cancelling. Decided from the state that was read; pure.
//!
//! An action is only ever taken because the mapping writes a `status`, and only from a state that leads there; one that was reached already is left alone.

use serde_json::Value as Json;

use crate::convert::text;
use crate::table::{Kind, Remove};

/// A call that moves an object on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// `POST …/what`.
    Post(&'static str),
    /// `DELETE`.
    Delete,
}

/// What a removal does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Removal {
    /// The calls that end it.
    pub(crate) steps: Vec<Step>,
    /// Whether the object stays, and gives its identity up instead.
    pub(crate) stays: bool,
    /// Whether it is archived where the steps are refused.
    pub(crate) or_archive: bool,
}

use Step::{Delete, Post};

/// The calls that lead an object to a status; none where it is there.
///
/// # Errors
/// Why no call leads there.
pub(crate) fn towards(kind: &Kind, object: &Json, status: &str) -> Result<Vec<Step>, String> {
    let now = text(object, "status").unwrap_or_default();
    if now == status {
        return Ok(Vec::new());
    }
    let steps: &[Step] = match (kind.object, now, status) {
        ("invoice", "draft", "open") => &[Post("finalize")],
        ("invoice", "draft", "paid") => &[Post("finalize"), Post("pay")],
        ("invoice", "draft", "void") => &[Post("finalize"), Post("void")],
        ("invoice", "open" | "uncollectible", "paid") => &[Post("pay")],
        ("invoice", "open" | "uncollectible", "void") => &[Post("void")],
        ("invoice", "open", "uncollectible") => &[Post("mark_uncollectible")],
        ("payment_intent", "requires_confirmation", "succeeded") => &[Post("confirm")],
        ("payment_intent", "requires_capture", "succeeded") => &[Post("capture")],
        ("payment_intent", _, "canceled") if is_cancellable(now) => &[Post("cancel")],
        ("subscription", now, "canceled") if now != "incomplete_expired" => &[Delete],
        _ => {
            return Err(format!(
                "no call leads from status `{now}` to the one that is wanted"
            ));
        }
    };
    Ok(steps.to_vec())
}

/// What removes an object.
///
/// # Errors
/// Why it cannot be removed.
pub(crate) fn removal(kind: &Kind, object: &Json) -> Result<Removal, String> {
    let gone = |steps: &[Step], or_archive| Removal {
        steps: steps.to_vec(),
        stays: false,
        or_archive,
    };
    let stays = |steps: &[Step]| Removal {
        steps: steps.to_vec(),
        stays: true,
        or_archive: false,
    };
    let status = text(object, "status").unwrap_or_default();
    Ok(match kind.remove {
        Remove::Delete => gone(&[Delete], false),
        Remove::DeleteOrArchive => gone(&[Delete], true),
        Remove::Archive => stays(&[]),
        Remove::End if matches!(status, "canceled" | "incomplete_expired") => stays(&[]),
        Remove::End => stays(&[Delete]),
        Remove::Invoice => match status {
            "draft" => gone(&[Delete], false),
            "void" => stays(&[]),
            "open" | "uncollectible" => stays(&[Post("void")]),
            _ => {
                return Err(format!(
                    "an invoice with status `{status}` cannot be deleted"
                ));
            }
        },
        Remove::Cancel if status == "canceled" => stays(&[]),
        Remove::Cancel if is_cancellable(status) => stays(&[Post("cancel")]),
        Remove::Cancel => {
            return Err(format!(
                "a payment with status `{status}` cannot be cancelled"
            ));
        }
        Remove::Never => return Err(format!("`{}` cannot be deleted", kind.table)),
    })
}

fn is_cancellable(status: &str) -> bool {
    status.starts_with("requires_")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn actions_are_taken_from_where_they_lead_and_never_twice() {
        for (table, now, wanted, steps) in [
            ("invoices", "draft", "open", Some(vec![Post("finalize")])),
            ("invoices", "open", "open", Some(vec![])),
            ("invoices", "paid", "open", None),
            ("invoices", "paid", "paid", Some(vec![])),
            ("invoices", "void", "paid", None),
            (
                "payment_intents",
                "requires_capture",
                "succeeded",
                Some(vec![Post("capture")]),
            ),
            ("payment_intents", "succeeded", "canceled", None),
            ("subscriptions", "active", "canceled", Some(vec![Delete])),
            ("subscriptions", "canceled", "active", None),
        ] {
            let kind = Kind::of(table).unwrap();
            let object = json!({ "status": now });
            assert_eq!(
                towards(kind, &object, wanted).ok(),
                steps,
                "{now} → {wanted}"
            );
        }
    }

    #[test]
    fn what_has_moved_money_is_not_removed() {
        for (table, status) in [
            ("invoices", "paid"),
            ("payment_intents", "succeeded"),
            ("charges", "succeeded"),
            ("refunds", "succeeded"),
        ] {
            let kind = Kind::of(table).unwrap();
            assert!(
                removal(kind, &json!({ "status": status })).is_err(),
                "{table}"
            );
        }
        let kind = Kind::of("subscriptions").unwrap();
        let ended = removal(kind, &json!({ "status": "canceled" })).unwrap();
        assert!(ended.stays && ended.steps.is_empty());
    }
}
