//! Bytes that are not what they say: each is refused in words that name place, find and wish; and
//! whatever happens to the bits of a sound object, nothing panics.

mod support;

use proptest::prelude::*;
use support::elf::{CODE, EXIT, File, LOAD, MOV, NOBITS, PROGBITS, btf, call};
use support::{compile, corpus, exercise};
use weir_object::{Btf, Object};

const FUNCTION: u8 = 0x12;

/// A sound file: `xdp` with one function of two instructions.
fn sound() -> File {
    let mut file = File::with_code("xdp", &[MOV, EXIT]);
    file.symbol("entry", FUNCTION, 3, 0, 16);
    file
}

fn refusal(file: &File) -> String {
    Object::parse(&file.bytes()).expect_err("refused").to_string()
}

/// The refusal of the program `entry` of a file that is itself sound.
fn program_refusal(file: &File) -> String {
    let object = Object::parse(&file.bytes()).expect("a sound file");
    object.program("entry").expect_err("refused").to_string()
}

#[test]
fn the_sound_file_is_sound() {
    let object = Object::parse(&sound().bytes()).expect("sound");
    assert_eq!(object.program("entry").expect("a program").insns.len(), 2);
    let error = object.program("other").expect_err("not there").to_string();
    assert_eq!(error, "there is no program `other`; there are: entry");
}

#[test]
fn headers_are_checked() {
    let bytes = sound().bytes();
    let with = |at: usize, value: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = value;
        Object::parse(&bytes).expect_err("refused").to_string()
    };
    assert_eq!(with(0, 0), "file offset 0x0: found bytes [00, 45, 4c, 46], wanted an ELF file (7f 45 4c 46)");
    assert_eq!(with(4, 1), "file offset 0x4: found ELF class 1, wanted a 64-bit file (class 2)");
    assert!(with(5, 2).contains("wanted little endian (1); compile with `clang -target bpfel`"));
    assert!(with(16, 2).contains("found ELF type 2, wanted a relocatable object"));
    assert!(with(18, 62).contains("found ELF machine 62, wanted eBPF (247)"));
    assert!(with(47, 0xff).contains("wanted a table of sections inside the file"));
    assert_eq!(
        Object::parse(&[]).expect_err("empty").to_string(),
        "file offset 0x0: found bytes [], wanted an ELF file (7f 45 4c 46)"
    );
    assert!(Object::parse(&bytes[..40]).is_err());
}

#[test]
fn sections_lie_inside_the_file_and_apart() {
    let mut file = sound();
    file.sections[0].size = Some(1 << 40);
    assert!(refusal(&file).contains("section `xdp`: found 1099511627776 bytes at file offset"));

    let mut bytes = sound().bytes();
    let table = u64::from_le_bytes(bytes[40..48].try_into().expect("8 bytes")) as usize;
    // The code section says it is the whole file.
    bytes[table + 3 * 64 + 24..][..8].copy_from_slice(&0u64.to_le_bytes());
    let length = bytes.len() as u64;
    bytes[table + 3 * 64 + 32..][..8].copy_from_slice(&length.to_le_bytes());
    let error = Object::parse(&bytes).expect_err("refused").to_string();
    assert!(error.contains("wanted sections that do not overlap"), "{error}");

    // A huge .bss takes nothing of the file.
    let mut file = sound();
    file.section(".bss", NOBITS, 3, Vec::new());
    file.sections[1].size = Some(1 << 50);
    assert!(
        refusal(&file).contains("section `.bss`: found 1125899906842624 bytes, wanted 268435456 or fewer")
    );
}

#[test]
fn functions_lie_inside_their_section_and_apart() {
    for (value, size, wanted) in [
        (
            0,
            24,
            "section `xdp`, offset 0x0: found function `second` of 24 bytes, wanted whole instructions inside 16 bytes",
        ),
        (8, u64::MAX - 7, "wanted whole instructions inside 16 bytes"),
        (4, 8, "section `xdp`, offset 0x4: found function `second` of 8 bytes, wanted whole instructions"),
        (16, 0, "found function `second` of 0 bytes"),
        (1 << 63, 8, "offset 0x8000000000000000"),
        (
            8,
            8,
            "section `xdp`, offset 0x8: found function `second` inside `entry`, wanted functions side by side",
        ),
    ] {
        let mut file = sound();
        file.symbol("second", FUNCTION, 3, value, size);
        let error = refusal(&file);
        assert!(error.contains(wanted), "{error}");
    }
    // Two names of the same function are two programs.
    let mut file = sound();
    file.symbol("alias", FUNCTION, 3, 0, 16);
    let object = Object::parse(&file.bytes()).expect("sound");
    assert_eq!(object.programs().len(), 2);

    let mut file = sound();
    file.symbol("nowhere", FUNCTION, 99, 0, 16);
    assert!(refusal(&file).contains("found symbol `nowhere` in section 99, wanted a section below 5"));
}

#[test]
fn code_is_whole() {
    let mut file = sound();
    file.sections[0].data.push(0);
    assert_eq!(refusal(&file), "section `xdp`: found 17 bytes of code, wanted a multiple of 8");

    // A section without bytes has no programs, and does no harm.
    let mut file = sound();
    file.section("tc", PROGBITS, CODE, Vec::new());
    assert_eq!(Object::parse(&file.bytes()).expect("sound").programs().len(), 1);

    // A 64-bit load cut by the end of the section, and by the end of the function.
    let mut file = File::with_code("xdp", &[MOV, LOAD]);
    file.symbol("entry", FUNCTION, 3, 0, 16);
    assert_eq!(
        program_refusal(&file),
        "section `xdp`, offset 0x8: found a 64-bit load cut by the function's end, wanted both its slots"
    );
    let mut file = File::with_code("xdp", &[MOV, LOAD, 0, EXIT]);
    file.symbol("entry", FUNCTION, 3, 0, 16);
    file.symbol("next", FUNCTION, 3, 16, 16);
    assert!(program_refusal(&file).contains("cut by the function's end"));

    let mut file = File::with_code("xdp", &[0xff, EXIT]);
    file.symbol("entry", FUNCTION, 3, 0, 16);
    assert_eq!(program_refusal(&file), "section `xdp`, offset 0x0: insn 0: unknown opcode ff");
}

#[test]
fn relocations_name_what_is_there() {
    let with = |insns: &[u64], at: u64, symbol: &dyn Fn(&mut File) -> u32| {
        let mut file = File::with_code("xdp", insns);
        file.symbol("entry", FUNCTION, 3, 0, insns.len() as u64 * 8);
        let text = file.section(".text", PROGBITS, CODE, support::elf::code(&[MOV, MOV, EXIT]));
        assert_eq!(text, 4);
        file.symbol("callee", FUNCTION, 4, 0, 24);
        let symbol = symbol(&mut file);
        file.relocations(3, &[(at, symbol)]);
        file
    };
    let callee = |value: u64| move |file: &mut File| file.symbol("label", 0x10, 4, value, 0);
    let object = Object::parse(&with(&[call(-1), EXIT], 0, &callee(0)).bytes()).expect("sound");
    assert_eq!(object.program("entry").expect("a program").functions.len(), 2);

    assert_eq!(
        program_refusal(&with(&[call(-1), EXIT], 0, &callee(8))),
        "section `xdp`, offset 0x0: found instruction 1 of function `callee`, wanted the start of a function"
    );
    assert!(
        program_refusal(&with(&[call(1 << 30), EXIT], 0, &callee(0)))
            .contains("found instruction 1073741825 of section `.text`")
    );
    assert!(
        program_refusal(&with(&[call(-100), EXIT], 0, &callee(0)))
            .contains("found instruction -99 of section `.text`")
    );
    assert!(
        program_refusal(&with(&[LOAD, 0, EXIT], 0, &callee(4))).contains("wanted the start of a function")
    );
    assert!(
        program_refusal(&with(&[MOV, EXIT], 0, &callee(0)))
            .contains("found a relocation to `label` on opcode 0xb7")
    );
    // The second slot of a load is no instruction.
    assert!(program_refusal(&with(&[LOAD, 0, EXIT], 8, &callee(0))).contains("on opcode 0x00"));
    let extern_ = |file: &mut File| file.symbol("memcpy", 0x10, 0, 0, 0);
    assert!(
        program_refusal(&with(&[call(-1), EXIT], 0, &extern_))
            .contains("extern `memcpy` is not defined here")
    );
    let absolute = |file: &mut File| file.symbol("absolute", 0x10, 0xfff1, 0, 0);
    assert!(
        program_refusal(&with(&[LOAD, 0, EXIT], 0, &absolute))
            .contains("found `absolute`, which has no section")
    );
    let weak = |file: &mut File| file.symbol("maybe", 0x20, 0, 0, 0);
    let object = Object::parse(&with(&[LOAD | 7 << 32, 9, EXIT], 0, &weak).bytes()).expect("sound");
    object.program("entry").expect_err("the second slot held something");

    for (at, symbol, wanted) in [
        (1 << 60, 1, "found a relocation at 0x1000000000000000, wanted one below 0x10"),
        (0, 77, "section `.rel`, offset 0x0: found symbol 77, wanted one below 2"),
    ] {
        let mut file = sound();
        file.relocations(3, &[(at, symbol)]);
        let error = refusal(&file);
        assert!(error.contains(wanted), "{error}");
    }
    let mut file = sound();
    file.relocations(3, &[(0, 1), (0, 1)]);
    assert!(refusal(&file).contains("section `.rel`, offset 0x10: found a second relocation at 0x0"));
    let mut file = sound();
    file.relocations(300, &[(0, 1)]);
    assert!(refusal(&file).contains("found section 300, wanted the section to be relocated"));
}

#[test]
fn local_calls_reach_functions() {
    for off in [0, -2, 5, i32::MAX, i32::MIN] {
        let mut file = File::with_code("xdp", &[call(off), EXIT]);
        file.symbol("entry", FUNCTION, 3, 0, 16);
        assert!(program_refusal(&file).contains("wanted the start of a function"), "{off}");
    }
    // A function may call itself; that recursion ends is for the verifier to ask.
    let mut file = File::with_code("xdp", &[call(-1), EXIT]);
    file.symbol("entry", FUNCTION, 3, 0, 16);
    let object = Object::parse(&file.bytes()).expect("sound");
    assert_eq!(object.program("entry").expect("a program").insns.len(), 2);
}

#[test]
fn a_chain_of_ten_thousand_functions_is_no_deep_recursion() {
    const COUNT: u64 = 10_000;
    let insns: Vec<u64> =
        (0..COUNT).flat_map(|n| if n + 1 < COUNT { [call(1), EXIT] } else { [MOV, EXIT] }).collect();
    let mut file = File::with_code("xdp", &insns);
    file.symbol("entry", FUNCTION, 3, 0, 16);
    for n in 1..COUNT {
        file.symbol("f", 0x02, 3, n * 16, 16);
    }
    let object = Object::parse(&file.bytes()).expect("sound");
    assert_eq!(object.program("entry").expect("a program").functions.len(), COUNT as usize);
}

#[test]
fn fifty_thousand_programs_beside_a_hundred_thousand_types_are_taken_at_once() {
    const COUNT: u64 = 50_000;
    let insns: Vec<u64> = (0..COUNT).flat_map(|_| [MOV, EXIT]).collect();
    let mut file = File::with_code("xdp", &insns);
    for n in 0..COUNT {
        file.symbol(&format!("f{n}"), FUNCTION, 3, n * 16, 16);
    }
    let int = [1, 1 << 24, 4, 32];
    let types: Vec<u32> = std::iter::repeat_n(int, 100_000).flatten().collect();
    file.section(".BTF", PROGBITS, 0, btf(&types, &["int"]));
    let start = std::time::Instant::now();
    let object = Object::parse(&file.bytes()).expect("sound");
    for entry in object.programs() {
        object.program(&entry.name).expect("a program");
    }
    assert!(start.elapsed().as_secs() < 10, "took {:?}", start.elapsed());
    assert_eq!(object.programs().len(), COUNT as usize);
}

#[test]
fn functions_without_symbols_are_found() {
    // Section `xdp` calls the second function of `.text`, which has no symbols at all.
    let mut file = File::with_code("xdp", &[call(1), EXIT]);
    file.section(".text", PROGBITS, CODE, support::elf::code(&[MOV, EXIT, MOV, MOV, EXIT]));
    let text = file.symbol("", 0x03, 4, 0, 0);
    file.relocations(3, &[(0, text)]);
    let object = Object::parse(&file.bytes()).expect("sound");
    let program = object.program("xdp").expect("named by its section");
    assert_eq!((program.insns.len(), program.functions.len()), (5, 2));
    assert_eq!(program.functions[1].name, "sub_2");
}

/// Types as words: name, info (kind << 24 | count), size or type, …
#[test]
fn types_that_contain_themselves_come_to_an_end() {
    let parse = |types: &[u32], strings: &[&str]| Btf::parse(&btf(types, strings)).expect("sound references");
    // typedef a → const → a.
    let cycle = parse(&[1, 8 << 24, 2, 0, 10 << 24, 1], &["a"]);
    assert_eq!((cycle.strip(1), cycle.size_of(1)), (0, None));
    assert!(cycle.value(1, &[0; 8]).is_err());
    // struct s { struct s s; struct s t; }, 8 bytes.
    let nested = parse(&[1, 4 << 24 | 2, 8, 1, 1, 0, 1, 1, 0], &["s"]);
    assert_eq!(nested.size_of(1), Some(8));
    assert_eq!(nested.value(1, &[0; 8]).expect_err("endless").to_string(), "type [1] has too many parts");
    assert!(nested.special_fields(1).is_empty());
    // An array of itself, and one of four thousand million empty structures.
    let array = parse(&[0, 3 << 24, 0, 1, 1, 4], &[]);
    assert_eq!(array.size_of(1), None);
    let empty = parse(&[0, 4 << 24, 0, 0, 3 << 24, 0, 1, 1, u32::MAX], &[]);
    assert_eq!(empty.value(2, &[]).expect("nothing").to_string(), "[]");
    // Its size overflows.
    let huge =
        parse(&[0, 4 << 24, u32::MAX, 0, 3 << 24, 0, 1, 1, u32::MAX, 0, 3 << 24, 0, 2, 1, u32::MAX], &[]);
    assert_eq!(huge.size_of(3), None);
}

#[test]
fn types_are_checked() {
    let refused =
        |types: &[u32], strings: &[&str]| Btf::parse(&btf(types, strings)).expect_err("refused").to_string();
    assert_eq!(
        refused(&[0, 2 << 24, 9], &[]),
        "section `.BTF`, offset 0x18: found type [1] that refers to [9], wanted a type below [2]"
    );
    assert!(
        refused(&[7, 2 << 24, 0], &[]).contains("offset 0x18: found name offset 0x7, wanted one below 0x1")
    );
    assert!(refused(&[0, 25 << 24, 0], &[]).contains("found type kind 25, wanted a kind from 1 to 19"));
    assert!(refused(&[0, 4 << 24 | 0xffff, 8], &[]).contains("wanted 65535 members of 12 bytes"));
    assert!(refused(&[0, 2 << 24], &[]).contains("wanted size or type, 4 bytes"));
    assert!(refused(&[0, 1 << 24, 4, 64], &[]).contains("found an integer of 64 bits at bit 0 in 4 bytes"));
    assert!(refused(&[0, 14 << 24, 0, 9], &[]).contains("found linkage 9"));
    let mut unterminated = btf(&[], &["abc"]);
    *unterminated.last_mut().expect("a byte") = b'd';
    assert!(
        Btf::parse(&unterminated)
            .expect_err("refused")
            .to_string()
            .contains("wanted strings that start and end with a zero")
    );
    let sound = btf(&[0, 2 << 24, 0], &["name"]);
    for length in 0..sound.len() {
        Btf::parse(&sound[..length]).expect_err("cut short");
    }
}

#[test]
fn maps_are_checked() {
    let mut file = sound();
    file.section(".maps", PROGBITS, 3, vec![0; 8]);
    assert_eq!(
        refusal(&file),
        "section `.maps`: found 8 bytes of maps without BTF, wanted BTF that describes them; compile with -g"
    );
    let mut file = sound();
    file.section("maps", PROGBITS, 3, vec![0; 20]);
    file.symbol("short", 0x11, 4, 8, 0);
    assert!(
        refusal(&file)
            .contains("section `maps`, offset 0x8: found map `short` of 12 bytes, wanted 16 bytes or more")
    );
    let mut file = sound();
    file.section("maps", PROGBITS, 3, vec![0; 20]);
    file.symbol("outside", 0x11, 4, 1 << 40, 0);
    assert!(refusal(&file).contains("found map `outside` of 0 bytes"));
}

#[test]
fn small_files_ask_for_little() {
    // Each of these is some hundred kilobytes that would be gigabytes, or hours, if taken at its word.
    let start = std::time::Instant::now();
    let mut file = sound();
    file.symbols_that_share_a_name(4000, FUNCTION, 3, 16);
    assert!(refusal(&file).contains("wanted names that are not so long"));

    let mut file = sound();
    file.section("maps", PROGBITS, 3, vec![0; 16 * 5000]);
    for n in 0..5000 {
        file.symbol("m", 0x11, 4, n * 16, 16);
    }
    assert!(refusal(&file).contains("section `maps`: found 5000 maps, wanted 4096 or fewer"));

    // Sixty structures, each of two of the one before; and the last asks for its timers.
    let mut types = vec![1, 4 << 24, 0];
    for n in 1..=60 {
        types.extend([0, 4 << 24 | 2, 0, 1, n, 0, 1, n, 0]);
    }
    let types = Btf::parse(&btf(&types, &["bpf_timer"])).expect("sound");
    assert!(types.special_fields(61).len() <= 4096);
    assert!(types.value(61, &[]).is_err());
    assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
}

/// What the files of the corpus become, and the tiny ones.
fn objects() -> Vec<Vec<u8>> {
    let mut objects = vec![sound().bytes()];
    for name in ["maps.c", "calls.c", "core.c", "data.c", "externs.c", "legacy.c", "iproute2.c"] {
        objects.extend(compile(&corpus().join(name)).pop().map(|(_, bytes)| bytes));
    }
    objects
}

/// How many mutations: 400, or `WEIR_CASES`.
fn cases() -> u32 {
    std::env::var("WEIR_CASES").ok().and_then(|count| count.parse().ok()).unwrap_or(400)
}

#[test]
fn mutations_of_sound_objects_do_no_harm() {
    let objects = objects();
    let which = 0..objects.len();
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12);
    let cut = prop::option::weighted(0.1, any::<prop::sample::Index>());
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: cases(),
        ..ProptestConfig::default()
    });
    let run = runner.run(&(which, changes, cut, any::<bool>()), |(which, changes, cut, flip)| {
        let mut bytes = objects[which].clone();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            // Bits for small changes; whole bytes, often extreme, for large ones.
            bytes[at] = if flip { bytes[at] ^ 1 << (value % 8) } else { value };
        }
        if let Some(cut) = cut {
            let length = cut.index(bytes.len());
            bytes.truncate(length);
        }
        exercise(&bytes);
        Ok(())
    });
    run.expect("no harm");
}

#[test]
fn every_truncation_of_a_small_object_is_answered() {
    let bytes = sound().bytes();
    for length in 0..bytes.len() {
        exercise(&bytes[..length]);
    }
    for at in 0..bytes.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut bytes = bytes.clone();
            bytes[at] = value;
            exercise(&bytes);
        }
    }
}
