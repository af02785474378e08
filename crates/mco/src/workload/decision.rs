//! Decides for a group and books the answer; its writer alone does so, everybody else reads what is stored.
//!
//! What is stored stays while it holds. A booking whose write was not seen yet is planned again as it is, so that a
//! lost answer does not become a second decision.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ::placement::{Component, Held, Infeasible, Request, allocatable, decide, holds};
use api::mco::{Assignment, AssignmentState, PlacementGroup, PlacementPolicySpec, PlacementSpec};
use api::{Error, ErrorKind, Host, Placement, PlacementPolicy, READY, Ref, Result, Workload};
use futures::stream::{BoxStream, StreamExt, unfold};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{Api, ResourceExt};
use runtime::{Ctx, ObjectRef, Wait, deleting, failed};
use tokio::time::sleep;

use crate::inputs::{Inputs, View};
use crate::workload::drain;
use crate::workload::group::Group;

/// The policy that holds where none is named.
const DEFAULT_POLICY: &str = "default";
/// The reason that a host shows while its agent cannot be heard; anything else is no ground for a move.
const UNREACHABLE: &str = "Unreachable";
/// A group that found no place is looked at again no sooner than this after something changed.
const PERIOD: Duration = Duration::from_secs(1);

/// What is to be stored for a group, as far as this workload can tell.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    /// What its writer is to store.
    pub wanted: Option<PlacementSpec>,
    /// Whether what is stored is what the group needs now.
    pub holds: bool,
    /// Why there is no place for the group.
    pub problem: Option<Problem>,
    /// What must happen first.
    pub waits: Vec<Wait>,
}

/// Why there is no place: one word and a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub reason: String,
    pub message: String,
}

/// Everything about one decision but the world.
struct Case<'a> {
    ctx: &'a Ctx,
    inputs: &'a Inputs,
    group: &'a Group,
    /// The Placement.
    name: ObjectRef,
    /// The workload that asks.
    own: ObjectRef,
    stored: Option<&'a Arc<Placement>>,
}

/// Decides for the group of a workload, if it is the one to do so.
pub(crate) async fn answer(
    ctx: &Ctx,
    inputs: &Inputs,
    group: &Group,
    workload: &Workload,
    stored: Option<&Arc<Placement>>,
) -> Result<Answer> {
    let name = ObjectRef::new::<Placement>(Some(&group.namespace), &group.name);
    let case = Case {
        ctx,
        inputs,
        group,
        name,
        own: ObjectRef::of(workload),
        stored,
    };
    if group.displaced {
        inputs.settle(&case.own);
        return Ok(Answer {
            waits: group.waits.clone(),
            ..Answer::default()
        });
    }
    if !group.is_written_by(&case.own.name) {
        inputs.settle(&case.own);
        // It may have been the writer.
        case.strike().await?;
        return case.read();
    }
    if stored.is_some_and(|stored| deleting(&**stored)) {
        inputs.settle(&case.own);
        let wait = Wait::Object(case.name, "is being deleted".into());
        return Ok(Answer {
            waits: vec![wait],
            ..Answer::default()
        });
    }
    case.write().await
}

impl Case<'_> {
    /// What a member that does not write says: whether what is stored holds, and the writer's problem.
    fn read(&self) -> Result<Answer> {
        let mut answer = Answer {
            waits: self.group.waits.clone(),
            problem: self.group.writer().and_then(|writer| problem_of(writer)),
            ..Answer::default()
        };
        let (Some(stored), true) = (self.stored, answer.waits.is_empty()) else {
            return Ok(answer);
        };
        let request = self.request(self.policy()?.1, held(&stored.spec.assignments));
        let view = self.inputs.view(self.ctx)?;
        answer.holds = holds(&view.snapshot, &request);
        Ok(answer)
    }

    async fn write(&self) -> Result<Answer> {
        let mut answer = Answer::default();
        let before = self.without_gone(&mut answer.waits).await?;
        let missing = self.missing_policy()?;
        answer
            .waits
            .extend(self.group.waits.iter().cloned().chain(missing.clone()));
        if !self.group.waits.is_empty() || missing.is_some() {
            self.strike().await?;
            self.inputs.settle(&self.own);
            answer.wanted = before.map(|before| self.trimmed(before));
            return Ok(answer);
        }
        let lost = self.lost(before.as_ref(), &mut answer.waits)?;
        match self.decided(before.as_ref(), &lost).await? {
            Ok(spec) => {
                self.inputs.settle(&self.own);
                answer.holds = true;
                answer.wanted = Some(spec);
            }
            Err((infeasible, view)) => {
                self.inputs.refuse(self.own.clone(), &view);
                let problem = Problem::of(&infeasible);
                answer.waits.push(Wait::World(problem.message.clone()));
                answer.problem = Some(problem);
                answer.wanted = before.map(|before| self.trimmed(before));
            }
        }
        Ok(answer)
    }

    /// What is booked, stored or newly decided, whichever holds first.
    async fn decided(
        &self,
        before: Option<&PlacementSpec>,
        lost: &[Assignment],
    ) -> Result<Result<PlacementSpec, (Box<Infeasible>, View)>> {
        let (policy, criteria) = self.policy()?;
        let request = |spec: Option<&PlacementSpec>| {
            let assignments = spec.map(|spec| &spec.assignments[..]).unwrap_or_default();
            let mut held = held(assignments);
            for held in &mut held {
                held.lost = lost.contains(&held.assignment);
            }
            self.request(criteria.clone(), held)
        };
        let view = self.inputs.view(self.ctx)?;
        if let Some(booked) = self.inputs.ledger().booked(&self.name) {
            if self.same_terms(&booked, &policy) && holds(&view.snapshot, &request(Some(&booked))) {
                return Ok(Ok(booked));
            }
            self.strike().await?;
        }
        let view = self.inputs.view(self.ctx)?;
        if let Some(before) = before
            && self.same_terms(before, &policy)
            && holds(&view.snapshot, &request(Some(before)))
        {
            return Ok(Ok(before.clone()));
        }
        let request = request(before);
        match decide(&view.snapshot, &request) {
            Err(infeasible) => Ok(Err((infeasible, view))),
            Ok(decision) => {
                let spec = PlacementSpec {
                    group: self.terms(),
                    decided: request.now,
                    inputs_digest: decision.inputs_digest,
                    policy,
                    assignments: decision.assignments,
                    hourly_cost: decision.hourly_cost,
                    explanation: decision.explanation,
                };
                self.book(&spec, &view)?;
                Ok(Ok(spec))
            }
        }
    }

    fn book(&self, spec: &PlacementSpec, view: &View) -> Result<()> {
        let ledger = self.inputs.ledger();
        let booked = ledger.book(&self.name, &self.own, spec, view.revision);
        booked.map_err(|moved| {
            Error::new(
                ErrorKind::Conflict,
                format!("cannot book {}: {moved}", self.name),
            )
        })
    }

    /// Strikes out what this workload booked and is to be replaced, once it is sure that none of it was written.
    async fn strike(&self) -> Result<()> {
        if !self.inputs.ledger().has_booked(&self.name, &self.own) {
            return Ok(());
        }
        let placements: Api<Placement> = Api::namespaced(self.ctx.client(), &self.group.namespace);
        let live = placements.get_opt(&self.group.name).await;
        let live = live.map_err(failed(format!("read {}", self.name)))?;
        let version = |placement: &Placement| (placement.uid(), placement.resource_version());
        if live.as_ref().map(version) != self.stored.map(|stored| version(stored)) {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("cannot decide on {}: it has just been written", self.name),
            ));
        }
        self.inputs.ledger().undo(&self.name, &self.own);
        Ok(())
    }

    fn terms(&self) -> PlacementGroup {
        let members = self.group.living();
        PlacementGroup {
            name: self.group.name.clone(),
            members: members.map(|member| Ref::new(member.name_any())).collect(),
        }
    }

    fn same_terms(&self, spec: &PlacementSpec, policy: &Option<Ref<PlacementPolicy>>) -> bool {
        spec.group == self.terms() && spec.policy == *policy
    }

    fn request(&self, policy: PlacementPolicySpec, held: Vec<Held>) -> Request {
        let members = self.group.living();
        Request {
            namespace: self.group.namespace.clone(),
            components: members
                .map(|member| Component::of(&member.name_any(), member))
                .collect(),
            policy,
            held,
            now: Time(self.ctx.now()),
        }
    }

    /// The policy that the writer names, or the one that holds for all.
    fn policy(&self) -> Result<(Option<Ref<PlacementPolicy>>, PlacementPolicySpec)> {
        let writer = self.group.writer();
        let named = writer.and_then(|writer| writer.spec.policy.clone());
        let policy = named.unwrap_or_else(|| Ref::new(DEFAULT_POLICY));
        let found = self.ctx.get::<PlacementPolicy>(None, policy.name())?;
        Ok(match found {
            Some(found) => (Some(policy), found.spec.clone()),
            None => (None, PlacementPolicySpec::default()),
        })
    }

    fn missing_policy(&self) -> Result<Option<Wait>> {
        let writer = self.group.writer();
        let Some(named) = writer.and_then(|writer| writer.spec.policy.as_ref()) else {
            return Ok(None);
        };
        crate::waits::absent::<PlacementPolicy>(self.ctx, None, named.name())
    }

    /// What is stored without the places that are free again; those that are not yet are waited for.
    async fn without_gone(&self, waits: &mut Vec<Wait>) -> Result<Option<PlacementSpec>> {
        let Some(stored) = self.stored else {
            return Ok(None);
        };
        let mut spec = stored.spec.clone();
        let namespace = &self.group.namespace;
        let replaced = drain::replaced(self.ctx, Some(namespace), &stored.spec)?;
        for leaving in drain::draining(&stored.spec) {
            let done = replaced.contains(leaving);
            if done && drain::is_gone(self.ctx, namespace, leaving).await? {
                spec.assignments.retain(|assignment| assignment != leaving);
            } else {
                waits.push(drain::wait(namespace, &stored.spec, leaving, done));
            }
        }
        spec.hourly_cost = spec.assignments.iter().map(|item| item.hourly_cost).sum();
        Ok(Some(spec))
    }

    /// What is stored, with the places of all that do not live any more on their way out.
    fn trimmed(&self, mut spec: PlacementSpec) -> PlacementSpec {
        let living: BTreeSet<String> = self.group.living().map(|it| it.name_any()).collect();
        for assignment in &mut spec.assignments {
            if !living.contains(assignment.workload.name()) {
                assignment.state = AssignmentState::Draining;
            }
        }
        spec
    }

    /// The assignments that must go elsewhere: their hosts could not be seen for longer than their workload's rule allows, or
    /// have given the same room to others before.
    fn lost(&self, spec: Option<&PlacementSpec>, waits: &mut Vec<Wait>) -> Result<Vec<Assignment>> {
        let mut lost = Vec::new();
        let assignments = spec.into_iter().flat_map(|spec| &spec.assignments);
        for assignment in assignments.filter(|it| it.state == AssignmentState::Active) {
            if self.is_excess(assignment)? {
                lost.push(assignment.clone());
                continue;
            }
            let Some(until) = self.given_up(assignment)? else {
                continue;
            };
            if until <= self.ctx.now() {
                lost.push(assignment.clone());
            } else {
                let why = format!(
                    "host {} cannot be seen, {} moves",
                    assignment.host, assignment.workload
                );
                waits.push(Wait::Until(until, why));
            }
        }
        Ok(lost)
    }

    /// Whether an assignment takes what its host has given to others before.
    fn is_excess(&self, assignment: &Assignment) -> Result<bool> {
        let host = self.ctx.get::<Host>(None, assignment.host.name())?;
        // Of one that has not told yet what it has, nobody knows how much is too much.
        let Some(room) = host
            .filter(|it| it.status.is_some())
            .map(|it| allocatable(&it))
        else {
            return Ok(false);
        };
        let excess = self.inputs.ledger().excess(&assignment.host, &room);
        Ok(excess.contains(&self.name))
    }

    /// When the host of an assignment is given up, if it cannot be seen and the workload has a rule for that. What the
    /// Host says may be the word of an earlier process, so the rule counts no time before this one could not see it.
    fn given_up(&self, assignment: &Assignment) -> Result<Option<Timestamp>> {
        let mut members = self.group.living();
        let member = members.find(|member| member.name_any() == assignment.workload.name());
        let rule = member.and_then(|member| member.spec.migration.after_unreachable_seconds);
        let host = self.ctx.get::<Host>(None, assignment.host.name())?;
        let status = host.as_ref().and_then(|host| host.status.as_ref());
        let ready = status.and_then(|status| status.conditions.get(READY));
        let unseen = ready.filter(|ready| ready.reason == UNREACHABLE);
        let since = self.inputs.leases().unseen_since(assignment.host.name());
        Ok(match (rule, unseen, since) {
            (Some(rule), Some(unseen), Some(since)) => {
                let since = since.max(unseen.last_transition_time.0);
                Some(since + Duration::from(rule))
            }
            _ => None,
        })
    }
}

fn held(assignments: &[Assignment]) -> Vec<Held> {
    let held = |assignment: &Assignment| Held {
        assignment: assignment.clone(),
        lost: false,
    };
    assignments.iter().map(held).collect()
}

/// The problem that the writer of a group shows.
fn problem_of(writer: &Workload) -> Option<Problem> {
    let conditions = &writer.status.as_ref()?.conditions;
    let placed = conditions.get(super::status::PLACED)?;
    let refused = placed.status == "False" && placed.reason != super::status::WAITING;
    refused.then(|| Problem {
        reason: placed.reason.clone(),
        message: placed.message.clone(),
    })
}

impl Problem {
    /// The reason of the sites that came nearest to taking the component that found no place.
    fn of(infeasible: &Infeasible) -> Self {
        let mut explanations = infeasible.explanation.iter();
        let blocked = explanations.find(|item| item.workload == infeasible.blocked);
        let rejected = blocked.map(|item| &item.rejected[..]).unwrap_or_default();
        let furthest = rejected.iter().map(|rejection| rejection.reason).max();
        Self {
            reason: furthest.map_or("NoSite".into(), |reason| format!("{reason:?}")),
            message: infeasible.to_string(),
        }
    }
}

/// Hints for workloads whose group found no place, once something may have changed that, and for those that take more than
/// there is.
pub(crate) fn room_again(ctx: Ctx, inputs: Arc<Inputs>) -> BoxStream<'static, ObjectRef> {
    unfold(
        (ctx, inputs, VecDeque::new()),
        async |(ctx, inputs, mut hints)| {
            loop {
                if let Some(workload) = hints.pop_front() {
                    return Some((workload, (ctx, inputs, hints)));
                }
                sleep(PERIOD).await;
                hints.extend(inputs.worth_another_try(&ctx).unwrap_or_default());
                hints.extend(inputs.overcommitted(&ctx).unwrap_or_default());
            }
        },
    )
    .boxed()
}
