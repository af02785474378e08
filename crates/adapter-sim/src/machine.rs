//! A machine that exists only in memory: it is what a test says it is.

use std::sync::{Arc, Mutex};

use adapter::faults::{Effect, Faults, Tripped};
use adapter::{Machine, MachineFacts};
use api::tcrr::Runtime;
use api::{Error, ErrorKind, Quantity, Resources};

/// The machine of one simulated host; a clone is the same one.
#[derive(Clone)]
pub struct SimMachine(Arc<Inner>);

struct Inner {
    faults: Arc<Faults>,
    facts: Mutex<MachineFacts>,
}

impl SimMachine {
    /// A machine of four cores and 8 GiB whose calls go through this switch.
    pub fn new(faults: Arc<Faults>) -> Self {
        let facts = MachineFacts {
            capacity: Resources::from([
                ("cpu", Quantity::whole(4)),
                ("memory", Quantity::whole(8 << 30)),
            ]),
            architecture: "amd64".into(),
            kernel: "6.18.0-sim".into(),
            runtimes: vec![Runtime {
                name: "sim".into(),
                version: "1.0.0".into(),
            }],
        };
        Self(Arc::new(Inner {
            faults,
            facts: Mutex::new(facts),
        }))
    }

    /// Changes what it is.
    pub fn change(&self, edit: impl FnOnce(&mut MachineFacts)) {
        edit(&mut self.0.facts.lock().expect("nothing panics under this lock"));
    }
}

impl Machine for SimMachine {
    async fn facts(&self) -> Result<MachineFacts, Error> {
        let look = async {
            let facts = self.0.facts.lock();
            facts.expect("nothing panics under this lock").clone()
        };
        let looked = self
            .0
            .faults
            .call("look at machine", Effect::Read, look)
            .await;
        looked.map_err(|Tripped| Error::new(ErrorKind::Unavailable, "cannot look at the machine"))
    }
}
