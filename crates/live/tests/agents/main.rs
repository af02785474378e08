//! A host's agent as its operator runs it: it joins by a token, renews its certificate, is shut out and joins again, while
//! what runs on the host runs on.

mod bed;

use std::time::{Duration, Instant};

use live::lab::wait;

use crate::bed::{Bed, HOST};

/// How soon somebody is shut out whose certificates were revoked.
const SHUT_OUT: Duration = Duration::from_secs(1);

#[test]
fn a_host_joins_renews_is_shut_out_and_joins_again() {
    let mut bed = match Bed::up() {
        Ok(bed) => bed,
        Err(skip) => return skip.report(),
    };
    let first = bed.token();
    bed.start_agent(&first);
    let runs = wait("the instance to run", || bed.running());
    let joined = bed.credentials();

    // What is asked of it meanwhile goes through its door, again and again.
    let mut asked = 0;
    wait("a renewed certificate", || {
        bed.logs().expect("the door is open all the time");
        asked += 1;
        match bed.credentials() == joined {
            true => Err("it is the first one".to_owned()),
            false => Ok(()),
        }
    });
    assert!(asked > 10, "asked {asked} times only");
    let ends = Instant::now() + bed::CERTIFICATE_LIFE;
    while Instant::now() < ends {
        bed.logs()
            .expect("the door is open when the first certificate has ended");
    }
    assert_eq!(bed.running(), Ok(runs.clone()), "it was never stopped");

    bed.groma(&["host", "revoke", HOST]).expect("revoked");
    let revoked = Instant::now();
    let refused = bed.as_agent(&["get", "host", HOST]).expect_err("refused");
    assert!(refused.contains("are revoked"), "{refused}");
    let shut = wait("the door to close", || match bed.logs() {
        Ok(_) => Err("it is open".to_owned()),
        Err(why) => Ok(why),
    });
    assert!(
        shut.contains("no open door") || shut.contains("closed"),
        "{shut}"
    );
    assert!(revoked.elapsed() < SHUT_OUT, "{:?}", revoked.elapsed());
    assert_eq!(bed.running(), Ok(runs.clone()), "it runs on");

    bed.end_agent();
    let refused = bed.join_in_vain(&first);
    assert!(
        refused.contains("the token was used with another key"),
        "{refused}"
    );
    let other = first.replace(&format!("--host {HOST}"), "--host mad-2");
    let refused = bed.join_in_vain(&other);
    assert!(
        refused.contains("the token is for host mad-1, not mad-2"),
        "{refused}"
    );
    let pin = first.rsplit(':').next().expect("a hash");
    let refused = bed.join_in_vain(&first.replace(pin, &"0".repeat(pin.len())));
    assert!(
        refused.contains("has another key than --ca-cert-hash says"),
        "{refused}"
    );

    let second = bed.token();
    bed.start_agent(&second);
    wait("the door to open", || bed.logs());
    assert_eq!(bed.running(), Ok(runs), "it was never stopped");
    bed.says_no_secret(&[&first, &second]);

    bed.groma(&["host", "forget", HOST]).expect("forgotten");
    wait("what ran on a forgotten host to be gone", || {
        match bed.running() {
            Ok(runs) => Err(format!("{runs:?}")),
            Err(_) => Ok(()),
        }
    });
}
