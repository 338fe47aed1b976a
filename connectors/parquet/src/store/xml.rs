//! The little XML that S3 speaks: flat elements with text, read without recursion.

/// The texts of all elements of a name, what is inside them included as it stands.
pub(super) fn elements<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once(&open) {
        let Some((inside, after)) = after.split_once(&close) else {
            break;
        };
        found.push(inside);
        rest = after;
    }
    found
}

/// The text of the first element of a name.
pub(super) fn element(text: &str, name: &str) -> Option<String> {
    elements(text, name).first().map(|inside| unescaped(inside))
}

fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        out.push_str(before);
        let Some((name, after)) = after.split_once(';').filter(|(name, _)| name.len() <= 10) else {
            out.push('&');
            rest = after;
            continue;
        };
        let number =
            name.strip_prefix('#')
                .and_then(|number| match number.strip_prefix(['x', 'X']) {
                    Some(hex) => u32::from_str_radix(hex, 16).ok(),
                    None => number.parse().ok(),
                });
        match (name, number.and_then(char::from_u32)) {
            ("amp", _) => out.push('&'),
            ("lt", _) => out.push('<'),
            ("gt", _) => out.push('>'),
            ("quot", _) => out.push('"'),
            ("apos", _) => out.push('\''),
            (_, Some(c)) => out.push(c),
            _ => {
                out.push('&');
                out.push_str(name);
                out.push(';');
            }
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn elements_are_read_with_their_entities() {
        let text = "<A><K>a&amp;b&#x20;&#233;</K><K>c</K></A><K>open";
        assert_eq!(elements(text, "K"), ["a&amp;b&#x20;&#233;", "c"]);
        assert_eq!(element(text, "K").as_deref(), Some("a&b é"));
        assert_eq!(element(text, "N"), None);
        assert_eq!(unescaped("a & b &nbsp; &"), "a & b &nbsp; &");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".*") {
            element(&text, "K");
            unescaped(&text);
        }
    }
}
