//! References between the resources of one document, by name alone: nothing is ever fetched.

/// A reference against a base, as far as schemas in one document need it.
pub(super) fn join(base: &str, reference: &str) -> String {
    if reference.is_empty() {
        return base.to_owned();
    }
    if has_scheme(reference) {
        return reference.to_owned();
    }
    let base = base.split(['#', '?']).next().unwrap_or_default();
    let (head, path) = match base.find("://") {
        Some(at) => {
            let rest = &base[at + 3..];
            let slash = rest.find('/').map_or(base.len(), |slash| at + 3 + slash);
            base.split_at(slash)
        }
        None if has_scheme(base) => return format!("{base}?{reference}"),
        None => ("", base),
    };
    if reference.starts_with('/') {
        return format!("{head}{reference}");
    }
    let folder = path.rfind('/').map_or("", |at| &path[..=at]);
    let folder = if folder.is_empty() && !head.is_empty() {
        "/"
    } else {
        folder
    };
    let mut parts: Vec<&str> = Vec::new();
    let joined = format!("{folder}{reference}");
    for part in joined.split('/') {
        match part {
            "." => {}
            ".." => {
                if parts.len() > 1 {
                    parts.pop();
                }
            }
            other => parts.push(other),
        }
    }
    format!("{head}{}", parts.join("/"))
}

fn has_scheme(text: &str) -> bool {
    let Some((scheme, _)) = text.split_once(':') else {
        return false;
    };
    scheme.starts_with(|letter: char| letter.is_ascii_alphabetic())
        && scheme
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || "+-.".contains(letter))
}

/// A fragment with its percent signs decoded; `None` where that gives no text.
pub(super) fn decode(fragment: &str) -> Option<String> {
    if !fragment.contains('%') {
        return Some(fragment.to_owned());
    }
    let mut bytes = Vec::with_capacity(fragment.len());
    let mut rest = fragment.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            let digits = std::str::from_utf8(&digits).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_joined_as_uris_are() {
        for (base, reference, joined) in [
            ("http://a/b/c.json", "d.json", "http://a/b/d.json"),
            ("http://a/b/c.json", "/d.json", "http://a/d.json"),
            ("http://a/b/c.json", "../d.json", "http://a/d.json"),
            ("http://a", "d.json", "http://a/d.json"),
            ("", "d.json", "d.json"),
            ("http://a/b", "urn:x:y", "urn:x:y"),
            ("b/c", "d", "b/d"),
        ] {
            assert_eq!(join(base, reference), joined, "{base} {reference}");
        }
    }
}
