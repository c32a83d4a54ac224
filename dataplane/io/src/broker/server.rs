//! The broker's side: requests to calls of a [`Kernel`], one after the other, until the daemon has gone.

use std::os::fd::{AsFd, OwnedFd};

use weir_sys::channel::{Channel, ChannelError};

use super::TAKE_LIMIT;
use super::message::{Answer, Malformed, REPLY, REQUEST, Reply, Request};
use crate::afxdp::{Kernel, KernelError};

/// Why a broker has nothing more to do.
#[derive(Debug)]
pub enum Ended {
    /// The daemon has closed its end, or has died.
    PeerGone,
    /// The daemon sends what is no message of ours, or takes no answers.
    PeerStrange(String),
}

/// Serves `channel` until the daemon at its other end has gone. Everything `kernel` holds is to be dropped then.
pub fn serve(channel: &Channel, kernel: &dyn Kernel) -> Ended {
    let mut bytes = [0; REQUEST];
    loop {
        let message = match channel.receive(&mut bytes, None) {
            Ok(message) => message,
            Err(ChannelError::Gone) => return Ended::PeerGone,
            Err(error) => return Ended::PeerStrange(error.to_string()),
        };
        let read = bytes.get(..message.len).unwrap_or_default();
        // Without its number a request cannot even be refused.
        let (number, request) = match Request::parse(read) {
            Ok(parsed) => parsed,
            Err(malformed) => return Ended::PeerStrange(malformed.to_string()),
        };
        let (answer, descriptor) = answer(kernel, request, message.descriptor);
        match reply(channel, Reply { number, answer }, descriptor) {
            Ok(()) => {}
            Err(ChannelError::Gone) => return Ended::PeerGone,
            Err(error) => return Ended::PeerStrange(error.to_string()),
        }
    }
}

fn reply(channel: &Channel, reply: Reply, descriptor: Option<OwnedFd>) -> Result<(), ChannelError> {
    let mut bytes = [0; REPLY];
    if let Err(malformed) = reply.emit(&mut bytes) {
        // Texts are cut to fit, so this is our slip; the daemon must still have an answer.
        let error = KernelError::plain("answering", "broker", malformed.to_string());
        let spare = Reply { number: reply.number, answer: Answer::Refused(error) };
        let _ = spare.emit(&mut bytes);
        return channel.send(&bytes, None, TAKE_LIMIT);
    }
    channel.send(&bytes, descriptor.as_ref().map(AsFd::as_fd), TAKE_LIMIT)
}

/// What one request comes to.
fn answer(
    kernel: &dyn Kernel,
    request: Result<Request, Malformed>,
    brought: Option<OwnedFd>,
) -> (Answer, Option<OwnedFd>) {
    let request = match request {
        Ok(request) => request,
        Err(malformed) => return refused("reading a request", malformed.to_string()),
    };
    if request.brings_descriptor() != brought.is_some() {
        return refused("reading a request", "a descriptor is missing, or is too many".to_owned());
    }
    let plain = |done: Result<(), KernelError>| done.map(|()| (Answer::Done, None));
    let done = match (&request, brought) {
        (Request::Attach(device, punt, mode), _) => {
            kernel.attach(device, punt, *mode).map(|attached| (Answer::Attached(attached), None))
        }
        (Request::Socket, _) => kernel.socket().map(|fd| (Answer::Done, Some(fd))),
        (Request::Install(device, queue), Some(socket)) => {
            plain(kernel.install(device, *queue, socket.as_fd()))
        }
        (Request::Install(device, _), None) => {
            Err(KernelError::plain("installing", device, "no socket came"))
        }
        (Request::Remove(device, queue), _) => plain(kernel.remove(device, *queue)),
        (Request::Punt(device, punt), _) => plain(kernel.punt(device, punt)),
        (Request::Detach(device), _) => plain(kernel.detach(device)),
        (Request::Tap(name, mac, mtu), _) => kernel.tap(name, *mac, *mtu).map(|fd| (Answer::Done, Some(fd))),
        (Request::Lead(tap, device), _) => plain(kernel.lead(tap, device)),
        (Request::Resolve(ifindex, address), _) => plain(kernel.resolve(*ifindex, *address)),
    };
    done.unwrap_or_else(|error| (Answer::Refused(error), None))
}

fn refused(doing: &'static str, why: String) -> (Answer, Option<OwnedFd>) {
    (Answer::Refused(KernelError::plain(doing, "broker", why)), None)
}
