//! Which rules an identity has: the visible roles and bindings, kept by whom they are about.
//!
//! They are followed change by change and never read anew, so that a server with ten thousand bindings takes another one
//! as fast as the first; a question looks only at the bindings of the name and the groups of who asks.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use k8s_openapi::api::rbac::v1::{RoleRef, Subject};
use serde::Deserialize;
use tokio::sync::watch;

use super::attributes::Attributes;
use super::identity::{self, Identity};
use super::rules::Rule;
use crate::history::{Change, Event};
use crate::index::Objects;
use crate::object::{Key, Object};
use crate::resource::Home;
use crate::selection::Selection;
use crate::state::State;

/// The group of roles and bindings.
pub(crate) const GROUP: &str = "rbac.authorization.k8s.io";
pub(crate) const CLUSTER_ROLES: &str = "clusterroles";
pub(super) const CLUSTER_BINDINGS: &str = "clusterrolebindings";
pub(super) const ROLES: &str = "roles";
pub(super) const BINDINGS: &str = "rolebindings";
const KINDS: [&str; 4] = [ROLES, BINDINGS, CLUSTER_ROLES, CLUSTER_BINDINGS];

/// The visible roles and bindings, and when they change.
pub(crate) struct Authorizer {
    roles: RwLock<Roles>,
    changed: watch::Sender<()>,
}

/// What is answered to a question.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) allowed: bool,
    /// Which binding allows it, or which roles could not be asked.
    pub(crate) reason: String,
}

/// Namespace, empty for those of the cluster, and name.
type Place = (String, String);

#[derive(Default)]
struct Roles {
    rules: HashMap<Place, Arc<[Rule]>>,
    bindings: HashMap<Place, Arc<Binding>>,
    /// The bindings of each namespace, and under the empty name those of the cluster.
    scopes: HashMap<String, Scope>,
}

/// The bindings of a namespace by whom they are about.
#[derive(Default)]
struct Scope {
    users: Index,
    groups: Index,
}

/// Bindings by whom they are about, and by their names.
type Index = HashMap<String, BTreeMap<String, Arc<Binding>>>;

struct Binding {
    namespace: String,
    name: String,
    role: RoleRef,
    subjects: Vec<Subject>,
}

fn home(plural: &str) -> Home {
    Home {
        group: GROUP.to_owned(),
        plural: plural.to_owned(),
    }
}

/// Whether what is kept there says who may do what.
pub(crate) fn concerns(home: &Home) -> bool {
    home.group == GROUP && KINDS.contains(&home.plural.as_str())
}

impl Authorizer {
    /// What those objects say.
    pub(crate) fn of(objects: &Objects) -> Self {
        let mut roles = Roles::default();
        for plural in KINDS {
            let there = objects.select(&Selection::all(Arc::new(home(plural))), None);
            there.iter().for_each(|object| roles.put(object));
        }
        Self {
            roles: RwLock::new(roles),
            changed: watch::Sender::new(()),
        }
    }

    /// Goes by these changes from now on. Answers whether roles of the cluster are among them.
    pub(crate) fn follow(&self, events: &[Arc<Event>]) -> bool {
        if events.is_empty() {
            return false;
        }
        let mut roles = self.roles.write().unwrap_or_else(PoisonError::into_inner);
        for event in events {
            match event.change {
                Change::Deleted => roles.forget(&event.new.key),
                Change::Added | Change::Modified => roles.put(&event.new),
            }
        }
        drop(roles);
        self.changed.send_replace(());
        let mut events = events.iter();
        events.any(|event| event.new.key.home.plural == CLUSTER_ROLES)
    }

    /// Goes by what is decided and not visible yet, too: for what there must be before the first request.
    pub(super) fn expect(&self, state: &State) {
        let mut roles = self.roles.write().unwrap_or_else(PoisonError::into_inner);
        for plural in [CLUSTER_ROLES, CLUSTER_BINDINGS] {
            let decided = state.latest_at(&home(plural));
            decided.iter().for_each(|object| roles.put(object));
        }
    }

    /// Tells when a question may be answered otherwise than before.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Whether somebody may do something by the roles that it has.
    pub(crate) fn decide(&self, identity: &Identity, asked: &Attributes) -> Decision {
        self.roles().decide(identity, asked)
    }

    /// All rules that somebody has in a namespace, and which roles could not be asked.
    pub(crate) fn rules(&self, identity: &Identity, namespace: &str) -> (Vec<Rule>, String) {
        self.roles().rules(identity, namespace)
    }

    /// The rules of the role that a binding in that namespace names.
    pub(super) fn role(&self, namespace: &str, role: &RoleRef) -> Option<Arc<[Rule]>> {
        self.roles().role(namespace, role).cloned()
    }

    /// How many bindings are looked at for a question.
    #[cfg(test)]
    pub(super) fn asked(&self, identity: &Identity, namespace: &str) -> usize {
        self.roles().bindings(identity, namespace).count()
    }

    fn roles(&self) -> RwLockReadGuard<'_, Roles> {
        self.roles.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Roles {
    fn put(&mut self, object: &Object) {
        let Key {
            home,
            namespace,
            name,
        } = &object.key;
        let place = (namespace.clone(), name.clone());
        if let ROLES | CLUSTER_ROLES = home.plural.as_str() {
            self.rules.insert(place, Rule::all_of(&object.value).into());
            return;
        }
        self.forget(&object.key);
        if let Some(binding) = Binding::of(object) {
            let binding = Arc::new(binding);
            let scope = self.scopes.entry(namespace.clone()).or_default();
            for subject in &binding.subjects {
                if let Some((index, who)) = scope.index(subject, namespace) {
                    let bindings = index.entry(who).or_default();
                    bindings.insert(name.clone(), binding.clone());
                }
            }
            self.bindings.insert(place, binding);
        }
    }

    fn forget(&mut self, key: &Key) {
        let place = (key.namespace.clone(), key.name.clone());
        if let ROLES | CLUSTER_ROLES = key.home.plural.as_str() {
            self.rules.remove(&place);
            return;
        }
        let (Some(binding), Some(scope)) = (
            self.bindings.remove(&place),
            self.scopes.get_mut(&key.namespace),
        ) else {
            return;
        };
        for subject in &binding.subjects {
            let Some((index, who)) = scope.index(subject, &key.namespace) else {
                continue;
            };
            if let Some(bindings) = index.get_mut(&who) {
                bindings.remove(&key.name);
                if bindings.is_empty() {
                    index.remove(&who);
                }
            }
        }
        if scope.users.is_empty() && scope.groups.is_empty() {
            self.scopes.remove(&key.namespace);
        }
    }

    fn decide(&self, identity: &Identity, asked: &Attributes) -> Decision {
        let mut missing = Vec::new();
        for binding in self.bindings(identity, asked.namespace()) {
            match self.role(&binding.namespace, &binding.role) {
                Some(rules) if rules.iter().any(|rule| rule.allows(asked)) => {
                    return Decision {
                        allowed: true,
                        reason: format!("RBAC: allowed by {}", binding.told(identity)),
                    };
                }
                Some(_) => {}
                None => missing.push(binding.missing()),
            }
        }
        let reason = match aggregate(missing) {
            why if why.is_empty() => why,
            why => format!("RBAC: {why}"),
        };
        Decision {
            allowed: false,
            reason,
        }
    }

    fn rules(&self, identity: &Identity, namespace: &str) -> (Vec<Rule>, String) {
        let (mut rules, mut missing) = (Vec::new(), Vec::new());
        let mut seen = HashSet::new();
        for binding in self.bindings(identity, namespace) {
            if !seen.insert((&binding.namespace, &binding.name)) {
                continue;
            }
            match self.role(&binding.namespace, &binding.role) {
                Some(own) => rules.extend(own.iter().cloned()),
                None => missing.push(binding.missing()),
            }
        }
        (rules, aggregate(missing))
    }

    /// The bindings of the cluster, and then those of the namespace, that are about somebody; one may come twice.
    fn bindings<'s>(
        &'s self,
        identity: &'s Identity,
        namespace: &'s str,
    ) -> impl Iterator<Item = &'s Arc<Binding>> {
        let local = Some(namespace).filter(|namespace| !namespace.is_empty());
        let scopes = [""].into_iter().chain(local);
        let scopes = scopes.filter_map(|namespace| self.scopes.get(namespace));
        scopes.flat_map(|scope| {
            let user = scope.users.get(&identity.name).into_iter();
            let groups = identity.groups.iter();
            let groups = groups.filter_map(|group| scope.groups.get(group));
            user.chain(groups).flat_map(BTreeMap::values)
        })
    }

    fn role(&self, namespace: &str, role: &RoleRef) -> Option<&Arc<[Rule]>> {
        let namespace = match role.kind.as_str() {
            "ClusterRole" => "",
            _ => namespace,
        };
        self.rules.get(&(namespace.to_owned(), role.name.clone()))
    }
}

impl Scope {
    /// Where the bindings about a subject are; `None` for one that nobody can be.
    fn index(&mut self, subject: &Subject, namespace: &str) -> Option<(&mut Index, String)> {
        match subject.kind.as_str() {
            "Group" => Some((&mut self.groups, subject.name.clone())),
            _ => Some((&mut self.users, user(subject, namespace)?)),
        }
    }
}

impl Binding {
    /// `None` for one that cannot be read, or that names a role that it cannot have.
    fn of(object: &Object) -> Option<Self> {
        let namespace = object.key.namespace.clone();
        let role = RoleRef::deserialize(&object.value["roleRef"]).ok()?;
        let subjects = Option::<Vec<Subject>>::deserialize(&object.value["subjects"]).ok()?;
        let possible = role.kind == "ClusterRole" || role.kind == "Role" && !namespace.is_empty();
        possible.then(|| Self {
            namespace,
            name: object.key.name.clone(),
            role,
            subjects: subjects.unwrap_or_default(),
        })
    }

    fn missing(&self) -> String {
        let (kind, name) = (self.role.kind.to_lowercase(), &self.role.name);
        format!("{kind}.{GROUP} {name:?} not found")
    }

    /// `RoleBinding "editors/team" of ClusterRole "edit" to User "alice"`
    fn told(&self, identity: &Identity) -> String {
        let RoleRef { kind, name, .. } = &self.role;
        let binding = match self.namespace.as_str() {
            "" => format!("ClusterRoleBinding {:?}", self.name),
            namespace => format!("RoleBinding {:?}", format!("{}/{namespace}", self.name)),
        };
        let mut subjects = self.subjects.iter();
        let subject = subjects.find(|subject| match subject.kind.as_str() {
            "Group" => identity.is_in(&subject.name),
            _ => user(subject, &self.namespace).as_deref() == Some(&identity.name),
        });
        let subject = subject.map(|it| match it.kind.as_str() {
            "ServiceAccount" => {
                let namespace = account_namespace(it, &self.namespace);
                format!("{} {:?}", it.kind, format!("{}/{namespace}", it.name))
            }
            kind => format!("{kind} {:?}", it.name),
        });
        let subject = subject.unwrap_or_default();
        format!("{binding} of {kind} {name:?} to {subject}")
    }
}

/// The name of the user that a subject is; `None` if it is none.
fn user(subject: &Subject, namespace: &str) -> Option<String> {
    match subject.kind.as_str() {
        "User" => Some(subject.name.clone()),
        "ServiceAccount" => match account_namespace(subject, namespace) {
            "" => None,
            namespace => Some(identity::account(namespace, &subject.name)),
        },
        _ => None,
    }
}

/// An account is of the binding's namespace unless it says of which it is.
fn account_namespace<'s>(subject: &'s Subject, namespace: &'s str) -> &'s str {
    match subject.namespace.as_deref() {
        None | Some("") => namespace,
        Some(namespace) => namespace,
    }
}

/// Several reasons as one, as Kubernetes puts them together.
fn aggregate(mut reasons: Vec<String>) -> String {
    let mut seen = HashSet::new();
    reasons.retain(|reason| seen.insert(reason.clone()));
    match reasons.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    }
}
