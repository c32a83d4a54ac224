//! Which memory a running program may touch, and what an address means.

use std::ops::Range;
use std::sync::Arc;

use weir_ebpf::ProgramType;
use weir_ebpf::abi::context::FieldAccess;
use weir_ebpf::abi::map_kind::create_flags;
use weir_ebpf::abi::{ContextField, MAX_STACK, MapKind};
use weir_maps::Map;

use super::fault::{Access, FaultKind, Near};
use crate::context::{Context, slot};
use crate::helpers::Dynptr;

/// Where a value points, if it is a pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Into the context, at a byte of the program's view.
    Context {
        /// Bytes from its start.
        offset: u64,
    },
    /// Into a stack frame.
    Stack {
        /// Which frame; 0 is the entry function's.
        frame: usize,
        /// Bytes from the frame's top, negative: as an offset of r10.
        offset: i64,
    },
    /// Into the packet or its metadata, or right behind them.
    Packet {
        /// Bytes from the packet's first byte; negative in the metadata.
        offset: i64,
    },
    /// Into a value of a map.
    MapValue {
        /// [`Map::id`].
        map: u32,
    },
    /// At a map itself.
    Map {
        /// [`Map::id`].
        map: u32,
    },
    /// Into a reserved ring record.
    Record {
        /// Bytes from its start.
        offset: u64,
        /// Bytes of the record.
        size: u64,
    },
    /// Into memory that the caller granted.
    Granted {
        /// Bytes from its start.
        offset: u64,
        /// Bytes of the region.
        size: u64,
    },
    /// At a function of the program.
    Function {
        /// Its first slot.
        slot: usize,
    },
}

/// Words of a frame's stack.
const WORDS: usize = MAX_STACK / 8;

/// The stack of each frame; more than are active after a deep call.
pub(crate) type Stacks = Vec<Box<[u64; WORDS]>>;

/// High bits of the values that stand for functions: no address looks like them.
const FUNCTION: u64 = 0xfb9f_0000_0000_0000;

/// The register value that stands for a function.
pub(super) fn function_value(slot: usize) -> u64 {
    FUNCTION | slot as u64
}

/// The function that a register value stands for.
pub(super) fn function_slot(value: u64) -> Option<usize> {
    (value & 0xffff_0000_0000_0000 == FUNCTION).then_some((value & !0xffff_0000_0000_0000) as usize)
}

/// All that a run may touch besides the maps of the program that is running.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) context: *mut Context<'static>,
    pub(super) kind: ProgramType,
    pub(super) stack: Stacks,
    /// Keys that callbacks of a map walk were given: address and bytes, readable.
    pub(super) keys: Vec<(u64, u64)>,
    /// Reserved ring records: address and bytes.
    pub(super) records: Vec<(u64, u64)>,
    /// Dynptrs on the stack: where each stands, and what it was when a call left it.
    pub(super) views: Vec<(u64, Dynptr)>,
    /// Inner maps that a lookup answered.
    pub(super) met: Vec<*const Map>,
    granted: Option<Range<u64>>,
}

impl Memory {
    pub(super) fn new(
        context: *mut Context<'static>,
        kind: ProgramType,
        granted: Option<Range<u64>>,
        stack: Stacks,
    ) -> Self {
        Self {
            context,
            kind,
            stack,
            keys: Vec::new(),
            records: Vec::new(),
            views: Vec::new(),
            met: Vec::new(),
            granted,
        }
    }

    /// Zeroes a frame's stack, as for a function that begins.
    pub(super) fn clear_frame(&mut self, frame: usize) {
        if let Some(stack) = self.stack.get_mut(frame) {
            stack.fill(0);
        }
    }

    /// The value of r10 in a frame: the address behind its stack.
    pub(super) fn frame_top(&mut self, frame: usize) -> u64 {
        while self.stack.len() <= frame {
            self.stack.push(Box::new([0; WORDS]));
        }
        self.stack[frame].as_mut_ptr().expose_provenance() as u64 + MAX_STACK as u64
    }

    /// The 8 bytes at `offset` of a frame; the observer checked both.
    pub(super) fn stack_word(&self, frame: usize, offset: i64) -> u64 {
        self.stack[frame][(MAX_STACK as i64 + offset) as usize / 8]
    }

    fn frame(&self, frame: usize) -> Range<u64> {
        let base = self.stack[frame].as_ptr().addr() as u64;
        base..base + MAX_STACK as u64
    }

    /// The value of r1 at entry.
    pub(super) fn context_value(&self) -> u64 {
        self.context.expose_provenance() as u64
    }

    fn context(&self) -> &Context<'static> {
        // SAFETY: `Machine::start` got it from a `Context` borrowed for the whole run.
        unsafe { &*self.context }
    }

    pub(super) fn packet_address(&self) -> u64 {
        self.packet().end - self.packet_len()
    }

    pub(super) fn packet_len(&self) -> u64 {
        self.context().len() as u64
    }

    pub(super) fn meta_len(&self) -> u64 {
        self.context().meta_range().len() as u64
    }

    fn packet(&self) -> Range<u64> {
        let base = self.context().room().as_ptr().addr() as u64;
        let (meta, data) = (self.context().meta_range(), self.context().data_range());
        base + meta.start as u64..base + data.end as u64
    }

    /// Checks an access to anything but the context.
    pub(super) fn check(
        &self,
        address: u64,
        size: u64,
        access: Access,
        frames: usize,
        maps: &[Arc<Map>],
    ) -> Result<(), FaultKind> {
        if self.allowed(address, size, access, frames, maps) {
            return Ok(());
        }
        Err(FaultKind::OutOfBounds { access, size, address, near: self.near(address, frames) })
    }

    pub(super) fn allowed(
        &self,
        address: u64,
        size: u64,
        access: Access,
        frames: usize,
        maps: &[Arc<Map>],
    ) -> bool {
        let inside = |range: Range<u64>| holds(&range, address, size);
        self.in_stack(address, size, frames)
            || inside(self.packet())
            || self.granted.clone().is_some_and(inside)
            || access == Access::Read
                && self.keys.iter().any(|&(at, len)| holds(&(at..at + len), address, size))
            || self.records.iter().any(|&(start, len)| holds(&(start..start + len), address, size))
            || access == Access::Read && self.maps(maps).any(|map| in_head(map, address, size))
            || self.owner(address, size, maps).is_some_and(|map| {
                // Locks and timers are for their helpers alone.
                map_allows(map, access) && !map.has_special(address as usize, size as usize)
            })
    }

    pub(super) fn in_stack(&self, address: u64, size: u64, frames: usize) -> bool {
        (0..frames).any(|frame| holds(&self.frame(frame), address, size))
    }

    /// The map, of these or of those met, that the address belongs to a value of.
    pub(super) fn owner<'m>(&'m self, address: u64, size: u64, maps: &'m [Arc<Map>]) -> Option<&'m Map> {
        // A ring owns all of its memory; a program, only the records that it reserved.
        let values = |map: &&Map| map.spec().kind != MapKind::Ringbuf;
        self.maps(maps).filter(values).find(|map| map.owns(address as usize, size as usize))
    }

    /// The map that the value is the address of.
    pub(super) fn map_at<'m>(&'m self, value: u64, maps: &'m [Arc<Map>]) -> Option<&'m Map> {
        self.maps(maps).find(|map| std::ptr::from_ref(*map).addr() as u64 == value)
    }

    fn maps<'m>(&'m self, maps: &'m [Arc<Map>]) -> impl Iterator<Item = &'m Map> {
        // SAFETY: inner maps live until their outer map lets go of retired ones, which needs that no run
        // is under way.
        let met = self.met.iter().map(|map| unsafe { &**map });
        maps.iter().map(Arc::as_ref).chain(met)
    }

    /// The byte of the program's view that an address means, if it is in the context.
    pub(super) fn context_offset(&self, address: u64) -> Option<u64> {
        if self.granted.is_some() {
            return None;
        }
        let offset = address.wrapping_sub(self.context.addr() as u64);
        (offset < size_of::<Context<'static>>() as u64).then_some(offset)
    }

    /// Reads a context field through the table.
    pub(super) fn load_context(&self, offset: u64, size: u64) -> Result<u64, FaultKind> {
        let (place, bytes) = self.translate(offset, size, Access::Read)?;
        let mut value = [0; 8];
        // SAFETY: `slot` names `bytes` (at most 8) initialised bytes inside the context.
        unsafe { place.copy_to(value.as_mut_ptr(), bytes) };
        Ok(u64::from_le_bytes(value))
    }

    /// Writes a context field through the table; `negative` when the value is a negative immediate, which
    /// the kernel compares as such with the field's limit.
    pub(super) fn store_context(
        &mut self,
        offset: u64,
        size: u64,
        value: u64,
        negative: bool,
    ) -> Result<(), FaultKind> {
        let (place, bytes) = self.translate(offset, size, Access::Write)?;
        let limit = ContextField::at(self.kind, offset as u32).and_then(|field| slot(field).ignored_from);
        if limit.is_some_and(|limit| !negative && value >= u64::from(limit)) {
            return Ok(());
        }
        let value = value.to_le_bytes();
        // SAFETY: `slot` names `bytes` (at most 8) bytes of a plain number inside the context.
        unsafe { value.as_ptr().copy_to(place, bytes) };
        Ok(())
    }

    /// Where an access to the program's view goes, and how many bytes it then has.
    fn translate(&self, offset: u64, size: u64, access: Access) -> Result<(*mut u8, usize), FaultKind> {
        let field = ContextField::at(self.kind, offset as u32);
        let refuse = FaultKind::Context { access, size, offset, field };
        let Some(field) = field else { return Err(refuse) };
        let within = offset - u64::from(field.offset());
        let allowed = match field.access(self.kind) {
            FieldAccess::None => false,
            FieldAccess::Read => access == Access::Read,
            FieldAccess::ReadWrite => true,
        };
        if !allowed || !offset.is_multiple_of(size) || within + size > u64::from(field.size()) {
            return Err(refuse);
        }
        let slot = slot(field);
        // A pointer is read whole or not at all.
        if slot.size > field.size() && size != u64::from(field.size()) {
            return Err(refuse);
        }
        let (start, bytes) = slot.access(field.size(), within as u32, size as u32, access == Access::Write);
        let place = self.context.cast::<u8>().wrapping_add(start as usize);
        Ok((place, bytes as usize))
    }

    /// What an address means to the program.
    pub(super) fn place(&self, value: u64, frames: usize, maps: &[Arc<Map>]) -> Option<Place> {
        if let Some(slot) = function_slot(value) {
            return Some(Place::Function { slot });
        }
        if let Some(offset) = self.context_offset(value) {
            return Some(Place::Context { offset });
        }
        let in_frame = |frame: &usize| {
            let range = self.frame(*frame);
            value > range.start && value <= range.end
        };
        if let Some(frame) = (0..frames).find(in_frame) {
            return Some(Place::Stack { frame, offset: value as i64 - self.frame(frame).end as i64 });
        }
        let packet = self.packet();
        if (packet.start..=packet.end).contains(&value) {
            let data = packet.end - self.context().len() as u64;
            return Some(Place::Packet { offset: value as i64 - data as i64 });
        }
        if let Some((start, size)) =
            self.records.iter().find(|(start, len)| (*start..start + len).contains(&value))
        {
            return Some(Place::Record { offset: value - start, size: *size });
        }
        if let Some(granted) = self.granted.clone().filter(|range| range.contains(&value)) {
            return Some(Place::Granted { offset: value - granted.start, size: granted.end - granted.start });
        }
        if let Some(map) = self.map_at(value, maps) {
            return Some(Place::Map { map: map.id() });
        }
        self.owner(value, 1, maps).map(|map| Place::MapValue { map: map.id() })
    }

    /// The region that an address is nearest to, within a page.
    pub(super) fn near(&self, address: u64, frames: usize) -> Near {
        const NEAR: u64 = 4096;
        let mut regions = vec![
            ("packet", self.packet()),
            ("context", self.context.addr() as u64..self.context.addr() as u64 + 1),
        ];
        regions.extend((0..frames).map(|frame| ("stack frame", self.frame(frame))));
        regions.extend(self.granted.clone().map(|range| ("granted memory", range)));
        regions.extend(self.records.iter().map(|&(start, len)| ("record", start..start + len)));
        let distance = |range: &Range<u64>| match address {
            before if before < range.start => range.start - before,
            after => after.saturating_sub(range.end),
        };
        let nearest = regions.into_iter().min_by_key(|(_, range)| distance(range));
        Near(
            nearest.filter(|(_, range)| distance(range) < NEAR).map(|(name, range)| {
                (name, address.wrapping_sub(range.start) as i64, range.end - range.start)
            }),
        )
    }
}

fn holds(range: &Range<u64>, address: u64, size: u64) -> bool {
    address >= range.start && address.checked_add(size).is_some_and(|end| end <= range.end)
}

/// What every map begins with, for programs to read.
fn in_head(map: &Map, address: u64, size: u64) -> bool {
    let head = map.head();
    holds(&(head.start as u64..head.end as u64), address, size)
}

fn map_allows(map: &Map, access: Access) -> bool {
    match access {
        Access::Read => map.spec().flags & create_flags::WRONLY_PROG == 0,
        Access::Write => map.spec().flags & create_flags::RDONLY_PROG == 0,
    }
}
