//! Maps as programs use them, against the kernel: random sequences of updates, deletes and lookups in one run,
//! with a value held from the beginning to the end. Every answer and every byte seen goes into the verdict.

use std::fmt::Write as _;
use std::sync::Arc;

use weir_ebpf::abi::MapKind;
use weir_ebpf::abi::map_kind::create_flags;
use weir_ebpf::asm::assemble_with;
use weir_ebpf::{MapSpec, Program, ProgramType};
use weir_sys::bpf::TestRun;
use weir_tests::engine::{ENGINES, load, run};
use weir_tests::kernel::{KernelSet, skip};

const PACKET: [u8; 64] = [0; 64];
const OPERATIONS: usize = 40;

struct Random(u64);

impl Random {
    fn below(&mut self, end: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as u32 % end
    }

    fn flags(&mut self) -> u32 {
        [0, 0, 0, 0, 1, 1, 2, 2, 3, 4][self.below(10) as usize]
    }
}

/// Text of a program that works on `map[m]`; the verdict is folded from r6, the held value is in r7.
struct Text {
    kind: MapKind,
    text: String,
    labels: u32,
}

impl Text {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn fold(&mut self, register: &str) {
        writeln!(self.text, "r6 *= 31\nr6 += {register}").unwrap();
    }

    /// A key that comes up again soon; now and then one beyond an array's end.
    fn key(&mut self, random: &mut Random) {
        match self.kind {
            MapKind::Array | MapKind::PercpuArray => {
                let index = random.below(6);
                self.line(&format!("*(u32 *)(r10 - 16) = {index}"));
            }
            MapKind::LpmTrie => {
                let (len, data) = ([0, 7, 8, 9, 16, 32, 33][random.below(7) as usize], random.below(4));
                self.line(&format!("*(u32 *)(r10 - 16) = {len}\n*(u32 *)(r10 - 12) = {data}"));
            }
            _ => {
                let key = random.below(9);
                self.line(&format!("*(u64 *)(r10 - 16) = {key}"));
            }
        }
    }

    fn call(&mut self, helper: &str, value: bool) {
        self.line("r1 = map[m] ll\nr2 = r10\nr2 += -16");
        if value {
            self.line("r3 = r10\nr3 += -24");
        }
        self.line(&format!("call {helper}"));
    }

    fn update(&mut self, random: &mut Random, flags: u32) {
        let value = random.below(1 << 30);
        self.line(&format!("*(u64 *)(r10 - 24) = {value}\nr4 = {flags}"));
        self.call("bpf_map_update_elem", true);
    }

    fn lookup(&mut self) {
        let label = self.labels;
        self.labels += 1;
        self.call("bpf_map_lookup_elem", false);
        self.line(&format!("if r0 == 0 goto none{label}\nr0 = *(u64 *)(r0 + 0)"));
        self.line(&format!("none{label}:"));
        self.fold("r0");
    }
}

fn program_on_table(spec: MapSpec, random: &mut Random) -> Program {
    let mut text = Text { kind: spec.kind, text: "r6 = 1\n".into(), labels: 0 };
    // The value that is held: put and found at once.
    text.line("*(u64 *)(r10 - 16) = 0");
    text.update(random, 0);
    text.call("bpf_map_lookup_elem", false);
    text.line("if r0 != 0 goto held\nr0 = 0\nexit\nheld:\nr7 = r0");
    for _ in 0..OPERATIONS {
        text.key(random);
        match random.below(8) {
            0..4 => {
                let flags = random.flags();
                text.update(random, flags);
                text.fold("r0");
            }
            4..6 => {
                text.call("bpf_map_delete_elem", false);
                text.fold("r0");
            }
            6 => text.lookup(),
            _ => {
                let value = random.below(1 << 30);
                text.line(&format!("*(u64 *)(r7 + 0) = {value}"));
            }
        }
        text.line("r1 = *(u64 *)(r7 + 0)");
        text.fold("r1");
    }
    finish(spec, text)
}

fn program_on_queue(spec: MapSpec, random: &mut Random) -> Program {
    let mut text = Text { kind: spec.kind, text: "r6 = 1\n*(u64 *)(r10 - 16) = 0\n".into(), labels: 0 };
    let bloom = spec.kind == MapKind::BloomFilter;
    for _ in 0..OPERATIONS {
        let value = random.below(if bloom { 20 } else { 1 << 30 });
        text.line(&format!("*(u64 *)(r10 - 16) = {value}"));
        match random.below(4) {
            0 | 1 => {
                let flags = random.flags();
                text.line(&format!("r3 = {flags}"));
                text.call("bpf_map_push_elem", false);
            }
            2 if !bloom => text.call("bpf_map_pop_elem", false),
            _ => text.call("bpf_map_peek_elem", false),
        }
        text.fold("r0");
        if !bloom {
            text.line("r1 = *(u64 *)(r10 - 16)");
            text.fold("r1");
        }
    }
    finish(spec, text)
}

fn finish(spec: MapSpec, mut text: Text) -> Program {
    text.line("r0 = r6\nr0 >>= 32\nr0 ^= r6\nexit");
    let insns = assemble_with(&text.text, &["m"]).unwrap_or_else(|error| panic!("{error}\n{}", text.text));
    let mut program = Program::from_insns(spec.kind.name(), ProgramType::Xdp, insns);
    program.maps = vec![Arc::new(spec)];
    program
}

fn compare(program: &Program, oracle: bool) {
    let shown = || weir_ebpf::asm::disassemble(&program.insns);
    let answers = ENGINES.map(|engine| run(&load(program, engine).unwrap(), &PACKET).unwrap().verdict);
    assert_eq!(answers[0], answers[1], "interpreter and JIT\n{}", shown());
    if oracle {
        let set = KernelSet::load_one(program).unwrap_or_else(|error| panic!("{error:?}\n{}", shown()));
        let theirs =
            set.programs[0].test_run(&TestRun { data: &PACKET, ..TestRun::default() }).unwrap().retval;
        assert_eq!(answers[0], theirs, "{:?}: weir (left) and kernel\n{}", program.maps[0], shown());
    }
}

#[test]
fn a_run_sees_what_it_sees_in_the_kernel() {
    let oracle = !skip("a_run_sees_what_it_sees_in_the_kernel");
    let mut random = Random(11);
    let tables = [
        // Full with 8 keys, so that the ninth is refused.
        (MapKind::Hash, 8, 8, 0),
        (MapKind::PercpuHash, 8, 8, 0),
        // Whom the kernel evicts is its own affair: there is room for all.
        (MapKind::LruHash, 8, 512, 0),
        (MapKind::LruPercpuHash, 8, 512, 0),
        (MapKind::Array, 4, 5, 0),
        (MapKind::PercpuArray, 4, 5, 0),
        (MapKind::LpmTrie, 8, 10, create_flags::NO_PREALLOC),
    ];
    for round in 0..40 {
        for (kind, key_size, entries, flags) in tables {
            let spec = MapSpec { flags, ..MapSpec::new("m", kind, key_size, 8, entries) };
            compare(&program_on_table(spec, &mut random), oracle);
        }
        for kind in [MapKind::Queue, MapKind::Stack, MapKind::BloomFilter] {
            // A bloom filter of many bits: false positives depend on the hash, which is random.
            let entries = if kind == MapKind::BloomFilter { 10_000 } else { 1 + round % 5 };
            compare(&program_on_queue(MapSpec::new("m", kind, 0, 8, entries), &mut random), oracle);
        }
    }
}
