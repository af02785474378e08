//! What clients ask about themselves and others: who they are and what they may do. A review is answered and never kept;
//! the answers are in [`crate::review`].

use std::sync::{Arc, LazyLock};

use k8s_openapi::api::authentication::v1::{SelfSubjectReview, TokenRequest, TokenReview};
use k8s_openapi::api::authorization::v1::{
    LocalSubjectAccessReview, SelfSubjectAccessReview, SelfSubjectRulesReview, SubjectAccessReview,
};

use serde_json::{Value, json};

use super::{Builtin, typed};
use crate::authentication::account::{AUDIENCE, LIFE_DEFAULT, LIFE_MAX, LIFE_MIN};
use crate::failure::Cause;
use crate::ownership::Shape;
use crate::resource::{Offered, Resource, Typed};
use crate::review::{
    ACCESS, AUTHENTICATION, AUTHORIZATION, LOCAL, OTHERS, RULES, SELF, TOKEN, TOKENS,
};

/// What is sent to the token of a service account, as a resource without a collection.
pub(crate) static TOKEN_REQUEST: LazyLock<Arc<Resource>> = LazyLock::new(|| {
    let mut request = review(AUTHENTICATION, TOKEN, typed::<TokenRequest>());
    request.namespaced = true;
    request.traits.complete = Some(complete_request);
    request.traits.problems = Some(request_problems);
    Arc::new(request)
});

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

fn complete_request(request: &mut Value, _: Option<&Value>) {
    let Some(fields) = request.as_object_mut() else {
        return;
    };
    let spec = fields.entry("spec").or_insert(Value::Null);
    if spec.is_null() {
        *spec = json!({});
    }
    let Some(spec) = spec.as_object_mut() else {
        return;
    };
    if spec.get("expirationSeconds").is_none_or(Value::is_null) {
        spec.insert("expirationSeconds".to_owned(), LIFE_DEFAULT.into());
    }
    let audiences = spec.get("audiences").and_then(Value::as_array);
    if audiences.is_none_or(Vec::is_empty) {
        spec.insert("audiences".to_owned(), json!([AUDIENCE]));
    }
}

fn request_problems(_: Option<&Value>, request: &Value) -> Vec<Cause> {
    let life = &request["spec"]["expirationSeconds"];
    let why = match life.as_i64().unwrap_or_default() {
        ..LIFE_MIN => "may not specify a duration less than 10 minutes",
        LIFE_MIN..=LIFE_MAX => return Vec::new(),
        _ => "may not specify a duration larger than 2^32 seconds",
    };
    vec![Cause::invalid("spec.expirationSeconds", life, why)]
}
