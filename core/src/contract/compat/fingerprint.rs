//! The name of a difference, for approvals.
//!
//! Made of the rule, the contract, the part and what it was and is: so it survives rebases, formatting and unrelated changes, and dies when the change differs.

use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};

use super::Finding;

/// Digits of a fingerprint.
const DIGITS: usize = 16;

/// The fingerprint of a finding.
pub(super) fn of(finding: &Finding) -> String {
    let mut hash = Sha256::new();
    for part in [
        finding.rule,
        &finding.contract,
        &finding.pointer,
        &digest(finding.old.as_ref()),
        &digest(finding.new.as_ref()),
    ] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let mut text = hex(&hash.finalize());
    text.truncate(DIGITS);
    text
}

fn digest(part: Option<&Json>) -> String {
    let mut text = String::new();
    if let Some(part) = part {
        canonical(part, &mut text);
    }
    hex(&Sha256::digest(text))
}

/// Writes JSON with sorted names, so that the order of members does not matter.
fn canonical(json: &Json, out: &mut String) {
    match json {
        Json::Object(members) => {
            let mut names: Vec<&String> = members.keys().collect();
            names.sort();
            out.push('{');
            for name in names {
                out.push_str(&Json::from(name.as_str()).to_string());
                out.push(':');
                canonical(&members[name], out);
                out.push(',');
            }
            out.push('}');
        }
        Json::Array(items) => {
            out.push('[');
            for item in items {
                canonical(item, out);
                out.push(',');
            }
            out.push(']');
        }
        other => out.push_str(&other.to_string()),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
