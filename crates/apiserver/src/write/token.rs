//! Making a token for a service account: what is asked for is read like an object that is created, and never kept.

use bytes::Bytes;
use http::{HeaderMap, Response};

use super::{Writing, warn};
use crate::admission::{Operation, Subject};
use crate::authentication::account;
use crate::body::{self, Body};
use crate::convert::Known;
use crate::failure::Failure;
use crate::object::meta_mut;
use crate::render::Render;

impl Writing<'_> {
    /// Answers a `TokenRequest` with the token in it.
    pub(super) async fn token(
        &self,
        render: &Render,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<Response<Body>, Failure> {
        let (resource, name) = (&self.request.resource, &self.request.name);
        let (mut value, mut warnings) = self.decode(headers, body)?;
        self.place_named(&mut value)?;
        let draft = self.frame(&Known::default()).draft(value)?;
        warnings.extend(draft.warnings);
        let key = resource.key(&self.request.namespace, name);
        let account = self.server.state().objects.get(&key);
        let account = account.ok_or_else(|| Failure::not_found(resource, name))?;
        let (admission, attempt) = self.attempt(Operation::Create);
        let reread = |changed, draft: &_| {
            let known = Known::default();
            self.frame(&known).reread(changed, draft, None)
        };
        let asked = attempt.mutate(&admission, draft.value, None, reread);
        let (mut answer, said) = asked.await?;
        warnings.extend(said);
        let form = self.request.form();
        let problems = form.traits.problems.map(|problems| problems(None, &answer));
        let problems = problems.unwrap_or_default();
        if !problems.is_empty() {
            return Err(Failure::invalid(form, name, &problems));
        }
        let subject = Subject {
            object: Some(&answer),
            old: None,
        };
        warnings.extend(attempt.validate(&admission, subject).await?);
        let issued = account::issue(self.server, &account, &answer["spec"])?;
        let ends = jiff::Timestamp::from_second(issued.ends.as_second()).unwrap_or(issued.ends);
        answer["status"] =
            serde_json::json!({"token": issued.token, "expirationTimestamp": ends.to_string()});
        meta_mut(&mut answer).insert("creationTimestamp".to_owned(), self.server.now().into());
        let mut response = body::json(201, body::text(&answer, render.pretty));
        warn(&mut response, &warnings);
        Ok(response)
    }
}
