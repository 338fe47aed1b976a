//! Lets the parts of a run go on or rest, as the log says.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use lockstep_core::error::Result;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Control, Outcome, Part, Pause, Skip, Wish, Wishes, read};
use crate::log::Log;

/// How long to wait before watching again what the log did not tell.
const AGAIN: Duration = Duration::from_secs(1);

/// What is asked of the parts of this run, kept up to date.
pub struct Controls {
    control: Control,
    wishes: watch::Sender<Wishes>,
}

impl Controls {
    /// Reads what is asked by now, so that what rests does not begin.
    pub(crate) async fn open(log: &Arc<dyn Log>) -> Result<Controls> {
        let control = Control::open(&**log).await?;
        let wishes = control.wishes().await?;
        Ok(Controls {
            control,
            wishes: watch::Sender::new(wishes),
        })
    }

    /// Follows what is asked, until `stop`.
    pub(crate) async fn follow(&self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            let watched = self.control.bucket.watch("").await;
            if let Ok(mut entries) = watched {
                loop {
                    let entry = tokio::select! {
                        () = stop.cancelled() => return,
                        entry = entries.recv() => entry,
                    };
                    let Some(entry) = entry else { break };
                    let Some(part) = Part::of(&entry.key) else {
                        continue;
                    };
                    let wish = if entry.removed {
                        Wish::default()
                    } else {
                        read(&entry.value)
                    };
                    self.wishes
                        .send_modify(|wishes| drop(wishes.insert(part, wish)));
                }
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(AGAIN) => {}
            }
        }
    }

    /// Works while nobody wants the part to rest, and begins the work again when somebody wants it to try at once; until `stop`, or until the work ends by itself.
    ///
    /// `rests` hears that it rests and tells how far it is; `tries` hears that the work that begins next is to try whatever its time is.
    pub(crate) async fn run<F: Future<Output = ()>>(
        &self,
        part: &Part,
        stop: &CancellationToken,
        rests: impl Fn(&Pause) -> Option<u64>,
        tries: impl Fn(),
        work: impl Fn(CancellationToken) -> F,
    ) {
        let mut wishes = self.wishes.subscribe();
        let mut begun = false;
        while !stop.is_cancelled() {
            let wish = of(&wishes.borrow_and_update(), part);
            if !std::mem::replace(&mut begun, true) {
                self.is_too_late(part, wish.open_skip()).await;
            }
            if let Some(pause) = &wish.pause {
                self.rest(part, pause, rests(pause)).await;
                tokio::select! {
                    () = stop.cancelled() => return,
                    // The sender lives in `self`.
                    _ = wishes.wait_for(|wishes| of(wishes, part).pause.is_none()) => {}
                }
                tracing::info!(%part, "resumed");
                continue;
            }
            self.take_up(part, &wish, &tries).await;
            let token = stop.child_token();
            let mut work = pin!(work(token.clone()));
            let asked = wishes.wait_for(|wishes| {
                let now = of(wishes, part);
                let id = |wish: &Wish| wish.open_skip().map(|skip| skip.id.clone());
                now.pause.is_some()
                    || now.retries != wish.retries
                    || id(&now).is_some_and(|now| Some(now) != id(&wish))
            });
            tokio::select! {
                () = &mut work => return,
                _ = asked => {}
            }
            tracing::info!(%part, "somebody asked for something: what is under way is finished first");
            let now = of(&wishes.borrow_and_update(), part);
            if now.pause.is_none() {
                self.take_up(part, &now, &tries).await;
            }
            token.cancel();
            work.await;
        }
    }

    /// Says that the part tries, where somebody asked for that; a log that cannot be written hears it at the next start.
    async fn take_up(&self, part: &Part, wish: &Wish, tries: &impl Fn()) {
        if !wish.is_to_retry() {
            return;
        }
        tries();
        if let Err(error) = self.control.takes_up(part, wish.retries).await {
            tracing::warn!(%part, error = error.chain(), "nobody can be told that it tries again");
        }
        // What the watch tells comes a moment later.
        self.wishes.send_if_modified(|wishes| {
            if let Some(own) = wishes.get_mut(part) {
                own.retried = own.retried.max(wish.retries);
            }
            false
        });
    }

    /// What is asked of a part.
    pub(crate) fn wish(&self, part: &Part) -> Wish {
        of(&self.wishes.borrow(), part)
    }

    /// Hears of every order.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Wishes> {
        self.wishes.subscribe()
    }

    /// Where orders stand.
    pub(crate) fn control(&self) -> &Control {
        &self.control
    }

    /// What a delivery was asked to skip.
    pub(crate) fn skip(&self, part: &Part) -> Option<Skip> {
        let wishes = self.wishes.borrow();
        wishes.get(part).and_then(Wish::open_skip).cloned()
    }

    /// Answers a request to skip; a log that cannot be written keeps it open.
    pub(crate) async fn answer(&self, part: &Part, skip: &Skip, outcome: Outcome) {
        let said = outcome.clone();
        if let Err(error) = self.control.answer(part, &skip.id, outcome).await {
            tracing::warn!(%part, error = error.chain(), "nobody can be told what became of a skip");
        }
        // What the watch tells comes a moment later, and one request skips one change.
        self.wishes.send_if_modified(|wishes| {
            let open = wishes.get_mut(part).and_then(|wish| wish.skip.as_mut());
            if let Some(open) = open.filter(|open| open.id == skip.id) {
                open.answer = Some(said);
            }
            false
        });
    }

    /// A request of before this part began is not its own: whoever asked meant what stood in the way then.
    async fn is_too_late(&self, part: &Part, skip: Option<&Skip>) {
        if let Some(skip) = skip {
            let reason = "it began anew meanwhile; look at the status and ask again".to_owned();
            self.answer(part, skip, Outcome::NotSkipped { reason })
                .await;
        }
    }

    async fn rest(&self, part: &Part, pause: &Pause, reached: Option<u64>) {
        let (by, reason) = (&pause.by, &pause.reason);
        tracing::info!(%part, by, reason, "paused");
        let Some(reached) = reached.filter(|reached| *reached > 0 && pause.reached.is_none())
        else {
            return;
        };
        if let Err(error) = self.control.rests_at(part, reached).await {
            tracing::warn!(%part, error = error.chain(), "how far it is cannot be noted");
        }
    }
}

fn of(wishes: &Wishes, part: &Part) -> Wish {
    wishes.get(part).cloned().unwrap_or_default()
}
