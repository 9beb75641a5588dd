//! Lists: tables that fit, JSON and CSV with fixed names, filters, and what is said about what is left out.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::certificates::{Plan, bundle};
use crate::home::{Home, Run, assert_golden};

/// Certificates without end, so that no text about them depends on the day.
fn some() -> String {
    bundle(&[
        Plan::root("Example CA", 1),
        Plan::server(0x1a2b_3c4d_5e6f_7081, "www.example.com").name("www.example.com").name("example.com"),
        Plan::server(2, "a-name-that-is-much-longer-than-any-table-has-room-for.example.com"),
        Plan::server(3, "例え.テスト").name("xn--r8jz45g.xn--zckzah"),
        Plan::server(4, "evil\x1b[2J\u{202e}moc.elgoog"),
        Plan::server(5, "alone.example.org").of("Another Authority With A Long Name", 7),
    ])
}

#[test]
fn a_limit_of_none_is_a_slip() {
    let home = Home::new();
    for command in ["list", "audit", "expiring"] {
        let run = home.run([command, "--limit", "0"]).expect(2);
        assert!(run.stderr.starts_with("trust-ledger: invalid value '0' for '--limit"), "{}", run.stderr);
    }
}

#[test]
fn a_spreadsheet_runs_nothing_of_a_certificate() {
    let home = Home::with(&Plan::server(1, "=HYPERLINK(1)").name("+1.example").pem());
    home.run(["annotate", "0x1", "--owner=-2+3", "--note", "@SUM(A1)"]).expect(0);
    let csv = home.run(["list", "--csv"]).expect(0).stdout;
    for field in [",'=HYPERLINK(1),", ",'+1.example,", ",'-2+3,", ",'@SUM(A1),"] {
        assert!(csv.contains(field), "{field} in {csv}");
    }
    assert!(!home.run(["audit", "--csv"]).expect(0).stdout.contains(",="));
}

#[test]
fn the_table_fits_80_and_120_columns() {
    let home = Home::with(&some());
    for width in ["80", "120"] {
        let run = Run::of(home.command(["list"]).env("COLUMNS", width)).expect(0);
        for line in run.stdout.lines() {
            let columns = unicode_width::UnicodeWidthStr::width(line);
            assert!(columns <= width.parse().unwrap(), "{columns}: {line}");
        }
        assert_golden(&format!("list-{width}.txt"), &run.stdout);
    }
}

#[test]
fn the_names_and_forms_of_json_fields_never_change() {
    // Goal: whoever reads the JSON can rely on it. What differs from run to run (ids, times of registration) is masked.
    let home = Home::with(&some());
    let id = home.json(["list", "www.example.com"])[0]["id"].as_str().unwrap().to_owned();
    home.run(["annotate", &id, "--owner", "web", "--tag", "b", "--tag", "a", "--note", "two\nlines"]).expect(0);
    home.run(["revoke", &id, "--reason", "1", "--at", "2024-02-03", "--yes"]).expect(0);
    let arguments = ["list", "--category", "service", "--issuer", "Example CA", "--json"];
    let mut text = home.run(arguments).expect(0).stdout;
    let records: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    for record in &records {
        for field in ["id", "registered_at"] {
            text = text.replace(record[field].as_str().unwrap(), &format!("<{field}>"));
        }
    }
    assert_golden("list.json", &text);
}

#[test]
fn json_escapes_what_is_harmful_and_reads_back_unchanged() {
    let home = Home::with(&some());
    let run = home.run(["list", "--json"]).expect(0);
    assert!(!run.stdout.contains('\u{202e}') && !run.stdout.contains('\x1b'));
    assert!(run.stdout.contains("\\u202e") && run.stdout.contains("例え.テスト"), "{}", run.stdout);
    let records: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    let names: Vec<_> =
        records.as_array().unwrap().iter().filter_map(|record| record["common_name"].as_str()).collect();
    assert!(names.contains(&"evil\x1b[2J\u{202e}moc.elgoog"), "{names:?}");
}

#[test]
fn csv_has_the_titles_of_the_json_fields_and_a_line_for_each() {
    let home = Home::with(&some());
    let run = home.run(["list", "--csv"]).expect(0);
    let mut lines = csv::Reader::from_reader(run.stdout.as_bytes());
    let titles: Vec<String> = lines.headers().unwrap().iter().map(str::to_owned).collect();
    let record = &home.json(["list"])[0];
    assert!(titles.iter().all(|title| record.get(title).is_some()), "{titles:?}");
    assert_eq!(titles.len(), 26);
    let rows: Vec<csv::StringRecord> = lines.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 6);
    assert!(!run.stdout.contains('\x1b') && !run.stdout.contains('\u{202e}'));
    home.run(["list", "--csv", "--json"]).expect(2);
}

#[test]
fn a_cut_off_table_says_how_many_there_are_and_machines_get_all() {
    let plans: Vec<Plan> = (1..=1_203).map(|serial| Plan::server(serial, &format!("n{serial}.example"))).collect();
    let home = Home::with(&bundle(&plans));
    let table = home.run(["list"]).expect(0);
    assert_eq!(table.stdout.lines().count(), 101, "100 and the titles");
    assert!(table.stderr.starts_with("100 of 1,203; "), "{}", table.stderr);
    assert_eq!(home.run(["list", "--all"]).expect(0).stdout.lines().count(), 1_204);
    assert_eq!(home.json(["list"]).as_array().unwrap().len(), 1_203);
    let limited = home.run(["list", "--json", "--limit", "7"]).expect(0);
    let page: Vec<serde_json::Value> = serde_json::from_str(&limited.stdout).unwrap();
    assert_eq!(page.len(), 7);
    let cursor = page[6]["id"].as_str().unwrap();
    assert_eq!(limited.stderr.trim(), format!("more follow: --after {cursor}"));
    let rest = home.json(["list", "--after", cursor]);
    assert_eq!(rest.as_array().unwrap().len(), 1_196);
    assert!(home.run(["list", "--json", "--limit", "1", "--total"]).expect(0).stderr.contains("1 of 1,203"));
    assert_eq!(home.run(["-q", "list"]).expect(0).stderr, "");
}

#[test]
fn filters_narrow_the_list() {
    let home = Home::with(&some());
    let old = bundle(&[Plan::server(9, "old.example.com").valid("20100101000000Z", "20110101000000Z")]);
    home.run_with_input(["import", "-", "--owner", "ops", "--tag", "legacy", "--source", "attic"], old).expect(0);
    let count = |arguments: &[&str]| home.json(["list"].iter().chain(arguments)).as_array().unwrap().len();
    assert_eq!(count(&[]), 7);
    assert_eq!(count(&["www.example.com"]), 1);
    assert_eq!(count(&["*.example.com"]), 3);
    assert_eq!(count(&["www.*"]), 1);
    assert_eq!(count(&["*much*", "--scan"]), 1);
    assert_eq!(count(&["--status", "expired"]), 1);
    assert_eq!(count(&["--category", "ca"]), 1);
    assert_eq!(count(&["--owner", "ops"]), 1);
    assert_eq!(count(&["--tag", "legacy"]), 1);
    assert_eq!(count(&["--source", "attic"]), 1);
    assert_eq!(count(&["--issuer", "Another Authority"]), 1);
    assert_eq!(count(&["--expires-before", "2012-01-01"]), 1);
    assert_eq!(count(&["--expires-after", "2012-01-01"]), 6);
    assert_eq!(count(&["--registered-after", "1h"]), 7);
    assert_eq!(count(&["--registered-before", "1h"]), 0);
    assert_eq!(count(&["--weak"]), 0);
    let scan = home.run(["list", "*much*"]).expect(2);
    assert!(scan.failure().contains("--scan"), "{}", scan.stderr);
    home.run(["list", "--issuer", "nobody"]).expect(3).failure();
    let several = home.run(["list", "--issuer", "O=Example"]).expect(2);
    assert!(several.stderr.contains("can mean 2 issuers"), "{}", several.stderr);
    home.run(["list", "--status", "fine"]).expect(2);
    home.run(["list", "--expires-before", "soon"]).expect(2);
}

#[test]
fn an_issuer_whose_certificate_is_there_goes_before_those_known_by_name_alone() {
    // Method: a second certificate claims the same issuer and is signed by another key.
    let forged = Plan::server(9, "forged.example").of("Example CA", 66);
    let home = Home::with(&bundle(&[Plan::root("Example CA", 1), Plan::server(2, "a.example"), forged]));
    let names = home.json(["list", "--issuer", "Example CA", "--category", "service"]);
    assert_eq!(names.as_array().unwrap().len(), 1);
    assert_eq!(names[0]["common_name"], "a.example");
    let unknown = home.json(["show", "forged.example"])["issuer_id"].as_str().unwrap().to_owned();
    assert_eq!(home.json(["list", "--issuer", &unknown])[0]["common_name"], "forged.example");
}

#[test]
fn a_closed_pipe_ends_the_list_silently() {
    // Method: more than a pipe holds is listed, and the reader goes away after one line.
    let plans: Vec<Plan> = (1..=2_000).map(|serial| Plan::server(serial, &format!("n{serial}.example"))).collect();
    let home = Home::with(&bundle(&plans));
    for arguments in [&["list", "--json"][..], &["list", "--all"], &["list", "--csv"], &["export"]] {
        let mut command = home.command(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut first = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
        let run = Run::from(child.wait_with_output().unwrap());
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{arguments:?}");
        assert!(!first.is_empty());
    }
}

#[test]
fn output_that_cannot_be_written_is_a_failure() {
    let home = Home::with(&some());
    for arguments in [&["list"][..], &["list", "--json"], &["list", "--csv"], &["stats"], &["export"]] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let output = home.command(arguments).stdout(full).output().unwrap();
        let run = Run::from(output).expect(1);
        assert!(run.failure().contains("the output cannot be written"), "{}", run.stderr);
    }
}

#[test]
fn an_empty_ledger_says_what_to_do() {
    let home = Home::new();
    home.run(["init"]).expect(0);
    let run = home.run(["list"]).expect(0);
    assert!(run.stdout.is_empty() && run.stderr.contains("trust-ledger import"), "{run:?}");
    assert_eq!(home.run(["list", "--json"]).expect(0).stdout, "[]\n");
}
