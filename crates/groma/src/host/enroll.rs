//! Credentials of a host's agent that are made here and carried to it: an administrator asks for its certificate and
//! approves it.

use std::path::Path;

use anyhow::Context;
use apiserver::tls;
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestCondition,
};
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt};

use crate::certificate;

/// Writes the credentials of a host's agent to a file: for the server at that address, whose authority's certificate that is.
pub async fn enroll(
    client: &Client,
    host: &str,
    (url, authority): (&str, &str),
    output: &Path,
) -> anyhow::Result<()> {
    let key = tls::new_key()?;
    let asked = certificate::ask(client, host, &key).await?;
    let certificate = match certificate::of(&asked) {
        Some(certificate) => certificate?,
        None => approve(client, asked)
            .await
            .with_context(|| format!("cannot approve the certificate of host {host}"))?,
    };
    if let Some(folder) = output.parent() {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let credentials = tls::Credentials { certificate, key };
    apiserver::kubeconfig::write(output, url, authority, &credentials)?;
    Ok(())
}

async fn approve(client: &Client, mut asked: CertificateSigningRequest) -> anyhow::Result<String> {
    let requests: Api<CertificateSigningRequest> = Api::all(client.clone());
    let condition = CertificateSigningRequestCondition {
        type_: "Approved".to_owned(),
        status: "True".to_owned(),
        reason: Some("Enrolled".to_owned()),
        message: Some("by groma host enroll".to_owned()),
        ..CertificateSigningRequestCondition::default()
    };
    asked.status.get_or_insert_default().conditions = Some(vec![condition]);
    let params = PostParams::default();
    let approved = requests
        .replace_subresource("approval", &asked.name_any(), &params, &asked)
        .await?;
    certificate::of(&approved).context("the server signs no certificates of hosts")?
}
