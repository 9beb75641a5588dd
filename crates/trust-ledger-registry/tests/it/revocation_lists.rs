//! CRLs: whose they are, when they are believed, and in which order.

use std::io::Cursor;

use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::sign::Signer;
use openssl::x509::X509;
use time::macros::{datetime, format_description};
use time::{Duration, OffsetDateTime};
use trust_ledger_registry::{
    Certificate, EventFilter, ImportInput, ImportOptions, ImportSummary, Lift, Page, Registry, RevocationReason,
    RevocationRequest, RevocationTarget, Revoke, Serial, Status,
};
use uuid::Uuid;

use crate::support::{Ca, Leaf, Ledger, NOW, add, get, key, ledgers, pkits, tlv};

/// Codes of CRLReason.
const COMPROMISED: u8 = 1;
const HOLD: u8 = 6;
const REMOVE: u8 = 8;

const DAY: Duration = Duration::DAY;

/// A CRL about to be made: by default full, direct, issued twenty days ago.
#[derive(Clone)]
struct Crl {
    issuer: Vec<u8>,
    /// Of the key that is said to have signed.
    key_id: Option<Vec<u8>>,
    key: PKey<Private>,
    entries: Vec<u8>,
    this_update: OffsetDateTime,
    extensions: Vec<u8>,
}

impl Crl {
    fn of(ca: &Ca) -> Crl {
        Crl::signed(&ca.x509, &ca.x509, &ca.key)
    }

    /// In the name of one, with the key of another.
    fn signed(issuer: &X509, signer: &X509, key: &PKey<Private>) -> Crl {
        Crl {
            issuer: issuer.subject_name().to_der().unwrap(),
            key_id: Some(signer.subject_key_id().unwrap().as_slice().to_vec()),
            key: key.clone(),
            entries: Vec::new(),
            this_update: NOW - DAY * 20,
            extensions: Vec::new(),
        }
    }

    /// With the CA's name and key identifier, and a signature by somebody else.
    fn forged(ca: &Ca) -> Crl {
        Crl { key: key(), ..Crl::of(ca) }
    }

    fn entry(self, serial: u8, reason: u8) -> Crl {
        self.entry_of(None, serial, reason)
    }

    /// An entry for a certificate of this issuer, by its own.
    fn entry_of(mut self, issuer: Option<&X509>, serial: u8, reason: u8) -> Crl {
        let mut extensions = extension(0x15, false, &tlv(0x0a, &[reason]));
        if let Some(issuer) = issuer {
            let name = tlv(0xa4, &issuer.subject_name().to_der().unwrap());
            extensions.extend(extension(0x1d, true, &tlv(0x30, &name)));
        }
        let date = utc_time(datetime!(2026-10-01 0:00 UTC));
        self.entries.extend(tlv(0x30, &[tlv(0x02, &[serial]), date, tlv(0x30, &extensions)].concat()));
        self
    }

    fn issued(self, this_update: OffsetDateTime) -> Crl {
        Crl { this_update, ..self }
    }

    fn extension(mut self, number: u8, critical: bool, value: &[u8]) -> Crl {
        self.extensions.extend(extension(number, critical, value));
        self
    }

    fn number(self, number: u8) -> Crl {
        self.extension(0x14, false, &tlv(0x02, &[number]))
    }

    fn delta(self) -> Crl {
        self.extension(0x1b, true, &tlv(0x02, &[1]))
    }

    fn indirect(self) -> Crl {
        self.extension(0x1c, true, &tlv(0x30, &tlv(0x84, &[0xff])))
    }

    /// One part of those that the CRL is cut into.
    fn part(self, number: u8) -> Crl {
        let uri = tlv(0x86, format!("http://crl.example/{number}").as_bytes());
        self.extension(0x1c, true, &tlv(0x30, &tlv(0xa0, &tlv(0xa0, &uri))))
    }

    fn der(&self) -> Vec<u8> {
        let algorithm = tlv(0x30, &tlv(0x06, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02]));
        let time = utc_time(self.this_update);
        let mut extensions = self.extensions.clone();
        if let Some(key_id) = &self.key_id {
            extensions.extend(extension(0x23, false, &tlv(0x30, &tlv(0x80, key_id))));
        }
        let entries = if self.entries.is_empty() { Vec::new() } else { tlv(0x30, &self.entries) };
        let extensions = tlv(0xa0, &tlv(0x30, &extensions));
        let content =
            [tlv(0x02, &[1]), algorithm.clone(), self.issuer.clone(), time.clone(), time, entries, extensions];
        let content = tlv(0x30, &content.concat());
        let mut signer = Signer::new(MessageDigest::sha256(), &self.key).unwrap();
        let signature = signer.sign_oneshot_to_vec(&content).unwrap();
        tlv(0x30, &[content, algorithm, tlv(0x03, &[vec![0], signature].concat())].concat())
    }

    async fn import(&self, registry: &Registry) -> ImportSummary {
        stream(registry, "a.crl", self.der()).await
    }
}

fn extension(number: u8, critical: bool, value: &[u8]) -> Vec<u8> {
    let flag = if critical { tlv(0x01, &[0xff]) } else { Vec::new() };
    tlv(0x30, &[tlv(0x06, &[0x55, 0x1d, number]), flag, tlv(0x04, value)].concat())
}

fn utc_time(moment: OffsetDateTime) -> Vec<u8> {
    let format = format_description!("[year repr:last_two][month][day][hour][minute][second]Z");
    tlv(0x17, moment.format(format).unwrap().as_bytes())
}

async fn stream(registry: &Registry, name: &str, content: Vec<u8>) -> ImportSummary {
    let stream = ImportInput::Stream { name: name.to_owned(), reader: Box::new(Cursor::new(content)) };
    registry.import(vec![stream], &ImportOptions::default(), &mut |_| {}).await.unwrap()
}

/// A CA below a root.
fn below(root: &Ca, name: &str) -> Ca {
    let key = key();
    Ca { x509: Leaf::new(name).ca().key(&key).build(Some(root)), key }
}

fn serial(number: u8) -> Serial {
    Serial::from_content(&[number]).unwrap()
}

/// Ledgers with a CA, and the CA's issuer id.
async fn ledgers_with(ca: &Ca) -> Vec<(Ledger, Uuid)> {
    let mut with = Vec::new();
    for registry in ledgers().await {
        let issuer = get(&registry, add(&registry, &ca.certificate()).await).await.issuer_id;
        with.push((registry, issuer));
    }
    with
}

async fn status(registry: &Registry, issuer: Uuid, number: u8) -> Status {
    registry.status(&serial(number), issuer).await.unwrap()
}

/// The actions of the events of an object, newest first.
async fn actions(registry: &Registry, object: Uuid) -> Vec<String> {
    let filter = EventFilter { object: Some(object), ..EventFilter::default() };
    let events = registry.events(&filter, &Page::default()).await.unwrap().events;
    events.into_iter().map(|event| event.action).collect()
}

#[tokio::test]
async fn a_crl_of_a_known_issuer_is_checked_and_recorded_once() {
    let ca = Ca::new("CA");
    for (registry, issuer) in ledgers_with(&ca).await {
        let id = add(&registry, &ca.issue(&Leaf::new("a.example").serial(5))).await;
        let crl = Crl::of(&ca).entry(5, COMPROMISED).entry(6, HOLD);
        let summary = crl.import(&registry).await;
        assert_eq!((summary.revocations, summary.refused_count, summary.unchecked.len()), (2, 0, 0), "{summary:?}");
        let record = get(&registry, id).await;
        assert_eq!((record.status, record.revocation_checked), (Status::Revoked, Some(true)));
        assert_eq!(status(&registry, issuer, 6).await, Status::OnHold);
        let revocation = registry.revocation(&serial(6), issuer).await.unwrap().unwrap();
        assert_eq!((revocation.source.as_deref(), revocation.checked), (Some("a.crl"), true));
        let again = crl.import(&registry).await;
        assert_eq!((again.revocations, again.revocations_known), (0, 2));
    }
}

#[tokio::test]
async fn a_crl_that_its_issuer_did_not_sign_is_noted_and_not_believed() {
    let ca = Ca::new("CA");
    for (registry, issuer) in ledgers_with(&ca).await {
        let summary = Crl::forged(&ca).entry(5, COMPROMISED).import(&registry).await;
        assert_eq!((summary.revocations, summary.refused_count, summary.forged.len()), (0, 0, 1));
        assert_eq!(status(&registry, issuer, 5).await, Status::Unknown);
    }
}

#[tokio::test]
async fn a_crl_of_an_unknown_issuer_is_not_checked_until_the_ca_comes() {
    for registry in ledgers().await {
        let ca = Ca::new("CA");
        let id = add(&registry, &ca.issue(&Leaf::new("a.example").serial(5))).await;
        let summary = Crl::of(&ca).entry(5, COMPROMISED).entry(7, HOLD).import(&registry).await;
        assert_eq!((summary.revocations, summary.unchecked.len(), summary.unchecked_not_kept.len()), (2, 1, 0));
        let before = get(&registry, id).await;
        assert_eq!((before.status, before.revocation_checked), (Status::Revoked, Some(false)));

        let summary = stream(&registry, "ca.pem", ca.x509.to_pem().unwrap()).await;

        assert_eq!((summary.lists_checked, &summary.lists_dropped[..]), (1, &[][..]));
        let record = get(&registry, id).await;
        assert_ne!(record.issuer_id, before.issuer_id);
        assert_eq!((record.status, record.revocation_checked), (Status::Revoked, Some(true)));
        assert_eq!(status(&registry, record.issuer_id, 7).await, Status::OnHold);
        assert_eq!(
            status(&registry, before.issuer_id, 7).await,
            Status::Unknown,
            "nothing is left under the name alone"
        );
        assert_eq!(actions(&registry, id).await[0], "revocation.changed");
        // There is nothing left to check.
        let again = stream(&registry, "ca.pem", ca.x509.to_pem().unwrap()).await;
        assert_eq!(again.lists_checked, 0);
    }
}

#[tokio::test]
async fn a_forged_crl_is_dropped_with_its_revocations_when_the_ca_comes() {
    for registry in ledgers().await {
        let ca = Ca::new("CA");
        let mut ids = Vec::new();
        for number in [5, 6] {
            ids.push(add(&registry, &ca.issue(&Leaf::new("a.example").serial(number))).await);
        }
        Crl::forged(&ca).entry(5, COMPROMISED).entry(6, COMPROMISED).entry(7, COMPROMISED).import(&registry).await;
        // What the operator says does not fall with the CRL.
        let by_hand = registry.revoke(&RevocationTarget::Id(ids[1]), &RevocationRequest::default()).await.unwrap();
        assert_eq!(by_hand, Revoke::Revoked);

        let summary = stream(&registry, "ca.pem", ca.x509.to_pem().unwrap()).await;

        assert_eq!((summary.lists_checked, &summary.lists_dropped[..]), (0, &["a.crl".to_owned()][..]));
        let (forged, by_hand) = (get(&registry, ids[0]).await, get(&registry, ids[1]).await);
        assert_eq!((forged.status, forged.revocation_checked), (Status::Valid, None));
        assert_eq!((by_hand.status, by_hand.revocation_checked), (Status::Revoked, Some(true)));
        assert_eq!(status(&registry, forged.issuer_id, 7).await, Status::Unknown);
        assert_eq!(actions(&registry, ids[0]).await[0], "revocation.dropped");
        let dropped = EventFilter { action: Some("revocation-list.dropped".to_owned()), ..EventFilter::default() };
        assert_eq!(registry.events(&dropped, &Page::default()).await.unwrap().events.len(), 1);
    }
}

#[tokio::test]
async fn a_crl_that_cannot_be_checked_changes_nothing_that_is() {
    for registry in ledgers().await {
        let ca = Ca::new("CA");
        let id = add(&registry, &ca.issue(&Leaf::new("a.example").serial(5))).await;
        let hold = RevocationRequest { reason: RevocationReason::CertificateHold, ..RevocationRequest::default() };
        registry.revoke(&RevocationTarget::Id(id), &hold).await.unwrap();
        Crl::of(&ca).entry(5, COMPROMISED).import(&registry).await;
        Crl::of(&ca).delta().entry(5, REMOVE).import(&registry).await;
        let record = get(&registry, id).await;
        assert_eq!((record.status, record.revocation_checked), (Status::OnHold, Some(true)));
    }
}

#[tokio::test]
async fn a_crl_too_large_to_keep_is_checked_when_it_is_imported_again() {
    for registry in ledgers().await {
        let ca = Ca::new("CA");
        let id = add(&registry, &ca.issue(&Leaf::new("a.example").serial(5))).await;
        let large = Crl::of(&ca).entry(5, COMPROMISED).extension(0x63, false, &vec![0; 16 << 20]);
        let summary = large.import(&registry).await;
        assert_eq!((summary.unchecked.len(), summary.unchecked_not_kept.len()), (1, 1), "{:?}", summary.refused);
        add(&registry, &ca.certificate()).await;
        assert_eq!(get(&registry, id).await.revocation_checked, Some(false));
        assert_eq!(large.import(&registry).await.unchecked.len(), 0);
        assert_eq!(get(&registry, id).await.revocation_checked, Some(true));
    }
}

#[tokio::test]
async fn an_older_crl_does_not_undo_what_a_newer_one_said() {
    let ca = Ca::new("CA");
    for (registry, issuer) in ledgers_with(&ca).await {
        let (old, new) = (NOW - DAY * 9, NOW - DAY * 2);
        Crl::of(&ca).issued(new).entry(2, HOLD).import(&registry).await;
        let older = Crl::of(&ca).issued(old).entry(1, HOLD).entry(2, REMOVE).entry(3, COMPROMISED);
        let summary = older.import(&registry).await;
        assert_eq!((summary.revocations, summary.revocations_outdated), (1, 2), "{summary:?}");
        assert_eq!(status(&registry, issuer, 1).await, Status::Unknown);
        assert_eq!(status(&registry, issuer, 2).await, Status::OnHold);
        assert_eq!(status(&registry, issuer, 3).await, Status::Revoked, "what is final cannot be outdated");
    }
}

#[tokio::test]
async fn of_two_crls_of_one_moment_the_number_tells_which_is_newer() {
    let ca = Ca::new("CA");
    for (registry, issuer) in ledgers_with(&ca).await {
        Crl::of(&ca).number(0x7f).import(&registry).await;
        assert_eq!(Crl::of(&ca).number(0x7e).entry(1, HOLD).import(&registry).await.revocations_outdated, 1);
        assert_eq!(
            Crl::of(&ca).extension(0x14, false, &[2, 2, 1, 0]).entry(1, HOLD).import(&registry).await.revocations,
            1
        );
        assert_eq!(Crl::of(&ca).number(0x7f).entry(2, HOLD).import(&registry).await.revocations_outdated, 1);
        assert_eq!(status(&registry, issuer, 1).await, Status::OnHold);
    }
}

#[tokio::test]
async fn the_parts_of_a_crl_do_not_outdate_each_other() {
    let ca = Ca::new("CA");
    for (registry, issuer) in ledgers_with(&ca).await {
        Crl::of(&ca).part(1).issued(NOW - DAY).entry(1, HOLD).import(&registry).await;
        Crl::of(&ca).part(2).issued(NOW - DAY * 2).entry(2, HOLD).import(&registry).await;
        assert_eq!(status(&registry, issuer, 1).await, Status::OnHold);
        assert_eq!(status(&registry, issuer, 2).await, Status::OnHold);
    }
}

#[tokio::test]
async fn a_hold_that_the_next_complete_crl_does_not_mention_is_lifted() {
    let ca = Ca::new("CA");
    for (registry, issuer) in ledgers_with(&ca).await {
        let id = add(&registry, &ca.issue(&Leaf::new("a.example").serial(1))).await;
        let first = Crl::of(&ca).issued(NOW - DAY * 9).entry(1, HOLD).entry(2, HOLD).entry(3, COMPROMISED);
        first.import(&registry).await;
        let summary = Crl::of(&ca).issued(NOW - DAY).entry(2, HOLD).import(&registry).await;
        assert_eq!(summary.holds_lifted, 1, "{summary:?}");
        assert_eq!(get(&registry, id).await.status, Status::Valid);
        assert_eq!(actions(&registry, id).await[0], "revocation.lifted");
        assert_eq!(status(&registry, issuer, 2).await, Status::OnHold);
        assert_eq!(status(&registry, issuer, 3).await, Status::Revoked);
        first.import(&registry).await;
        assert_eq!(get(&registry, id).await.status, Status::Valid, "the first CRL once more changes nothing");
    }
}

#[tokio::test]
async fn a_hold_stays_when_the_crl_that_does_not_mention_it_cannot_tell() {
    let ca = Ca::new("CA");
    let held = Crl::of(&ca).issued(NOW - DAY * 9).entry(1, HOLD);
    let next = Crl::of(&ca).issued(NOW - DAY);
    let mut damaged = next.clone();
    damaged.entries = tlv(0x30, &tlv(0x02, &[9]));
    for (why, next) in [
        ("a delta", next.clone().delta()),
        ("a part", next.clone().part(1)),
        ("an older one", next.clone().issued(NOW - DAY * 10)),
        ("an entry cannot be read", damaged),
        ("forged", Crl { key: key(), ..next.clone() }),
    ] {
        for (registry, issuer) in ledgers_with(&ca).await {
            held.import(&registry).await;
            assert_eq!(next.import(&registry).await.holds_lifted, 0, "{why}");
            assert_eq!(status(&registry, issuer, 1).await, Status::OnHold, "{why}");
        }
    }
}

#[tokio::test]
async fn a_hold_that_the_operator_set_is_lifted_by_the_operator_only() {
    let ca = Ca::new("CA");
    for (registry, _) in ledgers_with(&ca).await {
        let id = add(&registry, &ca.issue(&Leaf::new("a.example").serial(1))).await;
        let hold = RevocationRequest { reason: RevocationReason::CertificateHold, ..RevocationRequest::default() };
        registry.revoke(&RevocationTarget::Id(id), &hold).await.unwrap();
        assert_eq!(Crl::of(&ca).import(&registry).await.holds_lifted, 0);
        assert_eq!(get(&registry, id).await.status, Status::OnHold);
        assert_eq!(registry.lift_hold(&RevocationTarget::Id(id)).await.unwrap(), Lift::Lifted);
    }
}

#[tokio::test]
async fn a_hold_of_an_expired_certificate_is_not_lifted_by_its_absence() {
    let ca = Ca::new("CA");
    for (registry, _) in ledgers_with(&ca).await {
        let leaf = Leaf::new("a.example").serial(1).valid(NOW - DAY * 30, NOW - DAY * 5);
        let id = add(&registry, &ca.issue(&leaf)).await;
        Crl::of(&ca).issued(NOW - DAY * 9).entry(1, HOLD).import(&registry).await;
        assert_eq!(Crl::of(&ca).issued(NOW - DAY).import(&registry).await.holds_lifted, 0);
        assert_eq!(get(&registry, id).await.status, Status::OnHold);
    }
}

/// RFC 5280 §6.3.3 (b): the CRL is indirect, and a certificate of the other issuer names its issuer as cRLIssuer.
#[tokio::test]
async fn an_indirect_crl_is_believed_for_issuers_who_delegated_to_its_issuer() {
    for registry in ledgers().await {
        let root = Ca::new("Root");
        let (other, ca) = (below(&root, "Other CA"), below(&root, "CRL issuer"));
        for ca in [&root, &ca, &other] {
            add(&registry, &ca.certificate()).await;
        }
        let issuer = get(&registry, add(&registry, &other.issue(&Leaf::new("b.example"))).await).await.issuer_id;
        let indirect = Crl::of(&ca).indirect().entry_of(Some(&other.x509), 1, COMPROMISED).entry(2, COMPROMISED);

        // Its second entry is for the same issuer as the one before.
        let summary = indirect.import(&registry).await;
        assert_eq!((summary.revocations, summary.refused_count), (0, 0), "nothing is delegated yet: {summary:?}");
        assert_eq!(summary.skipped["a CRL entry for another issuer, who did not delegate it"], 2);

        let id = add(&registry, &other.issue(&Leaf::new("a.example").serial(1).delegates_to(&ca.x509))).await;
        assert_eq!(get(&registry, id).await.status, Status::Valid);
        assert_eq!(indirect.import(&registry).await.revocations, 2, "what was passed over is looked at anew");
        let record = get(&registry, id).await;
        assert_eq!((record.status, record.revocation_checked), (Status::Revoked, Some(true)));
        assert_eq!(status(&registry, issuer, 2).await, Status::Revoked);
        assert_eq!(indirect.import(&registry).await.revocations, 0);
    }
}

#[tokio::test]
async fn an_indirect_crl_is_not_believed_without_delegation_flag_or_signature() {
    let (root, stranger) = (Ca::new("Root"), Ca::new("CRL issuer"));
    let (other, ca, third) = (below(&root, "Other CA"), below(&root, "CRL issuer"), below(&root, "Third CA"));
    let flag = tlv(0x30, &tlv(0x84, &[0xff]));
    for (why, delegate, crl) in [
        ("delegated to another", &third, Crl::of(&ca).indirect()),
        ("not said to be indirect", &ca, Crl::of(&ca)),
        ("not critical", &ca, Crl::of(&ca).extension(0x1c, false, &flag)),
        ("not indirect", &ca, Crl::of(&ca).part(1)),
        ("not signed by the delegate", &ca, Crl::forged(&ca).indirect()),
        ("signed by a stranger of the delegate's name", &ca, Crl::of(&stranger).indirect()),
        ("not checked", &ca, Crl::signed(&ca.x509, &third.x509, &third.key).indirect()),
    ] {
        for registry in ledgers().await {
            for ca in [&root, &stranger, &ca, &other] {
                add(&registry, &ca.certificate()).await;
            }
            let leaf = Leaf::new("a.example").serial(1).delegates_to(&delegate.x509);
            let issuer = get(&registry, add(&registry, &other.issue(&leaf)).await).await.issuer_id;
            crl.clone().entry_of(Some(&other.x509), 1, COMPROMISED).import(&registry).await;
            assert_eq!(status(&registry, issuer, 1).await, Status::Valid, "{why}");
        }
    }
}

/// PKITS 4.14.28 to 4.14.30: the CRL issuer is no CA.
#[tokio::test]
async fn who_is_no_ca_can_issue_crls_for_those_who_delegate() {
    let ca = Ca::new("CA");
    for (registry, issuer) in ledgers_with(&ca).await {
        let crl_key = key();
        let delegate = Leaf::new("CRL issuer").signs_lists().key(&crl_key).build(Some(&ca));
        add(&registry, &ca.issue(&Leaf::new("a.example").serial(1).delegates_to(&delegate))).await;
        let crl = Crl::signed(&delegate, &delegate, &crl_key).indirect().entry_of(Some(&ca.x509), 1, COMPROMISED);
        let summary = crl.import(&registry).await;
        assert_eq!((summary.revocations, summary.unchecked.len()), (0, 1), "the delegate is unknown: {summary:?}");

        let pem = delegate.to_pem().unwrap();
        assert_eq!(stream(&registry, "delegate.pem", pem).await.lists_checked, 1);
        let revocation = registry.revocation(&serial(1), issuer).await.unwrap().unwrap();
        assert!(revocation.checked);
    }
}

/// Of the two certificates, either may come last; the CRL may come before both.
#[tokio::test]
async fn a_ca_may_sign_its_crls_with_a_key_of_their_own() {
    let (root, crl_key) = (Ca::new("Root"), key());
    let ca_key = key();
    let ca = Ca { x509: Leaf::new("CA").ca().key(&ca_key).build(Some(&root)), key: ca_key };
    let by_root = Leaf::new("CA").signs_lists().key(&crl_key).build(Some(&root));
    let by_itself = Leaf::new("CA").signs_lists().key(&crl_key).build(Some(&ca));
    for signer in [by_root, by_itself] {
        let crl = Crl::signed(&ca.x509, &signer, &crl_key).entry(1, COMPROMISED);
        let (ca_pem, signer_pem) = (ca.x509.to_pem().unwrap(), signer.to_pem().unwrap());
        for order in [[&ca_pem, &signer_pem], [&signer_pem, &ca_pem]] {
            for registry in ledgers().await {
                add(&registry, &root.certificate()).await;
                let id = add(&registry, &ca.issue(&Leaf::new("a.example").serial(1))).await;
                assert_eq!(crl.import(&registry).await.unchecked.len(), 1);
                for pem in order {
                    stream(&registry, "one.pem", pem.clone()).await;
                }
                let record = get(&registry, id).await;
                assert_eq!((record.status, record.revocation_checked), (Status::Revoked, Some(true)));
                assert_eq!(crl.import(&registry).await.revocations_known, 1);
            }
        }
    }
}

#[tokio::test]
async fn a_key_that_another_ca_lets_sign_in_its_name_does_not_speak_for_the_ca() {
    let (ca, stranger, crl_key) = (Ca::new("CA"), Ca::new("Stranger"), key());
    for (registry, issuer) in ledgers_with(&ca).await {
        add(&registry, &stranger.certificate()).await;
        let signer = Leaf::new("CA").signs_lists().key(&crl_key).build(Some(&stranger));
        stream(&registry, "signer.pem", signer.to_pem().unwrap()).await;
        let summary = Crl::signed(&ca.x509, &signer, &crl_key).entry(1, COMPROMISED).import(&registry).await;
        assert_eq!(summary.unchecked.len(), 1);
        assert_eq!(status(&registry, issuer, 1).await, Status::Unknown);
    }
}

/// PKITS 4.5.2: one CRL, signed with the new key, speaks for certificates that the old key signed.
#[tokio::test]
async fn the_crl_of_a_ca_that_changed_its_key_is_also_for_certificates_of_the_old_key() {
    for registry in ledgers().await {
        let (root, old_key, new_key) = (Ca::new("Root"), key(), key());
        let with = |key: &PKey<Private>, above: &Ca| {
            let x509 = Leaf::new("CA").ca().key(key).build(Some(above));
            Ca { x509, key: key.clone() }
        };
        let (old, new, stranger) = (with(&old_key, &root), with(&new_key, &root), Ca::new("CA"));
        for ca in [&root, &old, &new, &stranger] {
            add(&registry, &ca.certificate()).await;
        }
        let mut ids = Vec::new();
        for ca in [&old, &stranger] {
            ids.push(add(&registry, &ca.issue(&Leaf::new("a.example").serial(1))).await);
        }
        Crl::of(&new).issued(NOW - DAY * 9).entry(1, HOLD).entry(2, HOLD).import(&registry).await;
        assert_eq!(get(&registry, ids[0]).await.status, Status::OnHold);
        assert_eq!(get(&registry, ids[1]).await.status, Status::Valid, "another CA that only has the same name");
        assert_eq!(Crl::of(&new).issued(NOW - DAY).entry(2, HOLD).import(&registry).await.holds_lifted, 1);
        assert_eq!(get(&registry, ids[0]).await.status, Status::Valid);
    }
}

/// All of PKITS goes in, the one CRL whose signature is wrong on purpose as evidence only; and going in again changes
/// nothing, although its delta CRL lifts a hold that its base CRL set.
#[tokio::test]
async fn pkits_goes_in_once_and_again_changes_nothing() {
    for registry in ledgers().await {
        let Some(folder) = pkits() else { return };
        let everything = || vec![ImportInput::Path(folder.join("certs")), ImportInput::Path(folder.join("crls"))];
        let first = registry.import(everything(), &ImportOptions::default(), &mut |_| {}).await.unwrap();
        assert_eq!((first.new, first.known, first.refused_count), (405, 0, 0), "{:?}", first.refused);
        let [forged] = &first.forged[..] else { panic!("{:?}", first.forged) };
        assert!(forged.contains("BadCRLSignatureCACRL.crl"), "{forged}");
        assert!(first.revocations > 30 && first.holds_lifted == 1, "{first:?}");
        let before = registry.counts().await.unwrap();
        let again = registry.import(everything(), &ImportOptions::default(), &mut |_| {}).await.unwrap();
        assert_eq!((again.new, again.known, again.refused_count), (0, 405, 0));
        assert_eq!(again.forged, first.forged);
        let forged = EventFilter { action: Some("revocation-list.forged".to_owned()), ..EventFilter::default() };
        assert_eq!(registry.events(&forged, &Page::default()).await.unwrap().events.len(), 1, "it is noted once");
        assert_eq!((again.revocations, again.holds_lifted), (0, 0));
        assert_eq!(again.revocations_known, first.revocations + first.revocations_known + first.holds_lifted);
        assert_eq!(registry.counts().await.unwrap(), before);
    }
}

/// What PKITS calls revoked because of re-keyed CAs, CRLs with a key of their own, and indirect CRLs.
#[tokio::test]
async fn pkits_certificates_are_revoked_by_the_crls_that_may_speak_of_them() {
    for registry in ledgers().await {
        let Some(folder) = pkits() else { return };
        let everything = vec![ImportInput::Path(folder.join("crls")), ImportInput::Path(folder.join("certs"))];
        registry.import(everything, &ImportOptions::default(), &mut |_| {}).await.unwrap();
        for (file, expected) in [
            ("InvalidRevokedEETest3EE", Status::Revoked),
            ("InvalidBasicSelfIssuedOldWithNewTest2EE", Status::Revoked),
            ("ValidBasicSelfIssuedOldWithNewTest1EE", Status::Valid),
            ("InvalidBasicSelfIssuedNewWithOldTest5EE", Status::Revoked),
            ("ValidBasicSelfIssuedNewWithOldTest4EE", Status::Valid),
            ("InvalidBasicSelfIssuedCRLSigningKeyTest7EE", Status::Revoked),
            ("ValidBasicSelfIssuedCRLSigningKeyTest6EE", Status::Valid),
            ("InvalidSeparateCertificateandCRLKeysTest20EE", Status::Revoked),
            ("ValidSeparateCertificateandCRLKeysTest19EE", Status::Valid),
            ("InvalidIDPwithindirectCRLTest23EE", Status::Revoked),
            ("ValidIDPwithindirectCRLTest24EE", Status::Valid),
            ("InvalidcRLIssuerTest31EE", Status::Revoked),
            ("InvalidcRLIssuerTest32EE", Status::Revoked),
            ("ValidcRLIssuerTest33EE", Status::Valid),
            ("InvalidcRLIssuerTest34EE", Status::Revoked),
            ("ValiddeltaCRLTest5EE", Status::Valid),
            ("InvaliddeltaCRLTest4EE", Status::Revoked),
        ] {
            let der = std::fs::read(folder.join("certs").join(file).with_extension("crt")).unwrap();
            let certificate = Certificate::from_der(&der).unwrap();
            let record = registry.by_fingerprint(certificate.fingerprint()).await.unwrap().unwrap();
            let checked = (expected == Status::Revoked).then_some(true);
            assert_eq!((record.status, record.revocation_checked), (expected, checked), "{file}");
        }
    }
}
