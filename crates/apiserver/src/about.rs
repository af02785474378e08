//! What a request is about, as its method and path alone say.
//!
//! The same for what is served and for what is not, because whoever records requests records the refused ones, too. The
//! words are those of Kubernetes' `RequestInfo`. Whether such a thing is served, [`crate::request`] knows.

use http::Method;
use http::request::Parts;

/// What a request is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct About<'r> {
    /// As in RBAC rules; of what is no resource, the method in small letters.
    pub(crate) verb: &'static str,
    /// The path, if it is that of no resource.
    pub(crate) path: &'r str,
    pub(crate) group: &'r str,
    pub(crate) version: &'r str,
    /// Empty for paths that are about no resource.
    pub(crate) resource: &'r str,
    pub(crate) subresource: &'r str,
    pub(crate) namespace: &'r str,
    pub(crate) name: &'r str,
}

impl<'r> About<'r> {
    /// Reads method, path and query.
    pub(crate) fn of(head: &'r Parts) -> Self {
        let path = head.uri.path();
        Self::resource(path).map_or_else(
            || Self {
                verb: method(&head.method),
                path,
                ..Self::default()
            },
            |about| Self {
                verb: about.verb_of(&head.method, head.uri.query().unwrap_or_default()),
                ..about
            },
        )
    }

    /// Whether something is changed, as far as the verb says.
    pub(crate) fn writes(&self) -> bool {
        !matches!(self.verb, "get" | "list" | "watch" | "head" | "options")
    }

    fn resource(path: &'r str) -> Option<Self> {
        let mut parts = path.trim_matches('/').split('/');
        let group = match parts.next()? {
            "api" => "",
            "apis" => parts.next()?,
            _ => return None,
        };
        let version = parts.next()?;
        let mut about = Self {
            group,
            version,
            resource: parts.next()?,
            name: parts.next().unwrap_or_default(),
            subresource: parts.next().unwrap_or_default(),
            ..Self::default()
        };
        if about.resource == "namespaces" {
            about.namespace = about.name;
            // `namespaces/{name}/status` is about the namespace itself.
            if !matches!(about.subresource, "" | "status" | "finalize") {
                about.resource = about.subresource;
                about.name = parts.next().unwrap_or_default();
                about.subresource = parts.next().unwrap_or_default();
            }
        }
        Some(about)
    }

    fn verb_of(&self, method: &Method, query: &str) -> &'static str {
        match (method.as_str(), self.name.is_empty()) {
            ("GET" | "HEAD", true) if follows(query) => "watch",
            ("GET" | "HEAD", true) => "list",
            ("GET" | "HEAD", false) => "get",
            ("POST", _) => "create",
            ("PUT", _) => "update",
            ("PATCH", _) => "patch",
            ("DELETE", true) => "deletecollection",
            ("DELETE", false) => "delete",
            _ => "",
        }
    }
}

fn follows(query: &str) -> bool {
    let asked = query.split('&').find_map(|part| part.strip_prefix("watch"));
    asked.is_some_and(|value| matches!(value, "" | "=" | "=1" | "=true" | "=True" | "=TRUE"))
}

/// Clients may make methods up; those all have one name.
fn method(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "get",
        "HEAD" => "head",
        "POST" => "post",
        "PUT" => "put",
        "PATCH" => "patch",
        "DELETE" => "delete",
        "OPTIONS" => "options",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: &str, uri: &str, expected: [&str; 6]) {
        let request = http::Request::builder().method(method).uri(uri);
        let (head, ()) = request.body(()).unwrap().into_parts();
        let about = About::of(&head);
        let found = [
            about.verb,
            about.group,
            about.resource,
            about.subresource,
            about.namespace,
            about.name,
        ];
        assert_eq!(found, expected, "{method} {uri}");
    }

    #[test]
    fn paths_say_what_they_are_about() {
        check("GET", "/api/v1/nodes", ["list", "", "nodes", "", "", ""]);
        check(
            "GET",
            "/api/v1/pods?watch=1",
            ["watch", "", "pods", "", "", ""],
        );
        check("HEAD", "/api/v1/nodes/a", ["get", "", "nodes", "", "", "a"]);
        check(
            "PATCH",
            "/apis/groma.dev/v1alpha1/namespaces/lab/services/web/status",
            ["patch", "groma.dev", "services", "status", "lab", "web"],
        );
        check(
            "PUT",
            "/api/v1/namespaces/lab/finalize",
            ["update", "", "namespaces", "finalize", "lab", "lab"],
        );
        check(
            "DELETE",
            "/api/v1/namespaces/lab/secrets",
            ["deletecollection", "", "secrets", "", "lab", ""],
        );
        check(
            "POST",
            "/apis/groma.dev/v1alpha1/hosts/mad-1/proxy/a/b",
            ["create", "groma.dev", "hosts", "proxy", "", "mad-1"],
        );
        for path in ["/", "/api", "/apis/apps/v1", "/metrics", "/api/v1"] {
            check("GET", path, ["get", "", "", "", "", ""]);
        }
        check("BREW", "/pot", ["unknown", "", "", "", "", ""]);
    }
}
