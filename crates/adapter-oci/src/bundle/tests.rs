//! Bundles: what the runtime's configuration says for an instance.

use std::collections::BTreeMap;
use std::path::Path;

use api::Quantity;
use api::wdm::{Execution, OnChange, WritablePath};
use oci_spec::image::ConfigBuilder;

use super::*;

fn spec() -> ContainerSpec {
    ContainerSpec {
        image: "layout:web".to_owned(),
        execution: Execution {
            capabilities: vec!["CAP_NET_ADMIN".to_owned()],
            writable: vec![WritablePath {
                path: "/var/cache".to_owned(),
                size: Quantity::whole(1 << 20),
            }],
            ..Execution::default()
        },
        resources: Resources::from([
            ("cpu", Quantity::milli(250)),
            ("memory", Quantity::whole(64 << 20)),
        ]),
        environment: BTreeMap::from([("MODE".to_owned(), "fast".to_owned())]),
        files: BTreeMap::from([("/etc/web/a.conf".to_owned(), b"a".to_vec())]),
        on_change: OnChange::default(),
        interfaces: Vec::new(),
    }
}

fn image() -> Config {
    ConfigBuilder::default()
        .entrypoint(vec!["/bin/web".to_owned()])
        .cmd(vec!["serve".to_owned()])
        .env(vec!["PATH=/bin".to_owned(), "MODE=slow".to_owned()])
        .build()
        .expect("a good one")
}

fn config(spec: &ContainerSpec, uid: u32) -> Value {
    let image = image();
    let user = User {
        uid,
        ..User::default()
    };
    let bundle = Bundle {
        spec,
        image: &image,
        mounts: mounts::all(spec, &[], &user, Path::new("/state/files")),
        user,
        root: "/roots/web".into(),
        host_name: "web-0",
        network: "/run/netns/web".into(),
        group: "/groma/h/k/c".to_owned(),
        machine: Machine {
            limits_swap: false,
            own_oom_score: 700,
            open_files_max: 1024,
        },
    };
    bundle.config()
}

#[test]
fn a_container_may_do_little() {
    let config = config(&spec(), 0);
    assert_eq!(config["root"]["readonly"], true);
    assert_eq!(config["process"]["noNewPrivileges"], true);
    assert_eq!(
        config["linux"]["seccomp"]["defaultAction"],
        "SCMP_ACT_ERRNO"
    );
    for set in ["bounding", "effective", "permitted"] {
        assert_eq!(
            config["process"]["capabilities"][set],
            json!(["CAP_NET_ADMIN"]),
            "{set}"
        );
    }
    assert_eq!(config["process"]["capabilities"]["ambient"], json!([]));
    assert_eq!(config["process"]["oomScoreAdj"], 700, "cannot be undercut");
    assert_eq!(
        config["process"]["rlimits"][0]["hard"], 1024,
        "cannot be exceeded"
    );
}

#[test]
fn another_user_than_root_keeps_its_capabilities_over_exec() {
    let config = config(&spec(), 1000);
    assert_eq!(
        config["process"]["capabilities"]["ambient"],
        json!(["CAP_NET_ADMIN"])
    );
}

#[test]
fn limits_are_those_of_the_workload() {
    let resources = &config(&spec(), 0)["linux"]["resources"];
    assert_eq!(resources["memory"], json!({"limit": 64 << 20}));
    assert_eq!(
        resources["cpu"],
        json!({"quota": 25_000, "period": 100_000})
    );
    assert_eq!(resources["pids"]["limit"], to_i64(PIDS_DEFAULT));
}

#[test]
fn the_workload_overrides_what_the_image_says() {
    let mut own = spec();
    let seen = config(&own, 0);
    assert_eq!(seen["process"]["args"], json!(["/bin/web", "serve"]));
    assert_eq!(
        seen["process"]["env"],
        json!(["HOME=/", "MODE=fast", "PATH=/bin"])
    );
    own.execution.arguments = vec!["check".to_owned()];
    assert_eq!(
        config(&own, 0)["process"]["args"],
        json!(["/bin/web", "check"])
    );
    own.execution.command = vec!["/bin/sh".to_owned()];
    assert_eq!(
        config(&own, 0)["process"]["args"],
        json!(["/bin/sh", "check"])
    );
}

#[test]
fn mounts_are_where_the_workload_writes_and_reads() {
    let config = config(&spec(), 7);
    let mounts = config["mounts"].as_array().expect("a list");
    let find = |target: &str| {
        mounts
            .iter()
            .find(|mount| mount["destination"] == target)
            .expect(target)
    };
    let cache = find("/var/cache")["options"].to_string();
    assert!(
        cache.contains("size=1048576") && cache.contains("uid=7"),
        "{cache}"
    );
    assert_eq!(find("/etc/web")["type"], "bind");
    assert!(find("/etc/web")["options"].to_string().contains("\"ro\""));
    assert_eq!(find("/tmp")["type"], "tmpfs");
}

#[test]
fn what_cannot_run_is_refused_by_field() {
    let refused = |change: fn(&mut ContainerSpec), field: &str| {
        let mut spec = spec();
        change(&mut spec);
        let error = check(&spec, &image()).expect_err(field);
        assert!(error.what.contains(field), "{error}");
    };
    refused(
        |spec| spec.execution.capabilities = vec!["CAP_SYS_ADMIN".into()],
        "execution.capabilities",
    );
    refused(
        |spec| spec.execution.stop.signal = Some("SIGNOT".into()),
        "stop.signal",
    );
    refused(
        |spec| spec.execution.writable[0].path = "/proc/x".into(),
        "execution.writable",
    );
    refused(
        |spec| spec.resources = Resources::from([("memory", Quantity::whole(1))]),
        "memory",
    );
    refused(
        |spec| spec.files = BTreeMap::from([("/x".into(), vec![])]),
        "configuration.files",
    );
    refused(
        |spec| {
            spec.files.insert("/etc/web/a.conf/b".into(), vec![]);
        },
        "`/etc/web/a.conf/b` lies below `/etc/web/a.conf`",
    );
    refused(
        |spec| {
            spec.environment.insert("MODE".into(), "a\0b".into());
        },
        "environment variable MODE",
    );
    for path in ["/etc/web", "/etc/web/a.conf", "/etc/web/cache"] {
        let mut spec = spec();
        spec.execution.writable[0].path = path.into();
        let error = check(&spec, &image()).expect_err(path);
        assert!(error.what.contains("lies in `/etc/web`"), "{error}");
    }
    check(&spec(), &image()).expect("a good one");
    check(&spec(), &Config::default()).expect_err("no program");
}

#[test]
fn every_signal_of_the_schema_can_be_sent() {
    let names = api::wdm::SIGNAL
        .trim_start_matches("^SIG(")
        .trim_end_matches(")$");
    for name in names.split('|') {
        known_signal("stop.signal", &format!("SIG{name}")).expect(name);
    }
}
