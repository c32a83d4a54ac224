//! `weir conformance-plugin`: the plugin that bpf_conformance's runner calls for each of its cases.
//!
//! The runner gives memory as an argument and the program on standard input, both as bytes in
//! hexadecimal with spaces between them, and reads r0 in hexadecimal from standard output.

use std::io::Read;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use weir_ebpf::decode;
use weir_vm::{Engine, bare};

/// Sections that hold the program of an ELF file.
const SECTIONS: [&str; 2] = [".text", "xdp"];

/// Run one program of the bpf_conformance suite, from standard input
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Memory for the program, as hexadecimal bytes; r1 is its address, r2 its length
    #[arg(value_name = "MEM")]
    memory: Option<String>,
    /// Run in the checked interpreter (what happens without --jit)
    #[arg(long, conflicts_with = "jit")]
    interp: bool,
    /// Run as machine code
    #[arg(long)]
    jit: bool,
    /// Standard input is an ELF file, in hexadecimal too; its section .text or xdp is the program
    #[arg(long)]
    elf: bool,
}

/// Reads, runs, prints r0.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut input = String::new();
    std::io::stdin().read_to_string(&mut input).context("reading the program from standard input")?;
    println!("{:x}", answer(arguments, &input)?);
    Ok(())
}

fn answer(arguments: &Arguments, input: &str) -> Result<u64> {
    let mut memory = hex(arguments.memory.as_deref().unwrap_or_default()).context("MEM")?;
    let bytes = hex(input).context("the program")?;
    let program = if arguments.elf { text_of(&bytes)? } else { &bytes };
    let Some(raw) = decode::raw_insns(program) else {
        bail!("the program has {} bytes, which are not whole instructions of 8", program.len());
    };
    let insns = decode::decode(&raw)?;
    let engine = if arguments.jit { Engine::Jit } else { Engine::Interpreter };
    Ok(bare::run(&insns, &mut memory, engine)?)
}

fn text_of(file: &[u8]) -> Result<&[u8]> {
    for name in SECTIONS {
        match weir_object::section_bytes(file, name)? {
            Some(bytes) if !bytes.is_empty() => return Ok(bytes),
            _ => {}
        }
    }
    bail!("the ELF file has no section {} with instructions", SECTIONS.join(" or "))
}

/// Bytes in hexadecimal, whatever the space between them.
fn hex(text: &str) -> Result<Vec<u8>> {
    let digits: String = text.split_whitespace().collect();
    if !digits.is_ascii() || !digits.len().is_multiple_of(2) {
        bail!("found {} hexadecimal digits, wanted two for each byte", digits.chars().count());
    }
    let byte = |at| {
        let pair = &digits[at..at + 2];
        u8::from_str_radix(pair, 16)
            .ok()
            .with_context(|| format!("found `{pair}`, wanted a byte in hexadecimal"))
    };
    (0..digits.len()).step_by(2).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADD: &str = "61 10 00 00 00 00 00 00  07 00 00 00 01 00 00 00  95 00 00 00 00 00 00 00";

    fn arguments(memory: &str, jit: bool) -> Arguments {
        Arguments { memory: Some(memory.to_owned()), interp: false, jit, elf: false }
    }

    #[test]
    fn the_answer_is_r0() {
        for jit in [false, true] {
            assert_eq!(answer(&arguments("ff  ff  ff  ff  ", jit), ADD).unwrap(), 0x1_0000_0000);
            assert!(answer(&arguments("", jit), ADD).is_err());
        }
    }

    #[test]
    fn bad_input_says_what_was_wanted() {
        let said = |memory: &str, program: &str| {
            format!("{:#}", answer(&arguments(memory, false), program).unwrap_err())
        };
        assert_eq!(said("zz", ADD), "MEM: found `zz`, wanted a byte in hexadecimal");
        assert_eq!(said("", "95 0"), "the program: found 3 hexadecimal digits, wanted two for each byte");
        assert_eq!(said("", "95 00"), "the program has 2 bytes, which are not whole instructions of 8");
        let elf = Arguments { memory: None, interp: true, jit: false, elf: true };
        assert!(answer(&elf, "7f 45 4c 46").is_err());
    }
}
