//! What the ledger adds up, keeps and forgets.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::Path;

use jiff::Timestamp;

use super::file::{LedgerFile, NAME};
use super::*;

fn account(key: u128, model: &str) -> Account {
    Account {
        repository: Uuid::from_u128(1),
        resource: Uuid::from_u128(2),
        key: Uuid::from_u128(key),
        model: model.into(),
    }
}

fn call(input: u64, output: u64, at: i64) -> Call {
    Call {
        tokens: Tokens {
            input,
            output,
            ..Tokens::default()
        },
        source: Some(TokenSource::Reported),
        failed: false,
        took: Duration::from_millis(3),
        at,
    }
}

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn sums(ledger: &Ledger, account: &Account) -> Sums {
    let found = ledger.rows().find(|(known, _)| known == account);
    found.map(|(_, sums)| sums).unwrap_or_default()
}

fn total(ledger: &Ledger) -> Sums {
    let mut total = Sums::default();
    ledger.rows().for_each(|(_, sums)| total += sums);
    total
}

#[test]
fn calls_are_added_up_by_key_and_model() {
    let ledger = Ledger::default();
    ledger.add(&account(7, "a"), &call(10, 4, 100));
    ledger.add(
        &account(7, "a"),
        &Call {
            tokens: Tokens {
                input: 30,
                cached: 20,
                cache_write: 5,
                output: 9,
                reasoning: 6,
            },
            source: Some(TokenSource::Partial),
            failed: true,
            took: Duration::from_micros(40),
            at: 90,
        },
    );
    ledger.add(
        &account(7, "a"),
        &Call {
            source: Some(TokenSource::Estimated),
            ..call(1, 1, 80)
        },
    );
    ledger.add(&account(7, "b"), &call(1, 1, 1));
    ledger.add(&account(8, "a"), &call(2, 2, 2));
    let row = sums(&ledger, &account(7, "a"));
    for (column, expected) in [
        (Column::Calls, 3),
        (Column::Errors, 1),
        (Column::Estimated, 1),
        (Column::Partial, 1),
        (Column::Input, 41),
        (Column::Cached, 20),
        (Column::CacheWrite, 5),
        (Column::Output, 14),
        (Column::Reasoning, 6),
        (Column::Micros, 6_040),
    ] {
        assert_eq!(row.of(column), expected, "{column:?}");
    }
    assert_eq!(row.last_at, 100);
    assert_eq!(total(&ledger).of(Column::Input), 44);
}

#[test]
fn keys_that_are_gone_are_folded_from_the_one_unused_longest() {
    let ledger = Ledger::default();
    for key in 1..=5 {
        let at = i64::try_from(100 - key).unwrap();
        ledger.add(&account(key, "a"), &call(1, 2, at));
    }
    let before = total(&ledger);
    let known = HashSet::from([Uuid::from_u128(4), Uuid::from_u128(5)]);
    ledger.prune_to(1, |key| known.contains(&key));
    let left: BTreeMap<u128, u64> = ledger
        .rows()
        .map(|(account, sums)| (account.key.as_u128(), sums.of(Column::Input)))
        .collect();
    assert_eq!(left, BTreeMap::from([(0, 2), (1, 1), (4, 1), (5, 1)]));
    assert_eq!(total(&ledger), before);
    // What is folded is folded once.
    ledger.prune_to(1, |key| known.contains(&key));
    assert_eq!(total(&ledger), before);
}

#[test]
fn a_full_ledger_counts_for_no_key() {
    let ledger = Ledger::default();
    for key in 1..=u128::try_from(ROWS_MAX).unwrap() + 10 {
        ledger.add(&account(key, "a"), &call(1, 1, 1));
    }
    assert_eq!(ledger.rows().count(), ROWS_MAX + 1);
    assert_eq!(sums(&ledger, &account(0, "a")).of(Column::Calls), 10);
    assert_eq!(total(&ledger).of(Column::Calls), ROWS_MAX as u64 + 10);
}

fn open(dir: &Path) -> (Ledger, LedgerFile) {
    let ledger = Ledger::default();
    let file = LedgerFile::open(dir, &ledger, now());
    (ledger, file)
}

#[test]
fn sums_outlive_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let (ledger, mut file) = open(&state);
    assert!(!file.flush(&ledger, |_| true, now()).unwrap());
    ledger.add(&account(7, "ä \"model\""), &call(10, 4, 100));
    assert!(file.flush(&ledger, |_| true, now()).unwrap());
    assert!(
        !file.flush(&ledger, |_| true, now()).unwrap(),
        "nothing new"
    );
    let (again, mut file) = open(&state);
    assert_eq!(
        sums(&again, &account(7, "ä \"model\"")),
        sums(&ledger, &account(7, "ä \"model\""))
    );
    // A file that was taken away is written again.
    fs::remove_file(state.join(NAME)).unwrap();
    again.add(&account(7, "b"), &call(1, 1, 101));
    assert!(file.flush(&again, |_| true, now()).unwrap());
    assert_eq!(total(&open(&state).0), total(&again));
}

#[test]
fn what_two_processes_count_is_added_up() {
    let dir = tempfile::tempdir().unwrap();
    let (first, mut first_file) = open(dir.path());
    first.add(&account(1, "a"), &call(100, 0, 1));
    first_file.flush(&first, |_| true, now()).unwrap();
    let (second, mut second_file) = open(dir.path());
    first.add(&account(1, "a"), &call(10, 0, 2));
    second.add(&account(1, "a"), &call(1, 0, 3));
    second.add(&account(2, "a"), &call(5, 0, 3));
    first_file.flush(&first, |_| true, now()).unwrap();
    second_file.flush(&second, |_| true, now()).unwrap();
    assert_eq!(sums(&second, &account(1, "a")).of(Column::Input), 111);
    first_file.flush(&first, |_| true, now()).unwrap();
    assert_eq!(total(&first), total(&second));
    assert_eq!(total(&open(dir.path()).0).of(Column::Input), 116);
}

#[test]
fn nothing_is_lost_between_threads() {
    const THREADS: u64 = 4;
    const CALLS: u64 = 5_000;
    let ledger = Ledger::default();
    std::thread::scope(|scope| {
        let adding: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    for number in 0..CALLS {
                        let key = u128::from(number % 7 + 1);
                        ledger.add(&account(key, "a"), &call(2, 1, 1));
                    }
                })
            })
            .collect();
        while !adding
            .iter()
            .all(std::thread::ScopedJoinHandle::is_finished)
        {
            ledger.prune_to(2, |_| false);
        }
    });
    let total = total(&ledger);
    assert_eq!(total.of(Column::Calls), THREADS * CALLS);
    assert_eq!(total.of(Column::Input), 2 * THREADS * CALLS);
}

#[test]
fn a_process_that_hangs_with_the_lock_holds_nobody_up() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, mut file) = open(dir.path());
    ledger.add(&account(1, "a"), &call(1, 1, 1));
    file.flush(&ledger, |_| true, now()).unwrap();
    let hangs = fs::File::open(dir.path().join("ledger.lock")).unwrap();
    rustix::fs::flock(&hangs, rustix::fs::FlockOperation::LockExclusive).unwrap();
    ledger.add(&account(1, "a"), &call(1, 1, 1));
    let error = file.flush(&ledger, |_| true, now()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    drop(hangs);
    assert!(file.flush(&ledger, |_| true, now()).unwrap());
    assert_eq!(total(&open(dir.path()).0).of(Column::Calls), 2);
}

#[test]
fn a_row_that_another_process_folded_is_not_counted_twice() {
    let dir = tempfile::tempdir().unwrap();
    let (first, mut first_file) = open(dir.path());
    first.add(&account(1, "a"), &call(100, 0, 1));
    first_file.flush(&first, |_| true, now()).unwrap();
    let (second, mut second_file) = open(dir.path());
    second.add(&account(1, "a"), &call(1, 0, 1));
    first.prune_to(0, |_| false);
    first_file.flush(&first, |_| true, now()).unwrap();
    second_file.flush(&second, |_| true, now()).unwrap();
    assert_eq!(sums(&second, &account(0, "a")).of(Column::Input), 100);
    assert_eq!(sums(&second, &account(1, "a")).of(Column::Input), 1);
    assert_eq!(total(&open(dir.path()).0).of(Column::Input), 101);
}

#[test]
fn a_damaged_file_is_kept_aside_and_counting_goes_on() {
    for damaged in [
        "{\"v\":1,\"rows\":[{\"acc",
        "{\"v\":2,\"rows\":[]}",
        "{\"v\":1,\"rows\":[{\"account\":{\"repository\":1}}]}",
        "",
    ] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(NAME), damaged).unwrap();
        let (ledger, mut file) = open(dir.path());
        assert_eq!(ledger.rows().count(), 0);
        ledger.add(&account(1, "a"), &call(1, 1, 1));
        assert!(file.flush(&ledger, |_| true, now()).unwrap());
        assert_eq!(total(&open(dir.path()).0), total(&ledger));
        let aside = dir.path().join(format!("{NAME}.unreadable-1800000000"));
        assert_eq!(fs::read_to_string(aside).unwrap(), damaged);
    }
}
