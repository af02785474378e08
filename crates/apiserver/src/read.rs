//! Reading one object.

use std::sync::Arc;

use http::{HeaderMap, Response};

use crate::access::{self, Author};
use crate::body::{self, Body};
use crate::convert;
use crate::failure::Failure;
use crate::list;
use crate::object::Object;
use crate::render::Render;
use crate::request::Request;
use crate::server::Server;

pub(crate) async fn get(
    server: &Server,
    author: Author<'_>,
    request: &Request,
    headers: &HeaderMap,
) -> Result<Response<Body>, Failure> {
    let render = Render::of(server, request, headers)?;
    let key = request.resource.key(&request.namespace, &request.name);
    let found = {
        let state = server.state();
        list::refuse_future(&state, &request.query.resource_version)?;
        state.objects.get(&key)
    };
    let object = found.ok_or_else(|| Failure::not_found(&request.resource, &request.name))?;
    access::check_found(author, request, &object.value)?;
    let object = seen(request, object).await?;
    let served = render.served(&[object]).await?;
    Ok(body::json(200, render.object(&served[0])))
}

/// What the request shows of an object: all of it, or its scale.
pub(crate) async fn seen(request: &Request, object: Arc<Object>) -> Result<Arc<Object>, Failure> {
    let Some(scale) = request.scale() else {
        return Ok(object);
    };
    let served = convert::served(&request.resource, request.served(), &object).await?;
    let scale = scale.read(&served.value)?;
    let scale = Object::at(object.key.clone(), object.revision, scale);
    Ok(Arc::new(scale))
}
