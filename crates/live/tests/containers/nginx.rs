//! An image of others: the packed nginx runs, serves, and reads its files again when they change.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Ipv6Addr, TcpStream};
use std::path::PathBuf;

use adapter::{ContainerRuntime, ContainerSpec};
use api::Seconds;
use api::wdm::{Execution, OnChange, Probe, ProbeAction};
use linux::netns;
use live::Skip;

use crate::bed::{Bed, idle};

const PORT: u16 = 8080;
const IMAGE: &str = "nginx";

/// Where the packed image is.
fn layout() -> Result<PathBuf, Skip> {
    let images = std::env::var_os("GROMA_IMAGES")
        .ok_or_else(|| Skip::because("GROMA_IMAGES is not set; run `cargo xtask live`"))?;
    let layout = PathBuf::from(images).join(IMAGE);
    match layout.exists() {
        true => Ok(layout),
        false => Err(Skip::because(format!(
            "the image {IMAGE} is not packed; install nginx-light and run `cargo xtask images`"
        ))),
    }
}

fn web(answer: &str) -> ContainerSpec {
    let configuration = format!(
        "daemon off; worker_processes 1; pid /tmp/nginx.pid; error_log stderr notice;
         events {{ worker_connections 64; }}
         http {{
           access_log off;
           client_body_temp_path /tmp/body; proxy_temp_path /tmp/proxy; fastcgi_temp_path /tmp/fastcgi;
           scgi_temp_path /tmp/scgi; uwsgi_temp_path /tmp/uwsgi;
           server {{
             listen [::]:{PORT};
             root /usr/share/nginx/html;
             location = /which {{ return 200 \"{answer}\"; }}
           }}
         }}"
    );
    ContainerSpec {
        image: format!("layout:{IMAGE}"),
        execution: Execution {
            readiness: Some(Probe {
                action: ProbeAction::Http {
                    port: PORT,
                    path: "/which".to_owned(),
                },
                period_seconds: Seconds(1),
                timeout_seconds: Seconds(1),
                failure_threshold: 3,
            }),
            ..Execution::default()
        },
        files: BTreeMap::from([(
            "/etc/nginx/nginx.conf".to_owned(),
            configuration.into_bytes(),
        )]),
        on_change: OnChange::Signal {
            signal: "SIGHUP".to_owned(),
        },
        ..idle()
    }
}

/// What is answered inside the only container's network.
fn get(bed: &Bed, path: &str) -> String {
    let names = netns::list(&format!("groma-{}-", bed.host)).expect("listed");
    let inside = netns::open(&names[0]).expect("opened").expect("there");
    let ask = || -> io::Result<String> {
        let mut stream = TcpStream::connect((Ipv6Addr::LOCALHOST, PORT))?;
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    inside.run(ask).expect("entered").expect("answered")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_packed_nginx_serves_and_reloads() {
    let Some(bed) = Bed::new().await else { return };
    let layout = match layout() {
        Ok(layout) => layout,
        Err(skip) => return skip.report(),
    };
    let images = bed.place.path().join("images");
    std::os::unix::fs::symlink(layout, images.join(IMAGE)).expect("linked");
    let a = bed.run("a", &web("first")).await;
    assert!(get(&bed, "/which").ends_with("first"));
    assert!(get(&bed, "/index.html").ends_with("served by nginx\n"));
    let next = web("second");
    bed.runtime().ensure(&a, &next).await.expect("taken");
    let digest = Some(next.files_digest());
    let state = bed
        .until(&a, "applied", |state| state.files.applied == digest)
        .await;
    assert_eq!((state.restarts, state.files.refused), (0, None));
    while !get(&bed, "/which").ends_with("second") {
        tokio::task::yield_now().await;
    }
    bed.finish().await;
}
