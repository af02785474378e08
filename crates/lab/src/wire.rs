//! A connection of two sites: packets are taken from one end's device and handed to the other's after the latency.
//!
//! Many kernels lack a delaying queue, so this is done here, for both ways of each tunnel. The bandwidth counts too: a
//! packet leaves when the one before it has left the wire. What would wait longer than a real router lets it is dropped.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use linux::Netlink;
use linux::netlink::Prefix;
use linux::tun::{self, Lifetime, Tun};
use runtime::Task;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use crate::build::{existing, failed};
use crate::layout::Tunnel;

/// The largest packet that IPv6 knows without jumbograms.
const PACKET_MAX: usize = 65_535;
/// How long a packet may wait for the wire to become free, as in the buffer of a router.
const BUFFER: Duration = Duration::from_millis(50);
/// How many packets may be on their way at once.
const ON_THE_WAY_MAX: usize = 16_384;

/// A tunnel that is open at both ends.
#[derive(Debug)]
pub struct Wire {
    ends: [Arc<Tun>; 2],
    latency: Duration,
    bandwidth: u64,
}

impl Wire {
    /// Makes the devices at both ends, or takes over those that an earlier process left.
    pub fn open(tunnel: &Tunnel) -> api::Result<Self> {
        let [a, b] = [0, 1].map(|end| open_end(tunnel, &tunnel.namespaces[end]));
        Ok(Self {
            ends: [Arc::new(a?), Arc::new(b?)],
            latency: tunnel.latency,
            bandwidth: tunnel.bandwidth,
        })
    }

    /// Carries packets both ways until it is dropped or a device goes.
    pub async fn run(self) {
        let [a, b] = &self.ends;
        tokio::select! {
            () = carry(a, b, self.latency, self.bandwidth) => {}
            () = carry(b, a, self.latency, self.bandwidth) => {}
        }
    }
}

/// A link that is carried, as it was when that began.
#[derive(Debug)]
pub struct Carried {
    /// What was asked for.
    pub tunnel: Tunnel,
    /// Dropped to end it.
    stop: oneshot::Sender<()>,
    /// It ends by itself when a device goes.
    pub task: Task<()>,
}

impl Carried {
    /// Opens both ends and begins.
    pub fn start(tunnel: &Tunnel) -> api::Result<Self> {
        let wire = Wire::open(tunnel)?;
        let (stop, stopped) = oneshot::channel();
        let task = runtime::spawn(async move {
            tokio::select! {
                () = wire.run() => {}
                _ = stopped => {}
            }
        });
        Ok(Self {
            tunnel: tunnel.clone(),
            stop,
            task,
        })
    }

    /// Ends it and waits until its devices are free.
    pub async fn end(self) {
        drop(self.stop);
        // An error says that it broke off, which is an end too.
        let _ = self.task.await;
    }
}

fn open_end(tunnel: &Tunnel, namespace: &str) -> api::Result<Tun> {
    let namespace = existing(namespace)?;
    let tun = tun::open(&namespace, &tunnel.interface, Lifetime::Persistent).map_err(failed)?;
    let mut netlink = Netlink::open(&namespace).map_err(failed)?;
    netlink
        .set_mtu(&tunnel.interface, tunnel.mtu)
        .map_err(failed)?;
    netlink.set_up(&tunnel.interface).map_err(failed)?;
    let link_local = Prefix {
        address: crate::layout::ROUTER.into(),
        length: 64,
    };
    netlink
        .add_address(&tunnel.interface, link_local)
        .map_err(failed)?;
    Ok(tun)
}

/// Packets on their way, first to arrive first.
struct OnTheWay {
    packets: VecDeque<(Instant, Vec<u8>)>,
    /// When the wire is free again.
    free: Instant,
}

impl OnTheWay {
    /// Puts a packet on the wire, unless it would wait too long.
    fn take(&mut self, packet: &[u8], latency: Duration, bandwidth: u64) {
        let now = Instant::now();
        let begins = self.free.max(now);
        if begins - now > BUFFER || self.packets.len() >= ON_THE_WAY_MAX {
            return;
        }
        let nanos = (packet.len() as u128 * 8 * 1_000_000_000) / u128::from(bandwidth);
        self.free = begins + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.packets
            .push_back((self.free + latency, packet.to_vec()));
    }
}

async fn carry(from: &Tun, to: &Tun, latency: Duration, bandwidth: u64) {
    let mut on_the_way = OnTheWay {
        packets: VecDeque::new(),
        free: Instant::now(),
    };
    let mut packet = vec![0; PACKET_MAX];
    loop {
        let due = on_the_way.packets.front().map(|(due, _)| *due);
        tokio::select! {
            received = from.recv(&mut packet) => match received {
                Ok(length) => on_the_way.take(&packet[..length], latency, bandwidth),
                Err(error) => {
                    tracing::warn!(%error, "a link's device is gone");
                    return;
                }
            },
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                while on_the_way.packets.front().is_some_and(|(due, _)| *due <= Instant::now()) {
                    let Some((_, packet)) = on_the_way.packets.pop_front() else { break };
                    // A packet that the other end refuses is lost, as on any network.
                    let _ = to.send(&packet).await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_full_wire_delays_and_then_drops() {
        let mut wire = OnTheWay {
            packets: VecDeque::new(),
            free: Instant::now(),
        };
        let start = Instant::now();
        for _ in 0..100 {
            // 1,250 bytes take 10 ms at 1 Mbit/s.
            wire.take(&[0; 1250], Duration::from_millis(5), 1_000_000);
        }
        let due: Vec<_> = wire
            .packets
            .iter()
            .map(|(due, _)| (*due - start).as_millis())
            .collect();
        assert_eq!(due, [15, 25, 35, 45, 55, 65]);
    }
}
