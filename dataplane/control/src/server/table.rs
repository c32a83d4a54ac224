//! Who is connected: at most so many, and when there are more, the idle make room.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// Connections there may be in all.
pub(super) const CLIENTS_MAX: usize = 1024;
/// Connections that one user may have, but for root.
pub(super) const PER_USER_MAX: usize = 256;

/// One connection's place.
#[derive(Debug)]
pub(super) struct Place {
    table: Arc<Table>,
    number: u64,
    /// A request is being answered.
    pub(super) busy: Arc<AtomicBool>,
    /// Told when another needs the place.
    pub(super) leave: Arc<Notify>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.table.lock().remove(self.number);
    }
}

#[derive(Debug)]
struct Entry {
    uid: u32,
    busy: Arc<AtomicBool>,
    leave: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Places {
    next: u64,
    places: BTreeMap<u64, Entry>,
    /// How many of them each user has; who has none is not in it.
    by_user: BTreeMap<u32, usize>,
}

impl Places {
    fn of_user(&self, uid: u32) -> usize {
        self.by_user.get(&uid).copied().unwrap_or(0)
    }

    fn insert(&mut self, entry: Entry) -> u64 {
        self.next += 1;
        *self.by_user.entry(entry.uid).or_default() += 1;
        self.places.insert(self.next, entry);
        self.next
    }

    /// Takes a place back. It may have been given to another already.
    fn remove(&mut self, number: u64) {
        let Some(entry) = self.places.remove(&number) else { return };
        match self.of_user(entry.uid) {
            0 | 1 => self.by_user.remove(&entry.uid),
            several => self.by_user.insert(entry.uid, several - 1),
        };
    }

    /// The longest connected of those that ask for nothing leaves. `None` when all are being answered.
    fn send_away(&mut self, whose: impl Fn(u32) -> bool) -> Option<()> {
        let idle = |(_, entry): &(&u64, &Entry)| !entry.busy.load(Ordering::Relaxed) && whose(entry.uid);
        let (&number, entry) = self.places.iter().find(idle)?;
        entry.leave.notify_one();
        self.remove(number);
        Some(())
    }
}

/// Who is connected.
#[derive(Debug, Default)]
pub(super) struct Table(Mutex<Places>);

impl Table {
    fn lock(&self) -> std::sync::MutexGuard<'_, Places> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lock().places.len()
    }

    /// A place for one more; when there is none, the longest connected of those that ask for nothing leaves. `None`
    /// when all are being answered.
    pub(super) fn enter(self: &Arc<Self>, uid: u32) -> Option<Place> {
        let mut table = self.lock();
        let crowded = uid != 0 && table.of_user(uid) >= PER_USER_MAX;
        if crowded || table.places.len() >= CLIENTS_MAX {
            table.send_away(|other| other == uid || !crowded)?;
        }
        let (busy, leave) = (Arc::new(AtomicBool::new(false)), Arc::new(Notify::new()));
        let number = table.insert(Entry { uid, busy: Arc::clone(&busy), leave: Arc::clone(&leave) });
        drop(table);
        Some(Place { table: Arc::clone(self), number, busy, leave })
    }

    /// Has the longest idle connection leave: descriptors have run out.
    pub(super) fn make_room(&self) {
        self.lock().send_away(|_| true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_idle_make_room_and_the_busy_stay() {
        let table = Arc::new(Table::default());
        let places: Vec<_> = (0..CLIENTS_MAX).map(|_| table.enter(0).unwrap()).collect();
        places.iter().skip(1).for_each(|place| place.busy.store(true, Ordering::Relaxed));
        let newcomer = table.enter(0).expect("the idle one leaves");
        newcomer.busy.store(true, Ordering::Relaxed);
        assert!(table.enter(0).is_none(), "all are busy");
        drop(places);
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn one_user_cannot_crowd_out_others() {
        let table = Arc::new(Table::default());
        let root = table.enter(0).unwrap();
        let places: Vec<_> = (0..2 * PER_USER_MAX).map(|_| table.enter(7).unwrap()).collect();
        assert_eq!(table.len(), PER_USER_MAX + 1);
        drop((root, places));
        assert!(table.len() == 0 && table.lock().by_user.is_empty());
    }
}
