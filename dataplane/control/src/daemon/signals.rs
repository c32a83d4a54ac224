//! What the daemon does when nobody asks: signals, the service manager's watchdog.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use weir_engine::live::Live;

use crate::action::Action;
use crate::action::field::Toml;
use crate::notify::{Beat, Notifier};
use crate::privileges::Access;
use crate::server::{Given, Server};

/// Between two looks at the workers and at the broker when no watchdog asks more often.
const LOOK: Duration = Duration::from_secs(1);

/// Why it is time to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// Somebody said so.
    Asked,
    /// Nobody is there any more who could open a port.
    BrokerGone,
}

/// Attends to signals until one says that it is time to end.
pub(super) async fn attend(
    path: &Path,
    server: &Server,
    live: &Arc<Live>,
    access: &Access,
    mut notifier: Notifier,
) -> io::Result<Why> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut look = tokio::time::interval(notifier.beat_every().unwrap_or(LOOK).min(LOOK));
    tell(notifier.ready(&words(live)));
    tracing::info!("{}", words(live));
    let why = loop {
        tokio::select! {
            _ = terminate.recv() => break Why::Asked,
            _ = interrupt.recv() => break Why::Asked,
            _ = hangup.recv() => {
                tell(notifier.reloading());
                reload(path, server).await;
                tell(notifier.ready(&words(live)));
            }
            _ = look.tick() => {
                if access.is_gone() {
                    tracing::error!("the broker has ended");
                    break Why::BrokerGone;
                }
                beat(live, &mut notifier).await;
            }
        }
    };
    tell(notifier.stopping("ending"));
    tracing::info!("ending");
    Ok(why)
}

/// One line on what runs.
fn words(live: &Live) -> String {
    let current = live.current();
    let faults = live.faults();
    let state = if faults.is_empty() { "ready".to_owned() } else { faults.join("; ") };
    format!("generation {}, {} interfaces: {state}", current.number, current.generation.ports.len())
}

/// A service manager that does not listen is no reason to end.
fn tell(told: io::Result<()>) {
    if let Err(error) = told {
        tracing::debug!(%error, "the service manager was not told");
    }
}

async fn beat(live: &Arc<Live>, notifier: &mut Notifier) {
    if notifier.beat_every().is_none() {
        return;
    }
    let live = Arc::clone(live);
    let turns = move || live.stats().workers.iter().map(|worker| worker.turns).collect::<Vec<u64>>();
    let Ok(turns) = tokio::task::spawn_blocking(turns).await else { return };
    match notifier.beat(&turns) {
        Ok(Beat::Alive) => {}
        Ok(Beat::Stuck(workers)) => tracing::error!(?workers, "workers stand still"),
        Err(error) => tell(Err(error)),
    }
}

/// The file is applied as it is now, as if somebody had asked; what is refused changes nothing.
async fn reload(path: &Path, server: &Server) {
    let owned = path.to_owned();
    let text = tokio::task::spawn_blocking(move || std::fs::read_to_string(owned)).await;
    let text = match text {
        Ok(Ok(text)) => text,
        Ok(Err(error)) => {
            return tracing::error!(path = %path.display(), %error, "the configuration cannot be read");
        }
        Err(error) => return tracing::error!(%error, "the configuration was not read"),
    };
    let action = Action::ConfigApply {
        if_match: None,
        dry_run: false,
        confirm: None,
        scratch: Vec::new(),
        probation: None,
        abort_rate: None,
        drop_rate: None,
        text: Toml(text),
    };
    match server.act(&action).await {
        Ok(Given::Applied(applied)) => {
            tracing::info!(from = applied.from, to = applied.to, "configuration reloaded")
        }
        Ok(_) => {}
        Err(problem) => tracing::error!(code = problem.code, "configuration not reloaded: {problem}"),
    }
}
