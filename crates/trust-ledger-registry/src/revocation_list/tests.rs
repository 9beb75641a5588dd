use openssl::pkey::{PKey, Private};
use openssl::sign::Signer;
use time::macros::datetime;

use super::*;
use crate::der::build::{element, extension, name, sequence};
use crate::revocation_reason::RevocationReason;

const ED25519: [u8; 7] = [0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70];

fn entry(serial: &[u8], extensions: &[Vec<u8>]) -> Vec<u8> {
    let list = if extensions.is_empty() { Vec::new() } else { element(tag::SEQUENCE, extensions.concat()) };
    sequence(&[&element(tag::INTEGER, serial), &element(tag::UTC_TIME, "240201000000Z"), &list])
}

fn reason(code: u8) -> Vec<u8> {
    extension(&[0x55, 0x1d, 21], false, &element(tag::ENUMERATED, [code]))
}

fn issued_by(issuer: &str) -> Vec<u8> {
    extension(&[0x55, 0x1d, 29], true, &sequence(&[&element(0xa4, name(issuer))]))
}

fn list(entries: &[Vec<u8>], extensions: &[Vec<u8>], key: &PKey<Private>) -> Vec<u8> {
    let entries = if entries.is_empty() { Vec::new() } else { element(tag::SEQUENCE, entries.concat()) };
    let content = sequence(&[
        &element(tag::INTEGER, [1]),
        &ED25519,
        &name("CA"),
        &element(tag::UTC_TIME, "240101000000Z"),
        &element(tag::UTC_TIME, "240301000000Z"),
        &entries,
        &element(0xa0, element(tag::SEQUENCE, extensions.concat())),
    ]);
    let signature = Signer::new_without_digest(key).unwrap().sign_oneshot_to_vec(&content).unwrap();
    sequence(&[&content, &ED25519, &element(tag::BIT_STRING, [&[0], signature.as_slice()].concat())])
}

fn entries(list_of: &[Vec<u8>]) -> Vec<Result<RevokedEntry, RevocationListError>> {
    let key = PKey::generate_ed25519().unwrap();
    RevocationList::from_der(&list(list_of, &[], &key)).unwrap().entries().collect()
}

#[test]
fn the_fields_of_a_list_are_read_and_its_signature_checked() {
    let key = PKey::generate_ed25519().unwrap();
    let extensions = [
        extension(&[0x55, 0x1d, 20], false, &element(tag::INTEGER, [0x12, 0x34])),
        extension(&[0x55, 0x1d, 35], false, &sequence(&[&element(0x80, [7, 8])])),
    ];
    let der = list(&[], &extensions, &key);
    let list_read = RevocationList::from_der(&der).unwrap();
    assert_eq!(list_read.issuer().text(), "CN=CA");
    assert_eq!(list_read.crl_number().unwrap().to_hex(), "1234");
    assert_eq!(list_read.authority_key_id(), Some(&[7, 8][..]));
    assert_eq!(list_read.this_update(), datetime!(2024-01-01 0:00 UTC));
    assert_eq!(list_read.next_update(), Some(datetime!(2024-03-01 0:00 UTC)));
    assert!(!list_read.is_delta());
    assert_eq!(list_read.entries().count(), 0);

    let own = PublicKey::from_spki(&key.public_key_to_der().unwrap()).unwrap();
    let other_key = PKey::generate_ed25519().unwrap();
    let other = PublicKey::from_spki(&other_key.public_key_to_der().unwrap()).unwrap();
    assert!(list_read.is_signed_by(&own) && !list_read.is_signed_by(&other));

    let delta = [extension(&[0x55, 0x1d, 27], true, &element(tag::INTEGER, [5]))];
    assert!(RevocationList::from_der(&list(&[], &delta, &key)).unwrap().is_delta());
}

#[test]
fn entries_hold_serial_date_reason_and_invalidity_date() {
    let invalidity = extension(&[0x55, 0x1d, 24], false, &element(tag::GENERALIZED_TIME, "20231231000000Z"));
    let found = entries(&[entry(&[0, 0xff], &[reason(1), invalidity]), entry(&[0xff], &[])]);
    let first = found[0].as_ref().unwrap();
    assert_eq!(first.serial.to_hex(), "ff");
    assert_eq!(first.revoked_at, datetime!(2024-02-01 0:00 UTC));
    assert_eq!(first.reason, EntryReason::Revoked(RevocationReason::KeyCompromise));
    assert_eq!(first.invalidity_date, Some(datetime!(2023-12-31 0:00 UTC)));
    let second = found[1].as_ref().unwrap();
    assert_eq!((second.serial.to_hex().as_str(), second.invalidity_date), ("-1", None));
    assert_eq!(second.reason, EntryReason::Revoked(RevocationReason::Unspecified));
}

#[test]
fn unknown_reasons_are_unspecified_and_removals_are_told_apart() {
    let reasons: Vec<EntryReason> = [0, 6, 7, 8, 9, 10, 11, 0x80]
        .into_iter()
        .map(|code| entries(&[entry(&[1], &[reason(code)])])[0].as_ref().unwrap().reason)
        .collect();
    let revoked = EntryReason::Revoked;
    assert_eq!(
        reasons,
        [
            revoked(RevocationReason::Unspecified),
            revoked(RevocationReason::CertificateHold),
            revoked(RevocationReason::Unspecified),
            EntryReason::RemoveFromCrl,
            revoked(RevocationReason::PrivilegeWithdrawn),
            revoked(RevocationReason::AaCompromise),
            revoked(RevocationReason::Unspecified),
            revoked(RevocationReason::Unspecified),
        ]
    );
}

#[test]
fn the_issuer_of_an_indirect_entry_holds_until_another_is_named() {
    let found = entries(&[
        entry(&[1], &[]),
        entry(&[2], &[issued_by("A")]),
        entry(&[3], &[]),
        entry(&[4], &[issued_by("B")]),
        entry(&[5], &[]),
    ]);
    let issuers: Vec<Option<String>> = found
        .into_iter()
        .map(|entry| entry.unwrap().certificate_issuer.map(|issuer| issuer.text().to_owned()))
        .collect();
    let named = |text: &str| Some(text.to_owned());
    assert_eq!(issuers, [None, named("CN=A"), named("CN=A"), named("CN=B"), named("CN=B")]);
}

#[test]
fn entries_behind_a_damaged_issuer_are_not_given_to_another() {
    let damaged = extension(&[0x55, 0x1d, 29], true, &[0x30, 0x00]);
    let found = entries(&[
        entry(&[1], &[issued_by("A")]),
        entry(&[2], &[damaged]),
        entry(&[3], &[]),
        entry(&[4], &[issued_by("B")]),
    ]);
    assert_eq!(found.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, false, true]);
}

#[test]
fn a_damaged_entry_is_an_error_and_the_next_one_is_read() {
    let found = entries(&[sequence(&[&element(tag::INTEGER, [])]), entry(&[2], &[])]);
    assert!(found[0].is_err());
    assert_eq!(found[1].as_ref().unwrap().serial.to_hex(), "2");
}

#[test]
fn an_entry_of_wrong_type_ends_the_list_with_an_error() {
    let found = entries(&[entry(&[1], &[]), element(tag::INTEGER, [1]), entry(&[2], &[])]);
    assert_eq!(found.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false]);
}

#[test]
fn trailing_bytes_and_every_truncation_are_refused() {
    let key = PKey::generate_ed25519().unwrap();
    let mut der = list(&[entry(&[1], &[])], &[], &key);
    for length in 0..der.len() {
        assert!(RevocationList::from_der(&der[..length]).is_err());
    }
    der.push(0);
    assert_eq!(
        RevocationList::from_der(&der).unwrap_err(),
        RevocationListError::Structure(DerError::Trailing { offset: der.len() - 1, count: 1 })
    );
}
