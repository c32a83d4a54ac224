//! The table of actions as OpenAPI 3.1.
//!
//! `openapi.json` beside the sources is the same, committed; a test compares. `WEIR_UPDATE=1 cargo test -p
//! weir-control` writes it anew.

use std::collections::BTreeMap;

use utoipa::openapi::path::{
    HttpMethod, Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn, ParameterStyle,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, InfoBuilder, OpenApi, OpenApiBuilder, Paths, Ref, RefOr, Required,
    Response, ResponseBuilder, Schema,
};

use crate::action::field::{Column, Place, meaning};
use crate::action::{Kind, Row};
use crate::problem::Problem;
use crate::reply::schemas_of;

/// What OpenAPI calls a problem's media type.
const PROBLEM: &str = "application/problem+json";

/// The whole description.
pub fn description() -> OpenApi {
    let rows = || Kind::ALL.iter().map(|kind| kind.row());
    let mut paths = Paths::new();
    for row in rows() {
        paths.add_path_operation(row.path, vec![method(row)], operation(row));
    }
    let info = InfoBuilder::new()
        .title("weir")
        .version("v1")
        .description(Some("The control socket of a running weir: HTTP/1.1 and JSON over a Unix socket."))
        .license(Some(utoipa::openapi::License::new(env!("CARGO_PKG_LICENSE"))))
        .build();
    let components = ComponentsBuilder::new().schemas_from_iter(schemas()).build();
    OpenApiBuilder::new().info(info).paths(paths).components(Some(components)).build()
}

/// The description as it is served and committed.
pub fn text() -> String {
    serde_json::to_string_pretty(&description()).unwrap_or_default() + "\n"
}

/// Every schema that anything refers to, each once.
fn schemas() -> BTreeMap<String, RefOr<Schema>> {
    let mut schemas: BTreeMap<_, _> = schemas_of::<Problem>().into_iter().collect();
    for row in Kind::ALL.iter().map(|kind| kind.row()) {
        schemas.extend((row.answer.schemas)());
        schemas.extend(row.fields.iter().flat_map(|field| (field.schemas)()));
    }
    schemas
}

fn method(row: &Row) -> HttpMethod {
    match row.method.as_str() {
        "PUT" => HttpMethod::Put,
        "POST" => HttpMethod::Post,
        "DELETE" => HttpMethod::Delete,
        _ => HttpMethod::Get,
    }
}

fn operation(row: &Row) -> Operation {
    let mut operation = OperationBuilder::new()
        .operation_id(Some(row.name))
        .tag(tag(row))
        .summary(Some(row.summary))
        .description(Some(limits(row)))
        .response("default", problem());
    for status in row.kind.statuses() {
        operation = operation.response(status.as_str(), success(row));
    }
    for field in row.fields {
        operation = match field.place {
            Place::Body => operation.request_body(Some(body(field))),
            Place::Path | Place::Query | Place::Header => operation.parameter(parameter(field)),
        };
    }
    operation.build()
}

/// The noun of a path: `programs`, `maps` …
fn tag(row: &Row) -> &'static str {
    row.path.trim_start_matches("/v1").trim_start_matches('/').split('/').next().unwrap_or_default()
}

fn limits(row: &Row) -> String {
    let body = match row.body_max {
        0 => String::new(),
        most => format!(" The body has at most {} KiB.", most >> 10),
    };
    let begins = if row.answer.content.is_stream() { "begins" } else { "comes" };
    format!(
        "For the role `{}`. The answer {begins} within {} s.{body}",
        row.role.name(),
        row.deadline.as_secs()
    )
}

fn success(row: &Row) -> Response {
    let content = ContentBuilder::new().schema(Some((row.answer.schema)())).build();
    ResponseBuilder::new().description("Done").content(row.answer.content.media(), content).build()
}

fn problem() -> Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    ResponseBuilder::new().description("Not done, and why").content(PROBLEM, content).build()
}

fn body(field: &Column) -> utoipa::openapi::request_body::RequestBody {
    let content = || ContentBuilder::new().schema(Some((field.schema)())).build();
    let body =
        RequestBodyBuilder::new().description(Some(meaning(field.name))).required(Some(Required::True));
    field.media.iter().fold(body, |body, media| body.content(*media, content())).build()
}

fn parameter(field: &Column) -> Parameter {
    let (name, place) = match field.place {
        Place::Path => (field.name, ParameterIn::Path),
        Place::Header => ("If-Match", ParameterIn::Header),
        Place::Query | Place::Body => (field.name, ParameterIn::Query),
    };
    let required = if field.required { Required::True } else { Required::False };
    let schema = (field.schema)();
    let list = matches!(schema, RefOr::T(Schema::Array(_)));
    let parameter = ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(required)
        .description(Some(meaning(field.name)))
        .schema(Some(schema));
    // Names between commas.
    if list {
        parameter.style(Some(ParameterStyle::Form)).explode(Some(false)).build()
    } else {
        parameter.build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_description_is_this_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
        if std::env::var_os("WEIR_UPDATE").is_some() {
            std::fs::write(path, text()).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(committed == text(), "openapi.json is old: WEIR_UPDATE=1 cargo test -p weir-control");
    }

    #[test]
    fn the_page_lists_every_action() {
        let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/API.md")).unwrap();
        for row in Kind::ALL.iter().map(|kind| kind.row()) {
            let line = format!("| `{} {}` | {} | {} |", row.method, row.path, row.role.name(), row.summary);
            assert!(page.lines().any(|other| other == line), "API.md lacks: {line}");
        }
    }

    #[test]
    fn every_row_is_described_and_every_reference_leads_somewhere() {
        let value: serde_json::Value = serde_json::from_str(&text()).unwrap();
        assert!(
            value["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")),
            "{}",
            value["openapi"]
        );
        for row in Kind::ALL.iter().map(|kind| kind.row()) {
            let operation = &value["paths"][row.path][row.method.as_str().to_lowercase()];
            assert_eq!(operation["operationId"], row.name);
            let parameters = operation["parameters"].as_array().map_or(0, Vec::len);
            let wanted = row.fields.iter().filter(|field| field.place != Place::Body).count();
            assert_eq!(parameters, wanted, "{}", row.name);
        }
        let text = text();
        for reference in text.split("\"#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap_or_default();
            assert!(value["components"]["schemas"].get(name).is_some(), "{name} is described nowhere");
        }
    }
}
