//! The abstract states of a walk, for checking runs against them.
//!
//! With [`crate::Options::record_states`] the verifier keeps every state it had before each
//! instruction. Whoever runs the program can ask, before each instruction, whether the concrete
//! state lies in one of them. It must, always; if it does not, the verifier is wrong about this
//! program. The verifier does not know where memory is: the tester says how raw pointers relate to
//! regions, through [`World`].

use weir_ebpf::Reg;

use crate::scalar::Scalar;

/// Most states kept for one instruction; beyond, the instruction is left unchecked.
pub const STATES_MAX: usize = 512;

/// What a pointer points to; offsets count from where the variant says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The context.
    Context,
    /// The r10 of a frame, counted from the entry function.
    Stack {
        /// Which frame.
        frame: usize,
    },
    /// The first byte of the packet. `range` bytes from the variable part on are inside it.
    Packet {
        /// Bytes proven.
        range: u16,
    },
    /// The first byte of the metadata, likewise.
    PacketMeta {
        /// Bytes proven.
        range: u16,
    },
    /// The end of the packet.
    PacketEnd,
    /// A map (the pointer itself is opaque).
    Map {
        /// Index into `Program::maps`.
        map: u32,
        /// An inner map looked up in it.
        inner: bool,
    },
    /// The start of some value of this map.
    MapValue {
        /// Index into `Program::maps`.
        map: u32,
        /// Of an inner map looked up in it.
        inner: bool,
    },
    /// The start of some key of this map.
    MapKey {
        /// Index into `Program::maps`.
        map: u32,
    },
    /// The start of a reserved ring-buffer record.
    Record {
        /// Its size.
        bytes: u32,
    },
    /// The start of memory that a call handed out.
    Memory {
        /// Its size.
        bytes: u32,
    },
    /// A dynptr of a calling function.
    ConstDynptr,
    /// A function of the program, by index.
    Function(usize),
    /// A socket, or another structure of the kernel: nobody here ever has one.
    Socket,
}

/// A number of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number {
    /// The set.
    pub range: Scalar,
    /// Numbers with one link (not 0) and their deltas taken off are equal.
    pub link: u32,
    /// See `link`.
    pub delta: i32,
    /// Whether that is so of the low halves only; then nothing is above this one's.
    pub half: bool,
}

/// A pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pointer {
    /// To what.
    pub target: Target,
    /// Or null.
    pub maybe_null: bool,
    /// Known part of the offset.
    pub off: i32,
    /// Unknown part of the offset.
    pub var: Scalar,
    /// Packet pointers with one id have the same unknown part.
    pub id: u32,
}

/// What a register or spilled slot may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abstract {
    /// Not readable; anything.
    NotInit,
    /// A number.
    Number(Number),
    /// A pointer.
    Pointer(Pointer),
}

impl Abstract {
    /// A number of which nothing is known but this.
    pub const fn number(range: Scalar) -> Self {
        Abstract::Number(Number { range, link: 0, delta: 0, half: false })
    }

    /// A pointer to the start of something.
    pub const fn pointer(target: Target) -> Self {
        Abstract::Pointer(Pointer { target, maybe_null: false, off: 0, var: Scalar::constant(0), id: 0 })
    }

    /// The number in it.
    pub const fn as_number(&self) -> Option<Number> {
        match self {
            Abstract::Number(number) => Some(*number),
            Abstract::NotInit | Abstract::Pointer(_) => None,
        }
    }

    /// The pointer in it.
    pub const fn as_pointer(&self) -> Option<Pointer> {
        match self {
            Abstract::Pointer(pointer) => Some(*pointer),
            Abstract::NotInit | Abstract::Number(_) => None,
        }
    }

    /// The number in it, when there is but one.
    pub const fn as_constant(&self) -> Option<u64> {
        match self {
            Abstract::Number(number) => number.range.as_constant(),
            Abstract::NotInit | Abstract::Pointer(_) => None,
        }
    }
}

/// What a byte of stack may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StackByte {
    /// Anything.
    Any,
    /// Zero.
    Zero,
    /// A byte of the slot's spilled value.
    Spilled,
}

/// Eight bytes of stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackSlot {
    /// Offset of the lowest byte from r10; a negative multiple of 8.
    pub off: i32,
    /// Lowest address first.
    pub bytes: [StackByte; 8],
    /// The value whose low bytes are spilled at `off`; a number is zero-extended from them.
    pub spilled: Abstract,
}

/// A frame of a recorded state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameState {
    /// Which function, by index.
    pub function: usize,
    /// Slot of the call in the frame before.
    pub callsite: usize,
    /// Registers; r0 to r5 of a frame that is calling are not meaningful.
    pub regs: [Abstract; Reg::COUNT],
    /// The slots of which something is known.
    pub stack: Vec<StackSlot>,
}

/// A state that the verifier had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedState {
    /// The call chain, entry function first.
    pub frames: Vec<FrameState>,
}

/// The states of a walk, by instruction.
#[derive(Clone, Debug, Default)]
pub struct States {
    by_slot: Vec<Vec<RecordedState>>,
    overflowed: Vec<bool>,
}

/// A concrete frame.
#[derive(Clone, Copy, Debug)]
pub struct ConcreteFrame<'a> {
    /// Which function, by index.
    pub function: usize,
    /// Registers.
    pub regs: &'a [u64; Reg::COUNT],
    /// The 512 bytes below r10, lowest address first.
    pub stack: &'a [u8],
}

/// How raw pointers relate to memory, as the tester knows it.
pub trait World {
    /// The offset of a raw pointer from the base of a target, when it is a pointer to such a thing.
    fn offset(&self, target: Target, raw: u64) -> Option<i64>;
    /// Bytes of the packet.
    fn packet_len(&self) -> u64;
    /// Bytes of metadata before it.
    fn meta_len(&self) -> u64;
}

impl States {
    pub(crate) fn new(by_slot: Vec<Vec<RecordedState>>) -> Self {
        let overflowed = by_slot.iter().map(|states| states.len() > STATES_MAX).collect();
        Self { by_slot, overflowed }
    }

    /// The states before an instruction; `None` when there were too many to keep.
    pub fn at(&self, slot: usize) -> Option<&[RecordedState]> {
        if *self.overflowed.get(slot)? { None } else { self.by_slot.get(slot).map(Vec::as_slice) }
    }

    /// Whether a concrete state, about to run the instruction at `slot`, lies in one of the recorded ones.
    /// The error says why it does not lie in the nearest.
    pub fn check(&self, slot: usize, frames: &[ConcreteFrame<'_>], world: &impl World) -> Result<(), String> {
        let Some(states) = self.at(slot) else { return Ok(()) };
        let mut why = format!("insn {slot}: no path was seen to come here");
        for state in states {
            match state.admits(frames, world) {
                Ok(()) => return Ok(()),
                Err(reason) => why = format!("insn {slot}: none of {} states: {reason}", states.len()),
            }
        }
        Err(why)
    }
}

/// What a name is of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Name {
    Number,
    LowHalf,
    Packet,
}

/// Names and the concrete numbers they were found to stand for.
#[derive(Default)]
struct Links(Vec<(u32, Name, u64)>);

impl Links {
    fn agree(&mut self, id: u32, of: Name, base: u64) -> bool {
        if id == 0 {
            return true;
        }
        match self.0.iter().find(|link| link.0 == id && link.1 == of) {
            Some(link) => link.2 == base,
            None => {
                self.0.push((id, of, base));
                true
            }
        }
    }
}

impl RecordedState {
    /// Whether a concrete state is one of those this describes; the error says what is not.
    pub fn admits(&self, frames: &[ConcreteFrame<'_>], world: &impl World) -> Result<(), String> {
        // A global function is proven by itself: its states know nothing of its callers.
        let alone = self.frames.first().is_some_and(|frame| frame.function != 0);
        let above = frames.len().checked_sub(self.frames.len()).filter(|above| alone || *above == 0);
        let Some(above) = above else {
            return Err(format!("{} frames, not {}", frames.len(), self.frames.len()));
        };
        let frames = &frames[above..];
        let mut links = Links::default();
        for (depth, (state, frame)) in self.frames.iter().zip(frames).enumerate() {
            if state.function != frame.function {
                return Err(format!("frame {depth} is function {}, not {}", frame.function, state.function));
            }
            let calling = depth + 1 < frames.len();
            for reg in Reg::ALL {
                if calling && reg.index() < 6 {
                    continue;
                }
                let raw = frame.regs[reg.index()];
                state.regs[reg.index()]
                    .admits(raw, above, world, &mut links)
                    .map_err(|reason| format!("frame {depth} {reg} = {raw:#x}: {reason}"))?;
            }
            for slot in &state.stack {
                slot.admits(frame.stack, above, world, &mut links)
                    .map_err(|reason| format!("frame {depth} stack {}: {reason}", slot.off))?;
            }
        }
        Ok(())
    }
}

impl StackSlot {
    fn admits(
        &self,
        stack: &[u8],
        above: usize,
        world: &impl World,
        links: &mut Links,
    ) -> Result<(), String> {
        let at =
            usize::try_from(stack.len() as i64 + i64::from(self.off)).map_err(|_| "outside".to_owned())?;
        let bytes = stack.get(at..at + 8).ok_or_else(|| "outside".to_owned())?;
        let mut raw = [0; 8];
        let mut spilled = 0;
        for (index, (kind, byte)) in self.bytes.iter().zip(bytes).enumerate() {
            match kind {
                StackByte::Any => {}
                StackByte::Zero if *byte == 0 => {}
                StackByte::Zero => return Err(format!("byte {index} is {byte:#x}, not 0")),
                StackByte::Spilled => {
                    raw[index] = *byte;
                    spilled += 1;
                }
            }
        }
        if spilled == 0 {
            return Ok(());
        }
        let raw = u64::from_le_bytes(raw);
        self.spilled.admits(raw, above, world, links).map_err(|reason| format!("spilled {raw:#x}: {reason}"))
    }
}

impl Abstract {
    fn admits(&self, raw: u64, above: usize, world: &impl World, links: &mut Links) -> Result<(), String> {
        match *self {
            Abstract::NotInit => Ok(()),
            Abstract::Number(Number { range, link, delta, half }) => {
                if !range.contains(raw) {
                    return Err(format!(
                        "not in [{}, {}] [{}, {}] ({:#x}; {:#x})",
                        range.umin(),
                        range.umax(),
                        range.smin(),
                        range.smax(),
                        range.tnum().value(),
                        range.tnum().mask()
                    ));
                }
                let base = raw.wrapping_sub(i64::from(delta) as u64);
                let whole = half || links.agree(link, Name::Number, base);
                if !whole || !links.agree(link, Name::LowHalf, base & u64::from(u32::MAX)) {
                    return Err(format!("not as linked by {link}"));
                }
                Ok(())
            }
            Abstract::Pointer(Pointer { maybe_null: true, .. }) if raw == 0 => Ok(()),
            // Where it starts, only the call knew that handed it out.
            Abstract::Pointer(Pointer { target: Target::Memory { .. } | Target::ConstDynptr, .. }) => Ok(()),
            Abstract::Pointer(Pointer { target, off, var, id, .. }) => {
                let target = match target {
                    Target::Stack { frame } => Target::Stack { frame: frame + above },
                    other => other,
                };
                let Some(offset) = world.offset(target, raw) else {
                    return Err(format!("not a pointer to {target:?}"));
                };
                let unknown = offset.wrapping_sub(i64::from(off)) as u64;
                if !var.contains(unknown) {
                    return Err(format!(
                        "offset {offset} from {target:?}, not {off} + [{}, {}]",
                        var.smin(),
                        var.umax()
                    ));
                }
                let (of, range, len) = match target {
                    Target::Packet { range } => (Name::Packet, range, world.packet_len()),
                    Target::PacketMeta { range } => (Name::Packet, range, world.meta_len()),
                    _ => return Ok(()),
                };
                if !links.agree(id, of, unknown) {
                    return Err(format!("not where packet position {id} is"));
                }
                if range > 0 && unknown.saturating_add(u64::from(range)) > len {
                    return Err(format!("{range} bytes proven from {unknown} on, of {len}"));
                }
                Ok(())
            }
        }
    }
}
