//! What the keys change, and what was seen so far.

use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use weir_control::reply::Stats;

use super::views::{Row, View};

/// How many looks a graph goes back.
const HISTORY: usize = 240;

/// What comes after a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// The screen goes on.
    On,
    /// The user has seen enough.
    End,
}

/// What a key does; the line of help is made of this.
pub(super) const KEYS: [(&str, &str); 7] = [
    ("↑↓ jk", "select"),
    ("Tab 1-6", "table"),
    ("Enter", "graph"),
    ("f", "filter"),
    ("s", "sort"),
    ("r", "reverse"),
    ("q", "quit"),
];

/// The screen's state.
#[derive(Debug)]
pub(super) struct Screen {
    now: Stats,
    before: Stats,
    /// The figure to graph, for each line of each view.
    history: BTreeMap<(&'static str, String), VecDeque<f64>>,
    trouble: Option<String>,
    view: View,
    selected: usize,
    /// The column to sort by; the daemon's order when none.
    sort: Option<usize>,
    reverse: bool,
    filter: String,
    /// Whether keys write into the filter.
    filtering: bool,
    graph: bool,
}

impl Screen {
    pub(super) fn new(first: Stats) -> Self {
        Self {
            before: first.clone(),
            now: first,
            history: BTreeMap::new(),
            trouble: None,
            view: View::Programs,
            selected: 0,
            sort: None,
            reverse: false,
            filter: String::new(),
            filtering: false,
            graph: false,
        }
    }

    /// Takes the next look.
    pub(super) fn look(&mut self, now: Stats) {
        self.trouble = None;
        self.before = std::mem::replace(&mut self.now, now);
        for view in View::ALL {
            for row in view.rows(&self.now, &self.before) {
                let figure = row.cells.get(view.graphed()).and_then(|cell| cell.number).unwrap_or_default();
                let history = self.history.entry((view.title(), row.key)).or_default();
                history.push_back(figure);
                if history.len() > HISTORY {
                    history.pop_front();
                }
            }
        }
        self.clamp();
    }

    /// The daemon did not answer; what was seen last stays.
    pub(super) fn trouble(&mut self, what: String) {
        self.trouble = Some(what);
    }

    /// What there is to say about the last look, if it failed.
    pub(super) fn in_trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    pub(super) fn looks(&self) -> (&Stats, &Stats) {
        (&self.now, &self.before)
    }

    pub(super) fn view(&self) -> View {
        self.view
    }

    pub(super) fn selected(&self) -> usize {
        self.selected
    }

    /// Name of the column sorted by, and whether the order is turned round.
    pub(super) fn order(&self) -> (Option<usize>, bool) {
        (self.sort, self.reverse)
    }

    /// The filter, when there is one or one is being written.
    pub(super) fn filter(&self) -> Option<&str> {
        (self.filtering || !self.filter.is_empty()).then_some(self.filter.as_str())
    }

    pub(super) fn is_filtering(&self) -> bool {
        self.filtering
    }

    pub(super) fn shows_graph(&self) -> bool {
        self.graph
    }

    /// The lines to show: filtered and sorted.
    pub(super) fn rows(&self) -> Vec<Row> {
        let mut rows = self.view.rows(&self.now, &self.before);
        let wanted = self.filter.to_lowercase();
        let text = |row: &Row| row.cells.iter().any(|cell| cell.text.to_lowercase().contains(&wanted));
        rows.retain(text);
        if let Some(column) = self.sort {
            rows.sort_by(|a, b| by_column(a, b, column));
        }
        if self.reverse {
            rows.reverse();
        }
        rows
    }

    /// What the selected line's figure was, look by look, and its name.
    pub(super) fn graph(&self) -> Option<(String, Vec<f64>)> {
        let row = self.rows().into_iter().nth(self.selected)?;
        let history = self.history.get(&(self.view.title(), row.key.clone()))?;
        Some((row.key, history.iter().copied().collect()))
    }

    /// Takes a key.
    pub(super) fn key(&mut self, key: KeyEvent) -> Turn {
        if key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL) {
            return Turn::End;
        }
        if self.filtering {
            self.write_filter(key.code);
            return Turn::On;
        }
        match key.code {
            KeyCode::Char('q') => return Turn::End,
            KeyCode::Esc if self.graph => self.graph = false,
            KeyCode::Esc if !self.filter.is_empty() => self.filter.clear(),
            KeyCode::Esc => return Turn::End,
            KeyCode::Down | KeyCode::Char('j') => self.selected = self.selected.saturating_add(1),
            KeyCode::Up | KeyCode::Char('k') => self.selected = self.selected.saturating_sub(1),
            KeyCode::Home | KeyCode::Char('g') => self.selected = 0,
            KeyCode::End | KeyCode::Char('G') => self.selected = usize::MAX,
            KeyCode::Tab | KeyCode::Right | KeyCode::Char('l') => self.turn(1),
            KeyCode::BackTab | KeyCode::Left | KeyCode::Char('h') => self.turn(View::ALL.len() - 1),
            KeyCode::Char(digit @ '1'..='6') => self.show(digit as usize - '1' as usize),
            KeyCode::Enter => self.graph = !self.graph,
            KeyCode::Char('f' | '/') => self.filtering = true,
            KeyCode::Char('s') => self.sort = self.next_column(),
            KeyCode::Char('r') => self.reverse = !self.reverse,
            _ => {}
        }
        self.clamp();
        Turn::On
    }

    fn write_filter(&mut self, code: KeyCode) {
        match code {
            KeyCode::Enter => self.filtering = false,
            KeyCode::Esc => {
                self.filtering = false;
                self.filter.clear();
            }
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Char(letter) => self.filter.push(letter),
            _ => {}
        }
        self.clamp();
    }

    fn turn(&mut self, steps: usize) {
        let at = View::ALL.iter().position(|view| *view == self.view).unwrap_or_default();
        self.show((at + steps) % View::ALL.len());
    }

    fn show(&mut self, at: usize) {
        self.view = View::ALL[at];
        self.selected = 0;
        self.sort = None;
        self.reverse = false;
    }

    /// The column to sort by next; after the last, none.
    fn next_column(&self) -> Option<usize> {
        let next = self.sort.map_or(0, |column| column + 1);
        (next < self.view.columns().len()).then_some(next)
    }

    fn clamp(&mut self) {
        self.selected = self.selected.min(self.rows().len().saturating_sub(1));
    }
}

/// Numbers fall, words rise: what is largest or first stands on top.
fn by_column(a: &Row, b: &Row, column: usize) -> Ordering {
    let (Some(a), Some(b)) = (a.cells.get(column), b.cells.get(column)) else { return Ordering::Equal };
    match (a.number, b.number) {
        (Some(a), Some(b)) => b.total_cmp(&a),
        _ => a.text.cmp(&b.text),
    }
}

#[cfg(test)]
mod tests {
    use weir_control::reply::{ProgramStats, Traffic};

    use super::*;

    fn look(uptime: f64, packets: [u64; 3]) -> Stats {
        let programs = ["fw", "classify", "police"].iter().zip(packets).map(|(name, packets)| ProgramStats {
            name: (*name).to_owned(),
            kind: "xdp".to_owned(),
            judged: Traffic { packets, bytes: 0 },
            ..ProgramStats::default()
        });
        Stats { uptime_seconds: uptime, programs: programs.collect(), ..Stats::default() }
    }

    fn screen() -> Screen {
        let mut screen = Screen::new(look(1.0, [0, 0, 0]));
        screen.look(look(2.0, [10, 30, 20]));
        screen
    }

    fn press(screen: &mut Screen, keys: &str) -> Turn {
        let mut turn = Turn::On;
        for key in keys.chars() {
            let code = match key {
                '\n' => KeyCode::Enter,
                '\x1b' => KeyCode::Esc,
                '\t' => KeyCode::Tab,
                key => KeyCode::Char(key),
            };
            turn = screen.key(KeyEvent::new(code, KeyModifiers::NONE));
        }
        turn
    }

    fn names(screen: &Screen) -> Vec<String> {
        screen.rows().into_iter().map(|row| row.key).collect()
    }

    #[test]
    fn s_sorts_by_the_next_column_and_r_turns_the_order_round() {
        let mut screen = screen();
        assert_eq!(names(&screen), ["fw", "classify", "police"]);
        press(&mut screen, "s");
        assert_eq!(names(&screen), ["classify", "fw", "police"]);
        press(&mut screen, "ss");
        assert_eq!(names(&screen), ["classify", "police", "fw"]);
        press(&mut screen, "r");
        assert_eq!(names(&screen), ["fw", "police", "classify"]);
    }

    #[test]
    fn f_filters_and_escape_leaves_one_thing_at_a_time() {
        let mut screen = screen();
        press(&mut screen, "fpol\n");
        assert_eq!(names(&screen), ["police"]);
        press(&mut screen, "\n");
        assert!(screen.shows_graph());
        assert_eq!(press(&mut screen, "\x1b"), Turn::On);
        assert!(!screen.shows_graph());
        assert_eq!(press(&mut screen, "\x1b"), Turn::On);
        assert_eq!(names(&screen).len(), 3);
        assert_eq!(press(&mut screen, "\x1b"), Turn::End);
    }

    #[test]
    fn the_selection_stays_on_the_table_and_a_graph_has_its_figures() {
        let mut screen = screen();
        press(&mut screen, "jjjj");
        assert_eq!(screen.selected(), 2);
        assert_eq!(screen.graph(), Some(("police".to_owned(), vec![20.0])));
        press(&mut screen, "kkkk");
        assert_eq!(screen.selected(), 0);
        press(&mut screen, "\t");
        assert_eq!(screen.view(), View::Interfaces);
        press(&mut screen, "1G");
        assert_eq!((screen.view(), screen.selected()), (View::Programs, 2));
    }
}
