//! Answering a review: read like an object that is created, and never kept.

use bytes::Bytes;
use http::{HeaderMap, Response};

use super::{Writing, warn};
use crate::body::{self, Body};
use crate::convert::Known;
use crate::failure::Failure;
use crate::object::meta_mut;
use crate::render::Render;
use crate::review;

impl Writing<'_> {
    /// Answers what the author asks about himself.
    pub(super) async fn review(
        &self,
        render: &Render,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<Response<Body>, Failure> {
        let (mut value, mut warnings) = self.decode(headers, body)?;
        self.place(&mut value)?;
        let draft = self.frame(&Known::default()).draft(value)?;
        warnings.extend(draft.warnings);
        let mut answer = draft.value;
        answer["status"] =
            review::status(self.server, self.author.identity, self.request, &answer).await?;
        if self.request.resource.kind == review::SELF.1 {
            meta_mut(&mut answer).insert("creationTimestamp".to_owned(), self.server.now().into());
        }
        let mut response = body::json(201, body::text(&answer, render.pretty));
        warn(&mut response, &warnings);
        Ok(response)
    }
}
