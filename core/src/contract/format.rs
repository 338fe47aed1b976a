//! Forms of text that a contract can ask for by name.
//!
//! A form is a few patterns and a greatest length, so the compiled check and every JSON Schema validator judge it alike, those that take `format` for a remark included.
//! Forms that no pattern says exactly stay remarks and are not listed here.

use std::fmt;

use regex::Regex;

use super::{Format, pattern};

/// A compiled form.
#[derive(Debug)]
pub(super) struct FormatCheck {
    format: Format,
    patterns: Vec<Regex>,
}

const OCTET: &str = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
/// A label of a host name: two hyphens in the third and fourth place are kept for encoded names.
const LABEL: &str = "(?:[Xx][Nn]--[A-Za-z0-9-]{0,58}[A-Za-z0-9]|[A-Za-z0-9](?:[A-Za-z0-9]|[A-Za-z0-9-]{1,2}[A-Za-z0-9]|[A-Za-z0-9-](?:[A-Za-z0-9][A-Za-z0-9-]|-[A-Za-z0-9])[A-Za-z0-9-]{0,58}[A-Za-z0-9])?)";
const ATOM: &str = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+";
/// A character of a URI's user and host, of its path, and of its query.
const NAME: &str = "(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})";
const PATH: &str = "(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})";
const QUERY: &str = "(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})";

impl Format {
    /// Every form: mail addresses without quoted local parts and address literals, host names by RFC 1123, IPv6 by RFC 4291, absolute URIs by RFC 3986.
    pub const ALL: [Format; 5] = [
        Format::Email,
        Format::Hostname,
        Format::Ipv4,
        Format::Ipv6,
        Format::Uri,
    ];

    /// The form of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Format> {
        Format::ALL.into_iter().find(|format| format.name() == name)
    }

    /// Its name in contracts and JSON Schemas.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Format::Email => "email",
            Format::Hostname => "hostname",
            Format::Ipv4 => "ipv4",
            Format::Ipv6 => "ipv6",
            Format::Uri => "uri",
        }
    }

    /// Most characters, where there is a limit.
    #[must_use]
    pub fn max_length(self) -> Option<u64> {
        match self {
            Format::Email => Some(254),
            Format::Hostname => Some(253),
            Format::Ipv4 | Format::Ipv6 | Format::Uri => None,
        }
    }

    /// Patterns that a text of the form matches, all of them.
    #[must_use]
    pub fn patterns(self) -> Vec<String> {
        let host = format!(r"{LABEL}(?:\.{LABEL})*");
        match self {
            Format::Email => vec![
                "^[^@]{1,64}@".to_owned(),
                format!(r"^{ATOM}(?:\.{ATOM})*@{host}$"),
            ],
            Format::Hostname => vec![format!("^{host}$")],
            Format::Ipv4 => vec![format!("^{}$", ipv4())],
            Format::Ipv6 => vec![format!("^{}$", ipv6())],
            Format::Uri => vec![uri()],
        }
    }

    /// Compiles the form's check.
    pub(super) fn compile(self) -> Result<FormatCheck, String> {
        let patterns = self.patterns();
        let patterns = patterns.iter().map(|pattern| pattern::compile(pattern));
        Ok(FormatCheck {
            format: self,
            patterns: patterns.collect::<Result<_, _>>()?,
        })
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FormatCheck {
    pub(super) fn holds(&self, text: &str) -> bool {
        let most = self.format.max_length().unwrap_or(u64::MAX);
        // What matches is ASCII, so its bytes are its characters.
        text.len() as u64 <= most && self.patterns.iter().all(|pattern| pattern.is_match(text))
    }

    pub(super) fn name(&self) -> &'static str {
        self.format.name()
    }
}

fn ipv4() -> String {
    format!(r"(?:{OCTET}\.){{3}}{OCTET}")
}

fn ipv6() -> String {
    const H: &str = "[0-9A-Fa-f]{1,4}";
    let last = format!("(?:{H}:{H}|{})", ipv4());
    let mut forms = vec![format!("(?:{H}:){{6}}{last}")];
    // What stands before `::` has so many groups at most as are missing behind it.
    let before = |most: usize| match most {
        0 => String::new(),
        1 => format!("(?:{H})?"),
        most => format!("(?:(?:{H}:){{0,{}}}{H})?", most - 1),
    };
    for groups in (0..=5).rev() {
        forms.push(format!(
            "{}::(?:{H}:){{{groups}}}{last}",
            before(5 - groups)
        ));
    }
    forms.push(format!("{}::{H}", before(6)));
    forms.push(format!("{}::", before(7)));
    format!("(?:{})", forms.join("|"))
}

fn uri() -> String {
    let host = format!(r"(?:\[{}\]|{NAME}*)", ipv6());
    let authority = format!("(?:(?:{NAME}|:)*@)?{host}(?::[0-9]*)?");
    let hier =
        format!("(?://{authority}(?:/{PATH}*)*|/(?:{PATH}+(?:/{PATH}*)*)?|{PATH}+(?:/{PATH}*)*)?");
    format!(r"^[A-Za-z][A-Za-z0-9+.-]*:{hier}(?:\?{QUERY}*)?(?:#{QUERY}*)?$")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn holds(format: Format, text: &str) -> bool {
        format.compile().unwrap().holds(text)
    }

    #[test]
    fn what_people_write_is_judged_as_they_mean_it() {
        let long = format!("{}.org", "a".repeat(64));
        for (format, good, bad) in [
            (
                Format::Email,
                &["ann@example.org", "a.b+c@x-y.de", "o'neil@mail.example"][..],
                &[
                    "",
                    "ann",
                    "@b.de",
                    "a@",
                    ".a@b.de",
                    "a..b@c.de",
                    "a b@c.de",
                    "a@b..de",
                    "a@-b.de",
                ][..],
            ),
            (
                Format::Hostname,
                &["example.org", "a", "xn--bcher-kva.example", "a-b.c1"],
                &["", "-a", "a-", "a..b", "a_b", "ab--c", &long],
            ),
            (
                Format::Ipv4,
                &["0.0.0.0", "192.168.1.255"],
                &["256.1.1.1", "1.1.1", "01.1.1.1", "1.1.1.1."],
            ),
            (
                Format::Ipv6,
                &[
                    "::",
                    "::1",
                    "2001:db8::8a2e:370:7334",
                    "1:2:3:4:5:6:7:8",
                    "::ffff:1.2.3.4",
                    "1::",
                ],
                &[
                    "",
                    ":",
                    "1:2:3:4:5:6:7",
                    "::1::",
                    "12345::",
                    "1:2:3:4:5:6:7:8:9",
                    "::1%eth0",
                ],
            ),
            (
                Format::Uri,
                &[
                    "https://example.org/a?b=c#d",
                    "urn:isbn:1",
                    "mailto:a@b.c",
                    "http://[::1]:80/",
                ],
                &[
                    "",
                    "example.org",
                    "//a/b",
                    "http://a b",
                    "http://[1]/",
                    "a:%zz",
                ],
            ),
        ] {
            for text in good {
                assert!(holds(format, text), "{format} {text}");
            }
            for text in bad {
                assert!(!holds(format, text), "{format} {text}");
            }
        }
    }

    #[test]
    fn a_form_is_found_by_its_name() {
        for format in Format::ALL {
            assert_eq!(Format::named(format.name()), Some(format));
        }
        assert_eq!(Format::named("password"), None);
    }

    fn text() -> impl Strategy<Value = (Format, String)> {
        prop_oneof![
            ("[a-c.@+-]{0,8}|[a-z]{1,4}@[a-z-]{1,4}(\\.[a-z]{1,3}){0,2}")
                .prop_map(|text| (Format::Email, text)),
            "([a-z0-9-]{1,5}\\.?){0,4}".prop_map(|text| (Format::Hostname, text)),
            "([0-9]{1,3}\\.?){0,5}".prop_map(|text| (Format::Ipv4, text)),
            "([0-9a-f]{0,4}:{0,2}){0,9}(1\\.2\\.3\\.4)?".prop_map(|text| (Format::Ipv6, text)),
            "[a-z]{0,3}:?/{0,2}[a-z@%:.?#/0-9A-F -]{0,12}".prop_map(|text| (Format::Uri, text)),
        ]
    }

    proptest! {
        #[test]
        fn whoever_asserts_formats_judges_alike((format, text) in text()) {
            let schema = serde_json::json!({ "format": format.name() });
            let theirs = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
            let ours = holds(format, &text);
            // Encoded names are taken without decoding them.
            if !text.contains("xn--") && ours {
                prop_assert!(theirs.is_valid(&text.clone().into()), "{} {}", format, text);
            }
            if matches!(format, Format::Ipv4 | Format::Ipv6) {
                prop_assert_eq!(ours, theirs.is_valid(&text.clone().into()), "{} {}", format, text);
            }
        }
    }
}
