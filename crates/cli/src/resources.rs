//! The resource repository (TCRR) and the workload inventory (TCWI) for people.

use api::{READY, Resources, Site, WorkloadRecord};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};

use crate::output::{self, Out, Output};
use crate::table;

/// Shows what sites have, what is reserved and what is free.
pub async fn inventory(out: Out<'_>, client: &Client, output: Output) -> anyhow::Result<()> {
    let sites: Api<Site> = Api::all(client.clone());
    let sites = sites.list(&ListParams::default()).await?.items;
    match output {
        Output::Yaml | Output::Json => return output::print(out, &sites, output),
        Output::Name => {
            for site in &sites {
                writeln!(out, "site/{}", site.name_any())?;
            }
            return Ok(());
        }
        Output::Table | Output::Wide => {}
    }
    let row = |site: &Site| {
        let status = site.status.clone().unwrap_or_default();
        let of = |resource| {
            let amount = |resources: &Resources| resources.get(resource).to_string();
            format!(
                "{} / {} / {}",
                amount(&status.capacity),
                amount(&status.reserved),
                amount(&status.free)
            )
        };
        vec![
            site.name_any(),
            site.spec.provider.to_string(),
            format!("{:?}", site.spec.tier),
            format!("{}/{}", status.hosts.ready, status.hosts.total),
            of("cpu"),
            of("memory"),
            if status.conditions.is_true(READY) {
                "yes"
            } else {
                "no"
            }
            .to_owned(),
        ]
    };
    let header = [
        "site",
        "provider",
        "tier",
        "hosts ready",
        "cpu has/reserved/free",
        "memory has/reserved/free",
        "ready",
    ];
    table::print(out, &header, &sites.iter().map(row).collect::<Vec<_>>())?;
    Ok(())
}

/// Shows what ran where, latest first.
pub async fn workloads(
    out: Out<'_>,
    client: &Client,
    namespace: &str,
    name: Option<&str>,
    output: Output,
) -> anyhow::Result<()> {
    let records: Api<WorkloadRecord> = Api::namespaced(client.clone(), namespace);
    let params = match name {
        Some(name) => ListParams::default().fields(&format!("spec.workload={name}")),
        None => ListParams::default(),
    };
    let mut records = records.list(&params).await?.items;
    records.sort_by(|a, b| {
        b.spec
            .from
            .0
            .cmp(&a.spec.from.0)
            .then_with(|| a.name_any().cmp(&b.name_any()))
    });
    match output {
        Output::Yaml | Output::Json => return output::print(out, &records, output),
        Output::Name => {
            for record in &records {
                writeln!(out, "workloadrecord/{}", record.name_any())?;
            }
            return Ok(());
        }
        Output::Table | Output::Wide => {}
    }
    let row = |record: &WorkloadRecord| {
        let spec = &record.spec;
        let until = spec
            .to
            .as_ref()
            .map_or_else(|| "now".to_owned(), |Time(to)| to.to_string());
        vec![
            format!("{}/{}", spec.workload, spec.replica),
            spec.site.to_string(),
            spec.host.to_string(),
            spec.artefact.image.clone(),
            spec.from.0.to_string(),
            until,
            spec.hourly_cost.to_string(),
        ]
    };
    table::print(
        out,
        &[
            "replica", "site", "host", "artefact", "from", "to", "per hour",
        ],
        &records.iter().map(row).collect::<Vec<_>>(),
    )?;
    Ok(())
}
