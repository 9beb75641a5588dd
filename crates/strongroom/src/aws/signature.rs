//! Signature Version 4, in the two forms that are needed: a presigned URL, which serves as a password, and the header of a
//! request. Source: AWS, "Create a signed AWS API request" (IAM user guide).

use std::fmt::Write;
use std::time::SystemTime;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use zeroize::Zeroizing;

/// What AWS knows the signer by.
pub(super) struct Keys {
    /// The access key's id, which is no secret.
    pub(super) id: String,
    /// The secret access key.
    pub(super) secret: Zeroizing<String>,
    /// Comes with keys that end.
    pub(super) session_token: Option<Zeroizing<String>>,
    /// When they end.
    pub(super) end: Option<SystemTime>,
}

/// What a signature is good for.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) region: &'a str,
    /// The service's signing name, such as `rds-db`.
    pub(super) service: &'a str,
    pub(super) time: SystemTime,
}

/// `endpoint` + `/?` + `parameters` + the signature for `GET`, valid for `seconds`. `endpoint` is a host, with its port if
/// that is not 443.
///
/// Parameters stand in the order given and the session token stands before the signature, as botocore writes them: the
/// text is the same, byte by byte.
pub(super) fn presigned(
    keys: &Keys,
    scope: Scope<'_>,
    endpoint: &str,
    parameters: &[(&str, &str)],
    seconds: u32,
) -> Zeroizing<String> {
    let stamp = stamp(scope.time);
    let credential = format!("{}/{}", keys.id, credential_scope(scope, &stamp));
    let seconds = seconds.to_string();
    let mut pairs = parameters.to_vec();
    pairs.extend([
        ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
        ("X-Amz-Credential", &credential),
        ("X-Amz-Date", &stamp),
        ("X-Amz-Expires", &seconds),
        ("X-Amz-SignedHeaders", "host"),
    ]);
    if let Some(token) = &keys.session_token {
        pairs.push(("X-Amz-Security-Token", token));
    }
    // Reserved for both texts, so that no reallocation leaves a part of a token behind.
    let most = endpoint.len() + 3 * pairs.iter().map(|(name, value)| name.len() + value.len() + 1).sum::<usize>() + 128;
    let mut url = Zeroizing::new(String::with_capacity(most));
    url.push_str(endpoint);
    url.push_str("/?");
    write_query(&mut url, &pairs);

    pairs.sort_unstable();
    let mut request = Zeroizing::new(String::with_capacity(most + 256));
    request.push_str("GET\n/\n");
    write_query(&mut request, &pairs);
    // As an HTTP client would send it: lower case, and without the scheme's own port.
    let host = endpoint.strip_suffix(":443").unwrap_or(endpoint).to_lowercase();
    let _ = write!(request, "\nhost:{host}\n\nhost\n");
    write_hex(&mut request, &Sha256::digest(b""));

    url.push_str("&X-Amz-Signature=");
    write_hex(&mut url, &sign(keys, scope, &stamp, &request));
    url
}

/// The headers that sign `POST /` with `headers` (names in lower case, sorted, `host` and `x-amz-date` not among them).
#[cfg(feature = "aws")]
pub(super) fn signed_headers(
    keys: &Keys,
    scope: Scope<'_>,
    host: &str,
    headers: &[(&'static str, &str)],
    body: &[u8],
) -> Vec<(&'static str, Zeroizing<String>)> {
    let stamp = stamp(scope.time);
    let mut all = headers.to_vec();
    all.extend([("host", host), ("x-amz-date", &*stamp)]);
    if let Some(token) = &keys.session_token {
        all.push(("x-amz-security-token", token));
    }
    all.sort_unstable();
    let names = all.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let length = all.iter().map(|(name, value)| name.len() + value.len() + 2).sum::<usize>();
    let mut request = Zeroizing::new(String::with_capacity(length + names.len() + 128));
    request.push_str("POST\n/\n\n");
    for (name, value) in &all {
        let _ = writeln!(request, "{name}:{value}");
    }
    let _ = write!(request, "\n{names}\n");
    write_hex(&mut request, &Sha256::digest(body));
    let mut authorization = format!(
        "AWS4-HMAC-SHA256 Credential={}/{}, SignedHeaders={names}, Signature=",
        keys.id,
        credential_scope(scope, &stamp)
    );
    write_hex(&mut authorization, &sign(keys, scope, &stamp, &request));
    let owned = |text: &str| Zeroizing::new(text.to_owned());
    let mut signed: Vec<_> = all.iter().map(|&(name, value)| (name, owned(value))).collect();
    signed.push(("authorization", authorization.into()));
    signed
}

/// `20261121T080910Z`.
fn stamp(time: SystemTime) -> String {
    let time = OffsetDateTime::from(time);
    let (hour, minute, second) = time.time().as_hms();
    format!("{:04}{:02}{:02}T{hour:02}{minute:02}{second:02}Z", time.year(), u8::from(time.month()), time.day())
}

fn credential_scope(scope: Scope<'_>, stamp: &str) -> String {
    format!("{}/{}/{}/aws4_request", &stamp[..8], scope.region, scope.service)
}

/// The signature of a canonical request.
fn sign(keys: &Keys, scope: Scope<'_>, stamp: &str, request: &str) -> [u8; 32] {
    let mut text = format!("AWS4-HMAC-SHA256\n{stamp}\n{}\n", credential_scope(scope, stamp));
    write_hex(&mut text, &Sha256::digest(request));
    let secret = Zeroizing::new(["AWS4", &keys.secret].concat());
    // Deriving the key anew costs four hashes more than keeping it would, some 2 µs.
    let mut key = Zeroizing::new(hmac(secret.as_bytes(), &stamp[..8]));
    for part in [scope.region, scope.service, "aws4_request"] {
        key = Zeroizing::new(hmac(&*key, part));
    }
    hmac(&*key, &text)
}

fn hmac(key: &[u8], text: &str) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().into()
}

fn write_query(text: &mut String, pairs: &[(&str, &str)]) {
    for (at, (name, value)) in pairs.iter().enumerate() {
        if at > 0 {
            text.push('&');
        }
        // The names are ours and need no escape.
        text.push_str(name);
        text.push('=');
        write_escaped(text, value);
    }
}

/// RFC 3986: everything but letters, digits and `-._~` as `%XX`.
fn write_escaped(text: &mut String, value: &str) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => text.push(byte.into()),
            _ => text.extend(['%', HEX[usize::from(byte >> 4)].into(), HEX[usize::from(byte & 15)].into()]),
        }
    }
}

fn write_hex(text: &mut String, bytes: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        text.extend([char::from(HEX[usize::from(byte >> 4)]), HEX[usize::from(byte & 15)].into()]);
    }
}

#[cfg(all(test, feature = "aws"))]
mod tests {
    use std::time::Duration;

    use super::*;

    /// AWS's own example ("get-vanilla" of its SigV4 test suite uses GET; this is `post-vanilla`).
    #[test]
    fn a_request_is_signed_as_in_the_test_suite_of_aws() {
        let keys = Keys {
            id: "AKIDEXAMPLE".into(),
            secret: Zeroizing::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into()),
            session_token: None,
            end: None,
        };
        // 2015-08-30T12:36:00Z
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_440_938_160);
        let scope = Scope { region: "us-east-1", service: "service", time };
        let signed = signed_headers(&keys, scope, "example.amazonaws.com", &[], b"");
        let (_, authorization) = signed.last().unwrap();
        assert_eq!(
            authorization.as_str(),
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders=host;x-amz-date, Signature=5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"
        );
    }
}
