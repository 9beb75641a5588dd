//! Keeping the ledger: annotations, deletion, and the audit trail of both.

use std::process::Stdio;

use crate::certificates::{Plan, bundle};
use crate::home::{Home, Run};

#[test]
fn annotations_change_what_was_asked_and_nothing_else() {
    let home = Home::with(&bundle(&[Plan::server(1, "a.example"), Plan::server(2, "b.example")]));
    home.run(["annotate", "0x1", "0x2", "--owner", "web", "--tag", "+prod", "--tag", "test", "--category", "internal"])
        .expect(0);
    let run = home.run(["annotate", "0x1", "--tag", "-test", "--owner", "", "--note", "see ticket"]).expect(0);
    assert!(run.stdout.starts_with("changed  "), "{}", run.stdout);
    let first = home.json(["show", "0x1"]);
    assert_eq!(first["tags"], serde_json::json!(["prod"]));
    assert!(first["owner"].is_null());
    assert_eq!((&first["note"], &first["category"]), (&"see ticket".into(), &"internal".into()));
    let second = home.json(["show", "0x2"]);
    assert_eq!((&second["owner"], &second["tags"]), (&"web".into(), &serde_json::json!(["prod", "test"])));
    assert_eq!(home.json(["annotate", "0x2", "--owner", "web"])[0]["outcome"], "unchanged");
    // A slip in one of several changes none.
    home.run(["annotate", "0x1", "0x99", "--owner", "x"]).expect(3).failure();
    assert!(home.json(["show", "0x1"])["owner"].is_null());
    home.run(["annotate", "0x1"]).expect(2);
    home.run(["annotate", "0x1", "--tag", "-"]).expect(2);
}

#[test]
fn only_what_has_expired_is_deleted_without_force() {
    let home = Home::with(&bundle(&[
        Plan::server(1, "valid.example"),
        Plan::server(2, "old.example").valid("20200101000000Z", "20210101000000Z"),
        Plan::server(3, "revoked.example"),
    ]));
    assert_eq!(home.json(["delete", "0x2"])["deleted"], 1);
    home.run(["delete", "0x2"]).expect(3).failure();
    let refused = home.run(["delete", "0x1"]).expect(1);
    assert!(refused.failure().contains("--force"), "{}", refused.stderr);
    home.run(["delete", "0x1", "--force"]).expect(2).failure();
    home.run(["revoke", "0x3", "--yes"]).expect(0);
    let revoked = home.run(["delete", "0x3", "--force", "--yes"]).expect(1);
    assert!(revoked.failure().contains("revoked and valid until"), "{}", revoked.stderr);
    let run = home.run(["delete", "0x1", "--force", "--yes"]).expect(0);
    assert_eq!(run.stdout, "1 certificate deleted\n");
    assert_eq!(home.json(["list"]).as_array().unwrap().len(), 1);
}

#[test]
fn prune_takes_what_expired_long_ago_and_asks_first() {
    let home = Home::with(&bundle(&[
        Plan::server(1, "valid.example"),
        Plan::server(2, "old.example").valid("20200101000000Z", "20210101000000Z"),
        Plan::server(3, "recent.example").valid_days(-100, -10),
    ]));
    let asked = home.run(["prune", "--expired-before", "90d"]).expect(2);
    assert!(asked.failure().contains("Delete 1 certificate that expired before"), "{}", asked.stderr);
    assert_eq!(home.json(["prune", "--expired-before", "90d", "--yes"])["deleted"], 1);
    assert_eq!(home.json(["prune", "--expired-before", "90d"])["deleted"], 0, "nothing to ask about");
    assert_eq!(home.json(["list"]).as_array().unwrap().len(), 2);
    home.run(["prune"]).expect(2);
    home.run(["prune", "--expired-before", "90"]).expect(2);
}

#[test]
fn the_audit_trail_names_actor_action_and_change() {
    let home = Home::with(&Plan::server(1, "a.example").pem());
    home.run(["--actor", "alice", "annotate", "0x1", "--owner", "web"]).expect(0);
    Run::of(home.command(["revoke", "0x1", "--yes"]).env("TRUST_LEDGER_ACTOR", "job 7")).expect(0);
    let events = home.json(["audit"]);
    let actions: Vec<_> = events.as_array().unwrap().iter().map(|event| event["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["revocation.recorded", "certificate.annotated", "certificate.registered"]);
    assert_eq!((&events[0]["actor"], &events[1]["actor"]), (&"job 7".into(), &"alice".into()));
    assert!(events[2]["actor"].as_str().unwrap().contains('@'), "user@host: {}", events[2]["actor"]);
    assert_eq!(events[1]["after"]["owner"], "web");
    let count = |arguments: &[&str]| home.json(["audit"].iter().chain(arguments)).as_array().unwrap().len();
    assert_eq!(count(&["--by", "alice"]), 1);
    assert_eq!(count(&["--action", "certificate.registered"]), 1);
    assert_eq!(count(&["--of", "a.example"]), 3);
    assert_eq!(count(&["--since", "1h"]), 3);
    assert_eq!(count(&["--until", "1h"]), 0);
    let page = home.run(["audit", "--json", "--limit", "2"]).expect(0);
    let shown: Vec<serde_json::Value> = serde_json::from_str(&page.stdout).unwrap();
    let cursor = shown[1]["id"].as_str().unwrap();
    assert!(page.stderr.contains(&format!("--after {cursor}")), "{}", page.stderr);
    assert_eq!(count(&["--after", cursor]), 1);
    let table = home.run(["audit"]).expect(0).stdout;
    assert!(table.lines().any(|line| line.contains("alice") && line.contains("owner: web")), "{table}");
    let csv = home.run(["audit", "--csv"]).expect(0).stdout;
    assert!(
        csv.starts_with("id,at,actor,action,object,before,after,origin,request\n") && csv.lines().count() == 4,
        "{csv}"
    );
}

#[test]
fn an_action_that_there_is_not_is_a_slip_and_the_ones_there_are_are_named() {
    let run = Home::new().run(["audit", "--action", "bogus"]).expect(2);
    for action in ["certificate.registered", "revocation.dropped", "revocation-list.recorded", "issuer.resolved"] {
        assert!(run.stderr.contains(action), "{}", run.stderr);
    }
}

#[test]
fn two_programs_at_once_share_the_ledger() {
    // Goal: a cron job and a user do not get in each other's way; method: eight imports at the same moment.
    let home = Home::new();
    home.run(["init"]).expect(0);
    let children: Vec<_> = (0..8)
        .map(|number| {
            let plans: Vec<Plan> = (0..50).map(|serial| Plan::server(number * 50 + serial + 1, "a.example")).collect();
            let file = home.file(&format!("{number}.pem"), bundle(&plans));
            home.command(["import".as_ref(), file.as_os_str(), "-q".as_ref()]).stdout(Stdio::null()).spawn().unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(home.json(["stats"])["total"], 400);
}
