//! Asking a running weir: a blocking client over its socket.
//!
//! A call is one connection, one request, one answer. Each has a deadline, a little longer than the server's own.
//! Streams are read line by line; the server's comment lines show that it lives, and its silence is an error.

mod stream;

use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderMap};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;

use crate::action::field::Parts;
use crate::action::{Action, Row};
use crate::problem::Problem;
pub use stream::{Events, Stream};

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How much longer than the server we wait.
const GRACE: Duration = Duration::from_secs(2);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers at the socket.
    #[error("{}: {source}", socket.display())]
    Unreachable {
        /// Which socket.
        socket: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The daemon says no.
    #[error("{0}")]
    Problem(Box<Problem>),
    /// Nothing came in time.
    #[error("no answer in {} s", .0.as_secs())]
    TimedOut(Duration),
    /// What came cannot be understood.
    #[error("the daemon's answer cannot be understood: {0}")]
    Protocol(String),
}

/// What came back: a JSON value, text or bytes.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The HTTP status: 200, 201 …
    pub status: StatusCode,
    /// The configuration's ETag, where the answer has one.
    pub etag: Option<String>,
    /// The body.
    pub body: Bytes,
}

impl Reply {
    /// The answer as its type ([`crate::reply`]).
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        serde_json::from_slice(&self.body).map_err(|error| ClientError::Protocol(error.to_string()))
    }

    /// The answer as JSON, as it came.
    pub fn json(&self) -> Result<serde_json::Value, ClientError> {
        self.decode()
    }

    /// The answer as text.
    pub fn text(&self) -> Result<&str, ClientError> {
        std::str::from_utf8(&self.body).map_err(|error| ClientError::Protocol(error.to_string()))
    }
}

/// A way to a daemon; it connects anew for every call.
#[derive(Debug)]
pub struct Client {
    socket: PathBuf,
    runtime: Runtime,
}

impl Client {
    /// A client of the daemon at this socket. Does not connect yet.
    pub fn new(socket: impl Into<PathBuf>) -> Result<Self, ClientError> {
        let socket = socket.into();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => Ok(Self { socket, runtime }),
            Err(source) => Err(ClientError::Unreachable { socket, source }),
        }
    }

    /// The socket it speaks to.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Asks, and waits for the whole answer.
    pub fn call(&self, action: &Action) -> Result<Reply, ClientError> {
        let row = action.row();
        let limit = row.deadline + GRACE;
        self.within(limit, async {
            let answer = self.ask(action, row).await?;
            let (status, etag) = (answer.status(), etag(answer.headers()));
            let body = answer.into_body().collect().await.map_err(protocol)?.to_bytes();
            Ok(Reply { status, etag, body })
        })
    }

    /// Asks, waits for the whole answer and reads it as its type.
    pub fn get<T: DeserializeOwned>(&self, action: &Action) -> Result<T, ClientError> {
        self.call(action)?.decode()
    }

    /// Asks for an answer that goes on, as bytes.
    pub fn stream(&self, action: &Action) -> Result<Stream<'_>, ClientError> {
        let row = action.row();
        let answer = self.within(row.deadline + GRACE, self.ask(action, row))?;
        Ok(Stream::new(&self.runtime, answer.into_body()))
    }

    /// Asks for server-sent events.
    pub fn events(&self, action: &Action) -> Result<Events<'_>, ClientError> {
        self.stream(action).map(Events::new)
    }

    fn within<T>(
        &self,
        limit: Duration,
        work: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        let timed = async { tokio::time::timeout(limit, work).await };
        self.runtime.block_on(timed).unwrap_or(Err(ClientError::TimedOut(limit)))
    }

    /// Sends the request; a problem in answer is an error.
    async fn ask(&self, action: &Action, row: &Row) -> Result<Response<Incoming>, ClientError> {
        let unreachable = |source| ClientError::Unreachable { socket: self.socket.clone(), source };
        let connected = tokio::time::timeout(CONNECT, UnixStream::connect(&self.socket)).await;
        let socket = connected.map_err(|_| ClientError::TimedOut(CONNECT))?.map_err(unreachable)?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.map_err(protocol)?;
        // The connection's task ends with its sender; what goes wrong in it, the sender reports.
        tokio::spawn(connection);
        let request = request(action, row).map_err(protocol)?;
        let answer = sender.send_request(request).await.map_err(protocol)?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let body = answer.into_body().collect().await.map_err(protocol)?.to_bytes();
        let problem = serde_json::from_slice(&body);
        let problem =
            problem.map_err(|_| ClientError::Protocol(format!("status {status} without a problem")))?;
        Err(ClientError::Problem(Box::new(problem)))
    }
}

fn protocol(error: impl std::fmt::Display) -> ClientError {
    ClientError::Protocol(error.to_string())
}

fn etag(headers: &HeaderMap) -> Option<String> {
    headers.get(header::ETAG)?.to_str().ok().map(str::to_owned)
}

/// The HTTP request that an action is.
fn request(action: &Action, row: &Row) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
    let parts = action.encode();
    let mut request = Request::builder()
        .method(row.method.clone())
        .uri(address(row.path, &parts))
        .header(header::HOST, "weir")
        .header(header::USER_AGENT, concat!("weir/", env!("CARGO_PKG_VERSION")));
    if let Some(media) = &parts.media {
        request = request.header(header::CONTENT_TYPE, media);
    }
    if let Some(etag) = &parts.if_match {
        request = request.header(header::IF_MATCH, etag);
    }
    request.body(Full::new(parts.body))
}

/// The path with its fields put in, and the query.
pub(crate) fn address(template: &str, parts: &Parts) -> String {
    let mut address = String::new();
    for segment in template.split('/').skip(1) {
        address.push('/');
        let field = segment.strip_prefix('{').and_then(|segment| segment.strip_suffix('}'));
        match field {
            Some(field) => {
                let value = parts.path.iter().find(|(name, _)| name == field);
                address.push_str(&escaped(value.map_or("", |(_, value)| value)));
            }
            None => address.push_str(segment),
        }
    }
    for (at, (name, value)) in parts.query.iter().enumerate() {
        address.push(if at == 0 { '?' } else { '&' });
        address.push_str(name);
        address.push('=');
        address.push_str(&escaped(value));
    }
    address
}

/// A text with everything but RFC 3986's unreserved characters escaped.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for &byte in text.as_bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_put_in_their_places() {
        let action = Action::MapLookup { map: "deny".into(), key: "10.0.0.0/8 %ä".into(), format: None };
        assert_eq!(
            address(action.row().path, &action.encode()),
            "/v1/maps/deny/entries/10.0.0.0%2F8%20%25%C3%A4"
        );
        let action = Action::ConfigRollback { to: Some(7) };
        assert_eq!(address(action.row().path, &action.encode()), "/v1/config/rollback?to=7");
    }

    #[test]
    fn nobody_at_the_socket_is_said() {
        let client = Client::new("/nonexistent/weir.sock").unwrap();
        let error = client.call(&Action::Version {}).unwrap_err();
        assert!(matches!(error, ClientError::Unreachable { .. }));
        assert_eq!(error.to_string(), "/nonexistent/weir.sock: No such file or directory (os error 2)");
    }
}
