//! Users of a real Keycloak against `groma serve`, by kubectl.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use live::tools::{self, keycloak::Keycloak};
use live::{Groma, Skip};
use serde_json::{Value, json};

/// How long it may take until a key of the provider is known: it is not asked again at once.
const KNOWN: Duration = Duration::from_secs(30);
/// How often it is tried meanwhile.
const LOOK: Duration = Duration::from_millis(500);

struct Place {
    keycloak: Keycloak,
    groma: Groma,
    kubectl: PathBuf,
}

impl Place {
    fn start() -> Result<Self, Skip> {
        let kubectl = tools::kubectl()?;
        let keycloak = Keycloak::start()?;
        keycloak.post("/realms", &realm());
        let authorities = keycloak.certificate();
        let groma = Groma::start(&[
            "--oidc-issuer-url",
            &keycloak.realm("telco"),
            "--oidc-client-id",
            "groma",
            "--oidc-username-claim",
            "preferred_username",
            "--oidc-username-prefix",
            "kc:",
            "--oidc-groups-claim",
            "groups",
            "--oidc-groups-prefix",
            "kc:",
            "--oidc-required-claim",
            "typ=ID",
            "--oidc-ca-file",
            authorities.to_str().expect("the path is text"),
        ])?;
        Ok(Self {
            keycloak,
            groma,
            kubectl,
        })
    }

    fn token(&self, user: &str) -> String {
        let tokens = self.keycloak.tokens("telco", "groma", user);
        tokens["id_token"].as_str().expect("a token").to_owned()
    }

    /// What kubectl says, and whether it worked; as the administrator without a token.
    fn kubectl(&self, token: Option<&str>, line: &str) -> (bool, String) {
        let kubeconfig = fs::read(self.groma.kubeconfig()).expect("credentials");
        let mut config: Value = serde_json::from_slice(&kubeconfig).expect("they are JSON");
        if let Some(token) = token {
            config["users"][0]["user"] = json!({"token": token});
        }
        let path = self.groma.folder().join("user.kubeconfig");
        fs::write(&path, config.to_string()).expect("the folder can be written");
        let mut command = Command::new(&self.kubectl);
        command
            .args(line.split_whitespace())
            .arg("--kubeconfig")
            .arg(path);
        let output = command
            .env("HOME", self.groma.folder())
            .output()
            .expect("kubectl runs");
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    }
}

/// Two users, of whom one is in a group, and the client that tokens are for.
fn realm() -> Value {
    let user = |name: &str, groups: &[&str]| {
        let password = json!({"type": "password", "value": name, "temporary": false});
        json!({"username": name, "enabled": true, "email": format!("{name}@groma.example"), "emailVerified": true,
            "firstName": name, "lastName": name, "groups": groups, "credentials": [password]})
    };
    let mapper = json!({
        "name": "groups", "protocol": "openid-connect", "protocolMapper": "oidc-group-membership-mapper",
        "config": {"claim.name": "groups", "full.path": "false", "id.token.claim": "true"},
    });
    let client = json!({"clientId": "groma", "publicClient": true, "directAccessGrantsEnabled": true,
        "protocolMappers": [mapper]});
    json!({"realm": "telco", "enabled": true, "groups": [{"name": "planners"}], "clients": [client],
        "users": [user("ann", &["planners"]), user("eve", &[])]})
}

#[test]
fn users_of_keycloak_may_what_roles_say() {
    let mut place = match Place::start() {
        Ok(place) => place,
        Err(skip) => return skip.report(),
    };
    let bound = "create rolebinding planners --clusterrole=view --group=kc:planners";
    assert!(place.kubectl(None, bound).0);
    let (ann, eve) = (place.token("ann"), place.token("eve"));
    let check = |place: &Place, token: &str, line: &str, expected: &str| {
        let (_, said) = place.kubectl(Some(token), line);
        assert!(said.contains(expected), "{line}: {said}");
    };
    let whoami = "auth whoami -o jsonpath={.status.userInfo.username}{.status.userInfo.groups}";
    check(
        &place,
        &ann,
        whoami,
        r#"kc:ann["kc:planners","system:authenticated"]"#,
    );
    check(
        &place,
        &ann,
        "get configmaps",
        "No resources found in default namespace",
    );
    check(
        &place,
        &ann,
        "get secrets",
        "User \"kc:ann\" cannot list resource \"secrets\"",
    );
    check(&place, &ann, "get configmaps -n kube-public", "(Forbidden)");
    check(
        &place,
        &eve,
        "get configmaps",
        "User \"kc:eve\" cannot list resource \"configmaps\"",
    );
    check(
        &place,
        &format!("{ann}x"),
        "get configmaps",
        "You must be logged in to the server",
    );
    // Another key signs from now on.
    let config = json!({"priority": ["200"], "enabled": ["true"], "active": ["true"], "algorithm": ["RS256"],
        "keySize": ["2048"]});
    let newer = json!({"name": "newer", "providerId": "rsa-generated", "providerType": "org.keycloak.keys.KeyProvider",
        "config": config});
    place.keycloak.post("/realms/telco/components", &newer);
    let by_new = place.token("ann");
    let head = |token: &str| token.split('.').next().map(str::to_owned);
    assert_ne!(head(&ann), head(&by_new), "another key has signed");
    let begun = Instant::now();
    while !place.kubectl(Some(&by_new), "get configmaps").0 {
        assert!(begun.elapsed() < KNOWN, "the new key is not known");
        thread::sleep(LOOK);
    }
    check(&place, &ann, "get configmaps", "No resources found");
    // Without the provider, known keys hold, and all else goes on.
    place.keycloak.end();
    check(&place, &by_new, "get configmaps", "No resources found");
    assert!(place.kubectl(None, "get secrets").0);
}
