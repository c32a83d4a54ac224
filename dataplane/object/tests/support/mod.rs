//! Objects made from C by whichever clang is installed.

#![allow(dead_code, reason = "each test file uses a part of it")]

pub(crate) mod elf;

use std::path::{Path, PathBuf};
use std::process::Command;

/// The compilers that objects must be read from.
pub(crate) const COMPILERS: [&str; 3] = ["clang-14", "clang-16", "clang-19"];

/// Where the C files are.
pub(crate) fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/corpus/object")
}

/// Compiles a file with each compiler that is here; says so when none is.
pub(crate) fn compile(source: &Path) -> Vec<(&'static str, Vec<u8>)> {
    compile_by(COMPILERS, source, &["-g"])
}

/// The same by these compilers, with other flags.
pub(crate) fn compile_by(
    compilers: impl IntoIterator<Item = &'static str>,
    source: &Path,
    flags: &[&str],
) -> Vec<(&'static str, Vec<u8>)> {
    let objects: Vec<_> =
        compilers.into_iter().filter_map(|clang| Some((clang, run(clang, source, flags)?))).collect();
    if objects.is_empty() {
        println!("skipped: none of {COMPILERS:?} is installed");
    }
    objects
}

/// Compiles text that is not in a file.
pub(crate) fn compile_text(name: &str, text: &str) -> Vec<(&'static str, Vec<u8>)> {
    compile_bytes(name, text.as_bytes())
}

/// The same for text that may be no UTF-8.
pub(crate) fn compile_bytes(name: &str, text: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let source = kept(&format!("{name}.c"));
    if std::fs::read(&source).ok().as_deref() != Some(text) {
        write(&source, text);
    }
    compile(&source)
}

/// A file that later runs of the tests find again.
fn kept(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// Writes a file in one step, as other tests may be doing the same.
fn write(path: &Path, bytes: &[u8]) {
    let own = path.with_extension(format!("{}.{:?}", std::process::id(), std::thread::current().id()));
    std::fs::write(&own, bytes).expect("a writable target folder");
    std::fs::rename(&own, path).expect("a writable target folder");
}

/// The object, compiled unless an earlier run left one that is newer than its source.
fn run(clang: &str, source: &Path, flags: &[&str]) -> Option<Vec<u8>> {
    let stem = source.file_stem()?.to_str()?;
    let output = kept(&format!("{stem}.{clang}{}.o", flags.concat()));
    let modified = |path: &Path| path.metadata().and_then(|data| data.modified()).ok();
    if modified(&output).zip(modified(source)).is_some_and(|(output, source)| output > source) {
        return std::fs::read(output).ok();
    }
    let done = Command::new(clang)
        .args([
            "-O2",
            "-target",
            "bpf",
            "-I/usr/include/x86_64-linux-gnu",
            "-I/usr/include/aarch64-linux-gnu",
        ])
        .args(["-Wno-unknown-attributes", "-Wno-unused-value"])
        .args(flags)
        .arg("-c")
        .arg(source)
        .args(["-o", "-"])
        .output()
        .ok()?;
    assert!(done.status.success(), "{clang} {}: {}", source.display(), String::from_utf8_lossy(&done.stderr));
    write(&output, &done.stdout);
    Some(done.stdout)
}

/// Asks an object, if the bytes are one, for everything it can give. Nothing may panic, and all must
/// end soon.
pub(crate) fn exercise(bytes: &[u8]) {
    use weir_ebpf::ProgramType;
    use weir_object::Object;
    let Ok(mut object) = Object::parse(bytes) else { return };
    for entry in object.programs() {
        let _ = object.program(&entry.name);
        let _ = object.program_as(&entry.name, ProgramType::Xdp);
    }
    for map in object.maps() {
        let types = object.map_btf(&map.name).unwrap_or_default();
        let Some(btf) = object.btf() else { continue };
        for id in [types.key_type, types.value_type] {
            let size = btf.size_of(id).unwrap_or(0).min(1 << 16);
            let _ = btf.value(id, &vec![0x41; size as usize]).map(|value| value.to_string());
        }
    }
    let globals: Vec<(String, u32)> = object.globals().map(|(name, size)| (name.to_owned(), size)).collect();
    for (name, _) in globals.into_iter().take(100) {
        let _ = object.set_global(&name, 1u32);
        let _ = object.set_global(&name, &b"value"[..]);
    }
}
