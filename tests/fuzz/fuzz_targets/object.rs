//! ELF files: everything an object can give is asked of it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_ebpf::ProgramType;
use weir_object::Object;

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut object) = Object::parse(bytes) else { return };
    for entry in object.programs() {
        let _ = object.program(&entry.name);
        let _ = object.program_as(&entry.name, ProgramType::Xdp);
    }
    for map in object.maps() {
        let types = object.map_btf(&map.name).unwrap_or_default();
        let Some(btf) = object.btf() else { continue };
        let size = btf.size_of(types.value_type).unwrap_or(0).min(1 << 12);
        let _ = btf.value(types.value_type, &vec![0x41; size as usize]).map(|value| value.to_string());
    }
    let globals: Vec<String> = object.globals().map(|(name, _)| name.to_owned()).take(20).collect();
    for name in globals {
        let _ = object.set_global(&name, 1u32);
    }
});
