//! What to run and how: artefacts, process settings, probes and ports. Part of `Workload` and of `Instance`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::quantity::Quantity;
use crate::units::Seconds;

/// Signals that mean something to a program which handles them, and those that end it.
pub const SIGNAL: &str =
    "^SIG(HUP|INT|QUIT|ABRT|KILL|USR1|USR2|PIPE|ALRM|TERM|CONT|URG|WINCH|PWR)$";

/// One part of an absolute path: not empty, not `.`, not `..`.
pub(super) const PATH_PART: &str = r"/([^/.\x00][^/\x00]*|\.[^/.\x00][^/\x00]*|\.\.[^/\x00]+)";

/// What the system can hand to a program.
const ARGUMENT: &str = r"^[^\x00]*$";

/// Something that can be run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Artefact {
    /// What it is.
    pub form: ArtefactForm,
    /// Where it comes from. `layout:NAME[@DIGEST]` is an OCI image layout in the image folder of the host's agent.
    #[schemars(regex(
        pattern = r"^layout:[a-z0-9]([-a-z0-9._]*[a-z0-9])?(@sha256:[0-9a-f]{64})?$"
    ))]
    pub image: String,
    /// The architecture it runs on, as OCI names it; any when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
}

/// The form of an artefact.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum ArtefactForm {
    /// An OCI image.
    Container,
}

/// How an artefact is run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Execution {
    /// The program; the image's own when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(regex(pattern = ARGUMENT)))]
    pub command: Vec<String>,
    /// Its arguments; the image's own when empty and `command` is empty too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(regex(pattern = ARGUMENT)))]
    pub arguments: Vec<String>,
    /// Linux capabilities that it keeps (`CAP_NET_ADMIN`); all others are dropped. Only `CAP_NET_ADMIN`, `CAP_NET_RAW`,
    /// `CAP_NET_BIND_SERVICE`, `CAP_CHOWN`, `CAP_SETUID`, `CAP_SETGID`, `CAP_KILL` and `CAP_DAC_OVERRIDE` are allowed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(regex(
        pattern = r"^CAP_(NET_ADMIN|NET_RAW|NET_BIND_SERVICE|CHOWN|SETUID|SETGID|KILL|DAC_OVERRIDE)$"
    )))]
    pub capabilities: Vec<String>,
    /// Paths that can be written; everything else is read-only. Their content is lost at a restart.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["path"]))]
    pub writable: Vec<WritablePath>,
    /// Whether it may receive traffic. Without it, a running instance is ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readiness: Option<Probe>,
    /// Whether it still works. One that fails is restarted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub liveness: Option<Probe>,
    /// How it is asked to end.
    #[serde(default)]
    pub stop: Stop,
}

/// A path that can be written: a tmpfs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WritablePath {
    /// Where it is: absolute, without `.`, `..` or empty parts.
    #[schemars(regex(pattern = format!("^({PATH_PART})+$")))]
    pub path: String,
    /// The most bytes it takes.
    pub size: Quantity,
}

/// A check made from the host, again and again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Probe {
    /// What is done.
    pub action: ProbeAction,
    /// The time between two checks.
    #[serde(default = "period")]
    #[schemars(range(min = 1, max = 3600))]
    pub period_seconds: Seconds,
    /// The time after which a check has failed.
    #[serde(default = "timeout")]
    #[schemars(range(min = 1, max = 60))]
    pub timeout_seconds: Seconds,
    /// How many checks in a row must fail before it counts.
    #[serde(default = "threshold")]
    #[schemars(range(min = 1, max = 100))]
    pub failure_threshold: u32,
}

fn period() -> Seconds {
    Seconds(2)
}

fn timeout() -> Seconds {
    Seconds(1)
}

fn threshold() -> u32 {
    3
}

/// What a check does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ProbeAction {
    /// A connection must be accepted.
    #[serde(rename_all = "camelCase")]
    Tcp {
        /// The port.
        port: u16,
    },
    /// A GET must be answered with a code from 200 to 399.
    #[serde(rename_all = "camelCase")]
    Http {
        /// The port.
        port: u16,
        /// The path.
        path: String,
    },
    /// A program must end with status 0.
    #[serde(rename_all = "camelCase")]
    Exec {
        /// The program and its arguments.
        #[schemars(inner(regex(pattern = ARGUMENT)))]
        command: Vec<String>,
    },
}

/// How an instance is asked to end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Stop {
    /// The signal; the image's own, or SIGTERM, when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = SIGNAL))]
    pub signal: Option<String>,
    /// After this time it is killed.
    #[serde(default = "grace")]
    #[schemars(range(min = 0, max = 3600))]
    pub grace_seconds: Seconds,
}

fn grace() -> Seconds {
    Seconds(10)
}

impl Default for Stop {
    fn default() -> Self {
        Self {
            signal: None,
            grace_seconds: grace(),
        }
    }
}

/// A port at which a workload serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Port {
    /// Its name.
    #[schemars(regex(pattern = r"^[a-z]([-a-z0-9]{0,13}[a-z0-9])?$"))]
    pub name: String,
    /// Its number.
    #[schemars(range(min = 1))]
    pub port: u16,
    /// Its protocol.
    #[serde(default)]
    pub protocol: Protocol,
}

/// A transport protocol.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum Protocol {
    /// Transmission Control Protocol.
    #[default]
    Tcp,
    /// User Datagram Protocol.
    Udp,
}
