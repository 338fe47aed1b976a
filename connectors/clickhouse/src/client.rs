//! The protocol: queries over the server's HTTP interface, and what its errors mean.
//!
//! Every answer is held back by the server until the query has ended, so that trouble in the middle of it is a status and not a broken row.

use lockstep_core::connector::{OpenContext, Secret};
use lockstep_core::{Error, Kind, Result};
use lockstep_http_client::{Answer, Auth, Budget, Client, Settings, Url};

use crate::config::Config;
use crate::form::Version;
use crate::tsv::{self, Field};

/// The oldest server that this was tried with.
const OLDEST: Version = Version(18, 16);

/// Longest query text that the server is asked to take.
const QUERY_MAX: &str = "67108864";

/// Most characters of the server's words that an error carries.
const WORDS_MAX: usize = 300;

/// A server's database.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    http: Client,
    parameters: Vec<(String, String)>,
    pub(crate) database: String,
    pub(crate) version: Version,
}

/// What the server said, for whoever has to tell one refusal from another.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server says: {words}")]
pub(crate) struct Refusal {
    /// The server's number for it.
    pub(crate) code: u32,
    /// Its words, without values of rows.
    pub(crate) words: String,
}

impl Server {
    /// Connects, and asks how old the server is.
    pub(crate) async fn open(config: &Config, cx: &OpenContext) -> Result<Server> {
        config.check()?;
        let base = Url::parse(&config.url).map_err(|error| {
            Error::config("`url` is no address")
                .because(error)
                .help("write it as `https://host:8443`")
        })?;
        let http = Client::new(Settings {
            system: cx.system.clone(),
            base,
            auth: Auth::Basic {
                user: config.user.clone(),
                password: config
                    .password
                    .clone()
                    .unwrap_or_else(|| Secret::new(String::new())),
            },
            budget: Budget {
                concurrent: config.connections,
                ..Budget::default()
            },
            body_max: config.answer_max,
            headers: vec![("accept".to_owned(), "*/*".to_owned())],
            ca_file: config.ca_file.as_ref().map(|file| cx.folder.join(file)),
            ..Settings::default()
        })?;
        let own = [
            ("database", config.database.as_str()),
            ("wait_end_of_query", "1"),
            ("max_query_size", QUERY_MAX),
        ];
        let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let given = config.settings.clone();
        let mut server = Server {
            http,
            parameters: own.into_iter().chain(given).collect(),
            database: config.database.clone(),
            version: OLDEST,
        };
        let told = server.rows("SELECT version()").await?;
        let told = told
            .first()
            .and_then(|row| row.first())
            .cloned()
            .flatten()
            .unwrap_or_default();
        let told = String::from_utf8_lossy(&told).into_owned();
        server.version = Version::parse(&told).ok_or_else(|| {
            Error::config("this is no ClickHouse server")
                .help("let `url` name the server's HTTP interface, port 8123 or 8443")
        })?;
        if server.version < OLDEST {
            return Err(Error::unsupported(format!("the server is version {told}"))
                .help("version 18.16 or later is wanted"));
        }
        Ok(server)
    }

    /// Asks for rows.
    pub(crate) async fn rows(&self, sql: &str) -> Result<Vec<Vec<Field>>> {
        let answer = self
            .send(format!("{sql} FORMAT TabSeparated").into_bytes(), &[])
            .await?;
        Ok(tsv::rows(&answer.body))
    }

    /// Runs a statement.
    pub(crate) async fn run(&self, sql: &str) -> Result<()> {
        self.send(sql.as_bytes().to_vec(), &[]).await.map(drop)
    }

    /// Sends rows: `head` is the `INSERT` with its columns.
    pub(crate) async fn insert(&self, head: &str, rows: &[&[u8]]) -> Result<()> {
        let mut body = format!("{head} FORMAT TabSeparated\n").into_bytes();
        rows.iter().for_each(|row| body.extend_from_slice(row));
        // Instants before 1970 have no other exact form; servers without the finer type need none.
        let reads_instants: &[(&str, &str)] = if self.version.has_datetime64() {
            &[("date_time_input_format", "best_effort")]
        } else {
            &[]
        };
        self.send(body, reads_instants).await.map(drop)
    }

    async fn send(&self, body: Vec<u8>, more: &[(&str, &str)]) -> Result<Answer> {
        // Whatever is sent here may reach the server twice: rows carry their versions.
        let request = self
            .http
            .post("")
            .query(&self.parameters)
            .query(more)
            .body(body, "text/plain; charset=utf-8")
            .safe_to_repeat(true)
            .accept_status(&[400, 401, 403, 404, 500, 501, 503]);
        let answer = request.send().await?;
        if answer.status == 200 {
            return Ok(answer);
        }
        Err(failure(
            answer.status,
            &String::from_utf8_lossy(&answer.body),
        ))
    }
}

/// What an answer that is none means.
fn failure(status: u16, body: &str) -> Error {
    let Some(refusal) = Refusal::parse(body) else {
        let kind = match status {
            401 | 403 => Kind::Unauthorized,
            404 | 400 | 501 => Kind::Config,
            _ => Kind::Transient,
        };
        return Error::new(kind, format!("the address answered with status {status}, and not as ClickHouse does"))
            .help("let `url` name the server's HTTP interface, port 8123 or 8443; a proxy before it may be at fault");
    };
    let (kind, help) = refusal.meaning();
    let error = Error::new(kind, "the server refused a query")
        .with("code", refusal.code)
        .because(refusal);
    if help.is_empty() {
        error
    } else {
        error.help(help)
    }
}

impl Refusal {
    /// Reads `Code: 60, e.displayText() = DB::Exception: …` and its younger like.
    fn parse(body: &str) -> Option<Refusal> {
        let rest = body.trim_start().strip_prefix("Code: ")?;
        let digits = rest.split(|char: char| !char.is_ascii_digit()).next()?;
        let code = digits.parse().ok()?;
        let words = rest
            .split_once("DB::Exception: ")
            .map_or("", |(_, words)| words);
        Some(Refusal {
            code,
            words: shown(code, words),
        })
    }

    /// What an error of ours underneath was.
    pub(crate) fn of(error: &Error) -> Option<&Refusal> {
        std::error::Error::source(error)?.downcast_ref()
    }

    /// Whether a row is at fault, and not the query.
    pub(crate) fn is_of_a_row(&self) -> bool {
        matches!(
            self.code,
            6 | 26 | 27 | 38 | 41 | 53 | 69 | 70 | 72 | 117 | 131 | 190 | 349 | 407 | 441 | 469
        )
    }

    fn meaning(&self) -> (Kind, &'static str) {
        match self.code {
            192..=195 | 516 => (Kind::Unauthorized, "correct `user` and `password`"),
            164 | 291 | 497 => (
                Kind::Unauthorized,
                "grant the user what it lacks: SELECT, INSERT and TRUNCATE on the tables, CREATE TABLE and ALTER where tables are made",
            ),
            16 | 47 | 60 | 81 => (Kind::Config, "make what is missing, or correct its name"),
            115 => (Kind::Config, "correct `settings`"),
            201 | 202 | 203 | 252 => (Kind::Throttled, ""),
            3
            | 23
            | 32
            | 74
            | 96
            | 159
            | 209
            | 210
            | 225
            | 236
            | 241
            | 242
            | 243
            | 252..=254
            | 285
            | 286
            | 297
            | 319
            | 394
            | 425
            | 999 => (Kind::Transient, ""),
            _ if self.is_of_a_row() => (Kind::Invalid, ""),
            _ => (Kind::Unexpected, ""),
        }
    }
}

/// The server's words as far as they hold no values of rows.
fn shown(code: u32, words: &str) -> String {
    let words = match code {
        // Names of tables, columns, users and constraints; what follows may be values.
        469 => words.split("Column values").next().unwrap_or_default(),
        16 | 47 | 60 | 81 | 115 | 164 | 192..=195 | 201 | 202 | 241 | 242 | 252 | 497 | 516 => {
            words
        }
        _ => return format!("error {code}"),
    };
    let line = words.lines().next().unwrap_or_default();
    let line = line.split(", e.what()").next().unwrap_or_default();
    format!(
        "error {code}: {}",
        line.chars().take(WORDS_MAX).collect::<String>().trim_end()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_server_are_told_apart() {
        let table = [
            (
                500,
                "Code: 60, e.displayText() = DB::Exception: Table default.x doesn't exist., e.what() = DB::Exception",
                Kind::Config,
            ),
            (
                401,
                "Code: 192, e.displayText() = DB::Exception: Unknown user x, e.what() = DB::Exception",
                Kind::Unauthorized,
            ),
            (
                403,
                "Code: 516. DB::Exception: default: Authentication failed: password is incorrect. (AUTHENTICATION_FAILED)",
                Kind::Unauthorized,
            ),
            (
                500,
                "Code: 252. DB::Exception: Too many parts (300). Merges are processing significantly slower than inserts. (TOO_MANY_PARTS)",
                Kind::Throttled,
            ),
            (
                500,
                "Code: 241. DB::Exception: Memory limit (total) exceeded (MEMORY_LIMIT_EXCEEDED)",
                Kind::Transient,
            ),
            (
                500,
                "Code: 27. DB::Exception: Cannot parse input: expected '\\t' before: 'secret'",
                Kind::Invalid,
            ),
            (503, "<html>bad gateway</html>", Kind::Transient),
            (404, "<html>no such page</html>", Kind::Config),
        ];
        for (status, body, kind) in table {
            let error = failure(status, body);
            assert_eq!(error.kind(), kind, "{body}");
            assert!(
                !error.chain().contains("secret") && !error.chain().contains("e.what"),
                "{}",
                error.chain()
            );
        }
    }

    #[test]
    fn a_broken_rule_is_named_without_the_row() {
        let said = "Code: 469. DB::Exception: Constraint `positive` for table shop.t (9f) is violated at row 1. Expression: (x > 0). Column values: x = -12345. (VIOLATED_CONSTRAINT)";
        let refusal = Refusal::parse(said).unwrap();
        assert!(
            refusal.is_of_a_row() && refusal.words.contains("`positive`"),
            "{refusal}"
        );
        assert!(!refusal.words.contains("12345"), "{refusal}");
    }
}
