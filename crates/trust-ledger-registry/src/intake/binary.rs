//! DER: what kind of object it is, and several of them one behind the other.

use std::io::{self, Read};
use std::ops::ControlFlow;

use super::object::{Found, Object, Skipped};
use super::position::{Origin, Place};
use super::source::Source;
use super::{MAX_OBJECT_BYTES, Sink};
use crate::certificate::MAX_CERTIFICATE_BYTES;
use crate::der::{DerError, Element, Header, Reader, tag};

/// Receives what is found in bytes that are in memory.
pub(super) type Emit<'a> = dyn FnMut(Object) -> ControlFlow<()> + 'a;

/// 1.2.840.113549.1.7.2, the content type of PKCS#7 and CMS signed data.
const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];

const PKCS_12: &str = "a PKCS#12 file: take the certificates out with \
    `openssl pkcs12 -in FILE -nokeys -out certificates.pem` and import those";

/// What kind of object a DER structure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Certificate,
    RevocationList,
    Pkcs7,
    Pkcs12,
    Unwanted(Skipped),
}

/// Whether a stream that begins like this is DER. `is_all`: nothing follows.
pub(super) fn looks_like_der(head: &[u8], is_all: bool) -> bool {
    let Some((outer, inner)) = first_two_headers(head) else { return false };
    let Some(length) = outer.length else {
        return head[outer.size..].get(2..).is_some_and(|id| id.starts_with(SIGNED_DATA));
    };
    let fits = inner.length.is_none_or(|inner_length| inner.size.saturating_add(inner_length) <= length);
    // The letter `0` is the SEQUENCE tag. Text goes on with letters, which as lengths are short: such a structure
    // must be there completely to be believed.
    let is_long = outer.size > 2;
    fits && (is_long || (is_all && Reader::new(head).next().is_ok_and(|first| first.is_some_and(|e| is_list(&e)))))
}

/// The headers of a SEQUENCE and of its first element, if that is of a type that any of our objects begins with.
fn first_two_headers(head: &[u8]) -> Option<(Header, Header)> {
    let outer = Header::read(head, 0).ok().filter(|header| header.tag == tag::SEQUENCE)?;
    let inner = Header::read(head.get(outer.size..)?, 0).ok()?;
    matches!(inner.tag, tag::SEQUENCE | tag::INTEGER | tag::OID).then_some((outer, inner))
}

/// Whether the content of a structure is one element behind the other.
fn is_list(element: &Element<'_>) -> bool {
    let mut reader = element.reader();
    loop {
        match reader.next() {
            Ok(Some(_)) => {}
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

/// Reads DER objects to the end of the stream.
pub(super) fn read<R: Read>(
    source: &mut Source<R>,
    origin: &Origin,
    sink: &mut Sink<'_>,
) -> io::Result<ControlFlow<()>> {
    loop {
        source.require(64)?;
        let position = origin.at(Place::Byte(source.offset()));
        let mut emit = |object| sink(Found { position: position.clone(), object });
        let window = source.window();
        if is_line_end(window) {
            return Ok(ControlFlow::Continue(()));
        }
        let Some((outer, inner)) = first_two_headers(window) else {
            let count = drain(source)?;
            return Ok(emit(Object::Refused(format!(
                "{count} bytes that are neither DER nor part of the object before"
            ))));
        };
        let begins_with = window[outer.size..].get(inner.size).copied();
        let length = match outer.length {
            Some(length) => outer.size.saturating_add(length),
            None => {
                // Its end is known only when it has been read.
                source.require(MAX_OBJECT_BYTES)?;
                match Reader::new(source.window()).next() {
                    Ok(Some(element)) => element.whole.len(),
                    _ => {
                        drain(source)?;
                        return Ok(emit(Object::Refused(String::from("DER of indefinite length without an end"))));
                    }
                }
            }
        };
        let is_certificate = inner.tag == tag::SEQUENCE && begins_with == Some(0xa0);
        let limit = if is_certificate { MAX_CERTIFICATE_BYTES } else { MAX_OBJECT_BYTES };
        if length > limit {
            let noun = if is_certificate { "a certificate" } else { "a DER object" };
            let reason = format!("{noun} of {length} bytes, more than {limit}");
            if emit(Object::Refused(reason)).is_break() {
                return Ok(ControlFlow::Break(()));
            }
            if !skip(source, length)? {
                return Ok(ControlFlow::Continue(()));
            }
            continue;
        }
        source.require(length)?;
        if source.window().len() < length {
            let present = source.window().len();
            return Ok(emit(Object::Refused(format!(
                "DER that is cut off: {length} bytes announced, {present} present"
            ))));
        }
        let flow = match Reader::new(&source.window()[..length]).next() {
            Ok(Some(element)) => object(&element, &mut emit),
            Ok(None) => ControlFlow::Continue(()),
            Err(error) => emit(Object::Refused(error.to_string())),
        };
        if flow.is_break() {
            return Ok(flow);
        }
        source.consume(length);
    }
}

/// What an editor or `echo` leaves behind an object is no fault.
fn is_line_end(rest: &[u8]) -> bool {
    matches!(rest, [] | b"\n" | b"\r\n")
}

/// Reads over the rest of the stream; how much it was.
fn drain<R: Read>(source: &mut Source<R>) -> io::Result<u64> {
    let start = source.offset();
    loop {
        source.consume(source.window().len());
        if source.at_end() {
            return Ok(source.offset() - start);
        }
        source.fill()?;
    }
}

/// Reads over so many bytes. False when the stream ends before.
fn skip<R: Read>(source: &mut Source<R>, mut count: usize) -> io::Result<bool> {
    loop {
        let step = count.min(source.window().len());
        source.consume(step);
        count -= step;
        if count == 0 {
            return Ok(true);
        }
        if source.at_end() {
            return Ok(false);
        }
        source.fill()?;
    }
}

/// Hands over every object in bytes that are in memory; what is no DER is refused.
pub(super) fn objects(bytes: &[u8], emit: &mut Emit<'_>) -> ControlFlow<()> {
    let mut reader = Reader::new(bytes);
    while !is_line_end(reader.rest()) {
        let offset = reader.offset();
        match reader.next() {
            Ok(Some(element)) if element.tag == tag::SEQUENCE => object(&element, emit)?,
            Err(error) if offset == 0 => return emit(Object::Refused(error.to_string())),
            _ => return refuse_rest(bytes, offset, emit),
        }
    }
    ControlFlow::Continue(())
}

/// The content of a PEM block that is labelled as a certificate: a certificate (however damaged: reading it says
/// how), or what some programs put there instead. With `is_trusted`, OpenSSL's trust settings may follow.
pub(super) fn certificate_block(der: Vec<u8>, is_trusted: bool, emit: &mut Emit<'_>) -> ControlFlow<()> {
    let Ok(Some(first)) = Reader::new(&der).next() else { return emit(Object::Certificate(der)) };
    let end = first.whole.len();
    match classify(&first) {
        Ok(Kind::Certificate | Kind::Unwanted(Skipped::Other)) | Err(_) => {}
        Ok(_) => return objects(&der, emit),
    }
    if is_trusted || end == der.len() {
        let mut der = der;
        der.truncate(end);
        return emit(Object::Certificate(der));
    }
    emit(Object::Certificate(first.whole.to_vec()))?;
    refuse_rest(&der, end, emit)
}

fn refuse_rest(bytes: &[u8], offset: usize, emit: &mut Emit<'_>) -> ControlFlow<()> {
    let count = bytes.len() - offset;
    emit(Object::Refused(format!("{count} bytes after the object's end at byte {offset} of its DER")))
}

/// Like [`objects`], for bytes that need not be anything: `false` when they are no object that is wanted or that
/// must be named. A certificate or CRL that has been cut off is named.
pub(super) fn objects_if_any(bytes: &[u8], emit: &mut Emit<'_>) -> ControlFlow<(), bool> {
    let Some((outer, inner)) = first_two_headers(bytes) else { return ControlFlow::Continue(false) };
    let Ok(Some(first)) = Reader::new(bytes).next() else {
        // Three consistent headers of the long form are no accident.
        let is_signed_object = inner.tag == tag::SEQUENCE && outer.size > 2 && inner.size > 2;
        let fits = outer.length.zip(inner.length).is_some_and(|(outer, inner)| inner < outer);
        if is_signed_object && fits {
            emit(Object::Refused(String::from("DER that is cut off")))?;
        }
        return ControlFlow::Continue(is_signed_object && fits);
    };
    match classify(&first) {
        Ok(Kind::Unwanted(Skipped::PrivateKey | Skipped::CertificateRequest)) | Ok(Kind::Certificate) => {}
        Ok(Kind::RevocationList | Kind::Pkcs7 | Kind::Pkcs12) => {}
        Ok(Kind::Unwanted(_)) | Err(_) => return ControlFlow::Continue(false),
    }
    objects(bytes, emit)?;
    ControlFlow::Continue(true)
}

/// Hands over one structure by its kind.
fn object(element: &Element<'_>, emit: &mut Emit<'_>) -> ControlFlow<()> {
    match classify(element) {
        Ok(Kind::Certificate) => emit(Object::Certificate(element.whole.to_vec())),
        Ok(Kind::RevocationList) => emit(Object::RevocationList(element.whole.to_vec())),
        Ok(Kind::Pkcs7) => pkcs_7(element, emit),
        Ok(Kind::Pkcs12) => emit(Object::Refused(String::from(PKCS_12))),
        Ok(Kind::Unwanted(skipped)) => emit(Object::Skipped(skipped)),
        Err(error) => emit(Object::Refused(error.to_string())),
    }
}

/// Tells the kinds apart by the types of their first elements, which is enough: what they hold is checked by whoever
/// reads them. Fails on lengths that contradict each other.
fn classify(element: &Element<'_>) -> Result<Kind, DerError> {
    const VERSION: u8 = 0xa0;
    let mut reader = element.reader();
    let Some(first) = reader.next()? else { return Ok(Kind::Unwanted(Skipped::Other)) };
    let (second, third) = (reader.next()?, reader.next()?);
    let tag_of = |element: Option<Element<'_>>| element.map(|element| element.tag);
    match (first.tag, tag_of(second), tag_of(third)) {
        (tag::SEQUENCE, Some(tag::SEQUENCE), Some(tag::BIT_STRING)) => {
            let tags = first_tags(&first)?;
            let is_time = |tag: u8| matches!(tag, tag::UTC_TIME | tag::GENERALIZED_TIME);
            Ok(match tags {
                [VERSION, ..] => Kind::Certificate,
                [tag::INTEGER, tag::SEQUENCE, tag::SEQUENCE, tag::SEQUENCE] => Kind::Certificate,
                [tag::SEQUENCE, tag::SEQUENCE, time, _] if is_time(time) => Kind::RevocationList,
                [tag::INTEGER, tag::SEQUENCE, tag::SEQUENCE, time] if is_time(time) => Kind::RevocationList,
                [tag::INTEGER, tag::SEQUENCE, tag::SEQUENCE, 0 | 0xa0] => Kind::Unwanted(Skipped::CertificateRequest),
                _ => Kind::Unwanted(Skipped::Other),
            })
        }
        // SubjectPublicKeyInfo.
        (tag::SEQUENCE, Some(tag::BIT_STRING), None) => Ok(Kind::Unwanted(Skipped::PublicKey)),
        // EncryptedPrivateKeyInfo.
        (tag::SEQUENCE, Some(tag::OCTET_STRING), None) => Ok(Kind::Unwanted(Skipped::PrivateKey)),
        (tag::OID, _, _) if first.content == SIGNED_DATA => Ok(Kind::Pkcs7),
        // PFX { version 3, authSafe ContentInfo, … }, PrivateKeyInfo { version, algorithm, key }.
        (tag::INTEGER, Some(tag::SEQUENCE), third) => Ok(match (first.small_unsigned(), third) {
            (Some(3), _) => Kind::Pkcs12,
            (_, Some(tag::OCTET_STRING)) => Kind::Unwanted(Skipped::PrivateKey),
            _ => Kind::Unwanted(Skipped::Other),
        }),
        // ECPrivateKey.
        (tag::INTEGER, Some(tag::OCTET_STRING), _) => Ok(Kind::Unwanted(Skipped::PrivateKey)),
        // RSA and DSA private keys have at least six numbers, RSAPublicKey two, DH and DSA parameters up to three.
        (tag::INTEGER, Some(tag::INTEGER), _) => Ok(Kind::Unwanted(match (reader.next()?, reader.next()?) {
            (Some(_), Some(_)) => Skipped::PrivateKey,
            _ => Skipped::Parameters,
        })),
        _ => Ok(Kind::Unwanted(Skipped::Other)),
    }
}

/// The tags of the first four elements, 0 where there is none.
fn first_tags(element: &Element<'_>) -> Result<[u8; 4], DerError> {
    let mut tags = [0; 4];
    let mut reader = element.reader();
    for tag in &mut tags {
        match reader.next()? {
            Some(element) => *tag = element.tag,
            None => break,
        }
    }
    Ok(tags)
}

/// Every certificate and CRL of a SignedData (RFC 5652 §5.1).
fn pkcs_7(element: &Element<'_>, emit: &mut Emit<'_>) -> ControlFlow<()> {
    const CERTIFICATES: u8 = 0xa0;
    const CRLS: u8 = 0xa1;
    let sets = || -> Result<Vec<Element<'_>>, DerError> {
        let mut content_info = element.reader();
        content_info.expect(tag::OID, "contentType")?;
        let content = content_info.expect(0xa0, "content")?;
        let mut signed_data = content.reader().expect(tag::SEQUENCE, "SignedData")?.reader();
        signed_data.expect(tag::INTEGER, "version")?;
        signed_data.expect(tag::SET, "digestAlgorithms")?;
        signed_data.expect(tag::SEQUENCE, "encapContentInfo")?;
        let mut sets = Vec::new();
        sets.extend(signed_data.optional(CERTIFICATES)?);
        sets.extend(signed_data.optional(CRLS)?);
        Ok(sets)
    };
    let refuse = |error: DerError| Object::Refused(format!("PKCS#7: {error}"));
    let sets = match sets() {
        Ok(sets) => sets,
        Err(error) => return emit(refuse(error)),
    };
    let mut is_empty = true;
    for set in sets {
        let mut members = set.reader();
        loop {
            let member = match members.next() {
                Ok(Some(member)) => member,
                Ok(None) => break,
                Err(error) => return emit(refuse(error)),
            };
            is_empty = false;
            emit(match (member.tag, set.tag) {
                (tag::SEQUENCE, CERTIFICATES) => Object::Certificate(member.whole.to_vec()),
                (tag::SEQUENCE, _) => Object::RevocationList(member.whole.to_vec()),
                _ => Object::Skipped(Skipped::Other),
            })?;
        }
    }
    if is_empty { emit(Object::Skipped(Skipped::Other)) } else { ControlFlow::Continue(()) }
}
