//! Timers of maps, told the time by hand.

use std::sync::Arc;

use weir_ebpf::abi::{Errno, MapKind};
use weir_ebpf::program::{MapSpec, ValueField};

use super::{NEVER, Owner, Running, TimerClock, TimerRef, Timers};
use crate::Map;

/// A map of values of 32 bytes with the timer at byte 8, used by one program.
fn map(kind: MapKind, entries: u32) -> Arc<Map> {
    let mut spec = MapSpec::new("timed", kind, 4, 32, entries);
    spec.fields.push(ValueField::Timer { offset: 8 });
    let map = Map::create(&spec, 2).unwrap();
    map.timers().unwrap().enter();
    map
}

/// The timer in the value under a key, which is put there if it is not, or no longer: others delete and evict.
fn timer(map: &Map, key: u32) -> *mut u8 {
    let key = key.to_ne_bytes();
    loop {
        // SAFETY: keys of 4 bytes, values of 32.
        unsafe {
            let value = map.lookup(0, key.as_ptr());
            if !value.is_null() {
                return value.add(8);
            }
            map.update(0, key.as_ptr(), [7; 32].as_ptr(), 0).unwrap();
        }
    }
}

/// The timer at this address, which was begun.
fn begun(at: *mut u8) -> Option<TimerRef<'static>> {
    // SAFETY: tests ask for timers of values of maps that outlive the answer.
    unsafe { Timers::begun(at) }
}

fn armed(map: &Map, key: u32, owner: &Owner, worker: usize, deadline: u64) {
    let at = timer(map, key);
    map.begin_timer(at.addr(), TimerClock::Monotonic).unwrap();
    let timer = begun(at).unwrap();
    timer.set_callback(owner, u64::from(key)).unwrap();
    timer.start(worker, deadline).unwrap();
}

fn owner() -> Owner {
    Arc::new("a program")
}

/// The callbacks that are due, in order, each with its key.
fn due(map: &Map, worker: usize, now: u64) -> Vec<(u64, u32)> {
    let timers = map.timers().unwrap();
    let before = timers.armed();
    std::iter::from_fn(|| {
        let due = timers.due(worker, now, before)?;
        // SAFETY: keys have 4 bytes.
        let key = map.timed_entry(&due, |key, _| unsafe { key.cast::<u32>().read_unaligned() }).unwrap();
        timers.done(&due);
        Some((due.function, key))
    })
    .collect()
}

const KINDS: [MapKind; 3] = [MapKind::Array, MapKind::Hash, MapKind::LruHash];

#[test]
fn callbacks_come_by_deadline_and_on_the_worker_that_started_them() {
    for kind in KINDS {
        let (map, owner) = (map(kind, 8), owner());
        for (key, worker, deadline) in [(3, 0, 30), (1, 0, 10), (5, 1, 5), (2, 0, 10)] {
            armed(&map, key, &owner, worker, deadline);
        }
        let timers = map.timers().unwrap();
        assert_eq!((timers.next(0), timers.next(1), timers.next(2)), (10, 5, NEVER));
        assert_eq!(due(&map, 0, 9), []);
        assert_eq!(due(&map, 0, 10), [(1, 1), (2, 2)], "of one instant in the order they were armed");
        assert_eq!(due(&map, 0, u64::MAX - 1), [(3, 3)]);
        assert_eq!(due(&map, 1, 5), [(5, 5)]);
        assert_eq!((timers.next(0), timers.next(1)), (NEVER, NEVER));
    }
}

#[test]
fn what_the_helpers_refuse() {
    let (map, owner) = (map(MapKind::Hash, 4), owner());
    let at = timer(&map, 1);
    assert!(begun(at).is_none(), "not begun");
    map.begin_timer(at.addr(), TimerClock::Boot).unwrap();
    assert_eq!(map.begin_timer(at.addr(), TimerClock::Boot), Err(Errno::EBUSY));
    let timer = begun(at).unwrap();
    assert_eq!(timer.clock(), Some(TimerClock::Boot));
    assert_eq!(timer.start(0, 1), Err(Errno::EINVAL), "no callback");
    timer.set_callback(&owner, 1).unwrap();
    timer.start(0, 1).unwrap();
    assert_eq!(timer.cancel(0, Running::default()), Ok(true));
    assert_eq!(timer.cancel(0, Running::default()), Ok(false));
    assert_eq!(timer.start(0, 1), Err(Errno::EINVAL), "cancelling takes the callback away");
    map.leave_timers();
    assert!(begun(at).is_none(), "the last program has gone");
    assert_eq!(map.begin_timer(at.addr(), TimerClock::Boot), Err(Errno::EPERM));
    map.timers().unwrap().enter();
    map.begin_timer(at.addr(), TimerClock::Real).unwrap();
}

#[test]
fn a_timer_goes_with_its_element() {
    for kind in KINDS {
        let (map, owner) = (map(kind, 2), owner());
        let (key, value) = (1u32.to_ne_bytes(), [1; 32]);
        armed(&map, 1, &owner, 0, 5);
        map.control().update(&key, &value, 0).unwrap();
        assert_eq!(map.timers().unwrap().next(0), NEVER, "{}: updated", kind.name());
        assert_eq!(map.control().lookup(&key).unwrap()[8..24], [0; 16]);
        if kind == MapKind::Array {
            continue;
        }
        armed(&map, 1, &owner, 0, 5);
        map.control().delete(&key).unwrap();
        assert_eq!(map.timers().unwrap().next(0), NEVER, "{}: deleted", kind.name());
        armed(&map, 1, &owner, 0, 5);
    }
    let (lru, owner) = (map(MapKind::LruHash, 2), owner());
    (0..40).for_each(|key| armed(&lru, key, &owner, 0, 100 + u64::from(key)));
    let left: Vec<_> = due(&lru, 0, 1000).iter().map(|(_, key)| *key).collect();
    let there = lru.control().keys().map(|key| u32::from_ne_bytes(key.try_into().unwrap()));
    let mut there: Vec<_> = there.collect();
    there.sort_unstable();
    assert_eq!(left, there, "evicted elements take theirs along");
}

#[test]
fn owners_are_let_go_by_the_control_side_when_no_timer_has_them() {
    let map = map(MapKind::Array, 4);
    let timers = map.timers().unwrap();
    let (old, new) = (owner(), owner());
    armed(&map, 0, &old, 0, 1);
    let begun = begun(timer(&map, 0)).unwrap();
    timers.enter();
    assert_eq!(Arc::strong_count(&old), 2, "an armed timer keeps its owner");
    begun.set_callback(&new, 2).unwrap();
    assert_eq!(Arc::strong_count(&old), 2, "a worker frees nothing");
    timers.enter();
    assert_eq!((Arc::strong_count(&old), Arc::strong_count(&new)), (1, 2));
    assert_eq!(due(&map, 0, 1), [(2, 0)]);
    (0..3).for_each(|_| map.leave_timers());
    assert_eq!(Arc::strong_count(&new), 1);
}

#[test]
fn callbacks_may_arm_and_forget_but_not_cancel_themselves() {
    let (map, owner) = (map(MapKind::Hash, 4), owner());
    let timers = map.timers().unwrap();
    armed(&map, 1, &owner, 0, 5);
    let begun = |key| begun(timer(&map, key)).unwrap();
    let first = timers.due(0, 5, timers.armed()).unwrap();
    assert_eq!(begun(1).cancel(0, timers.running(&first)), Err(Errno::EDEADLK));
    let before = timers.armed();
    begun(1).start(0, 5).unwrap();
    assert!(timers.due(0, 5, before).is_none(), "armed since: for the next turn");
    map.control().delete(&1u32.to_ne_bytes()).unwrap();
    // The slot's next timer is another, though the callback of the last one has not returned.
    armed(&map, 1, &owner, 0, 6);
    assert_eq!(begun(1).cancel(1, Running::default()), Ok(true));
    timers.done(&first);
}

#[test]
fn two_callbacks_that_cancel_each_other_do_not_wait_for_ever() {
    let (map, owner) = (map(MapKind::Array, 2), owner());
    let timers = map.timers().unwrap();
    (0..2).for_each(|key| armed(&map, key, &owner, key as usize, 5));
    let both = [0, 1].map(|worker| timers.due(worker, 5, timers.armed()).unwrap());
    let start = std::sync::Barrier::new(2);
    let answers = std::thread::scope(|scope| {
        let threads = [0, 1].map(|worker| {
            let (map, both, start) = (&map, &both, &start);
            scope.spawn(move || {
                let other = begun(timer(map, 1 - worker as u32)).unwrap();
                start.wait();
                let answer = other.cancel(worker, map.timers().unwrap().running(&both[worker]));
                map.timers().unwrap().done(&both[worker]);
                answer
            })
        });
        threads.map(|thread| thread.join().unwrap())
    });
    assert!(answers.contains(&Err(Errno::EDEADLK)) || answers == [Ok(false), Ok(false)], "{answers:?}");
}

#[test]
fn workers_arm_cancel_and_delete_at_once() {
    let (map, owner) = (map(MapKind::LruHash, 16), owner());
    std::thread::scope(|scope| {
        for worker in 0..2 {
            let (map, owner) = (&map, &owner);
            scope.spawn(move || {
                let timers = map.timers().unwrap();
                for round in 0..20_000u32 {
                    let key = round.wrapping_mul(2654435761) >> 27;
                    let at = timer(map, key);
                    let _ = map.begin_timer(at.addr(), TimerClock::Monotonic);
                    if let Some(timer) = begun(at) {
                        let _ = timer.set_callback(owner, 1);
                        let _ = timer.start(worker, u64::from(round));
                        if round % 5 == 0 {
                            let _ = timer.cancel(worker, Running::default());
                        }
                    }
                    if round % 7 == 0 {
                        let _ = map.control().delete(&key.to_ne_bytes());
                    }
                    while let Some(due) =
                        timers.due(worker, u64::from(round) - u64::from(round % 3), u64::MAX)
                    {
                        timers.done(&due);
                    }
                }
            });
        }
    });
    map.leave_timers();
    assert_eq!(Arc::strong_count(&owner), 1);
}
