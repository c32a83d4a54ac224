//! The supervisor: a thread that looks after ports, workers and probations, and does what must not be done by those
//! who carry packets. Every wait in it has a deadline.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError};
use weir_io::Port;
use weir_io::gauges::State;

use super::event::What;
use super::follow;
use super::placeholder::Placeholder;
use super::probation::Found;
use super::stats::WorkerState;
use super::{Engine, lock};
use crate::generation::PortNumber;
use crate::host::Behind;
use crate::mailbox::Letter;

/// Between two looks at probations.
const STEP: Duration = Duration::from_millis(10);
/// Between two looks at ports and workers.
const LOOK: Duration = Duration::from_millis(50);

/// A port, as the supervisor knows it.
#[derive(Debug, Default)]
pub(super) struct PortWatch {
    name: String,
    /// Workers that have a part of it: the first so many.
    pub(super) owners: usize,
    reopened: AtomicU64,
    down: Mutex<Option<Down>>,
    /// The device is another one than the way to the host was made for.
    is_behind_stale: AtomicBool,
    /// Why nothing comes and goes for now, although the port is whole.
    passing: Mutex<Option<String>>,
    /// Workers that have not taken yet what was handed out to them.
    awaited: Mutex<Vec<Receiver<()>>>,
}

/// A port that does not work.
#[derive(Debug)]
struct Down {
    reason: String,
    /// When it is tried again, and how long after that.
    next: Instant,
    wait: Duration,
}

impl PortWatch {
    pub(super) fn new(name: &str, owners: usize) -> Self {
        Self { name: name.to_owned(), owners, ..Self::default() }
    }

    /// Why it does not work; `None` when it does.
    pub(super) fn reason(&self) -> Option<String> {
        let lost = lock(&self.down).as_ref().map(|down| down.reason.clone());
        lost.or_else(|| lock(&self.passing).clone())
    }

    /// Whether workers have what was handed out last. One that died takes nothing any more.
    fn is_taken(&self) -> bool {
        let mut awaited = lock(&self.awaited);
        awaited.retain(|answer| answer.try_recv() == Err(TryRecvError::Empty));
        awaited.is_empty()
    }

    pub(super) fn fault(&self) -> Option<String> {
        self.reason().map(|reason| format!("interface {} is down: {reason}", self.name))
    }

    pub(super) fn reopened(&self) -> u64 {
        self.reopened.load(Ordering::Relaxed)
    }
}

/// What the supervisor remembers from look to look.
struct Supervisor<'e> {
    engine: &'e Engine,
    /// Each worker's turns at the last change, and when that was.
    pulses: Vec<(u64, Instant)>,
}

/// Runs until the engine is stopping.
pub(super) fn run(engine: &Engine, bell: &Receiver<()>) {
    let pulses = engine.workers.iter().map(|_| (0, Instant::now())).collect();
    let mut supervisor = Supervisor { engine, pulses };
    let mut next_look = Instant::now();
    while !engine.stopping.load(Ordering::Acquire) {
        let rang = bell.recv_timeout(STEP).is_ok();
        supervisor.probation();
        supervisor.lines();
        let now = Instant::now();
        if rang || now >= next_look {
            next_look = now + LOOK;
            supervisor.workers(now);
            (0..engine.ports.len()).for_each(|port| supervisor.port(port, now, rang));
            if let Ok(mut changer) = engine.change.try_lock() {
                engine.tend_graves(&mut changer);
            }
        }
    }
    supervisor.lines();
    engine.observers.lines.close();
}

impl Supervisor<'_> {
    /// Lines that programs traced go into the journal, where people read them.
    fn lines(&self) {
        let traces = lock(&self.engine.traces);
        traces.try_iter().for_each(|line| self.engine.observers.lines.say(line));
    }

    /// Keeps or gives up the generation that is being watched.
    fn probation(&self) {
        let engine = self.engine;
        let watch = lock(&engine.probation).clone();
        let Some(watch) = watch else { return };
        match watch.look(Instant::now(), &engine.totals()) {
            Found::Well => {}
            Found::Over => {
                engine.confirm();
            }
            Found::Badly(reason) => {
                *lock(&engine.probation) = None;
                if let Err(error) = engine.trip(watch.generation, &reason) {
                    let reason = format!("the rollback was not possible: {error} (wanted since {reason})");
                    engine.events.tell(What::Refused { reason });
                }
            }
        }
    }

    /// Sees which workers come to the end of their turns.
    fn workers(&mut self, now: Instant) {
        for (number, worker) in self.engine.workers.iter().enumerate() {
            let turns = worker.shared.pulse.turns.get();
            let (last, since) = &mut self.pulses[number];
            let was = worker.health.state();
            if turns != *last {
                (*last, *since) = (turns, now);
            }
            let quiet = now.saturating_duration_since(*since);
            worker.health.note(quiet > self.engine.options.limits.stall);
            match (was, worker.health.state()) {
                (WorkerState::Running, WorkerState::Stalled) => self
                    .engine
                    .events
                    .tell(What::WorkerStalled { worker: number, seconds: quiet.as_secs_f64() }),
                (WorkerState::Stalled, WorkerState::Running) => {
                    self.engine.events.tell(What::WorkerBack { worker: number });
                }
                (_, WorkerState::Dead) => self.dead(number),
                (_, WorkerState::Running | WorkerState::Stalled) => {}
            }
        }
    }

    /// Tells once that a worker died.
    fn dead(&mut self, number: usize) {
        let (turns, _) = &mut self.pulses[number];
        if *turns != u64::MAX {
            *turns = u64::MAX;
            let reason = self.engine.workers[number].health.last_words().unwrap_or_default();
            self.engine.events.tell(What::WorkerDied { worker: number, reason });
        }
    }

    /// Looks after one port; `rang` says that somebody knows of a change, so that it is tried at once.
    fn port(&self, port: PortNumber, now: Instant, rang: bool) {
        let watch = &self.engine.ports[port];
        if !watch.is_taken() {
            // What a worker shows is the port before, and the device may not be free.
            return;
        }
        let due = lock(&watch.down).as_ref().map(|down| rang || now >= down.next);
        match due {
            Some(true) => self.reopen(port),
            Some(false) => {}
            None => match self.state(port) {
                State::Up => self.note_passing(port, self.tend_behind(port).err()),
                State::Down(reason) => self.note_passing(port, Some(reason)),
                State::Lost(reason) => {
                    self.take_down(port, &reason);
                    if watch.is_taken() {
                        self.reopen(port);
                    }
                }
            },
        }
    }

    /// Tells once that a port has no link for now, or has it again.
    fn note_passing(&self, port: PortNumber, reason: Option<String>) {
        let watch = &self.engine.ports[port];
        let mut passing = lock(&watch.passing);
        if *passing == reason {
            return;
        }
        let interface = watch.name.clone();
        self.engine.events.tell(match &reason {
            Some(reason) => What::PortDown { interface, reason: reason.clone() },
            None => What::PortUp { interface },
        });
        *passing = reason;
    }

    /// How a port is: as its worst part.
    fn state(&self, port: PortNumber) -> State {
        let mut worst = State::Up;
        for worker in &self.engine.workers {
            let windows = worker.shared.windows.all();
            match windows.get(port).and_then(|window| window.gauges.as_ref()).map(|gauges| gauges.state()) {
                Some(State::Lost(reason)) => return State::Lost(reason),
                Some(State::Down(reason)) => worst = State::Down(reason),
                Some(State::Up) | None => {}
            }
        }
        worst
    }

    /// Has every worker give its part of the port up, so that the device is free to be opened again.
    fn take_down(&self, port: PortNumber, reason: &str) {
        let watch = &self.engine.ports[port];
        let wait = self.engine.options.limits.reopen.0;
        let down = Down { reason: reason.to_owned(), next: Instant::now() + wait, wait };
        *lock(&watch.down) = Some(down);
        *lock(&watch.passing) = None;
        let interface = watch.name.clone();
        self.engine.events.tell(What::PortDown { interface, reason: reason.to_owned() });
        let index = self.engine.current().generation.ports[port].ifindex;
        let placeholder = |_| Box::new(Placeholder::new(&watch.name, index, reason)) as Box<dyn Port>;
        self.hand_out(port, (0..watch.owners).map(placeholder).collect());
    }

    /// Gives each owner its part of a port, and waits until they have it, within the deadline. Who is stalled takes
    /// it when it goes on; until then the port is left alone.
    fn hand_out(&self, number: PortNumber, parts: Vec<Box<dyn Port>>) {
        let deadline = Instant::now() + self.engine.options.limits.answer;
        let mut answers = Vec::new();
        for (worker, port) in self.engine.workers.iter().zip(parts) {
            let (done, answer) = crossbeam_channel::bounded(1);
            worker.mailbox.post(Letter::Port { number, port, done });
            answers.push(answer);
        }
        answers.retain(|answer| answer.recv_deadline(deadline) == Err(RecvTimeoutError::Timeout));
        lock(&self.engine.ports[number].awaited).extend(answers);
    }

    /// Tries to open a port that is down.
    fn reopen(&self, port: PortNumber) {
        let engine = self.engine;
        let watch = &engine.ports[port];
        match self.try_reopen(port) {
            Ok(()) => {
                *lock(&watch.down) = None;
                watch.reopened.fetch_add(1, Ordering::Relaxed);
                engine.events.tell(What::PortUp { interface: watch.name.clone() });
            }
            Err(reason) => {
                if let Some(down) = &mut *lock(&watch.down) {
                    down.reason = reason;
                    down.next = Instant::now() + down.wait;
                    down.wait = (down.wait * 2).min(engine.options.limits.reopen.1);
                }
            }
        }
    }

    fn try_reopen(&self, port: PortNumber) -> Result<(), String> {
        let engine = self.engine;
        let watch = &engine.ports[port];
        if self.follow_device(&watch.name)? {
            watch.is_behind_stale.store(true, Ordering::Relaxed);
        }
        let current = engine.current();
        let plan = &current.generation.ports[port];
        let interface = &current.config.interface[&plan.name];
        let opened = engine.options.opener.open(interface, plan, engine.workers.len(), &engine.umem);
        let mut parts = opened.map_err(|error| error.text)?;
        if parts.len() < watch.owners {
            return Err(format!(
                "it came back with {} queues, and {} workers had one: restart weir",
                parts.len(),
                watch.owners
            ));
        }
        parts.truncate(watch.owners);
        self.hand_out(port, parts);
        // If it fails, the next look finds it.
        let _ = self.tend_behind(port);
        Ok(())
    }

    /// The way to the host has the device's address, and follows when that has changed. Failing is no reason to
    /// take the port down, which workers have by now: it is tried again at the next look.
    fn tend_behind(&self, port: PortNumber) -> Result<(), String> {
        let stale = &self.engine.ports[port].is_behind_stale;
        if stale.load(Ordering::Relaxed) {
            let words = |reason| format!("the way to the host is not there: {reason}");
            self.renew_behind(port).map_err(words)?;
            stale.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Makes what is behind a port anew, for every worker. The old goes first: both have the same name.
    fn renew_behind(&self, number: PortNumber) -> Result<(), String> {
        let engine = self.engine;
        let count = engine.workers.len();
        self.hand_behind(number, (0..count).map(|_| Behind::Nobody).collect())?;
        let current = engine.current();
        let plan = &current.generation.ports[number];
        let interface = &current.config.interface[&plan.name];
        let behind = follow::behind(&*engine.options.opener, interface, plan, count);
        self.hand_behind(number, behind.map_err(|error| error.text)?)
    }

    fn hand_behind(&self, number: PortNumber, parts: Vec<Behind>) -> Result<(), String> {
        let deadline = Instant::now() + self.engine.options.limits.answer;
        let mut answers = Vec::new();
        for (worker, behind) in self.engine.workers.iter().zip(parts) {
            let (done, answer) = crossbeam_channel::bounded(1);
            worker.mailbox.post(Letter::Behind { number, behind, done });
            answers.push(answer);
        }
        let done = answers.into_iter().all(|answer| answer.recv_deadline(deadline).is_ok());
        if done { Ok(()) } else { Err("a worker did not take the new way to the host in time".to_owned()) }
    }

    /// A device that came back may be another one: with another number, another address. Answers whether it is.
    fn follow_device(&self, name: &str) -> Result<bool, String> {
        let engine = self.engine;
        let current = engine.current();
        let interface = &current.desired.config.interface[name];
        let device = engine.options.opener.device(name, interface).map_err(|error| error.text)?;
        let mut known = match engine.changing() {
            Ok(changer) => changer.devices.clone(),
            Err(error) => return Err(error.to_string()),
        };
        let Some(device) = device else { return Ok(false) };
        let same = known.get(name).is_some_and(|known| {
            (known.ifindex, known.mac, known.mtu) == (device.ifindex, device.mac, device.mtu)
        });
        if same {
            return Ok(false);
        }
        let words = format!("interface `{name}` came back as device number {}", device.ifindex);
        known.insert(name.to_owned(), device);
        engine.rebuild(known, &words).map_err(|error| error.to_string())?;
        Ok(true)
    }
}
