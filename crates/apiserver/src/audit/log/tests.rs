//! What is in the files after restarts, rotation and crashes.

use std::os::unix::fs::PermissionsExt;

use super::*;

fn files(folder: &Path) -> Files {
    Files {
        path: folder.join("audit").join("audit.log"),
        bytes_max: 600,
        backups_max: 2,
    }
}

fn events(from: u32, to: u32) -> Vec<String> {
    (from..to).map(|n| format!(r#"{{"n":{n}}}"#)).collect()
}

fn all(files: &Files) -> Vec<PathBuf> {
    let mut all = backups(&files.path).unwrap();
    all.push(files.path.clone());
    all
}

#[test]
fn the_chain_goes_on_over_files_and_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let files = files(folder.path());
    for round in 0..3 {
        let (mut log, found) = Log::open(files.clone()).unwrap();
        assert_eq!(found, Found::default());
        log.write(&events(round * 5, round * 5 + 5), Timestamp::UNIX_EPOCH)
            .unwrap();
        log.keep().unwrap();
    }
    let (all, mode) = (
        all(&files),
        fs::metadata(&files.path).unwrap().permissions().mode(),
    );
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(all.len(), 3, "{all:?}");
    let named: Vec<_> = all
        .iter()
        .map(|file| file.file_name().unwrap().to_owned())
        .collect();
    assert_eq!(named[0], "audit-1970-01-01T00-00-00.000.log");
    let intact = chain::verify(&all).unwrap().unwrap();
    assert_eq!((intact.lines, intact.from_the_beginning), (15, true));
    for file in &all {
        assert!(fs::metadata(file).unwrap().len() <= files.bytes_max);
    }
}

#[test]
fn only_so_many_old_files_are_kept() {
    for (backups_max, kept) in [(1, 1), (2, 2), (0, 5)] {
        let folder = tempfile::tempdir().unwrap();
        let files = Files {
            backups_max,
            bytes_max: 1,
            ..files(folder.path())
        };
        let (mut log, _) = Log::open(files.clone()).unwrap();
        log.write(&events(0, 6), Timestamp::UNIX_EPOCH).unwrap();
        log.keep().unwrap();
        let all = all(&files);
        assert_eq!(all.len(), kept + 1);
        let intact = chain::verify(&all).unwrap().unwrap();
        assert_eq!(intact.from_the_beginning, backups_max == 0);
    }
}

#[test]
fn what_a_crash_left_is_cut_off_and_what_somebody_cut_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let files = files(folder.path());
    let (mut log, _) = Log::open(files.clone()).unwrap();
    log.write(&events(0, 3), Timestamp::UNIX_EPOCH).unwrap();
    log.keep().unwrap();
    let whole = fs::read(&files.path).unwrap();
    for torn in [&b"{"[..], b"{\"n\":3}", b"\xff\x00"] {
        fs::write(&files.path, [&whole, torn].concat()).unwrap();
        let (_, found) = Log::open(files.clone()).unwrap();
        assert_eq!(
            found,
            Found {
                torn: torn.len(),
                cut: None
            }
        );
        assert_eq!(fs::read(&files.path).unwrap(), whole);
    }
    let second = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    for length in [0, second, whole.len() - 1] {
        fs::write(&files.path, &whole[..length]).unwrap();
        let (_, found) = Log::open(files.clone()).unwrap();
        assert_eq!(found.cut.as_deref(), Some(log.hash.as_str()), "{length}");
    }
}

#[test]
fn a_crash_between_two_files_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let files = files(folder.path());
    let (mut log, _) = Log::open(files.clone()).unwrap();
    log.write(&events(0, 3), Timestamp::UNIX_EPOCH).unwrap();
    log.rotate(Timestamp::UNIX_EPOCH).unwrap();
    let (mut log, found) = Log::open(files.clone()).unwrap();
    assert_eq!(found.torn, 0);
    log.write(&events(3, 5), Timestamp::UNIX_EPOCH).unwrap();
    let (_, later) = Log::open(files.clone()).unwrap();
    assert_eq!(
        later,
        Found::default(),
        "the file follows the line that was kept"
    );
    assert_eq!(chain::verify(&all(&files)).unwrap().unwrap().lines, 5);
}
