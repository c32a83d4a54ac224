//! Answers that go on: who makes them never waits for who reads them.
//!
//! A [`Feed`] is a bounded queue. When a reader has let it fill, the last place takes a word that says so, and the
//! feed is over: the maker is told, the reader reads what was queued, the word, and the end.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Bytes, Frame};
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior};

use crate::reply::Event;

/// Events that may wait for their reader.
const WAITING: usize = 256;
/// How often a silent stream shows that it lives.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// The maker's end.
#[derive(Clone, Debug)]
pub struct Feed(mpsc::Sender<Bytes>);

/// The reader is gone, or too slow: make no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over;

/// Both ends of a feed.
pub fn feed() -> (Feed, Fed) {
    let (sender, receiver) = mpsc::channel(WAITING);
    (Feed(sender), Fed { receiver, heart: None })
}

impl Feed {
    /// Queues an event; never waits.
    pub fn event(&self, event: &Event) -> Result<(), Over> {
        if self.0.capacity() <= 1 {
            let data = serde_json::json!({ "detail": "the reader was too slow; the stream ends here" });
            let last = Event { kind: "lost".to_owned(), at: event.at.clone(), data };
            let _ = self.0.try_send(line(&last));
            return Err(Over);
        }
        self.0.try_send(line(event)).map_err(|_| Over)
    }

    /// Queues bytes, and waits for room: for threads that have a ring of their own behind them.
    pub fn bytes(&self, bytes: Bytes) -> Result<(), Over> {
        self.0.blocking_send(bytes).map_err(|_| Over)
    }

    /// Whether nobody reads any more.
    pub fn is_over(&self) -> bool {
        self.0.is_closed()
    }
}

/// An event as server-sent events write it.
fn line(event: &Event) -> Bytes {
    let data = serde_json::to_string(event).unwrap_or_default();
    format!("event: {}\ndata: {data}\n\n", event.kind).into()
}

/// The reader's end: a body.
#[derive(Debug)]
pub struct Fed {
    receiver: mpsc::Receiver<Bytes>,
    heart: Option<Interval>,
}

impl Fed {
    /// With a comment line whenever nothing else was said for a while.
    pub fn with_heartbeat(mut self) -> Self {
        let mut heart = tokio::time::interval(HEARTBEAT);
        heart.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.heart = Some(heart);
        self
    }
}

impl hyper::body::Body for Fed {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Poll::Ready(bytes) = self.receiver.poll_recv(context) {
            self.heart.iter_mut().for_each(Interval::reset);
            return Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))));
        }
        // The first tick comes at once: a reader sees that the stream has begun.
        match self.heart.as_mut().map(|heart| heart.poll_tick(context)) {
            Some(Poll::Ready(_)) => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b": alive\n\n"))))),
            _ => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: usize) -> Event {
        Event { kind: "swap".into(), at: String::new(), data: number.into() }
    }

    #[test]
    fn a_slow_reader_is_cut_off_with_a_word() {
        let (feed, mut fed) = feed();
        let made = (0..).take_while(|&number| feed.event(&event(number)).is_ok()).count();
        assert_eq!(made, WAITING - 1);
        assert_eq!(feed.event(&event(0)), Err(Over));
        drop(feed);
        let mut lines = Vec::new();
        while let Some(bytes) = fed.receiver.blocking_recv() {
            lines.push(String::from_utf8(bytes.to_vec()).unwrap());
        }
        assert_eq!(lines.len(), WAITING);
        assert!(lines[0].starts_with("event: swap\ndata: {"), "{}", lines[0]);
        assert!(lines[WAITING - 1].contains("too slow"), "{}", lines[WAITING - 1]);
    }

    #[test]
    fn a_reader_that_went_away_is_noticed() {
        let (feed, fed) = feed();
        drop(fed);
        assert_eq!(feed.event(&event(1)), Err(Over));
    }
}
