//! Runs a scenario and writes down what it really printed.
//!
//! `groma …` is the command line itself, its files lying under the root of the checkout. Beside it a scenario has:
//!
//! - `prepare FILE` applies a topology without a word and waits until its hosts are ready,
//! - `wait KIND NAME CONDITION[=VALUE] [within TIME]` waits, `gone` being a condition too; `advance TIME` lets time pass,
//! - `stop`, `start` switch the hosts of `site NAME` or `host NAME` off and on; `cut`, `mend` are for their lines,
//! - `kill server`, `kill server N times every TIME` and `kill agent HOST` end processes, which start again at once,
//! - `conditions KIND NAME`, `containers`, `packet CHAIN` and `left` show what is there.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use apiserver::store::memory::Memory;
use clap::Parser;
use kube::api::{Api, DeleteParams};
use tokio::time::{sleep, timeout};

use crate::home::{Cluster, Home};
use crate::mask::masked;
use crate::script::{Command, Part, Script, trimmed};
use crate::wait::{PATIENCE, Wish, conditions, duration, wait};
use crate::world::World;
use crate::{packet, rest};

/// A command that takes longer will never end.
const COMMAND_MAX: Duration = Duration::from_secs(600);

/// `groma …` as on the command line.
#[derive(Parser)]
#[command(no_binary_name = true)]
struct Line {
    #[command(subcommand)]
    command: cli::Command,
    /// The namespace
    #[arg(long, short, global = true, default_value = "default")]
    namespace: String,
}

/// Plays a scenario and gives its text with what every command really printed. Files that it names lie under `root`.
///
/// Must be called in a tokio runtime of one thread whose clock is paused.
pub async fn play(text: &str, root: &Path) -> Result<String> {
    play_in(World::new(Home::Own(Memory::default())), text, root).await
}

/// Plays a scenario on a cluster, in real time. The controllers use it as [`CONTROLLERS`](crate::CONTROLLERS).
pub async fn play_on(cluster: Cluster, text: &str, root: &Path) -> Result<String> {
    play_in(World::new(Home::Cluster(cluster)), text, root).await
}

async fn play_in(mut world: World, text: &str, root: &Path) -> Result<String> {
    let mut script = Script::parse(text)?;
    for part in &mut script.parts {
        if let Part::Command(command) = part {
            let told = run(&mut world, command, root).await;
            command.output = trimmed(&masked(&told, world.start));
            world.meet_hosts().await;
        }
    }
    Ok(script.to_string())
}

/// What a command prints, an error included.
async fn run(world: &mut World, command: &Command, root: &Path) -> String {
    let mut told = Vec::new();
    let words: Vec<&str> = command.line.split_whitespace().collect();
    let done = match words.as_slice() {
        ["groma", words @ ..] => {
            let input = command.input.as_deref();
            timeout(COMMAND_MAX, groma(world, words, input, root, &mut told)).await
        }
        ["prepare", file] => {
            timeout(COMMAND_MAX, prepare(world, &root.join(file), &mut told)).await
        }
        words => timeout(COMMAND_MAX, act(world, words, &mut told)).await,
    };
    let mut text = String::from_utf8_lossy(&told).into_owned();
    match done {
        Ok(Ok(())) => {}
        Ok(Err(error)) => text += &format!("error: {}\n", cli::explained(&error)),
        Err(_) => text += &format!("error: not done after {COMMAND_MAX:?}\n"),
    }
    text
}

/// Runs what a user would type.
async fn groma(
    world: &World,
    words: &[&str],
    input: Option<&str>,
    root: &Path,
    told: cli::Out<'_>,
) -> Result<()> {
    let client = &world.user;
    if let ["host", "forget", name] = words {
        let hosts: Api<api::Host> = Api::all(client.clone());
        let deleted = hosts.delete(name, &DeleteParams::background()).await;
        deleted.with_context(|| format!("cannot forget host {name}"))?;
        writeln!(told, "host {name} is forgotten")?;
        return Ok(());
    }
    let line = Line::try_parse_from(words)?;
    match line.command {
        cli::Command::Apply { file } => {
            for file in file {
                let text = manifest(&file, input, root)?;
                let documents =
                    api::documents(&text).map_err(|e| anyhow::anyhow!(api::chain(&e)))?;
                cli::apply_told(told, client, &line.namespace, &documents).await?;
            }
            Ok(())
        }
        command => cli::tell(told, command, client, &line.namespace).await,
    }
}

fn manifest(file: &Path, input: Option<&str>, root: &Path) -> Result<String> {
    match (file.as_os_str() == "-", input) {
        (true, Some(input)) => Ok(input.to_owned()),
        (true, None) => bail!("`-` reads what stands under the command; end it with <<EOF"),
        (false, _) => std::fs::read_to_string(root.join(file))
            .with_context(|| format!("cannot read {}", file.display())),
    }
}

/// Applies a topology without a word and waits until all its hosts are ready.
async fn prepare(world: &mut World, file: &Path, told: cli::Out<'_>) -> Result<()> {
    let text = manifest(file, None, file)?;
    let documents = api::documents(&text).map_err(|e| anyhow::anyhow!(api::chain(&e)))?;
    cli::apply(&world.user, &documents).await?;
    world.meet_hosts().await;
    let hosts: Vec<String> = world
        .agents()
        .map(|agent| agent.name().to_owned())
        .collect();
    for name in &hosts {
        let wish = Wish {
            kind: "host",
            name,
            what: "Ready",
            within: PATIENCE,
        };
        wait(world, &wish).await?;
    }
    writeln!(told, "{} hosts are ready", hosts.len())?;
    Ok(())
}

/// Runs what only a scenario can do: let time pass, let things fail, and look behind the API.
async fn act(world: &mut World, words: &[&str], told: cli::Out<'_>) -> Result<()> {
    let text = match words {
        ["advance", time] => {
            world.advance(duration(time)?).await;
            String::new()
        }
        ["wait", kind, name, what, rest @ ..] => {
            let within = match rest {
                [] => PATIENCE,
                ["within", time] => duration(time)?,
                _ => bail!("say `wait KIND NAME CONDITION [within TIME]`"),
            };
            wait(
                world,
                &Wish {
                    kind,
                    name,
                    what,
                    within,
                },
            )
            .await?
        }
        ["conditions", kind, name] => {
            let object = world.find(kind, name).await;
            conditions(&object.with_context(|| format!("there is no {kind} {name}"))?)
        }
        ["packet", chain] => packet::follow(world, chain).await?,
        ["containers"] => rest::containers(world),
        ["left"] => rest::left(world).await,
        _ => return disturb(world, words).await,
    };
    Ok(told.write_all(text.as_bytes())?)
}

/// Lets something fail, or come back.
async fn disturb(world: &mut World, words: &[&str]) -> Result<()> {
    match words {
        ["kill", "server"] => world.restart_control_plane().await,
        ["kill", "server", times, "times", "every", period] => {
            let period = duration(period)?;
            for _ in 0..times.parse::<u32>().context("say how many times")? {
                world.restart_control_plane().await;
                sleep(period).await;
            }
        }
        ["kill", "agent", name] => each(world, "host", name, |agent| agent.restart())?,
        ["stop", what @ ("site" | "host"), name] => {
            each(world, what, name, |agent| agent.switch_off())?;
        }
        ["start", what @ ("site" | "host"), name] => {
            each(world, what, name, |agent| agent.switch_on())?;
        }
        ["cut", what @ ("site" | "host"), name] => {
            each(world, what, name, |agent| agent.cut_off())?
        }
        ["mend", what @ ("site" | "host"), name] => {
            each(world, what, name, |agent| agent.reconnect())?;
        }
        _ => bail!("a scenario has no command `{}`", words.join(" ")),
    }
    Ok(())
}

fn each(
    world: &mut World,
    what: &str,
    name: &str,
    act: fn(&mut crate::agent::Agent),
) -> Result<()> {
    world.chosen(what, name)?.into_iter().for_each(act);
    Ok(())
}
