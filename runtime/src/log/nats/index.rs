//! Which subjects had messages up to which sequence: what is needed to tell a loss from silence once old messages are gone.
//!
//! A stream forgets a subject with its last message. A reader of a quiet subject, far behind the stream's first sequence, could then not know whether it lost anything.
//! So notes are taken while messages are there, and kept in a bucket. Where notes do not reach, the answer is that something was lost: an alarm too many, never a silent skip.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::bucket::{self, Keys};
use super::stream;
use super::{Inner, ordered};
use crate::log::rules::Pattern;
use crate::log::{LogError, PAYLOAD_MAX, Result};

/// The bucket that keeps the notes, by stream.
const BUCKET: &str = "LS_INDEX";
/// Notes are kept this many to the age of a message.
const NOTES: u32 = 8;
/// How often notes are taken.
const EVERY_MIN: Duration = Duration::from_millis(100);
const EVERY_MAX: Duration = Duration::from_secs(3600);

/// What was noted of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Notes {
    /// When the stream was made.
    created: Timestamp,
    notes: Vec<Note>,
}

/// The last sequences of subjects at one time: all of them in the first note, those that changed in later ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    at: Timestamp,
    /// Every message from here on was there when this note or an earlier one was taken.
    since: u64,
    /// Every message up to here is considered.
    upto: u64,
    last: BTreeMap<String, u64>,
}

/// What notes say about messages of a subject that are gone.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// Nothing was lost.
    Kept,
    /// Something was, or nobody knows.
    Lost,
    /// Only the first messages still kept on these subjects can tell.
    Ask(Vec<String>),
}

impl Notes {
    fn lasts(&self, upto: usize) -> BTreeMap<&str, u64> {
        let notes = self.notes.iter().take(upto + 1);
        notes
            .flat_map(|note| &note.last)
            .map(|(subject, seq)| (subject.as_str(), *seq))
            .collect()
    }

    /// Whether messages in `from..first` on subjects that the patterns take are gone.
    fn verdict(&self, patterns: &[Pattern], from: u64, first: u64) -> Verdict {
        let Some(at) = self.notes.iter().position(|note| note.upto + 1 >= first) else {
            return Verdict::Lost;
        };
        if from < self.notes[at].since {
            return Verdict::Lost;
        }
        let mut unsure = Vec::new();
        for (subject, last) in self.lasts(at) {
            let ours = patterns.iter().any(|pattern| pattern.matches(subject));
            if !ours || last < from {
                continue;
            }
            if last < first {
                return Verdict::Lost;
            }
            unsure.push(subject.to_owned());
        }
        if unsure.is_empty() {
            Verdict::Kept
        } else {
            Verdict::Ask(unsure)
        }
    }

    /// Adds a note; one that follows too closely takes the place of the newest. What no question can reach any more is folded away.
    fn add(&mut self, note: Note, first: u64, spacing: SignedDuration) {
        let newest = self.notes.len().saturating_sub(1);
        let before = self.lasts(newest);
        let changed: BTreeMap<String, u64> = note
            .last
            .into_iter()
            .filter(|(subject, seq)| before.get(subject.as_str()) != Some(seq))
            .collect();
        // What went between two notes was seen by neither.
        let before = self.notes.last();
        let since = before
            .filter(|before| note.since <= before.upto + 1)
            .map_or(note.since, |before| before.since);
        let note = Note {
            last: changed,
            since,
            ..note
        };
        let close = self.notes.len() > 1
            && self.notes[newest]
                .at
                .duration_since(self.notes[newest - 1].at)
                < spacing;
        match self.notes.last_mut() {
            Some(newest) if close => {
                newest.at = note.at;
                newest.upto = note.upto;
                newest.since = note.since;
                newest.last.extend(note.last);
            }
            _ => self.notes.push(note),
        }
        // Questions are about sequences before `first`, now or later.
        while self.notes.len() > 1 && self.notes[0].upto + 1 < first {
            let old = self.notes.remove(0);
            let mut last = old.last;
            last.append(&mut self.notes[0].last);
            self.notes[0].last = last;
        }
    }
}

/// Takes notes of a stream for as long as the log is open.
pub(super) fn start(log: &Arc<Inner>, stream: &str) {
    if !stream::lock(&log.indexed).insert(stream.to_owned()) {
        return;
    }
    let (weak, closed) = (Arc::downgrade(log), log.closed.clone());
    let stream = stream.to_owned();
    let noting = async move {
        loop {
            let Some(log) = weak.upgrade() else { return };
            if let Err(error) = note(&log, &stream).await {
                tracing::debug!(stream, %error, "no note of the stream's subjects was taken");
            }
            let every = stream::known(&log, &stream)
                .await
                .ok()
                .and_then(|known| known.config.max_age);
            let every = every.map_or(EVERY_MAX, |age| (age / NOTES).clamp(EVERY_MIN, EVERY_MAX));
            drop(log);
            tokio::time::sleep(every).await;
        }
    };
    tokio::spawn(async move {
        tokio::select! {
            () = closed.cancelled() => {}
            () = noting => {}
        }
    });
}

/// Notes which subjects have messages up to which sequence.
pub(super) async fn note(log: &Arc<Inner>, stream: &str) -> Result<()> {
    let bucket = bucket::open(log, BUCKET).await?;
    // Read before the subjects are: everything up to here is among them, or gone before it could be noted.
    let info = stream::state(log, stream).await?.info();
    let (mut notes, revision) = read(&bucket, stream, info.created).await?;
    if notes
        .notes
        .last()
        .is_some_and(|newest| newest.upto == info.last_seq)
        || info.last_seq == 0
    {
        return Ok(());
    }
    let last = ordered::last_sequences(log, stream).await?;
    // What is still there now was there while the subjects were read.
    let since = stream::state(log, stream).await?.info().first_seq;
    let known = stream::known(log, stream).await?;
    let age = known.config.max_age.unwrap_or(EVERY_MAX);
    let note = Note {
        at: Timestamp::now(),
        since,
        upto: info.last_seq,
        last,
    };
    let spacing = SignedDuration::try_from(age / NOTES).unwrap_or(SignedDuration::ZERO);
    notes.add(note, info.first_seq, spacing);
    let Ok(body) = serde_json::to_vec(&notes) else {
        return Ok(());
    };
    if body.len() > PAYLOAD_MAX {
        return Err(LogError::Refused(format!(
            "stream `{stream}` has too many subjects to keep notes of"
        )));
    }
    match bucket.write(stream, body.into(), revision).await {
        // Another runtime took its note: one is enough.
        Ok(_) | Err(LogError::WrongRevision { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The notes of a stream's present life, and their revision.
async fn read(bucket: &Keys, stream: &str, created: Timestamp) -> Result<(Notes, u64)> {
    let none = Notes {
        created,
        notes: Vec::new(),
    };
    Ok(match bucket.read(stream).await? {
        None => (none, 0),
        Some(entry) => {
            let notes = serde_json::from_slice(&entry.value).unwrap_or_else(|_| none.clone());
            let notes = if notes.created == created {
                notes
            } else {
                none
            };
            (notes, entry.revision)
        }
    })
}

/// Whether messages in `from..first` that the patterns take are gone, as far as anybody can know.
pub(super) async fn lost(
    log: &Arc<Inner>,
    stream: &str,
    patterns: &[Pattern],
    from: u64,
    first: u64,
) -> Result<bool> {
    let bucket = Keys::of(log, BUCKET);
    let created = stream::state(log, stream).await?.info().created;
    let (notes, _) = match read(&bucket, stream, created).await {
        Ok(found) => found,
        Err(LogError::Missing { .. }) => return Ok(true),
        Err(error) => return Err(error),
    };
    let subjects = match notes.verdict(patterns, from, first) {
        Verdict::Kept => return Ok(false),
        Verdict::Lost => return Ok(true),
        Verdict::Ask(subjects) => subjects,
    };
    for subject in subjects {
        // A writer that expects its subject's last sequence says with the next message which one it was.
        match stream::next(log, stream, &subject, first).await? {
            Some((_, Some(before))) if before > 0 && before < from => {}
            _ => return Ok(true),
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SPACING: SignedDuration = SignedDuration::from_secs(10);

    fn note(second: i64, upto: u64, last: &[(&str, u64)]) -> Note {
        Note {
            at: Timestamp::from_second(second).unwrap(),
            since: 1,
            upto,
            last: last
                .iter()
                .map(|(subject, seq)| ((*subject).to_owned(), *seq))
                .collect(),
        }
    }

    fn empty() -> Notes {
        Notes {
            created: Timestamp::UNIX_EPOCH,
            notes: Vec::new(),
        }
    }

    fn quiet() -> Vec<Pattern> {
        vec![Pattern::parse("quiet").unwrap()]
    }

    #[test]
    fn silence_is_told_from_loss() {
        let mut notes = empty();
        notes.add(note(0, 10, &[("quiet", 1), ("loud", 10)]), 1, SPACING);
        assert_eq!(notes.verdict(&quiet(), 2, 11), Verdict::Kept);
        assert_eq!(notes.verdict(&quiet(), 1, 11), Verdict::Lost);
        assert_eq!(
            notes.verdict(&quiet(), 2, 12),
            Verdict::Lost,
            "notes do not reach that far"
        );
        notes.add(note(20, 30, &[("quiet", 25), ("loud", 30)]), 1, SPACING);
        assert_eq!(
            notes.verdict(&quiet(), 2, 11),
            Verdict::Kept,
            "the older note answers"
        );
        assert_eq!(
            notes.verdict(&quiet(), 2, 20),
            Verdict::Ask(vec!["quiet".into()])
        );
    }

    #[test]
    fn notes_that_no_question_reaches_are_folded_away() {
        let mut notes = empty();
        for n in 1..=50 {
            notes.add(
                note(
                    n * 20,
                    n as u64 * 10,
                    &[("quiet", 1), ("loud", n as u64 * 10)],
                ),
                (n as u64 * 10).saturating_sub(45).max(1),
                SPACING,
            );
        }
        assert!(notes.notes.len() <= 8, "{}", notes.notes.len());
        assert_eq!(notes.verdict(&quiet(), 2, 460), Verdict::Kept);
    }

    proptest! {
        /// Whatever notes were taken: a loss is never called silence.
        #[test]
        fn a_loss_is_never_called_silence(
            messages in prop::collection::vec(0u8..3, 1..60),
            noted in prop::collection::btree_set(1usize..60, 0..6),
            aged in prop::collection::vec(0usize..60, 6),
            from in 1u64..60,
            first in 1u64..60,
        ) {
            let mut notes = empty();
            let mut gone = 0;
            for (upto, aged) in noted.into_iter().filter(|upto| *upto <= messages.len()).zip(aged) {
                gone = gone.max(aged.min(upto));
                let last: BTreeMap<String, u64> = (gone..upto)
                    .map(|at| (messages[at].to_string(), at as u64 + 1))
                    .collect();
                let since = gone as u64 + 1;
                let note = Note { at: Timestamp::from_second(upto as i64).unwrap(), since, upto: upto as u64, last };
                notes.add(note, gone as u64 + 1, SignedDuration::from_secs(5));
            }
            // Questions are about a first sequence that is at or after what was already gone.
            prop_assume!(first > gone as u64);
            let pattern = [Pattern::parse("1").unwrap()];
            let lost = (from..first).any(|seq| messages.get(seq as usize - 1) == Some(&1));
            if lost {
                prop_assert_ne!(notes.verdict(&pattern, from, first), Verdict::Kept);
            }
        }
    }
}
