//! `weir top`: rates that move. Keys are bpftop's; `--batch` prints the same tables as text.
//!
//! [`views`] makes tables of two looks at the daemon, [`state`] is what the keys change, [`draw`] puts both
//! on a screen. A thread of its own asks the daemon, so that keys answer while it does not.

mod draw;
mod state;
mod views;

use std::io::IsTerminal as _;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use anyhow::anyhow;
use clap::Args;
use crossterm::event::{self, Event, KeyEventKind};
use weir_control::Action;
use weir_control::reply::Stats;

use super::stats::period;
use crate::daemon::Daemon;
use crate::exit::{Code, Done, Failure};
use crate::output::{Output, sentence, table};
use state::{Screen, Turn};
use views::View;

/// Arguments of `weir top`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Seconds between two looks
    #[arg(short, long, value_name = "SECONDS", default_value = "1", value_parser = period)]
    delay: Duration,
    /// Print tables instead of drawing a screen
    #[arg(short, long)]
    batch: bool,
    /// With --batch: end after so many times
    #[arg(short = 'n', long, value_name = "N", requires = "batch")]
    iterations: Option<u64>,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments, daemon: &Daemon, output: &Output) -> Done {
    if arguments.batch {
        return batch(arguments, daemon, output);
    }
    if !std::io::stdout().is_terminal() || output.is_json() {
        let what = anyhow!("a screen needs a terminal");
        return Err(Failure::new(Code::Usage, what).hint("weir top --batch [-n N] [-j]"));
    }
    let first: Stats = daemon.get(&Action::Stats {})?;
    let looks = watch(daemon.again()?, arguments.delay);
    let mut terminal = ratatui::try_init()?;
    let done = interact(&mut terminal, Screen::new(first), &looks);
    ratatui::try_restore()?;
    done
}

/// A look every period, from a thread that ends with its reader.
fn watch(daemon: Daemon, every: Duration) -> Receiver<Result<Stats, Failure>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(every);
            if sender.send(daemon.get(&Action::Stats {})).is_err() {
                return;
            }
        }
    });
    receiver
}

fn interact(
    terminal: &mut ratatui::DefaultTerminal,
    mut screen: Screen,
    looks: &Receiver<Result<Stats, Failure>>,
) -> Done {
    const KEYS_WITHIN: Duration = Duration::from_millis(50);
    loop {
        terminal.draw(|frame| draw::draw(frame, &screen))?;
        if event::poll(KEYS_WITHIN)?
            && let Event::Key(key) = event::read()?
            && key.kind == KeyEventKind::Press
            && screen.key(key) == Turn::End
        {
            return Ok(Code::Ok);
        }
        match looks.recv_timeout(Duration::ZERO) {
            Ok(Ok(stats)) => screen.look(stats),
            Ok(Err(failure)) => screen.trouble(sentence(&failure.error)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => screen.trouble("nobody asks the daemon".to_owned()),
        }
    }
}

fn batch(arguments: &Arguments, daemon: &Daemon, output: &Output) -> Done {
    let mut before: Stats = daemon.get(&Action::Stats {})?;
    for at in 0..arguments.iterations.unwrap_or(u64::MAX) {
        std::thread::sleep(arguments.delay);
        let now: Stats = daemon.get(&Action::Stats {})?;
        let gap = if at == 0 { "" } else { "\n" };
        output.line(&now, || format!("{gap}{}", printed(&now, &before)))?;
        before = now;
    }
    Ok(Code::Ok)
}

/// All views that hold something, below each other.
fn printed(now: &Stats, before: &Stats) -> String {
    let mut text = views::headline(now, before);
    for view in View::ALL {
        let rows = view.rows(now, before);
        if !rows.is_empty() {
            let cells = rows.into_iter().map(|row| row.cells.into_iter().map(|cell| cell.text).collect());
            text += &format!("\n\n{}", table(view.columns(), view.texts(), cells.collect()));
        }
    }
    text
}
