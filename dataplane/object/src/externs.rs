//! What undefined symbols stand for: the kernel's configuration, kernel symbols, kernel functions, constants.
//!
//! weir is no kernel, so a kernel symbol is absent but for the kernel functions that it has itself
//! (`weir_ebpf::abi::Kfunc`): a weak one reads as 0 (and a call of a weak function cannot be reached by a
//! sound program), a strong one is refused by name.
//!
//! A name that stands in no declaration was made up in inline assembly (`%0 = LIMIT ll`): a constant that the
//! loader fills in, as cilium/ebpf and DataDog's ebpf-manager do. It is 0 until it is set as a global.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use weir_ebpf::MapSpec;
use weir_ebpf::abi::map_kind::create_flags;
use weir_ebpf::abi::{Kfunc, MapKind};
use weir_ebpf::program::Initial;

use crate::btf::{Btf, Kind};
use crate::config::{KernelConfig, Taken, answer};
use crate::elf::{Elf, SymbolKind};
use crate::error::Fault;
use crate::maps::{Declared, MapBtf};

/// Name of the section, and of the map that stands for it.
const KCONFIG: &str = ".kconfig";
/// The kernel whose behaviour we follow: 6.18, as `KERNEL_VERSION(6, 18, 0)`.
const KERNEL_VERSION: u64 = 6 << 16 | 18 << 8;

/// What an undefined symbol stands for.
#[derive(Clone, Debug)]
pub(crate) enum Extern {
    /// A variable of `.kconfig`, at this offset of its map.
    Config {
        /// Index of the map among the object's declarations.
        map: usize,
        /// Bytes from its start.
        offset: u32,
        /// Bytes of the variable.
        size: u32,
        /// Whether it has a value.
        known: bool,
    },
    /// A kernel function that weir has.
    Kfunc(Kfunc),
    /// A constant of inline assembly, by index.
    Constant(usize),
    /// A weak symbol that nobody defines.
    Absent,
    /// A strong one.
    Unknown,
}

/// Every undefined symbol by name; adds the map of `.kconfig` when there is one.
pub(crate) fn externs(
    elf: &Elf<'_>,
    btf: Option<&Btf>,
    config: Option<fn() -> Arc<KernelConfig>>,
    maps: &mut Vec<Declared>,
) -> HashMap<String, Extern> {
    let mut externs = HashMap::new();
    let variables = btf.map(config_variables).unwrap_or_default();
    let declared = btf.map(declarations).unwrap_or_default();
    let mut constants = 0;
    let config = config.filter(|_| !variables.is_empty()).map(|ask| ask()).unwrap_or_default();
    let mut data = Vec::new();
    for symbol in elf.symbols.iter().filter(|symbol| symbol.undefined && !symbol.name.is_empty()) {
        if externs.contains_key(symbol.name) {
            continue;
        }
        let meaning = match variables.get(symbol.name) {
            Some(&(size, taken)) => {
                let value = config_value(&config, symbol.name, taken, size);
                let known = value.is_some() || symbol.weak;
                let offset = data.len();
                data.extend(value.into_iter().flatten());
                data.resize(offset + size.next_multiple_of(8), 0);
                Extern::Config { map: maps.len(), offset: offset as u32, size: size as u32, known }
            }
            None => match Kfunc::named(symbol.name) {
                Some(kfunc) => Extern::Kfunc(kfunc),
                None if symbol.weak => Extern::Absent,
                None if symbol.kind == SymbolKind::None && !declared.contains(symbol.name) => {
                    constants += 1;
                    Extern::Constant(constants - 1)
                }
                None => Extern::Unknown,
            },
        };
        externs.insert(symbol.name.to_owned(), meaning);
    }
    if !data.is_empty() {
        let mut spec = MapSpec::new(KCONFIG, MapKind::Array, 4, data.len() as u32, 1);
        spec.flags = create_flags::RDONLY_PROG;
        spec.frozen = true;
        let size = data.len() as u64;
        spec.initial = Initial::Data(data);
        maps.push(Declared {
            name: KCONFIG.to_owned(),
            // No section: only `Extern::Config` leads here.
            section: usize::MAX,
            offset: 0,
            size,
            spec: Ok(Arc::new(spec)),
            btf: MapBtf::default(),
            id: None,
            values_at: None,
        });
    }
    externs
}

/// The names of all variables and functions that have types.
fn declarations(btf: &Btf) -> HashSet<&str> {
    let named =
        btf.iter().filter(|(_, found)| matches!(found.kind, Kind::Variable { .. } | Kind::Function { .. }));
    named.map(|(_, found)| btf.text(found.name)).collect()
}

/// Bytes of each variable of `.kconfig` and what it takes, by name. Nothing there is longer than a path.
fn config_variables(btf: &Btf) -> HashMap<&str, (usize, Taken)> {
    let variables = btf.section(KCONFIG).map_or(&[][..], |(_, variables)| variables);
    let sizes = variables.iter().filter_map(|variable| match btf.kind(variable.variable) {
        Kind::Variable { of, .. } => {
            let size = btf.size_of(*of).filter(|size| (1..=256).contains(size))?;
            Some((btf.name(variable.variable), (size as usize, Taken::of(btf, *of))))
        }
        _ => None,
    });
    sizes.collect()
}

/// What libbpf answers by itself, and what the configuration says.
fn config_value(config: &KernelConfig, name: &str, taken: Taken, size: usize) -> Option<Vec<u8>> {
    let number = |number: u64| Some(number.to_le_bytes()[..size.min(8)].to_vec());
    match name {
        "LINUX_KERNEL_VERSION" => number(KERNEL_VERSION),
        "LINUX_HAS_BPF_COOKIE" | "LINUX_HAS_SYSCALL_WRAPPER" => number(0),
        _ => answer(config, name, taken, size),
    }
}

/// The refusal of a strong symbol that nobody defines.
pub(crate) fn unknown(name: &str, called: bool) -> Fault {
    let hint = match called {
        _ if name.starts_with("CONFIG_") => {
            "neither weir nor this machine's kernel has it; declare it `extern … __kconfig __weak`, or set it as a global"
        }
        true => {
            "define it in the object, or declare it `__weak` and test its address; weir has the kernel functions bpf_dynptr_*, bpf_iter_num_* and bpf_xdp_metadata_rx_*"
        }
        false => "weir has no kernel symbols; declare it `__weak` and test its address",
    };
    Fault::UnknownExtern { name: name.to_owned(), hint }
}
