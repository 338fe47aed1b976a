//! Worker processes, as many as there are cores: each answers one question at a time and is replaced when it does not.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::Instant;

use super::{Answer, Question};

/// How much more of the processor than its budget a worker may take, to read the question and notice the end.
const GRACE: Duration = Duration::from_millis(100);
/// Bytes of a question that are read in a millisecond, slowly.
const BYTES_PER_MS: u64 = 8 * 1024;
/// How much longer it may take by the clock, on a machine that is busy with other things.
const BUSY: u32 = 10;
/// Most memory of a worker.
const MEMORY_BYTES_MAX: u64 = 1 << 30;
/// How often its memory is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(25);
/// How long a worker may take to come up.
const START: Duration = Duration::from_secs(10);

/// Worker processes that wait, and leave to start more.
pub(super) struct Pool {
    idle: Mutex<Vec<Worker>>,
    leave: Semaphore,
}

struct Worker {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// Why there is no answer.
enum Failure {
    Late,
    Large,
    Died,
}

impl Pool {
    /// A pool of so many workers, none of them started.
    pub(super) fn new(workers: usize) -> Pool {
        Pool {
            idle: Mutex::new(Vec::new()),
            leave: Semaphore::new(workers),
        }
    }

    /// Has a question answered, whatever becomes of the worker.
    pub(super) async fn ask(&self, question: &Question<'_>) -> Answer {
        let Ok(_leave) = self.leave.acquire().await else {
            return Answer::unproven(Some("no worker may be started".to_owned()));
        };
        let text = match serde_json::to_string(question) {
            Ok(text) => text.replace(['\n', '\r'], " ") + "\n",
            Err(error) => {
                return Answer::unproven(Some(format!("the pair cannot be passed on: {error}")));
            }
        };
        let idle = self.idle.lock().await.pop();
        let mut worker = match idle.map_or_else(Worker::start, Ok) {
            Ok(worker) => worker,
            Err(error) => {
                return Answer::unproven(Some(format!("no worker can be started: {error}")));
            }
        };
        let reading = Duration::from_millis(text.len() as u64 / BYTES_PER_MS);
        let allowed = Duration::from_millis(question.budget_ms) + GRACE + reading;
        match worker.ask(&text, allowed).await {
            Ok(answer) => {
                self.idle.lock().await.push(worker);
                answer
            }
            Err(failure) => {
                worker.end().await;
                failure.answer()
            }
        }
    }
}

impl Failure {
    fn answer(self) -> Answer {
        Answer::unproven(match self {
            // Time is the usual reason to be unproven, and no mistake of the pair's.
            Failure::Late => None,
            Failure::Large => {
                Some("the comparison needs more memory than a pair may take".to_owned())
            }
            Failure::Died => Some(
                "the comparison broke off: the schemas are nested too deeply or are too large"
                    .to_owned(),
            ),
        })
    }
}

impl Worker {
    fn start() -> std::io::Result<Worker> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["contract", "compat", "--answer"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A worker that overflows its stack says so there, and the answer says it already.
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let missing = || std::io::Error::other("the worker has no pipes");
        let questions = child.stdin.take().ok_or_else(missing)?;
        let answers = BufReader::new(child.stdout.take().ok_or_else(missing)?);
        Ok(Worker {
            child,
            questions,
            answers,
        })
    }

    async fn ask(&mut self, question: &str, allowed: Duration) -> Result<Answer, Failure> {
        let mut line = String::new();
        let id = self.child.id();
        // A large question does not fit the pipe: it is written while the worker reads.
        let sent = tokio::time::timeout(START, async {
            self.questions.write_all(question.as_bytes()).await?;
            self.questions.flush().await
        });
        match sent.await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(Failure::Died),
            Err(_) => return Err(Failure::Late),
        }
        let began = Instant::now();
        let used_before = id.and_then(processor_time);
        // Where the system does not tell what a process has used, only the clock counts.
        let until = began + allowed * used_before.map_or(1, |_| BUSY);
        let mut answer = std::pin::pin!(self.answers.read_line(&mut line));
        loop {
            let now = Instant::now();
            if now >= until {
                return Err(Failure::Late);
            }
            let wait = LOOK_EVERY.min(until - now);
            match tokio::time::timeout(wait, &mut answer).await {
                Ok(Ok(0)) | Ok(Err(_)) => return Err(Failure::Died),
                Ok(Ok(_)) => break,
                Err(_) if id.is_some_and(is_too_large) => return Err(Failure::Large),
                Err(_) => {
                    let used = id.and_then(processor_time).zip(used_before);
                    if used.is_some_and(|(now, before)| now.saturating_sub(before) > allowed) {
                        return Err(Failure::Late);
                    }
                }
            }
        }
        serde_json::from_str(&line).map_err(|_| Failure::Died)
    }

    async fn end(mut self) {
        // It may be gone already.
        let _ = self.child.kill().await;
    }
}

/// The time that a process has had the processor, where the system tells.
fn processor_time(id: u32) -> Option<Duration> {
    /// The system tells it in hundredths of a second.
    const TICK: Duration = Duration::from_millis(10);
    let text = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name of the program comes second and may hold anything.
    let (_, after) = text.rsplit_once(')')?;
    let mut words = after.split_whitespace().skip(11);
    let ticks = words.next()?.parse::<u32>().ok()? + words.next()?.parse::<u32>().ok()?;
    Some(TICK * ticks)
}

/// Whether a process holds too much memory, where the system tells.
fn is_too_large(id: u32) -> bool {
    const PAGE_BYTES: u64 = 4096;
    let Ok(text) = std::fs::read_to_string(format!("/proc/{id}/statm")) else {
        return false;
    };
    let pages = text
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok());
    pages.is_some_and(|pages| pages * PAGE_BYTES > MEMORY_BYTES_MAX)
}
