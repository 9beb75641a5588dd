//! Key and signature algorithms by name.

use crate::der::oid::dotted;
use crate::der::{DerError, Element, tag};

/// What kind of key a SubjectPublicKeyInfo holds.
pub(super) struct Key {
    /// Name, or dotted OID.
    pub(super) name: String,
    /// Size, where the algorithm has one and it can be read.
    pub(super) bits: Option<u32>,
}

/// Reads a SubjectPublicKeyInfo. A key whose inside is not what its algorithm wants has no bits, and is no error.
pub(super) fn key(public_key: &Element<'_>) -> Result<Key, DerError> {
    let mut parts = public_key.reader();
    let mut algorithm = parts.expect(tag::SEQUENCE, "key algorithm")?.reader();
    let identifier = algorithm.expect(tag::OID, "key algorithm")?;
    let parameters = algorithm.next()?;
    let key = parts.expect(tag::BIT_STRING, "public key")?;
    parts.finish()?;

    let named = |name: &str, bits| Key { name: name.to_owned(), bits };
    Ok(match identifier.content {
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 1] => named("RSA", rsa_bits(&key)),
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 10] => named("RSASSA-PSS", rsa_bits(&key)),
        // X9.57 DSA and the two Diffie-Hellman forms: the prime is the first parameter.
        [0x2a, 0x86, 0x48, 0xce, 0x38, 0x04, 0x01] => named("DSA", first_parameter_bits(parameters)),
        [0x2a, 0x86, 0x48, 0xce, 0x3e, 0x02, 0x01] | [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x03, 0x01] => {
            named("DH", first_parameter_bits(parameters))
        }
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01] => elliptic_curve(parameters),
        [0x2b, 0x65, 0x6e] => named("X25519", Some(256)),
        [0x2b, 0x65, 0x6f] => named("X448", Some(448)),
        [0x2b, 0x65, 0x70] => named("Ed25519", Some(256)),
        [0x2b, 0x65, 0x71] => named("Ed448", Some(456)),
        [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x04, number @ 1..=3] => {
            named(["ML-KEM-512", "ML-KEM-768", "ML-KEM-1024"][usize::from(number - 1)], None)
        }
        other => match post_quantum_signature(other) {
            Some(name) => named(name, None),
            None => Key { name: dotted(other), bits: None },
        },
    })
}

/// The name of a signature's AlgorithmIdentifier as OpenSSL prints it.
pub(super) fn signature(algorithm: &Element<'_>) -> Result<String, DerError> {
    let identifier = algorithm.reader().expect(tag::OID, "signature algorithm")?;
    let name = match identifier.content {
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, number] => match number {
            2 => Some("md2WithRSAEncryption"),
            3 => Some("md4WithRSAEncryption"),
            4 => Some("md5WithRSAEncryption"),
            5 => Some("sha1WithRSAEncryption"),
            10 => Some("rsassaPss"),
            11 => Some("sha256WithRSAEncryption"),
            12 => Some("sha384WithRSAEncryption"),
            13 => Some("sha512WithRSAEncryption"),
            14 => Some("sha224WithRSAEncryption"),
            15 => Some("sha512-224WithRSAEncryption"),
            16 => Some("sha512-256WithRSAEncryption"),
            _ => None,
        },
        [0x2b, 0x0e, 0x03, 0x02, 29] => Some("sha1WithRSA"),
        [0x2b, 0x0e, 0x03, 0x02, 3] => Some("md5WithRSA"),
        [0x2b, 0x0e, 0x03, 0x02, 27] => Some("dsaWithSHA1-old"),
        [0x2a, 0x86, 0x48, 0xce, 0x38, 0x04, 0x03] => Some("dsaWithSHA1"),
        [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03, 1] => Some("dsa_with_SHA224"),
        [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03, 2] => Some("dsa_with_SHA256"),
        [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03, 3] => Some("dsa_with_SHA384"),
        [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03, 4] => Some("dsa_with_SHA512"),
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01] => Some("ecdsa-with-SHA1"),
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, number] => match number {
            1 => Some("ecdsa-with-SHA224"),
            2 => Some("ecdsa-with-SHA256"),
            3 => Some("ecdsa-with-SHA384"),
            4 => Some("ecdsa-with-SHA512"),
            _ => None,
        },
        [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03, number @ 9..=12] => Some(
            ["ecdsa_with_SHA3-224", "ecdsa_with_SHA3-256", "ecdsa_with_SHA3-384", "ecdsa_with_SHA3-512"]
                [usize::from(number - 9)],
        ),
        [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03, number @ 13..=16] => {
            Some(["RSA-SHA3-224", "RSA-SHA3-256", "RSA-SHA3-384", "RSA-SHA3-512"][usize::from(number - 13)])
        }
        [0x2b, 0x65, 0x70] => Some("ED25519"),
        [0x2b, 0x65, 0x71] => Some("ED448"),
        [0x2a, 0x81, 0x1c, 0xcf, 0x55, 0x01, 0x83, 0x75] => Some("SM2-with-SM3"),
        other => post_quantum_signature(other),
    };
    Ok(name.map_or_else(|| dotted(identifier.content), str::to_owned))
}

/// The hash of a signature, if it is one that is broken. RSASSA-PSS names it in its parameters, SHA-1 by default
/// (RFC 4055 §3.1).
pub(super) fn weak_hash(algorithm: &Element<'_>) -> Option<&'static str> {
    let mut parts = algorithm.reader();
    let identifier = parts.next().ok()??;
    match identifier.content {
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, number] => match number {
            2 => Some("MD2"),
            3 => Some("MD4"),
            4 => Some("MD5"),
            5 => Some("SHA-1"),
            10 => pss_hash(parts.next().ok()?),
            _ => None,
        },
        [0x2b, 0x0e, 0x03, 0x02, 3] => Some("MD5"),
        [0x2b, 0x0e, 0x03, 0x02, 27 | 29]
        | [0x2a, 0x86, 0x48, 0xce, 0x38, 0x04, 0x03]
        | [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01] => Some("SHA-1"),
        _ => None,
    }
}

fn pss_hash(parameters: Option<Element<'_>>) -> Option<&'static str> {
    const HASH_ALGORITHM: u8 = 0xa0;
    let Some(parameters) = parameters else { return Some("SHA-1") };
    let Some(hash) = parameters.reader().optional(HASH_ALGORITHM).ok()? else { return Some("SHA-1") };
    let algorithm = hash.reader().expect(tag::SEQUENCE, "hash").ok()?;
    match algorithm.reader().expect(tag::OID, "hash").ok()?.content {
        [0x2b, 0x0e, 0x03, 0x02, 0x1a] => Some("SHA-1"),
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x02, 5] => Some("MD5"),
        _ => None,
    }
}

/// FIPS 204 and FIPS 205, whose keys and signatures share an identifier, by the names OpenSSL 3.5 gives them.
fn post_quantum_signature(identifier: &[u8]) -> Option<&'static str> {
    const NAMES: [&str; 15] = [
        "ML-DSA-44",
        "ML-DSA-65",
        "ML-DSA-87",
        "SLH-DSA-SHA2-128s",
        "SLH-DSA-SHA2-128f",
        "SLH-DSA-SHA2-192s",
        "SLH-DSA-SHA2-192f",
        "SLH-DSA-SHA2-256s",
        "SLH-DSA-SHA2-256f",
        "SLH-DSA-SHAKE-128s",
        "SLH-DSA-SHAKE-128f",
        "SLH-DSA-SHAKE-192s",
        "SLH-DSA-SHAKE-192f",
        "SLH-DSA-SHAKE-256s",
        "SLH-DSA-SHAKE-256f",
    ];
    match identifier {
        [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03, number @ 17..=31] => Some(NAMES[usize::from(number - 17)]),
        _ => None,
    }
}

/// RSAPublicKey ::= SEQUENCE { modulus INTEGER, publicExponent INTEGER }.
fn rsa_bits(key: &Element<'_>) -> Option<u32> {
    let content = key.bit_string().ok()?;
    let mut parts = crate::der::Reader::new(content).expect(tag::SEQUENCE, "RSAPublicKey").ok()?.reader();
    integer_bits(&parts.expect(tag::INTEGER, "modulus").ok()?)
}

fn first_parameter_bits(parameters: Option<Element<'_>>) -> Option<u32> {
    let mut parameters = parameters.filter(|element| element.tag == tag::SEQUENCE)?.reader();
    integer_bits(&parameters.expect(tag::INTEGER, "prime").ok()?)
}

/// Bits of a positive INTEGER. A modulus written without the zero octet that its sign needs is meant to be positive
/// as well.
fn integer_bits(integer: &Element<'_>) -> Option<u32> {
    let zeros = integer.content.iter().take_while(|octet| **octet == 0).count();
    let first = integer.content.get(zeros)?;
    u32::try_from((integer.content.len() - zeros) * 8).ok().map(|bits| bits - first.leading_zeros())
}

fn elliptic_curve(parameters: Option<Element<'_>>) -> Key {
    let Some(parameters) = parameters else { return Key { name: String::from("EC"), bits: None } };
    if parameters.tag == tag::SEQUENCE {
        // SpecifiedECDomain: version, then FieldID { prime-field, p }. RFC 5480 forbids it; it exists.
        let prime = || -> Option<Element<'_>> {
            let mut domain = parameters.reader();
            domain.expect(tag::INTEGER, "version").ok()?;
            let mut field = domain.expect(tag::SEQUENCE, "FieldID").ok()?.reader();
            field.expect(tag::OID, "field type").ok()?;
            field.expect(tag::INTEGER, "prime").ok()
        };
        return Key { name: String::from("EC explicit"), bits: prime().and_then(|p| integer_bits(&p)) };
    }
    let (curve, bits) = match parameters.content {
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 7] => ("P-256", 256),
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 1] => ("P-192", 192),
        [0x2b, 0x81, 0x04, 0x00, 33] => ("P-224", 224),
        [0x2b, 0x81, 0x04, 0x00, 34] => ("P-384", 384),
        [0x2b, 0x81, 0x04, 0x00, 35] => ("P-521", 521),
        [0x2b, 0x81, 0x04, 0x00, 10] => ("secp256k1", 256),
        // RFC 5639, 1.3.36.3.3.2.8.1.1.
        [0x2b, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01, number] => match number {
            1 => ("brainpoolP160r1", 160),
            3 => ("brainpoolP192r1", 192),
            5 => ("brainpoolP224r1", 224),
            7 => ("brainpoolP256r1", 256),
            8 => ("brainpoolP256t1", 256),
            9 => ("brainpoolP320r1", 320),
            11 => ("brainpoolP384r1", 384),
            12 => ("brainpoolP384t1", 384),
            13 => ("brainpoolP512r1", 512),
            14 => ("brainpoolP512t1", 512),
            _ => return unknown_curve(&parameters),
        },
        [0x2a, 0x81, 0x1c, 0xcf, 0x55, 0x01, 0x82, 0x2d] => ("SM2", 256),
        _ => return unknown_curve(&parameters),
    };
    Key { name: format!("EC {curve}"), bits: Some(bits) }
}

fn unknown_curve(parameters: &Element<'_>) -> Key {
    Key { name: format!("EC {}", dotted(parameters.content)), bits: None }
}
