//! What proving a program may take here: the verifier's own bounds, and a minute by the clock.

use std::time::Duration;

use weir_sys::clock::{Clock, now_ns};
use weir_verifier::{Options, TimeLimit};

/// How long proving one program may take. The slowest of real programs takes a second; what comes near this
/// runs on a machine that does something else.
pub const TIME_MAX: Duration = Duration::from_secs(60);

/// How programs are proven before they run.
pub fn options() -> Options {
    Options { time: Some(within(TIME_MAX)), ..Options::default() }
}

/// A limit by this machine's clock.
pub fn within(limit: Duration) -> TimeLimit {
    TimeLimit { limit, clock: || Duration::from_nanos(now_ns(Clock::Monotonic)) }
}
