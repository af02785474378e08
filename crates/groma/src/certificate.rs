//! Asking for the certificate of a host, by whoever may.

use anyhow::Context;
use apiserver::{HOST_SIGNER, HOSTS_GROUP, Identity, tls};
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestSpec,
};
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};

/// Asks for a certificate of that host for the holder of a key.
pub async fn ask(
    client: &Client,
    host: &str,
    key: &str,
) -> anyhow::Result<CertificateSigningRequest> {
    let request = tls::ask(key, &Identity::host(host).name, HOSTS_GROUP)?;
    let asked = CertificateSigningRequest {
        metadata: ObjectMeta {
            generate_name: Some(format!("host-{host}-")),
            ..ObjectMeta::default()
        },
        spec: CertificateSigningRequestSpec {
            request: ByteString(request.into_bytes()),
            signer_name: HOST_SIGNER.to_owned(),
            usages: Some(vec![
                "digital signature".to_owned(),
                "client auth".to_owned(),
            ]),
            ..CertificateSigningRequestSpec::default()
        },
        status: None,
    };
    let requests: Api<CertificateSigningRequest> = Api::all(client.clone());
    let asked = requests.create(&PostParams::default(), &asked).await;
    asked.with_context(|| format!("cannot ask for the certificate of host {host}"))
}

/// The certificate in PEM, if one was signed.
pub fn of(asked: &CertificateSigningRequest) -> Option<anyhow::Result<String>> {
    let ByteString(pem) = asked.status.as_ref()?.certificate.clone()?;
    Some(String::from_utf8(pem).context("the certificate is no PEM"))
}
