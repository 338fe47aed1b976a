//! The promises of a log, one function each, for any engine that has a [`Fixture`].
//!
//! [`conformance!`] turns the list of [`promises!`] into tests.
//! Waiting is always for a condition with a deadline; where time itself is the promise (ages, waits, leases), the shortest times are used that JetStream takes too.

pub(crate) mod buckets;
pub(crate) mod consuming;
pub(crate) mod faults;
pub(crate) mod limits;
pub(crate) mod publishing;
pub(crate) mod redelivery;
pub(crate) mod services;

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lockstep::log::{
    Ack, AckPolicy, Consumer, ConsumerConfig, Log, Message, PublishError, Start, Stored,
    StreamConfig,
};

/// A log engine under test.
pub(crate) trait Fixture: Sized + Send + Sync {
    /// Whether there is what this engine needs; says so if not.
    fn is_there() -> bool {
        true
    }
    /// A new, empty log.
    fn fresh() -> impl Future<Output = Self> + Send;
    /// The log.
    fn log(&self) -> Arc<dyn Log>;
    /// Closes the log and opens it again.
    fn reopened(self) -> impl Future<Output = Self> + Send;
    /// Opens the log again as after the death of its process.
    fn killed(self) -> impl Future<Output = Self> + Send;
    /// Whether a consumer's acknowledgements survive `killed`; if not, what they were for may come again.
    const ACKS_SURVIVE: bool = true;
    /// Whether a reader may be served from a copy that keeps for a moment longer what the others have let go.
    const COPIES_LAG: bool = false;
    /// Makes the log show a fault; `false` if this engine cannot.
    fn inject(&self, fault: Fault) -> bool;
}

/// What a log is made to do once (slow commits: until it is given zero).
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    LoseAck,
    FailCommit,
    DoubleFetch,
    StaleRead,
    FailFetch,
    SlowCommit(Duration),
}

/// How long anything that has to happen may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);
/// How long something that must not happen is waited for.
pub(crate) const QUIET: Duration = Duration::from_millis(60);

/// The list of promises, handed to another macro with the engine.
macro_rules! promises {
    ($use:ident, $fixture:ty) => {
        crate::suite::$use! { $fixture;
            publishing {
                sequences_count_from_one_without_holes,
                a_call_keeps_its_order,
                headers_come_back_in_order_and_repeated,
                a_message_id_is_stored_once_in_its_window,
                a_message_id_counts_for_the_whole_stream,
                a_message_id_is_forgotten_after_its_window,
                an_id_and_an_expectation_together_are_refused,
                of_two_writers_with_one_expectation_one_wins,
                an_expectation_of_zero_means_nothing_is_there,
                a_batch_is_stored_whole_and_without_gaps,
                a_batch_with_one_refusal_stores_nothing,
                a_batch_is_judged_by_what_was_there_before,
                a_batch_has_a_limit,
                what_breaks_a_rule_is_refused,
                the_last_message_of_a_subject_is_found,
                many_publishers_share_one_order,
                a_stream_is_compared_with_its_declaration,
                streams_do_not_share_subjects,
                what_was_acknowledged_survives_a_restart,
                what_was_acknowledged_survives_a_kill,
            }
            consuming {
                a_consumer_reads_all_in_order,
                a_consumer_starts_where_it_is_told,
                a_consumer_starts_at_a_time,
                a_consumer_starts_with_the_last_of_each_subject,
                a_start_beyond_the_end_is_refused,
                filters_choose_subjects_also_later_ones,
                overlapping_filters_are_refused,
                a_waiting_fetch_is_woken_by_a_publish,
                an_idle_fetch_ends_empty_when_its_time_is_up,
                a_large_backlog_comes_once_and_in_order,
                a_message_larger_than_a_server_takes_comes_whole_and_in_its_place,
                a_durable_consumer_goes_on_after_a_restart,
                a_durable_consumer_goes_on_after_a_kill,
                a_consumer_without_acknowledgements_moves_on,
                a_deleted_consumer_is_gone,
                a_durable_consumer_keeps_its_settings,
                pending_counts_what_is_left,
                a_dropped_fetch_loses_nothing,
            }
            redelivery {
                what_is_not_acknowledged_comes_again_and_is_counted,
                an_acknowledgement_of_all_covers_what_came_before,
                explicit_acknowledgements_stand_alone,
                a_refusal_comes_again_after_its_delay,
                a_termination_never_comes_again,
                progress_puts_redelivery_off,
                no_more_is_in_flight_than_agreed,
                a_reset_goes_back_and_forgets,
                a_takeover_sees_newer_before_older,
                two_workers_share_a_consumer,
            }
            limits {
                a_full_stream_refuses_and_keeps_the_old,
                old_messages_go_and_the_first_sequence_moves,
                a_full_stream_takes_more_once_age_makes_room,
                a_reader_that_lost_messages_is_told,
                a_reader_of_other_subjects_lost_nothing,
                a_subject_keeps_its_last_messages,
                a_subject_that_aged_out_starts_at_zero,
                a_lease_ends_by_itself,
                a_lease_is_renewed_by_its_holder_alone,
                sequences_are_never_given_twice,
            }
            buckets {
                a_key_has_its_last_value_and_revision,
                of_two_updates_one_wins,
                a_removed_key_is_new_again,
                keys_are_listed_by_prefix,
                a_scan_shows_every_key_that_is_there,
                buckets_do_not_share_keys,
                bad_keys_are_refused,
                a_watch_tells_what_is_there_and_what_changes,
                a_slow_watcher_learns_the_last_value,
                values_survive_a_kill,
            }
            services {
                a_request_is_answered,
                a_subject_nobody_serves_says_so,
                an_unanswered_request_times_out,
                a_dropped_service_serves_no_more,
                what_is_told_reaches_whoever_listens,
            }
            faults {
                a_lost_acknowledgement_leaves_the_message,
                a_failed_commit_leaves_nothing,
                a_delivery_may_come_twice,
                a_read_may_be_stale,
                a_cut_connection_is_an_error_once,
                a_slow_commit_is_waited_for,
                a_fenced_writer_learns_it,
            }
        }
    };
}
pub(crate) use promises;

/// Turns the list of promises into tests of one engine.
macro_rules! conformance {
    ($fixture:ty) => {
        crate::suite::promises!(tests, $fixture);
    };
}
pub(crate) use conformance;

/// The list as tests.
macro_rules! tests {
    ($fixture:ty; $($area:ident { $($promises:tt)* })*) => {
        $(crate::suite::tests! { @area $fixture, $area, $($promises)* })*
    };
    (@area $fixture:ty, $area:ident, $($promise:ident,)*) => {
        mod $area {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $promise() {
                    if !<$fixture as crate::suite::Fixture>::is_there() {
                        return;
                    }
                    crate::suite::$area::$promise::<$fixture>().await;
                }
            )*
        }
    };
}
pub(crate) use tests;

/// A promise, with its name.
pub(crate) type Promise = (&'static str, fn() -> Running);

/// A promise being looked into.
pub(crate) type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The list as values.
macro_rules! list {
    ($fixture:ty; $($area:ident { $($promise:ident,)* })*) => {
        vec![$($((
            concat!(stringify!($area), "::", stringify!($promise)),
            (|| -> crate::suite::Running { Box::pin(crate::suite::$area::$promise::<$fixture>()) }) as fn() -> _,
        ),)*)*]
    };
}
pub(crate) use list;

pub(crate) fn stream(name: &str) -> StreamConfig {
    StreamConfig {
        name: name.to_owned(),
        subjects: vec![format!("{name}.>")],
        max_age: None,
        max_bytes: None,
        max_per_subject: None,
        duplicate_window: Duration::from_secs(120),
    }
}

/// A log with the stream `s` over `s.>`.
pub(crate) async fn with_stream<F: Fixture>() -> (F, Arc<dyn Log>) {
    let fixture = F::fresh().await;
    let log = fixture.log();
    log.ensure_stream(&stream("s")).await.unwrap();
    (fixture, log)
}

pub(crate) fn message(subject: &str, payload: impl std::fmt::Display) -> Message {
    Message {
        subject: subject.to_owned(),
        payload: Bytes::from(payload.to_string()),
        ..Message::default()
    }
}

pub(crate) fn expecting(subject: &str, payload: impl std::fmt::Display, last: u64) -> Message {
    Message {
        expect_last: Some(last),
        ..message(subject, payload)
    }
}

pub(crate) fn identified(subject: &str, payload: impl std::fmt::Display, id: &str) -> Message {
    Message {
        id: Some(id.to_owned()),
        ..message(subject, payload)
    }
}

pub(crate) async fn publish_one(log: &dyn Log, message: Message) -> Result<Ack, PublishError> {
    let stream = message.subject.split('.').next().unwrap().to_owned();
    log.publish(&stream, vec![message]).await.remove(0)
}

/// Publishes `numbers` on `s.a`, each as its own text; what a log without a leader did not store goes again.
pub(crate) async fn fill(log: &dyn Log, numbers: std::ops::RangeInclusive<u64>) {
    let started = Instant::now();
    let mut left: Vec<Message> = numbers.map(|number| message("s.a", number)).collect();
    while !left.is_empty() {
        let answers = log.publish("s", left.clone()).await;
        let stored = answers.iter().take_while(|answer| answer.is_ok()).count();
        for answer in &answers[stored..] {
            let again = matches!(answer, Err(PublishError::Storage(_)));
            assert!(again && started.elapsed() < DEADLINE, "{answers:?}");
        }
        left.drain(..stored);
    }
}

pub(crate) fn config(ack: AckPolicy) -> ConsumerConfig {
    ConsumerConfig {
        durable: None,
        filters: Vec::new(),
        start: Start::All,
        ack,
        ack_wait: Duration::from_secs(30),
        max_ack_pending: 1000,
    }
}

pub(crate) fn durable(name: &str, ack: AckPolicy) -> ConsumerConfig {
    ConsumerConfig {
        durable: Some(name.to_owned()),
        ..config(ack)
    }
}

/// Fetches until `count` messages are there.
pub(crate) async fn take(consumer: &mut dyn Consumer, count: usize) -> Vec<Stored> {
    let started = Instant::now();
    let mut messages = Vec::new();
    while messages.len() < count {
        let left = DEADLINE.saturating_sub(started.elapsed());
        assert!(
            !left.is_zero(),
            "{} of {count} messages in time",
            messages.len()
        );
        messages.extend(consumer.fetch(count - messages.len(), left).await.unwrap());
    }
    messages
}

/// Asserts that nothing more comes for now.
pub(crate) async fn nothing(consumer: &mut dyn Consumer) {
    let messages = consumer.fetch(100, QUIET).await.unwrap();
    assert_eq!(sequences(&messages), Vec::<u64>::new());
}

pub(crate) fn sequences(messages: &[Stored]) -> Vec<u64> {
    messages.iter().map(|message| message.seq).collect()
}

pub(crate) fn text(message: &Stored) -> &str {
    std::str::from_utf8(&message.payload).unwrap()
}

/// Asks again and again until the answer is there.
pub(crate) async fn until<T, A: Future<Output = Option<T>>>(
    what: &str,
    mut ask: impl FnMut() -> A,
) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(started.elapsed() < DEADLINE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
