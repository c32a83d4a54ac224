//! Values by type: what `values.c` puts into `.data`, as text, and the same by bpftool.

mod support;

use std::process::Command;

use support::{compile, compile_text, corpus};
use weir_ebpf::isa::{Imm64, Insn};
use weir_ebpf::program::Initial;
use weir_object::{Object, Options};

/// The first contents of `values.c`'s `.data`. bpftool says the same, and a test below asks it.
const WANTED: &str = concat!(
    r#"{".data":[{"everything":{"number":-7,"big":1,"negative":-9000000000,"p":443,"colour":"GREEN","#,
    r#""other":3,"wide":"HUGE","bits":{"a":"0x5","b":"0x64","c":"0x1d","d":"0xabcdef0123"},"#,
    r#""inner":{"letter":120,"small":-1,"byte":200,"yes":true},"":{"as_int":16909060,"as_bytes":[4,3,2,1]},"#,
    r#""list":[1,-2,3],"text":"abc","raw":"a","full":[104,105],"grid":[[1,2],[3,4]],"pointer":0,"#,
    r#""bigger":"0xffffffffffffffffffffffffffffffff","nothing":{},"high":18446744073709551615}},"#,
    r#"{"flag":1},{"truth":true}]}"#
);

fn data(object: &Object, map: &str) -> String {
    let spec = object.maps().iter().find(|spec| spec.name == map).expect("the map");
    let Initial::Data(bytes) = &spec.initial else { panic!("{map} has data") };
    let types = object.map_btf(map).expect("types");
    object.btf().expect("types").value(types.value_type, bytes).expect("a value").to_string()
}

#[test]
fn data_reads_as_its_source() {
    for (clang, bytes) in compile(&corpus().join("values.c")) {
        let object = Object::parse(&bytes).expect("an object");
        // Before clang 15, BTF has no enumerations of 64 bits.
        let wide = WANTED.replace(r#""wide":"HUGE""#, r#""wide":1311768467463790320"#);
        assert_eq!(data(&object, ".data"), if clang == "clang-14" { &wide } else { WANTED }, "{clang}");
    }
}

#[test]
fn data_reads_as_bpftool_reads_it() {
    let name = format!("wv{}", std::process::id() % 100_000);
    let pins = format!("/sys/fs/bpf/{name}");
    for (clang, bytes) in compile(&corpus().join("values.c")) {
        // bpftool names maps after the file.
        let folder = tempfile::tempdir().expect("a writable temporary directory");
        let file = folder.path().join(format!("{name}.o"));
        std::fs::write(&file, &bytes).expect("a writable temporary directory");
        let loaded = Command::new("bpftool")
            .args(["prog", "loadall"])
            .arg(&file)
            .arg(&pins)
            .args(["pinmaps", &pins])
            .output();
        let dump = Command::new("bpftool")
            .args(["-j", "map", "dump", "pinned", &format!("{pins}/{name}_data")])
            .output();
        let _ = std::fs::remove_dir_all(&pins);
        let (true, Ok(dump)) = (loaded.is_ok_and(|done| done.status.success()), dump) else {
            println!("skipped: bpftool loads nothing (needs root)");
            return;
        };
        let dump = String::from_utf8_lossy(&dump.stdout).into_owned();
        let options = Options { name: name.clone(), ..Options::default() };
        let object = Object::parse_with(&bytes, &options).expect("an object");
        let wanted = data(&object, &format!("{name}.data"));
        assert!(dump.contains(&format!(r#""formatted":{{"value":{wanted}}}"#)), "{clang}: {wanted}\n{dump}");
    }
}

#[test]
fn floats_are_numbers() {
    const TEXT: &str = r#"
        #include <linux/bpf.h>
        #include <bpf/bpf_helpers.h>
        struct { float f; double g; } pair = { 1.5, -2.25 };
        SEC("xdp") int entry(struct xdp_md *ctx) { return pair.f == 0; }
        char _license[] SEC("license") = "GPL";
    "#;
    for (clang, bytes) in compile_text("floats", &TEXT.replace("pair.f == 0", "*(int *)&pair.f")) {
        let object = Object::parse(&bytes).expect("an object");
        assert_eq!(data(&object, ".data"), r#"{".data":[{"pair":{"f":1.5,"g":-2.25}}]}"#, "{clang}");
    }
}

#[test]
fn globals_are_set_before_programs_are_taken() {
    for (clang, bytes) in compile(&corpus().join("data.c")) {
        let mut object = Object::parse(&bytes).expect("an object");
        object.set_global("limit", 70_000u32).expect("fits");
        object.set_global("name", &b"up"[..]).expect("fits");
        object.set_global("alone", -1i64).expect("fits");
        object.set_global("zeros", &[1u8; 32][..]).expect("fits");
        assert!(data(&object, ".rodata").contains(r#""limit":70000"#), "{clang}");
        assert!(data(&object, ".rodata").contains(r#""name":"up""#), "{clang}");
        assert!(data(&object, ".rodata.alone").contains(r#""alone":-1"#), "{clang}");
        assert!(data(&object, ".bss").contains(r#""zeros":[72340172838076673,"#), "{clang}");
        let program = object.program("entry").expect("a program");
        assert_eq!(program.maps, object.maps());
        for (name, value, wanted) in [
            (
                "limit",
                1i64 << 32,
                "global variable `limit` takes a number from -2147483648 to 4294967295, not 4294967296",
            ),
            ("nobody", 1, "there is no global variable `nobody` in .rodata, .data, .bss or .kconfig"),
            ("zeros", 1, "global variable `zeros` takes 32 bytes, not the number 1"),
        ] {
            let error = object.set_global(name, value).expect_err("refused").to_string();
            assert!(error.contains(wanted), "{clang}: {error}");
        }
        let error = object.set_global("name", &[0u8; 9][..]).expect_err("too long").to_string();
        assert!(error.contains("takes 8 bytes, not 9 bytes"), "{clang}: {error}");
    }
}

#[test]
fn the_configuration_can_be_answered() {
    for (clang, bytes) in compile(&corpus().join("externs.c")) {
        let mut object = Object::parse(&bytes).expect("an object");
        object.program("strong_config").expect_err("not known yet");
        object.set_global("CONFIG_NR_CPUS", 8u32).expect("an extern");
        object.program("strong_config").unwrap_or_else(|error| panic!("{clang}: {error}"));
    }
}

/// Constants that only inline assembly names, as loaders of Go projects patch them.
const CONSTANTS: &str = r#"
    #include <linux/bpf.h>
    #include <bpf/bpf_helpers.h>
    #define CONSTANT(name) ({ __u64 value; asm("%0 = " #name " ll" : "=r"(value)); value; })
    struct {
        __uint(type, BPF_MAP_TYPE_ARRAY);
        __uint(max_entries, 1);
        __type(key, __u32);
        __type(value, __u64);
        __uint(pinning, 100);
    } shared SEC(".maps");
    extern int nobody;
    SEC("xdp") int entry(struct xdp_md *ctx) {
        __u32 key = 0;
        __u64 *value = bpf_map_lookup_elem(&shared, &key);
        if (value) *value = CONSTANT(limit);
        return CONSTANT(action);
    }
    SEC("xdp") int missing(struct xdp_md *ctx) { return nobody; }
    char _license[] SEC("license") = "GPL";
"#;

#[test]
fn constants_of_inline_assembly_are_0_until_set() {
    for (clang, bytes) in compile_text("constants", CONSTANTS) {
        let mut object = Object::parse(&bytes).expect("an object");
        let constants = |object: &Object| -> Vec<u64> {
            let program = object.program("entry").unwrap_or_else(|error| panic!("{clang}: {error}"));
            let wide = program.insns.iter().filter_map(|insn| match insn {
                Insn::LoadImm64 { value: Imm64::Value(value), .. } => Some(*value),
                _ => None,
            });
            wide.collect()
        };
        assert_eq!(constants(&object), [0, 0], "{clang}");
        object.set_global("action", 2u32).expect("a constant");
        object.set_global("limit", -1i64).expect("a constant");
        assert_eq!(constants(&object), [u64::MAX, 2], "{clang}");
        assert!(object.globals().any(|named| named == ("limit", 8)), "{clang}");
        let error = object.set_global("limit", &[0u8; 9][..]).expect_err("too long").to_string();
        assert!(error.contains("takes 8 bytes, not 9 bytes"), "{clang}: {error}");
        // What C declares, it does not mean for a loader to make up.
        let error = object.program("missing").expect_err("no such variable").to_string();
        assert!(error.contains("extern `nobody` is not defined here"), "{clang}: {error}");
        // A pinning of a loader's own is one by name.
        assert!(object.maps().iter().any(|spec| spec.name == "shared" && spec.pinned), "{clang}");
    }
}

#[test]
fn static_programs_are_programs_unless_something_calls_them() {
    const TEXT: &str = r#"
        #include <linux/bpf.h>
        #include <bpf/bpf_helpers.h>
        SEC("xdp") static __attribute__((noinline)) int part(struct xdp_md *ctx) {
            return ctx->rx_queue_index;
        }
        SEC("xdp") static long turn(__u32 index, void *sum) { *(__u32 *)sum += index; return 0; }
        SEC("xdp") static int alone(struct xdp_md *ctx) {
            __u32 sum = part(ctx);
            bpf_loop(4, turn, &sum, 0);
            return sum & 1;
        }
        char _license[] SEC("license") = "GPL";
    "#;
    for (clang, bytes) in compile_text("statics", TEXT) {
        let object = Object::parse(&bytes).expect("an object");
        let names: Vec<&str> = object.programs().iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, ["alone"], "{clang}");
        object.program("alone").unwrap_or_else(|error| panic!("{clang}: {error}"));
    }
}

#[test]
fn lines_are_those_of_the_source() {
    const TEXT: &[u8] = b"#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\n\
        SEC(\"xdp\") int entry(struct xdp_md *ctx)\n{\n\treturn ctx->rx_queue_index; /* gr\xfcn */\n}\n\
        char _license[] SEC(\"license\") = \"GPL\";\n";
    for (clang, bytes) in support::compile_bytes("lines", TEXT) {
        let program = Object::parse(&bytes).expect("an object").program("entry").expect("a program");
        let line = program.line_at(0).expect("a line");
        assert_eq!(
            (line.line, &*line.text),
            (5, "\treturn ctx->rx_queue_index; /* gr\u{fffd}n */"),
            "{clang}"
        );
        assert!(line.file.ends_with("lines.c"), "{clang}: {}", line.file);
    }
}
