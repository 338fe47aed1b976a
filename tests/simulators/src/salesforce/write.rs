//! JSON as the vendor writes it.

use serde_json::Value as Json;

/// JSON as the vendor writes it: large and small numbers with an exponent.
pub(super) fn text(json: &Json) -> String {
    match json {
        Json::Number(number) if number.is_f64() => double(number.as_f64().unwrap_or_default()),
        Json::Array(all) => {
            let parts: Vec<String> = all.iter().map(text).collect();
            format!("[{}]", parts.join(","))
        }
        Json::Object(members) => {
            let parts = members
                .iter()
                .map(|(name, value)| format!("{}:{}", Json::from(name.as_str()), text(value)));
            format!("{{{}}}", parts.collect::<Vec<_>>().join(","))
        }
        other => other.to_string(),
    }
}

fn double(number: f64) -> String {
    let size = number.abs();
    if size != 0.0 && !(1e-3..1e7).contains(&size) {
        let text = format!("{number:E}");
        return match text.split_once('E') {
            Some((digits, exponent)) if !digits.contains('.') => format!("{digits}.0E{exponent}"),
            _ => text,
        };
    }
    format!("{number:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_the_vendor_does() {
        for (number, expected) in [
            (0.0, "0.0"),
            (12.5, "12.5"),
            (560_000_000.0, "5.6E8"),
            (10_000_000.0, "1.0E7"),
            (0.0001, "1.0E-4"),
            (-12_345_678.9, "-1.23456789E7"),
        ] {
            assert_eq!(double(number), expected);
        }
    }
}
