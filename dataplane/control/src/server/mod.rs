//! The server: one thread that reads requests and writes answers, and never works itself.
//!
//! What an action takes is done elsewhere ([`lanes`]), so a slow change delays no reader. What strangers may do to
//! it is bounded: the silent in the way of those who speak ([`door`]), clients in all and by user ([`table`]), bytes
//! of head and body, time of both, time without progress of an answer ([`guarded`]), events that wait for a reader
//! ([`feed`]). Descriptors sent along are never taken: the kernel closes what is not asked for.

pub mod audit;
mod backend;
mod dispatch;
mod door;
pub mod feed;
mod guarded;
#[cfg(test)]
mod hostile;
mod lanes;
mod path;
pub mod peer;
mod table;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tower::Service;

use crate::action::{Action, Kind, Role};
use crate::problem::{Cause, Problem};
pub use backend::{Backend, Given, json};
pub use door::Door;
use guarded::Guarded;
use lanes::Order;
pub use peer::{Peer, Policy};
use table::{Place, Table};

/// How long a client may take over a request's head, or stay without asking anything.
const HEAD: Duration = Duration::from_secs(10);
/// Bytes of a head that are kept in memory.
const BUFFER: usize = 64 << 10;
/// Headers beyond which not even a problem is written.
const HEADERS: usize = 256;
/// How long answers under way may take when the server ends.
const DRAIN: Duration = Duration::from_secs(2);

/// What may be asked over TCP, by whoever gets there: it says nothing that could be misused.
const SCRAPED: [Kind; 3] = [Kind::Metrics, Kind::Healthz, Kind::Readyz];

/// A server, ready to listen.
#[derive(Clone, Debug)]
pub struct Server {
    policy: Policy,
    whole: Router,
    scraped: Router,
    state: Arc<dispatch::State>,
    table: Arc<Table>,
    stop: watch::Receiver<bool>,
}

impl Server {
    /// A server that answers out of this backend. Sending `true` ends it.
    pub fn new(
        backend: Arc<dyn Backend>,
        policy: Policy,
        audit: audit::Audit,
        stop: watch::Receiver<bool>,
    ) -> Self {
        let state = Arc::new(dispatch::State::new(backend, audit));
        Self {
            policy,
            whole: dispatch::router(Arc::clone(&state), Kind::ALL),
            scraped: dispatch::router(Arc::clone(&state), &SCRAPED),
            state,
            table: Arc::default(),
            stop,
        }
    }

    /// Does an action for the daemon itself, in its lane, as if somebody had asked.
    pub async fn act(&self, action: &Action) -> Result<Given, Problem> {
        let peer = Peer { uid: self.policy.owner, gid: 0, pid: None, role: Some(Role::Admin) };
        self.state.act(action, peer).await
    }

    /// Answers at a Unix socket until told to stop.
    pub async fn unix(self, mut door: Door) {
        let mut stop = self.stop.clone();
        while let Some(came) = until(&mut stop, door.next()).await {
            match came {
                Ok(few) => few.into_iter().for_each(|socket| {
                    // Whose credentials the kernel cannot tell, is nobody.
                    let nobody = Peer { uid: u32::MAX, gid: u32::MAX, pid: None, role: None };
                    let peer = self.policy.peer(&socket).unwrap_or(nobody);
                    self.welcome(socket, peer, self.whole.clone());
                }),
                Err(error) => self.out_of_descriptors(Some(error)).await,
            }
        }
    }

    /// Answers scrapes at a TCP socket until told to stop.
    pub async fn tcp(self, listener: TcpListener) {
        let mut stop = self.stop.clone();
        while let Some(accepted) = until(&mut stop, listener.accept()).await {
            let Ok((socket, _)) = accepted else {
                self.out_of_descriptors(accepted.err()).await;
                continue;
            };
            let peer = Peer { uid: u32::MAX, gid: u32::MAX, pid: None, role: Some(Role::Read) };
            self.welcome(socket, peer, self.scraped.clone());
        }
    }

    /// Nothing can be accepted: the idle make room, and we do not spin meanwhile.
    async fn out_of_descriptors(&self, error: Option<io::Error>) {
        if let Some(error) = error {
            tracing::warn!(%error, "a client could not be accepted");
        }
        self.table.make_room();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    /// Serves one client beside the others, or says that there is no place.
    fn welcome(&self, socket: impl Client, peer: Peer, router: Router) {
        match self.table.enter(peer.uid) {
            Some(place) => {
                tokio::spawn(listen(socket, peer, place, router, self.stop.clone()));
            }
            None => {
                tracing::warn!(target: audit::TARGET, uid = peer.uid, pid = ?peer.pid, "refused: too many clients");
                tokio::spawn(turn_away(socket));
            }
        }
    }
}

/// The other end of a connection.
trait Client: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Waits until it has said something, or has gone.
    fn speaks(&self) -> impl Future<Output = io::Result<()>> + Send;
}

impl Client for UnixStream {
    fn speaks(&self) -> impl Future<Output = io::Result<()>> + Send {
        self.readable()
    }
}

impl Client for TcpStream {
    fn speaks(&self) -> impl Future<Output = io::Result<()>> + Send {
        self.readable()
    }
}

/// What the work gives, or `None` when it is time to stop.
async fn until<T>(stop: &mut watch::Receiver<bool>, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        () = told(stop) => None,
        done = work => Some(done),
    }
}

/// Waits until it is time to stop.
async fn told(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Tells a client that there is no place, in HTTP, without reading a byte.
async fn turn_away(mut socket: impl AsyncWrite + Unpin) {
    let problem = Problem::new(Cause::Unavailable, "too many clients are being answered").hint("try again");
    let body = serde_json::to_string(&problem).unwrap_or_default();
    let head = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\n\
         connection: close\r\nretry-after: 1\r\n\r\n",
        body.len()
    );
    let answer = head + &body;
    let _ = tokio::time::timeout(Duration::from_secs(1), socket.write_all(answer.as_bytes())).await;
}

/// One client, from connecting to the end. Who says nothing costs a place and nothing else: a thousand of them who
/// come at once are let in before somebody behind them has waited for long.
async fn listen(
    socket: impl Client,
    peer: Peer,
    place: Place,
    router: Router,
    mut stop: watch::Receiver<bool>,
) {
    let speaks = tokio::select! {
        said = tokio::time::timeout(HEAD, socket.speaks()) => matches!(said, Ok(Ok(()))),
        () = place.leave.notified() => false,
        () = told(&mut stop) => false,
    };
    if speaks {
        Box::pin(attend(Guarded::new(socket), peer, place, router, stop)).await;
    }
}

/// One client who speaks, until the end.
async fn attend(
    socket: Guarded<impl Client>,
    peer: Peer,
    place: Place,
    router: Router,
    mut stop: watch::Receiver<bool>,
) {
    let busy = Arc::clone(&place.busy);
    let asked_before = AtomicBool::new(false);
    let service = service_fn(move |mut request: Request<Incoming>| {
        busy.store(true, Ordering::Relaxed);
        request.extensions_mut().insert(peer.clone());
        let order = if asked_before.swap(true, Ordering::Relaxed) { Order::Further } else { Order::First };
        request.extensions_mut().insert(order);
        let (answer, busy) = (router.clone().call(request.map(Body::new)), Arc::clone(&busy));
        async move {
            let answer = answer.await;
            busy.store(false, Ordering::Relaxed);
            answer
        }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(BUFFER)
        .max_headers(HEADERS)
        .half_close(true);
    let connection = http.serve_connection(TokioIo::new(socket), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = place.leave.notified() => return,
        () = told(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(DRAIN, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a client's connection ended");
    }
}
