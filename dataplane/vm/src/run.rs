//! One run of a program: what compiled code and helper bodies are handed.
//!
//! A [`Run`] is made once for a worker's turn and used for each packet of it. Its head is
//! `#[repr(C)]` and read by compiled code through [`offset`]; what follows is for helpers alone.

use std::ffi::c_void;
use std::ptr;

use weir_ebpf::ProgramType;
use weir_maps::Target;

use crate::context::Context;
use crate::env::{Env, FibGateway};
use crate::interpreter::Fault;
use crate::table::{ProgramTable, View};

/// Most passes over `may_goto` in one run (`BPF_MAX_LOOPS`, include/linux/bpf.h).
pub const MAY_GOTO_MAX: u64 = 8 * 1024 * 1024;

/// A helper's body: the run, and r1 to r5. The answer goes to r0.
///
/// Callers owe arguments that fulfil the helper's signature (`weir_ebpf::abi::Helper::args`), which
/// the verifier has proven, or the checked interpreter has tested, before each call; and a run that
/// has a context and is inside a program of a type that the helper is offered to.
pub type HelperFn = unsafe extern "C" fn(*mut Run<'_>, u64, u64, u64, u64, u64) -> u64;

/// How a helper calls a function of the running program back: the run, the value that
/// `Imm64::Function` gave the register (each engine has its own: a slot for the interpreter, an
/// address of code for the JIT), and r1 to r4 of the callback. The answer is its r0.
pub type CallFunction = unsafe extern "C" fn(*mut Run<'_>, u64, u64, u64, u64, u64) -> u64;

/// What one worker hands to every program it runs.
#[repr(C)]
pub struct Run<'w> {
    /// The packet being judged; null between runs.
    pub(crate) context: *mut Context<'static>,
    /// The programs that tail calls may reach from this type of program; null when there are none.
    pub(crate) table: *const View,
    /// How helpers call back into the engine that runs now.
    pub(crate) call_function: CallFunction,
    /// What the engine that runs now keeps for itself.
    pub(crate) engine: *mut c_void,
    /// Passes over `may_goto` that are left.
    pub(crate) may_goto: u64,
    /// Tail calls taken.
    pub(crate) tail_calls: u32,
    /// The worker's number, which is what programs see as the processor's.
    pub(crate) cpu: u32,
    /// Room for compiled code.
    pub(crate) scratch: [u64; 8],

    // From here on for helpers; compiled code does not look.
    pub(crate) kind: ProgramType,
    pub(crate) redirect: Option<Redirect>,
    /// The timer whose callback this is, if it is one.
    pub(crate) timer: weir_maps::Running,
    fault: Option<Box<Fault>>,
    env: &'w mut dyn Env,
    tables: Option<&'w ProgramTable>,
}

/// Where the parts of [`Run`] that compiled code touches lie.
pub mod offset {
    use super::Run;
    use std::mem::offset_of;

    /// `*mut Context`.
    pub const CONTEXT: usize = offset_of!(Run<'static>, context);
    /// `*const View` of a program table.
    pub const TABLE: usize = offset_of!(Run<'static>, table);
    /// `CallFunction`.
    pub const CALL_FUNCTION: usize = offset_of!(Run<'static>, call_function);
    /// `*mut c_void`.
    pub const ENGINE: usize = offset_of!(Run<'static>, engine);
    /// `u64`, counts down.
    pub const MAY_GOTO: usize = offset_of!(Run<'static>, may_goto);
    /// `u32`, counts up to 33.
    pub const TAIL_CALLS: usize = offset_of!(Run<'static>, tail_calls);
    /// `u32`.
    pub const CPU: usize = offset_of!(Run<'static>, cpu);
    /// `[u64; 8]`.
    pub const SCRATCH: usize = offset_of!(Run<'static>, scratch);
}

/// Where a program asked its packet to go, before it answered `XDP_REDIRECT` or `TC_ACT_REDIRECT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redirect {
    /// `bpf_redirect`: out of a port, or into its ingress.
    Port {
        /// Which port.
        ifindex: u32,
        /// Into its ingress instead (`BPF_F_INGRESS`, tc only).
        ingress: bool,
    },
    /// `bpf_redirect_peer`: into the ingress of the other end of a pair of ports.
    Peer {
        /// The near end.
        ifindex: u32,
    },
    /// `bpf_redirect_neigh`: out of a port, the link header filled in from the neighbour table.
    Neighbour {
        /// Which port.
        ifindex: u32,
        /// The next hop, unless the packet's destination is on the link.
        hop: Option<FibGateway>,
    },
    /// `bpf_redirect_map`: where an entry of a device, CPU or socket map says.
    Map {
        /// [`weir_maps::Map::id`] of the map.
        map: u32,
        /// The entry.
        key: u32,
        /// What the entry said at the time of the call.
        target: Target,
    },
    /// `bpf_redirect_map` with `BPF_F_BROADCAST`: to every entry of a device map.
    Broadcast {
        /// [`weir_maps::Map::id`] of the map.
        map: u32,
        /// Not to the port it came in by (`BPF_F_EXCLUDE_INGRESS`).
        exclude_ingress: bool,
    },
}

/// What `call_function` is between runs. Nobody calls it: helpers run inside programs only.
unsafe extern "C" fn call_nothing(_: *mut Run<'_>, _: u64, _: u64, _: u64, _: u64, _: u64) -> u64 {
    weir_ebpf::abi::Errno::EINVAL.as_return()
}

impl<'w> Run<'w> {
    /// A run of worker `cpu` in this world, without tail calls.
    pub fn new(env: &'w mut dyn Env, cpu: u32) -> Self {
        Self {
            context: ptr::null_mut(),
            table: ptr::null(),
            call_function: call_nothing,
            engine: ptr::null_mut(),
            may_goto: MAY_GOTO_MAX,
            tail_calls: 0,
            cpu,
            scratch: [0; 8],
            kind: ProgramType::Xdp,
            redirect: None,
            timer: weir_maps::Running::default(),
            fault: None,
            env,
            tables: None,
        }
    }

    /// The same with tail calls into the programs of this table.
    ///
    /// # Panics
    /// When the maps of one of them were made for fewer workers than this one's number.
    #[must_use]
    pub fn with_table(mut self, table: &'w ProgramTable) -> Self {
        assert!((self.cpu as usize) < table.workers(), "maps have values for {} workers", table.workers());
        self.tables = Some(table);
        self.table = ptr::null();
        self
    }

    /// Where the last program asked its packet to go, if it did.
    pub fn redirect(&self) -> Option<Redirect> {
        self.redirect
    }

    /// What the interpreter caught the last program at, if it did.
    pub fn fault(&self) -> Option<&Fault> {
        self.fault.as_deref()
    }

    pub(crate) fn set_fault(&mut self, fault: Fault) {
        self.fault = Some(Box::new(fault));
    }

    /// The worker's number.
    pub fn cpu(&self) -> u32 {
        self.cpu
    }

    /// The world.
    pub fn env(&mut self) -> &mut dyn Env {
        self.env
    }

    /// Sets everything back that one packet leaves behind, for a program of this type.
    pub(crate) fn begin(&mut self, kind: ProgramType, context: &mut Context<'_>) {
        self.context = ptr::from_mut(context).cast();
        if self.kind != kind || self.table.is_null() {
            self.kind = kind;
            self.table = self.tables.map_or(ptr::null(), |tables| tables.view(kind));
        }
        self.may_goto = MAY_GOTO_MAX;
        self.tail_calls = 0;
        self.redirect = None;
        self.fault = None;
    }

    /// Forgets the packet, whose borrow ends now.
    pub(crate) fn finish(&mut self) {
        self.context = ptr::null_mut();
        self.engine = ptr::null_mut();
        self.call_function = call_nothing;
    }
}
