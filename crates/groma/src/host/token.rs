//! `groma host token`: bootstrap tokens, each for one host.

use std::time::Duration;

use anyhow::Context;
use apiserver::bootstrap::{self, Token};
use apiserver::tls::client::pin;
use clap::Subcommand;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client};

use crate::credentials::Credentials;

/// Commands about tokens.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a token by which a host joins, and print what to run on it
    Create {
        /// The host; its Host object must exist before it joins
        host: String,
        /// How long the token holds, such as `30m`
        #[arg(long, default_value = "1h", value_parser = life)]
        ttl: Duration,
        /// The server as that host reaches it; as it is reached from here when not given
        #[arg(long, value_name = "URL")]
        server: Option<String>,
    },
    /// Show the tokens that there are, without their secrets
    List,
    /// Make a token useless
    Delete {
        /// Its id: what stands before the dot
        id: String,
    },
}

/// A time as `90s`, `30m` or `1h`.
pub fn life(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration = text
        .parse()
        .map_err(|error| format!("{error}; say for example 30m"))?;
    match Duration::try_from(span) {
        Ok(life) if !life.is_zero() => Ok(life),
        _ => Err("it must be longer than nothing".to_owned()),
    }
}

/// Runs a command.
pub async fn run(command: Command, client: Client, access: &cli::Access) -> anyhow::Result<()> {
    let secrets: Api<Secret> = Api::namespaced(client, bootstrap::NAMESPACE);
    match command {
        Command::Create { host, ttl, server } => {
            let known = Credentials::read(&access.credentials())?;
            let url = server.unwrap_or_else(|| known.url.clone());
            let hash = pin(&known.authority)?;
            let (token, ends) = (Token::random()?, Timestamp::now() + ttl);
            let secret = serde_json::from_value(token.document(&host, ends))?;
            let made = secrets.create(&PostParams::default(), &secret).await;
            made.with_context(|| format!("cannot make a token for host {host}"))?;
            let Token { id, secret } = token;
            println!(
                "groma agent --host {host} --join {url} --token {id}.{secret} --ca-cert-hash {hash}"
            );
        }
        Command::List => {
            let params = ListParams::default().fields(&format!("type={}", bootstrap::TYPE));
            let listed = secrets.list(&params).await.context("cannot list tokens")?;
            print(&listed.items);
        }
        Command::Delete { id } => {
            let deleted = secrets
                .delete(&bootstrap::secret_name(&id), &DeleteParams::default())
                .await;
            deleted.with_context(|| format!("cannot delete token {id}"))?;
            println!("token {id} is deleted");
        }
    }
    Ok(())
}

fn print(secrets: &[Secret]) {
    println!("{:8} {:24} {:22} USED", "ID", "HOST", "ENDS");
    for secret in secrets {
        let said = |key| text(secret, key).unwrap_or_else(|| "-".to_owned());
        let used = match text(secret, "used-by") {
            Some(_) => "yes",
            None => "no",
        };
        println!(
            "{:8} {:24} {:22} {used}",
            said("token-id"),
            said("host"),
            said("expiration")
        );
    }
}

fn text(secret: &Secret, key: &str) -> Option<String> {
    let ByteString(bytes) = secret.data.as_ref()?.get(key)?.clone();
    String::from_utf8(bytes).ok()
}
