//! `${NAME}` and `${file:path}` inside texts; `$${` is a plain `${`.
//!
//! What they stand for is a secret until proven otherwise: no finding shows it, and the caller is told which values came in so that it can strike them from texts of others.

use std::path::Path;

use lockstep_core::connector::Secret;

use super::surroundings::Surroundings;

/// Why a text could not be filled in: code, message, help.
pub(super) type Unfilled = (&'static str, String, String);

/// A text that was filled in, and the values used.
pub(super) type Filled = (String, Vec<Secret<String>>);

/// Fills in a text. Gives `None` where there is nothing to fill in, and the values used otherwise.
///
/// # Errors
/// A variable that is not set, a file that cannot be read, or a `${` without its end.
pub(super) fn fill(
    text: &str,
    folder: &Path,
    world: &dyn Surroundings,
) -> Result<Option<Filled>, Unfilled> {
    if !text.contains("${") {
        return Ok(None);
    }
    let mut filled = String::with_capacity(text.len());
    let mut used = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if let Some(before) = rest[..at].strip_suffix('$') {
            filled.push_str(before);
            filled.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        filled.push_str(&rest[..at]);
        let inside = &rest[at + 2..];
        let Some(end) = inside.find('}') else {
            return Err((
                "LS-G013",
                "`${` has no closing `}`".to_owned(),
                "write `${NAME}`, `${file:path}`, or `$${` for a plain `${`".to_owned(),
            ));
        };
        let value = look_up(&inside[..end], folder, world)?;
        filled.push_str(&value);
        used.push(Secret::new(value));
        rest = &inside[end + 1..];
    }
    filled.push_str(rest);
    Ok(Some((filled, used)))
}

fn look_up(name: &str, folder: &Path, world: &dyn Surroundings) -> Result<String, Unfilled> {
    if let Some(path) = name.strip_prefix("file:") {
        return world
            .read(&folder.join(path))
            // Editors and secret stores end files with a line feed that nobody means.
            .map(|text| text.trim_end_matches(['\n', '\r']).to_owned())
            .map_err(|error| {
                (
                    "LS-G012",
                    format!("the file `{path}` cannot be read: {}", reason(&error)),
                    "create the file, or mend its path or permissions; relative paths start at the configuration's folder".to_owned(),
                )
            });
    }
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !name.is_empty();
    if !plain {
        return Err((
            "LS-G013",
            format!("`${{{name}}}` is neither a variable nor a file"),
            "write `${NAME}` with letters, digits and `_`, or `${file:path}`".to_owned(),
        ));
    }
    world.variable(name).ok_or_else(|| {
        (
            "LS-G011",
            format!("the environment variable `{name}` is not set"),
            format!("set it before the start, for example `export {name}=…`"),
        )
    })
}

/// What went wrong with a file, in words that do not depend on the platform.
pub(crate) fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "it does not exist".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        std::io::ErrorKind::InvalidData => error
            .get_ref()
            .map_or_else(|| "it is not UTF-8 text".to_owned(), ToString::to_string),
        std::io::ErrorKind::IsADirectory => "it is a folder".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use lockstep_core::diagnostic::Diagnostic;
    use proptest::prelude::*;

    use super::*;

    struct World;

    impl Surroundings for World {
        fn variable(&self, name: &str) -> Option<String> {
            (name == "USER").then(|| "ann".to_owned())
        }

        fn read(&self, path: &Path) -> io::Result<String> {
            if path == Path::new("conf/pw") {
                Ok("hunter2\r\n".to_owned())
            } else {
                Err(io::ErrorKind::NotFound.into())
            }
        }

        fn contracts(&self, _: &Path) -> io::Result<Vec<(String, io::Result<String>)>> {
            Ok(Vec::new())
        }

        fn contract(
            &self,
            _: &str,
            _: &str,
        ) -> Result<lockstep_core::contract::Loaded, Vec<Diagnostic>> {
            Err(Vec::new())
        }
    }

    fn filled(text: &str) -> Result<String, &'static str> {
        fill(text, Path::new("conf"), &World)
            .map(|some| some.map_or_else(|| text.to_owned(), |(text, _)| text))
            .map_err(|(code, _, _)| code)
    }

    #[test]
    fn variables_files_and_the_escape() {
        for (text, expected) in [
            ("plain $ {x}", Ok("plain $ {x}")),
            ("${USER}@${file:pw}!", Ok("ann@hunter2!")),
            ("$${USER} ${USER}", Ok("${USER} ann")),
            ("${NOBODY}", Err("LS-G011")),
            ("${file:none}", Err("LS-G012")),
            ("a ${USER", Err("LS-G013")),
            ("${}", Err("LS-G013")),
            ("${a-b}", Err("LS-G013")),
        ] {
            assert_eq!(filled(text), expected.map(str::to_owned), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(\\$|\\{|\\}|USER|file:|.)*") {
            let _ = filled(&text);
        }
    }
}
