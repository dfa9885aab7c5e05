//! When to stop: SIGINT and SIGTERM.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that is cancelled by the first SIGINT or SIGTERM. A second one ends the process at once.
///
/// # Errors
/// Where the signals cannot be listened to.
///
/// # Panics
/// Outside a Tokio runtime.
pub fn on_signal() -> std::io::Result<CancellationToken> {
    let token = CancellationToken::new();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let stop = token.clone();
    tokio::spawn(async move {
        let name = tokio::select! { _ = interrupt.recv() => "SIGINT", _ = terminate.recv() => "SIGTERM" };
        tracing::info!(signal = name, "stopping");
        stop.cancel();
        let code = tokio::select! { _ = interrupt.recv() => 130, _ = terminate.recv() => 143 };
        tracing::warn!("stopped a second time, leaving without finishing");
        std::process::exit(code);
    });
    Ok(token)
}
