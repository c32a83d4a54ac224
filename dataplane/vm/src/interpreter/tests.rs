//! What the interpreter lets programs do, and what it stops them at.

use std::sync::Arc;

use weir_ebpf::abi::MapKind;
use weir_ebpf::asm::assemble_with;
use weir_ebpf::{MapSpec, Program, ProgramType, Reg};
use weir_maps::Map;

use super::*;
use crate::{ProgramTable, TestEnv};

/// A program of `kind` from text; maps are named `m0`, `m1` ….
fn checked(kind: ProgramType, maps: &[Arc<Map>], text: &str) -> Checked {
    let names: Vec<String> = (0..maps.len()).map(|index| format!("m{index}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let insns = assemble_with(text, &names).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let mut program = Program::from_insns("test", kind, insns);
    program.maps = maps.iter().map(|map| Arc::new(map.spec().clone())).collect();
    Checked::new(Arc::new(program), maps.to_vec()).unwrap()
}

fn map(kind: MapKind, key: u32, value: u32, entries: u32) -> Arc<Map> {
    Map::create(&MapSpec::new("m", kind, key, value, entries), 1).unwrap()
}

fn run_with(program: &Checked, table: Option<&ProgramTable>, options: Options<'_>) -> Result<u64, FaultKind> {
    let mut room = vec![0u8; 1024];
    for (index, byte) in room[256..320].iter_mut().enumerate() {
        *byte = index as u8;
    }
    let mut env = TestEnv::default();
    let mut context = Context::new(&mut room, 256..320);
    context.ingress_ifindex = 7;
    let mut run = Run::new(&mut env, 3);
    if let Some(table) = table {
        run = run.with_table(table);
    }
    program.run(&mut run, &mut context, options).0.map_err(|fault| fault.kind)
}

fn xdp(text: &str) -> Result<u64, FaultKind> {
    run_with(&checked(ProgramType::Xdp, &[], text), None, Options::default())
}

#[test]
fn packets_are_read_and_written_inside_their_bounds_only() {
    assert_eq!(xdp("r2 = *(u32 *)(r1 + 0)\n r0 = *(u16 *)(r2 + 62)\n exit"), Ok(0x3f3e));
    assert_eq!(xdp("r2 = *(u32 *)(r1 + 0)\n *(u8 *)(r2 + 0) = 9\n r0 = *(u8 *)(r2 + 0)\n exit"), Ok(9));
    let behind = xdp("r2 = *(u32 *)(r1 + 0)\n r0 = *(u16 *)(r2 + 63)\n exit").unwrap_err();
    let near = match &behind {
        FaultKind::OutOfBounds { access: Access::Read, size: 2, near, .. } => near.0,
        other => panic!("{other}"),
    };
    assert_eq!(near, Some(("packet", 63, 64)));
    assert!(behind.to_string().ends_with("(byte 63 of the packet, which has 64)"), "{behind}");
}

#[test]
fn the_context_is_seen_through_its_fields() {
    assert_eq!(xdp("r0 = *(u32 *)(r1 + 12)\n exit"), Ok(7));
    assert_eq!(xdp("r0 = *(u8 *)(r1 + 12)\n exit"), Ok(7));
    assert_eq!(xdp("r0 = *(u32 *)(r1 + 4)\n r1 = *(u32 *)(r1 + 0)\n r0 -= r1\n exit"), Ok(64));
    for text in [
        "r0 = *(u64 *)(r1 + 0)\n exit",
        "r0 = *(u16 *)(r1 + 0)\n exit",
        "r0 = *(u32 *)(r1 + 13)\n exit",
        "r0 = *(u32 *)(r1 + 24)\n exit",
        "r0 = 0\n *(u32 *)(r1 + 12) = r0\n exit",
    ] {
        assert!(matches!(xdp(text), Err(FaultKind::Context { .. })), "{text}");
    }
    let tc = |text| run_with(&checked(ProgramType::SchedCls, &[], text), None, Options::default());
    assert_eq!(tc("r2 = -1\n *(u32 *)(r1 + 72) = r2\n r0 = *(u32 *)(r1 + 72)\n exit"), Ok(0xffff));
    assert_eq!(tc("r2 = 5\n *(u8 *)(r1 + 49) = r2\n r0 = *(u32 *)(r1 + 48)\n exit"), Ok(0x500));
    assert!(matches!(tc("r2 = 0\n *(u32 *)(r1 + 0) = r2\n r0 = 0\n exit"), Err(FaultKind::Context { .. })));
}

#[test]
fn calls_keep_their_registers_and_frames() {
    let text = "
        r6 = 10
        r1 = 5
        call sub
        r0 += r6
        exit
    sub:
        r6 = 1000
        *(u64 *)(r10 - 8) = r1
        r0 = *(u64 *)(r10 - 8)
        exit";
    assert_eq!(xdp(text), Ok(15));
    let endless = "call sub\n exit\n sub:\n call sub\n exit";
    assert_eq!(xdp(endless), Err(FaultKind::Depth { depth: 9 }));
}

#[test]
fn control_stays_inside_the_program_and_its_budget() {
    assert_eq!(xdp("r0 = 0"), Err(FaultKind::Jump { target: 1 }));
    assert_eq!(xdp("goto +1\n r0 = 1 ll\n exit"), Err(FaultKind::Jump { target: 2 }));
    let options = Options { budget: 100, ..Options::default() };
    let endless = run_with(&checked(ProgramType::Xdp, &[], "goto -1"), None, options);
    assert_eq!(endless, Err(FaultKind::Budget { budget: 100 }));
}

#[test]
fn helpers_get_what_their_signatures_ask_for() {
    let hash = map(MapKind::Hash, 4, 8, 4);
    let program = |text| checked(ProgramType::Xdp, std::slice::from_ref(&hash), text);
    let update_and_add = "
        *(u32 *)(r10 - 4) = 1
        *(u64 *)(r10 - 16) = 40
        r1 = map[m0] ll
        r2 = r10
        r2 += -4
        r3 = r10
        r3 += -16
        r4 = 0
        call bpf_map_update_elem
        r1 = map[m0] ll
        r2 = r10
        r2 += -4
        call bpf_map_lookup_elem
        if r0 == 0 goto +4
        r1 = *(u64 *)(r0 + 0)
        r1 += 2
        *(u64 *)(r0 + 0) = r1
        r0 = r1
        exit";
    assert_eq!(run_with(&program(update_and_add), None, Options::default()), Ok(42));
    assert_eq!(hash.control().lookup(&1u32.to_ne_bytes()).unwrap(), 42u64.to_ne_bytes());
    let short_key = "r1 = map[m0] ll\n r2 = r10\n r2 += -2\n call bpf_map_lookup_elem\n exit";
    let fault = run_with(&program(short_key), None, Options::default()).unwrap_err();
    assert!(matches!(fault, FaultKind::Argument { index: 2, .. }), "{fault}");
    let not_a_map = "r1 = r10\n r2 = r10\n r2 += -4\n call bpf_map_lookup_elem\n exit";
    let fault = run_with(&program(not_a_map), None, Options::default()).unwrap_err();
    assert!(matches!(fault, FaultKind::Argument { index: 1, .. }), "{fault}");
    let tc_only = "r2 = 0\n call bpf_skb_pull_data\n exit";
    assert!(matches!(xdp(tc_only), Err(FaultKind::Helper { .. })));
}

#[test]
fn callbacks_run_inside_helpers() {
    let text = "
        *(u64 *)(r10 - 8) = 0
        r1 = 10
        r2 = sub ll
        r3 = r10
        r3 += -8
        r4 = 0
        call bpf_loop
        r6 = r0
        r0 = *(u64 *)(r10 - 8)
        r0 *= 100
        r0 += r6
        exit
    sub:
        r3 = *(u64 *)(r2 + 0)
        r3 += r1
        *(u64 *)(r2 + 0) = r3
        r0 = 0
        if r1 < 6 goto +1
        r0 = 1
        exit";
    assert_eq!(xdp(text), Ok(2107));
}

#[test]
fn tail_calls_replace_one_frame_and_stop_at_33() {
    let programs = map(MapKind::ProgArray, 4, 4, 2);
    let maps = std::slice::from_ref(&programs);
    let counts = "
        r6 = r1
        r2 = *(u32 *)(r1 + 8)
        r1 = r6
        r2 = map[m0] ll
        r3 = 0
        call bpf_tail_call
        r0 = 77
        exit";
    let counting = checked(ProgramType::Xdp, maps, counts);
    let from_sub = checked(
        ProgramType::Xdp,
        maps,
        "call sub\n r0 += 1\n exit\n sub:\n r2 = map[m0] ll\n r3 = 1\n call bpf_tail_call\n r0 = 5\n exit",
    );
    let answer = checked(ProgramType::Xdp, maps, "r0 = 40\n exit");
    let table = ProgramTable::checked([&counting, &answer]);
    programs.control().set_program(0, 0).unwrap();
    let mut calls = Calls(0);
    let options = Options { observer: Some(&mut calls), ..Options::default() };
    assert_eq!(run_with(&counting, Some(&table), options), Ok(77));
    assert_eq!(calls.0, 34, "33 tail calls, and one that was refused");
    assert_eq!(run_with(&from_sub, Some(&table), Options::default()), Ok(6), "an empty slot falls through");
    programs.control().set_program(1, 1).unwrap();
    assert_eq!(run_with(&from_sub, Some(&table), Options::default()), Ok(41), "and back to the caller");
}

#[test]
fn tail_calls_stay_within_a_type() {
    let programs = map(MapKind::ProgArray, 4, 4, 2);
    let maps = std::slice::from_ref(&programs);
    let calls = "r2 = map[m0] ll\n r3 = 0\n call bpf_tail_call\n r0 = 5\n exit";
    let first = checked(ProgramType::Xdp, maps, calls);
    let other = checked(ProgramType::SchedCls, maps, "r0 = 40\n exit");
    programs.control().set_program(0, 0).unwrap();
    let table = ProgramTable::checked([&other, &first]);
    assert_eq!(run_with(&first, Some(&table), Options::default()), Ok(5));
}

/// Counts calls of helper 12.
struct Calls(u32);

impl Observer for Calls {
    fn before(&mut self, step: &Step<'_, '_>) {
        let insn = step.program().insns[step.slot()];
        self.0 += u32::from(insn == Insn::Call { helper: 12 });
        assert_eq!(
            step.place(step.register(Reg::R10)),
            Some(Place::Stack { frame: step.frames() - 1, offset: 0 })
        );
    }
}

#[test]
fn what_is_reserved_or_locked_is_given_back() {
    let ring = map(MapKind::Ringbuf, 0, 0, 4096);
    let program = |text| checked(ProgramType::Xdp, std::slice::from_ref(&ring), text);
    let reserve = "r1 = map[m0] ll\n r2 = 8\n r3 = 0\n call bpf_ringbuf_reserve\n if r0 == 0 goto +5\n";
    let submits = format!(
        "{reserve} *(u64 *)(r0 + 0) = 7\n r1 = r0\n r2 = 0\n call bpf_ringbuf_submit\n r0 = 1\n exit"
    );
    assert_eq!(run_with(&program(&submits), None, Options::default()), Ok(1));
    let leaks = format!("{reserve} r0 = 2\n r0 = 2\n r0 = 2\n r0 = 2\n r0 = 2\n exit");
    let leaked = run_with(&program(&leaks), None, Options::default());
    assert!(matches!(leaked, Err(FaultKind::Unreleased { .. })), "{leaked:?}");
    let beyond = format!("{reserve} *(u64 *)(r0 + 8) = 7\n r0 = 0\n r0 = 0\n r0 = 0\n r0 = 0\n exit");
    assert!(matches!(
        run_with(&program(&beyond), None, Options::default()),
        Err(FaultKind::OutOfBounds { .. })
    ));
    let mut seen = 0;
    ring.ringbuf().unwrap().consume(|_| {
        seen += 1;
        true
    });
    assert_eq!(seen, 1);
}

#[test]
fn granted_memory_stands_in_the_contexts_place() {
    let program = checked(ProgramType::Xdp, &[], "r0 = *(u8 *)(r1 + 3)\n r0 += r2\n exit");
    let mut memory = [1, 2, 3, 4];
    let options = Options { memory: Some(&mut memory), ..Options::default() };
    assert_eq!(run_with(&program, None, options), Ok(8));
    let beyond = checked(ProgramType::Xdp, &[], "r0 = *(u8 *)(r1 + 4)\n exit");
    let options = Options { memory: Some(&mut memory), ..Options::default() };
    assert!(matches!(run_with(&beyond, None, options), Err(FaultKind::OutOfBounds { .. })));
}
