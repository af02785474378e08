//! One priority level: its seats, and the queues of those who wait for one.
//!
//! Fair queuing by virtual time: a queue's next request starts at the time at which the one before it is thought to end, and
//! the queue with the earliest start is served next. What a request is thought to use is put right by what it used. Who
//! gives up leaves its queue; a seat that nobody takes goes to the next.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::{HAND, QUEUE_REQUESTS_MAX};
use crate::metrics::{Flow, Flows, Rejected, Waited};

/// How long a request waits for its turn: a quarter of the longest that it may take in Kubernetes.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(15);
/// What a request is thought to take until it is known, as in Kubernetes; in microseconds.
const EXPECTED_MICROS: u64 = 3_000;

/// What a level is made of.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) level: &'static str,
    pub(super) schema: &'static str,
    pub(super) shares: u32,
    pub(super) queues: usize,
}

/// Why there is no seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoSeat {
    /// Too many wait in that queue, or nobody may wait.
    Full,
    /// It has waited long enough.
    TimeOut,
}

/// Seats, and who waits for them.
pub(super) struct Level {
    seats: u32,
    turns: Mutex<Turns>,
    counted: Counted,
}

/// A place at work; given back when it is dropped.
pub(crate) struct Seat {
    /// `None` once it is given back.
    level: Option<Arc<Level>>,
    queue: usize,
    width: u32,
    begun: Instant,
}

struct Counted {
    dispatched: Counter,
    full: Counter,
    late: Counter,
    waiting: Gauge,
    seats: Gauge,
    waits: [Histogram; 2],
}

struct Turns {
    queues: Vec<Queue>,
    /// Seats that are taken.
    taken: u32,
    /// Requests that wait, over all queues.
    waiting: usize,
    /// Where the virtual time has come to, in microseconds of seats.
    now: u64,
    next_id: u64,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    /// When its next request starts in virtual time.
    start: u64,
    taken: u32,
}

struct Waiting {
    id: u64,
    width: u32,
    turn: oneshot::Sender<Seat>,
}

enum Entered {
    /// There is room at once, on behalf of that queue.
    Room(usize),
    Waits(Ticket, oneshot::Receiver<Seat>),
}

/// A place in a queue; left when it is dropped.
struct Ticket {
    level: Arc<Level>,
    queue: usize,
    id: u64,
}

impl Level {
    pub(super) fn new(shape: &Shape, seats: u32, flows: &Flows) -> Self {
        let flow = Flow {
            level: shape.level,
            schema: shape.schema,
        };
        let rejected = |why| {
            flows
                .rejected
                .get_or_create_owned(&Rejected(flow.clone(), why))
        };
        let waits = |turn| {
            flows
                .waits
                .0
                .get_or_create_owned(&Waited(flow.clone(), turn))
        };
        // Where nobody waits, one queue still counts what is taken.
        let queues = (0..shape.queues.max(1)).map(|_| Queue::default());
        Self {
            seats,
            turns: Mutex::new(Turns {
                queues: queues.collect(),
                taken: 0,
                waiting: 0,
                now: 0,
                next_id: 0,
            }),
            counted: Counted {
                dispatched: flows.dispatched.get_or_create_owned(&flow),
                full: rejected(match shape.queues {
                    0 => "concurrency-limit",
                    _ => "queue-full",
                }),
                late: rejected("time-out"),
                waiting: flows.waiting.get_or_create_owned(&flow),
                seats: flows.seats.get_or_create_owned(&flow),
                waits: [waits(false), waits(true)],
            },
        }
    }

    pub(super) fn seats(&self) -> u32 {
        self.seats
    }

    /// Counts a request that needs no seat.
    pub(super) fn let_pass(&self) {
        self.counted.dispatched.inc();
    }

    /// Waits for the turn of a flow.
    pub(super) async fn seat(self: &Arc<Self>, flow: u64, width: u32) -> Result<Seat, NoSeat> {
        let since = Instant::now();
        let seat = match self.enter(flow, width) {
            Ok(Entered::Room(queue)) => Ok(self.seat_of(queue, width)),
            Ok(Entered::Waits(_ticket, turn)) => match timeout(WAIT_MAX, turn).await {
                Ok(Ok(seat)) => Ok(seat),
                Ok(Err(_)) | Err(_) => Err(NoSeat::TimeOut),
            },
            Err(full) => Err(full),
        };
        let counted = &self.counted;
        match &seat {
            Ok(_) => counted.dispatched.inc(),
            Err(NoSeat::Full) => counted.full.inc(),
            Err(NoSeat::TimeOut) => counted.late.inc(),
        };
        let waited = since.elapsed().as_secs_f64();
        counted.waits[usize::from(seat.is_ok())].observe(waited);
        seat
    }

    fn enter(self: &Arc<Self>, flow: u64, width: u32) -> Result<Entered, NoSeat> {
        let mut turns = self.turns();
        let queue = turns.choose(flow);
        if turns.waiting == 0 && turns.has_room(self.seats, width) {
            turns.charge(queue, width);
            self.counted.seats.inc_by(width.into());
            return Ok(Entered::Room(queue));
        }
        let (turn, its_turn) = oneshot::channel();
        let id = turns.wait(queue, width, turn)?;
        self.counted.waiting.inc();
        let level = self.clone();
        Ok(Entered::Waits(Ticket { level, queue, id }, its_turn))
    }

    fn seat_of(self: &Arc<Self>, queue: usize, width: u32) -> Seat {
        Seat {
            level: Some(self.clone()),
            queue,
            width,
            begun: Instant::now(),
        }
    }

    /// Gives free seats to those whose turn it is.
    fn dispatch(self: &Arc<Self>, turns: &mut Turns) {
        while let Some(queue) = turns.next() {
            let Some(first) = turns.queues[queue].waiting.front() else {
                return;
            };
            if !turns.has_room(self.seats, first.width) {
                return;
            }
            let Some(first) = turns.leave(queue, first.id) else {
                return;
            };
            self.counted.waiting.dec();
            let charged = (turns.now, turns.queues[queue].start);
            turns.charge(queue, first.width);
            let seat = self.seat_of(queue, first.width);
            match first.turn.send(seat) {
                Ok(()) => drop(self.counted.seats.inc_by(first.width.into())),
                // It has just given up. What is sent back would lock what is locked.
                Err(mut seat) => {
                    seat.level = None;
                    turns.free(queue, first.width);
                    (turns.now, turns.queues[queue].start) = charged;
                }
            }
        }
    }

    fn turns(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turns {
    /// The queue of a flow's hand where least goes on.
    fn choose(&self, flow: u64) -> usize {
        let load = |queue: &usize| {
            let queue = &self.queues[*queue];
            let waiting: u32 = queue.waiting.iter().map(|waiting| waiting.width).sum();
            waiting + queue.taken
        };
        let hand = deal(flow, self.queues.len());
        hand.into_iter().flatten().min_by_key(load).unwrap_or(0)
    }

    /// A request that is wider than the level waits until nobody else is there.
    fn has_room(&self, seats: u32, width: u32) -> bool {
        self.taken == 0 || self.taken + width <= seats
    }

    fn wait(
        &mut self,
        queue: usize,
        width: u32,
        turn: oneshot::Sender<Seat>,
    ) -> Result<u64, NoSeat> {
        let may_wait = self.queues.len() > 1;
        let (now, queue) = (self.now, &mut self.queues[queue]);
        if !may_wait || queue.waiting.len() >= QUEUE_REQUESTS_MAX {
            return Err(NoSeat::Full);
        }
        if queue.waiting.is_empty() {
            // Nobody saves time up by not asking.
            queue.start = queue.start.max(now);
        }
        let id = self.next_id;
        queue.waiting.push_back(Waiting { id, width, turn });
        self.next_id += 1;
        self.waiting += 1;
        Ok(id)
    }

    fn leave(&mut self, queue: usize, id: u64) -> Option<Waiting> {
        let waiting = &mut self.queues[queue].waiting;
        let place = waiting.iter().position(|waiting| waiting.id == id)?;
        self.waiting -= 1;
        waiting.remove(place)
    }

    /// The queue whose turn it is.
    fn next(&self) -> Option<usize> {
        let waiting = self.queues.iter().enumerate();
        let waiting = waiting.filter(|(_, queue)| !queue.waiting.is_empty());
        let next = waiting.min_by_key(|(_, queue)| queue.start);
        next.map(|(n, _)| n)
    }

    fn charge(&mut self, queue: usize, width: u32) {
        self.taken += width;
        let queue = &mut self.queues[queue];
        let start = match queue.waiting.is_empty() && queue.taken == 0 {
            true => queue.start.max(self.now),
            false => queue.start,
        };
        self.now = self.now.max(start);
        queue.taken += width;
        queue.start = start + u64::from(width) * EXPECTED_MICROS;
    }

    fn free(&mut self, queue: usize, width: u32) {
        self.taken -= width;
        self.queues[queue].taken -= width;
    }

    /// Puts right what a request was thought to use.
    fn correct(&mut self, queue: usize, width: u32, used: Duration) {
        let used = u64::try_from(used.as_micros()).unwrap_or(u64::MAX);
        let width = u64::from(width);
        let start = &mut self.queues[queue].start;
        *start = start.saturating_add(used.saturating_mul(width));
        *start = start.saturating_sub(EXPECTED_MICROS * width);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Some(level) = self.level.take() else {
            return;
        };
        let mut turns = level.turns();
        turns.free(self.queue, self.width);
        turns.correct(self.queue, self.width, self.begun.elapsed());
        level.counted.seats.dec_by(self.width.into());
        if turns.waiting > 0 {
            level.dispatch(&mut turns);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut turns = self.level.turns();
        if turns.leave(self.queue, self.id).is_some() {
            self.level.counted.waiting.dec();
        }
    }
}

/// The queues of a flow: different ones out of all, as its hash says (shuffle sharding).
fn deal(mut hash: u64, queues: usize) -> [Option<usize>; HAND] {
    let mut hand = [None; HAND];
    let mut dealt: Vec<usize> = Vec::with_capacity(HAND);
    for card in hand.iter_mut().take(queues) {
        let left = u64::try_from(queues - dealt.len()).unwrap_or(1);
        let mut chosen = usize::try_from(hash % left).unwrap_or(0);
        hash /= left;
        // Of those that are left, the one of that number.
        for taken in &dealt {
            chosen += usize::from(chosen >= *taken);
        }
        dealt.insert(dealt.partition_point(|taken| *taken < chosen), chosen);
        *card = Some(chosen);
    }
    hand
}
