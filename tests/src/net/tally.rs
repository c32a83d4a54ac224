//! What arrived of a flood, packet by packet: a bitmap of ids, not counters, since a packet lost and
//! another doubled would leave a counter as it was.

use std::collections::BTreeMap;

use super::number::{Mark, Number};

/// What a receiver saw.
#[derive(Clone, Debug)]
pub struct Tally {
    seen: Vec<u64>,
    /// One more than the highest id seen, by flow.
    next: Vec<u64>,
    /// The last mark of each flow.
    last: Vec<u32>,
    /// Packets of ours, doubled ones included.
    pub received: u64,
    /// Those that had come before.
    pub duplicated: u64,
    /// Those that came after a later one of their flow.
    pub reordered: u64,
    /// Those whose two marks differ.
    pub mixed: u64,
    /// Those whose mark is lower than that of an earlier one of their flow.
    pub backwards: u64,
    /// Those whose flow or id was never sent.
    pub alien: u64,
    marks: BTreeMap<u32, u64>,
    /// The mark of late, and how often it came: spares a search for each packet.
    run: (u32, u64),
}

impl Tally {
    /// For a flood of so many flows.
    pub fn new(flows: u32) -> Self {
        let flows = flows as usize;
        Self {
            seen: Vec::new(),
            next: vec![0; flows],
            last: vec![0; flows],
            received: 0,
            duplicated: 0,
            reordered: 0,
            mixed: 0,
            backwards: 0,
            alien: 0,
            marks: BTreeMap::new(),
            run: (0, 0),
        }
    }

    /// Takes note of a packet; `sent` is how many ids exist by now.
    pub fn note(&mut self, number: &Number, sent: u64) {
        let Number { flow, id, mark } = *number;
        let flows = self.next.len() as u64;
        if id >= sent || id % flows != u64::from(flow) {
            self.alien += 1;
            return;
        }
        self.received += 1;
        let (word, bit) = ((id / 64) as usize, 1 << (id % 64));
        if word >= self.seen.len() {
            self.seen.resize((word + 1).next_power_of_two(), 0);
        }
        if self.seen[word] & bit != 0 {
            self.duplicated += 1;
        } else if id < self.next[flow as usize] {
            self.reordered += 1;
        }
        self.seen[word] |= bit;
        self.next[flow as usize] = self.next[flow as usize].max(id + 1);
        self.judge(flow as usize, mark);
    }

    fn judge(&mut self, flow: usize, mark: Mark) {
        self.mixed += u64::from(mark.first != mark.second);
        self.backwards += u64::from(mark.second < self.last[flow]);
        self.last[flow] = mark.second;
        if self.run.0 != mark.second {
            *self.marks.entry(self.run.0).or_default() += self.run.1;
            self.run = (mark.second, 0);
        }
        self.run.1 += 1;
    }

    /// How many different packets came.
    pub fn distinct(&self) -> u64 {
        self.received - self.duplicated
    }

    /// The ids below `sent` that did not come.
    pub fn missing(&self, sent: u64) -> impl Iterator<Item = u64> {
        let word = |id: u64| self.seen.get((id / 64) as usize).copied().unwrap_or(0);
        (0..sent).filter(move |id| word(*id) & (1 << (id % 64)) == 0)
    }

    /// How many packets each generation judged.
    pub fn marks(&self) -> BTreeMap<u32, u64> {
        let mut marks = self.marks.clone();
        *marks.entry(self.run.0).or_default() += self.run.1;
        marks.retain(|_, count| *count > 0);
        marks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(id: u64, first: u32, second: u32) -> Number {
        Number { flow: (id % 2) as u32, id, mark: Mark { first, second } }
    }

    /// Each zero that tests assert has its way of not being zero.
    #[test]
    fn each_fault_is_seen() {
        let mut tally = Tally::new(2);
        for id in [0, 1, 3, 2, 6, 4, 6] {
            tally.note(&number(id, 1, 1), 8);
        }
        assert_eq!(tally.missing(8).collect::<Vec<_>>(), [5, 7]);
        assert_eq!((tally.received, tally.distinct(), tally.duplicated), (7, 6, 1));
        assert_eq!(tally.reordered, 1, "4 after 6; 2 after 3 is of another flow");
        assert_eq!((tally.mixed, tally.backwards, tally.alien), (0, 0, 0));
        tally.note(&number(5, 1, 2), 8);
        tally.note(&number(7, 1, 1), 8);
        assert_eq!((tally.mixed, tally.backwards), (1, 1));
        tally.note(&number(8, 1, 1), 8);
        tally.note(&Number { flow: 1, ..number(0, 1, 1) }, 8);
        assert_eq!(tally.alien, 2);
        assert_eq!(tally.marks(), BTreeMap::from([(1, 8), (2, 1)]));
    }
}
