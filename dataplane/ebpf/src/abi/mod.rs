//! The world a program sees: helpers, map kinds, context fields and verdicts, as tables.
//!
//! Names, numbers and layouts are the kernel's (include/uapi/linux/bpf.h, pkt_cls.h); programs are
//! compiled against them.

pub mod context;
pub mod errno;
pub mod helper;
pub mod kernel_struct;
pub mod kfunc;
pub mod map_kind;
pub mod map_struct;
pub mod names;
mod offer;
pub mod plain;
pub mod program_type;
pub mod verdict;

pub use context::{ContextField, SkbField, XdpField};
pub use errno::Errno;
pub use helper::Helper;
pub use kernel_struct::KernelStruct;
pub use kfunc::{Callee, Kfunc};
pub use map_kind::MapKind;
pub use map_struct::{MAP_HEAD_BYTES, MapField, MapFieldKind};
pub use plain::PlainField;
pub use program_type::{AttachType, PacketUse, ProgramType, Support, View};
pub use verdict::{TcAction, XdpAction};

/// Most tail calls one run may take (`MAX_TAIL_CALL_CNT`, include/linux/bpf.h).
pub const MAX_TAIL_CALLS: u32 = 33;
/// Most nested calls of a program's own functions, the first included (`MAX_CALL_FRAMES`).
pub const MAX_CALL_FRAMES: usize = 8;
/// Bytes of stack of a program, all frames of a call chain together (`MAX_BPF_STACK`).
pub const MAX_STACK: usize = 512;
