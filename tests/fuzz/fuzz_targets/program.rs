//! Instructions: what the verifier accepts, the checked interpreter, which trusts nobody, finds no fault with.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use weir_ebpf::abi::MapKind;
use weir_ebpf::decode::{decode, raw_insns};
use weir_ebpf::{MapSpec, Program, ProgramType};
use weir_maps::Map;
use weir_vm::interpreter::{FaultKind, Options};
use weir_vm::test_run::{Input, test_run};
use weir_vm::{Checked, Run, TestEnv};

const PACKET: [u8; 64] = [0x45; 64];

fuzz_target!(|bytes: &[u8]| {
    let Some(Ok(insns)) = raw_insns(bytes).map(|raw| decode(&raw)) else { return };
    let mut program = Program::from_insns("fuzz", ProgramType::Xdp, insns);
    program.maps = vec![
        Arc::new(MapSpec::new("array", MapKind::Array, 4, 16, 4)),
        Arc::new(MapSpec::new("hash", MapKind::Hash, 4, 16, 4)),
    ];
    let maps: Vec<Arc<Map>> =
        program.maps.iter().map(|spec| Map::create(spec, 1).expect("small maps")).collect();
    let Ok(verified) = weir_verifier::verify(Arc::new(program), &weir_verifier::Options::default()) else {
        return;
    };
    let checked = Checked::new(Arc::clone(verified.program()), maps).expect("its own maps");
    let mut env = TestEnv::default();
    let mut run = Run::new(&mut env, 0);
    let _ = test_run(ProgramType::Xdp, &Input::new(&PACKET), &mut run, |run, context| {
        let options = Options { budget: 1 << 20, ..Options::default() };
        let (result, _) = checked.run(run, context, options);
        if let Err(fault) = &result {
            assert!(matches!(fault.kind, FaultKind::Budget { .. }), "accepted, and then: {fault}");
        }
        result.unwrap_or(0)
    });
});
