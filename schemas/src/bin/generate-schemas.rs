//! Writes the JSON Schemas of the canonical contracts and that of contract files, or with `--check` only says which are out of date.
//!
//! Exit codes: 0 up to date or written, 1 out of date, 2 wrong usage, 3 unreadable files.

use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let check = match (arguments.next().as_deref(), arguments.next()) {
        (None, None) => false,
        (Some("--check"), None) => true,
        _ => return say("usage: generate-schemas [--check]", 2),
    };
    let generated =
        lockstep_schemas::generate(&lockstep_schemas::folder(), check).and_then(|mut changed| {
            changed.extend(lockstep_schemas::generate_editor_schema(check)?);
            Ok(changed)
        });
    match generated {
        Ok(changed) if changed.is_empty() => ExitCode::SUCCESS,
        Ok(changed) => {
            let word = if check { "out of date" } else { "written" };
            let lines: Vec<String> = changed
                .iter()
                .map(|path| format!("{word}: {}", path.display()))
                .collect();
            say(&lines.join("\n"), u8::from(check))
        }
        Err(error) => say(&error.to_string(), 3),
    }
}

fn say(text: &str, code: u8) -> ExitCode {
    // Nobody to tell is no reason to fail otherwise than the code says.
    let _ = writeln!(std::io::stderr(), "{text}");
    ExitCode::from(code)
}
