//! What becomes of a CertificateSigningRequest (`certificates.k8s.io/v1`).
//!
//! A host that asks for its own certificate, and who holds the bootstrap token of a host, get it with the answer; whatever
//! else such a one asks for is refused. What others ask for waits until somebody approves it who may (`approve` on the
//! signer), and is signed with the approval. The certificate of a host names the uid of its Host, and no certificate
//! begins before those of its user count.

#[cfg(test)]
mod tests;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::access::attributes::{Attributes, Place, Target};
use crate::access::{self, Author, BOOTSTRAPPERS, HOSTS_GROUP, Identity, Right, SERVERS, host_of};
use crate::authentication::{bootstrap, certificate};
use crate::failure::{Cause, Failure};
use crate::request::{Request, Subresource, Verb};
use crate::resource::{Home, Resource};
use crate::rules::put;
use crate::server::Server;
use crate::tls::{Asked, Authority, LEAF_LIFE, SKEW, Validity};

pub(crate) const GROUP: &str = "certificates.k8s.io";
pub(crate) const PLURAL: &str = "certificatesigningrequests";
/// Signs the certificates of hosts.
pub const HOST_SIGNER: &str = "groma.dev/host";
/// Signs the certificates of users, as in Kubernetes.
const USER_SIGNER: &str = "kubernetes.io/kube-apiserver-client";
/// The group in which no certificate is signed on request, as in Kubernetes.
const MASTERS: &str = "system:masters";
/// The shortest life that a request may ask for, in seconds.
const LIFE_MIN: i64 = 600;
/// Longest request that is signed, in bytes.
const REQUEST_BYTES_MAX: usize = 16 * 1024;
/// Who approves what is signed at once.
const REASON_OWN: &str = "OwnCertificate";

/// What a server signs with.
pub(crate) struct Signer {
    pub(crate) authority: Authority,
    /// How long the certificate of a host holds.
    pub(crate) host_life: Duration,
}

/// Whether it is about requests for certificates.
pub(crate) fn concerns(resource: &Resource) -> bool {
    resource.group == GROUP && resource.plural == PLURAL
}

/// Whether requests for certificates are kept there.
pub(crate) fn is_kept_at(home: &Home) -> bool {
    home.group == GROUP && home.plural == PLURAL
}

/// Whether a request asks for a certificate.
pub(crate) fn is_asked(request: &Request) -> bool {
    concerns(&request.resource) && request.verb == Verb::Create && request.subresource.is_none()
}

/// What is wrong with a request for a certificate.
pub(crate) fn problems(_: Option<&Value>, csr: &Value) -> Vec<Cause> {
    let (spec, mut causes) = (&csr["spec"], Vec::new());
    let signer = &spec["signerName"];
    if !signer.as_str().is_some_and(|name| name.contains('/')) {
        let why = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        causes.push(Cause::invalid("spec.signerName", signer, why));
    }
    if let Err(why) = asked(csr) {
        let request = &spec["request"];
        causes.push(Cause::invalid("spec.request", request, &why));
    }
    let life = &spec["expirationSeconds"];
    if life.as_i64().is_some_and(|life| life < LIFE_MIN) {
        let why = "may not specify a duration less than 600 seconds (10 minutes)";
        causes.push(Cause::invalid("spec.expirationSeconds", life, why));
    }
    causes
}

/// What was once asked for stays so.
pub(crate) fn fixed(old: &Value, new: &Value) -> Vec<Cause> {
    match old["spec"] == new["spec"] {
        true => Vec::new(),
        false => vec![Cause::invalid("spec", &new["spec"], "field is immutable")],
    }
}

fn asked(csr: &Value) -> Result<Asked, String> {
    let text = csr["spec"]["request"].as_str().unwrap_or_default();
    if text.len() > REQUEST_BYTES_MAX {
        return Err(format!("it is longer than {REQUEST_BYTES_MAX} bytes"));
    }
    let pem = STANDARD.decode(text).map_err(|error| error.to_string())?;
    Asked::parse(&pem)
}

/// A new request: with who has made it, and signed if it is for who has made it.
pub(crate) fn born(
    server: &Server,
    author: Author<'_>,
    request: &Request,
    mut csr: Value,
) -> Result<Value, Failure> {
    if !concerns(&request.resource) {
        return Ok(csr);
    }
    let by = author.identity;
    let said = by.user_info();
    for field in ["username", "uid", "groups", "extra"] {
        put(&mut csr["spec"], field, said.get(field).cloned());
    }
    csr["status"] = json!({});
    let is_for_itself = by.host_name().is_some() || by.bootstrap_id().is_some();
    if is_for_itself && csr["spec"]["signerName"] == HOST_SIGNER {
        let asked = asked(&csr).map_err(Failure::bad_request)?;
        let host = of_host(&asked)?.to_owned();
        may_have(server, by, request, (&host, &asked))?;
        let why = format!("it is the certificate of host {host}, which has asked for it");
        csr["status"]["conditions"] = json!([condition(server, REASON_OWN, &why)]);
        sign(server, request, &mut csr, asked)?;
    } else if matches!(author.right, Right::Host | Right::Bootstrap) {
        let why = format!("may ask for certificates of the signer {HOST_SIGNER:?} only");
        return Err(refused(by, &why));
    }
    Ok(csr)
}

/// Whether a host, or who holds its token, may have that certificate.
fn may_have(
    server: &Server,
    by: &Identity,
    request: &Request,
    (host, asked): (&str, &Asked),
) -> Result<(), Failure> {
    match (by.host_name(), by.bootstrap_id()) {
        (Some(own), _) if own == host => Ok(()),
        (Some(own), _) => Err(refused(by, &format!("may ask for host {own}, not {host}"))),
        (None, Some(id)) if request.query.dry_run => {
            bootstrap::may_claim(server, id, host, &asked.key_hash()).map(drop)
        }
        (None, Some(id)) => bootstrap::claim(server, id, host, &asked.key_hash()),
        (None, None) => Err(refused(by, "is no host")),
    }
}

fn refused(by: &Identity, why: &str) -> Failure {
    Failure::new(403, "Forbidden", format!("User {:?} {why}", by.name))
}

/// The next state of a request, signed if that approves it.
pub(crate) fn approved(
    server: &Server,
    author: Author<'_>,
    request: &Request,
    mut csr: Value,
) -> Result<Value, Failure> {
    if !concerns(&request.resource) || request.subresource != Some(Subresource::Approval) {
        return Ok(csr);
    }
    may_approve(server, author, &csr)?;
    let is = |kind: &str| {
        let conditions = csr["status"]["conditions"].as_array().into_iter().flatten();
        conditions.into_iter().any(|it| it["type"] == kind)
    };
    let is_ours = [HOST_SIGNER, USER_SIGNER].map(Value::from);
    let is_ours = is_ours.contains(&csr["spec"]["signerName"]) && server.signer().is_some();
    if is("Approved") && !is("Denied") && csr["status"]["certificate"].is_null() && is_ours {
        let asked = asked(&csr).map_err(Failure::bad_request)?;
        sign(server, request, &mut csr, asked)?;
    }
    Ok(csr)
}

/// As in Kubernetes, who approves needs a right to the signer, too.
fn may_approve(server: &Server, author: Author<'_>, csr: &Value) -> Result<(), Failure> {
    let signer = csr["spec"]["signerName"].as_str().unwrap_or_default();
    let asked = |name: String| Attributes {
        verb: "approve".to_owned(),
        target: Target::Resource(Place {
            group: GROUP.to_owned(),
            resource: "signers".to_owned(),
            name,
            ..Place::default()
        }),
    };
    let domain = signer.split('/').next().unwrap_or_default();
    let (one, all) = (asked(signer.to_owned()), asked(format!("{domain}/*")));
    let may = |asked| access::decide(server, author.identity, asked).allowed;
    match may(&one) || may(&all) {
        true => Ok(()),
        false => Err(one.refusal(author.identity, "")),
    }
}

/// The host that a certificate is asked for.
fn of_host(asked: &Asked) -> Result<&str, Failure> {
    let is_host = asked.organization.as_deref() == Some(HOSTS_GROUP);
    let host = host_of(&asked.common_name).filter(|_| is_host);
    host.ok_or_else(|| {
        let why = format!(
            "the request is for {:?}; a host's is for the common name \"system:host:NAME\" and the organization {HOSTS_GROUP:?}",
            asked.common_name
        );
        Failure::bad_request(why)
    })
}

/// Signs what was asked for, unless it is only to be known what would happen.
fn sign(server: &Server, request: &Request, csr: &mut Value, asked: Asked) -> Result<(), Failure> {
    let Some(signer) = server.signer() else {
        let why = "this server signs no certificates";
        return Err(Failure::new(501, "NotImplemented", why));
    };
    let (uid, longest) = match csr["spec"]["signerName"] == HOST_SIGNER {
        true => (uid(server, of_host(&asked)?)?, signer.host_life),
        false => (may_be_user(&asked).map(|()| String::new())?, LEAF_LIFE),
    };
    let life = csr["spec"]["expirationSeconds"].as_u64();
    let life = life.map_or(longest, |life| longest.min(Duration::from_secs(life)));
    let validity = validity(server, &asked.common_name, life)?;
    let pem = signer.authority.sign(asked, &uid, validity);
    let pem = pem.map_err(|error| Failure::internal(api::chain(&error)))?;
    if !request.query.dry_run {
        csr["status"]["certificate"] = STANDARD.encode(pem).into();
    }
    Ok(())
}

fn uid(server: &Server, host: &str) -> Result<String, Failure> {
    let uid = certificate::host_uid(server, host);
    uid.ok_or_else(|| {
        Failure::new(
            409,
            "Conflict",
            format!("there is no Host {host}: make it first"),
        )
    })
}

/// Administrators, hosts, other servers and who holds a bootstrap token are made known in other ways.
fn may_be_user(asked: &Asked) -> Result<(), Failure> {
    let organization = asked.organization.as_deref().unwrap_or_default().trim();
    let is_ours = [MASTERS, SERVERS, BOOTSTRAPPERS].contains(&organization);
    if is_ours || host_of(&asked.common_name).is_some() {
        let why = format!(
            "the signer {USER_SIGNER:?} signs for no host and no one in {MASTERS:?}, {SERVERS:?} or {BOOTSTRAPPERS:?}"
        );
        return Err(Failure::new(403, "Forbidden", why));
    }
    Ok(())
}

/// From a while ago, for machines whose clock is behind, but never from when certificates of that user counted no more.
fn validity(server: &Server, user: &str, life: Duration) -> Result<Validity, Failure> {
    let now: Timestamp = server.clock()();
    let from = certificate::not_before(server, user);
    let from = from.map_err(|why| Failure::internal(why.to_string()))?;
    Ok(Validity {
        begins: from.map_or(now - SKEW, |from| from.max(now - SKEW)),
        ends: now + life,
    })
}

fn condition(server: &Server, reason: &str, message: &str) -> Value {
    let now = server.now();
    json!({
        "type": "Approved", "status": "True", "reason": reason, "message": message,
        "lastUpdateTime": now, "lastTransitionTime": now,
    })
}
