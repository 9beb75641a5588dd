//! What can be found.

use std::fmt;

use super::{IndexEntry, Position};

/// Something in the input, and where it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where it was.
    pub position: Position,
    /// What it is.
    pub object: Object,
}

/// Something in the input.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Object {
    /// DER that claims to be one certificate, without anything behind it.
    Certificate(Vec<u8>),
    /// DER that claims to be one CRL, without anything behind it.
    RevocationList(Vec<u8>),
    /// An entry of an `index.txt`.
    IndexEntry(IndexEntry),
    /// Something that is not wanted, and is no fault.
    Skipped(Skipped),
    /// Something that should have been an object and is not: one sentence, without anything of its content.
    Refused(String),
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Object::Certificate(der) => write!(f, "Certificate({} bytes)", der.len()),
            Object::RevocationList(der) => write!(f, "RevocationList({} bytes)", der.len()),
            Object::IndexEntry(entry) => f.debug_tuple("IndexEntry").field(entry).finish(),
            Object::Skipped(skipped) => f.debug_tuple("Skipped").field(skipped).finish(),
            Object::Refused(reason) => f.debug_tuple("Refused").field(reason).finish(),
        }
    }
}

/// What was passed over. Displays as a noun: `a private key`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Skipped {
    /// A private key, encrypted or not, of any format.
    PrivateKey,
    /// A certificate signing request.
    CertificateRequest,
    /// A public key without a certificate.
    PublicKey,
    /// Parameters of a key algorithm (DH, EC, DSA).
    Parameters,
    /// A PEM block or DER structure of another kind.
    Other,
    /// The whole input: nothing in it was recognised.
    Nothing,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Skipped::PrivateKey => "a private key",
            Skipped::CertificateRequest => "a certificate request",
            Skipped::PublicKey => "a public key",
            Skipped::Parameters => "key parameters",
            Skipped::Other => "another kind of object",
            Skipped::Nothing => "nothing recognised",
        })
    }
}
