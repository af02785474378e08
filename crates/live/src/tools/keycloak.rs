//! Keycloak, a real OpenID Connect provider: fetched once into the cache, and run in a folder of its own over https.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::kubernetes::free_port;
use crate::tools::{find, run};
use crate::{Skip, cache};

/// Where it comes from, and what comes from there.
const SOURCE: &str = "https://repo1.maven.org/maven2/org/keycloak/keycloak-quarkus-dist/26.4.0/keycloak-quarkus-dist-26.4.0.zip";
const SHA256: &str = "1b6a11a2726ac8a8dc9c91d5fafe989a75ce4f1622d7f7b45c21d5bc16629c0a";
/// The folder in it.
const FOLDER: &str = "keycloak-26.4.0";
/// Name and password of who may do everything.
const ADMIN: &str = "admin";
/// How long it may take to answer.
const UP: Duration = Duration::from_secs(180);
/// How often it is asked meanwhile.
const LOOK: Duration = Duration::from_millis(250);

/// One that runs; it ends with its handle.
#[derive(Debug)]
pub struct Keycloak {
    // It ends before its folder goes.
    running: Child,
    folder: TempDir,
    port: u16,
}

impl Keycloak {
    /// Starts one.
    ///
    /// # Errors
    /// Why there is none on this machine.
    pub fn start() -> Result<Self, Skip> {
        let java = find("java").ok_or_else(|| {
            Skip::because("java is not in PATH, so Keycloak cannot run; Debian's openjdk-17-jre-headless brings it")
        })?;
        let program = distribution()?;
        let folder = tempfile::tempdir().expect("a folder can be made");
        // It writes into its own folder.
        run(Command::new("cp")
            .arg("-r")
            .arg(program.join(FOLDER))
            .arg(folder.path()))?;
        let pair = rcgen::generate_simple_self_signed(["localhost".into(), "127.0.0.1".into()]);
        let pair = pair.expect("a certificate can be made");
        let path = |name: &str| folder.path().join(name);
        fs::write(path("tls.crt"), pair.cert.pem()).expect("a file can be written");
        fs::write(path("tls.key"), pair.signing_key.serialize_pem()).expect("it can be written");
        let log = File::create(path("log")).expect("a log can be made");
        let (port, plain) = (free_port(), free_port());
        let running = Command::new("/bin/sh")
            .arg(path(FOLDER).join("bin/kc.sh"))
            .args(["start-dev", "--cache=local", "--http-host=127.0.0.1"])
            .arg(format!("--http-port={plain}"))
            .arg(format!("--https-port={port}"))
            .arg(format!("--hostname=https://127.0.0.1:{port}"))
            .arg(format!(
                "--https-certificate-file={}",
                path("tls.crt").display()
            ))
            .arg(format!(
                "--https-certificate-key-file={}",
                path("tls.key").display()
            ))
            .env("JAVA", java)
            .env("KC_BOOTSTRAP_ADMIN_USERNAME", ADMIN)
            .env("KC_BOOTSTRAP_ADMIN_PASSWORD", ADMIN)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("it can be shared"))
            .stderr(log)
            .spawn()
            .map_err(|error| cache::unusable(Path::new("/bin/sh"), &error))?;
        let mut this = Self {
            running,
            folder,
            port,
        };
        this.wait();
        Ok(this)
    }

    /// The address of a realm: what its tokens name.
    #[must_use]
    pub fn realm(&self, realm: &str) -> String {
        format!("https://127.0.0.1:{}/realms/{realm}", self.port)
    }

    /// Its certificate, which vouches for itself.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("tls.crt")
    }

    /// The answer to a user's password: tokens.
    ///
    /// # Panics
    /// With what it says, if there are none.
    #[must_use]
    pub fn tokens(&self, realm: &str, client: &str, user: &str) -> Value {
        let url = format!("{}/protocol/openid-connect/token", self.realm(realm));
        let fields = [
            "grant_type=password",
            "scope=openid",
            &format!("client_id={client}"),
            &format!("username={user}"),
            &format!("password={user}"),
        ]
        .map(str::to_owned);
        let fields = fields.iter().flat_map(|field| ["-d", field.as_str()]);
        let said = run(self.curl().args(fields).arg(url)).expect("Keycloak answers");
        serde_json::from_str(&said).unwrap_or_else(|_| panic!("no tokens: {said}"))
    }

    /// Posts a document as who may do everything.
    ///
    /// # Panics
    /// When it is refused.
    pub fn post(&self, path: &str, document: &Value) {
        let tokens = self.tokens("master", "admin-cli", ADMIN);
        let token = tokens["access_token"].as_str().expect("a token");
        let url = format!("https://127.0.0.1:{}/admin{path}", self.port);
        let mut curl = self.curl();
        curl.args(["-H", "Content-Type: application/json", "-H"]);
        curl.arg(format!("Authorization: Bearer {token}"));
        run(curl.args(["-d", &document.to_string()]).arg(url)).expect("Keycloak takes it");
    }

    /// Ends it.
    pub fn end(&mut self) {
        // One that has ended already is what is wanted.
        let _: io::Result<()> = self.running.kill();
        let _ = self.running.wait();
    }

    fn curl(&self) -> Command {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--fail-with-body", "--noproxy", "*", "--cacert"]);
        curl.arg(self.certificate());
        curl
    }

    /// Waits until it answers.
    fn wait(&mut self) {
        let begun = Instant::now();
        let url = self.realm("master");
        while run(self.curl().arg(&url)).is_err() {
            let ended = !matches!(self.running.try_wait(), Ok(None));
            if ended || begun.elapsed() > UP {
                let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
                panic!("Keycloak does not answer\n{log}");
            }
            thread::sleep(LOOK);
        }
    }
}

impl Drop for Keycloak {
    fn drop(&mut self) {
        self.end();
    }
}

/// The folder of the distribution, fetched if it is not there.
fn distribution() -> Result<PathBuf, Skip> {
    let key = cache::key("keycloak", &[SHA256.as_bytes().to_vec()]);
    cache::once(&key, "distribution", |unfinished| {
        // One that was begun and not finished is made anew.
        let _: io::Result<()> = fs::remove_dir_all(unfinished);
        fs::create_dir_all(unfinished).map_err(|error| cache::unusable(unfinished, &error))?;
        let archive = unfinished.join("archive.zip");
        run(Command::new("curl")
            .args(["-sSfL", "-o"])
            .arg(&archive)
            .arg(SOURCE))?;
        let bytes = fs::read(&archive).map_err(|error| cache::unusable(&archive, &error))?;
        let found: String = Sha256::digest(&bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        if found != SHA256 {
            return Err(Skip::because(format!(
                "{SOURCE} is another file than it was: {found}"
            )));
        }
        run(Command::new("unzip")
            .arg("-q")
            .arg(&archive)
            .arg("-d")
            .arg(unfinished))?;
        fs::remove_file(&archive).map_err(|error| cache::unusable(&archive, &error))
    })
}
