//! What clients ask about themselves and others: who they are and what they may do. A review is answered and never kept;
//! the answers are in [`crate::review`].

use k8s_openapi::api::authentication::v1::{SelfSubjectReview, TokenReview};
use k8s_openapi::api::authorization::v1::{
    LocalSubjectAccessReview, SelfSubjectAccessReview, SelfSubjectRulesReview, SubjectAccessReview,
};

use super::{Builtin, typed};
use crate::ownership::Shape;
use crate::resource::{Offered, Resource, Typed};
use crate::review::{ACCESS, AUTHENTICATION, AUTHORIZATION, LOCAL, OTHERS, RULES, SELF, TOKENS};

pub(super) fn resources() -> [Resource; 6] {
    [
        review(AUTHENTICATION, SELF, typed::<SelfSubjectReview>()),
        review(AUTHENTICATION, TOKENS, typed::<TokenReview>()),
        review(AUTHORIZATION, ACCESS, typed::<SelfSubjectAccessReview>()),
        review(AUTHORIZATION, RULES, typed::<SelfSubjectRulesReview>()),
        review(AUTHORIZATION, OTHERS, typed::<SubjectAccessReview>()),
        local(),
    ]
}

/// About one namespace, by those who may ask in it.
fn local() -> Resource {
    let typed = typed::<LocalSubjectAccessReview>();
    Resource {
        namespaced: true,
        ..review(AUTHORIZATION, LOCAL, typed)
    }
}

fn review(
    group: &'static str,
    (plural, kind): (&'static str, &'static str),
    typed: Typed,
) -> Resource {
    let mut builtin = Builtin::core(plural, kind, &[], typed);
    builtin.group = group;
    builtin.namespaced = false;
    builtin.shape = Shape::object([("spec", Shape::Unknown), ("status", Shape::Unknown)]);
    builtin.traits.blank = &["spec", "status"];
    builtin.traits.offered = Offered::Asking;
    builtin.resource()
}
