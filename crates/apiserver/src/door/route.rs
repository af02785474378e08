//! Which paths go through doors.

use http::Method;

use crate::failure::Failure;

/// Everything that this module answers for begins so.
const ROOT: &str = "/apis/groma.dev/v1alpha1/";

/// What a path is about.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route<'a> {
    /// `hosts/NAME/door`
    Door { host: &'a str },
    /// `hosts/NAME/proxy/…`: the rest goes to the agent as it is.
    Proxy { host: &'a str, rest: &'a str },
    /// `namespaces/NS/instances/NAME/log` and `…/exec`
    Instance {
        namespace: &'a str,
        name: &'a str,
        verb: Verb,
    },
}

/// What is done with an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Log,
    Exec,
}

impl<'a> Route<'a> {
    /// `None` for every path that the server itself answers.
    pub(super) fn of(path: &'a str) -> Option<Self> {
        let path = path.strip_prefix(ROOT)?;
        let mut parts = path.splitn(5, '/');
        let parts = [(); 5].map(|()| parts.next());
        match parts {
            [Some("hosts"), Some(host), Some("door"), None, None] => Some(Self::Door { host }),
            [Some("hosts"), Some(host), Some("proxy"), ..] => {
                let rest = path
                    .strip_prefix("hosts/")?
                    .strip_prefix(host)?
                    .strip_prefix("/proxy")?;
                Some(Self::Proxy {
                    host,
                    rest: if rest.is_empty() { "/" } else { rest },
                })
            }
            [
                Some("namespaces"),
                Some(namespace),
                Some("instances"),
                Some(name),
                Some(verb),
            ] => Some(Self::Instance {
                namespace,
                name,
                verb: Verb::of(verb)?,
            }),
            _ => None,
        }
    }
}

impl Route<'_> {
    /// The subresource that the path names.
    pub(super) fn part(&self) -> &'static str {
        match self {
            Self::Door { .. } => "door",
            Self::Proxy { .. } => "proxy",
            Self::Instance { verb, .. } => verb.name(),
        }
    }
}

impl Verb {
    fn of(text: &str) -> Option<Self> {
        match text {
            "log" => Some(Self::Log),
            "exec" => Some(Self::Exec),
            _ => None,
        }
    }

    /// As in paths.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Exec => "exec",
        }
    }

    /// Reading a log changes nothing, running a command may.
    pub(super) fn check(self, method: &Method) -> Result<(), Failure> {
        match (self, method.as_str()) {
            (Self::Log, "GET") | (Self::Exec, "POST") => Ok(()),
            _ => Err(Failure::method_not_allowed()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_their_own_paths_are_taken() {
        let root = "/apis/groma.dev/v1alpha1";
        let cases = [
            ("/hosts/mad-1/door", Some(Route::Door { host: "mad-1" })),
            (
                "/hosts/mad-1/proxy/a/b/c",
                Some(Route::Proxy {
                    host: "mad-1",
                    rest: "/a/b/c",
                }),
            ),
            (
                "/hosts/mad-1/proxy",
                Some(Route::Proxy {
                    host: "mad-1",
                    rest: "/",
                }),
            ),
            (
                "/namespaces/a/instances/b/log",
                Some(Route::Instance {
                    namespace: "a",
                    name: "b",
                    verb: Verb::Log,
                }),
            ),
            (
                "/namespaces/a/instances/b/exec",
                Some(Route::Instance {
                    namespace: "a",
                    name: "b",
                    verb: Verb::Exec,
                }),
            ),
            ("/namespaces/a/instances/b/status", None),
            ("/namespaces/a/instances/b/log/x", None),
            ("/namespaces/a/instances/b", None),
            ("/hosts/mad-1", None),
            ("/hosts/mad-1/status", None),
            ("/hosts/mad-1/door/x", None),
        ];
        for (path, expected) in cases {
            assert_eq!(Route::of(&format!("{root}{path}")), expected, "{path}");
        }
        assert_eq!(Route::of("/api/v1/namespaces"), None);
    }
}
