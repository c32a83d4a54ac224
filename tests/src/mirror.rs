//! An image of ours, once more in the kernel: the same programs over the same maps with the same entries,
//! the same inputs, and what both sides hold compared afterwards.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use weir_ebpf::abi::{MapKind, SkbField, XdpField};
use weir_ebpf::program::Initial;
use weir_ebpf::{MapSpec, Program, ProgramType};
use weir_engine::Image;
use weir_maps::Map;
use weir_sys::bpf::{KernelMap, KernelProgram};
use weir_vm::test_run::Fields;

use crate::kernel::KernelSet;

/// What a map holds, by key.
pub type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

/// An image in the kernel.
#[derive(Debug)]
pub struct Mirror {
    /// Maps and programs, in the order of the image's.
    pub set: KernelSet,
    /// What each map held to begin with.
    before: Vec<Entries>,
}

impl Mirror {
    /// Loads what the image has loaded. Per-CPU maps get the value of our first worker on every CPU.
    pub fn of(image: &Image) -> Result<Self> {
        let specs: Vec<Arc<MapSpec>> = image.maps.iter().map(|map| Arc::new(map.spec().clone())).collect();
        let programs: Vec<Arc<Program>> =
            image.programs.iter().map(|loaded| Arc::clone(loaded.verified().program())).collect();
        let set = KernelSet::load(&specs, &programs)?;
        let mut before = Vec::new();
        for (ours, theirs) in image.maps.iter().zip(&set.maps) {
            copy(ours, theirs).with_context(|| format!("filling {} in the kernel", ours.spec().name))?;
            before.push(if holds_bytes(ours.spec().kind) { entries(theirs)? } else { Entries::new() });
        }
        Ok(Self { set, before })
    }

    /// The program with this name of the image.
    pub fn program(&self, image: &Image, name: &str) -> Option<&KernelProgram> {
        let at = image.programs.iter().position(|loaded| loaded.verified().program().name == name)?;
        self.set.programs.get(at)
    }

    /// Compares what the maps hold, and answers how many entries were compared. The kernel's programs
    /// ran on `core` alone, ours as the only worker.
    pub fn compare_maps(&self, image: &Image, core: usize) -> Result<usize> {
        let mut compared = 0;
        for ((ours, theirs), before) in image.maps.iter().zip(&self.set.maps).zip(&self.before) {
            if !holds_bytes(ours.spec().kind) {
                continue;
            }
            let found = entries(theirs)?;
            compare(ours, &found, before, core).with_context(|| format!("map {}", ours.spec().name))?;
            compared += found.len();
        }
        Ok(compared)
    }
}

/// Whether a map's values are bytes that programs write, so that they can be compared.
fn holds_bytes(kind: MapKind) -> bool {
    match kind {
        MapKind::Hash
        | MapKind::Array
        | MapKind::PercpuHash
        | MapKind::PercpuArray
        | MapKind::LruHash
        | MapKind::LruPercpuHash
        | MapKind::LpmTrie => true,
        // Numbers of programs, maps, ports and sockets, which differ; and kinds without keys.
        MapKind::ProgArray
        | MapKind::PerfEventArray
        | MapKind::StackTrace
        | MapKind::CgroupArray
        | MapKind::Sockmap
        | MapKind::Sockhash
        | MapKind::CgroupStorage
        | MapKind::ReuseportSockarray
        | MapKind::PercpuCgroupStorage
        | MapKind::SkStorage
        | MapKind::ArrayOfMaps
        | MapKind::HashOfMaps
        | MapKind::Devmap
        | MapKind::DevmapHash
        | MapKind::Cpumap
        | MapKind::Xskmap
        | MapKind::Queue
        | MapKind::Stack
        | MapKind::Ringbuf
        | MapKind::BloomFilter => false,
    }
}

/// Puts our entries into the kernel's map; data sections were filled when it was created.
fn copy(ours: &Map, theirs: &KernelMap) -> Result<()> {
    let spec = ours.spec();
    if !holds_bytes(spec.kind) || matches!(spec.initial, Initial::Data(_)) {
        return Ok(());
    }
    for (key, value) in ours.control().entries() {
        // Arrays begin with zeros on both sides.
        if value.iter().all(|byte| *byte == 0) && matches!(spec.kind, MapKind::Array | MapKind::PercpuArray) {
            continue;
        }
        let copies = theirs.value_bytes() / value.len().max(1);
        theirs.update(&key, &value.repeat(copies), 0)?;
    }
    Ok(())
}

/// Everything in a map of the kernel.
fn entries(map: &KernelMap) -> Result<Entries> {
    let mut all = Entries::new();
    let mut last: Option<Vec<u8>> = None;
    loop {
        let key = match map.next_key(last.as_deref()) {
            Ok(key) => key,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(all),
            Err(error) => return Err(error).context("walking the keys"),
        };
        all.insert(key.clone(), map.lookup(&key)?);
        last = Some(key);
    }
}

/// The same keys with the same values. Of a per-CPU value that of the one CPU is compared, byte for byte:
/// a sum would say nothing of fields that are no counters. The other CPUs' must be as they were.
fn compare(ours: &Map, found: &Entries, before: &Entries, core: usize) -> Result<()> {
    let spec = ours.spec();
    let mine: Entries = ours.control().entries().collect();
    let only = |some: &Entries, others: &Entries| some.keys().find(|key| !others.contains_key(*key)).cloned();
    let (weir, kernel) = (only(&mine, found), only(found, &mine));
    ensure!(
        weir.is_none() && kernel.is_none(),
        "{} keys here, {} in the kernel; only here {weir:02x?}, only in the kernel {kernel:02x?}",
        mine.len(),
        found.len()
    );
    let width =
        if spec.kind.is_percpu() { (spec.value_size as usize).next_multiple_of(8) } else { usize::MAX };
    for (key, value) in found {
        if !spec.kind.is_percpu() {
            ensure!(mine[key] == *value, "{key:02x?}: {:02x?}, in the kernel {value:02x?}", mine[key]);
            continue;
        }
        let untouched = before.get(key);
        for (cpu, part) in value.chunks(width).enumerate() {
            if cpu == core {
                ensure!(mine[key] == part, "{key:02x?}: {:02x?}, in the kernel {part:02x?}", mine[key]);
                continue;
            }
            let was = untouched.map(|value| &value[cpu * width..][..width]);
            let same = was.map_or(part.iter().all(|byte| *byte == 0), |was| was == part);
            ensure!(same, "{key:02x?}: the kernel changed the value of CPU {cpu}, and ran on {core}");
        }
    }
    Ok(())
}

/// `struct xdp_md` or `struct __sk_buff` as `BPF_PROG_TEST_RUN` takes and leaves it, for a packet of `len`
/// bytes: the fields that it takes in or gives back, all others 0 (net/bpf/test_run.c, 6.18).
pub fn context_bytes(kind: ProgramType, fields: &Fields, len: usize) -> Vec<u8> {
    match kind {
        ProgramType::Xdp => {
            let mut bytes = vec![0; XdpField::BYTES as usize];
            let mut put = |field: XdpField, value: u32| {
                bytes[field.offset() as usize..][..4].copy_from_slice(&value.to_ne_bytes());
            };
            put(XdpField::DataEnd, len as u32);
            put(XdpField::IngressIfindex, fields.ingress_ifindex);
            put(XdpField::RxQueueIndex, fields.rx_queue_index);
            bytes
        }
        _ => {
            let mut bytes = vec![0; SkbField::BYTES as usize];
            let mut put = |field: SkbField, value: &[u8]| {
                bytes[field.offset() as usize..][..value.len()].copy_from_slice(value);
            };
            put(SkbField::Mark, &fields.mark.to_ne_bytes());
            put(SkbField::Priority, &fields.priority.to_ne_bytes());
            put(SkbField::IngressIfindex, &fields.ingress_ifindex.to_ne_bytes());
            put(SkbField::Ifindex, &fields.ifindex.to_ne_bytes());
            let cb: Vec<u8> = fields.cb.iter().flat_map(|word| word.to_ne_bytes()).collect();
            put(SkbField::Cb, &cb);
            put(SkbField::Tstamp, &fields.tstamp.to_ne_bytes());
            put(SkbField::WireLen, &fields.wire_len.to_ne_bytes());
            put(SkbField::GsoSegs, &fields.gso_segs.to_ne_bytes());
            put(SkbField::GsoSize, &fields.gso_size.to_ne_bytes());
            bytes
        }
    }
}
