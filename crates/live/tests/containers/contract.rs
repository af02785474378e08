//! The promises of the trait, kept by real containers.

use crate::bed::{Bed, idle};

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract_of_a_container_runtime() {
    let Some(bed) = Bed::new().await else { return };
    adapter::container::contract::check(bed.runtime(), &idle()).await;
    bed.finish().await;
}
