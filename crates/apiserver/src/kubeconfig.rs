//! The kubeconfig with which an administrator on this machine reaches the server by kubectl and by `groma`.
//!
//! It holds the authority's certificate and a client certificate, so one file is enough and may be copied. It is
//! written at each start, because the address may have changed; who else needs access gets a certificate of their own.

use std::path::Path;

use api::{Error, ErrorKind, Result};
use k8s_openapi::ByteString;
use serde_json::{Value, json};

use crate::private_file::{self, PRIVATE};
use crate::tls::Credentials;

/// Name of the cluster, the user and the context in the file.
const NAME: &str = "groma";

/// Writes the kubeconfig with mode 0600, in one step.
///
/// # Errors
/// When the file cannot be written.
pub fn write(path: &Path, server: &str, authority: &str, credentials: &Credentials) -> Result<()> {
    let text = format!("{:#}\n", document(server, authority, credentials));
    private_file::replace(path, text.as_bytes(), PRIVATE).map_err(|error| {
        Error::caused(
            ErrorKind::Internal,
            format!("cannot write {}", path.display()),
            error,
        )
    })
}

/// The kubeconfig as a document. JSON is YAML, and every client reads it.
#[must_use]
pub fn document(server: &str, authority: &str, credentials: &Credentials) -> Value {
    let data =
        |pem: &str| serde_json::to_value(ByteString(pem.into())).expect("base64 is a string");
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": NAME,
        "clusters": [{"name": NAME, "cluster": {
            "server": server,
            "certificate-authority-data": data(authority),
        }}],
        "users": [{"name": NAME, "user": {
            "client-certificate-data": data(&credentials.certificate),
            "client-key-data": data(&credentials.key),
        }}],
        "contexts": [{"name": NAME, "context": {"cluster": NAME, "user": NAME, "namespace": "default"}}],
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn is_read_by_a_client_and_by_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kubeconfig");
        let credentials = Credentials {
            certificate: "certificate".to_owned(),
            key: "key".to_owned(),
        };
        write(&path, "https://old:1", "authority", &credentials).unwrap();
        write(&path, "https://127.0.0.1:6443", "authority", &credentials).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let read: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(
            read["clusters"][0]["cluster"]["server"],
            "https://127.0.0.1:6443"
        );
        assert_eq!(
            read["clusters"][0]["cluster"]["certificate-authority-data"],
            "YXV0aG9yaXR5"
        );
        assert_eq!(read["users"][0]["user"]["client-key-data"], "a2V5");
    }
}
