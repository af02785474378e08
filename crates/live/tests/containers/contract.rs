//! The promises of the trait, kept by real containers.

use adapter::container::contract::{self, FILE, INVALID};

use crate::bed::{Bed, script};

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract_of_a_container_runtime() {
    let Some(bed) = Bed::new().await else { return };
    let line = format!("grep -qs ^{INVALID} {FILE} && exit 9; exec sleep 100000");
    contract::check(bed.runtime(), &script(&line)).await;
    bed.finish().await;
}
