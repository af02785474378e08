//! The command line of a function: run it, or ask the running one whether it is well.
//!
//! `NAME` runs; `NAME check` asks `/healthz` of the one that runs in the same namespace, so that an exec probe needs no
//! shell in the image.

use crate::configuration::Configured;
use crate::{Error, Function, client, server, variable};
use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// How long `check` waits for an answer.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// Runs the function as its command line says; `make` builds it once the variables are known to be good.
pub fn main<F: Function>(make: impl FnOnce() -> Result<F, Error>) -> ExitCode {
    let argument = std::env::args().nth(1);
    let done = match argument.as_deref() {
        None => block_on(run(make)),
        Some("check") => block_on(check::<F>()),
        Some(_) => {
            eprintln!(
                "usage: {0} [check]\n{0} runs; {0} check asks the running one whether it is well",
                F::NAME
            );
            return ExitCode::from(2);
        }
    };
    done.map_or_else(report, |()| ExitCode::SUCCESS)
}

/// One thread carries a function: its traffic is in the kernel or light.
fn block_on(work: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::system("start the event loop"))?
        .block_on(work)
}

async fn run<F: Function>(make: impl FnOnce() -> Result<F, Error>) -> Result<(), Error> {
    let port = port::<F>()?;
    let path = PathBuf::from(variable("CONFIG_FILE", F::CONFIG_FILE));
    let configured = Configured::start(make()?, path).await?;
    server::run(configured, port).await
}

async fn check<F: Function>() -> Result<(), Error> {
    let address = SocketAddr::from((Ipv6Addr::LOCALHOST, port::<F>()?));
    let answer = client::get(address, "/healthz", CHECK_TIMEOUT).await?;
    println!("{}", answer.body);
    match answer.status {
        200 => Ok(()),
        status => Err(Error::Answer(format!("/healthz: status {status}"))),
    }
}

fn port<F: Function>() -> Result<u16, Error> {
    let value = variable("PORT", &F::PORT.to_string());
    value.parse().map_err(|_| Error::Variable {
        name: "PORT",
        value,
        expected: "a TCP port, 0 to 65535",
    })
}

fn report(error: Error) -> ExitCode {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        text += &format!(": {inner}");
        cause = inner.source();
    }
    eprintln!("{text}");
    ExitCode::FAILURE
}
