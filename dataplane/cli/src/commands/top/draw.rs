//! The screen of `weir top`.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Paragraph, Row, Sparkline, Table, TableState};

use super::state::{KEYS, Screen};
use super::views::{self, View};
use crate::rates::scaled;

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, screen: &Screen) {
    let graph = if screen.shows_graph() { Constraint::Percentage(50) } else { Constraint::Length(0) };
    let areas = Layout::vertical([
        Constraint::Length(2),
        Constraint::Length(1),
        Constraint::Fill(1),
        graph,
        Constraint::Length(1),
    ]);
    let [head, tabs, table, graph, foot] = areas.areas(frame.area());
    headline(frame, head, screen);
    frame.render_widget(titles(screen.view()), tabs);
    rows(frame, table, screen);
    if screen.shows_graph() {
        history(frame, graph, screen);
    }
    frame.render_widget(help(screen), foot);
}

fn headline(frame: &mut Frame<'_>, area: Rect, screen: &Screen) {
    let (now, before) = screen.looks();
    let text = match screen.in_trouble() {
        Some(trouble) => format!("{trouble}\nwhat follows was seen before"),
        None => views::headline(now, before),
    };
    let healthy = screen.in_trouble().is_none() && now.ledger.packets.lost == 0;
    let style = if healthy { Style::new() } else { Style::new().fg(Color::Red) };
    frame.render_widget(Paragraph::new(text).style(style), area);
}

fn titles(shown: View) -> Line<'static> {
    let spans = View::ALL.iter().enumerate().flat_map(|(at, view)| {
        let style = match *view == shown {
            true => Style::new().add_modifier(Modifier::BOLD | Modifier::REVERSED),
            false => Style::new(),
        };
        [Span::styled(format!(" {} {} ", at + 1, view.title()), style), Span::raw(" ")]
    });
    Line::from(spans.collect::<Vec<_>>())
}

fn rows(frame: &mut Frame<'_>, area: Rect, screen: &Screen) {
    let view = screen.view();
    let rows = screen.rows();
    let (sort, reverse) = screen.order();
    let names = view.columns().iter().enumerate().map(|(at, name)| match sort == Some(at) {
        true => format!("{name}{}", if reverse { "▲" } else { "▼" }),
        false => (*name).to_owned(),
    });
    let names: Vec<String> = names.collect();
    let widths: Vec<usize> = names
        .iter()
        .enumerate()
        .map(|(at, name)| {
            let cells = rows.iter().filter_map(|row| row.cells.get(at)).map(|cell| cell.text.chars().count());
            cells.max().unwrap_or_default().max(name.chars().count())
        })
        .collect();
    // Numbers stand to the right; a table's cells know no such thing when they are styled as rows.
    let set = |at: usize, text: &str| match at < view.texts() {
        true => format!("{text:<width$}", width = widths[at]),
        false => format!("{text:>width$}", width = widths[at]),
    };
    let header = Row::new(names.iter().enumerate().map(|(at, name)| Cell::from(set(at, name))))
        .style(Style::new().add_modifier(Modifier::BOLD));
    let lines = rows
        .iter()
        .map(|row| Row::new(row.cells.iter().enumerate().map(|(at, cell)| Cell::from(set(at, &cell.text)))));
    let table = Table::new(lines, widths.iter().map(|width| Constraint::Length(*width as u16)))
        .header(header)
        .column_spacing(2)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED))
        .highlight_symbol("> ");
    let mut state = TableState::new().with_selected((!rows.is_empty()).then_some(screen.selected()));
    if rows.is_empty() {
        frame.render_widget(Paragraph::new(format!("  no {}", view.title())), area);
    } else {
        frame.render_stateful_widget(table, area, &mut state);
    }
}

/// What the selected line's figure was, the latest at the right.
fn history(frame: &mut Frame<'_>, area: Rect, screen: &Screen) {
    let Some((name, figures)) = screen.graph() else {
        frame.render_widget(Paragraph::new("  nothing is selected"), area);
        return;
    };
    let most = figures.iter().copied().fold(0.0, f64::max);
    let last = figures.last().copied().unwrap_or_default();
    let what = screen.view().columns()[screen.view().graphed()];
    let title = format!(" {name}: {what} {}, at most {} ", scaled(last), scaled(most));
    let width = usize::from(area.width.saturating_sub(2));
    let shown: Vec<u64> = figures.iter().rev().take(width).rev().map(|figure| *figure as u64).collect();
    let block = Block::bordered().title(title);
    let line = Sparkline::default().block(block).data(shown).max((most as u64).max(1));
    frame.render_widget(line.style(Style::new().fg(Color::Cyan)), area);
}

fn help(screen: &Screen) -> Line<'static> {
    if let Some(filter) = screen.filter() {
        let cursor =
            if screen.is_filtering() { "█  Enter keeps it, Esc drops it" } else { "  Esc drops it" };
        return Line::from(format!("filter: {filter}{cursor}"));
    }
    let spans = KEYS.iter().flat_map(|(key, does)| {
        let bold = Style::new().add_modifier(Modifier::BOLD);
        [Span::styled(*key, bold), Span::raw(format!(" {does}  "))]
    });
    Line::from(spans.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use weir_control::reply::{ProgramStats, Stats, Traffic};

    use super::*;

    fn look(uptime: f64, packets: u64) -> Stats {
        let program = ProgramStats {
            name: "firewall".to_owned(),
            kind: "xdp".to_owned(),
            judged: Traffic { packets, bytes: packets * 100 },
            ns_per_packet: Some(41.25),
            ..ProgramStats::default()
        };
        Stats { generation: 3, uptime_seconds: uptime, programs: vec![program], ..Stats::default() }
    }

    fn shown(screen: &Screen) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(80, 14)).unwrap();
        terminal.draw(|frame| draw(frame, screen)).unwrap();
        let buffer = terminal.backend().buffer();
        let line = |y| (0..80).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
        (0..14).map(line).collect()
    }

    #[test]
    fn a_screen_has_a_headline_a_table_and_its_keys() {
        let mut screen = Screen::new(look(60.0, 0));
        screen.look(look(61.0, 1_200_000));
        let lines = shown(&screen);
        assert!(lines[0].starts_with("weir  generation 3  up 1m 1s  rx 0 pps"), "{lines:#?}");
        assert_eq!(lines[1], "lost 0 (rx 0 = 0)");
        assert_eq!(lines[2].trim(), "1 programs   2 interfaces   3 drops   4 workers   5 queues   6 maps");
        assert_eq!(lines[3], "  program   type  packets/s     bit/s  ns/packet  p99  core");
        assert_eq!(lines[4], "> firewall  xdp      1.20 M  960.00 M       41.2    -  5.0%");
        assert_eq!(
            lines[13].trim(),
            "↑↓ jk select  Tab 1-6 table  Enter graph  f filter  s sort  r reverse  q quit"
        );
    }

    #[test]
    fn enter_draws_what_was_and_trouble_is_said() {
        let mut screen = Screen::new(look(60.0, 0));
        screen.look(look(61.0, 100));
        screen.look(look(62.0, 500));
        screen.key(KeyEvent::new(KeyCode::Enter, KeyModifiers::NONE));
        screen.trouble("no daemon answers".to_owned());
        let lines = shown(&screen);
        assert_eq!(lines[0], "no daemon answers");
        assert!(lines.iter().any(|line| line.contains("firewall: packets/s 400, at most 400")), "{lines:#?}");
    }
}
