//! Files and environment of a workload, where their values come from, and how a change is applied.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::wdm::execution::{PATH_PART, SIGNAL};

/// Files and environment, and how a change reaches a running instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Configuration {
    /// Environment variables. A change of these always restarts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub environment: Vec<EnvVar>,
    /// Files; read-only for the workload.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["path"]))]
    pub files: Vec<ConfigFile>,
    /// What is done after the files have changed.
    #[serde(default)]
    pub on_change: OnChange,
}

/// One environment variable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnvVar {
    /// Its name.
    #[schemars(regex(pattern = r"^[A-Za-z_][A-Za-z0-9_]*$"))]
    pub name: String,
    /// Its value.
    pub value: Value,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigFile {
    /// Where it appears: absolute, in a folder other than `/`, without `.`, `..` or empty parts. Its folder holds
    /// configuration files only.
    #[schemars(regex(pattern = format!("^({PATH_PART}){{2,}}$")))]
    pub path: String,
    /// Its content.
    pub content: Value,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Value {
    /// It is written here.
    #[serde(rename_all = "camelCase")]
    Literal {
        /// The value.
        value: String,
    },
    /// A key of a ConfigMap of the same namespace.
    #[serde(rename_all = "camelCase")]
    ConfigMap(KeySelector),
    /// A key of a Secret of the same namespace. Only the agent of the host that runs the instance reads it.
    #[serde(rename_all = "camelCase")]
    Secret(KeySelector),
    /// What is known only once it is placed.
    #[serde(rename_all = "camelCase")]
    Fact {
        /// Which.
        fact: PlacementFact,
    },
}

/// A key of a ConfigMap or Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeySelector {
    /// The object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key in it.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// What is known of an instance once it is placed.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum PlacementFact {
    /// The instance's name.
    Instance,
    /// The host it runs on.
    Host,
    /// The site of that host.
    Site,
    /// The site's region.
    Region,
    /// The site's country.
    Country,
    /// The site's provider.
    Provider,
    /// The service address that it carries.
    Address,
}

/// What is done after files have changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OnChange {
    /// The instance is started anew.
    #[serde(rename_all = "camelCase")]
    Restart {},
    /// A signal is sent. It is refused when the instance ends or is not ready again in time.
    #[serde(rename_all = "camelCase")]
    Signal {
        /// The signal, for example `SIGHUP`.
        #[schemars(regex(pattern = SIGNAL))]
        signal: String,
    },
    /// A POST is sent. It is refused when the answer is no 2xx, or the instance ends or is not ready again in time.
    #[serde(rename_all = "camelCase")]
    Http {
        /// The port.
        port: u16,
        /// The path.
        path: String,
    },
}

impl Default for OnChange {
    fn default() -> Self {
        Self::Restart {}
    }
}
