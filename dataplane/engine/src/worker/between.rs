//! What a worker does between its turns: it sleeps, its ports are replaced, it says where its frames are, it ends.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam_utils::CachePadded;
use weir_io::{Port, Wait};
use weir_packet::{BATCH, Batch};
use weir_vm::timers::next_due;
use weir_vm::{Clock, Env};

use super::Worker;
use crate::counters::{PortCounters, Totals};
use crate::exhale::close;
use crate::generation::PortNumber;
use crate::handoff::Inbox;
use crate::host::{Behind, Host};
use crate::ledger::{Account, Statement};
use crate::mailbox::{Mailbox, Window};
use crate::reason::Reason;

/// How long a sleep may be when a port cannot be waited for.
const LATER: Duration = Duration::from_millis(1);

impl Worker {
    /// Ends the worker: ports give their frames back, and whatever was on its way is sent first.
    /// Answers how many frames the ports still held.
    pub fn close(mut self) -> usize {
        for at in 0..self.inboxes.len() {
            let port = self.inboxes[at].port;
            let waiting = |inbox: &Inbox| !inbox.is_empty();
            while waiting(&self.inboxes[at]) {
                self.inboxes[at].take(&mut self.inhaled, BATCH);
                // Counted as transmitted by who handed them over; they are not, and say why.
                self.shared.counters[port].returned.add(self.inhaled.len() as u64);
                let down = &self.shared.counters[port].dropped[Reason::TxDown as usize];
                down.add(self.inhaled.len() as u64);
                self.pool.put_all(&mut self.inhaled);
            }
        }
        for port in 0..self.ports.len() {
            self.send(port);
        }
        if let Some(host) = &mut self.host {
            host.close(&mut self.pool, &self.shared.counters);
        }
        let Self { ports, pool, shared, .. } = &mut self;
        let each = ports.iter_mut().zip(shared.counters.iter());
        each.map(|(port, counters)| close(&mut **port, pool, counters)).sum()
    }

    /// Puts something else behind a port. Between turns.
    pub fn replace_behind(&mut self, port: PortNumber, behind: Behind) {
        if let Some(host) = &mut self.host {
            host.replace(port, behind, &mut self.pool);
        }
    }

    /// Puts another port in the place of one, whose frames come back. Between turns.
    pub fn replace_port(&mut self, number: PortNumber, port: Box<dyn Port>) {
        let Some(place) = self.ports.get_mut(number) else { return };
        close(&mut **place, &mut self.pool, &self.shared.counters[number]);
        self.shared.windows.replace(number, window(&*port));
        *place = port;
    }

    /// Where this worker's frames are, and what it has counted. Between turns.
    pub fn statement(&self) -> Statement {
        let totals = |counters: &CachePadded<PortCounters>| {
            let mut totals = Totals::default();
            counters.add_to(&mut totals);
            totals
        };
        Statement { account: self.account(), ports: self.shared.counters.iter().map(totals).collect() }
    }

    /// Where this worker's frames are. Between turns.
    pub fn account(&self) -> Account {
        let mut account = Account {
            free: self.pool.free(),
            spare: self.env.spare.free(),
            batch: self.inhaled.len() + self.exhaled.iter().map(Batch::len).sum::<usize>(),
            held: self.host.as_ref().map_or(0, Host::held),
            from_home: self.leveller.from_home(),
            handed: self.handed.iter().map(|handed| handed.load(Ordering::Relaxed)).sum(),
            received: self.inboxes.iter().map(Inbox::received).sum(),
            ..Account::default()
        };
        for held in self.ports.iter().filter_map(|port| port.gauges()).map(|gauges| gauges.held()) {
            account.ports.fill += held.fill;
            account.ports.rx += held.rx;
            account.ports.tx += held.tx;
            account.ports.completion += held.completion;
            account.ports.device += held.device;
        }
        account
    }

    /// Sleeps until a port has something, a timer is due or somebody wants something, at most `limit`. Holds up nobody meanwhile.
    pub fn sleep(&mut self, mailbox: &Mailbox, limit: Duration) {
        // Nobody is woken when a neighbour has answered: those who wait for that are looked after soon.
        let waiting = self.host.as_ref().is_some_and(Host::is_waiting);
        let mut limit = if waiting { limit.min(LATER) } else { limit };
        match self.until_timer() {
            Some(Duration::ZERO) => return,
            Some(until) => limit = limit.min(until),
            None => {}
        }
        self.fds.clear();
        for port in &self.ports {
            match port.wait() {
                Wait::Ready => return,
                Wait::Readable(fd) => self.fds.push(fd),
                Wait::Later => limit = limit.min(LATER),
                Wait::End => {}
            }
        }
        self.rest();
        self.shared.pulse.sleeps.add(1);
        let Self { inboxes, fds, .. } = self;
        mailbox.sleep(fds, limit, || inboxes.iter().any(|inbox| !inbox.is_empty()));
    }

    /// Says that no generation is used until the next turn: before a wait.
    pub fn rest(&mut self) {
        self.shared.cut.rest(self.shared.totals());
        self.generations.rest();
        self.env.rest();
    }

    /// How long until a timer is due, if one is armed.
    fn until_timer(&mut self) -> Option<Duration> {
        let next = next_due(&self.generations.now().timed, self.number)?;
        Some(Duration::from_nanos(next.saturating_sub(self.env.now_ns(Clock::Monotonic))))
    }
}

/// What is to be seen of a port from outside.
pub(super) fn window(port: &dyn Port) -> Window {
    Window { queue: port.queue(), gauges: port.gauges() }
}
