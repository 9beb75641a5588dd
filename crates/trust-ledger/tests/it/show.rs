//! One certificate: what an argument can mean, what is shown, and what is exported.

use std::fs;

use crate::certificates::{Plan, bundle, key_pem, private_key};
use crate::home::{Home, assert_golden};

#[test]
fn a_certificate_is_found_by_id_fingerprint_serial_name_and_file() {
    let plan = Plan::server(0x1a2b, "www.example.com").name("alt.example.com");
    let home = Home::with(&bundle(&[Plan::root("Example CA", 1), plan.clone()]));
    home.file("it.pem", plan.pem());
    let id = home.json(["show", "www.example.com"])["id"].as_str().unwrap().to_owned();
    let fingerprint = plan.fingerprint();
    for argument in
        [&id, &fingerprint, "0x1a2b", "1a:2b", "1a2b", "6699", "alt.example.com", "WWW.example.com.", "it.pem"]
    {
        assert_eq!(home.json(["show", argument])["id"], id.as_str(), "{argument}");
    }
    assert_eq!(home.json(["show", "6699"])["serial_decimal"], "6699");
    for argument in ["nobody.example", "0x77", "0198c2f5-5d0e-7000-8000-0123456789ab", "./missing.pem"] {
        home.run(["show", argument]).expect(3).failure();
    }
    home.file("unknown.pem", Plan::server(9, "x.example").pem());
    assert!(home.run(["show", "unknown.pem"]).expect(3).failure().contains("trust-ledger import"));
}

#[test]
fn bare_digits_that_fit_two_certificates_ask_which_is_meant() {
    let home = Home::with(&bundle(&[Plan::server(10, "ten.example"), Plan::server(16, "sixteen.example")]));
    let run = home.run(["show", "10"]).expect(2);
    assert!(run.stdout.is_empty() && run.stderr.contains("can mean 2 certificates"), "{}", run.stderr);
    assert!(run.stderr.contains("ten.example") && run.stderr.contains("sixteen.example"), "{}", run.stderr);
    assert_eq!(home.json(["show", "0x10"])["common_name"], "sixteen.example");
    assert_eq!(home.json(["show", "0xa"])["common_name"], "ten.example");
    assert_eq!(home.json(["show", "16"])["common_name"], "sixteen.example");
}

#[test]
fn a_serial_of_two_issuers_is_narrowed_by_the_issuer() {
    let home = Home::with(&bundle(&[Plan::server(7, "a.example"), Plan::server(7, "b.example").of("Other CA", 3)]));
    home.run(["show", "0x7"]).expect(2);
    assert_eq!(home.json(["show", "0x7", "--issuer", "Other CA"])["common_name"], "b.example");
    let issuer = home.json(["show", "a.example"])["issuer_id"].as_str().unwrap().to_owned();
    assert_eq!(home.json(["show", "0x7", "--issuer", &issuer])["common_name"], "a.example");
}

#[test]
fn a_name_means_its_current_certificate() {
    let old = Plan::server(1, "a.example").valid_days(-400, -30);
    let new = Plan::server(2, "a.example").valid_days(-40, 30);
    let home = Home::with(&bundle(&[old, new]));
    assert_eq!(home.json(["show", "a.example"])["serial"], "2");
}

#[test]
fn everything_is_shown_and_nothing_harmful_reaches_the_terminal() {
    let plan = Plan::server(0x1a2b, "evil\x1b[2J\u{202e}moc").name("alt.example.com");
    let home = Home::with(&plan.pem());
    home.run(["annotate", "0x1a2b", "--note", "see\x07 \u{2066}ticket", "--owner", "web", "--tag", "x"]).expect(0);
    let run = home.run(["show", "0x1a2b"]).expect(0);
    assert!(!run.stdout.contains(['\x1b', '\u{202e}', '\x07', '\u{2066}']), "{:?}", run.stdout);
    assert!(run.stdout.contains("\\u{202e}") && run.stdout.contains("\\u{2066}ticket"), "{}", run.stdout);
    let masked: String = run
        .stdout
        .lines()
        .map(|line| match line.trim_start().split_once("  ") {
            Some((label @ ("id" | "registered"), _)) => format!("  {label:<14}<{label}>\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    assert_golden("show.txt", &masked);
    let failed = home.run(["show", "evil\x1b[2J\u{202e}"]).expect(3);
    assert!(!failed.stderr.contains(['\x1b', '\u{202e}']), "{:?}", failed.stderr);
}

#[test]
fn json_of_one_certificate_has_the_fields_of_the_list_and_the_details() {
    let home = Home::with(&Plan::server(1, "a.example").pem());
    let listed = home.json(["list"])[0].clone();
    let shown = home.json(["show", "a.example", "--pem"]);
    for (field, value) in listed.as_object().unwrap() {
        assert_eq!(&shown[field], value, "{field}");
    }
    let details = shown["details"].as_array().unwrap();
    let usage = details.iter().find(|detail| detail["label"] == "extKeyUsage").unwrap();
    assert_eq!(usage["critical"], false);
    assert!(shown["revocation"].is_null());
    assert_eq!(shown["pem"], Plan::server(1, "a.example").pem());
}

#[test]
fn a_revoked_serial_without_its_certificate_shows_its_revocation() {
    let home = Home::with(&bundle(&[Plan::root("Example CA", 1), Plan::root("Other CA", 2)]));
    home.run(["revoke", "0x77", "--issuer", "Example CA", "--reason", "hold", "--yes"]).expect(0);
    let shown = home.run(["show", "0x77"]).expect(0).stdout;
    assert!(shown.contains("its certificate is not in the ledger") && shown.contains("certificateHold"), "{shown}");
    assert!(shown.contains("CN=Example CA"), "{shown}");
    assert_eq!(home.json(["show", "0x77"])["revocation"]["checked"], true);
    home.run(["show", "0x77", "--issuer", "Other CA"]).expect(3).failure();
    home.run(["revoke", "0x77", "--issuer", "Other CA", "--yes"]).expect(0);
    let asked = home.run(["show", "0x77"]).expect(2);
    assert!(asked.stderr.contains("can mean 2 revocations") && asked.stderr.contains("--issuer"), "{}", asked.stderr);
}

#[test]
fn an_issuer_that_can_be_several_asks_for_the_option_to_say_which() {
    let home = Home::with(&bundle(&[Plan::root("Same CA", 1), Plan::root("Same CA", 2)]));
    let asked = home.run(["show", "0x1", "--issuer", "Same CA"]).expect(2);
    assert!(asked.stderr.contains("can mean 2 issuers; name one by its id: --issuer ID"), "{}", asked.stderr);
}

/// A CRL made by `openssl ca`, before and after its CA is known.
#[test]
fn a_revocation_whose_crl_could_not_be_checked_says_so_until_the_ca_is_known() {
    let home = Home::with(&Plan::server(5, "a.example").pem());
    home.file("ca.pem", Plan::root("Example CA", 1).pem());
    home.file("ca.key", key_pem(1));
    home.file("index.txt", "R\t991231235959Z\t240601000000Z,keyCompromise\t05\tunknown\t/CN=a.example\n");
    home.file("ca.cnf", "[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\ndefault_md=null\ndefault_crl_days=30\n");
    let arguments = ["ca", "-config", "ca.cnf", "-gencrl", "-cert", "ca.pem", "-keyfile", "ca.key", "-out", "ca.crl"];
    let made = std::process::Command::new("openssl").args(arguments).current_dir(home.path("")).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));

    let run = home.run(["import", "ca.crl"]).expect(0);
    assert!(run.stdout.contains("1  revocation recorded\n"), "{}", run.stdout);
    assert!(run.stderr.contains("it is kept and checked when its issuer is"), "{}", run.stderr);
    let record = home.json(["show", "0x5"]);
    assert_eq!((&record["status"], &record["revocation_checked"]), (&"revoked".into(), &false.into()));
    let shown = home.run(["show", "0x5"]).expect(0).stdout;
    assert!(shown.contains("not checked   issuer unknown"), "{shown}");
    let csv = home.run(["list", "--csv"]).expect(0).stdout;
    assert!(csv.lines().all(|line| line.ends_with(",revocation_checked") || line.ends_with(",false")), "{csv}");

    let run = home.run(["import", "ca.pem"]).expect(0);
    assert!(run.stdout.contains("1  CRL of an earlier import checked"), "{}", run.stdout);
    assert_eq!(home.json(["show", "0x5"])["revocation_checked"], true);
    assert!(!home.run(["show", "0x5"]).expect(0).stdout.contains("not checked"));
}

#[test]
fn a_file_without_exactly_one_certificate_says_what_it_holds() {
    let home = Home::with(&Plan::server(1, "a.example").pem());
    home.file("key.pem", private_key());
    home.file("empty.pem", "");
    home.file("two.pem", bundle(&[Plan::server(1, "a.example"), Plan::server(2, "b.example")]));
    assert!(home.run(["show", "key.pem"]).expect(1).failure().contains("private key"));
    assert!(home.run(["show", "empty.pem"]).expect(1).failure().contains("no certificate"));
    assert!(home.run(["show", "two.pem"]).expect(2).failure().contains("several"));
    // The same certificate twice is one; a key beside it does not matter.
    home.file("twice.pem", private_key() + &Plan::server(1, "a.example").pem().repeat(2));
    home.run(["show", "twice.pem"]).expect(0);
}

#[test]
fn an_export_holds_what_was_imported() {
    let plans = [Plan::root("Example CA", 1), Plan::server(2, "a.example"), Plan::server(3, "b.example")];
    let home = Home::with(&bundle(&plans));
    assert_eq!(home.run(["export", "a.example"]).expect(0).stdout, plans[1].pem());
    let run = home.run(["export", "--category", "service", "--output", "out.pem"]).expect(0);
    assert!(run.stdout.is_empty() && run.stderr.contains("2 certificates"), "{}", run.stderr);
    let exported = fs::read_to_string(home.path("out.pem")).unwrap();
    assert_eq!(exported, bundle(&[plans[2].clone(), plans[1].clone()]), "newest registered first");
    home.run(["export", "b.example", "--der", "--output", "b.der"]).expect(0);
    assert_eq!(fs::read(home.path("b.der")).unwrap(), plans[2].build().to_der().unwrap());
    home.run(["export", "--der", "--output", "all.der"]).expect(2).failure();
    assert!(!home.path("all.der").exists());
    home.run(["export", "nobody.example"]).expect(3).failure();
    let json = home.json(["export", "a.example"]);
    assert_eq!(json[0]["pem"], plans[1].pem());
    assert_eq!(json[0]["fingerprint_sha256"], plans[1].fingerprint());
    let id = json[0]["id"].as_str().unwrap();
    assert_eq!(home.run(["export", "--id", id]).expect(0).stdout, plans[1].pem());
}
