//! Our listing beside llvm-objdump's, on what clang makes of C that uses every kind of instruction.

use std::path::Path;
use std::process::Command;

use weir_ebpf::{asm, decode, encode};

const SOURCE: &str = include_str!("objdump.c");

/// One listed instruction: its slot, its bytes, its text.
struct Listed {
    bytes: Vec<u8>,
    text: String,
}

fn run(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error}");
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Compiles and lists; `None` when a tool is not installed.
fn listing(directory: &Path, cpu: &str) -> Option<Vec<Listed>> {
    let source = directory.join("objdump.c");
    let object = directory.join(format!("objdump-{cpu}.o"));
    std::fs::write(&source, SOURCE).expect("writes the source");
    let mut clang = Command::new("clang-19");
    run(clang
        .args(["-target", "bpf", "-O2", "-c", &format!("-mcpu={cpu}"), "-o"])
        .arg(&object)
        .arg(&source))?;
    let mut objdump = Command::new("llvm-objdump-19");
    let text = run(objdump.args(["-d", "--no-print-imm-hex", "--mcpu=v4"]).arg(&object))?;
    Some(text.lines().filter_map(listed).collect())
}

/// `      12:<tab>bytes<tab>text`.
fn listed(line: &str) -> Option<Listed> {
    let (slot, rest) = line.split_once(":\t")?;
    slot.trim().parse::<usize>().ok()?;
    let (bytes, text) = rest.split_once('\t')?;
    let bytes = bytes.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).expect("hex"));
    Some(Listed { bytes: bytes.collect(), text: text.trim().to_owned() })
}

/// The differences of spelling that are left: with cpu v3 and later llvm writes loads and stores of
/// less than 64 bits with `w` registers; a local call is `call N` and its relocation. A jump's
/// target in angle brackets is a comment; we write 64-bit numbers in hexadecimal at all times.
fn common(text: &str) -> String {
    let text = text.split(" <").next().unwrap_or_default();
    let wide = text.strip_suffix(" ll").and_then(|text| text.split_once(" = "));
    if let Some((dst, Ok(value))) = wide.map(|(dst, value)| (dst, value.parse::<i64>())) {
        return format!("{dst} = {value:#x} ll");
    }
    let narrow_load = text.starts_with('w') && text.contains("= *(u");
    let narrow_store = text.starts_with("*(u") && text.contains("= w");
    if narrow_load || narrow_store { text.replace('w', "r") } else { text.to_owned() }
}

#[test]
fn our_listing_is_llvm_objdumps() {
    let directory = tempfile::tempdir().expect("makes a directory");
    let mut compared = 0;
    for cpu in ["v1", "v2", "v3", "v4"] {
        let Some(listing) = listing(directory.path(), cpu) else {
            println!("our_listing_is_llvm_objdumps: skipped: needs clang-19 and llvm-objdump-19");
            return;
        };
        for line in listing {
            let raw = decode::raw_insns(&line.bytes).expect("whole slots");
            let insns = decode::decode(&raw).unwrap_or_else(|error| panic!("{}: {error}", line.text));
            let read = asm::assemble(&line.text).unwrap_or_else(|error| panic!("{}: {error}", line.text));
            if raw[0].code == 0x85 && raw[0].src == 1 {
                continue; // llvm shows the field of a local call, and the function in a relocation.
            }
            assert_eq!(encode::encode(&read), raw, "{}", line.text);
            assert_eq!(common(&line.text), common(asm::disassemble(&insns).trim()));
            compared += 1;
        }
    }
    assert!(compared > 400, "only {compared} instructions were compared");
}
