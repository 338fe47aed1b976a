//! Templates: texts with `{name}` in them.

use lockstep_http_client::Path;

/// The names that a template fills in.
pub(crate) fn names(template: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut rest = template;
    while let Some((_, after)) = rest.split_once('{') {
        let Some((name, after)) = after.split_once('}') else {
            break;
        };
        names.push(name);
        rest = after;
    }
    names
}

/// The template with its names replaced; a name that is not known stays as it is.
pub(crate) fn fill(template: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let mut text = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        text.push_str(before);
        let filled = after
            .split_once('}')
            .and_then(|(name, behind)| Some((value(name)?, behind)));
        match filled {
            Some((value, behind)) => {
                text.push_str(&value);
                rest = behind;
            }
            None => {
                text.push('{');
                rest = after;
            }
        }
    }
    text + rest
}

/// A path whose filled-in segments are encoded, and hidden from messages.
pub(crate) fn path(template: &str, value: impl Fn(&str) -> Option<String>) -> Path {
    let segments = template.split('/').filter(|segment| !segment.is_empty());
    segments.fold(Path::default(), |path, segment| {
        if names(segment).is_empty() {
            path.then(segment)
        } else {
            path.value(fill(segment, &value))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_filled_in_once() {
        let value = |name: &str| match name {
            "id" => Some("{other}/ä".to_owned()),
            "other" => Some("no".to_owned()),
            _ => None,
        };
        assert_eq!(fill("a {id} {what} {", value), "a {other}/ä {what} {");
        assert_eq!(names("x/{id}/{a.b}.json{"), ["id", "a.b"]);
        assert_eq!(
            format!("{:?}", path("/v1/things/{id}", value)),
            "v1/things/…"
        );
    }
}
