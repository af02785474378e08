//! Whose turn it is, in time that only passes when everybody waits.

use std::collections::BTreeSet;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::sleep;

use super::*;

const WORK: Duration = Duration::from_millis(10);

fn level(seats: u32, queues: usize) -> Arc<Level> {
    let shape = Shape {
        level: "test",
        schema: "test",
        shares: 1,
        queues,
    };
    Arc::new(Level::new(&shape, seats, &Flows::default()))
}

/// Seats that are taken, and requests that wait.
fn left(level: &Arc<Level>) -> (u32, usize) {
    let turns = level.turns();
    (turns.taken, turns.waiting)
}

/// Who did its work after how many others, and who was refused.
async fn worked(level: &Arc<Level>, flows: Vec<u64>) -> (Vec<u64>, usize) {
    let mut all: FuturesUnordered<_> = flows
        .into_iter()
        .map(|flow| async move {
            let seat = level.seat(flow, 1).await?;
            sleep(WORK).await;
            drop(seat);
            Ok::<_, NoSeat>(flow)
        })
        .collect();
    let (mut done, mut refused) = (Vec::new(), 0);
    while let Some(result) = all.next().await {
        match result {
            Ok(flow) => done.push(flow),
            Err(_) => refused += 1,
        }
    }
    (done, refused)
}

#[tokio::test(start_paused = true)]
async fn a_quiet_flow_waits_a_few_turns_beside_one_that_floods() {
    let level = level(4, 64);
    let (flood, quiet) = (0x1234_5678_9abc, 0x0fed_cba9_8765);
    let mut flows = vec![flood; 1_000];
    flows.extend([quiet; 5]);
    let (done, refused) = worked(&level, flows).await;
    let turns = done
        .iter()
        .position(|flow| *flow == quiet)
        .expect("it is served");
    // Four at work before it, and one turn of each queue that the flood fills.
    assert!(turns <= 4 + HAND, "after {turns} others");
    let last = done
        .iter()
        .rposition(|flow| *flow == quiet)
        .expect("it is served");
    assert!(last <= 5 * (4 + HAND), "after {last} others");
    assert_eq!(done.iter().filter(|flow| **flow == quiet).count(), 5);
    // The flood fills its own hand and no more.
    assert_eq!(refused, 1_000 - 4 - HAND * QUEUE_REQUESTS_MAX);
    assert_eq!(left(&level), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn slow_requests_are_charged_for_what_they_took() {
    let level = level(1, 64);
    let take = async |flow: u64, work: Duration| {
        let seat = level.seat(flow, 1).await.expect("a seat");
        sleep(work).await;
        drop(seat);
        flow
    };
    let (slow, fast) = (7, 1_000_003);
    let mut all: FuturesUnordered<_> = (0..60)
        .flat_map(|_| [(slow, WORK * 10), (fast, WORK)])
        .map(|(flow, work)| take(flow, work))
        .collect();
    let mut done = Vec::new();
    while let Some(flow) = all.next().await {
        done.push(flow);
    }
    let fast_ones = done[..40].iter().filter(|flow| **flow == fast).count();
    assert!(fast_ones >= 30, "{fast_ones}: {done:?}");
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_ever_or_in_a_queue_that_is_full() {
    let level = level(1, 64);
    let held = level.seat(1, 1).await.expect("a seat");
    let begun = Instant::now();
    assert_eq!(level.seat(1, 1).await.err(), Some(NoSeat::TimeOut));
    assert_eq!(begun.elapsed(), WAIT_MAX);
    assert_eq!(level.turns().waiting, 0);
    let most = HAND * QUEUE_REQUESTS_MAX;
    let mut waiting: Vec<_> = (0..most).map(|_| Box::pin(level.seat(1, 1))).collect();
    for waits in &mut waiting {
        assert!(futures::poll!(waits).is_pending());
    }
    assert_eq!(level.seat(1, 1).await.err(), Some(NoSeat::Full));
    assert_eq!(begun.elapsed(), WAIT_MAX);
    // Who gives up makes room, whether its turn has come or not.
    drop(held);
    drop(waiting);
    assert_eq!(left(&level), (0, 0));
    drop(level.seat(1, 1).await.expect("a seat"));
}

#[tokio::test(start_paused = true)]
async fn wide_requests_take_their_seats_and_are_not_passed_by() {
    let level = level(4, 64);
    let wide = level.seat(1, 3).await.expect("seats");
    let narrow = level.seat(2, 1).await.expect("a seat");
    let mut wider = Box::pin(level.seat(3, 9));
    let mut later = Box::pin(level.seat(4, 1));
    assert!(futures::poll!(&mut wider).is_pending());
    drop(wide);
    assert!(
        futures::poll!(&mut later).is_pending(),
        "the wider one came first"
    );
    drop(narrow);
    let wider = wider.await.expect("all seats");
    assert!(futures::poll!(&mut later).is_pending());
    drop(wider);
    drop(later.await.expect("a seat"));
}

#[tokio::test(start_paused = true)]
async fn where_nobody_may_wait_the_next_one_is_refused() {
    let level = level(2, 0);
    let _seats = (level.seat(1, 1).await, level.seat(2, 1).await);
    assert_eq!(level.seat(3, 1).await.err(), Some(NoSeat::Full));
}

#[test]
fn hands_are_of_different_queues_and_differ() {
    let mut hands = BTreeSet::new();
    for n in 0..1_000_u64 {
        let hash = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let hand = deal(hash, 128);
        let cards: BTreeSet<_> = hand.iter().flatten().copied().collect();
        assert_eq!(cards.len(), HAND);
        assert!(cards.iter().all(|card| *card < 128));
        hands.insert(cards);
    }
    assert!(hands.len() > 990, "{}", hands.len());
    assert_eq!(deal(5, 1), [Some(0), None, None, None, None, None]);
}
