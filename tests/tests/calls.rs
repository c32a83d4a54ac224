//! Calls of every sort against the kernel: tail calls, functions, callbacks, text, legacy packet access.
//! Interpreter and JIT both answer for weir.

use std::sync::Arc;

use weir_ebpf::abi::MapKind;
use weir_ebpf::asm::assemble_with;
use weir_ebpf::program::Initial;
use weir_ebpf::{MapSpec, Program, ProgramType};
use weir_maps::Map;
use weir_sys::bpf::TestRun;
use weir_tests::kernel::{KernelSet, skip};
use weir_verifier::verify;
use weir_vm::test_run::{Input, test_run};
use weir_vm::{Engine, Loaded, ProgramTable, Run, TestEnv};

/// The packet that all run on.
const PACKET: [u8; 64] = {
    let mut packet = [0; 64];
    let mut index = 0;
    while index < 64 {
        packet[index] = (index as u8).wrapping_mul(7);
        index += 1;
    }
    packet
};

/// Programs and the maps they share; the first program is run.
struct Set {
    specs: Vec<Arc<MapSpec>>,
    programs: Vec<Arc<Program>>,
    /// Entries to put in before: which map, key, value.
    entries: Vec<(usize, u32, u32)>,
}

impl Set {
    fn new(kind: ProgramType, specs: Vec<MapSpec>, texts: &[(&str, &str)]) -> Self {
        let specs: Vec<_> = specs.into_iter().map(Arc::new).collect();
        let names: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
        let program = |(name, text): &(&str, &str)| {
            let insns = assemble_with(text, &names).unwrap_or_else(|error| panic!("{name}: {error}\n{text}"));
            let mut program = Program::from_insns(name, kind, insns);
            program.maps = specs.clone();
            Arc::new(program)
        };
        Self { programs: texts.iter().map(program).collect(), specs, entries: Vec::new() }
    }

    fn in_kernel(&self) -> u32 {
        let set = KernelSet::load(&self.specs, &self.programs).unwrap_or_else(|error| {
            let (_, log) = weir_tests::kernel::verdict(&self.programs[0]).unwrap();
            panic!("{error}\n{log}")
        });
        for (map, key, value) in &self.entries {
            set.maps[*map].update(&key.to_ne_bytes(), &value.to_ne_bytes(), 0).unwrap();
        }
        set.programs[0].test_run(&TestRun { data: &PACKET, ..TestRun::default() }).unwrap().retval
    }

    fn in_weir(&self, engine: Engine) -> u32 {
        let maps: Vec<_> = self.specs.iter().map(|spec| Map::create(spec, 1).unwrap()).collect();
        for (map, spec) in maps.iter().zip(&self.specs) {
            let Initial::Programs(slots) = &spec.initial else { continue };
            for (index, name) in slots {
                let number = self.programs.iter().position(|program| program.name == *name).unwrap();
                map.control().set_program(*index, number as u32).unwrap();
            }
        }
        for (map, key, value) in &self.entries {
            maps[*map].control().update(&key.to_ne_bytes(), &value.to_ne_bytes(), 0).unwrap();
        }
        let load = |program: &Arc<Program>| {
            let verified = verify(program.clone(), &weir_verifier::Options::default());
            let verified = verified.unwrap_or_else(|reject| panic!("{}: {reject}", program.name));
            Arc::new(Loaded::new(verified, maps.clone(), engine).unwrap())
        };
        let table = ProgramTable::new(self.programs.iter().map(load).collect());
        let first = table.get(0).unwrap().clone();
        let mut env = TestEnv::default();
        let mut run = Run::new(&mut env, 0).with_table(&table);
        let input = Input::new(&PACKET);
        let output = test_run(first.verified().program().kind, &input, &mut run, |run, context| {
            first.run(run, context)
        });
        output.unwrap().retval
    }

    /// All three must give this answer.
    fn answers(&self, test: &str, wanted: u32) {
        assert_eq!(self.in_weir(Engine::Interpreter), wanted, "{test}: interpreter");
        assert_eq!(self.in_weir(Engine::Jit), wanted, "{test}: JIT");
        if !skip(test) {
            assert_eq!(self.in_kernel(), wanted, "{test}: kernel");
        }
    }
}

fn one(text: &str) -> Set {
    Set::new(ProgramType::Xdp, vec![], &[("main", text)])
}

fn prog_array(slots: &[(u32, &str)]) -> MapSpec {
    let initial = Initial::Programs(slots.iter().map(|(index, name)| (*index, (*name).to_owned())).collect());
    MapSpec { initial, ..MapSpec::new("next", MapKind::ProgArray, 4, 4, 4) }
}

fn counter() -> MapSpec {
    MapSpec::new("count", MapKind::Array, 4, 8, 1)
}

/// Adds one to the counter and leaves the sum in r7; the context is in r6.
const COUNT: &str = "
    r6 = r1
    *(u32 *)(r10 - 4) = 0
    r1 = map[count] ll
    r2 = r10
    r2 += -4
    call bpf_map_lookup_elem
    if r0 != 0 goto found
    r0 = 999
    exit
found:
    r7 = *(u64 *)(r0 + 0)
    r7 += 1
    *(u64 *)(r0 + 0) = r7
";

fn tail(index: u32) -> String {
    format!("r1 = r6\n r2 = map[next] ll\n r3 = {index}\n call bpf_tail_call\n")
}

#[test]
fn thirty_three_tail_calls_are_taken() {
    let text = format!("{COUNT}{}r0 = r7\n exit", tail(0));
    let set = Set::new(ProgramType::Xdp, vec![prog_array(&[(0, "main")]), counter()], &[("main", &text)]);
    set.answers("thirty_three_tail_calls_are_taken", 34);
}

#[test]
fn tail_calls_alternate_between_programs() {
    let (first, second) = (
        format!("{COUNT}{}r0 = r7\n r0 += 100\n exit", tail(1)),
        format!("{COUNT}{}r0 = r7\n r0 += 200\n exit", tail(0)),
    );
    let maps = vec![prog_array(&[(0, "one"), (1, "two")]), counter()];
    let set = Set::new(ProgramType::Xdp, maps, &[("one", &first), ("two", &second)]);
    set.answers("tail_calls_alternate_between_programs", 234);
}

#[test]
fn an_empty_or_missing_slot_falls_through() {
    for index in [1, 3, 4, u32::MAX] {
        let text = format!("r6 = r1\n{}r0 = 7\n exit", tail(index).replace("r3 =", "w3 ="));
        let maps = vec![prog_array(&[(0, "main")])];
        Set::new(ProgramType::Xdp, maps, &[("main", &text)]).answers("an_empty_or_missing_slot", 7);
    }
}

#[test]
fn a_tail_call_through_one_of_two_prog_arrays_finds_the_right_program() {
    // Which array it is is only known in the run; so is the index.
    for (byte, wanted) in [(7, 11), (8, 22)] {
        let main = format!(
            "r6 = r1
             r2 = *(u32 *)(r1 + 0)
             r3 = *(u32 *)(r1 + 4)
             r4 = r2
             r4 += 14
             if r4 > r3 goto out
             r5 = *(u8 *)(r2 + 1)
             r3 = *(u8 *)(r2 + 0)
             r3 += 1
             r2 = map[next] ll
             if r5 == {byte} goto call
             r2 = map[other] ll
        call:
             call bpf_tail_call
        out:
             r0 = 1000
             exit"
        );
        let other = MapSpec { name: "other".to_owned(), ..prog_array(&[(1, "two")]) };
        let maps = vec![prog_array(&[(1, "one")]), other];
        let programs = [("main", main.as_str()), ("one", "r0 = 11\n exit"), ("two", "r0 = 22\n exit")];
        let set = Set::new(ProgramType::Xdp, maps, &programs);
        set.answers("a_tail_call_through_one_of_two_prog_arrays", wanted);
    }
}

#[test]
fn a_tail_call_from_a_function_ends_that_function() {
    let main = format!(
        "r6 = r1
         call sub
         r8 = r0
         r1 = r6
         call sub
         r0 += r8
         exit
    sub:
         r6 = r1
         {}r0 = 1000
         exit",
        tail(0)
    );
    let target = "r0 = *(u32 *)(r1 + 4)\n r1 = *(u32 *)(r1 + 0)\n r0 -= r1\n exit";
    let maps = vec![prog_array(&[(0, "target")])];
    let set = Set::new(ProgramType::Xdp, maps, &[("main", &main), ("target", target)]);
    set.answers("a_tail_call_from_a_function_ends_that_function", 128);
}

#[test]
fn tail_calls_count_across_functions() {
    let main =
        format!("{COUNT}r1 = r6\n call sub\n r0 = r7\n exit\n sub:\n r6 = r1\n {}r0 = 0\n exit", tail(0));
    let set = Set::new(ProgramType::Xdp, vec![prog_array(&[(0, "main")]), counter()], &[("main", &main)]);
    set.answers("tail_calls_count_across_functions", 1);
    let after =
        main.replace("r0 = r7\n exit\n sub", "r0 = *(u32 *)(r6 + 12)\n r0 = r7\n r0 *= 2\n exit\n sub");
    let set = Set::new(ProgramType::Xdp, vec![prog_array(&[(0, "main")]), counter()], &[("main", &after)]);
    set.answers("tail_calls_count_across_functions", 2);
}

#[test]
fn eight_frames_are_deep_enough() {
    let mut text = "r1 = 1\n call f1\n exit\n".to_owned();
    for frame in 1..7 {
        text += &format!(
            "f{frame}:\n r6 = r1\n *(u64 *)(r10 - 16) = r1\n r1 += 1\n call f{}\n r1 = *(u64 *)(r10 - 16)\n
             r0 += r1\n r0 += r6\n exit\n",
            frame + 1
        );
    }
    text += "f7:\n r0 = r1\n exit\n";
    one(&text).answers("eight_frames_are_deep_enough", 7 + 2 * (1 + 2 + 3 + 4 + 5 + 6));
}

#[test]
fn loops_call_back() {
    let text = |count: &str, stop: u32, flags: u32| {
        format!(
            "*(u64 *)(r10 - 8) = 0
             w1 = {count}
             r2 = each ll
             r3 = r10
             r3 += -8
             r4 = {flags}
             call bpf_loop
             r6 = r0
             r0 = *(u64 *)(r10 - 8)
             r0 *= 1000
             r0 += r6
             exit
        each:
             r3 = *(u64 *)(r2 + 0)
             r3 += 1
             *(u64 *)(r2 + 0) = r3
             r0 = 0
             if r1 < {stop} goto +1
             r0 = 1
             exit"
        )
    };
    one(&text("10", 100, 0)).answers("loops_call_back", 10010);
    one(&text("10", 4, 0)).answers("loops_call_back", 5005);
    one(&text("0", 4, 0)).answers("loops_call_back", 0);
    one(&text("10", 4, 1)).answers("loops_call_back", (-22i32) as u32);
    one(&text("8388609", 4, 0)).answers("loops_call_back", (-7i32) as u32);
}

#[test]
fn loops_call_back_inside_loops() {
    let text = "
         *(u64 *)(r10 - 8) = 0
         r1 = 7
         r2 = outer ll
         r3 = r10
         r3 += -8
         r4 = 0
         call bpf_loop
         r0 = *(u64 *)(r10 - 8)
         exit
    outer:
         r3 = r2
         r1 += 1
         r2 = inner ll
         r4 = 0
         call bpf_loop
         r0 = 0
         exit
    inner:
         r3 = *(u64 *)(r2 + 0)
         r3 += 3
         *(u64 *)(r2 + 0) = r3
         r0 = 0
         exit";
    one(text).answers("loops_call_back_inside_loops", 3 * 28);
}

#[test]
fn maps_are_walked() {
    for (kind, wanted) in [(MapKind::Array, 4 * 1000 + 6 * 5), (MapKind::PercpuArray, 4 * 1000 + 6 * 5)] {
        let text = "
             *(u64 *)(r10 - 8) = 0
             r1 = map[values] ll
             r2 = each ll
             r3 = r10
             r3 += -8
             r4 = 0
             call bpf_for_each_map_elem
             r0 *= 1000
             r1 = *(u64 *)(r10 - 8)
             r0 += r1
             exit
        each:
             r5 = *(u32 *)(r2 + 0)
             *(u64 *)(r3 + 0) = r5
             r2 = *(u64 *)(r3 + 0)
             r2 *= 5
             r1 = *(u64 *)(r4 + 0)
             r1 += r2
             *(u64 *)(r4 + 0) = r1
             r0 = 0
             exit";
        let maps = vec![MapSpec::new("values", kind, 4, 8, 4)];
        Set::new(ProgramType::Xdp, maps, &[("main", text)]).answers("maps_are_walked", wanted);
    }
}

#[test]
fn text_is_read_alike() {
    let texts: [&[u8]; 12] = [
        b"42",
        b"  -17 ",
        b"0x1f",
        b"-0X1F",
        b"017",
        b"08",
        b"9223372036854775808",
        b"18446744073709551615",
        b"18446744073709551616",
        b"+5",
        b"x",
        b"-",
    ];
    for text in texts {
        for helper in ["bpf_strtol", "bpf_strtoul"] {
            for base in [0, 8, 10, 16, 2] {
                let mut bytes = [b' '; 24];
                bytes[..text.len()].copy_from_slice(text);
                let fill: String = bytes
                    .chunks(8)
                    .enumerate()
                    .map(|(word, chunk)| {
                        let number = u64::from_le_bytes(chunk.try_into().unwrap());
                        format!("r1 = {number:#x} ll\n *(u64 *)(r10 - {}) = r1\n", 32 - word * 8)
                    })
                    .collect();
                let text = format!(
                    "{fill} *(u64 *)(r10 - 8) = 77\n r1 = r10\n r1 += -32\n r2 = {}\n r3 = {base}\n r4 = r10\n
                     r4 += -8\n call {helper}\n r1 = *(u64 *)(r10 - 8)\n r2 = r1\n r2 >>= 32\n r1 ^= r2\n
                     r0 *= 1000003\n r0 ^= r1\n exit", text.len()
                );
                let set = one(&text);
                let interpreted = set.in_weir(Engine::Interpreter);
                set.answers(&format!("{helper} {bytes:?} {base}"), interpreted);
            }
        }
    }
}

#[test]
fn packets_are_read_the_old_way_alike() {
    let loads = [
        "*(u8 *)skb[0]",
        "*(u16 *)skb[2]",
        "*(u32 *)skb[46]",
        "*(u32 *)skb[47]",
        "*(u32 *)skb[60]",
        "*(u16 *)skb[50]",
        "*(u8 *)skb[-0x100000]",
        "*(u16 *)skb[-0xffffe]",
        "*(u8 *)skb[-0x200000]",
        "*(u16 *)skb[-0x1ffff4]",
        "*(u8 *)skb[-1]",
    ];
    for kind in [ProgramType::SchedCls, ProgramType::SocketFilter] {
        for load in loads {
            let text = format!("r6 = r1\n r0 = {load}\n r0 += 1\n exit");
            let set = Set::new(kind, vec![], &[("main", &text)]);
            let interpreted = set.in_weir(Engine::Interpreter);
            set.answers(&format!("{load} by {kind}"), interpreted);
        }
        for (index, offset) in [(0, 3), (40, 8), (-3i32, 3), (60, 8)] {
            let text = format!("r6 = r1\n r7 = {index}\n r0 = *(u16 *)skb[r7 + {offset}]\n r0 += 1\n exit");
            let set = Set::new(kind, vec![], &[("main", &text)]);
            let interpreted = set.in_weir(Engine::Interpreter);
            set.answers(&format!("skb[{index} + {offset}] by {kind}"), interpreted);
        }
    }
}

#[test]
fn a_budget_ends_what_may_go_on() {
    let text = "r0 = 0\n r0 += 1\n may_goto +1\n goto -3\n exit";
    // The kernel measures time instead (a quarter of a second) and goes round more often.
    for engine in [Engine::Interpreter, Engine::Jit] {
        assert_eq!(one(text).in_weir(engine), 8 * 1024 * 1024 + 1, "{engine:?}");
    }
}

#[test]
fn redirects_through_maps_answer_alike() {
    const LOOPBACK: u32 = 1;
    for (kind, value) in [
        (MapKind::Devmap, LOOPBACK),
        (MapKind::DevmapHash, LOOPBACK),
        (MapKind::Cpumap, 64),
        (MapKind::Xskmap, 0),
    ] {
        for key in [0u32, 1, 3, 4, u32::MAX] {
            for flags in [0u64, 1, 2, 3, 4, 8, 16, 24, 9, 32, 1 << 40] {
                let text =
                    format!("r1 = map[to] ll\n w2 = {key}\n r3 = {flags} ll\n call bpf_redirect_map\n exit");
                let mut set =
                    Set::new(ProgramType::Xdp, vec![MapSpec::new("to", kind, 4, 4, 4)], &[("main", &text)]);
                if kind != MapKind::Xskmap {
                    set.entries.push((0, if kind == MapKind::Cpumap { 0 } else { 3 }, value));
                }
                let wanted = set.in_weir(Engine::Interpreter);
                set.answers(&format!("{} {key} {flags}", kind.name()), wanted);
            }
        }
    }
}

#[test]
fn records_are_put_out_alike() {
    let sizes = [0i64, 1, 8, 100, 4079, 4080, 4081, 5000];
    for size in sizes {
        for flags in [0u32, 1, 2, 3, 4] {
            let text = format!(
                "r1 = map[ring] ll\n r2 = {size}\n r3 = {flags}\n call bpf_ringbuf_reserve\n
                 if r0 != 0 goto got\n r0 = 1\n exit\n
             got:\n r1 = r0\n r2 = {flags}\n call bpf_ringbuf_submit\n
                 r1 = map[ring] ll\n r2 = 0\n call bpf_ringbuf_query\n r0 += 10\n exit"
            );
            let maps = vec![MapSpec::new("ring", MapKind::Ringbuf, 0, 0, 4096)];
            let set = Set::new(ProgramType::Xdp, maps, &[("main", &text)]);
            let wanted = set.in_weir(Engine::Interpreter);
            set.answers(&format!("reserve {size} {flags}"), wanted);
        }
    }
    for (size, flags) in [(0, 0), (8, 0), (64, 2), (8, 3), (8, 4)] {
        let text = format!(
            "*(u64 *)(r10 - 64) = 0\n *(u64 *)(r10 - 56) = 0\n *(u64 *)(r10 - 48) = 0\n *(u64 *)(r10 - 40) = 0\n
             *(u64 *)(r10 - 32) = 0\n *(u64 *)(r10 - 24) = 0\n *(u64 *)(r10 - 16) = 0\n *(u64 *)(r10 - 8) = 0\n
             r1 = map[ring] ll\n r2 = r10\n r2 += -64\n r3 = {size}\n r4 = {flags}\n
             call bpf_ringbuf_output\n exit"
        );
        let maps = vec![MapSpec::new("ring", MapKind::Ringbuf, 0, 0, 4096)];
        let set = Set::new(ProgramType::Xdp, maps, &[("main", &text)]);
        let wanted = set.in_weir(Engine::Interpreter);
        set.answers(&format!("output {size} {flags}"), wanted);
    }
}
