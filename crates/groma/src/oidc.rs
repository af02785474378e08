//! The options of `groma serve` about an OpenID Connect provider: those of kube-apiserver, with their meaning.

use std::path::PathBuf;

use anyhow::Context;
use apiserver::oidc::{Issuer, Options};
use clap::Args;

/// Whose tokens are taken besides the server's own.
#[derive(Debug, Default, Args)]
pub struct Provider {
    /// Address of an OpenID Connect provider whose tokens are taken; https only
    #[arg(long, value_name = "URL", requires = "oidc_client_id")]
    oidc_issuer_url: Option<String>,
    /// For which client its tokens must be
    #[arg(long, value_name = "ID", requires = "oidc_issuer_url")]
    oidc_client_id: Option<String>,
    /// The claim that names the user
    #[arg(long, value_name = "CLAIM", default_value = "sub")]
    oidc_username_claim: String,
    /// What goes before the user's name; `-` is nothing. When not given, the provider's address and `#`, but nothing before
    /// the claim `email`
    #[arg(
        long,
        value_name = "PREFIX",
        requires = "oidc_issuer_url",
        allow_hyphen_values = true
    )]
    oidc_username_prefix: Option<String>,
    /// The claim that names groups: a text or a list of texts
    #[arg(long, value_name = "CLAIM", requires = "oidc_issuer_url")]
    oidc_groups_claim: Option<String>,
    /// What goes before the name of a group. Without it, a provider can put its users into any group, `system:masters` too
    #[arg(long, value_name = "PREFIX", requires = "oidc_issuer_url")]
    oidc_groups_prefix: Option<String>,
    /// What tokens must claim besides; may be given again
    #[arg(long = "oidc-required-claim", value_name = "CLAIM=VALUE", value_parser = pair, requires = "oidc_issuer_url")]
    oidc_required_claims: Vec<(String, String)>,
    /// Certificates of who vouches for the provider; whom this machine trusts when not given
    #[arg(long, value_name = "FILE", requires = "oidc_issuer_url")]
    oidc_ca_file: Option<PathBuf>,
}

impl Provider {
    /// The provider, if there is one.
    pub fn issuer(&self) -> anyhow::Result<Option<Issuer>> {
        let (Some(issuer_url), Some(client_id)) = (&self.oidc_issuer_url, &self.oidc_client_id)
        else {
            return Ok(None);
        };
        let read = |path: &PathBuf| {
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
        };
        let issuer = Issuer::new(Options {
            issuer_url: issuer_url.clone(),
            client_id: client_id.clone(),
            username_claim: self.oidc_username_claim.clone(),
            username_prefix: self.oidc_username_prefix.clone(),
            groups_claim: self.oidc_groups_claim.clone(),
            groups_prefix: self.oidc_groups_prefix.clone().unwrap_or_default(),
            required_claims: self.oidc_required_claims.iter().cloned().collect(),
            authorities: self.oidc_ca_file.as_ref().map(read).transpose()?,
        });
        issuer
            .map(Some)
            .map_err(|why| anyhow::anyhow!("cannot take the tokens of {issuer_url}: {why}"))
    }
}

/// `CLAIM=VALUE`; the value may have more of the signs.
fn pair(text: &str) -> Result<(String, String), String> {
    let (claim, value) = text.split_once('=').ok_or("expected CLAIM=VALUE")?;
    Ok((claim.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        provider: Provider,
    }

    #[test]
    fn a_provider_has_an_address_and_a_client() {
        let url = "--oidc-issuer-url=https://a.example";
        let client = "--oidc-client-id=groma";
        let cases: [(&[&str], bool); 7] = [
            (&[], true),
            (&[url, client], true),
            (&[url], false),
            (&[client], false),
            (&[url, client, "--oidc-username-prefix", "-"], true),
            (&["--oidc-groups-claim=groups"], false),
            (&[url, client, "--oidc-required-claim=a"], false),
        ];
        for (line, taken) in cases {
            let read = Line::try_parse_from(["groma"].iter().chain(line));
            assert_eq!(read.is_ok(), taken, "{line:?}");
        }
        assert_eq!(pair("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        let plain = Line::try_parse_from(["groma", "--oidc-issuer-url=http://a.example", client]);
        let refused = plain.expect("it can be read").provider.issuer().err();
        assert!(refused.is_some_and(|why| why.to_string().contains("'https' is the only allowed")));
    }
}
