//! What expires: the list, its exit code, and the monitoring plugin.

use crate::certificates::{Plan, bundle};
use crate::home::Home;

/// One that is due, one that was replaced, one with time left, and one without end.
fn home() -> Home {
    Home::with(&bundle(&[
        Plan::server(1, "due.example").valid_days(-355, 10),
        Plan::server(2, "replaced.example").valid_days(-355, 5),
        Plan::server(3, "replaced.example").valid_days(-1, 300),
        Plan::server(4, "later.example").valid_days(-1, 200),
        Plan::server(5, "never.example"),
    ]))
}

#[test]
fn what_is_due_is_listed_soonest_first_without_what_was_replaced() {
    let home = home();
    let names = |arguments: &[&str]| -> Vec<String> {
        let records = home.json(["expiring"].iter().chain(arguments));
        records.as_array().unwrap().iter().map(|record| record["common_name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&[]), ["due.example"]);
    assert_eq!(names(&["--all"]), ["replaced.example", "due.example"]);
    assert_eq!(names(&["--within", "250d"]), ["due.example", "later.example"]);
    assert_eq!(names(&["--within", "24h"]), Vec::<String>::new());
    let table = home.run(["expiring"]).expect(0);
    assert!(table.stdout.contains("in 10 days"), "{}", table.stdout);
    assert_eq!(home.run(["expiring", "--csv"]).expect(0).stdout.lines().count(), 2);
}

#[test]
fn a_list_that_is_cut_off_says_of_how_many() {
    let home = home();
    let run = home.run(["expiring", "--within", "250d", "--limit", "1"]).expect(0);
    assert_eq!(run.stderr, "1 of 2\n");
    assert_eq!(home.run(["expiring", "--within", "250d", "--limit", "2"]).expect(0).stderr, "");
    assert_eq!(home.json(["expiring", "--within", "250d", "--limit", "1"]).as_array().unwrap().len(), 1);
}

#[test]
fn within_no_time_nothing_can_expire() {
    let run = home().run(["expiring", "--within", "0d"]).expect(2);
    assert!(run.stderr.contains("no time at all"), "{}", run.stderr);
}

#[test]
fn fail_turns_what_is_due_into_exit_code_4() {
    let home = home();
    home.run(["expiring", "--fail"]).expect(4);
    let run = home.run(["expiring", "--fail", "--within", "1d"]).expect(0);
    assert!(run.stdout.is_empty() && run.stderr.contains("nothing expires within 24 hours"), "{run:?}");
}

#[test]
fn a_monitoring_system_gets_one_line_and_its_own_exit_codes() {
    let home = home();
    let state = |arguments: &[&str], code, beginning: &str| {
        let run = home.run(["expiring", "--nagios"].iter().chain(arguments)).expect(code);
        assert!(run.stdout.starts_with(beginning), "{}", run.stdout);
        let (text, data) = run.stdout.trim_end().split_once(" | ").expect("performance data");
        assert!(!text.contains('|') && !data.contains('\n'));
        for value in data.split(' ') {
            let (label, numbers) = value.split_once('=').unwrap();
            assert!(!label.is_empty() && numbers.split(';').next().unwrap().parse::<u64>().is_ok(), "{value}");
        }
        run.stdout
    };
    let warning = state(&[], 1, "CERTIFICATES WARNING - 1 certificate expiring within 30 days; due.example ");
    assert!(warning.ends_with("| expired=0;;0;0 critical=0;;0;0 warning=1;0;;0\n"), "{warning}");
    state(&["--crit", "20d"], 2, "CERTIFICATES CRITICAL - 1 certificate expiring within 20 days");
    state(&["--warn", "5d", "--crit", "2d"], 0, "CERTIFICATES OK - none expires within 5 days");
    home.run(["expiring", "--nagios", "--warn", "5d", "--crit", "7d"]).expect(3);
    home.run(["expiring", "--warn", "5d"]).expect(2);
}

#[test]
fn an_alarm_does_not_end_because_the_certificate_expired() {
    let home = Home::with(&bundle(&[
        Plan::server(1, "ignored.example").valid_days(-365, -2),
        Plan::server(2, "long-gone.example").valid_days(-365, -60),
    ]));
    let run = home.run(["expiring", "--nagios"]).expect(2);
    assert!(run.stdout.contains("1 certificate expired within the last 7 days; ignored.example"), "{}", run.stdout);
}

#[test]
fn what_cannot_be_checked_is_unknown_to_the_monitoring_system() {
    let home = Home::new();
    let run = home.run(["--db", "missing.db", "expiring", "--nagios"]).expect(3);
    assert!(run.stdout.starts_with("CERTIFICATES UNKNOWN - there is no ledger"), "{}", run.stdout);
    assert_eq!(run.stdout.lines().count(), 1);
}
