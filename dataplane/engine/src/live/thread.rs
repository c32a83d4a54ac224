//! A worker's thread: turns, and what is between them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use weir_packet::BATCH;
use weir_sys::affinity;

use super::lock;
use super::start::WorkerStart;
use super::stats::WorkerState;
use crate::config::Idle;
use crate::mailbox::{Letter, Mailbox};
use crate::worker::Worker;

/// The longest sleep, whatever the configuration says: the heartbeat must be seen to move.
const SLEEP_MAX: Duration = Duration::from_millis(250);

/// How a worker is, as its thread and the supervisor see it.
#[derive(Debug, Default)]
pub(super) struct Health {
    state: AtomicU8,
    last_words: Mutex<Option<String>>,
}

impl Health {
    pub(super) fn state(&self) -> WorkerState {
        match self.state.load(Ordering::Acquire) {
            0 => WorkerState::Running,
            1 => WorkerState::Stalled,
            _ => WorkerState::Dead,
        }
    }

    /// Notes what the supervisor saw. A dead worker stays dead.
    pub(super) fn note(&self, stalled: bool) {
        let (from, to) = if stalled { (0, 1) } else { (1, 0) };
        let _ = self.state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed);
    }

    fn die(&self, words: String) {
        *lock(&self.last_words) = Some(words);
        self.state.store(2, Ordering::Release);
    }

    pub(super) fn last_words(&self) -> Option<String> {
        lock(&self.last_words).clone()
    }
}

/// What a worker's thread is told.
pub(super) struct Orders {
    pub(super) number: usize,
    pub(super) core: usize,
    pub(super) idle: Idle,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) health: Arc<Health>,
    pub(super) begin: Option<WorkerStart>,
}

/// Starts a worker's thread. It gives the worker back when it was told to stop, nothing when it died.
pub(super) fn spawn(worker: Worker, orders: Orders) -> std::io::Result<JoinHandle<Option<Worker>>> {
    let name = format!("weir-w{}", orders.number);
    std::thread::Builder::new().name(name).spawn(move || {
        // A core that cannot be had was refused at the start; losing it since then costs speed only.
        let _ = affinity::pin(orders.core);
        if let Some(begin) = &orders.begin
            && let Err(words) = begin(orders.number)
        {
            orders.health.die(words);
            return None;
        }
        let mut worker = worker;
        let shared = worker.shared();
        // A panic is a fault of weir's own. The worker is given up whole, so nobody sees what it left half done.
        match catch_unwind(AssertUnwindSafe(|| run(&mut worker, &orders))) {
            Ok(()) => Some(worker),
            Err(panic) => {
                shared.cut.rest(shared.totals());
                let words = panic.downcast_ref::<String>().cloned();
                let words = words.or_else(|| panic.downcast_ref::<&str>().map(|words| (*words).to_owned()));
                drop(worker);
                orders.health.die(words.unwrap_or_else(|| "it said nothing".to_owned()));
                None
            }
        }
    })
}

fn run(worker: &mut Worker, orders: &Orders) {
    let Idle { spin, wait } = orders.idle;
    let mut quiet_since: Option<Instant> = None;
    loop {
        if orders.mailbox.any() && read_letters(worker, &orders.mailbox) {
            worker.rest();
            return;
        }
        let turn = worker.turn(BATCH);
        if turn.received + turn.taken > 0 {
            quiet_since = None;
            continue;
        }
        let since = *quiet_since.get_or_insert_with(Instant::now);
        if since.elapsed() < spin.0 {
            std::hint::spin_loop();
            continue;
        }
        worker.sleep(&orders.mailbox, wait.0.min(SLEEP_MAX));
    }
}

/// Does what letters say; true when the worker is to stop.
#[cold]
fn read_letters(worker: &mut Worker, mailbox: &Mailbox) -> bool {
    let mut stop = false;
    for letter in mailbox.take() {
        // Nobody waits for an answer any more: then it came too late.
        match letter {
            Letter::Port { number, port, done } => {
                worker.replace_port(number, port);
                let _ = done.try_send(());
            }
            Letter::Behind { number, behind, done } => {
                worker.replace_behind(number, behind);
                let _ = done.try_send(());
            }
            Letter::Statement { said, done } => {
                said.say(worker.statement());
                let _ = done.try_send(());
            }
            Letter::Stop => stop = true,
        }
    }
    stop
}
