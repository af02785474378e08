//! Drives traffic at a steady rate and measures what comes back: the user's side of demos and tests.
//!
//! `probe http URL` asks an HTTP application for `/echo` with a nonce of its own per request, each over a new connection;
//! `probe udp ADDRESS` sends numbered datagrams to `probe echo`, which sends them back: cheap enough to see gaps of a
//! millisecond. Requests leave on schedule whether or not earlier ones were answered, so a hole in the path shows as loss
//! and as a gap, never as a pause of the probe. It ends with 0 when anything was answered.

mod http;
mod measure;
mod schedule;
mod udp;

use crate::schedule::Schedule;
use clap::{Parser, Subcommand};
use function::Error;
use std::net::{Ipv6Addr, SocketAddr};
use std::process::ExitCode;

#[derive(Parser)]
#[command(
    name = "probe",
    about = "Drives traffic and measures answers, losses and gaps"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Ask an HTTP application, one connection per request
    Http {
        /// Where to ask: `http://[2001:db8::1]:8080/echo`; the nonce is added
        url: String,
        /// What each nonce begins with; a number follows
        #[arg(long, default_value = "probe")]
        nonce_prefix: String,
        #[command(flatten)]
        schedule: Schedule,
    },
    /// Send datagrams to `probe echo` and await them back
    Udp {
        /// Where to send: `[2001:db8::1]:7007`
        address: SocketAddr,
        #[command(flatten)]
        schedule: Schedule,
    },
    /// Send every datagram back to where it came from
    Echo {
        /// The UDP port to listen on
        #[arg(long, default_value_t = 7007)]
        port: u16,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Arguments::parse().command).await {
        Ok(code) => code,
        Err(error) => {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
            eprintln!("probe: {error}{}", cause.unwrap_or_default());
            ExitCode::from(2)
        }
    }
}

async fn run(command: Command) -> Result<ExitCode, Error> {
    let (schedule, measured) = match command {
        Command::Http {
            url,
            nonce_prefix,
            schedule,
        } => {
            let target = http::Target::parse(&url)?;
            let measured = http::measure(&target, &nonce_prefix, &schedule).await;
            (schedule, measured)
        }
        Command::Udp { address, schedule } => {
            let measured = udp::measure(address, &schedule).await?;
            (schedule, measured)
        }
        Command::Echo { port } => {
            udp::echo(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))).await?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    schedule.print(&measured);
    Ok(if measured.summary().answered == 0 {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}
