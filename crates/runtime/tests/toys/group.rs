//! Members of a group: the first by name writes one child that all of them own.

use std::sync::Arc;

use api::{Conditions, READY, Result};
use kube::ResourceExt;
use runtime::{
    Child as Wanted, Ctx, Kinds, Never, ObjectRef, Plan, Reconciler, Report, Wait, deleting,
};

use crate::kinds::{Child, ChildSpec, Member, MemberStatus};

pub struct MemberReconciler;

pub struct Observed {
    /// The members that are to stay, in order of name.
    members: Vec<Arc<Member>>,
    child: Option<Arc<Child>>,
}

impl Reconciler for MemberReconciler {
    type Object = Member;
    type Observed = Observed;
    type Step = Never;
    type Status = MemberStatus;

    fn uses(kinds: &mut Kinds) {
        kinds.owns::<Child>();
        kinds.wakes_all::<Member>();
    }

    async fn observe(&self, ctx: &Ctx, member: &Member) -> Result<Observed> {
        let (namespace, group) = (member.namespace(), &member.spec.group);
        let mut members = ctx.list::<Member>(namespace.as_deref())?;
        members.retain(|other| other.spec.group == *group && !deleting(&**other));
        Ok(Observed {
            members,
            child: ctx.get::<Child>(namespace.as_deref(), group)?,
        })
    }

    fn plan(&self, member: &Member, observed: &Observed) -> Plan<Never> {
        let mut plan = Plan::default();
        let group = &member.spec.group;
        if observed
            .members
            .first()
            .is_some_and(|first| first.name_any() == member.name_any())
        {
            let size = size(&observed.members);
            let child = Child::new(group, ChildSpec { size, note: None });
            let others = observed.members[1..].iter();
            let child = others.fold(Wanted::named(member, child), |child, other| {
                child.also_owned_by(&**other)
            });
            plan.children.push(child);
        }
        if !deleting(member) && !serves(member, observed) {
            let name = ObjectRef::new::<Child>(member.namespace().as_deref(), group);
            plan.waits
                .push(Wait::Object(name, "does not serve it yet".into()));
        }
        plan
    }

    async fn act(&self, _: &Ctx, _: &Member, step: &Never) -> Result<()> {
        match *step {}
    }

    fn report(&self, _: &Member, _: &Observed) -> Report<MemberStatus> {
        MemberStatus {
            conditions: Conditions::default(),
        }
        .into()
    }
}

/// Whether the group's child is ready and made for the members as they are.
fn serves(member: &Member, observed: &Observed) -> bool {
    observed.child.as_ref().is_some_and(|child| {
        let mut owners = child.owner_references().iter();
        let owned = owners.any(|owner| Some(&owner.uid) == member.uid().as_ref());
        let conditions = child.status.as_ref().map(|status| &status.conditions);
        let ready = conditions.is_some_and(|all| all.is_true_for(READY, child.metadata.generation));
        owned && ready && child.spec.size == size(&observed.members)
    })
}

fn size(members: &[Arc<Member>]) -> u32 {
    members.iter().map(|member| member.spec.size).sum()
}
