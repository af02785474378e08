//! Server-side apply as a request: from a configuration to what comes of the object, or to the conflicts in the way.

use bytes::Bytes;
use http::HeaderMap;
use serde_json::Value;

use super::{Done, NAMES_TRIED_MAX, Writing, writer};
use crate::convert::Known;
use crate::decode;
use crate::failure::{Cause, Failure};
use crate::ownership::{self, Apply, Managers, Operation, Refused};
use crate::query::FieldValidation;
use crate::request::Request;

impl Writing<'_> {
    /// Server-side apply: the object gets what the configuration says, and is made if it does not exist.
    pub(super) async fn apply(
        &self,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<(u16, Done), Failure> {
        let Request {
            query, subresource, ..
        } = self.request;
        if query.field_manager.is_empty() {
            let why = "is required for apply patch";
            return Err(Failure::patch_options(&Cause::required(
                "fieldManager",
                why,
            )));
        }
        let (mut config, repeated) = decode::configuration(body)?;
        let apply = Apply {
            writer: writer(self.request, headers, self.author, Operation::Apply),
            sent: config.clone(),
            force: query.force == Some(true),
            now: self.server.now(),
        };
        self.place_named(&mut config)?;
        let config = self
            .frame(&Known::default())
            .configuration(config, *subresource)?;
        let warnings = match (query.field_validation, repeated) {
            (FieldValidation::Strict, Some(repeated)) => {
                let message = format!(
                    "error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n  {repeated}"
                );
                return Err(Failure::bad_request(message));
            }
            (FieldValidation::Warn, repeated) => Vec::from_iter(repeated),
            (FieldValidation::Ignore | FieldValidation::Strict, _) => Vec::new(),
        };
        let next = |live: &Value, known: &Known| {
            let (frame, managers) = (self.frame(known), Managers::of(live).unwrap_or_default());
            let applied = ownership::applied(frame.forms(), live, &config, managers, &apply);
            let (mut value, managers) = applied.map_err(refused)?;
            managers.write(&mut value);
            Ok(value)
        };
        for _ in 0..NAMES_TRIED_MAX {
            match self.change(next, true).await {
                Err(missing) if missing.code == 404 && subresource.is_none() => {}
                changed => return Ok((200, warned(changed?, warnings))),
            }
            let mut first = config.clone();
            ownership::first(self.frame(&Known::default()).forms(), &config, &apply)
                .map_err(refused)?
                .write(&mut first);
            match self.create_value(&first).await {
                // Somebody made it meanwhile.
                Err(failure) if failure.reason == "AlreadyExists" => {}
                created => return Ok((201, warned(created?, warnings))),
            }
        }
        Err(Failure::modified(
            self.request.resource.as_ref(),
            &self.request.name,
        ))
    }
}

/// What was decided, with what was said before.
fn warned(mut done: Done, warnings: Vec<String>) -> Done {
    done.warnings.splice(0..0, warnings);
    done
}

fn refused(refused: Refused) -> Failure {
    match refused {
        Refused::Conflicts(conflicts) => Failure::apply_conflict(&conflicts),
        Refused::Invalid(why) => Failure::bad_request(why),
    }
}
