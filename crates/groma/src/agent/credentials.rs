//! The agent's credentials: a kubeconfig that is followed when it changes, and whose certificate is renewed before it ends.
//!
//! Whoever uses them goes on through a renewal: the client takes each request by the newest credentials, and what is
//! open goes on by the older ones until their end. The new key and its certificate are in the file, whole, before they
//! are used.

use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::{BuildHasher, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use apiserver::tls::{self, Subject};
use jiff::Timestamp;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::sync::watch;
use tokio::time::sleep;
use tower::service_fn;

use crate::certificate;
use crate::credentials::Credentials;

/// How often it is looked whether the file has changed, and whether the certificate is to be renewed.
const LOOK: Duration = Duration::from_secs(1);
/// How long after a failure a renewal is tried again, and the longest that it is after many.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);
/// Of a certificate's life, the percentage after which it is renewed, at least and at most: hosts that joined together do
/// not all come at once.
const RENEW_AFTER_PERCENT: (u64, u64) = (60, 72);

/// Credentials as they are now.
pub struct Current {
    /// What they are.
    pub credentials: Credentials,
    text: String,
    client: Client,
    /// When the certificate is to be renewed, and when it ends; `None` where there is none.
    times: Option<(Timestamp, Timestamp)>,
}

/// Credentials that are kept.
pub struct Kept {
    path: PathBuf,
    host: String,
    current: watch::Sender<Arc<Current>>,
}

impl Kept {
    /// Reads them.
    pub async fn open(path: &Path, host: &str) -> anyhow::Result<Self> {
        let current = Current::read(path).await?;
        Ok(Self {
            path: path.to_owned(),
            host: host.to_owned(),
            current: watch::Sender::new(Arc::new(current)),
        })
    }

    /// A client that always has the newest.
    pub fn client(&self) -> Client {
        let current = self.current.subscribe();
        let send = move |request| {
            let client = current.borrow().client.clone();
            async move { client.send(request).await }
        };
        Client::new(service_fn(send), "default")
    }

    /// Those that count, and when others take their place.
    pub fn current(&self) -> watch::Receiver<Arc<Current>> {
        self.current.subscribe()
    }

    /// Follows the file, and renews the certificate when it is time.
    pub async fn keep(&self) {
        let (mut pause, mut not_before) = (RETRY_MIN, Timestamp::MIN);
        loop {
            sleep(LOOK).await;
            self.follow().await;
            let (current, now) = (self.current.borrow().clone(), Timestamp::now());
            let Some((renew, ends)) = current.times else {
                continue;
            };
            if now < renew.max(not_before) {
                continue;
            }
            match self.renew(&current).await {
                Ok(()) => pause = RETRY_MIN,
                Err(error) => {
                    let error = format!("{error:#}");
                    match ends < now {
                        true => tracing::error!(
                            error,
                            %ends,
                            "the certificate has ended: join again with a new token"
                        ),
                        false => tracing::warn!(error, %ends, "the certificate is not renewed"),
                    }
                    not_before = now + pause;
                    pause = (pause * 2).min(RETRY_MAX);
                }
            }
        }
    }

    /// Takes what somebody else has put into the file.
    async fn follow(&self) {
        let text = fs::read_to_string(&self.path).unwrap_or_default();
        if text.is_empty() || text == self.current.borrow().text {
            return;
        }
        match Current::read(&self.path).await {
            Ok(current) => {
                tracing::info!("using new credentials");
                self.current.send_replace(Arc::new(current));
            }
            Err(error) => tracing::warn!(
                error = format!("{error:#}"),
                "credentials stay as they were"
            ),
        }
    }

    async fn renew(&self, current: &Current) -> anyhow::Result<()> {
        let key = tls::new_key()?;
        let asked = certificate::ask(&current.client, &self.host, &key).await?;
        let certificate =
            certificate::of(&asked).context("the server signs no certificates of hosts")??;
        let Credentials { url, authority, .. } = &current.credentials;
        let own = tls::Credentials { certificate, key };
        apiserver::kubeconfig::write(&self.path, url, authority, &own)?;
        let renewed = Current::read(&self.path).await?;
        tracing::info!(ends = ?renewed.times.map(|(_, ends)| ends), "renewed the certificate");
        self.current.send_replace(Arc::new(renewed));
        Ok(())
    }
}

impl Current {
    async fn read(path: &Path) -> anyhow::Result<Self> {
        let what = || format!("cannot use the credentials in {}", path.display());
        let text = fs::read_to_string(path).with_context(what)?;
        let credentials = Credentials::parse(&text).with_context(what)?;
        let written = fs::metadata(path).and_then(|it| it.modified());
        let written = Timestamp::try_from(written.with_context(what)?)?;
        let times = credentials.subject().map(|Subject { validity, .. }| {
            let begins = written.clamp(validity.begins, validity.ends);
            (renewal(begins, validity.ends, chance()), validity.ends)
        });
        Ok(Self {
            client: client(&text).await.with_context(what)?,
            credentials,
            text,
            times,
        })
    }
}

/// A client with the credentials in that text.
pub async fn client(text: &str) -> anyhow::Result<Client> {
    let kubeconfig = Kubeconfig::from_yaml(text)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

/// After about two thirds of the time.
fn renewal(begins: Timestamp, ends: Timestamp, chance: u64) -> Timestamp {
    let (least, most) = RENEW_AFTER_PERCENT;
    let percent = least + chance % (most - least);
    let life = Duration::try_from(ends.duration_since(begins)).unwrap_or_default();
    let after = life / 100 * u32::try_from(percent).unwrap_or_default();
    begins + after
}

fn chance() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_renewed_after_about_two_thirds_of_its_life() {
        let begins = Timestamp::UNIX_EPOCH;
        for chance in 0..200 {
            let renewed = renewal(begins, begins + Duration::from_secs(900), chance);
            assert!((540..648).contains(&renewed.as_second()), "{renewed}");
        }
    }
}
