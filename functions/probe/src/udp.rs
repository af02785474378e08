//! Numbered datagrams that an echo sends back: one socket, no connection, so each packet of the path is seen alone.

use crate::measure::{Measured, Sample};
use crate::schedule::Schedule;
use function::Error;
use std::net::{Ipv6Addr, SocketAddr};
use tokio::net::UdpSocket;
use tokio::time::Instant;

/// The largest datagram that is sent back.
const DATAGRAM_MAX: usize = 2_048;

/// Sends every datagram back, for ever.
pub(crate) async fn echo(address: SocketAddr) -> Result<(), Error> {
    let binding = UdpSocket::bind(address).await;
    let socket = binding.map_err(Error::system(format!("listen on {address}")))?;
    let mut datagram = [0; DATAGRAM_MAX];
    loop {
        // Both can report an ICMP error of an earlier datagram, which ends nothing here.
        if let Ok((size, peer)) = socket.recv_from(&mut datagram).await {
            let _ = socket.send_to(&datagram[..size], peer).await;
        }
    }
}

/// Sends all datagrams of the schedule and waits for the last one's time limit.
pub(crate) async fn measure(address: SocketAddr, schedule: &Schedule) -> Result<Measured, Error> {
    let binding = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).await;
    let socket = binding.map_err(Error::system("open a UDP socket"))?;
    let start = Instant::now();
    let end = start + schedule.offset(schedule.count() - 1) + schedule.timeout();
    let (sent, arrived) = tokio::join!(
        send(&socket, address, schedule, start),
        receive(&socket, address, schedule, start, end),
    );
    let samples = (0..).zip(sent.into_iter().zip(arrived));
    let samples = samples.map(|(n, (sent, arrived)): (u64, _)| Sample {
        name: n.to_string(),
        sent: sent.at,
        answer: judge(&sent, arrived, schedule),
    });
    Ok(Measured {
        samples: samples.collect(),
    })
}

struct Sent {
    at: std::time::Duration,
    problem: Option<String>,
}

fn judge(
    sent: &Sent,
    arrived: Option<std::time::Duration>,
    schedule: &Schedule,
) -> Result<std::time::Duration, String> {
    let latency = arrived.map(|arrived| arrived.saturating_sub(sent.at));
    match (latency, &sent.problem) {
        (Some(latency), _) if latency <= schedule.timeout() => Ok(latency),
        (_, Some(problem)) => Err(problem.clone()),
        _ => Err(format!("nothing came within {:?}", schedule.timeout())),
    }
}

async fn send(
    socket: &UdpSocket,
    address: SocketAddr,
    schedule: &Schedule,
    start: Instant,
) -> Vec<Sent> {
    let mut sent = Vec::new();
    for n in 0..schedule.count() {
        tokio::time::sleep_until(start + schedule.offset(n)).await;
        let at = start.elapsed();
        let sending = socket.send_to(&n.to_be_bytes(), address).await;
        sent.push(Sent {
            at,
            problem: sending.err().map(|e| e.to_string()),
        });
    }
    sent
}

/// When each datagram came back, by number; returns early when all have.
async fn receive(
    socket: &UdpSocket,
    address: SocketAddr,
    schedule: &Schedule,
    start: Instant,
    end: Instant,
) -> Vec<Option<std::time::Duration>> {
    let mut arrived: Vec<_> = (0..schedule.count()).map(|_| None).collect();
    let mut missing = arrived.len();
    let mut datagram = [0; 8];
    while missing > 0 {
        let Ok(receiving) = tokio::time::timeout_at(end, socket.recv_from(&mut datagram)).await
        else {
            break;
        };
        let Ok((8, peer)) = receiving else { continue };
        let n = usize::try_from(u64::from_be_bytes(datagram)).ok();
        let place = n.and_then(|n| arrived.get_mut(n));
        if let (true, Some(place @ None)) = (peer == address, place) {
            *place = Some(start.elapsed());
            missing -= 1;
        }
    }
    arrived
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args, FromArgMatches};

    fn schedule(arguments: &[&str]) -> Schedule {
        let command = Schedule::augment_args(clap::Command::new("probe").no_binary_name(true));
        let matches = command.try_get_matches_from(arguments).unwrap();
        Schedule::from_arg_matches(&matches).unwrap()
    }

    #[tokio::test]
    async fn echoed_datagrams_are_answered_and_others_lost() {
        let echo = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).await.unwrap();
        let address = echo.local_addr().unwrap();
        let schedule = schedule(&["--count", "4", "--interval", "1", "--timeout", "200"]);
        let answering = async {
            let mut datagram = [0; 8];
            for n in 0..4 {
                let (_, peer) = echo.recv_from(&mut datagram).await.unwrap();
                if n != 2 {
                    echo.send_to(&datagram, peer).await.unwrap();
                }
            }
        };
        let (measured, ()) = tokio::join!(measure(address, &schedule), answering);
        let answered: Vec<_> = measured
            .unwrap()
            .samples
            .iter()
            .map(|s| s.answer.is_ok())
            .collect();
        assert_eq!(answered, [true, true, false, true]);
    }
}
