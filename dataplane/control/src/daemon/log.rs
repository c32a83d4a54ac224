//! Where log lines go: standard error, for people or as JSON. `WEIR_LOG` says which, in tracing's words.

use tracing_subscriber::EnvFilter;

/// Begins to log. A second call does nothing.
pub fn start(json: bool) {
    let filter = EnvFilter::try_from_env("WEIR_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match json {
        true => lines.json().try_init(),
        false => lines.with_ansi(false).try_init(),
    };
    if let Err(error) = started {
        tracing::debug!(%error, "logging was started before");
    }
}
