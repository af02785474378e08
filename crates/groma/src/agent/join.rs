//! Joining: the agent finds the server by the hash of its authority's key, and asks for a certificate with a token.
//!
//! The key is made first and kept until the credentials are written, so that an agent which is killed in between can ask
//! again with the same token. Who has credentials that the server takes, or might, does not join again.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use apiserver::tls;
use apiserver::tls::client::pinned_authority;
use clap::Args;
use http::StatusCode;
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::json;

use super::credentials::client;
use crate::certificate;
use crate::credentials::{Credentials, address};

/// Where the key is until there is a certificate for it.
const KEY_FILE: &str = "joining.key";

/// How a host joins.
#[derive(Debug, Args)]
pub struct Join {
    /// Join this server, unless it takes the credentials that are there already; `groma host token create` prints how
    #[arg(long, value_name = "URL", requires_all = ["token", "ca_cert_hash"])]
    join: Option<String>,
    /// The token to join by
    #[arg(
        long,
        value_name = "ID.SECRET",
        env = "GROMA_TOKEN",
        hide_env_values = true,
        requires = "join"
    )]
    token: Option<String>,
    /// The hash of the public key of the server's authority
    #[arg(long, value_name = "sha256:HASH", requires = "join")]
    ca_cert_hash: Option<String>,
}

impl Join {
    /// Makes sure that there are credentials, as far as it was told how.
    pub async fn join(&self, host: &str, state: &Path, kubeconfig: &Path) -> anyhow::Result<()> {
        let (Some(url), Some(token), Some(hash)) = (&self.join, &self.token, &self.ca_cert_hash)
        else {
            if !kubeconfig.exists() {
                let path = kubeconfig.display();
                bail!(
                    "there are no credentials in {path}: join by `--join`, or give `--kubeconfig`"
                );
            }
            return Ok(());
        };
        if may_work(kubeconfig).await {
            return Ok(());
        }
        let what = || format!("host {host} cannot join {url}");
        let (name, port) = address(url)?;
        let authority = pinned_authority(&name, port, hash)
            .await
            .with_context(what)?;
        let bearer = bearer(url, &authority, token).await.with_context(what)?;
        let key_path = key_path(state);
        let key = tls::key_in(&key_path).with_context(what)?;
        let asked = certificate::ask(&bearer, host, &key)
            .await
            .with_context(what)?;
        let certificate = certificate::of(&asked)
            .context("it was not signed")
            .with_context(what)??;
        let own = tls::Credentials { certificate, key };
        apiserver::kubeconfig::write(kubeconfig, url, &authority, &own)?;
        // One that is left over is used for nothing but another try.
        let _ = fs::remove_file(key_path);
        tracing::info!(host, url, "joined");
        Ok(())
    }
}

fn key_path(state: &Path) -> PathBuf {
    state.join(KEY_FILE)
}

/// Whether there are credentials that the server does not refuse. While it does not answer, they may be good.
async fn may_work(kubeconfig: &Path) -> bool {
    let Ok(text) = fs::read_to_string(kubeconfig) else {
        return false;
    };
    let Ok(credentials) = Credentials::parse(&text) else {
        return false;
    };
    let ends = credentials.subject().map(|subject| subject.validity.ends);
    let has_ended = ends.is_some_and(|ends| ends < Timestamp::now());
    match client(&text).await {
        Ok(client) if !has_ended => !is_refused(&client).await,
        _ => false,
    }
}

async fn is_refused(client: &Client) -> bool {
    let reviews: Api<SelfSubjectReview> = Api::all(client.clone());
    let asked = reviews
        .create(&PostParams::default(), &SelfSubjectReview::default())
        .await;
    let refused = StatusCode::UNAUTHORIZED.as_u16();
    matches!(asked, Err(kube::Error::Api(status)) if status.code == refused)
}

/// Who shows the token.
async fn bearer(url: &str, authority: &str, token: &str) -> anyhow::Result<Client> {
    let nobody = tls::Credentials {
        certificate: String::new(),
        key: String::new(),
    };
    let mut document = apiserver::kubeconfig::document(url, authority, &nobody);
    document["users"][0]["user"] = json!({"token": token});
    client(&document.to_string()).await
}
