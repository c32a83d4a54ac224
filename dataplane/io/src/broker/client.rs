//! The daemon's side: [`Kernel`] by asking the broker.

use std::io;
use std::net::IpAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use weir_sys::channel::{Channel, ChannelError};

use super::ANSWER_LIMIT;
use super::message::{Answer, REPLY, REQUEST, Reply, Request};
use crate::afxdp::{Attached, Kernel, KernelError, Mode, Punt};

/// How long a broker may take to end once its channel is closed.
const END_LIMIT: Duration = Duration::from_secs(5);

/// The broker could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// There is no channel.
    #[error("cannot make a channel to the broker: {0}")]
    Channel(#[source] io::Error),
    /// There is no process.
    #[error("cannot start the broker: {0}")]
    Process(#[source] io::Error),
}

/// The broker, seen from the daemon. Dropping it ends the broker, and with it all that the broker holds.
#[derive(Debug)]
pub struct Client {
    // Taken when the client ends; and one request is under way at a time.
    line: Mutex<Line>,
    child: Option<Child>,
    limit: Duration,
}

#[derive(Debug)]
struct Line {
    channel: Option<Channel>,
    number: u64,
}

impl Client {
    /// Starts `command` as the broker: its standard input is its end of the channel, its standard error ours.
    /// To be called before there are other threads, and before privileges are dropped.
    pub fn spawn(command: &mut Command) -> Result<Client, SpawnError> {
        let (ours, theirs) = Channel::pair().map_err(SpawnError::Channel)?;
        let command = command.stdin(Stdio::from(theirs.into_fd())).stdout(Stdio::null());
        let child = command.spawn().map_err(SpawnError::Process)?;
        // The command keeps a copy of the broker's end, which would keep the channel open after the broker's death.
        command.stdin(Stdio::null());
        let mut client = Client::over(ours);
        client.child = Some(child);
        Ok(client)
    }

    /// A client of whoever serves the other end.
    pub fn over(channel: Channel) -> Client {
        let line = Mutex::new(Line { channel: Some(channel), number: 0 });
        Client { line, child: None, limit: ANSWER_LIMIT }
    }

    /// Waits `limit` for each answer instead of [`ANSWER_LIMIT`].
    pub fn with_limit(mut self, limit: Duration) -> Client {
        self.limit = limit;
        self
    }

    /// The broker's process, when this client started it.
    pub fn process(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Whether the broker has ended. Then every device is as it was found, no packet comes any more, and the daemon
    /// had better end too: it may not start another.
    pub fn is_gone(&self) -> bool {
        // An answer being waited for is a sign of life, or ends in a failure that tells.
        match self.line.try_lock() {
            Ok(line) => line.channel.as_ref().is_none_or(Channel::is_gone),
            Err(_) => false,
        }
    }

    fn ask(
        &self,
        doing: &'static str,
        subject: &str,
        request: &Request,
        descriptor: Option<BorrowedFd<'_>>,
    ) -> Result<(Answer, Option<OwnedFd>), KernelError> {
        let failed = |why: String| KernelError::plain(doing, subject, why);
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        let line = &mut *line;
        let Some(channel) = &line.channel else { return Err(failed("the broker has been ended".to_owned())) };
        line.number += 1;
        let mut bytes = [0; REQUEST];
        request.emit(line.number, &mut bytes).map_err(|error| failed(error.to_string()))?;
        let broken = |error: ChannelError| failed(words(&error, self.limit));
        channel.send(&bytes, descriptor, self.limit).map_err(broken)?;
        let (answer, descriptor) = answer(channel, line.number, self.limit).map_err(failed)?;
        match answer {
            Answer::Refused(error) => Err(error),
            _ if descriptor.is_some() != request.wants_descriptor() => Err(failed(
                "the broker's answer has no descriptor where one belongs, or one where none does".into(),
            )),
            answer => Ok((answer, descriptor)),
        }
    }

    fn done(
        &self,
        doing: &'static str,
        subject: &str,
        request: &Request,
        with: Option<BorrowedFd<'_>>,
    ) -> Result<(), KernelError> {
        match self.ask(doing, subject, request, with)? {
            (Answer::Done, _) => Ok(()),
            _ => Err(KernelError::plain(doing, subject, "the broker answered something else")),
        }
    }

    fn descriptor(
        &self,
        doing: &'static str,
        subject: &str,
        request: &Request,
    ) -> Result<OwnedFd, KernelError> {
        let (_, descriptor) = self.ask(doing, subject, request, None)?;
        descriptor.ok_or_else(|| KernelError::plain(doing, subject, "no descriptor came"))
    }
}

/// Waits for the answer to request `number`; answers to those given up before are passed over, and what came
/// with them is closed.
fn answer(channel: &Channel, number: u64, limit: Duration) -> Result<(Answer, Option<OwnedFd>), String> {
    let end = Instant::now() + limit;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let mut bytes = [0; REPLY];
        let message = channel.receive(&mut bytes, Some(left)).map_err(|error| words(&error, limit))?;
        let read = bytes.get(..message.len).unwrap_or_default();
        let reply = Reply::parse(read).map_err(|error| format!("the broker answered strangely: {error}"))?;
        if reply.number == number {
            return Ok((reply.answer, message.descriptor));
        }
    }
}

fn words(error: &ChannelError, limit: Duration) -> String {
    match error {
        ChannelError::Gone => {
            "the broker has ended; its last words are in the log, and weir must start again".into()
        }
        ChannelError::Late { .. } => format!("the broker did not answer within {} s", limit.as_secs_f32()),
        ChannelError::TooLarge | ChannelError::Kernel(_) => format!("the channel to the broker: {error}"),
    }
}

impl Kernel for Client {
    fn attach(&self, device: &str, punt: &Punt, mode: Option<Mode>) -> Result<Attached, KernelError> {
        let doing = "attaching the redirect program";
        let request = Request::Attach(device.to_owned(), punt.clone(), mode);
        match self.ask(doing, device, &request, None)? {
            (Answer::Attached(attached), _) => Ok(attached),
            _ => Err(KernelError::plain(doing, device, "the broker answered something else")),
        }
    }

    fn socket(&self) -> Result<OwnedFd, KernelError> {
        self.descriptor("making a socket", "AF_XDP", &Request::Socket)
    }

    fn install(&self, device: &str, queue: u32, socket: BorrowedFd<'_>) -> Result<(), KernelError> {
        let request = Request::Install(device.to_owned(), queue);
        self.done("sending a queue's packets to a socket", device, &request, Some(socket))
    }

    fn remove(&self, device: &str, queue: u32) -> Result<(), KernelError> {
        let request = Request::Remove(device.to_owned(), queue);
        self.done("sending a queue's packets to the kernel", device, &request, None)
    }

    fn punt(&self, device: &str, punt: &Punt) -> Result<(), KernelError> {
        let request = Request::Punt(device.to_owned(), punt.clone());
        self.done("replacing what is punted", device, &request, None)
    }

    fn detach(&self, device: &str) -> Result<(), KernelError> {
        self.done("detaching the redirect program", device, &Request::Detach(device.to_owned()), None)
    }

    fn tap(&self, name: &str, mac: [u8; 6], mtu: u32) -> Result<OwnedFd, KernelError> {
        self.descriptor("making a TAP device", name, &Request::Tap(name.to_owned(), mac, mtu))
    }

    fn lead(&self, tap: &str, device: &str) -> Result<(), KernelError> {
        let request = Request::Lead(tap.to_owned(), device.to_owned());
        self.done("leading to it what comes in by a TAP device", device, &request, None)
    }

    fn resolve(&self, ifindex: u32, address: IpAddr) -> Result<(), KernelError> {
        let subject = format!("{address} on interface {ifindex}");
        self.done("asking for a neighbour", &subject, &Request::Resolve(ifindex, address), None)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.line.get_mut().unwrap_or_else(PoisonError::into_inner).channel = None;
        let Some(child) = &mut self.child else { return };
        let end = Instant::now() + END_LIMIT;
        while matches!(child.try_wait(), Ok(None)) {
            if Instant::now() > end {
                // It hangs in the kernel, or cannot be told apart from that; it is ours to end.
                let _ = child.kill();
                let _ = child.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}
