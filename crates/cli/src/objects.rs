//! Objects of any kind: apply, get, describe, delete.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use http::header::CONTENT_TYPE;
use http::{Method, Request};
use indicatif::ProgressBar;
use k8s_openapi::api::core::v1::Event;
use kube::api::{DeleteParams, DynamicObject, ListParams};
use kube::{Api, Client, ResourceExt};
use serde_json::Value;

use crate::access::Access;
use crate::kinds::{Kind, Kinds};
use crate::output::{self, Out, Output};
use crate::table;

/// Who writes, as the server records it.
const MANAGER: &str = "groma";
/// The media type of a table (Kubernetes API concepts, "Receiving resources as Tables").
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
/// How often an object is changed anew because somebody else wrote in between.
const CHANGES_MAX: u32 = 20;
/// The pause before that: who wrote often writes again soon.
const CHANGE_AGAIN: Duration = Duration::from_millis(50);
/// How often a deletion is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// Applies what manifests say.
pub async fn apply_files(
    out: Out<'_>,
    client: &Client,
    namespace: &str,
    files: &[PathBuf],
) -> anyhow::Result<()> {
    for file in files {
        apply_told(out, client, namespace, &read(file)?).await?;
    }
    Ok(())
}

/// Applies documents and says what became of each.
pub async fn apply_told(
    out: Out<'_>,
    client: &Client,
    namespace: &str,
    documents: &[Value],
) -> anyhow::Result<()> {
    let kinds = Kinds::discover(client).await?;
    for document in documents {
        let done = apply_one(client, &kinds, namespace, document).await?;
        writeln!(out, "{done}")?;
    }
    Ok(())
}

/// Applies documents and says nothing.
pub async fn apply(client: &Client, documents: &[Value]) -> anyhow::Result<()> {
    apply_told(&mut io::sink(), client, "default", documents).await
}

/// Creates an object, or makes it what the document says.
async fn apply_one(
    client: &Client,
    kinds: &Kinds,
    default_namespace: &str,
    document: &Value,
) -> anyhow::Result<String> {
    let kind = kinds.of(document)?;
    let name = document["metadata"]["name"]
        .as_str()
        .context("metadata.name is missing")?;
    let what = format!("{}/{name}", kind.resource.kind.to_lowercase());
    let namespace = document["metadata"]["namespace"].as_str();
    let path = kind.path(Some(namespace.unwrap_or(default_namespace)));
    match write(client, Method::POST, &path, document).await {
        Ok(_) => return Ok(format!("{what} created")),
        Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {}
        Err(error) => return Err(error).with_context(|| format!("cannot apply {what}")),
    }
    let path = format!("{path}/{}", escaped(name));
    let done = change(client, &path, document).await;
    let changed = done.with_context(|| format!("cannot change {what}"))?;
    Ok(format!(
        "{what} {}",
        if changed { "changed" } else { "unchanged" }
    ))
}

/// Makes the object of a path what the document says; whether that changed it. Who writes meanwhile is heeded: the object
/// is read again.
async fn change(client: &Client, path: &str, document: &Value) -> kube::Result<bool> {
    let mut tries = 0;
    loop {
        tries += 1;
        let live: Value = client.request(get_request(path)?).await?;
        let wanted = changed(live.clone(), document);
        match write(client, Method::PUT, path, &wanted).await {
            Err(kube::Error::Api(status)) if status.code == 409 && tries < CHANGES_MAX => {
                tokio::time::sleep(CHANGE_AGAIN).await;
            }
            Err(error) => return Err(error),
            Ok(after) => return Ok(version_of(&after) != version_of(&live)),
        }
    }
}

fn version_of(object: &Value) -> &Value {
    &object["metadata"]["resourceVersion"]
}

/// The live object with what the document names replaced as a whole, so that what it no longer says is gone. Labels and
/// annotations are others' too, and only added to.
fn changed(mut live: Value, document: &Value) -> Value {
    for (field, value) in document.as_object().into_iter().flatten() {
        if !matches!(field.as_str(), "metadata" | "status") {
            live[field] = value.clone();
        }
    }
    for field in ["labels", "annotations"] {
        let named = document["metadata"][field].as_object();
        for (key, value) in named.into_iter().flatten() {
            live["metadata"][field][key] = value.clone();
        }
    }
    live
}

fn get_request(path: &str) -> kube::Result<Request<Vec<u8>>> {
    Request::get(path)
        .body(Vec::new())
        .map_err(kube::Error::HttpError)
}

/// Writes an object; the server refuses fields that it does not know, which would vanish otherwise.
async fn write(client: &Client, method: Method, path: &str, object: &Value) -> kube::Result<Value> {
    let request = Request::builder()
        .method(method)
        .uri(format!(
            "{path}?fieldManager={MANAGER}&fieldValidation=Strict"
        ))
        .header(CONTENT_TYPE, "application/json")
        .body(object.to_string().into_bytes())
        .map_err(kube::Error::HttpError)?;
    client.request(request).await
}

fn read(file: &Path) -> anyhow::Result<Vec<Value>> {
    let mut text = String::new();
    if file.as_os_str() == "-" {
        std::io::stdin().read_to_string(&mut text)?;
    } else {
        text = std::fs::read_to_string(file)
            .with_context(|| format!("cannot read {}", file.display()))?;
    }
    api::documents(&text)
        .map_err(|error| anyhow::anyhow!("{}: {}", file.display(), api::chain(&error)))
}

/// Which objects.
pub struct Query<'a> {
    pub kind: String,
    pub name: Option<String>,
    pub selector: Option<String>,
    /// All namespaces when not given.
    pub namespace: Option<&'a str>,
}

/// Shows objects.
pub async fn get(
    out: Out<'_>,
    client: &Client,
    query: Query<'_>,
    output: Output,
) -> anyhow::Result<()> {
    let kinds = Kinds::discover(client).await?;
    let kind = kinds.named(&query.kind)?;
    match output {
        Output::Table | Output::Wide => return get_table(out, client, kind, &query, output).await,
        Output::Yaml | Output::Json | Output::Name => {}
    }
    let api = kind.api(client, query.namespace);
    let mut found = match &query.name {
        Some(name) => vec![api.get(name).await?],
        None => {
            let mut params = ListParams::default();
            params.label_selector.clone_from(&query.selector);
            api.list(&params).await?.items
        }
    };
    // Who owns which field is for programs; kubectl does not show it either.
    for object in &mut found {
        object.metadata.managed_fields = None;
    }
    match (output, &query.name) {
        (Output::Name, _) => {
            for object in &found {
                writeln!(
                    out,
                    "{}/{}",
                    kind.resource.kind.to_lowercase(),
                    object.name_any()
                )?;
            }
            Ok(())
        }
        (_, Some(_)) => output::print(out, &found[0], output),
        (_, None) => output::print(
            out,
            &serde_json::json!({"apiVersion": "v1", "kind": "List", "items": found}),
            output,
        ),
    }
}

/// The server knows best which columns a kind has.
async fn get_table(
    out: Out<'_>,
    client: &Client,
    kind: &Kind,
    query: &Query<'_>,
    output: Output,
) -> anyhow::Result<()> {
    let mut path = kind.path(query.namespace);
    if let Some(name) = &query.name {
        path = format!("{path}/{name}");
    }
    if let Some(selector) = &query.selector {
        path = format!("{path}?labelSelector={}", escaped(selector));
    }
    let request = Request::get(path)
        .header(http::header::ACCEPT, TABLE)
        .body(Vec::new())?;
    let table: Value = client.request(request).await?;
    let columns = table["columnDefinitions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let shown: Vec<usize> = (0..columns.len())
        .filter(|n| output == Output::Wide || columns[*n]["priority"].as_i64().unwrap_or(0) == 0)
        .collect();
    let with_namespace = kind.namespaced && query.namespace.is_none();
    let mut header: Vec<&str> = shown
        .iter()
        .filter_map(|n| columns[*n]["name"].as_str())
        .collect();
    if with_namespace {
        header.insert(0, "namespace");
    }
    let row = |row: &Value| {
        let mut cells: Vec<String> = shown.iter().map(|n| cell(&row["cells"][*n])).collect();
        if with_namespace {
            cells.insert(0, cell(&row["object"]["metadata"]["namespace"]));
        }
        cells
    };
    let rows: Vec<_> = table["rows"]
        .as_array()
        .into_iter()
        .flatten()
        .map(row)
        .collect();
    if rows.is_empty() {
        writeln!(out, "no {} found", kind.resource.plural)?;
    } else {
        table::print(out, &header, &rows)?;
    }
    Ok(())
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Percent-encodes what cannot stand in a query (RFC 3986 §2.3).
pub(crate) fn escaped(text: &str) -> String {
    let kept = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| {
            if kept(byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

/// Shows one object, its conditions and its events.
pub async fn describe(
    out: Out<'_>,
    client: &Client,
    namespace: &str,
    kind: &str,
    name: &str,
) -> anyhow::Result<()> {
    let kinds = Kinds::discover(client).await?;
    let kind = kinds.named(kind)?;
    let mut object = serde_json::to_value(kind.api(client, Some(namespace)).get(name).await?)?;
    let conditions = object["status"]["conditions"].take();
    object["metadata"]
        .as_object_mut()
        .map(|metadata| metadata.remove("managedFields"));
    output::print(out, &object, Output::Yaml)?;
    if let Some(conditions) = conditions.as_array() {
        writeln!(out)?;
        let row = |condition: &Value| {
            ["type", "status", "reason", "message"]
                .map(|field| cell(&condition[field]))
                .to_vec()
        };
        table::print(
            out,
            &["condition", "status", "reason", "message"],
            &conditions.iter().map(row).collect::<Vec<_>>(),
        )?;
    }
    let events: Api<Event> = if kind.namespaced {
        Api::namespaced(client.clone(), namespace)
    } else {
        Api::all(client.clone())
    };
    let about = ListParams::default().fields(&format!(
        "involvedObject.name={name},involvedObject.kind={}",
        kind.resource.kind
    ));
    let events = events.list(&about).await?.items;
    if !events.is_empty() {
        writeln!(out)?;
        let row = |event: &Event| {
            vec![
                event.type_.clone(),
                event.reason.clone(),
                event.message.clone(),
            ]
            .into_iter()
            .map(Option::unwrap_or_default)
            .collect()
        };
        table::print(
            out,
            &["event", "reason", "message"],
            &events.iter().map(row).collect::<Vec<_>>(),
        )?;
    }
    Ok(())
}

/// Deletes objects by name.
pub async fn delete(
    out: Out<'_>,
    client: &Client,
    namespace: &str,
    kind: &str,
    names: &[String],
    wait: bool,
) -> anyhow::Result<()> {
    if names.is_empty() {
        bail!("say which {kind} to delete");
    }
    let kinds = Kinds::discover(client).await?;
    let kind = kinds.named(kind)?;
    for name in names {
        delete_one(out, client, kind, namespace, name, wait).await?;
    }
    Ok(())
}

/// Deletes what a manifest names, last first.
pub async fn delete_file(
    out: Out<'_>,
    client: &Client,
    namespace: &str,
    file: &Path,
    wait: bool,
) -> anyhow::Result<()> {
    let kinds = Kinds::discover(client).await?;
    for document in read(file)?.iter().rev() {
        let name = document["metadata"]["name"]
            .as_str()
            .context("metadata.name is missing")?;
        let namespace = document["metadata"]["namespace"]
            .as_str()
            .unwrap_or(namespace);
        delete_one(out, client, kinds.of(document)?, namespace, name, wait).await?;
    }
    Ok(())
}

async fn delete_one(
    out: Out<'_>,
    client: &Client,
    kind: &Kind,
    namespace: &str,
    name: &str,
    wait: bool,
) -> anyhow::Result<()> {
    let api = kind.api(client, Some(namespace));
    let what = format!("{}/{name}", kind.resource.kind.to_lowercase());
    let deleted = match api.delete(name, &DeleteParams::background()).await {
        Err(kube::Error::Api(status)) if status.code == 404 => {
            writeln!(out, "{what} does not exist")?;
            return Ok(());
        }
        other => other.with_context(|| format!("cannot delete {what}"))?,
    };
    // Another of that name may be made as soon as it is gone.
    let going = deleted.left().and_then(|object| object.uid());
    let progress = ProgressBar::new_spinner().with_message(format!("waiting until {what} is gone"));
    progress.enable_steady_tick(LOOK);
    while wait && going.is_some() {
        let there = api.get_opt(name).await?;
        let Some(there) = there.filter(|object| object.uid() == going) else {
            break;
        };
        progress.set_message(format!("waiting until {what} is gone{}", held_by(&there)));
        tokio::time::sleep(LOOK).await;
    }
    progress.finish_and_clear();
    writeln!(out, "{what} deleted")?;
    Ok(())
}

/// What an object that is being deleted waits for, by its own words.
fn held_by(object: &DynamicObject) -> String {
    let conditions = object.data["status"]["conditions"].as_array();
    let mut conditions = conditions.into_iter().flatten();
    let ready = conditions.find(|condition| condition["type"] == api::READY);
    match ready.and_then(|ready| ready["message"].as_str()) {
        None | Some("") => String::new(),
        Some(why) => format!(": {}", api::terminal::plain(why)),
    }
}

/// Prints the versions of this program and, if one answers, of the server.
pub async fn version(out: Out<'_>, access: &Access) -> io::Result<()> {
    writeln!(out, "client  {}", env!("CARGO_PKG_VERSION"))?;
    let version = async {
        let server = access.server().await?;
        let version = server.client.apiserver_version().await;
        version.map_err(|error| server.explain(error.into()))
    };
    match version.await {
        Ok(version) => writeln!(out, "server  {}", version.git_version),
        Err(error) => writeln!(out, "server  not reached: {}", crate::explained(&error)),
    }
}
