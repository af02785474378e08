//! Hints for sites whose hosts or reservations changed, at most one a second for each.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use api::{Host, Placement, Ref, Result, Site};
use futures::stream::{BoxStream, StreamExt, unfold};
use kube::ResourceExt;
use runtime::{Ctx, ObjectRef};
use tokio::time::sleep;

/// A site is looked at again no sooner than this after a change elsewhere.
const PERIOD: Duration = Duration::from_secs(1);

/// A number for all that a site's status is made of.
type Marks = BTreeMap<Ref<Site>, u64>;

struct Pulse {
    ctx: Ctx,
    marks: Marks,
    changed: VecDeque<Ref<Site>>,
}

/// Names each site once after its hosts or reservations changed.
pub(super) fn sites(ctx: Ctx) -> BoxStream<'static, ObjectRef> {
    let pulse = Pulse {
        ctx,
        marks: Marks::new(),
        changed: VecDeque::new(),
    };
    unfold(pulse, async |mut pulse| {
        loop {
            if let Some(site) = pulse.changed.pop_front() {
                return Some((ObjectRef::new::<Site>(None, site.name()), pulse));
            }
            sleep(PERIOD).await;
            pulse.look();
        }
    })
    .boxed()
}

impl Pulse {
    fn look(&mut self) {
        let Ok(marks) = marks(&self.ctx) else {
            return;
        };
        let sites = marks.keys().chain(self.marks.keys());
        let changed = sites.filter(|site| marks.get(site) != self.marks.get(site));
        self.changed = changed.cloned().collect();
        self.marks = marks;
    }
}

fn marks(ctx: &Ctx) -> Result<Marks> {
    let mut marks = Marks::new();
    let mut mix = |site: &Ref<Site>, version: Option<String>| {
        let mut hasher = DefaultHasher::new();
        version.hash(&mut hasher);
        let mark = marks.entry(site.clone()).or_insert(0);
        *mark = mark.wrapping_mul(31).wrapping_add(hasher.finish());
    };
    for host in ctx.list::<Host>(None)? {
        mix(&host.spec.site, host.resource_version());
    }
    for placement in ctx.list::<Placement>(None)? {
        for assignment in &placement.spec.assignments {
            mix(&assignment.site, placement.resource_version());
        }
    }
    Ok(marks)
}
