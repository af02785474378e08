//! A server that is held for longer than its lease lasts, as if its machine was: another one writes, and when it goes on
//! it tells nobody anything that is not so, and ends.

use live::Groma;
use live::history::{Answer, Told, judge};
use live::servers::Servers;
use rustix::process::{Pid, Signal, kill_process};
use tokio::task::block_in_place;
use tokio::time::timeout;

use super::{BLOCKS, CLIENTS, PATIENCE, SERVERS, WRITES, client};
use crate::clients::{Ask, END, Field, create, newest, watch};

#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_held_for_longer_than_its_lease_tells_nothing_and_ends() {
    let mut servers = match block_in_place(|| Servers::start(SERVERS, BLOCKS)) {
        Ok(servers) => servers,
        Err(skip) => return skip.report(),
    };
    let first = newest(&mut client(&servers, 0)).await;
    let watching = tokio::spawn(watch(servers.endpoint(1), first));
    let field = Field::default();
    let of_held = field.clients(CLIENTS, || client(&servers, 0));
    field.until_written(WRITES).await;
    signal(&servers.all[0], Signal::STOP);
    let others: Vec<usize> = (1..SERVERS).collect();
    let leader = timeout(PATIENCE, servers.leader(&others)).await;
    let leader = leader.expect("another one writes");
    let of_others = field.clients(CLIENTS, || client(&servers, leader));
    let third = SERVERS - leader;
    let of_third = field.clients(CLIENTS, || client(&servers, third));
    field.until_written(WRITES).await;
    signal(&servers.all[0], Signal::CONT);
    block_in_place(|| servers.all[0].wait_for_end());
    let log = servers.all[0].log();
    assert!(log.contains("ends, so that"), "{log}");
    field.until_written(WRITES).await;
    let mut told = field.told(of_held).await;
    told.extend(field.told(of_others).await);
    let of_third = field.told(of_third).await;
    let is_written = |told: &&Told| matches!(told.answer, Answer::Written(_));
    let written = of_third.iter().filter(is_written).count();
    assert!(
        written > CLIENTS,
        "the third server passes writes on to the new one"
    );
    told.extend(of_third);
    let end = client(&servers, leader).ask(create(END)).await;
    end.expect("it serves");
    let heard = timeout(PATIENCE, watching).await;
    let heard = heard
        .expect("it hears of the end")
        .expect("it is refused nothing");
    let judged = judge(&heard, &told).unwrap_or_else(|why| panic!("{why}"));
    println!("one held, {judged:?}, 0 acknowledged writes lost");
}

fn signal(server: &Groma, signal: Signal) {
    let pid = i32::try_from(server.pid()).ok().and_then(Pid::from_raw);
    kill_process(pid.expect("a process has an id"), signal).expect("it is ours");
}
