//! What goes into each image and how it is started: data, no code.
//!
//! A configuration is packed with each function that must have one, so that an image runs without anything being mounted;
//! the firewall's lets nothing pass.

/// One image.
pub(crate) struct Recipe {
    /// Its name, which is its folder and its reference.
    pub(crate) name: &'static str,
    /// What it is, for whoever inspects it.
    pub(crate) description: &'static str,
    pub(crate) programs: &'static [Program],
    /// Text files by absolute path.
    pub(crate) files: &'static [(&'static str, &'static str)],
    pub(crate) entrypoint: &'static [&'static str],
    /// `UID:GID`.
    pub(crate) user: &'static str,
    /// As OCI writes it: `8080/tcp`.
    pub(crate) port: &'static str,
    pub(crate) stop_signal: &'static str,
}

/// A program of an image.
pub(crate) enum Program {
    /// One of this workspace, packed into `/usr/bin`.
    Built(&'static str),
    /// One of the machine, packed where it is, and the Debian package it comes from.
    Installed {
        path: &'static str,
        package: &'static str,
    },
}

const NFT: Program = Program::Installed {
    path: "/usr/sbin/nft",
    package: "nftables",
};
const NGINX: Program = Program::Installed {
    path: "/usr/sbin/nginx",
    package: "nginx-light",
};

const NOBODY: &str = "65534:65534";
const WWW_DATA: &str = "33:33";
/// Functions that program their namespace; what root may do there is up to the capabilities they are given.
const ROOT: &str = "0:0";

/// Every image of the project.
pub(crate) const RECIPES: &[Recipe] = &[
    Recipe {
        name: "http-app",
        description: "HTTP application that says where it runs and whom it answered",
        programs: &[Program::Built("http-app")],
        files: &[("/etc/http-app/config.json", "{}\n")],
        entrypoint: &["/usr/bin/http-app"],
        user: NOBODY,
        port: "8080/tcp",
        stop_signal: "SIGTERM",
    },
    Recipe {
        name: "firewall",
        description: "Stateful firewall between the interfaces left and right; needs CAP_NET_ADMIN",
        programs: &[Program::Built("firewall"), NFT],
        files: &[("/etc/firewall/rules", "default drop\n")],
        entrypoint: &["/usr/bin/firewall"],
        user: ROOT,
        port: "8081/tcp",
        stop_signal: "SIGTERM",
    },
    Recipe {
        name: "limiter",
        description: "Rate limiter per source between the interfaces left and right; needs CAP_NET_ADMIN",
        programs: &[Program::Built("limiter"), NFT],
        files: &[(
            "/etc/limiter/limits",
            "limit connections 1000 per second burst 1000 from left\n",
        )],
        entrypoint: &["/usr/bin/limiter"],
        user: ROOT,
        port: "8082/tcp",
        stop_signal: "SIGTERM",
    },
    Recipe {
        name: "probe",
        description: "Echo of datagrams, and a probe that measures answers, losses and gaps",
        programs: &[Program::Built("probe")],
        files: &[],
        entrypoint: &["/usr/bin/probe", "echo"],
        user: NOBODY,
        port: "7007/udp",
        stop_signal: "SIGTERM",
    },
    Recipe {
        name: "nginx",
        description: "nginx of Debian with a page of its own; its configuration is read again on SIGHUP",
        programs: &[NGINX],
        files: &[
            ("/etc/nginx/nginx.conf", NGINX_CONF),
            ("/usr/share/nginx/html/index.html", "served by nginx\n"),
        ],
        entrypoint: &["/usr/sbin/nginx"],
        user: WWW_DATA,
        port: "8080/tcp",
        stop_signal: "SIGQUIT",
    },
];

/// Everything that is written goes to `/tmp`; there is no master with more rights than its workers.
const NGINX_CONF: &str = "\
daemon off;
worker_processes 1;
pid /tmp/nginx.pid;
error_log stderr notice;
events { worker_connections 256; }
http {
  access_log /dev/stdout;
  client_body_temp_path /tmp/body;
  proxy_temp_path /tmp/proxy;
  fastcgi_temp_path /tmp/fastcgi;
  scgi_temp_path /tmp/scgi;
  uwsgi_temp_path /tmp/uwsgi;
  server {
    listen [::]:8080 ipv6only=off;
    root /usr/share/nginx/html;
    location = /healthz { access_log off; return 200 \"ok\\n\"; }
  }
}
";
