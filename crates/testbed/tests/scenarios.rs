//! Every scenario prints what its file says. `UPDATE=1` rewrites the files; `SCENARIO=FILE` plays one.

#![allow(
    clippy::disallowed_methods,
    reason = "which scenarios are played, and whether they are rewritten, is chosen by the environment"
)]

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

/// The root of the checkout, where the files that scenarios name lie.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn files() -> Vec<PathBuf> {
    if let Some(file) = env::var_os("SCENARIO") {
        return vec![file.into()];
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let entries = fs::read_dir(folder).expect("there are scenarios");
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("the folder can be read").path())
        .collect();
    files.retain(|file| file.extension().is_some_and(|end| end == "txt"));
    files.sort();
    files
}

/// What a scenario really prints.
fn played(text: &str) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime can be built");
    runtime
        .block_on(testbed::play(text, &root()))
        .expect("it is a scenario")
}

/// The first lines in which two texts differ, each with what comes next.
fn difference(written: &str, printed: &str) -> String {
    const SHOWN: usize = 12;
    let (written, printed): (Vec<_>, Vec<_>) =
        (written.lines().collect(), printed.lines().collect());
    let same = written
        .iter()
        .zip(&printed)
        .take_while(|(a, b)| a == b)
        .count();
    let from = |lines: &[&str]| {
        let rest = lines.iter().skip(same).take(SHOWN);
        rest.map(|line| format!("    {line}\n")).collect::<String>()
    };
    format!(
        "line {}, the file says\n{}  it prints\n{}",
        same + 1,
        from(&written),
        from(&printed)
    )
}

fn check(file: &Path) -> Option<String> {
    let written = fs::read_to_string(file).expect("the scenario can be read");
    let printed = played(&written);
    if written == printed {
        return None;
    }
    if env::var_os("UPDATE").is_some() {
        fs::write(file, printed).expect("the scenario can be written");
        return None;
    }
    Some(format!(
        "{}: {}",
        file.display(),
        difference(&written, &printed)
    ))
}

#[test]
fn every_scenario_prints_what_its_file_says() {
    let files = files();
    let wrong: Vec<String> = thread::scope(|scope| {
        let playing: Vec<_> = files
            .iter()
            .map(|file| scope.spawn(move || check(file)))
            .collect();
        playing
            .into_iter()
            .filter_map(|one| one.join().expect("it ran"))
            .collect()
    });
    assert!(
        wrong.is_empty(),
        "UPDATE=1 accepts what is printed\n{}",
        wrong.join("\n")
    );
}

#[test]
fn a_scenario_prints_the_same_each_time() {
    let first = fs::read_to_string(&files()[0]).expect("the scenario can be read");
    assert_eq!(played(&first), played(&first));
}
