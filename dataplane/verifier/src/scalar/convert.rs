//! Moves, extensions, byte swaps and loads: numbers that change their width.

use weir_ebpf::isa::{Size, SwapKind, Width};

use super::bounds::{Bounds, Hull, Span};
use super::tnum::{Tnum, low_mask};
use super::{Number, Scalar, Word};
use crate::bugs::{Bug, seeded};

impl<const BITS: u32, const HALF: u32> Number<BITS, HALF> {
    /// The low half, zeros above.
    pub fn mov32(&self) -> Self {
        if seeded(Bug::SignExtendMov32) {
            return self.sign_extend_low::<HALF>();
        }
        Self { tnum: self.tnum.low(HALF), low: self.low, ..Self::unknown() }.settled()
    }

    /// The low `FROM` bits as a word of their own.
    fn cut<const FROM: u32>(&self) -> Word<FROM> {
        let tnum = self.tnum.low(FROM);
        let by_full = self.full.truncate::<FROM>();
        let by_low = if FROM <= HALF { self.low.truncate::<FROM>() } else { Bounds::UNKNOWN };
        let bits = Bounds::unsigned(tnum.value(), tnum.max()).unwrap_or(Bounds::UNKNOWN);
        let bounds = by_full.meet(&by_low).and_then(|both| both.meet(&bits)).unwrap_or(bits);
        Word { tnum, bounds }
    }

    /// The low `FROM` bits, zeros above.
    pub(super) fn zero_extend_low<const FROM: u32>(&self) -> Self {
        let word = self.cut::<FROM>();
        let mut hull = Hull::default();
        hull.add(Span { lo: word.bounds.umin(), hi: word.bounds.umax() });
        Self { tnum: word.tnum, full: hull.finish().unwrap_or(Bounds::UNKNOWN), low: Bounds::UNKNOWN }
            .settled()
    }

    /// The low `FROM` bits, copies of their top bit above.
    pub(super) fn sign_extend_low<const FROM: u32>(&self) -> Self {
        let word = self.cut::<FROM>();
        let tnum = word.tnum.sign_extend(FROM).low(BITS);
        if seeded(Bug::MovsxKeepsRange) {
            return Self { tnum, full: self.full, low: Bounds::UNKNOWN }.reduced().unwrap_or(*self);
        }
        let mut hull = Hull::default();
        for span in word.bounds.spans() {
            let extended = |pattern| Bounds::<FROM>::signed_of(pattern) as u64 & low_mask(BITS);
            hull.add(Span { lo: extended(span.lo), hi: extended(span.hi) });
        }
        Self { tnum, full: hull.finish().unwrap_or(Bounds::UNKNOWN), low: Bounds::UNKNOWN }.settled()
    }
}

impl Scalar {
    /// `dst = (s8|s16|s32) src`: the low bytes sign-extended to the width, zeros above that.
    pub fn movsx(&self, width: Width, from: Size) -> Self {
        let extended = match from {
            Size::B => self.sign_extend_low::<8>(),
            Size::H => self.sign_extend_low::<16>(),
            Size::W => self.sign_extend_low::<32>(),
            Size::DW => *self,
        };
        match width {
            Width::W32 => extended.mov32(),
            Width::W64 => extended,
        }
    }

    /// The low `size` bytes, swapped as the instruction says (the machine is little endian), zeros above.
    pub fn swap(&self, kind: SwapKind, size: Size) -> Self {
        let cut = match size {
            Size::B => self.zero_extend_low::<8>(),
            Size::H => self.zero_extend_low::<16>(),
            Size::W => self.mov32(),
            Size::DW => *self,
        };
        match kind {
            SwapKind::ToLe => cut,
            SwapKind::ToBe | SwapKind::Bswap => {
                let swapped = cut.tnum.swap_bytes();
                let tnum = Tnum::new(swapped.value(), swapped.mask()).shr(64 - size.bits());
                if seeded(Bug::SwapKeepsRange) {
                    return Self { tnum, ..cut };
                }
                Self::from_tnum(tnum)
            }
        }
    }

    /// What a load of unknown memory gives.
    pub fn from_load(size: Size, signed: bool) -> Self {
        let positive = u32::from(seeded(Bug::LoadPositive) && size == Size::DW);
        let loaded = Self::from_tnum(Tnum::new(0, low_mask(size.bits() - positive)));
        if signed { loaded.movsx(Width::W64, size) } else { loaded }
    }
}
