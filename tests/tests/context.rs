//! The context against the kernel: every load and store that is allowed, of every field, at every size.
//! Interpreter and JIT both answer for weir.

use std::sync::Arc;

use weir_ebpf::abi::context::{FieldAccess, FieldKind};
use weir_ebpf::abi::{ContextField, SkbField};
use weir_ebpf::asm::assemble;
use weir_ebpf::{Program, ProgramType};
use weir_sys::bpf::TestRun;
use weir_tests::kernel::{KernelSet, skip};
use weir_verifier::verify;
use weir_vm::test_run::{Input, test_run};
use weir_vm::{Engine, Loaded, Run, TestEnv};

/// An IPv4 packet to a broadcast address.
fn packet() -> Vec<u8> {
    let header = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, 0, 60]].concat();
    [header, (0..56).collect()].concat()
}

/// Where `struct __sk_buff` takes its input, and what it is given: mark, priority, the port, `cb`, time.
fn skb_input() -> (Vec<u8>, Input) {
    let mut bytes = vec![0; 192];
    let mut input = Input::new(&packet());
    let mut put = |field: SkbField, value: &[u8]| {
        bytes[field.offset() as usize..][..value.len()].copy_from_slice(value);
    };
    (input.fields.mark, input.fields.priority) = (0x8182_8384, 0x9192_9394);
    put(SkbField::Mark, &0x8182_8384u32.to_le_bytes());
    put(SkbField::Priority, &0x9192_9394u32.to_le_bytes());
    put(SkbField::IngressIfindex, &1u32.to_le_bytes());
    put(SkbField::Ifindex, &1u32.to_le_bytes());
    for (index, word) in input.fields.cb.iter_mut().enumerate() {
        *word = 0xa1b2_c3d4u32.rotate_left(index as u32 * 8);
    }
    let cb: Vec<u8> = input.fields.cb.iter().flat_map(|word| word.to_le_bytes()).collect();
    put(SkbField::Cb, &cb);
    input.fields.tstamp = 0x1122_3344_5566_7788;
    put(SkbField::Tstamp, &0x1122_3344_5566_7788u64.to_le_bytes());
    (bytes, input)
}

fn in_weir(program: &Arc<Program>, input: &Input, engine: Engine) -> Option<u32> {
    let verified = verify(program.clone(), &weir_verifier::Options::default()).ok()?;
    let loaded = Loaded::new(verified, Vec::new(), engine).unwrap();
    let mut env = TestEnv::default();
    let mut run = Run::new(&mut env, 0);
    let output = test_run(program.kind, input, &mut run, |run, context| loaded.run(run, context));
    Some(output.unwrap().retval)
}

/// What three say to a program: the kernel, the interpreter, the JIT; `None` is a refusal.
fn answers(kind: ProgramType, text: &str) -> [Option<u32>; 3] {
    let insns = assemble(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let program = Arc::new(Program::from_insns("context", kind, insns));
    let (context, input) = match kind {
        ProgramType::Xdp => (Vec::new(), Input::new(&packet())),
        _ => skb_input(),
    };
    let run = TestRun { data: &packet(), context: &context, repeat: 1 };
    let kernel = KernelSet::load_one(&program).ok().map(|set| set.programs[0].test_run(&run).unwrap().retval);
    [kernel, in_weir(&program, &input, Engine::Interpreter), in_weir(&program, &input, Engine::Jit)]
}

/// Fields whose contents are not the same here and there: there is a socket in the kernel's test runs, and
/// pointers are pointers.
fn comparable(field: ContextField) -> bool {
    field.kind() == FieldKind::Number && !matches!(field, ContextField::Skb(SkbField::NapiId))
}

fn fields(kind: ProgramType) -> Vec<ContextField> {
    ContextField::all(kind)
        .into_iter()
        .filter(|field| comparable(*field) && field.access(kind) != FieldAccess::None)
        .collect()
}

#[test]
fn every_load_agrees() {
    if skip("every_load_agrees") {
        return;
    }
    let mut different = Vec::new();
    for kind in [ProgramType::Xdp, ProgramType::SchedCls, ProgramType::SocketFilter] {
        for field in fields(kind) {
            for size in [1u32, 2, 4, 8] {
                for offset in (0..field.size()).step_by(size as usize) {
                    let at = field.offset() + offset;
                    let bits = size * 8;
                    let text =
                        format!("r0 = *(u{bits} *)(r1 + {at})\n r1 = r0\n r1 >>= 32\n r0 ^= r1\n exit");
                    let [kernel, interpreter, jit] = answers(kind, &text);
                    if kernel != interpreter || interpreter != jit {
                        different.push(format!(
                            "{kind} {} + {offset}, {size} bytes: kernel {kernel:x?} interpreter {interpreter:x?} jit {jit:x?}",
                            field.name()
                        ));
                    }
                }
            }
        }
    }
    assert!(different.is_empty(), "{}\n{}", different.len(), different.join("\n"));
}

#[test]
fn every_store_agrees() {
    if skip("every_store_agrees") {
        return;
    }
    let mut different = Vec::new();
    for field in fields(ProgramType::SchedCls) {
        for size in [1u32, 2, 4, 8] {
            for offset in (0..field.size()).step_by(size as usize) {
                for value in [0x5u32, 0xfffe, 0xffff, 0x1_0005, 0xf1f2_f3f4] {
                    let (at, bits) = (field.offset() + offset, size * 8);
                    let (whole, all) = (field.offset(), field.size().min(4) * 8);
                    for source in [
                        format!("w2 = {value}\n *(u{bits} *)(r1 + {at}) = r2\n"),
                        format!("*(u{bits} *)(r1 + {at}) = {}\n", value as i32),
                    ] {
                        let text = format!("{source} r0 = *(u{all} *)(r1 + {whole})\n exit");
                        let [kernel, interpreter, jit] = answers(ProgramType::SchedCls, &text);
                        if kernel != interpreter || interpreter != jit {
                            different.push(format!(
                                "{}: kernel {kernel:x?} interpreter {interpreter:x?} jit {jit:x?}\n{text}",
                                field.name()
                            ));
                        }
                    }
                }
            }
        }
    }
    assert!(different.is_empty(), "{}\n{}", different.len(), different.join("\n"));
}
