//! The port that stands where another failed, until that one is opened anew.

use std::sync::Arc;

use weir_io::gauges::{Held, Losses, State, Way};
use weir_io::port::{Refusal, Refused, Wait};
use weir_io::{Gauges, Port, Received, Sent};
use weir_packet::{Batch, Pool};

/// Receives nothing, refuses everything, and says why.
#[derive(Debug)]
pub(super) struct Placeholder {
    name: String,
    index: u32,
    reason: Arc<Down>,
}

#[derive(Debug)]
struct Down(String);

impl Placeholder {
    pub(super) fn new(name: &str, index: u32, reason: &str) -> Self {
        Self { name: name.to_owned(), index, reason: Arc::new(Down(reason.to_owned())) }
    }
}

impl Gauges for Down {
    fn held(&self) -> Held {
        Held::default()
    }

    fn losses(&self) -> Losses {
        Losses::default()
    }

    fn way(&self) -> Way {
        Way::default()
    }

    fn state(&self) -> State {
        State::Lost(self.0.clone())
    }
}

impl Port for Placeholder {
    fn name(&self) -> &str {
        &self.name
    }

    fn index(&self) -> u32 {
        self.index
    }

    fn receive(&mut self, _pool: &mut Pool, _batch: &mut Batch, _max: usize) -> Received {
        Received::default()
    }

    fn send(&mut self, pool: &mut Pool, batch: &mut Batch) -> Sent {
        let refused = Refused::all(Refusal::Down, batch.len());
        pool.put_all(batch);
        Sent { sent: 0, refused }
    }

    fn wait(&self) -> Wait {
        Wait::End
    }

    fn gauges(&self) -> Option<Arc<dyn Gauges>> {
        Some(Arc::clone(&self.reason) as Arc<dyn Gauges>)
    }
}
