//! Letting clients in, so that a crowd at the door does not keep back who comes behind it with something to ask.
//!
//! The kernel has those who connect wait in the order in which they came, and setting one up costs several times
//! what accepting one does. So they are let in quickly and wait inside, where the order is ours: who has said
//! something is set up first, and of the silent a few at a time, with the turns of everyone else between.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use tokio::net;
use weir_sys::wait::{WATCHED_MAX, readable};

/// How many are let in at a time.
const LET_IN: usize = 128;
/// How many of those who have said something are set up before others have their turn.
const SPEAKING: usize = 32;
/// How many of the silent are set up at a time.
const SILENT: usize = 16;
/// How many may wait inside; the others wait outside, at the kernel's.
const ROOM: usize = 1024;

/// A socket that listens, and who has come in.
#[derive(Debug)]
pub struct Door {
    outside: net::UnixListener,
    /// The same socket, for those who come close behind another: they are not watched yet.
    at_once: UnixListener,
    inside: VecDeque<UnixStream>,
}

impl Door {
    /// The door at this socket; within a runtime.
    pub fn new(listener: UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let at_once = listener.try_clone()?;
        Ok(Self { outside: net::UnixListener::from_std(listener)?, at_once, inside: VecDeque::new() })
    }

    /// Waits for clients, and gives those whose turn it is, not before others of this thread had theirs. Who is inside
    /// stays when this is given up.
    ///
    /// An error is what the kernel says when it lets nobody in, most likely for want of descriptors.
    pub(super) async fn next(&mut self) -> io::Result<Vec<net::UnixStream>> {
        // A crowd makes every wait below one that ends at once.
        tokio::task::yield_now().await;
        let mut few = Vec::new();
        if self.inside.is_empty() {
            few.push(self.outside.accept().await?.0);
        }
        self.let_in();
        let speaking = self.speaking();
        let silent = self.inside.drain(..SILENT.min(self.inside.len()));
        // Who cannot be watched sees the connection end.
        let set_up = |client: UnixStream| {
            client.set_nonblocking(true)?;
            net::UnixStream::from_std(client)
        };
        few.extend(speaking.into_iter().chain(silent).filter_map(|client| set_up(client).ok()));
        Ok(few)
    }

    /// Lets in some of who waits outside, as long as there is room. An error is not lost: it comes again when
    /// nobody is inside.
    fn let_in(&mut self) {
        let some = LET_IN.min(ROOM - self.inside.len().min(ROOM));
        let came = std::iter::repeat_with(|| self.at_once.accept()).take(some).map_while(Result::ok);
        self.inside.extend(came.map(|(client, _)| client));
    }

    /// Takes out those inside who have said something, or have gone, the longest waiting first.
    fn speaking(&mut self) -> Vec<UnixStream> {
        let numbers: Vec<RawFd> = self.inside.iter().map(AsRawFd::as_raw_fd).collect();
        let said = numbers.chunks(WATCHED_MAX).flat_map(|some| {
            // When the kernel does not say, everyone is heard.
            let bits = readable(some, Duration::ZERO).unwrap_or(u64::MAX);
            (0..some.len()).map(move |place| bits >> place & 1 == 1)
        });
        let mut speaking = Vec::new();
        let inside = std::mem::take(&mut self.inside);
        for (client, said) in inside.into_iter().zip(said) {
            if said && speaking.len() < SPEAKING {
                speaking.push(client);
            } else {
                self.inside.push_back(client);
            }
        }
        speaking
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[tokio::test]
    async fn who_asks_behind_a_silent_crowd_is_among_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("door");
        let mut door = Door::new(UnixListener::bind(&path).unwrap()).unwrap();
        let crowd: Vec<_> = (0..100).map(|_| UnixStream::connect(&path).unwrap()).collect();
        let mut last = UnixStream::connect(&path).unwrap();
        last.write_all(b"x").unwrap();
        let first = door.next().await.unwrap();
        assert_eq!(first.len(), 2 + SILENT, "who came first, who speaks, and a few of the others");
        first[1].readable().await.unwrap();
        let mut word = [0; 2];
        assert_eq!((first[1].try_read(&mut word).unwrap(), word[0]), (1, b'x'));
        let mut came = first.len();
        while came < crowd.len() + 1 {
            came += door.next().await.unwrap().len();
        }
        assert!(door.inside.is_empty());
    }

    #[tokio::test]
    async fn when_many_speak_each_has_a_turn() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("door");
        let mut door = Door::new(UnixListener::bind(&path).unwrap()).unwrap();
        let many: Vec<_> = (0..LET_IN + 50).map(|_| UnixStream::connect(&path).unwrap()).collect();
        many.iter().for_each(|mut client| client.write_all(b"x").unwrap());
        let mut turns = 0;
        let mut came = 0;
        while came < many.len() {
            came += door.next().await.unwrap().len();
            turns += 1;
        }
        assert!(turns <= many.len() / SPEAKING, "{turns} turns");
    }
}
