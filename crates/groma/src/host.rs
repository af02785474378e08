//! `groma host`: lets hosts join, takes it back, and declares them dead.

mod enroll;
mod token;

use std::path::PathBuf;

use anyhow::Context;
use apiserver::Identity;
use clap::Subcommand;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};

pub use self::enroll::enroll;
pub use self::token::life;
use crate::credentials::Credentials;

/// Who owns what these commands write.
const MANAGER: &str = "groma";

/// Commands about hosts.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Tokens by which hosts join
    #[command(subcommand)]
    Token(token::Command),
    /// Make the credentials of a host's agent here, for a host to which they are carried
    Enroll {
        /// The host; its Host object must exist
        name: String,
        /// Where the credentials go, for `groma agent --kubeconfig`
        #[arg(long, short)]
        output: PathBuf,
        /// The server as that host reaches it; as it is reached from here when not given
        #[arg(long, value_name = "URL")]
        server: Option<String>,
    },
    /// Make all certificates useless that a host has; what runs on it goes on
    Revoke {
        /// The host
        name: String,
    },
    /// Declare a machine dead: nobody waits for it any more, and its certificates are useless
    Forget {
        /// The host
        name: String,
    },
}

/// Runs a command.
pub async fn run(command: Command, access: &cli::Access) -> anyhow::Result<()> {
    let server = access.server().await?;
    let client = server.client.clone();
    let done = match command {
        Command::Token(command) => token::run(command, client, access).await,
        Command::Enroll {
            name,
            output,
            server,
        } => {
            let known = Credentials::read(&access.credentials())?;
            let url = server.unwrap_or_else(|| known.url.clone());
            let enrolled = enroll(&client, &name, (&url, &known.authority), &output).await;
            enrolled.inspect(|()| {
                println!("credentials of host {name} are in {}", output.display());
            })
        }
        Command::Revoke { name } => revoke(client, &name).await,
        Command::Forget { name } => {
            let hosts: Api<api::Host> = Api::all(client);
            let deleted = hosts.delete(&name, &DeleteParams::background()).await;
            let deleted = deleted.with_context(|| format!("cannot forget host {name}"));
            deleted.map(|_| println!("host {name} is forgotten"))
        }
    };
    done.map_err(|error| server.explain(error))
}

/// Says that of a host's certificates only those count that are issued from now on, by the server's clock.
async fn revoke(client: Client, host: &str) -> anyhow::Result<()> {
    let what = || format!("cannot revoke the certificates of host {host}");
    let hosts: Api<api::Host> = Api::all(client.clone());
    hosts.get_metadata(host).await.with_context(what)?;
    let user = Identity::host(host).name;
    let maps: Api<ConfigMap> = Api::namespaced(client, apiserver::HOSTS_NAMESPACE);
    let said = |from| serde_json::from_value(apiserver::revocation(&user, from));
    let mut map: ConfigMap = said(Timestamp::UNIX_EPOCH)?;
    let name = map.name_any();
    let former = maps.get_opt(&name).await.with_context(what)?;
    let former = former.and_then(|map| map.data?.get("notBefore")?.parse::<Timestamp>().ok());
    // What would be made now tells the server's time, in whole seconds.
    map.metadata.name = None;
    map.metadata.generate_name = Some(name.clone());
    let dry_run = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let imagined = maps.create(&dry_run, &map).await.with_context(what)?;
    let now = imagined
        .creation_timestamp()
        .context("the server told no time")?;
    let second = SignedDuration::from_secs(1);
    // What was issued in this second, or since it was said last, is from before.
    let from = former.map_or(now.0, |former| former.max(now.0)) + second;
    let patch = Patch::Apply(said(from)?);
    let params = PatchParams::apply(MANAGER).force();
    maps.patch(&name, &params, &patch)
        .await
        .with_context(what)?;
    println!("certificates of host {host} from before {from} are revoked");
    Ok(())
}
