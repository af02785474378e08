//! Why something runs where it runs: the explanation that is stored with the decision.

use std::io;

use anyhow::bail;
use api::mco::{AssignmentState, Candidate, Criterion, Explanation};
use api::{Placement, Quantity};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};

use crate::output::{self, Out, Output};
use crate::table;

/// Explains the decision about a service or workload.
pub async fn why(
    out: Out<'_>,
    client: &Client,
    namespace: &str,
    name: &str,
    output: Output,
) -> anyhow::Result<()> {
    let placements: Api<Placement> = Api::namespaced(client.clone(), namespace);
    let all = placements.list(&ListParams::default()).await?.items;
    let is_about = |placement: &&Placement| {
        let group = &placement.spec.group;
        placement.name_any() == name
            || group.name == name
            || group.members.iter().any(|member| member.name() == name)
    };
    let Some(placement) = all.iter().find(is_about) else {
        bail!(
            "nothing was decided about `{name}` in namespace {namespace}; `groma describe workload` says what is missing"
        );
    };
    match output {
        Output::Yaml | Output::Json => return output::print(out, &placement.spec, output),
        Output::Name => {
            writeln!(out, "placement/{}", placement.name_any())?;
            return Ok(());
        }
        Output::Table | Output::Wide => {}
    }
    assignments(out, placement)?;
    let about_all = !placement
        .spec
        .group
        .members
        .iter()
        .any(|member| member.name() == name);
    for explanation in placement
        .spec
        .explanation
        .iter()
        .filter(|told| about_all || told.workload.name() == name)
    {
        writeln!(out)?;
        explain(out, explanation)?;
    }
    Ok(())
}

fn assignments(out: Out<'_>, placement: &Placement) -> io::Result<()> {
    let spec = &placement.spec;
    writeln!(
        out,
        "decided {} for {} per hour, on inputs {}",
        spec.decided.0, spec.hourly_cost, spec.inputs_digest
    )?;
    let row = |assignment: &api::mco::Assignment| {
        let state = match assignment.state {
            AssignmentState::Active => "active",
            AssignmentState::Draining => "draining",
        };
        let reserved: Vec<_> = assignment
            .reserved
            .0
            .iter()
            .map(|(name, amount)| format!("{name} {amount}"))
            .collect();
        vec![
            format!("{}/{}", assignment.workload, assignment.replica),
            assignment.site.to_string(),
            assignment.host.to_string(),
            state.to_owned(),
            reserved.join(", "),
            assignment.hourly_cost.to_string(),
        ]
    };
    let rows: Vec<_> = spec.assignments.iter().map(row).collect();
    table::print(
        out,
        &["replica", "site", "host", "state", "reserved", "per hour"],
        &rows,
    )
}

fn explain(out: Out<'_>, explanation: &Explanation) -> io::Result<()> {
    writeln!(
        out,
        "{}: {} sites were looked at",
        explanation.workload, explanation.sites_considered
    )?;
    let chosen = explanation
        .chosen
        .iter()
        .map(|candidate| row("chosen", candidate));
    let others = explanation
        .runners_up
        .iter()
        .map(|candidate| row("next", candidate));
    let rows: Vec<_> = chosen.chain(others).collect();
    table::print(
        out,
        &[
            "",
            "site",
            "provider",
            "total",
            "latency",
            "cost",
            "free",
            "from users",
            "per hour",
            "wins if",
        ],
        &rows,
    )?;
    for rejection in &explanation.rejected {
        for site in &rejection.sites {
            writeln!(
                out,
                "not {}: {:?}: {}",
                site.site,
                rejection.reason,
                api::terminal::plain(&site.detail)
            )?;
        }
    }
    Ok(())
}

fn row(verdict: &str, candidate: &Candidate) -> Vec<String> {
    let score = |criterion| {
        let found = candidate
            .scores
            .iter()
            .find(|score| score.criterion == criterion);
        found.map_or_else(|| "-".to_owned(), |score| score.score.to_string())
    };
    let hourly: Quantity = candidate.hourly_cost;
    vec![
        verdict.to_owned(),
        candidate.site.to_string(),
        candidate.provider.to_string(),
        candidate.total.to_string(),
        score(Criterion::Latency),
        score(Criterion::Cost),
        score(Criterion::FreeCapacity),
        candidate
            .user_latency_micros
            .map_or_else(|| "-".to_owned(), |latency| latency.to_string()),
        hourly.to_string(),
        candidate.wins_if.clone().unwrap_or_default(),
    ]
}
