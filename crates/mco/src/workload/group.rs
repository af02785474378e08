//! Who is decided together: the members that a workload names, which of them live, and whether they agree.

use std::collections::BTreeSet;
use std::sync::Arc;

use api::mco::WorkloadGroup;
use api::{Placement, Ref, Result, Workload};
use kube::ResourceExt;
use runtime::{Ctx, ObjectRef, Wait, deleting};

/// A group as one of its members sees it.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    /// Its name, which is its Placement's too.
    pub name: String,
    pub namespace: String,
    /// All that exist and belong to it, in order of name, those on their way out included.
    pub members: Vec<Arc<Workload>>,
    /// What keeps it from being decided.
    pub waits: Vec<Wait>,
    /// Whether the Placement of its name is another's: a workload alone and a group may have the same name.
    pub displaced: bool,
}

/// The name of the Placement that holds the decision for a workload.
pub fn placement_name(workload: &Workload) -> String {
    match &workload.spec.group {
        Some(group) => group.name.clone(),
        None => workload.name_any(),
    }
}

/// The workloads that a change of one concerns: its group.
pub(super) fn concerned(workload: &Workload) -> Vec<ObjectRef> {
    let namespace = workload.namespace();
    let members = workload.spec.group.iter().flat_map(|group| &group.members);
    members
        .map(|member| ObjectRef::new::<Workload>(namespace.as_deref(), member.name()))
        .collect()
}

impl Group {
    /// The group of a workload; alone, it is a group of one.
    pub fn of(ctx: &Ctx, workload: &Workload) -> Result<Self> {
        let namespace = workload.namespace().unwrap_or_default();
        let mut group = Self {
            name: placement_name(workload),
            namespace: namespace.clone(),
            members: Vec::new(),
            waits: Vec::new(),
            displaced: false,
        };
        if let Some(wait) = group.displacement(ctx, workload)? {
            group.waits.push(wait);
            group.displaced = true;
            return Ok(group);
        }
        let mut names = group.decided_about(ctx)?;
        names.insert(workload.name_any());
        names.extend(member_names(workload));
        for name in names {
            let found = match name == workload.name_any() {
                true => Some(Arc::new(workload.clone())),
                false => ctx.get::<Workload>(Some(&namespace), &name)?,
            };
            let wait = found.as_deref().map_or(Some("does not exist"), |member| {
                disagreement(workload, member)
            });
            let named = name == workload.name_any() || member_names(workload).any(|it| it == name);
            if let (Some(why), true) = (wait, named) {
                let member = ObjectRef::new::<Workload>(Some(&namespace), &name);
                group.waits.push(Wait::Object(member, why.to_owned()));
            }
            let belongs = |member: &Arc<Workload>| {
                placement_name(member) == group.name && is_alone(member) == is_alone(workload)
            };
            group.members.extend(found.filter(belongs));
        }
        Ok(group)
    }

    /// Who comes second of a workload alone and a group of the same name waits for the Placement of the first.
    fn displacement(&self, ctx: &Ctx, workload: &Workload) -> Result<Option<Wait>> {
        let Some(placement) = ctx.get::<Placement>(Some(&self.namespace), &self.name)? else {
            return Ok(None);
        };
        let of_one = placement.spec.group.members == [Ref::new(&*self.name)];
        let namesake = ctx.get::<Workload>(Some(&self.namespace), &self.name)?;
        let taken = of_one && namesake.is_some_and(|namesake| is_alone(&namesake));
        let why = match is_alone(workload) {
            true if !taken => format!(
                "is of the group {}, which has the name of Workload {}; rename one of them",
                self.name, self.name
            ),
            false if taken => format!(
                "is of Workload {}, which has the name of the group {}; rename one of them",
                self.name, self.name
            ),
            _ => return Ok(None),
        };
        let placement = ObjectRef::of(&*placement);
        Ok(Some(Wait::Object(placement, why)))
    }

    /// Workloads that the stored decision is about: one that is being deleted, and that no other names any more, still
    /// has something there.
    fn decided_about(&self, ctx: &Ctx) -> Result<BTreeSet<String>> {
        let placement = ctx.get::<Placement>(Some(&self.namespace), &self.name)?;
        let placed = placement
            .iter()
            .flat_map(|placement| &placement.spec.assignments);
        Ok(placed
            .map(|assignment| assignment.workload.to_string())
            .collect())
    }

    /// The members that are wanted, in order of name.
    pub fn living(&self) -> impl Iterator<Item = &Arc<Workload>> {
        self.members.iter().filter(|member| !deleting(&***member))
    }

    /// Whether a workload is the one that writes the Placement.
    pub fn is_written_by(&self, workload: &str) -> bool {
        let first = self.living().next();
        first.is_some_and(|first| first.name_any() == workload)
    }

    /// The name of the workload that writes the Placement.
    pub fn writer(&self) -> Option<&Arc<Workload>> {
        self.living().next()
    }

    /// All that own the Placement beside its writer: those that live, and those that still have something there.
    pub fn owners<'a>(
        &'a self,
        writer: &'a str,
        staying: &'a BTreeSet<&'a str>,
    ) -> impl Iterator<Item = &'a Arc<Workload>> {
        let others = self
            .members
            .iter()
            .filter(move |member| member.name_any() != writer);
        others
            .filter(|member| !deleting(&***member) || staying.contains(member.name_any().as_str()))
    }
}

/// Whether a workload is decided by itself.
fn is_alone(workload: &Workload) -> bool {
    workload.spec.group.is_none()
}

fn member_names(workload: &Workload) -> impl Iterator<Item = String> {
    let members = workload.spec.group.iter().flat_map(|group| &group.members);
    members.map(Ref::to_string)
}

/// Why two workloads are not of one mind about their group.
fn disagreement(workload: &Workload, member: &Workload) -> Option<&'static str> {
    let set = |group: &Option<WorkloadGroup>| {
        let members = group.iter().flat_map(|group| &group.members);
        members.cloned().collect::<BTreeSet<_>>()
    };
    let (own, other) = (&workload.spec.group, &member.spec.group);
    if deleting(member) && workload.name_any() != member.name_any() {
        return Some("is being deleted");
    }
    match (own, other) {
        (None, _) => None,
        (Some(own), Some(other)) if own.name != other.name => Some("names another group"),
        (Some(group), None) if !group.name.is_empty() => Some("names no group"),
        _ if set(own) != set(other) => Some("names other members of the group"),
        _ if !set(own).contains(&Ref::new(workload.name_any())) => {
            Some("is not among the members that it names")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::world::grouped;

    #[test]
    fn members_agree_if_they_name_the_same_group_and_members() {
        let check = |one: &Workload, other: &Workload, why: Option<&str>| {
            assert_eq!(disagreement(one, other), why);
        };
        let a = grouped("a", "g", &["a", "b"]);
        check(&a, &grouped("b", "g", &["b", "a"]), None);
        check(
            &a,
            &grouped("b", "h", &["a", "b"]),
            Some("names another group"),
        );
        check(
            &a,
            &grouped("b", "g", &["a", "b", "c"]),
            Some("names other members of the group"),
        );
        let mut alone = grouped("b", "g", &[]);
        alone.spec.group = None;
        check(&a, &alone, Some("names no group"));
        check(&alone, &alone, None);
        let stray = grouped("c", "g", &["a", "b"]);
        check(
            &stray,
            &stray,
            Some("is not among the members that it names"),
        );
        assert_eq!(
            (placement_name(&a), placement_name(&alone)),
            ("g".into(), "b".into())
        );
    }
}
