//! Chance to steps.

use weir_ebpf::ProgramType;
use weir_ebpf::isa::{Size, Source};

use super::plain::Scope;
use super::{Access, Guard, KEYS, Random, Step, Turn, VALUE_BYTES, maps};

/// Writes steps.
pub(super) struct Author<'r> {
    pub(super) random: &'r mut Random,
    pub(super) kind: ProgramType,
    /// Branches that may still be made: paths double with each.
    pub(super) branches: usize,
    pub(super) functions: usize,
    pub(super) callbacks: Vec<Turn>,
    pub(super) maps: bool,
}

impl<'r> Author<'r> {
    /// One for functions, which have numbers alone.
    pub(super) fn plain(random: &'r mut Random, kind: ProgramType) -> Self {
        Self { random, kind, branches: 2, functions: 0, callbacks: Vec::new(), maps: false }
    }

    pub(super) fn steps(&mut self, scope: Scope, least: usize, most: usize, depth: usize) -> Vec<Step> {
        let count = least + self.random.below(most - least + 1);
        (0..count).map(|_| self.step(scope, depth)).collect()
    }

    fn step(&mut self, scope: Scope, depth: usize) -> Step {
        match self.random.below(100) {
            0..10 if depth > 0 && self.branches > 0 => self.branch(scope, depth),
            10..14 if depth > 0 && scope.may_loop() => self.repeat(scope, depth),
            14..18 => self.stack_access(scope),
            18..22 => scope.small(self.random),
            22..24 => scope.exchange(self.random),
            24..46 if scope.is_main() => self.world(scope, depth),
            _ => Step::Plain(scope.plain(self.random)),
        }
    }

    fn branch(&mut self, scope: Scope, depth: usize) -> Step {
        self.branches -= 1;
        let (width, cond) = scope.comparison(self.random);
        let dst = scope.any(self.random);
        let src = scope.source(self.random);
        let then = self.steps(scope, 1, 4, depth - 1);
        let other = if self.random.percent(50) { self.steps(scope, 1, 4, depth - 1) } else { Vec::new() };
        Step::If { width, cond, dst, src, then, other, long: self.random.percent(20) }
    }

    fn repeat(&mut self, scope: Scope, depth: usize) -> Step {
        let body = self.steps(scope.in_loop(), 1, 5, depth - 1);
        Step::Loop { times: 1 + self.random.below(4) as i32, may: self.random.percent(25), body }
    }

    fn stack_access(&mut self, scope: Scope) -> Step {
        if !scope.is_main() {
            return Step::Plain(scope.plain(self.random));
        }
        Step::Stack { index: scope.any(self.random), access: scope.access(self.random) }
    }

    /// What only the main function can do: it has the packet and the context.
    fn world(&mut self, scope: Scope, depth: usize) -> Step {
        let random = &mut *self.random;
        match random.below(20) {
            0..4 => {
                let most = random.pick(&[1, 7, 0x1f, 0x7f, 0xff]);
                let guard = Guard::random(random, most);
                let (index, off) = (scope.any(random), random.below(64) as i16);
                Step::Packet { index, guard, off, access: scope.access(random) }
            }
            4..8 if self.maps => self.map_step(scope),
            8 if self.functions > 0 => Step::Call { function: random.below(self.functions) },
            9 => {
                let delta = random.pick(&[-64, -8, -1, 1, 4, 14, 16, -300]);
                Step::Adjust { tail: random.percent(40), delta }
            }
            10 => {
                let (at, bytes) = (random.below(300) as i32, 1 + random.below(64) as i32);
                Step::Bytes { store: random.percent(50), at, bytes }
            }
            11 => Step::Checksum { bytes: 4 * (1 + random.below(16) as i32) },
            12 => Step::Length,
            13 => self.field(scope),
            14 => Step::Extent { dst: scope.target(random) },
            15 if depth > 0 => {
                let value = random.immediate();
                Step::Spill { value, body: self.steps(scope.without_packet(), 1, 3, 0) }
            }
            16 if !self.callbacks.is_empty() && scope.may_loop() => self.visit(scope),
            17 => Step::Sized { size: scope.any(random), at: random.below(300) as i32 },
            18 if self.kind == ProgramType::SchedCls => {
                let size = random.pick(&[Size::B, Size::H, Size::W]);
                let index = random.percent(50).then(|| scope.any(random));
                Step::Legacy { size, index, at: random.below(200) as i32 }
            }
            19 if self.maps => self.shared(scope),
            _ => Step::Plain(scope.plain(random)),
        }
    }

    fn field(&mut self, scope: Scope) -> Step {
        let random = &mut *self.random;
        match self.kind {
            // ingress_ifindex, rx_queue_index.
            ProgramType::Xdp => Step::Field { dst: scope.target(random), off: random.pick(&[12, 16]) },
            // mark, tc_index, cb: they may be written too.
            _ if random.percent(40) => {
                Step::SetField { off: random.pick(&[8, 48, 52, 64]), src: scope.any(random) }
            }
            // len, mark, ifindex, cb.
            _ => Step::Field { dst: scope.target(random), off: random.pick(&[0, 8, 40, 48, 52, 64]) },
        }
    }

    fn visit(&mut self, scope: Scope) -> Step {
        let random = &mut *self.random;
        let callback = random.below(self.callbacks.len());
        let times = match random.percent(50) {
            true => Source::Imm(random.below(6) as i32),
            false => Source::Reg(scope.any(random)),
        };
        let map = match self.callbacks[callback] {
            Turn::Loop => None,
            Turn::Element => Some(random.pick(&maps::ARRAYS)),
        };
        Step::Visit { callback, times, map }
    }

    /// What goes to user space, to other programs, or stays from packet to packet.
    fn shared(&mut self, scope: Scope) -> Step {
        let random = &mut *self.random;
        match random.below(8) {
            0..4 => {
                let bytes = random.pick(&[8, 16, 24, 64]);
                let count = 1 + random.below(3);
                let mut access = || (8 * random.below(bytes as usize / 8) as i16, scope.kept(random));
                let accesses: Vec<(i16, Access)> = (0..count).map(|_| access()).collect();
                Step::Ring { bytes, accesses, discard: random.percent(30) }
            }
            4..7 => {
                let off = 8 * random.below(VALUE_BYTES as usize / 8) as i16;
                Step::Global { off, access: scope.access(random) }
            }
            _ => {
                let index = match random.percent(50) {
                    true => Source::Imm(random.below(6) as i32),
                    false => Source::Reg(scope.any(random)),
                };
                Step::Tail { index }
            }
        }
    }

    fn map_step(&mut self, scope: Scope) -> Step {
        let random = &mut *self.random;
        let map = random.pick(&maps::KEYED);
        let key = match random.percent(50) {
            true => Source::Imm(random.below(KEYS as usize) as i32),
            false => Source::Reg(scope.any(random)),
        };
        match random.below(6) {
            0 | 1 => Step::Update { map, key, flags: random.pick(&[0, 0, 0, 1, 2]) },
            2 => Step::Delete { map, key },
            _ => {
                let guard = |random: &mut Random| {
                    let most = random.pick(&[1, 7, 0x1f]);
                    (scope.any(random), Guard::random(random, most))
                };
                let index = random.percent(40).then(|| guard(random));
                let room = if index.is_some() { 24 } else { VALUE_BYTES - 8 };
                let count = 1 + random.below(3);
                let mut access = || (8 * random.below(room as usize / 8 + 1) as i16, scope.kept(random));
                Step::Lookup { map, key, index, accesses: (0..count).map(|_| access()).collect() }
            }
        }
    }
}
