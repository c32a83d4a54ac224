//! Running a verified program: interpreter, JIT, helpers, program types.
//!
//! A [`Loaded`] judges packets: a [`Context`] is the packet, a [`Run`] what a worker brings along. Read
//! [`context`], [`run`] and [`table`] first (what all engines share), then [`interpreter`] (the reference),
//! [`helpers`], and [`jit`] last. Absent on purpose: maps' insides, ports, routes and clocks, which come
//! through [`Env`].
//!
//! # Where a program sees something else than on Linux 6.18
//!
//! Everything else is compared with the kernel in `tests/tests/{helpers,calls,context}.rs`.
//!
//! * *No socket stands behind a packet*: `skb->sk` is null, `bpf_get_socket_cookie` answers 0.
//! * *No `CHECKSUM_COMPLETE`*: `bpf_csum_update` answers `-ENOTSUPP`; `BPF_F_RECOMPUTE_CSUM` and
//!   `BPF_F_PSEUDO_HDR` have no `skb->csum` to mend.
//! * *Buffers do not grow*: helpers that lengthen an skb use head- and tailroom, then answer `-ENOMEM`.
//! * *Metadata moves with the packet* when an skb is lengthened at its front; the kernel overwrites it.
//! * *`may_goto` counts* 8 Mi passes in a run, where the kernel measures a quarter of a second
//!   (`a_budget_ends_what_may_go_on`).
//! * *`bpf_skb_ecn_set_ce` leaves packets with a VLAN tag inside alone*; the kernel writes into the tag
//!   (`tc_packets_change_alike` says which). On a real receive path the tag is beside the packet.
//! * *Flow hashes are weir's own* (`bpf_get_hash_recalc`, `skb->hash`); the kernel's are keyed by a secret.
//! * *`%p` prints the number* in `bpf_trace_printk`; the kernel prints a hash of it.
//! * *A tail call to a program of another type falls through*; the kernel keeps such a program out of the
//!   array.
//! * *`bpf_jiffies64` ticks every 4 ms*, as with `CONFIG_HZ=250`.
//! * *A failed tail call* leaves an unspecified number in r0, as everywhere.

pub mod bare;
pub mod context;
pub mod env;
pub mod helpers;
pub mod interpreter;
pub mod jit;
pub mod loaded;
pub mod mutant;
pub mod run;
pub mod table;
pub mod test_run;
pub mod timers;

pub use context::{Context, Slot, slot};
pub use env::{Clock, Env, TestEnv};
pub use helpers::body;
pub use interpreter::{Checked, Fault, Observer, Place, Step};
pub use loaded::{Engine, LoadError, Loaded};
pub use run::{CallFunction, HelperFn, Redirect, Run};
pub use table::ProgramTable;
pub use test_run::test_run;
