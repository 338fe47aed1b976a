//! The log's rules for names, subjects, headers and sizes: pure, and the same for every engine.
//!
//! They are JetStream's rules or stricter ones, so that what the embedded log takes, a server takes too.
//! A refusal is a sentence for [`LogError::Refused`] and [`PublishError::Refused`](super::PublishError::Refused); it names the value and what is accepted.

use std::time::Duration;

use super::{HEADERS_MAX, LogError, MESSAGE_MAX, Message, PAYLOAD_MAX, Result, StreamConfig};

/// Most bytes of a stream's, consumer's or bucket's name.
pub const NAME_MAX: usize = 255;
/// Most bytes of a subject or of a bucket's key.
pub const SUBJECT_MAX: usize = 1024;
/// Most bytes of a message's id.
pub const ID_MAX: usize = 512;

/// Checks the name of a stream, consumer or bucket: letters, digits, `_` and `-`.
///
/// # Errors
/// [`LogError::Refused`], naming it.
pub fn check_name(what: &str, name: &str) -> Result<()> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if name.is_empty() || name.len() > NAME_MAX || !name.bytes().all(fits) {
        return Err(LogError::Refused(format!(
            "{what} name `{}` is not 1 to {NAME_MAX} letters, digits, `_` and `-`",
            shown(name)
        )));
    }
    Ok(())
}

/// Checks a subject without wildcards: tokens of printable characters joined by dots.
///
/// # Errors
/// A sentence naming it.
pub fn check_subject(subject: &str) -> Result<(), String> {
    tokens(subject)?;
    if subject.contains(['*', '>']) {
        return Err(format!(
            "subject `{}` holds a wildcard; only streams and filters may",
            shown(subject)
        ));
    }
    Ok(())
}

/// Checks a bucket's key: letters, digits and `-_/=.`, without an empty part between dots.
///
/// # Errors
/// [`LogError::Refused`], naming it.
pub fn check_key(key: &str) -> Result<()> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_/=.".contains(&byte);
    if key.len() > SUBJECT_MAX || !key.bytes().all(fits) || key.split('.').any(str::is_empty) {
        return Err(LogError::Refused(format!(
            "key `{}` is not 1 to {SUBJECT_MAX} letters, digits and `-_/=.`, without an empty part between dots",
            shown(key)
        )));
    }
    Ok(())
}

/// Checks the size of a bucket's value.
///
/// # Errors
/// [`LogError::Refused`], naming the key.
pub fn check_value(key: &str, value: &[u8]) -> Result<()> {
    if value.len() > PAYLOAD_MAX {
        return Err(LogError::Refused(format!(
            "the value of `{}` has {} bytes, at most {PAYLOAD_MAX} are taken",
            shown(key),
            value.len()
        )));
    }
    Ok(())
}

/// Checks what can be said of a message without knowing its stream.
///
/// # Errors
/// A sentence naming the rule it breaks.
pub fn check_message(message: &Message) -> Result<(), String> {
    check_subject(&message.subject)?;
    if message.payload.len() > MESSAGE_MAX {
        return Err(format!(
            "the payload has {} bytes, at most {MESSAGE_MAX} are taken",
            message.payload.len()
        ));
    }
    check_headers(&message.headers)?;
    if let Some(id) = &message.id {
        if message.expect_last.is_some() {
            return Err("a message has either an id or an expected last sequence; engines differ in which they judge first".into());
        }
        if id.is_empty() || id.len() > ID_MAX || id.chars().any(char::is_control) {
            return Err(format!(
                "message id `{}` is not 1 to {ID_MAX} bytes of printable characters",
                shown(id)
            ));
        }
    }
    match message.ttl {
        Some(ttl) if ttl < Duration::from_secs(1) => Err(format!(
            "a time to live of {ttl:?} is too short, the shortest is 1 s"
        )),
        _ => Ok(()),
    }
}

fn check_headers(headers: &[(String, String)]) -> Result<(), String> {
    // As a server counts them: a version line, then "name: value" lines and an empty one.
    let mut size = 14;
    for (name, value) in headers {
        let fits = |byte: u8| byte.is_ascii_graphic() && byte != b':';
        if name.is_empty() || !name.bytes().all(fits) {
            return Err(format!(
                "header name `{}` is not printable ASCII without blanks and colons",
                shown(name)
            ));
        }
        if name.len() >= 5 && name.as_bytes()[..5].eq_ignore_ascii_case(b"nats-") {
            return Err(format!(
                "header name `{}` belongs to the server; choose one that does not begin with `Nats-`",
                shown(name)
            ));
        }
        if value.chars().any(char::is_control) {
            return Err(format!(
                "header `{}` holds a control character",
                shown(name)
            ));
        }
        size += name.len() + value.len() + 4;
    }
    if size > HEADERS_MAX {
        return Err(format!(
            "the headers have {size} bytes, at most {HEADERS_MAX} are taken"
        ));
    }
    Ok(())
}

/// Checks a stream's declaration and gives the patterns of its subjects.
///
/// # Errors
/// [`LogError::Refused`], naming what is wrong.
pub fn check_stream(config: &StreamConfig) -> Result<Vec<Pattern>> {
    check_name("stream", &config.name)?;
    let patterns = patterns(&config.subjects)?;
    if patterns.is_empty() {
        return Err(LogError::Refused(format!(
            "stream `{}` has no subjects",
            config.name
        )));
    }
    if config.max_per_subject == Some(0) || config.max_bytes == Some(0) {
        return Err(LogError::Refused(format!(
            "stream `{}` would keep nothing: a limit is 0",
            config.name
        )));
    }
    match config.max_age {
        Some(age) if age.is_zero() || age < config.duplicate_window => {
            Err(LogError::Refused(format!(
                "stream `{}` keeps messages for {age:?}, less than its duplicate window of {:?}",
                config.name, config.duplicate_window
            )))
        }
        _ => Ok(patterns),
    }
}

/// Parses patterns none of which overlaps another.
///
/// # Errors
/// [`LogError::Refused`], naming the pattern or the two that overlap.
pub fn patterns(texts: &[String]) -> Result<Vec<Pattern>> {
    let parsed: Vec<Pattern> = texts
        .iter()
        .map(|text| Pattern::parse(text).map_err(LogError::Refused))
        .collect::<Result<_>>()?;
    for (at, one) in parsed.iter().enumerate() {
        if let Some(other) = parsed[..at].iter().position(|other| other.overlaps(one)) {
            return Err(LogError::Refused(format!(
                "subjects `{}` and `{}` overlap; a message would match both",
                texts[other], texts[at]
            )));
        }
    }
    Ok(parsed)
}

/// A subject with wildcards: `*` stands for one token, a final `>` for one or more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    tokens: Vec<Token>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Text(String),
    Any,
    Rest,
}

impl Pattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// A sentence naming it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let tokens: Vec<Token> = tokens(text)?
            .map(|token| match token {
                "*" => Token::Any,
                ">" => Token::Rest,
                _ => Token::Text(token.to_owned()),
            })
            .collect();
        let wild = |token: &Token| matches!(token, Token::Text(text) if text.contains(['*', '>']));
        let last = tokens.len() - 1;
        if tokens.iter().any(wild) || tokens[..last].contains(&Token::Rest) {
            return Err(format!(
                "subject `{}` has a misplaced wildcard: `*` is a whole token, `>` the last one",
                shown(text)
            ));
        }
        Ok(Self { tokens })
    }

    /// Whether a subject without wildcards matches.
    #[must_use]
    pub fn matches(&self, subject: &str) -> bool {
        let mut given = subject.split('.');
        for token in &self.tokens {
            match (token, given.next()) {
                (_, None) => return false,
                (Token::Rest, Some(_)) => return true,
                (Token::Any, Some(_)) => {}
                (Token::Text(wanted), Some(found)) if wanted == found => {}
                (Token::Text(_), Some(_)) => return false,
            }
        }
        given.next().is_none()
    }

    /// Whether some subject matches both.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let mut at = 0;
        loop {
            match (self.tokens.get(at), other.tokens.get(at)) {
                (None, None) => return true,
                (Some(Token::Rest), Some(_)) | (Some(_), Some(Token::Rest)) => return true,
                (None, _) | (_, None) => return false,
                (Some(Token::Text(one)), Some(Token::Text(two))) if one != two => return false,
                _ => at += 1,
            }
        }
    }
}

fn tokens(subject: &str) -> Result<std::str::Split<'_, char>, String> {
    let blank = |c: char| c.is_control() || c.is_whitespace();
    if subject.len() > SUBJECT_MAX
        || subject.contains(blank)
        || subject.split('.').any(str::is_empty)
    {
        return Err(format!(
            "subject `{}` is not 1 to {SUBJECT_MAX} bytes of tokens of printable characters joined by dots",
            shown(subject)
        ));
    }
    Ok(subject.split('.'))
}

/// A value as messages show it: escaped, and not endless.
fn shown(value: &str) -> String {
    const SHOWN_MAX: usize = 80;
    let mut text: String = value.chars().take(SHOWN_MAX).collect();
    if text.len() < value.len() {
        text.push('…');
    }
    text.escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap()
    }

    #[test]
    fn wildcards_stand_for_whole_tokens() {
        for (text, subject, expected) in [
            ("a.b", "a.b", true),
            ("a.b", "a.b.c", false),
            ("a.*", "a.b", true),
            ("a.*", "a", false),
            ("a.*", "a.b.c", false),
            ("*.b", "a.b", true),
            ("a.>", "a", false),
            ("a.>", "a.b", true),
            ("a.>", "a.b.c", true),
            (">", "a.b.c", true),
            ("a.*.c", "a.b.c", true),
            ("a.*.c", "a.b.d", false),
        ] {
            assert_eq!(pattern(text).matches(subject), expected, "{text} {subject}");
        }
    }

    #[test]
    fn overlap_is_a_subject_that_both_match() {
        for (one, two, expected) in [
            ("a.*", "a.b", true),
            ("a.*", "*.b", true),
            ("a.b", "a.c", false),
            ("a.>", "a", false),
            ("a.>", "a.*.c", true),
            ("a.*", "a.*.c", false),
            (">", "x", true),
        ] {
            assert_eq!(
                pattern(one).overlaps(&pattern(two)),
                expected,
                "{one} {two}"
            );
            assert_eq!(
                pattern(two).overlaps(&pattern(one)),
                expected,
                "{two} {one}"
            );
        }
    }

    #[test]
    fn misplaced_wildcards_and_blank_tokens_are_refused() {
        for text in [
            "", ".", "a.", ".a", "a..b", "a b", "a.>.b", "a.b*", ">x", "a\n",
        ] {
            assert!(Pattern::parse(text).is_err(), "{text:?}");
            assert!(check_subject(text).is_err(), "{text:?}");
        }
        assert!(check_subject("a.*").is_err());
        assert!(check_subject(&"a".repeat(SUBJECT_MAX + 1)).is_err());
        assert!(check_subject("ls.obs.crm.größe.v1.0").is_ok());
    }

    proptest! {
        #[test]
        fn what_two_patterns_match_makes_them_overlap(
            one in "[ab*](\\.[ab*]){0,2}(\\.>)?",
            two in "[ab*](\\.[ab*]){0,2}(\\.>)?",
            subject in "[ab](\\.[ab]){0,3}",
        ) {
            let (one, two) = (pattern(&one), pattern(&two));
            if one.matches(&subject) && two.matches(&subject) {
                prop_assert!(one.overlaps(&two));
            }
        }

        #[test]
        fn no_text_makes_the_rules_panic(text in ".{0,100}") {
            let _ = Pattern::parse(&text).map(|pattern| pattern.matches(&text));
            let _ = (check_key(&text), check_name("stream", &text));
        }
    }
}
