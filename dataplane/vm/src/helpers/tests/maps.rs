//! Helpers on maps, and those that call back.

use std::sync::Arc;

use weir_ebpf::MapSpec;
use weir_ebpf::abi::MapKind;
use weir_maps::{Map, Target};

use super::*;
use crate::run::Redirect;

fn map(kind: MapKind, key: u32, value: u32, entries: u32) -> (Arc<Map>, u64) {
    let map = Map::create(&MapSpec::new("m", kind, key, value, entries), 2).unwrap();
    let address = Arc::as_ptr(&map).expose_provenance() as u64;
    (map, address)
}

fn xdp() -> Bench {
    Bench::new(ProgramType::Xdp, &[0; 64])
}

#[test]
fn entries_come_and_go() {
    let (_keep, m) = map(MapKind::Hash, 4, 8, 2);
    let (mut key, mut value) = (5u32, 6u64);
    xdp().with(|calls| {
        let (k, v) = (address(&mut key), address(&mut value));
        assert_eq!(calls.call(Helper::MapLookupElem, &[m, k]), 0);
        assert_eq!(calls.call(Helper::MapUpdateElem, &[m, k, v, 2]), error(Errno::ENOENT));
        assert_eq!(calls.call(Helper::MapUpdateElem, &[m, k, v, 1]), 0);
        assert_eq!(calls.call(Helper::MapUpdateElem, &[m, k, v, 1]), error(Errno::EEXIST));
        let found = calls.call(Helper::MapLookupElem, &[m, k]);
        // SAFETY: the lookup answered a value of 8 bytes of a map that lives.
        assert_eq!(unsafe { *std::ptr::with_exposed_provenance::<u64>(found as usize) }, 6);
        assert_eq!(calls.call(Helper::MapDeleteElem, &[m, k]), 0);
        assert_eq!(calls.call(Helper::MapDeleteElem, &[m, k]), error(Errno::ENOENT));
    });
}

#[test]
fn each_worker_has_its_own_value() {
    let (_keep, m) = map(MapKind::PercpuArray, 4, 8, 1);
    let (mut key, mut value) = (0u32, 6u64);
    let mut bench = xdp();
    bench.cpu = 1;
    bench.with(|calls| {
        let (k, v) = (address(&mut key), address(&mut value));
        assert_eq!(calls.call(Helper::GetSmpProcessorId, &[]), 1);
        assert_eq!(calls.call(Helper::MapUpdateElem, &[m, k, v, 0]), 0);
        let mine = calls.call(Helper::MapLookupElem, &[m, k]);
        assert_eq!(calls.call(Helper::MapLookupPercpuElem, &[m, k, 1]), mine);
        assert_ne!(calls.call(Helper::MapLookupPercpuElem, &[m, k, 0]), mine);
        assert_eq!(calls.call(Helper::MapLookupPercpuElem, &[m, k, 2]), 0);
    });
}

#[test]
fn queues_push_peek_and_pop() {
    let (_keep, m) = map(MapKind::Queue, 0, 4, 2);
    let (mut value, mut out) = (7u32, 0u32);
    xdp().with(|calls| {
        assert_eq!(calls.call(Helper::MapPopElem, &[m, address(&mut out)]), error(Errno::ENOENT));
        assert_eq!(calls.call(Helper::MapPushElem, &[m, address(&mut value), 0]), 0);
        assert_eq!(calls.call(Helper::MapPeekElem, &[m, address(&mut out)]), 0);
        assert_eq!(out, 7);
        out = 0;
        assert_eq!(calls.call(Helper::MapPopElem, &[m, address(&mut out)]), 0);
        assert_eq!(out, 7);
    });
}

#[test]
fn locks_are_taken_and_given_back() {
    let mut lock = 0u64;
    xdp().with(|calls| {
        let at = address(&mut lock);
        calls.call(Helper::SpinLock, &[at]);
        assert_ne!(lock, 0);
        calls.call(Helper::SpinUnlock, &[at]);
        assert_eq!(lock, 0);
    });
}

#[test]
fn a_device_map_names_the_port() {
    const BROADCAST: u64 = 1 << 3;
    const EXCLUDE: u64 = 1 << 4;
    let (keep, m) = map(MapKind::Devmap, 4, 4, 4);
    keep.control().update(&2u32.to_ne_bytes(), &9u32.to_ne_bytes(), 0).unwrap();
    xdp().with(|calls| {
        assert_eq!(calls.call(Helper::RedirectMap, &[m, 2, 0]), 4);
        let target = Target::Port { ifindex: 9, program: None };
        assert_eq!(calls.run.redirect(), Some(Redirect::Map { map: keep.id(), key: 2, target }));
        assert_eq!(calls.call(Helper::RedirectMap, &[m, 1, 2]), 2, "the fallback action");
        assert_eq!(calls.run.redirect(), None);
        assert_eq!(calls.call(Helper::RedirectMap, &[m, 7, 1]), 1);
        assert_eq!(calls.call(Helper::RedirectMap, &[m, 2, 4]), 0, "aborted: unknown flag");
        assert_eq!(calls.call(Helper::RedirectMap, &[m, 0, BROADCAST | EXCLUDE]), 4);
        let everywhere = Redirect::Broadcast { map: keep.id(), exclude_ingress: true };
        assert_eq!(calls.run.redirect(), Some(everywhere));
    });
    let (keep, m) = map(MapKind::Cpumap, 4, 4, 2);
    keep.control().update(&1u32.to_ne_bytes(), &64u32.to_ne_bytes(), 0).unwrap();
    xdp().with(|calls| {
        assert_eq!(calls.call(Helper::RedirectMap, &[m, 1, 0]), 4);
        assert_eq!(calls.call(Helper::RedirectMap, &[m, 1, BROADCAST]), 0, "not for workers");
    });
}

#[test]
fn records_reach_the_ring() {
    let (keep, m) = map(MapKind::Ringbuf, 0, 0, 4096);
    let mut record = *b"hello";
    let mut bench = xdp();
    bench.with(|calls| {
        assert_eq!(calls.call(Helper::RingbufOutput, &[m, address(&mut record), 5, 0]), 0);
        let place = calls.call(Helper::RingbufReserve, &[m, 4, 0]);
        // SAFETY: reserved just now, 4 bytes.
        unsafe { *std::ptr::with_exposed_provenance_mut::<u32>(place as usize) = 77 };
        calls.call(Helper::RingbufSubmit, &[place, 1]);
        let place = calls.call(Helper::RingbufReserve, &[m, 4, 0]);
        calls.call(Helper::RingbufDiscard, &[place, 0]);
        assert_eq!(calls.call(Helper::RingbufQuery, &[m, 1]), 4096);
        assert_eq!(calls.call(Helper::RingbufReserve, &[m, 5000, 0]), 0);
        assert_eq!(calls.call(Helper::RingbufOutput, &[m, address(&mut record), 5, 8]), error(Errno::EINVAL));
    });
    let mut seen = Vec::new();
    keep.ringbuf().unwrap().consume(|record| {
        seen.push(record.to_vec());
        true
    });
    assert_eq!(seen, [b"hello".to_vec(), 77u32.to_ne_bytes().to_vec()]);
    assert_eq!(bench.env.wakes, 2, "not for the one with BPF_RB_NO_WAKEUP");
}

#[test]
fn perf_events_carry_a_part_of_the_packet() {
    const CURRENT: u64 = 0xffff_ffff;
    let (keep, m) = map(MapKind::PerfEventArray, 4, 4, 2);
    let mut record = *b"meta";
    let mut bench = Bench::new(ProgramType::Xdp, &[7; 64]);
    bench.with(|calls| {
        let at = address(&mut record);
        assert_eq!(calls.call(Helper::PerfEventOutput, &[0, m, CURRENT | 3 << 32, at, 4]), 0);
        assert_eq!(
            calls.call(Helper::PerfEventOutput, &[0, m, CURRENT | 65 << 32, at, 4]),
            error(Errno::EFAULT)
        );
        assert_eq!(calls.call(Helper::PerfEventOutput, &[0, m, 5, at, 4]), error(Errno::E2BIG));
        assert_eq!(calls.call(Helper::PerfEventOutput, &[0, m, 1 << 60, at, 4]), error(Errno::EINVAL));
    });
    assert_eq!(bench.env.events, [(keep.id(), 0, b"meta\x07\x07\x07".to_vec())]);
}

/// Counts its calls in the run's scratch and ends the loop when the count reaches r2.
unsafe extern "C" fn counting(run: *mut Run<'_>, _: u64, _: u64, stop: u64, _: u64, _: u64) -> u64 {
    // SAFETY: helpers hand on the run they were given.
    let count = unsafe { &mut (*run).scratch[0] };
    *count += 1;
    u64::from(*count == stop)
}

#[test]
fn loops_stop_when_told() {
    xdp().with(|calls| {
        calls.run.call_function = counting;
        assert_eq!(calls.call(Helper::Loop, &[10, 1, 0, 0]), 10);
        assert_eq!(calls.run.scratch[0], 10);
        assert_eq!(calls.call(Helper::Loop, &[10, 1, 13, 0]), 3);
        assert_eq!(calls.call(Helper::Loop, &[10, 1, 0, 1]), error(Errno::EINVAL));
        assert_eq!(calls.call(Helper::Loop, &[8 * 1024 * 1024 + 1, 1, 0, 0]), error(Errno::E2BIG));
        let (_keep, m) = map(MapKind::Array, 4, 8, 6);
        calls.run.scratch[0] = 0;
        assert_eq!(calls.call(Helper::ForEachMapElem, &[m, 1, 0, 0]), 6);
        assert_eq!(calls.call(Helper::ForEachMapElem, &[m, 1, 0, 1]), error(Errno::EINVAL));
    });
}
