//! The benchmark of the API server runs, in numbers that are too small to say anything.

use std::env;

use live::Skip;
use live::bench::{self, Sizes};
use live::lab::PROGRAMS_VARIABLE;

#[tokio::test(flavor = "multi_thread")]
async fn measures_ours_beside_the_peer() {
    if env::var_os(PROGRAMS_VARIABLE).is_none() {
        let why = format!("{PROGRAMS_VARIABLE} is not set; run `cargo xtask live`");
        return Skip::because(why).report();
    }
    let figures = bench::run(&Sizes::SMOKE, true).await.expect("it runs");
    let value = |name: &str| {
        let figure = figures.iter().find(|figure| figure.name == name);
        figure.expect(name).ours[0]
    };
    assert!(value("create 1 kB: rate") > 0.0);
    assert_eq!(value("watches: writes that the right one heard"), 100.0);
    assert_eq!(value("watches: events that were another's"), 0.0);
}
