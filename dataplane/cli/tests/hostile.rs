//! Bad inputs at every door of the binary: one clear line on stderr, and the exit code that the manual promises.
//! The files are made here from good ones; what weir says of each stands in `hostile/*.trycmd`.

use std::path::Path;
use std::process::Command;

/// How a good file is spoiled.
type Spoil = Box<dyn Fn(&[u8]) -> Vec<u8>>;
/// A file, and how a good one is spoiled to become it.
type Bad<'b> = (&'b str, Spoil);

fn cut(keep: usize) -> Spoil {
    Box::new(move |good| good[..keep.min(good.len())].to_vec())
}

fn half() -> Spoil {
    Box::new(|good| good[..good.len() / 2].to_vec())
}

fn put(at: usize, bytes: &'static [u8]) -> Spoil {
    Box::new(move |good| {
        let mut bad = good.to_vec();
        bad[at..at + bytes.len()].copy_from_slice(bytes);
        bad
    })
}

/// Writes other bytes where these are first found.
fn instead(old: &'static [u8], new: &'static [u8]) -> Spoil {
    Box::new(move |good| {
        let at = good.windows(old.len()).position(|window| window == old).expect("bytes to replace");
        put(at, new)(good)
    })
}

fn weir(folder: &Path, arguments: &[&str]) {
    let made = Command::new(env!("CARGO_BIN_EXE_weir")).args(arguments).current_dir(folder).output().unwrap();
    assert!(made.status.success(), "{made:?}");
}

fn spoil(folder: &Path, good: &str, bad: Vec<Bad<'_>>) {
    let good = std::fs::read(folder.join(good)).unwrap();
    for (name, how) in bad {
        std::fs::write(folder.join(name), how(&good)).unwrap();
    }
}

/// Good files, and bad ones made of them.
fn prepare(folder: &Path) {
    let _ = std::fs::remove_dir_all(folder);
    std::fs::create_dir_all(folder).unwrap();
    let object = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../programs/firewall/firewall.bpf.o");
    std::fs::copy(object, folder.join("good.o")).unwrap();
    weir(folder, &["pcap", "gen", "good.pcap", "-n", "100", "-q"]);
    weir(folder, &["pcap", "gen", "good.pcapng", "-n", "100", "-q"]);
    let objects: Vec<Bad<'_>> = vec![
        ("empty.o", cut(0)),
        ("header.o", cut(40)),
        ("half.o", half()),
        ("magic.o", put(0, b"\x7fOLF")),
        ("elf32.o", put(4, &[1])),
        ("bigendian.o", put(5, &[2])),
        ("x86.o", put(18, &[62, 0])),
        ("sections.o", put(40, &[0xff; 8])),
        ("btf.o", instead(&[0x9f, 0xeb, 1, 0], &[0x9f, 0xec, 1, 0])),
    ];
    spoil(folder, "good.o", objects);
    let captures: Vec<Bad<'_>> = vec![
        ("empty.pcap", cut(0)),
        ("header.pcap", cut(20)),
        ("half.pcap", half()),
        ("magic.pcap", put(0, b"PACK")),
        ("long.pcap", put(32, &[0xff; 4])),
        ("half.pcap.gz", Box::new(|_| vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0x4b])),
    ];
    spoil(folder, "good.pcap", captures);
    let captures: Vec<Bad<'_>> = vec![
        ("half.pcapng", half()),
        ("length.pcapng", put(4, &[0xff; 4])),
        ("order.pcapng", put(8, &[1, 2, 3, 4])),
    ];
    spoil(folder, "good.pcapng", captures);
    std::fs::write(folder.join("good.bin"), [0xb7, 0, 0, 0, 2, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0]).unwrap();
    std::fs::write(folder.join("odd.bin"), [0; 15]).unwrap();
    std::fs::write(folder.join("opcode.bin"), [0xff; 16]).unwrap();
    for (name, text) in SPECS {
        std::fs::write(folder.join(name), text).unwrap();
    }
    for (name, text) in CONFIGURATIONS {
        let whole =
            format!("version = 1\n[interface.wan]\ndriver = \"pcap\"\nfile = [\"good.pcap\"]\n{text}");
        std::fs::write(folder.join(name), whole).unwrap();
    }
    std::fs::write(folder.join("latin1.toml"), b"version = 1 # \xe9\n").unwrap();
    std::fs::write(folder.join("version.toml"), "version = 2\n").unwrap();
    std::fs::write(folder.join("nothing.toml"), "").unwrap();
}

const SPECS: &[(&str, &str)] = &[
    ("good.json", r#"{"type":"xdp"}"#),
    ("cut.json", r#"{"type":"xdp","#),
    ("key.json", r#"{"type":"xdp","colour":"red"}"#),
    ("type.json", r#"{"type":"kprobe"}"#),
    ("map.json", r#"{"type":"xdp","maps":[{"type":"nope","key":4,"value":4,"max_entries":1}]}"#),
    ("size.json", r#"{"type":"xdp","maps":[{"type":"array","key":4294967295,"value":4,"max_entries":1}]}"#),
];

/// What follows an interface that is right.
const CONFIGURATIONS: &[(&str, &str)] = &[
    ("cut.toml", "[[program"),
    ("key.toml", "mtuu = 9000\n"),
    ("type.toml", "mtu = \"big\"\n"),
    ("range.toml", "mtu = -1\n"),
    ("mac.toml", "mac = \"02:00:00:00:00\"\n"),
    ("ifindex.toml", "ifindex = 0\n"),
    ("cores.toml", "[workers]\ncores = []\n"),
    ("no-core.toml", "[workers]\ncores = [65000]\n"),
    ("huge.toml", "generate = { packets = 18000000000000000 }\n"),
    ("port.toml", "[forward]\nconnect = { wan = \"lan\" }\n"),
    ("object.toml", "[[program]]\nname = \"a\"\nobject = \"none.o\"\nattach = { hook = \"xdp\" }\n"),
    ("half-object.toml", "[[program]]\nname = \"a\"\nobject = \"half.o\"\nattach = { hook = \"xdp\" }\n"),
    ("hook.toml", "[[program]]\nname = \"a\"\nobject = \"good.o\"\nattach = { hook = \"tc\" }\n"),
    (
        "constant.toml",
        "[[program]]\nname = \"a\"\nobject = \"good.o\"\nattach = { hook = \"xdp\" }\nrodata = { polcy = 1 }\n",
    ),
    (
        "value.toml",
        "[[program]]\nname = \"a\"\nobject = \"good.o\"\nattach = { hook = \"xdp\" }\nrodata = { policy = 99999999999 }\n",
    ),
    (
        "map.toml",
        "[[program]]\nname = \"a\"\nobject = \"good.o\"\nattach = { hook = \"xdp\" }\n[program.maps]\ndenied = []\n",
    ),
    (
        "entry.toml",
        "[[program]]\nname = \"a\"\nobject = \"good.o\"\nattach = { hook = \"xdp\" }\n[program.maps]\ndeny4 = [{ key = \"10.0.0.0/33\", value = 0 }]\n",
    ),
];

#[test]
fn bad_inputs_get_one_clear_line_and_their_exit_code() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("hostile");
    prepare(&folder);
    std::env::set_current_dir(&folder).unwrap();
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hostile/*.trycmd");
    trycmd::TestCases::new().case(cases);
}
