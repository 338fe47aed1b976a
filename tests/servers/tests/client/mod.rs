//! A client of nats-server that can do one request: the protocol is lines of text.

#![expect(clippy::unwrap_used, reason = "a helper of tests, which may panic")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// How long a server may take for anything.
const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) struct Nats {
    stream: BufReader<TcpStream>,
}

impl Nats {
    pub(crate) fn connect(port: u16) -> Nats {
        Nats::try_connect(port, "", "").unwrap()
    }

    /// Nobody when the server refuses the user.
    pub(crate) fn try_connect(port: u16, user: &str, password: &str) -> Option<Nats> {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let mut nats = Nats {
            stream: BufReader::new(stream),
        };
        assert!(nats.line().starts_with("INFO"));
        nats.send(&format!(
            "CONNECT {{\"verbose\":false,\"user\":\"{user}\",\"pass\":\"{password}\"}}\r\nPING\r\n"
        ));
        loop {
            match nats.line().as_str() {
                "PONG" => return Some(nats),
                line if line.starts_with("-ERR") => return None,
                _ => {}
            }
        }
    }

    /// The answer to a request, which is asked again while nobody leads: what is asked here may be done twice.
    pub(crate) fn request(&mut self, subject: &str, payload: &str) -> String {
        let length = payload.len();
        let publish = format!("PUB {subject} answers {length}\r\n{payload}\r\n");
        self.send(&format!("SUB answers 1\r\n{publish}"));
        let started = Instant::now();
        loop {
            while self.stream.fill_buf().is_err() {
                assert!(started.elapsed() < DEADLINE, "no answer from `{subject}`");
                self.send(&publish);
            }
            let line = self.line();
            assert!(!line.starts_with("-ERR"), "{line}");
            if line.starts_with("MSG") {
                let length = line.rsplit(' ').next().unwrap().parse().unwrap();
                let mut bytes = vec![0; length];
                self.stream.read_exact(&mut bytes).unwrap();
                self.send("UNSUB 1\r\n");
                return String::from_utf8(bytes).unwrap();
            }
        }
    }

    fn send(&mut self, text: &str) {
        self.stream.get_mut().write_all(text.as_bytes()).unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}
