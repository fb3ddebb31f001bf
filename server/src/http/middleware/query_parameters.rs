//! Rejection of unknown query parameters: a misspelt filter must not be ignored.

use axum::extract::{MatchedPath, Request};
use axum::http::Method;
use domain::Problem;
use domain::problem::Validator;
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};
use url::form_urlencoded;

/// The query parameters of each operation, by method and path.
#[derive(Default)]
pub struct QueryParameters(HashMap<(String, String), BTreeSet<String>>);

impl QueryParameters {
    /// Reads the parameters from the OpenAPI document, which the routes generate.
    pub fn documented(openapi: &Value) -> Self {
        let mut known = HashMap::new();
        for (path, item) in openapi["paths"].as_object().into_iter().flatten() {
            for (method, operation) in item.as_object().into_iter().flatten() {
                let parameters = operation["parameters"].as_array().into_iter().flatten();
                let in_query = parameters.filter(|parameter| parameter["in"] == "query");
                let names = in_query.filter_map(|parameter| parameter["name"].as_str().map(str::to_owned)).collect();
                known.insert((method.to_uppercase(), path.clone()), names);
            }
        }
        Self(known)
    }

    /// Checks the query of a request.
    ///
    /// # Errors
    /// 422 naming every unknown parameter.
    pub fn check_request(&self, request: &Request) -> Result<(), Problem> {
        let Some(query) = request.uri().query().filter(|query| !query.is_empty()) else { return Ok(()) };
        let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str).unwrap_or_default();
        self.check(request.method(), path, query)
    }

    /// Checks a query. Operations that the document does not contain accept every parameter.
    ///
    /// # Errors
    /// 422 naming every unknown parameter.
    fn check(&self, method: &Method, path: &str, query: &str) -> Result<(), Problem> {
        // axum answers HEAD with the handler of GET.
        let method = if *method == Method::HEAD { "GET" } else { method.as_str() };
        let Some(known) = self.0.get(&(method.to_owned(), path.to_owned())) else { return Ok(()) };
        let remedy = match known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().as_slice() {
            [] => "This operation has none.".to_owned(),
            [one] => format!("Use {one}."),
            many => format!("Use one of {}.", many.join(", ")),
        };
        let sent: BTreeSet<_> = form_urlencoded::parse(query.as_bytes()).map(|(name, _)| name).collect();
        let mut validator = Validator::new();
        for name in sent.iter().filter(|name| !known.contains(&***name)) {
            let name = if name.is_empty() { "query" } else { &**name };
            validator.error(name, format!("Unknown query parameter. {remedy}"));
        }
        validator.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn unknown_query_parameters_are_named() {
        let parameter = |name: &str, place: &str| json!({"name": name, "in": place});
        let known = QueryParameters::documented(&json!({"paths": {"/list": {
            "get": {"parameters": [parameter("limit", "query"), parameter("cursor", "query"), parameter("id", "path")]},
            "post": {},
        }}}));
        let fields = |method: Method, query: &str| -> Vec<String> {
            let result = known.check(&method, "/list", query);
            result.err().into_iter().flat_map(|problem| problem.errors).map(|error| error.field).collect()
        };
        for query in ["", "limit=5", "cursor=x&limit=5&", "limit="] {
            assert_eq!(fields(Method::GET, query), [""; 0], "{query}");
        }
        assert_eq!(fields(Method::GET, "limt=5"), ["limt"]);
        assert_eq!(fields(Method::HEAD, "limt=5&limit=5"), ["limt"]);
        assert_eq!(fields(Method::GET, "id=1&b=&=x"), ["query", "b", "id"]);
        assert_eq!(fields(Method::POST, "limit=5"), ["limit"]);
        assert_eq!(fields(Method::PUT, "limit=5"), [""; 0], "the response is 405");
        let problem = known.check(&Method::GET, "/list", "limt=5").unwrap_err();
        assert_eq!(problem.detail, "limt: Unknown query parameter. Use one of `cursor`, `limit`.");
    }
}
