//! Keeps the workload inventory (TCWI): for each replica on each host a WorkloadRecord, from when to when.
//!
//! A guest on Workload. Reads: Placement, WorkloadRecord. Writes: WorkloadRecord, by steps, because records outlive what
//! they tell of and so are nobody's children. A record is opened, closed once, and never opened again; its name
//! depends on nothing but the place and its beginning. Only the newest are kept for each workload.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use api::mco::{Assignment, Endpoints, WorkloadRecordSpec};
use api::{ErrorKind, Placement, Result, Workload, WorkloadRecord, short_hash};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use runtime::{Ctx, Kinds, ObjectRef, Plan, Reconciler, Report, Role, Wait, deleting, failed};
use serde_json::json;

use crate::workload::placement_name;

/// So many records of one workload are kept; the oldest closed ones go first.
const RECORDS_MAX: usize = 32;

/// Keeps the records of workloads.
#[derive(Debug)]
pub(crate) struct WorkloadRecordKeeper;

/// What is decided for a workload and what is on record.
#[derive(Debug)]
pub(crate) struct Observed {
    assignments: Vec<Assignment>,
    records: BTreeMap<String, Arc<WorkloadRecord>>,
    now: Timestamp,
}

/// One entry.
#[derive(Debug, PartialEq)]
pub(crate) enum Step {
    /// A replica got a place.
    Open(String, Box<WorkloadRecordSpec>),
    /// It became known where it is reached.
    Reach(Version, Endpoints),
    /// It left its place.
    Close(Version, Timestamp),
    /// The record is too old to be kept.
    Remove(Version),
}

/// A record as it was seen.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Version {
    name: String,
    resource_version: Option<String>,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(name, record) => write!(f, "+ record {name}: on {}", record.host),
            Self::Reach(record, _) => write!(f, "~ record {}: endpoints", record.name),
            Self::Close(record, _) => write!(f, "~ record {}: closed", record.name),
            Self::Remove(record) => write!(f, "- record {}", record.name),
        }
    }
}

impl Reconciler for WorkloadRecordKeeper {
    type Object = Workload;
    type Observed = Observed;
    type Step = Step;
    type Status = ();

    fn role() -> Role {
        Role::Guest {
            condition: "Recorded",
            finalizer: Some("groma.dev/workload-record"),
        }
    }

    fn uses(kinds: &mut Kinds) {
        kinds.maps::<Placement>(|placement| {
            let namespace = placement.namespace();
            let assignments = placement.spec.assignments.iter();
            assignments
                .map(|item| ObjectRef::new::<Workload>(namespace.as_deref(), item.workload.name()))
                .collect()
        });
        kinds.maps::<WorkloadRecord>(|record| {
            let namespace = record.namespace();
            let workload = record.spec.workload.name();
            vec![ObjectRef::new::<Workload>(namespace.as_deref(), workload)]
        });
    }

    async fn observe(&self, ctx: &Ctx, workload: &Workload) -> Result<Observed> {
        let (namespace, own) = (workload.namespace(), workload.name_any());
        let placement = ctx.get::<Placement>(namespace.as_deref(), &placement_name(workload))?;
        let mut assignments = placement.map_or(Vec::new(), |it| it.spec.assignments.clone());
        assignments.retain(|assignment| assignment.workload.name() == own);
        let mut records = ctx.list::<WorkloadRecord>(namespace.as_deref())?;
        records.retain(|record| record.spec.workload.name() == own);
        Ok(Observed {
            assignments,
            records: records.into_iter().map(|it| (it.name_any(), it)).collect(),
            now: ctx.now(),
        })
    }

    fn plan(&self, workload: &Workload, observed: &Observed) -> Plan<Step> {
        let mut plan = Plan {
            steps: steps(workload, observed),
            ..Plan::default()
        };
        if deleting(workload) && !observed.assignments.is_empty() {
            let namespace = workload.namespace();
            let placement =
                ObjectRef::new::<Placement>(namespace.as_deref(), &placement_name(workload));
            plan.waits
                .push(Wait::Object(placement, "still has a place for it".into()));
        }
        plan
    }

    async fn act(&self, ctx: &Ctx, workload: &Workload, step: &Step) -> Result<()> {
        let namespace = workload.namespace().unwrap_or_default();
        let records: Api<WorkloadRecord> = Api::namespaced(ctx.client(), &namespace);
        match step {
            Step::Open(name, record) => {
                let record = WorkloadRecord::new(name, (**record).clone());
                let done = records.create(&PostParams::default(), &record).await;
                done.map(drop)
                    .map_err(failed(format!("open record {name}")))
            }
            Step::Reach(record, endpoints) => {
                edit(&records, record, json!({"endpoints": endpoints})).await
            }
            Step::Close(record, to) => edit(&records, record, json!({"to": Time(*to)})).await,
            Step::Remove(record) => remove(&records, record).await,
        }
    }

    fn report(&self, _: &Workload, _: &Observed) -> Report<()> {
        ().into()
    }
}

/// What is missing on record.
fn steps(workload: &Workload, observed: &Observed) -> Vec<Step> {
    let reached = workload
        .status
        .as_ref()
        .map(|status| status.endpoints.clone())
        .unwrap_or_default();
    let mut steps = Vec::new();
    let mut open = Vec::new();
    for assignment in &observed.assignments {
        let name = record_name(assignment);
        match observed.records.get(&name) {
            None => steps.push(Step::Open(name.clone(), Box::new(record(assignment)))),
            Some(record) if !reached.is_empty() && record.spec.endpoints != reached => {
                steps.push(Step::Reach(Version::of(record), reached.clone()));
            }
            Some(_) => {}
        }
        open.push(name);
    }
    let left = observed.records.iter();
    let left = left.filter(|(name, record)| record.spec.to.is_none() && !open.contains(name));
    steps.extend(left.map(|(_, record)| Step::Close(Version::of(record), observed.now)));
    steps.extend(too_old(&observed.records).map(|record| Step::Remove(Version::of(record))));
    steps
}

/// The closed records that are more than are kept, the oldest first.
fn too_old(
    records: &BTreeMap<String, Arc<WorkloadRecord>>,
) -> impl Iterator<Item = &Arc<WorkloadRecord>> {
    let mut closed: Vec<_> = records
        .values()
        .filter(|record| record.spec.to.is_some())
        .collect();
    closed.sort_by_key(|record| (record.spec.to.clone(), record.name_any()));
    let n_too_many = records.len().saturating_sub(RECORDS_MAX);
    closed.into_iter().take(n_too_many)
}

fn record(assignment: &Assignment) -> WorkloadRecordSpec {
    WorkloadRecordSpec {
        workload: assignment.workload.clone(),
        replica: assignment.replica,
        site: assignment.site.clone(),
        host: assignment.host.clone(),
        artefact: assignment.artefact.clone(),
        from: assignment.since.clone(),
        to: None,
        endpoints: Endpoints::new(),
        hourly_cost: assignment.hourly_cost,
    }
}

/// The name of the record of a place that was taken at a time.
fn record_name(assignment: &Assignment) -> String {
    let Assignment {
        workload,
        replica,
        host,
        since,
        ..
    } = assignment;
    // Whole seconds, because that is what travels.
    let since = since.0.as_second().to_string();
    let hash = short_hash(&["record", workload.name(), host.name(), &since]);
    format!("{workload}-{replica}-{:010x}", hash >> 24)
}

impl Version {
    fn of(record: &WorkloadRecord) -> Self {
        Self {
            name: record.name_any(),
            resource_version: record.resource_version(),
        }
    }
}

async fn edit(
    records: &Api<WorkloadRecord>,
    record: &Version,
    spec: serde_json::Value,
) -> Result<()> {
    let Version {
        name,
        resource_version,
    } = record;
    let change = json!({"metadata": {"resourceVersion": resource_version}, "spec": spec});
    let done = records
        .patch(name, &PatchParams::default(), &Patch::Merge(change))
        .await;
    done.map(drop)
        .map_err(failed(format!("write record {name}")))
}

async fn remove(records: &Api<WorkloadRecord>, record: &Version) -> Result<()> {
    let name = &record.name;
    let done = records.delete(name, &DeleteParams::default()).await;
    match done.map_err(failed(format!("delete record {name}"))) {
        Err(error) if error.kind != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::slice;

    use super::*;
    use crate::tests::world::{assignment, workload};

    fn observed(assignments: &[Assignment], records: Vec<WorkloadRecord>) -> Observed {
        Observed {
            assignments: assignments.to_vec(),
            records: records
                .into_iter()
                .map(|record| (record.name_any(), Arc::new(record)))
                .collect(),
            now: Timestamp::from_second(9_000).unwrap(),
        }
    }

    fn on_record(assignment: &Assignment, to: Option<i64>) -> WorkloadRecord {
        let mut spec = record(assignment);
        spec.to = to.map(|second| Time(Timestamp::from_second(second).unwrap()));
        WorkloadRecord::new(&record_name(assignment), spec)
    }

    fn lines(assignments: &[Assignment], records: Vec<WorkloadRecord>) -> Vec<String> {
        let steps = steps(&workload("web", 1), &observed(assignments, records));
        let word = |step: &Step| step.to_string().split(' ').next().unwrap().to_owned();
        steps.iter().map(word).collect()
    }

    #[test]
    fn a_place_is_opened_once_and_closed_once() {
        let (old, new) = (
            assignment("web", 0, "mad", 1),
            assignment("web", 0, "bcn", 1),
        );
        assert_eq!(lines(slice::from_ref(&old), vec![]), ["+"]);
        assert_eq!(
            lines(slice::from_ref(&old), vec![on_record(&old, None)]),
            [""; 0]
        );
        assert_eq!(
            lines(slice::from_ref(&new), vec![on_record(&old, None)]),
            ["+", "~"]
        );
        let both = vec![on_record(&old, Some(5)), on_record(&new, None)];
        assert_eq!(lines(&[new], both), [""; 0]);
    }

    #[test]
    fn a_place_that_is_taken_again_is_another_record() {
        let first = assignment("web", 0, "mad", 1);
        let mut again = first.clone();
        again.since = Time(Timestamp::from_second(77).unwrap());
        assert_ne!(record_name(&first), record_name(&again));
        assert_eq!(lines(&[again], vec![on_record(&first, Some(5))]), ["+"]);
    }

    #[test]
    fn only_the_newest_records_are_kept() {
        let records: Vec<WorkloadRecord> = (0..i64::try_from(RECORDS_MAX).unwrap() + 2)
            .map(|second| {
                let mut item = assignment("web", 0, "mad", 1);
                item.since = Time(Timestamp::from_second(second).unwrap());
                on_record(&item, Some(second))
            })
            .collect();
        let removed = steps(&workload("web", 1), &observed(&[], records.clone()));
        let oldest: Vec<Step> = records[..2]
            .iter()
            .map(|record| Step::Remove(Version::of(record)))
            .collect();
        assert_eq!(removed, oldest);
    }
}
