//! From a request to an answer: who asks, what, may they, is it whole; then its lane; then the answer in HTTP.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, Request};
use axum::response::Response;
use axum::routing::any;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, StatusCode};
use tokio::sync::Semaphore;

use super::audit::{self, Audit};
use super::backend::{Backend, Given};
use super::lanes::{Lanes, Order};
use super::path;
use super::peer::Peer;
use crate::action::field::{Parts, Place};
use crate::action::{Action, Kind, Role, Row};
use crate::problem::{Cause, Problem};
use crate::reply::Content;

/// Headers that a request may have.
const HEADERS_MAX: usize = 64;
/// Bytes that its headers may have.
const HEAD_MAX: usize = 16 << 10;
/// KiB of bodies that may be in memory at once, of all clients together.
const BODIES_KIB: usize = 192 << 10;

/// What all requests share.
#[derive(Debug)]
pub(super) struct State {
    lanes: Lanes,
    audit: Audit,
    bodies: Semaphore,
    description: Bytes,
    requests: AtomicU64,
}

impl State {
    pub(super) fn new(backend: Arc<dyn Backend>, audit: Audit) -> Self {
        let (bodies, requests) = (Semaphore::new(BODIES_KIB), AtomicU64::new(0));
        let description = crate::openapi::text().into();
        Self { lanes: Lanes::new(backend), audit, bodies, description, requests }
    }
}

impl State {
    /// Does an action that came by no socket.
    pub(super) async fn act(&self, action: &Action, peer: Peer) -> Result<Given, Problem> {
        self.lanes.run(action.kind(), action.encode(), peer, Order::First).await
    }
}

/// A router of these actions: one route for each path of the table.
pub(super) fn router(state: Arc<State>, kinds: &[Kind]) -> Router {
    let mut router = Router::new();
    let mut paths: Vec<&'static str> = kinds.iter().map(|kind| kind.row().path).collect();
    paths.sort_unstable();
    paths.dedup();
    for template in paths {
        let state = Arc::clone(&state);
        router = router.route(template, any(move |request| answer(Arc::clone(&state), request)));
    }
    router.fallback(move |request| answer(Arc::clone(&state), request))
}

/// The actions of a path.
fn rows(template: &str) -> impl Iterator<Item = &'static Row> {
    Kind::ALL.iter().map(|kind| kind.row()).filter(move |row| row.path == template)
}

/// Answers one request, and audits it.
async fn answer(state: Arc<State>, request: Request) -> Response {
    let began = Instant::now();
    let number = format!("{:08x}", state.requests.fetch_add(1, Ordering::Relaxed) + 1);
    let nobody = || Peer { uid: u32::MAX, gid: u32::MAX, pid: None, role: None };
    let peer = request.extensions().get::<Peer>().cloned().unwrap_or_else(nobody);
    let path = request.uri().path().to_owned();
    let found = find(&request);
    let row = found.as_ref().ok().copied();
    let done = match found {
        Ok(row) => perform(&state, row, &peer, request).await,
        Err(problem) => Err(problem),
    };
    let refused = matches!(&done, Err(problem) if problem.status == StatusCode::FORBIDDEN);
    if refused || row.is_some_and(|row| row.role == Role::Admin) {
        let mut line = audit::line(&peer, &number, row.map_or("", |row| row.name), &path, began.elapsed());
        match &done {
            Ok((status, _)) => line.status = status.as_u16(),
            Err(problem) => (line.status, line.code) = (problem.status, &problem.code),
        }
        state.audit.write(&line);
    }
    let mut response = match done {
        Ok((status, given)) => success(row, status, given),
        Err(problem) => refusal(problem, &number, &path),
    };
    response.headers_mut().extend(HeaderValue::from_str(&number).map(|value| (REQUEST_ID, value)));
    response
}

const REQUEST_ID: header::HeaderName = header::HeaderName::from_static("x-request-id");

/// The row that a request asks for.
fn find(request: &Request) -> Result<&'static Row, Problem> {
    path::check(request.uri().path())?;
    let headers = request.headers();
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if headers.len() > HEADERS_MAX || bytes > HEAD_MAX {
        let detail =
            format!("{} headers of {bytes} bytes; at most {HEADERS_MAX} of {HEAD_MAX}", headers.len());
        return Err(Problem::new(Cause::HeadTooLarge, detail));
    }
    let Some(template) = request.extensions().get::<MatchedPath>() else {
        let problem = Problem::new(Cause::NotFound, format!("nothing is at {}", request.uri().path()));
        return Err(problem.hint("/openapi.json says what there is"));
    };
    // HEAD is GET without the answer's body, which hyper leaves out.
    let method = if request.method() == Method::HEAD { &Method::GET } else { request.method() };
    let found = rows(template.as_str()).find(|row| row.method == method);
    found.ok_or_else(|| {
        let detail = format!("{} knows {}, not {method}", template.as_str(), allowed(template.as_str()));
        Problem::new(Cause::Method, detail)
    })
}

/// The methods of a path, as `Allow` lists them.
fn allowed(template: &str) -> String {
    let mut methods: Vec<String> = rows(template).map(|row| row.method.to_string()).collect();
    if methods.iter().any(|method| method == "GET") {
        methods.push("HEAD".to_owned());
    }
    methods.join(", ")
}

/// Does what a row says, within its deadline.
async fn perform(
    state: &State,
    row: &'static Row,
    peer: &Peer,
    request: Request,
) -> Result<(StatusCode, Given), Problem> {
    if !peer.may(row.role) {
        let detail =
            format!("{} is for the role {}; user {} has {}", row.name, row.role.name(), peer.uid, role(peer));
        return Err(
            Problem::new(Cause::Forbidden, detail).hint("be root, or in the group weir (weir-ro to look)")
        );
    }
    let order = request.extensions().get::<Order>().copied().unwrap_or(Order::First);
    let end = tokio::time::Instant::now() + row.deadline;
    let parts = tokio::time::timeout_at(end, read(state, row, request)).await;
    let slow =
        || Problem::new(Cause::Slow, format!("the body was not whole within {} s", row.deadline.as_secs()));
    let (parts, _room) = parts.unwrap_or_else(|_| Err(slow()))?;
    if row.kind == Kind::OpenApi {
        row.kind.decode(&parts)?;
        return Ok((StatusCode::OK, Given::Json(state.description.clone())));
    }
    let work = state.lanes.run(row.kind, parts, peer.clone(), order);
    let given = tokio::time::timeout_at(end, work).await;
    let late = || Problem::new(Cause::Deadline, format!("not done within {} s", row.deadline.as_secs()));
    let given =
        given.unwrap_or_else(|_| Err(late().hint("it may still be done: see weir config history")))?;
    Ok((status(row, &given), given))
}

fn role(peer: &Peer) -> &'static str {
    peer.role.map_or("none", Role::name)
}

/// The request's fields, and the room that its body takes.
async fn read<'s>(
    state: &'s State,
    row: &Row,
    request: Request,
) -> Result<(Parts, Option<tokio::sync::SemaphorePermit<'s>>), Problem> {
    let (head, body) = request.into_parts();
    let headers = &head.headers;
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let too_large = || {
        let detail = match row.body_max {
            0 => "this action takes no body".to_owned(),
            most => format!("the body of this action has at most {most} bytes"),
        };
        Problem::new(Cause::TooLarge, detail)
    };
    if length.is_some_and(|length: usize| length > row.body_max) {
        return Err(too_large());
    }
    let media = media(headers);
    check_media(row, media.as_deref())?;
    let kib = length.unwrap_or(row.body_max).div_ceil(1024) as u32;
    let room = match kib {
        0 => None,
        _ => Some(state.bodies.try_acquire_many(kib).map_err(|_| {
            Problem::new(Cause::Unavailable, "too many large requests at once").hint("try again")
        })?),
    };
    let read = Limited::new(body, row.body_max).collect().await.map_err(|error| {
        match error.downcast_ref::<LengthLimitError>() {
            Some(_) => too_large(),
            None => Problem::new(Cause::Bad, format!("the body ended early: {error}")),
        }
    })?;
    let parts = Parts {
        path: path::fields(row.path, head.uri.path())?,
        query: path::query(head.uri.query().unwrap_or_default())?,
        if_match: text(headers, header::IF_MATCH)?,
        media,
        body: read.to_bytes(),
    };
    Ok((parts, room))
}

/// Refuses a body of the wrong kind before it is read.
fn check_media(row: &Row, media: Option<&str>) -> Result<(), Problem> {
    let body = row.fields.iter().find(|field| field.place == Place::Body);
    let Some(body) = body else { return Ok(()) };
    if media.is_some_and(|media| body.media.contains(&media)) {
        return Ok(());
    }
    let wanted = body.media.join(" or ");
    let detail = format!("Content-Type is {}; wanted {wanted}", media.unwrap_or("missing"));
    Err(Problem::new(Cause::Media, detail))
}

/// The body's media type, without its parameters.
fn media(headers: &HeaderMap) -> Option<String> {
    let media = headers.get(header::CONTENT_TYPE)?.to_str().ok()?.split(';').next()?;
    Some(media.trim().to_ascii_lowercase())
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Result<Option<String>, Problem> {
    let text = headers.get(&name).map(|value| value.to_str().map(str::to_owned)).transpose();
    text.map_err(|_| Problem::new(Cause::Bad, format!("{name} is not ASCII")))
}

/// The status of what went well.
fn status(row: &Row, given: &Given) -> StatusCode {
    match (row.kind, given) {
        (Kind::ProgramLoad | Kind::Attach, Given::Applied(applied)) if !applied.dry_run => {
            StatusCode::CREATED
        }
        (_, Given::Health(health)) if !health.failing.is_empty() => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::OK,
    }
}

fn body(value: &impl serde::Serialize) -> Body {
    Body::from(super::backend::line(value).unwrap_or_default())
}

/// What went well, in HTTP.
fn success(row: Option<&Row>, status: StatusCode, given: Given) -> Response {
    let content = row.map_or(Content::Json, |row| row.answer.content);
    let (etag, body) = match given {
        Given::Applied(applied) => (Some(applied.etag.clone()), body(&*applied)),
        Given::Config(config) => (Some(config.etag.clone()), body(&*config)),
        Given::Health(health) => (None, body(&health)),
        Given::Json(bytes) | Given::Bytes(bytes) => (None, Body::from(bytes)),
        Given::Stream(fed) if content == Content::Events => (None, Body::new(fed.with_heartbeat())),
        Given::Stream(fed) => (None, Body::new(fed)),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content.media()));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.extend(etag.and_then(|etag| HeaderValue::from_str(&etag).ok()).map(|etag| (header::ETAG, etag)));
    response
}

/// What did not go well, in HTTP.
fn refusal(mut problem: Problem, number: &str, path: &str) -> Response {
    problem.request = Some(number.to_owned());
    let mut response = Response::new(body(&problem));
    *response.status_mut() =
        StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    match problem.cause() {
        Some(Cause::Method) => {
            let template =
                Kind::ALL.iter().map(|kind| kind.row().path).find(|template| matches(template, path));
            let methods = template.map(allowed).and_then(|methods| HeaderValue::from_str(&methods).ok());
            headers.extend(methods.map(|methods| (header::ALLOW, methods)));
        }
        Some(Cause::Unavailable | Cause::TooMany) => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        // What is left of such a request is not worth reading.
        Some(Cause::TooLarge | Cause::Slow | Cause::HeadTooLarge) => {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        _ => {}
    }
    response
}

/// Whether a path is of a template.
fn matches(template: &str, path: &str) -> bool {
    let same = |(name, value): (&str, &str)| name.starts_with('{') || name == value;
    template.split('/').count() == path.split('/').count()
        && template.split('/').zip(path.split('/')).all(same)
}
