//! What the tests share: a stand-in of Stripe, what stands between it and the connector, and calls of its own.

#![allow(dead_code, reason = "every test uses a part of it")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use lockstep_core::connector::{OpenContext, RawConfig, Secret};
use lockstep_http_client::{Auth, Budget, Client, Settings, Url};
use lockstep_servers::stripe::{KEY, Kind, Server};
use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) path: String,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// What becomes of a request.
#[derive(Clone, Debug)]
pub(crate) enum Fate {
    /// It is passed on.
    Pass,
    /// It is answered at once: status, headers, body.
    Answer(u16, &'static str, String),
    /// It is passed on, and the answer is lost.
    DoneAndCut,
    /// The connection ends before it is passed on.
    Cut,
    /// The answer ends in its middle.
    Half,
}

type Rule = Box<dyn FnMut(&Asked) -> Fate + Send>;

/// Stands between the connector and a server, and sees every request.
pub(crate) struct Between {
    pub(crate) port: u16,
    rule: Arc<Mutex<Rule>>,
    seen: Arc<Mutex<Vec<Asked>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Between {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Between {
    /// Passes everything on to a port of this machine.
    pub(crate) async fn to(upstream: Option<u16>) -> Between {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let pass: Rule = Box::new(|_| Fate::Pass);
        let rule = Arc::new(Mutex::new(pass));
        let seen: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (rules, all) = (Arc::clone(&rule), Arc::clone(&seen));
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (rules, all) = (Arc::clone(&rules), Arc::clone(&all));
                tokio::spawn(async move {
                    // Whoever goes away in the middle is no concern of a test.
                    let _ = serve(stream, upstream, &rules, &all).await;
                });
            }
        });
        Between {
            port,
            rule,
            seen,
            task,
        }
    }

    /// Decides from now on by this rule.
    pub(crate) fn rule(&self, rule: impl FnMut(&Asked) -> Fate + Send + 'static) {
        *self.rule.lock().unwrap() = Box::new(rule);
    }

    /// The requests so far that fulfil something.
    pub(crate) fn count(&self, which: impl Fn(&Asked) -> bool) -> u64 {
        self.seen
            .lock()
            .unwrap()
            .iter()
            .filter(|asked| which(asked))
            .count() as u64
    }

    /// How many writes were asked for.
    pub(crate) fn writes(&self) -> u64 {
        self.count(|asked| asked.method != "GET")
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

async fn serve(
    mut stream: TcpStream,
    upstream: Option<u16>,
    rule: &Mutex<Rule>,
    seen: &Mutex<Vec<Asked>>,
) -> std::io::Result<()> {
    let Some((asked, bytes)) = read(&mut stream).await? else {
        return Ok(());
    };
    seen.lock().unwrap().push(asked.clone());
    let fate = (rule.lock().unwrap())(&asked);
    let answer = match (&fate, upstream) {
        (Fate::Answer(status, headers, body), _) => format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
        .into_bytes(),
        (Fate::Cut, _) | (_, None) => return Ok(()),
        (_, Some(port)) => {
            let mut server = TcpStream::connect(("127.0.0.1", port)).await?;
            server.write_all(&bytes).await?;
            let mut answer = Vec::new();
            server.read_to_end(&mut answer).await?;
            answer
        }
    };
    match fate {
        Fate::DoneAndCut => Ok(()),
        Fate::Half => stream.write_all(&answer[..answer.len() - 20]).await,
        _ => stream.write_all(&answer).await,
    }
}

/// Reads one request; gives it with its bytes, as it is passed on over a connection of its own.
async fn read(stream: &mut TcpStream) -> std::io::Result<Option<(Asked, Vec<u8>)>> {
    let mut bytes = Vec::new();
    let head = loop {
        let mut part = [0; 4096];
        let read = stream.read(&mut part).await?;
        if read == 0 {
            return Ok(None);
        }
        bytes.extend_from_slice(&part[..read]);
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let text = String::from_utf8_lossy(&bytes[..head]).into_owned();
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse().ok())?
    });
    let length: usize = length.unwrap_or(0);
    while bytes.len() < head + length {
        let mut part = [0; 4096];
        let read = stream.read(&mut part).await?;
        if read == 0 {
            return Ok(None);
        }
        bytes.extend_from_slice(&part[..read]);
    }
    let mut words = text.split_whitespace();
    let asked = Asked {
        method: words.next().unwrap_or_default().to_owned(),
        path: words.next().unwrap_or_default().to_owned(),
        body: String::from_utf8_lossy(&bytes[head..]).into_owned(),
        head: text.clone(),
    };
    let mut passed = text.trim_end().to_owned().into_bytes();
    passed.extend_from_slice(b"\r\nConnection: close\r\n\r\n");
    passed.extend_from_slice(&bytes[head..]);
    Ok(Some((asked, passed)))
}

/// A stand-in, and what stands before it.
pub(crate) struct Stand {
    pub(crate) server: Server,
    pub(crate) between: Between,
    client: Client,
}

impl Stand {
    /// Starts one; none where it is not installed.
    pub(crate) async fn start(kind: Kind) -> Option<Stand> {
        let server = Server::start(kind)?;
        let between = Between::to(Some(server.port())).await;
        let client = Client::new(Settings {
            system: format!("test-{}", server.port()),
            base: Url::parse(&server.url()).unwrap(),
            auth: Auth::Bearer(Secret::new(KEY.to_owned())),
            budget: Budget {
                per_second: None,
                concurrent: 8,
                ..Budget::default()
            },
            ..Settings::default()
        })
        .unwrap();
        Some(Stand {
            server,
            between,
            client,
        })
    }

    pub(crate) fn config(&self, more: &Json) -> RawConfig {
        config(&self.between.url(), more)
    }

    /// Makes an object through the system's own interface.
    pub(crate) async fn make(&self, path: &str, pairs: &[(&str, &str)]) -> Json {
        let request = self
            .client
            .post(path)
            .form(pairs)
            .accept_status(&[400, 404, 409]);
        let answer = request.send().await.unwrap();
        if answer.body.is_empty() {
            Json::Null
        } else {
            answer.json().unwrap()
        }
    }

    /// A customer with a card and, where asked for, a subscription that has been paid; gives its id.
    pub(crate) async fn customer(&self, email: &str, subscribed: bool) -> String {
        let plan = [
            ("id", "plan_tea"),
            ("amount", "500"),
            ("currency", "eur"),
            ("interval", "month"),
            ("product[name]", "Tea"),
        ];
        self.make("v1/plans", &plan).await;
        let customer = self.make("v1/customers", &[("email", email)]).await;
        let customer = customer["id"].as_str().unwrap().to_owned();
        let card = [
            ("source[object]", "card"),
            ("source[number]", "4242424242424242"),
            ("source[exp_month]", "12"),
            ("source[exp_year]", "2030"),
            ("source[cvc]", "123"),
        ];
        self.make(&format!("v1/customers/{customer}/sources"), &card)
            .await;
        if subscribed {
            let pairs = [
                ("customer", customer.as_str()),
                ("items[0][plan]", "plan_tea"),
            ];
            self.make("v1/subscriptions", &pairs).await;
        }
        customer
    }

    pub(crate) async fn delete(&self, path: &str) {
        self.client.delete(path).send().await.unwrap();
    }

    /// Every object of a list, by the system's own interface.
    pub(crate) async fn all(&self, list: &str) -> Vec<Json> {
        let query = [("limit", "100")];
        let mut all: Vec<Json> = Vec::new();
        loop {
            let mut request = self.client.get(list).query(&query);
            if let Some(last) = all.last() {
                request = request.query(&[("starting_after", last["id"].as_str().unwrap())]);
            }
            let page: Json = request.send().await.unwrap().json().unwrap();
            all.extend(page["data"].as_array().unwrap().iter().cloned());
            if page["has_more"] != json!(true) {
                return all;
            }
        }
    }
}

pub(crate) fn config(url: &str, more: &Json) -> RawConfig {
    let mut config: RawConfig = [
        ("api_key".to_owned(), json!(KEY)),
        ("url".to_owned(), json!(url)),
        ("calls_per_second".to_owned(), json!(1000)),
        ("calls_at_once".to_owned(), json!(4)),
    ]
    .into();
    config.extend(more.as_object().unwrap().clone());
    config
}

pub(crate) fn context(system: &str, tables: &[&str]) -> OpenContext {
    OpenContext {
        system: system.to_owned(),
        folder: ".".into(),
        tables: tables.iter().map(|table| (*table).to_owned()).collect(),
        reads: BTreeMap::new(),
    }
}
