//! Ctrl-C and a request to terminate: the first asks politely, the second ends the program.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Raises the flag when the program is interrupted, so that it can end its children.
///
/// Where signals cannot be had the program simply dies of them, as it would have anyway.
pub(crate) fn listen(stop: Arc<AtomicBool>) {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build();
        let Ok(runtime) = runtime else { return };
        runtime.block_on(async {
            interrupted().await;
            stop.store(true, Ordering::Relaxed);
            super::say("interrupted: ending editor and runtime");
            interrupted().await;
            std::process::exit(130);
        });
    });
}

#[cfg(unix)]
async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

#[cfg(not(unix))]
async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending().await
    }
}
