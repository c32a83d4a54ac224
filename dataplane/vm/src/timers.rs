//! Timers whose time has come.
//!
//! A callback runs between packets, on the worker whose program started it, as the kernel runs it in a soft
//! interrupt of the processor that did. It has no packet; it is not counted as a run of its program. The program
//! that set it is kept as long as a timer has its callback, also when another generation runs by then: maps that
//! are carried over keep their timers, and those call what set them. When no loaded program uses a map any more,
//! its timers are cancelled.
//!
//! Whose clock that is, is the caller's matter: [`run_due`] is told the time. Workers use the clock that programs
//! read by `bpf_ktime_get_ns`, so that a world whose time is made up makes up the time of its timers, too.

use std::sync::Arc;

use weir_maps::{Due, Map, NEVER, Timers};

use crate::context::Context;
use crate::interpreter::Code;
use crate::run::Run;

/// Calls the callbacks of a map's timers that are due on the run's worker, earliest first; answers how many.
/// What a callback arms waits for the next time, so that this comes to an end.
pub fn run_due(map: &Arc<Map>, run: &mut Run<'_>, now_ns: u64, limit: usize) -> usize {
    let Some(timers) = map.timers() else { return 0 };
    let worker = run.cpu as usize;
    if timers.next(worker) > now_ns {
        return 0;
    }
    let armed = timers.armed();
    let due = std::iter::from_fn(|| timers.due(worker, now_ns, armed)).take(limit);
    due.inspect(|due| call(map, timers, run, due)).count()
}

/// When the next timer of these maps is due on a worker, if any is armed.
pub fn next_due<'m>(maps: impl IntoIterator<Item = &'m Arc<Map>>, worker: usize) -> Option<u64> {
    let next = maps.into_iter().filter_map(|map| map.timers()).map(|timers| timers.next(worker));
    next.min().filter(|next| *next != NEVER)
}

fn call(map: &Arc<Map>, timers: &Timers, run: &mut Run<'_>, due: &Due) {
    if let Ok(code) = Arc::clone(&due.owner).downcast::<Code>() {
        let mut nothing = Context::new(&mut [], 0..0);
        run.timer = timers.running(due);
        map.timed_entry(due, |key, value| {
            let map = Arc::as_ptr(map).expose_provenance();
            let args = [map, key.expose_provenance(), value.expose_provenance()].map(|arg| arg as u64);
            code.call_later(run, &mut nothing, due.function, args);
        });
        run.timer = weir_maps::Running::default();
    }
    timers.done(due);
}
