//! Other users of the server's machine: its files, its socket, and what its processes show.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use live::Groma;

use crate::ground::{Ground, SECRET};

/// A user of this machine without any right (`nobody`).
const NOBODY: u32 = 65_534;
/// What anybody may read, by their names in the state folder.
const PUBLIC: [&str; 2] = ["address", "authority/ca.crt"];

#[test]
fn another_user_of_the_machine_gets_at_nothing() {
    let ground = match Ground::start() {
        Ok(ground) => ground,
        Err(skip) => return skip.report(),
    };
    // A folder that the server makes itself.
    let above = tempfile::tempdir().expect("a folder");
    open_to_all(above.path());
    let state = above.path().join("made/by/it");
    let mut server = match Groma::begin_at(&state, &["--blocks"]) {
        Ok(server) => server,
        Err(skip) => return skip.report(),
    };
    server.wait();
    for folder in [state.clone(), state.join("audit"), state.join("authority")] {
        let mode = fs::metadata(&folder).expect("it is there").mode() & 0o777;
        assert_eq!(mode, 0o700, "{}: {mode:o}", folder.display());
    }
    for (path, mode) in files(&state) {
        let is_public = PUBLIC.iter().any(|name| state.join(name) == path);
        assert!(
            is_public || mode & 0o077 == 0,
            "{}: {mode:o}",
            path.display()
        );
        assert_eq!(mode & 0o022, 0, "{}: {mode:o}", path.display());
    }
    // Even where the folder is open, the files are not.
    open_to_all(&state);
    for name in [
        "groma.sock",
        "store.redb",
        "accounts.key",
        "secrets.keys",
        "kubeconfig",
        "audit/audit.log",
        "lock",
    ] {
        let said = as_nobody(&format!(
            "cat {0} || nc -NU {0} </dev/null || flock -n {0} true",
            state.join(name).display()
        ));
        assert!(!said.status.success(), "{name}: {said:?}");
    }
    drop(server);

    // What is asked on the socket by its owner is answered, and only there.
    let socket = ground.folder().join("groma.sock");
    assert!(
        fs::metadata(&socket)
            .expect("it is there")
            .file_type()
            .is_socket()
    );
    let mut stream = UnixStream::connect(&socket).expect("it listens");
    stream
        .write_all(b"GET /version HTTP/1.1\r\nhost: groma\r\nconnection: close\r\n\r\n")
        .expect("asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    ground.serves_others();
}

#[test]
fn what_is_planted_in_the_way_of_the_server_is_not_followed() {
    let place = tempfile::tempdir().expect("a folder");
    let precious = place.path().join("precious");
    fs::write(&precious, "precious").expect("written");
    // Whoever can write there could plant anything: the server does not begin.
    let open = place.path().join("open");
    fs::create_dir(&open).expect("a folder");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o1777)).expect("its own");
    let mut refused = match Groma::begin_at(&open, &["--blocks"]) {
        Ok(refused) => refused,
        Err(skip) => return skip.report(),
    };
    refused.wait_for_end();
    assert!(
        refused.log().contains("everybody may write there"),
        "{}",
        refused.log()
    );
    // Nor does it write through links.
    for name in [
        "lock",
        "groma.sock.new",
        "groma.new",
        "accounts.key.new",
        "kubeconfig.new",
        "store.redb.new",
    ] {
        let state = place.path().join(format!("with-{name}"));
        fs::create_dir(&state).expect("a folder");
        symlink(&precious, state.join(name)).expect("a link");
        let mut server = Groma::begin_at(&state, &["--blocks"]).expect("it can be started");
        match name {
            "lock" => server.wait_for_end(),
            _ => server.wait(),
        }
        assert_eq!(
            fs::read_to_string(&precious).expect("it is there"),
            "precious",
            "{name}"
        );
    }
}

#[test]
fn nothing_secret_is_among_arguments_and_environment() {
    let ground = match Ground::start() {
        Ok(ground) => ground,
        Err(skip) => return skip.report(),
    };
    let keys = ["secrets.keys", "accounts.key"].map(|name| {
        let text = fs::read_to_string(ground.folder().join(name)).expect("it is there");
        let longest = text.split_whitespace().max_by_key(|word| word.len());
        longest.expect("a key").to_owned()
    });
    let pid = ground.server.pid();
    for file in ["cmdline", "environ"] {
        let shown = fs::read(format!("/proc/{pid}/{file}")).expect("it runs");
        let shown = String::from_utf8_lossy(&shown).into_owned();
        for secret in [SECRET, &keys[0], &keys[1]] {
            assert!(!shown.contains(secret), "{file}");
        }
    }
    ground.never_said(&[SECRET, &keys[0], &keys[1]]);
    ground.serves_others();
}

fn open_to_all(folder: &Path) {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("its own");
}

/// Files, links and sockets below a folder, with their modes.
fn files(folder: &Path) -> Vec<(std::path::PathBuf, u32)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("its own").flatten() {
        let about = entry.metadata().expect("its own");
        match about.is_dir() {
            true => found.extend(files(&entry.path())),
            false => found.push((entry.path(), about.mode() & 0o777)),
        }
    }
    found
}

fn as_nobody(line: &str) -> Output {
    let mut command = Command::new("sh");
    command.args(["-c", line]).stdin(Stdio::null());
    command.uid(NOBODY).gid(NOBODY).output().expect("a shell")
}
