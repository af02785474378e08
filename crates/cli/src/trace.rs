//! The hops of a chain, both ways, with what the segment at the end of each has counted.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv6Addr;

use anyhow::bail;
use api::tcm::{ChainHop, Direction, SidCounters};
use api::{AVAILABLE, ServiceFunctionChain};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use serde::Serialize;

use crate::output::{self, Out, Output};
use crate::table;

/// A hop and its counters.
#[derive(Serialize)]
struct Traced {
    chain: String,
    #[serde(flatten)]
    hop: ChainHop,
    /// Not there if the host's agent could not be asked.
    counters: Option<SidCounters>,
}

/// Shows the hops of a chain, or of all chains of a service.
pub async fn trace(
    out: Out<'_>,
    client: &Client,
    namespace: &str,
    name: &str,
    output: Output,
) -> anyhow::Result<()> {
    let chains = chains(client, namespace, name).await?;
    let mut traced = Vec::new();
    let mut known = BTreeMap::new();
    for chain in &chains {
        for hop in chain.status.iter().flat_map(|status| status.hops.clone()) {
            let host = hop.host.name().to_owned();
            if !known.contains_key(&host) {
                known.insert(host.clone(), counters(client, &host).await);
            }
            let counters = known
                .get(&host)
                .and_then(|host| host.get(&hop.sid).copied());
            traced.push(Traced {
                chain: chain.name_any(),
                hop,
                counters,
            });
        }
    }
    match output {
        Output::Yaml | Output::Json => output::print(out, &traced, output),
        Output::Name => {
            for chain in &chains {
                writeln!(out, "servicefunctionchain/{}", chain.name_any())?;
            }
            Ok(())
        }
        Output::Table | Output::Wide => {
            print(out, &chains, &traced)?;
            Ok(())
        }
    }
}

async fn chains(
    client: &Client,
    namespace: &str,
    name: &str,
) -> anyhow::Result<Vec<ServiceFunctionChain>> {
    let all: Api<ServiceFunctionChain> = Api::namespaced(client.clone(), namespace);
    let mut found = all.list(&ListParams::default()).await?.items;
    found.retain(|chain| {
        let owners = chain.owner_references();
        chain.name_any() == name
            || owners
                .iter()
                .any(|owner| owner.kind == "Service" && owner.name == name)
    });
    if found.is_empty() {
        bail!(
            "there is no chain `{name}` and no service of that name with chains in namespace {namespace}"
        );
    }
    Ok(found)
}

/// What the segments of a host have counted; nothing if its agent cannot be asked.
async fn counters(client: &Client, host: &str) -> BTreeMap<Ipv6Addr, SidCounters> {
    let path = format!("/apis/groma.dev/v1alpha1/hosts/{host}/proxy/counters");
    let Ok(request) = http::Request::get(path).body(Vec::new()) else {
        return BTreeMap::new();
    };
    let counted: Vec<SidCounters> = client.request(request).await.unwrap_or_default();
    counted
        .into_iter()
        .map(|counters| (counters.sid, counters))
        .collect()
}

fn print(out: Out<'_>, chains: &[ServiceFunctionChain], traced: &[Traced]) -> io::Result<()> {
    for chain in chains {
        let available = chain
            .status
            .as_ref()
            .is_some_and(|status| status.conditions.is_true(AVAILABLE));
        writeln!(
            out,
            "chain {} is {}",
            chain.name_any(),
            if available {
                "available"
            } else {
                "not available"
            }
        )?;
        let row = |traced: &Traced| {
            let direction = match traced.hop.direction {
                Direction::Forward => "forward",
                Direction::Reverse => "reverse",
            };
            let count = |of: fn(&SidCounters) -> u64| {
                traced
                    .counters
                    .as_ref()
                    .map_or_else(|| "-".to_owned(), |c| of(c).to_string())
            };
            vec![
                direction.to_owned(),
                traced
                    .hop
                    .instance
                    .as_ref()
                    .map_or_else(|| "users".to_owned(), ToString::to_string),
                traced.hop.host.to_string(),
                traced.hop.sid.to_string(),
                if traced.hop.applied { "yes" } else { "no" }.to_owned(),
                count(|counters| counters.packets),
                count(|counters| counters.bytes),
            ]
        };
        let rows: Vec<_> = traced
            .iter()
            .filter(|traced| traced.chain == chain.name_any())
            .map(row)
            .collect();
        table::print(
            out,
            &[
                "way", "to", "host", "segment", "applied", "packets", "bytes",
            ],
            &rows,
        )?;
    }
    Ok(())
}
