//! What the authority keeps on disk, what it renews, and what a handshake tells the server.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;

fn now() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

fn authority() -> (tempfile::TempDir, Authority) {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::open(&folder.path().join("state"), now()).unwrap();
    (folder, authority)
}

fn reopen(authority: &Authority) -> Authority {
    Authority::open(&authority.folder, now()).unwrap()
}

fn server_certificate(
    authority: &Authority,
    names: &[&str],
    now: Timestamp,
) -> CertificateDer<'static> {
    let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
    authority.server_credentials(&names, now).unwrap().0
}

/// Made by `openssl req -x509 -subj "/O=one/O=two, three/OU=none/CN=ann"`.
const OF_MANY: &str = "\
-----BEGIN CERTIFICATE-----
MIIB1zCCAX2gAwIBAgIUKyBii6rmpcYZORGoG9sHDokoiLMwCgYIKoZIzj0EAwIw
QDEMMAoGA1UECgwDb25lMRMwEQYDVQQKDAp0d28sIHRocmVlMQ0wCwYDVQQLDARu
b25lMQwwCgYDVQQDDANhbm4wIBcNMjYxMTI5MTEzNzAxWhgPMjEyNjExMDUxMTM3
MDFaMEAxDDAKBgNVBAoMA29uZTETMBEGA1UECgwKdHdvLCB0aHJlZTENMAsGA1UE
CwwEbm9uZTEMMAoGA1UEAwwDYW5uMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE
/5UmDiQmlsVqns3JmJtT3HmCGO0epft9ivmE1/V+RIBup487WJZDhU7xpNJcLfQM
JssZtMRdttAWtqzLXCirDKNTMFEwHQYDVR0OBBYEFBsOhfDMRallAoUFovzOAVzq
SSbHMB8GA1UdIwQYMBaAFBsOhfDMRallAoUFovzOAVzqSSbHMA8GA1UdEwEB/wQF
MAMBAf8wCgYIKoZIzj0EAwIDSAAwRQIhALMwV5LyjUP3RRRTrUIIfqabZHjXsOVZ
PjJnHEdqYXMMAiBSNOHsCy+YeB5IdxVY0b7HQuzKWOLHikRoS/lujzsVTA==
-----END CERTIFICATE-----
";

#[test]
fn all_organizations_of_a_certificate_are_read() {
    let certificate = CertificateDer::from_pem_slice(OF_MANY.as_bytes()).unwrap();
    let expected = Subject {
        common_name: "ann".to_owned(),
        organizations: vec!["one".to_owned(), "two, three".to_owned()],
        uid: String::new(),
        validity: Validity {
            begins: "2026-11-29T11:37:01Z".parse().unwrap(),
            ends: "2126-11-05T11:37:01Z".parse().unwrap(),
        },
    };
    assert_eq!(Subject::of(&certificate), Some(expected));
}

#[test]
fn keys_are_their_owners_and_the_certificate_is_everyones() {
    let (_keep, authority) = authority();
    authority.server_config(&[], now()).unwrap();
    let mode = |file: &str| {
        fs::metadata(authority.folder.join(file))
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(mode(AUTHORITY_FILE), 0o600);
    assert_eq!(mode(SERVER_FILE), 0o600);
    assert_eq!(mode(AUTHORITY_PUBLIC_FILE), 0o644);
    assert_eq!(
        fs::metadata(&authority.folder)
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o700
    );
}

#[test]
fn a_second_start_finds_the_same_authority_and_server() {
    let (_keep, authority) = authority();
    let server = server_certificate(&authority, &["groma.example"], now());
    let again = reopen(&authority);
    assert_eq!(again.certificate(), authority.certificate());
    assert_eq!(
        server_certificate(&again, &["groma.example"], now()),
        server
    );
}

#[test]
fn a_start_after_a_kill_at_any_write_works() {
    let (_keep, authority) = authority();
    server_certificate(&authority, &[], now());
    let kept = authority.certificate().to_owned();
    for lost in [AUTHORITY_PUBLIC_FILE, SERVER_FILE] {
        fs::remove_file(authority.folder.join(lost)).unwrap();
        for file in [AUTHORITY_FILE, AUTHORITY_PUBLIC_FILE, SERVER_FILE] {
            fs::write(authority.folder.join(format!("{file}.new")), "hal").unwrap();
        }
        let again = reopen(&authority);
        server_certificate(&again, &[], now());
        assert_eq!(again.certificate(), kept);
        assert_eq!(
            fs::read_to_string(authority.folder.join(AUTHORITY_PUBLIC_FILE)).unwrap(),
            kept
        );
    }
}

#[test]
fn two_first_starts_at_once_agree() {
    let folder = tempfile::tempdir().unwrap();
    let made = Authority::open(folder.path(), now()).unwrap();
    let lost = make_authority(&folder.path().join(AUTHORITY_FILE), now()).unwrap();
    assert!(
        lost.ends_with(made.certificate()),
        "the second one takes what the first one made"
    );
}

#[test]
fn the_server_certificate_is_renewed_for_new_names_and_near_its_end() {
    let (_keep, authority) = authority();
    let first = server_certificate(&authority, &["a.example"], now());
    let other_names =
        server_certificate(&authority, &["a.example", "10.0.0.1", "2001:db8::1"], now());
    assert_ne!(first, other_names);
    let day = jiff::Span::new().hours(24);
    let fresh = server_certificate(
        &authority,
        &["a.example", "10.0.0.1", "2001:db8::1"],
        now() + day,
    );
    assert_eq!(other_names, fresh);
    let late = now() + jiff::Span::new().hours(24 * 340);
    assert_ne!(
        server_certificate(&authority, &["a.example", "10.0.0.1", "2001:db8::1"], late),
        fresh
    );
}

#[test]
fn a_server_certificate_of_another_authority_is_replaced() {
    let (_keep, first) = authority();
    let old = server_certificate(&first, &[], now());
    fs::remove_file(first.folder.join(AUTHORITY_FILE)).unwrap();
    let second = reopen(&first);
    assert_ne!(server_certificate(&second, &[], now()), old);
    assert_eq!(
        fs::read_to_string(first.folder.join(AUTHORITY_PUBLIC_FILE)).unwrap(),
        second.certificate()
    );
}

#[test]
fn a_damaged_authority_is_named_and_kept() {
    let (_keep, authority) = authority();
    let path = authority.folder.join(AUTHORITY_FILE);
    fs::write(&path, "nonsense").unwrap();
    let error = Authority::open(&authority.folder, now())
        .err()
        .expect("refused");
    assert!(error.what.contains("ca.pem"), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "nonsense");
}

#[tokio::test]
async fn the_server_learns_who_the_client_is() {
    let (_keep, authority) = authority();
    let admin = authority
        .issue_client("alice", Some("system:masters"), Timestamp::now())
        .unwrap();
    let host = authority
        .issue_client("system:host:mad-1", None, Timestamp::now())
        .unwrap();
    let named = |subject: Option<Subject>| subject.map(|it| (it.common_name, it.organizations));
    let expected = ("alice".to_owned(), vec!["system:masters".to_owned()]);
    let seen = handshake(&authority, Some(&admin)).await;
    assert_eq!(seen.map(named), Ok(Some(expected)));
    let expected = ("system:host:mad-1".to_owned(), Vec::new());
    let seen = handshake(&authority, Some(&host)).await;
    assert_eq!(seen.map(named), Ok(Some(expected)));
    assert_eq!(handshake(&authority, None).await, Ok(None));
}

#[tokio::test]
async fn a_certificate_of_another_authority_or_out_of_date_is_refused() {
    let (_keep, ours) = authority();
    let (_other, theirs) = authority();
    let stranger = theirs
        .issue_client("alice", Some("system:masters"), Timestamp::now())
        .unwrap();
    assert!(handshake(&ours, Some(&stranger)).await.is_err());
    let past = Timestamp::now() - jiff::Span::new().hours(24 * 366);
    let expired = ours
        .issue_client("alice", Some("system:masters"), past)
        .unwrap();
    assert!(handshake(&ours, Some(&expired)).await.is_err());
    // A server's certificate is not one of a client, although the same authority signed it.
    let pem = fs::read_to_string(ours.folder.join(SERVER_FILE)).unwrap();
    let at = pem.find(CERTIFICATE_BEGIN).unwrap();
    let server = Credentials {
        key: pem[..at].to_owned(),
        certificate: pem[at..].to_owned(),
    };
    assert!(handshake(&ours, Some(&server)).await.is_err());
}

/// What the server sees of a client, over real TLS in memory.
async fn handshake(
    authority: &Authority,
    client: Option<&Credentials>,
) -> Result<Option<Subject>, String> {
    let server = authority
        .server_config(&[], Timestamp::now())
        .map_err(|e| e.to_string())?;
    let client =
        client_config(authority.certificate(), client, b"h2").map_err(|e| e.to_string())?;
    let (near, far) = tokio::io::duplex(65_536);
    let dial = async move {
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = TlsConnector::from(client)
            .connect(name, near)
            .await
            .map_err(|e| e.to_string())?;
        let kx = stream
            .get_ref()
            .1
            .negotiated_key_exchange_group()
            .map(|group| group.name());
        assert_eq!(
            kx,
            Some(rustls::NamedGroup::X25519MLKEM768),
            "the hybrid exchange is used"
        );
        stream.write_all(b"!").await.map_err(|e| e.to_string())?;
        stream.read_u8().await.map_err(|e| e.to_string())
    };
    let answer = async move {
        let mut stream = TlsAcceptor::from(server)
            .accept(far)
            .await
            .map_err(|e| e.to_string())?;
        let subject = stream
            .get_ref()
            .1
            .peer_certificates()
            .map(|chain| Subject::of(&chain[0]).unwrap());
        stream.read_u8().await.map_err(|e| e.to_string())?;
        stream.write_all(b"!").await.map_err(|e| e.to_string())?;
        Ok(subject)
    };
    let (dialled, answered) = tokio::join!(dial, answer);
    dialled?;
    answered
}

#[tokio::test]
async fn an_authority_is_found_by_the_hash_of_its_key() {
    let (_keep, ours) = authority();
    let (_other, theirs) = authority();
    let config = ours.server_config(&[], Timestamp::now()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serves = async {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let _ = TlsAcceptor::from(config.clone()).accept(stream).await;
        }
    };
    let asks = async {
        let found = |authority: &Authority| client::pin(authority.certificate()).unwrap();
        let (right, wrong) = (found(&ours), found(&theirs));
        let found = client::pinned_authority("127.0.0.1", port, &right).await;
        let refused = client::pinned_authority("127.0.0.1", port, &wrong).await;
        (found.unwrap(), refused.unwrap_err())
    };
    let (found, refused) = tokio::select! {
        asked = asks => asked,
        () = serves => unreachable!("it serves for ever"),
    };
    assert_eq!(
        found.trim(),
        ours.certificate().trim().replace("\r\n", "\n")
    );
    let why = format!(
        "the authority of https://127.0.0.1:{port} has another key than --ca-cert-hash says"
    );
    assert_eq!(refused.to_string(), why);
}
