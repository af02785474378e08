//! Sites lose and regain their power, services are deleted and hosts forgotten meanwhile: nothing is doubled, and in the end
//! nothing is left.

use crate::random::Random;
use crate::shop::{NORTH, Shop};

/// How many orders are tried.
const ORDERS: usize = 6;

#[test]
fn a_site_without_power() {
    let Some(shop) = Shop::closed() else { return };
    shop.open();
    shop.serving();
    let (site, host) = shop.place_of_app();
    stop(&shop, &site);
    println!("moved away from {site} in {:.2?}", shop.serving());
    assert_ne!(shop.place_of_app().0, site);

    start(&shop, &site);
    nothing_runs_on(&shop, &host);
    shop.serving();
    shop.close();
    println!("empty {:.2?} after it was deleted", shop.empty());
}

#[test]
fn every_order_of_loss_return_and_deletion_ends_empty() {
    let Some(shop) = Shop::closed() else { return };
    let mut random = Random::seeded();
    for n in 0..ORDERS {
        shop.open();
        shop.serving();
        let (site, host) = shop.place_of_app();
        let mut events = [Event::Stop, Event::Start, Event::Delete, Event::Forget];
        random.shuffle(&mut events);
        println!("order {n}: {events:?}, then {site} returns");
        for event in events {
            event.happens(&shop, &site, &host);
        }
        start(&shop, &site);
        // A host that was forgotten is described again, as its operator would.
        shop.laboratory.build();
        println!("order {n}: empty in {:.2?}", shop.empty());
    }
    stop_users(&shop);
}

/// The users' own site is lost with the firewall in it, which may run nowhere else: it serves again when it returns.
fn stop_users(shop: &Shop) {
    shop.open();
    shop.serving();
    stop(shop, "north");
    start(shop, "north");
    shop.serving();
    let on_north = shop.running().into_iter().filter(|one| one.host == NORTH);
    assert_eq!(on_north.count(), 1);
    shop.close();
    shop.empty();
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Stop,
    Start,
    Delete,
    Forget,
}

impl Event {
    fn happens(self, shop: &Shop, site: &str, host: &str) {
        match self {
            Self::Stop => stop(shop, site),
            Self::Start => start(shop, site),
            Self::Delete => shop.close(),
            Self::Forget => {
                let forgotten = shop.laboratory.client(&["host", "forget", host]);
                forgotten.expect("a host can be forgotten");
            }
        }
    }
}

fn stop(shop: &Shop, site: &str) {
    shop.laboratory
        .lab(&["stop", site])
        .expect("a site can be stopped");
}

fn start(shop: &Shop, site: &str) {
    shop.laboratory
        .lab(&["start", site])
        .expect("a site can be started");
}

/// Waits until a host that came back has removed what moved away meanwhile.
fn nothing_runs_on(shop: &Shop, host: &str) {
    live::lab::wait("what moved away to be gone", || {
        let instances = shop.laboratory.list("instance")?;
        let here = instances
            .iter()
            .filter(|instance| instance["spec"]["host"] == host)
            .count();
        let mut left = shop.laboratory.containers(host);
        left.extend(shop.laboratory.datapath(host));
        if here == 0 && left.is_empty() {
            Ok(())
        } else {
            Err(format!("{here} instances, {left:?}"))
        }
    });
}
