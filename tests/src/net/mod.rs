//! Hosts in network namespaces, and traffic that knows what became of each packet.
//!
//! A [`Namespace`] has no name: the kernel takes it away, devices and all, when its holder ends, a panic
//! and a kill included. What runs inside ([`Process`]) ends with it. [`Topology`] is host a, the weir box
//! and host b in a row; [`Weir`] is `weir run` on the box. [`flood`] sends numbered packets and says which
//! were lost, came twice, changed places, or were judged by a mixture.

pub mod deaf;
pub mod flood;
pub mod ledger;
pub mod mark;
pub mod namespace;
pub mod number;
pub mod process;
pub mod router;
pub mod swapping;
pub mod tally;
pub mod topology;
pub mod weir;

pub use flood::{Flood, Flow, Outcome};
pub use ledger::Counted;
pub use mark::Marker;
pub use namespace::Namespace;
pub use number::{Mark, Number};
pub use process::Process;
pub use swapping::Swapping;
pub use tally::Tally;
pub use topology::Topology;
pub use weir::Weir;

/// Why namespaces cannot be made here; prints the sentence that a skipped test owes its reader.
pub fn skip(test: &str) -> bool {
    match Namespace::create("probe").and_then(|probe| probe.run("ip link add name p0 type veth peer name p1"))
    {
        Ok(_) => false,
        Err(why) => {
            println!("{test}: skipped: needs CAP_NET_ADMIN and CAP_SYS_ADMIN for namespaces ({why:#})");
            true
        }
    }
}

/// Whether tests run at the scale that issues are judged by, not at the one that fits a CI run:
/// `WEIR_FULL_SCALE=1`.
pub fn full_scale() -> bool {
    std::env::var_os("WEIR_FULL_SCALE").is_some_and(|value| value != "0")
}
