//! What the service manager is told (sd_notify(3)): that weir is ready, what it does, that it is alive.
//!
//! The socket is connected once, before the process gives up its paths, and no message waits longer than
//! [`PATIENCE`]: a service manager that does not read stops nothing here. Without a service manager all of it does
//! nothing.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use sd_notify::NotifyState;

/// How long a message may take to be accepted.
pub const PATIENCE: Duration = Duration::from_millis(200);

/// The way to the service manager.
#[derive(Debug)]
pub struct Notifier {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
    beats: Vec<u64>,
    ready: bool,
}

/// What a look at the workers' heartbeats came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beat {
    /// Every worker has moved since the last look: the watchdog was told.
    Alive,
    /// These workers, by number, have not; the watchdog was not told, and ends weir if that stays so.
    Stuck(Vec<usize>),
}

impl Notifier {
    /// The service manager that started this process, if one did (`NOTIFY_SOCKET`, `WATCHDOG_USEC`).
    pub fn from_environment() -> io::Result<Notifier> {
        let socket = match std::env::var_os("NOTIFY_SOCKET") {
            Some(path) => Some(connect(path.as_encoded_bytes())?),
            None => None,
        };
        Ok(Notifier { socket, watchdog: sd_notify::watchdog_enabled(), beats: Vec::new(), ready: false })
    }

    /// Nobody listens.
    pub fn silent() -> Notifier {
        Notifier { socket: None, watchdog: None, beats: Vec::new(), ready: false }
    }

    /// This socket, and a watchdog that wants a sign of life within `watchdog`.
    pub fn over(socket: UnixDatagram, watchdog: Option<Duration>) -> Notifier {
        Notifier { socket: Some(socket), watchdog, beats: Vec::new(), ready: false }
    }

    /// How often [`Notifier::beat`] is to be called: half of what the watchdog allows, as sd_watchdog_enabled(3)
    /// advises. `None` when nobody watches.
    pub fn beat_every(&self) -> Option<Duration> {
        self.watchdog.map(|allowed| allowed / 2)
    }

    /// Every port is bound and the first generation is live.
    pub fn ready(&mut self, status: &str) -> io::Result<()> {
        self.ready = true;
        self.tell(&[NotifyState::Ready, NotifyState::Status(&one_line(status))])
    }

    /// One line on what weir is doing.
    pub fn status(&self, status: &str) -> io::Result<()> {
        self.tell(&[NotifyState::Status(&one_line(status))])
    }

    /// A new configuration is being taken; [`Notifier::ready`] ends it.
    pub fn reloading(&self) -> io::Result<()> {
        self.tell(&[NotifyState::Reloading, NotifyState::monotonic_usec_now()?])
    }

    /// Starting, reloading or stopping takes until `more` from now: maps are being read or written.
    pub fn extend(&self, more: Duration) -> io::Result<()> {
        let more = u32::try_from(more.as_micros()).unwrap_or(u32::MAX);
        self.tell(&[NotifyState::ExtendTimeoutUsec(more)])
    }

    /// weir is ending.
    pub fn stopping(&self, status: &str) -> io::Result<()> {
        self.tell(&[NotifyState::Stopping, NotifyState::Status(&one_line(status))])
    }

    /// Compares the workers' heartbeats with those of the last look, and tells the watchdog when each has moved.
    /// A worker that was not there at the last look counts as moved.
    pub fn beat(&mut self, heartbeats: &[u64]) -> io::Result<Beat> {
        let pairs = heartbeats.iter().zip(&self.beats).enumerate();
        let stuck: Vec<_> =
            pairs.filter(|(_, (now, before))| now == before).map(|(worker, _)| worker).collect();
        self.beats = heartbeats.to_vec();
        if stuck.is_empty() {
            self.tell(&[NotifyState::Watchdog])?;
            return Ok(Beat::Alive);
        }
        let names: Vec<_> = stuck.iter().map(ToString::to_string).collect();
        let words = format!("worker {} has stood still since the last look", names.join(", "));
        self.tell(&[NotifyState::Status(&words)])?;
        Ok(Beat::Stuck(stuck))
    }

    /// Whether [`Notifier::ready`] was called.
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    fn tell(&self, states: &[NotifyState<'_>]) -> io::Result<()> {
        let Some(socket) = &self.socket else { return Ok(()) };
        let text: String = states.iter().map(|state| format!("{state}\n")).collect();
        socket.set_write_timeout(Some(PATIENCE))?;
        socket.send(text.as_bytes()).map(|_| ())
    }
}

/// A path, or with `@` in front a name without a file.
fn connect(path: &[u8]) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    match path.strip_prefix(b"@") {
        Some(name) => socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?,
        None => {
            use std::os::unix::ffi::OsStrExt as _;
            socket.connect(std::ffi::OsStr::from_bytes(path))?;
        }
    }
    Ok(socket)
}

/// Lines are what separates messages.
fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(watchdog: Option<Duration>) -> (Notifier, UnixDatagram) {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        theirs.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        (Notifier::over(ours, watchdog), theirs)
    }

    fn heard(manager: &UnixDatagram) -> String {
        let mut buffer = [0; 256];
        let len = manager.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..len].to_vec()).unwrap()
    }

    #[test]
    fn messages_are_those_of_the_protocol() {
        let (mut notifier, manager) = pair(Some(Duration::from_secs(10)));
        notifier.extend(Duration::from_secs(30)).unwrap();
        assert_eq!(heard(&manager), "EXTEND_TIMEOUT_USEC=30000000\n");
        assert!(!notifier.is_ready());
        notifier.ready("generation 1\non 2 workers").unwrap();
        assert_eq!(heard(&manager), "READY=1\nSTATUS=generation 1 on 2 workers\n");
        notifier.reloading().unwrap();
        assert!(heard(&manager).starts_with("RELOADING=1\nMONOTONIC_USEC="));
        notifier.stopping("bye").unwrap();
        assert_eq!(heard(&manager), "STOPPING=1\nSTATUS=bye\n");
        assert_eq!(notifier.beat_every(), Some(Duration::from_secs(5)));
    }

    #[test]
    fn the_watchdog_is_told_only_when_every_worker_moved() {
        let (mut notifier, manager) = pair(Some(Duration::from_secs(10)));
        assert_eq!(notifier.beat(&[5, 9]).unwrap(), Beat::Alive);
        assert_eq!(heard(&manager), "WATCHDOG=1\n");
        assert_eq!(notifier.beat(&[6, 9]).unwrap(), Beat::Stuck(vec![1]));
        assert_eq!(heard(&manager), "STATUS=worker 1 has stood still since the last look\n");
        assert_eq!(notifier.beat(&[7, 10]).unwrap(), Beat::Alive);
        assert_eq!(heard(&manager), "WATCHDOG=1\n");
    }

    #[test]
    fn a_manager_that_does_not_read_stops_nothing() {
        let (mut notifier, _manager) = pair(None);
        let full = (0..10_000).find_map(|turn| notifier.beat(&[turn]).err());
        assert!(full.is_some_and(|error| error.kind() == io::ErrorKind::WouldBlock));
        Notifier::silent().ready("").unwrap();
    }

    #[test]
    fn a_name_without_a_file_is_found() {
        let name = format!("weir-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        let socket = connect(format!("@{name}").as_bytes()).unwrap();
        Notifier::over(socket, None).status("here").unwrap();
        assert_eq!(heard(&manager), "STATUS=here\n");
    }
}
