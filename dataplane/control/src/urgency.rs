//! Who is waited for, and who is not: how threads of this process share cores with workers and with each other.
//!
//! A thread begins as the one that started it. The one that answers is preferred, and so are those that help it;
//! whoever does anything else says so ([`share`]).

use std::io;
use std::time::Duration;

use weir_sys::priority::Preference;

/// How those who answer share a core: they have little to do, and are waited for.
pub(crate) const PREFERRED: Preference = Preference { nice: -10, slice: Duration::from_micros(200) };

/// Has this thread share the core so. What is long in the doing is not to take a worker's core from it, and where more
/// is not allowed all share alike.
pub(crate) fn share(preference: Preference) {
    if let Err(error) = preference.take() {
        tracing::debug!(%error, ?preference, "a thread shares its core as others do");
    }
}

/// Has this done by a thread that shares as all do, and whose threads do, and waits for it.
pub(crate) fn usually<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    let worker = || {
        share(Preference::USUAL);
        work()
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("weir-start".to_owned());
        let done = thread.spawn_scoped(scope, worker)?.join();
        Ok(done.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_of_the_usual_kind_starts_threads_of_the_usual_kind() {
        let preferred = std::thread::spawn(|| {
            // Less, so that it needs no rights; a thread may always take less.
            share(Preference { nice: -5, ..PREFERRED });
            let own = Preference::now().unwrap().nice;
            let other =
                usually(|| std::thread::spawn(Preference::now).join().unwrap().unwrap().nice).unwrap();
            (own, other)
        });
        let (own, other) = preferred.join().unwrap();
        let before = Preference::now().unwrap().nice;
        assert!(own == -5 || own == before.max(0), "{own}");
        assert_eq!(other, 0);
    }
}
