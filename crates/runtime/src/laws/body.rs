//! A response body whose frames arrive late: the watch of a reconciler lags behind the API.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::time::{Instant, Sleep, sleep};

/// Passes frames on in their order, each after the lag.
pub(super) struct Lagging<B: Body> {
    inner: B,
    lag: Duration,
    arrived: VecDeque<(Instant, Arrived<B>)>,
    ended: bool,
    timer: Pin<Box<Sleep>>,
}

type Arrived<B> = Result<Frame<Bytes>, <B as Body>::Error>;

impl<B: Body> Lagging<B> {
    pub fn new(inner: B, lag: Duration) -> Self {
        Self {
            inner,
            lag,
            arrived: VecDeque::new(),
            ended: false,
            timer: Box::pin(sleep(Duration::ZERO)),
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Lagging<B>
where
    B::Error: Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        // Taken as soon as they come, or the lags of several frames would add up.
        while !this.ended
            && let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx)
        {
            match frame {
                Some(frame) => this.arrived.push_back((Instant::now() + this.lag, frame)),
                None => this.ended = true,
            }
        }
        let Some((at, _)) = this.arrived.front() else {
            return if this.ended {
                Poll::Ready(None)
            } else {
                Poll::Pending
            };
        };
        this.timer.as_mut().reset(*at);
        ready!(this.timer.as_mut().poll(cx));
        Poll::Ready(this.arrived.pop_front().map(|(_, frame)| frame))
    }
}
