//! How an action's fields travel: in the path, the query, the `If-Match` header, the body.

use std::net::IpAddr;
use std::time::Duration;

use hyper::body::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, SchemaType, Type};
use utoipa::openapi::{KnownFormat, RefOr, Schema, SchemaFormat};
use utoipa::{PartialSchema, ToSchema};

use super::json::Strict;
use super::words::{Form, Format};
use crate::problem::{Cause, Problem};

/// What each field means, wherever it occurs.
pub const GLOSSARY: &[(&str, &str)] = &[
    (
        "abort_rate",
        "during probation: the share of a program's verdicts that may be XDP_ABORTED before it is taken back, 0 to 1",
    ),
    ("actions", "XDP verdicts that go on to the next program of the chain; `pass` when absent"),
    ("address", "an IPv4 or IPv6 address"),
    ("after", "the last key of the page before"),
    ("attach", "what to attach, and where"),
    ("capture", "what to capture"),
    ("confirm", "take the change back by itself unless it is confirmed in this time, such as `60s`"),
    (
        "drop_rate",
        "during probation: the share of packets that may be dropped before it is taken back, 0 to 1",
    ),
    ("dry_run", "say what would be done, and do nothing"),
    ("entry", "the value to put there"),
    ("every", "how often to look; `1s` when absent"),
    ("file", "a file that `export` made"),
    ("form", "which form of the program"),
    ("format", "how entries are written; `formatted` when absent"),
    ("hook", "`xdp` or `tc`; attached nowhere when absent"),
    ("if_match", "do it only when this is the configuration's ETag; `*` for any"),
    ("interface", "an interface, by its name in the configuration"),
    (
        "key",
        "a key: a number, an address, a prefix, bytes as `hex:…`, or a JSON object of the struct's fields",
    ),
    ("limit", "at most so many"),
    ("link", "a link, by its name: `PROGRAM@INTERFACE:xdp` and the like, as `links` lists them"),
    (
        "map",
        "a map, by its name, or its number as `maps` lists them; `PROGRAM.MAP` where a name occurs twice",
    ),
    ("name", "the name to give it"),
    ("object", "an object file as clang made it"),
    ("prio", "order in the chain, lowest first; 100 when absent"),
    ("probation", "watch the new programs for so long, and go back by itself when a rate is exceeded"),
    ("prog", "which program of the object; may be absent when there is one"),
    ("program", "a program, by its name, or its number as `programs` lists them"),
    ("route", "the route"),
    ("run", "the packet, and how often"),
    ("scratch", "maps that start empty instead of carrying over"),
    ("text", "the whole configuration"),
    ("to", "a prefix; of a rollback, a generation"),
    ("trace", "which packets to follow"),
    ("with", "the program to run instead"),
];

/// What the glossary says of a field.
pub fn meaning(field: &str) -> &'static str {
    GLOSSARY.iter().find(|(name, _)| *name == field).map_or("", |(_, meaning)| meaning)
}

/// Where a field travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A segment of the path.
    Path,
    /// `?name=value`.
    Query,
    /// The `If-Match` header.
    Header,
    /// The body.
    Body,
}

/// What the table says of a field.
#[derive(Debug)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// Where it travels.
    pub place: Place,
    /// Whether it must be there.
    pub required: bool,
    /// Its media type, when it is the body.
    pub media: &'static [&'static str],
    /// Its schema.
    pub schema: fn() -> RefOr<Schema>,
    /// The schemas that it refers to.
    pub schemas: fn() -> Vec<(String, RefOr<Schema>)>,
}

/// An action as it goes over the wire: strings and bytes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parts {
    /// Fields of the path, decoded.
    pub path: Vec<(String, String)>,
    /// Fields of the query, decoded.
    pub query: Vec<(String, String)>,
    /// `If-Match`.
    pub if_match: Option<String>,
    /// `Content-Type`, without parameters.
    pub media: Option<String>,
    /// The body.
    pub body: Bytes,
}

impl Parts {
    /// Refuses query fields that the action does not have, and such as occur twice.
    pub(crate) fn only(&self, fields: &[&str]) -> Result<(), Problem> {
        for (at, (name, _)) in self.query.iter().enumerate() {
            let known = fields.contains(&name.as_str()) && !self.path.iter().any(|(other, _)| other == name);
            if !known {
                return Err(bad(format!("the query has `{name}`, which this action does not know")));
            }
            if self.query[..at].iter().any(|(before, _)| before == name) {
                return Err(bad(format!("the query has `{name}` twice")));
            }
        }
        Ok(())
    }

    pub(crate) fn take_path<T: Parameter>(&self, name: &str) -> Result<T, Problem> {
        read(name, self.path.iter().find(|(field, _)| field == name).map(|(_, text)| text.as_str()))
    }

    pub(crate) fn take_query<T: Parameter>(&self, name: &str) -> Result<T, Problem> {
        read(name, self.query.iter().find(|(field, _)| field == name).map(|(_, text)| text.as_str()))
    }

    pub(crate) fn take_header<T: Parameter>(&self, name: &str) -> Result<T, Problem> {
        read(name, self.if_match.as_deref())
    }

    pub(crate) fn take_body<T: Payload>(&self) -> Result<T, Problem> {
        let media = self.media.as_deref().unwrap_or("nothing");
        if !T::MEDIA.contains(&media) {
            let wanted = T::MEDIA.join(" or ");
            return Err(Problem::new(Cause::Media, format!("Content-Type says {media}; wanted {wanted}")));
        }
        T::read(&self.body)
    }

    pub(crate) fn write_path(&mut self, name: &str, value: &impl Parameter) {
        self.path.push((name.to_owned(), value.write().unwrap_or_default()));
    }

    pub(crate) fn write_query(&mut self, name: &str, value: &impl Parameter) {
        self.query.extend(value.write().map(|text| (name.to_owned(), text)));
    }

    pub(crate) fn write_header(&mut self, _name: &str, value: &impl Parameter) {
        self.if_match = value.write();
    }

    pub(crate) fn write_body<T: Payload>(&mut self, _name: &str, value: &T) {
        self.media = Some(T::MEDIA[0].to_owned());
        self.body = value.write();
    }
}

fn bad(detail: String) -> Problem {
    Problem::new(Cause::Bad, detail)
}

fn read<T: Parameter>(name: &str, text: Option<&str>) -> Result<T, Problem> {
    T::read(text).map_err(|wanted| match text {
        Some(text) => bad(format!("`{name}` is `{}`; wanted {wanted}", text.escape_debug())),
        None => bad(format!("`{name}` is missing: {}", meaning(name))),
    })
}

/// What can stand in a path, query or header.
pub trait Parameter: Sized {
    /// Whether it must be there.
    const REQUIRED: bool = true;
    /// What it looks like.
    fn schema() -> RefOr<Schema>;
    /// Its text; `None` to leave it out.
    fn write(&self) -> Option<String>;
    /// The value of a text, or what was wanted instead.
    fn read(text: Option<&str>) -> Result<Self, String>;
}

fn plain(kind: Type) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(SchemaType::Type(kind))
}

impl Parameter for String {
    fn schema() -> RefOr<Schema> {
        let text = plain(Type::String).pattern(Some(r"^[^\u0000-\u001f\u007f-\u009f]+$"));
        text.min_length(Some(1)).max_length(Some(TEXT_MAX)).into()
    }
    fn write(&self) -> Option<String> {
        Some(self.clone())
    }
    fn read(text: Option<&str>) -> Result<Self, String> {
        let wanted = || format!("1 to {TEXT_MAX} characters, none of them a control character");
        let fits = |text: &&str| {
            let length = text.chars().count();
            (1..=TEXT_MAX).contains(&length) && !text.chars().any(char::is_control)
        };
        text.filter(fits).map(str::to_owned).ok_or_else(wanted)
    }
}

/// Most characters of a text field: a key of 256 bytes in hexadecimal, with room. An address of as many such fields
/// as there are fits hyper's 64 KiB, so that its refusal is ours, and says why.
const TEXT_MAX: usize = 640;

impl Parameter for bool {
    const REQUIRED: bool = false;
    fn schema() -> RefOr<Schema> {
        plain(Type::String).enum_values(Some(["0", "1", "false", "true"])).into()
    }
    fn write(&self) -> Option<String> {
        self.then(|| "1".to_owned())
    }
    fn read(text: Option<&str>) -> Result<Self, String> {
        match text {
            None | Some("0" | "false") => Ok(false),
            Some("1" | "true") => Ok(true),
            Some(_) => Err("1 or 0".to_owned()),
        }
    }
}

macro_rules! whole {
    ($type:ty, $format:expr, $most:expr) => {
        impl Parameter for $type {
            fn schema() -> RefOr<Schema> {
                let schema = plain(Type::Integer).format(Some(SchemaFormat::KnownFormat($format)));
                schema.minimum(Some(0)).maximum(Some($most)).into()
            }
            fn write(&self) -> Option<String> {
                Some(self.to_string())
            }
            fn read(text: Option<&str>) -> Result<Self, String> {
                let digits = |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
                let number = text.filter(digits).and_then(|text| text.parse().ok());
                number.ok_or_else(|| format!("a whole number from 0 to {}", <$type>::MAX))
            }
        }
    };
}

whole!(u32, KnownFormat::Int64, u32::MAX as usize);
whole!(u64, KnownFormat::Int64, i64::MAX as usize);

impl Parameter for f64 {
    fn schema() -> RefOr<Schema> {
        plain(Type::Number).minimum(Some(0)).maximum(Some(1)).into()
    }
    fn write(&self) -> Option<String> {
        Some(self.to_string())
    }
    fn read(text: Option<&str>) -> Result<Self, String> {
        let number = text.and_then(|text| text.parse().ok());
        number.filter(|share| (0.0..=1.0).contains(share)).ok_or_else(|| "a number from 0 to 1".to_owned())
    }
}

/// Longest time that a field may say.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 60 * 60);

impl Parameter for Duration {
    fn schema() -> RefOr<Schema> {
        plain(Type::String).pattern(Some("^[1-9][0-9]{0,3}(ms|s|m)$")).into()
    }
    fn write(&self) -> Option<String> {
        Some(humantime::format_duration(*self).to_string().replace(' ', ""))
    }
    fn read(text: Option<&str>) -> Result<Self, String> {
        let time = text.and_then(|text| humantime::parse_duration(text).ok());
        let fits = |time: &Duration| !time.is_zero() && *time <= LONGEST;
        time.filter(fits).ok_or_else(|| "a time such as `60s` or `5m`, a week at most".to_owned())
    }
}

impl Parameter for IpAddr {
    fn schema() -> RefOr<Schema> {
        let format = |name: &str| Some(SchemaFormat::Custom(name.to_owned()));
        let either = utoipa::openapi::schema::AnyOfBuilder::new();
        let either = either.item(plain(Type::String).format(format("ipv4")));
        either.item(plain(Type::String).format(format("ipv6"))).into()
    }
    fn write(&self) -> Option<String> {
        Some(self.to_string())
    }
    fn read(text: Option<&str>) -> Result<Self, String> {
        text.and_then(|text| text.parse().ok()).ok_or_else(|| "an IPv4 or IPv6 address".to_owned())
    }
}

impl<T: Parameter> Parameter for Option<T> {
    const REQUIRED: bool = false;
    fn schema() -> RefOr<Schema> {
        T::schema()
    }
    fn write(&self) -> Option<String> {
        self.as_ref().and_then(T::write)
    }
    fn read(text: Option<&str>) -> Result<Self, String> {
        text.map(|text| T::read(Some(text))).transpose()
    }
}

impl Parameter for Vec<String> {
    const REQUIRED: bool = false;
    fn schema() -> RefOr<Schema> {
        let item = plain(Type::String).pattern(Some("^[A-Za-z0-9_.-]{1,64}$"));
        ArrayBuilder::new().items(item).min_items(Some(1)).max_items(Some(64)).into()
    }
    fn write(&self) -> Option<String> {
        (!self.is_empty()).then(|| self.join(","))
    }
    fn read(text: Option<&str>) -> Result<Self, String> {
        let word = |word: &str| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
            (1..=64).contains(&word.len()) && word.bytes().all(plain)
        };
        let Some(text) = text else { return Ok(Vec::new()) };
        let words: Vec<_> = text.split(',').map(str::to_owned).collect();
        let fit = words.len() <= 64 && words.iter().all(|text| word(text));
        fit.then_some(words).ok_or_else(|| "names between commas".to_owned())
    }
}

macro_rules! word {
    ($type:ty, $wanted:literal) => {
        impl Parameter for $type {
            fn schema() -> RefOr<Schema> {
                <$type as PartialSchema>::schema()
            }
            fn write(&self) -> Option<String> {
                serde_json::to_value(self).ok()?.as_str().map(str::to_owned)
            }
            fn read(text: Option<&str>) -> Result<Self, String> {
                let value = text.map(|text| serde_json::Value::from(text));
                value.and_then(|value| serde_json::from_value(value).ok()).ok_or_else(|| $wanted.to_owned())
            }
        }
    };
}

word!(Form, "xlated, jited or source");
word!(Format, "formatted or hex");
word!(crate::reply::Hook, "xdp or tc");

/// What can be a body.
pub trait Payload: Sized {
    /// Its media types, the usual one first.
    const MEDIA: &'static [&'static str];
    /// What it looks like.
    fn schema() -> RefOr<Schema>;
    /// The schemas that it refers to.
    fn schemas() -> Vec<(String, RefOr<Schema>)> {
        Vec::new()
    }
    /// Its bytes.
    fn write(&self) -> Bytes;
    /// The value of bytes.
    fn read(bytes: &Bytes) -> Result<Self, Problem>;
}

/// Bytes that mean something elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Octets(pub Bytes);

impl Payload for Octets {
    const MEDIA: &'static [&'static str] = &["application/octet-stream"];
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(SchemaType::Type(Type::String))
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Binary)))
            .into()
    }
    fn write(&self) -> Bytes {
        self.0.clone()
    }
    fn read(bytes: &Bytes) -> Result<Self, Problem> {
        Ok(Self(bytes.clone()))
    }
}

impl<T: Into<Bytes>> From<T> for Octets {
    fn from(bytes: T) -> Self {
        Self(bytes.into())
    }
}

/// A configuration's text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Toml(pub String);

impl Payload for Toml {
    const MEDIA: &'static [&'static str] = &["application/toml", "text/plain"];
    fn schema() -> RefOr<Schema> {
        plain(Type::String).into()
    }
    fn write(&self) -> Bytes {
        self.0.clone().into()
    }
    fn read(bytes: &Bytes) -> Result<Self, Problem> {
        let text = String::from_utf8(bytes.to_vec());
        text.map(Self).map_err(|error| bad(format!("the body is no text: {error}")))
    }
}

/// A value in JSON.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Json<T>(pub T);

impl<T: Serialize + DeserializeOwned + ToSchema> Payload for Json<T> {
    const MEDIA: &'static [&'static str] = &["application/json"];
    fn schema() -> RefOr<Schema> {
        utoipa::openapi::Ref::from_schema_name(T::name()).into()
    }
    fn schemas() -> Vec<(String, RefOr<Schema>)> {
        crate::reply::schemas_of::<T>()
    }
    fn write(&self) -> Bytes {
        serde_json::to_vec(&self.0).unwrap_or_default().into()
    }
    fn read(bytes: &Bytes) -> Result<Self, Problem> {
        let strict = serde_json::from_slice::<Strict>(bytes);
        let value = strict.and_then(|strict| serde_json::from_value(strict.0));
        value.map(Self).map_err(|error| bad(format!("the body: {error}")))
    }
}

macro_rules! take {
    (path $parts:ident, $field:ident : $type:ty) => {
        $parts.take_path::<$type>(stringify!($field))?
    };
    (query $parts:ident, $field:ident : $type:ty) => {
        $parts.take_query::<$type>(stringify!($field))?
    };
    (header $parts:ident, $field:ident : $type:ty) => {
        $parts.take_header::<$type>(stringify!($field))?
    };
    (body $parts:ident, $field:ident : $type:ty) => {
        $parts.take_body::<$type>()?
    };
}

macro_rules! write {
    (path $parts:ident, $field:ident) => {
        $parts.write_path(stringify!($field), $field)
    };
    (query $parts:ident, $field:ident) => {
        $parts.write_query(stringify!($field), $field)
    };
    (header $parts:ident, $field:ident) => {
        $parts.write_header(stringify!($field), $field)
    };
    (body $parts:ident, $field:ident) => {
        $parts.write_body(stringify!($field), $field)
    };
}

macro_rules! column {
    (body $field:ident : $type:ty) => {
        Column {
            name: stringify!($field),
            place: field::Place::Body,
            required: true,
            media: <$type as field::Payload>::MEDIA,
            schema: <$type as field::Payload>::schema,
            schemas: <$type as field::Payload>::schemas,
        }
    };
    (path $field:ident : $type:ty) => { column!(@ Path $field : $type) };
    (query $field:ident : $type:ty) => { column!(@ Query $field : $type) };
    (header $field:ident : $type:ty) => { column!(@ Header $field : $type) };
    (@ $place:ident $field:ident : $type:ty) => {
        Column {
            name: stringify!($field),
            place: field::Place::$place,
            required: <$type as field::Parameter>::REQUIRED,
            media: &[],
            schema: <$type as field::Parameter>::schema,
            schemas: Vec::new,
        }
    };
}

pub(super) use {column, take, write};
