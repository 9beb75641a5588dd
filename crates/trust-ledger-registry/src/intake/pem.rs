//! PEM blocks (RFC 7468, and what was there before it).

use std::ops::ControlFlow;

use super::object::{Object, Skipped};
use super::{MAX_OBJECT_BYTES, base64_text, binary};
use crate::certificate::MAX_CERTIFICATE_BYTES;

/// Finds PEM blocks in the lines it is given, which may be pieces of lines. Hands over what is in them, with the
/// number of the line on which the block begins.
#[derive(Default)]
pub(super) struct PemScanner {
    block: Option<Block>,
}

/// Receives the line on which a block begins, and what was in it.
pub(super) type Emit<'a> = dyn FnMut(u64, Object) -> ControlFlow<()> + 'a;

/// What the label of a block announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    Certificate,
    RevocationList,
    Bundle,
    Unwanted(Skipped),
}

/// A block whose END has not been seen.
struct Block {
    line: u64,
    label: Vec<u8>,
    content: Content,
    /// What stands before BEGIN on its line, such as `# ` or `> `: other lines may begin with it too.
    prefix: Vec<u8>,
    /// Base64 so far; stays empty for what is not wanted.
    body: Vec<u8>,
    /// It has been refused, and only its END is looked for.
    is_refused: bool,
}

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";

impl PemScanner {
    /// Whether a block has begun and not ended.
    pub(super) fn is_open(&self) -> bool {
        self.block.is_some()
    }

    /// Takes the next line, or piece of a line.
    pub(super) fn line(&mut self, text: &[u8], number: u64, emit: &mut Emit<'_>) -> ControlFlow<()> {
        let mut rest = text;
        loop {
            rest = match &mut self.block {
                None => match begin_marker(rest) {
                    Some(begin) => {
                        self.block = Some(Block::new(begin.label, begin.before, number));
                        begin.after
                    }
                    None => return ControlFlow::Continue(()),
                },
                Some(block) => {
                    // Most lines of a block have no dash at all, and a single octet is found fastest.
                    let dash = memchr::memchr(b'-', rest);
                    let Some(dashes) = dash.and_then(|dash| Some(dash + memchr::memmem::find(&rest[dash..], DASHES)?))
                    else {
                        return block.push(rest, emit);
                    };
                    let (body, markers) = rest.split_at(dashes);
                    if let Some((label, after)) = marker_here(markers, END) {
                        block.push(body, emit)?;
                        if let Some(block) = self.block.take() {
                            block.finish(label, emit)?;
                        }
                        after
                    } else if marker_here(markers, BEGIN).is_some() {
                        self.abandon(emit)?;
                        rest
                    } else {
                        // Dashes of some other text are not base64: the block will be refused at its END.
                        let run = markers.iter().take_while(|octet| **octet == b'-').count();
                        // Five of them may belong to a marker behind a longer run.
                        let taken = dashes + (run - DASHES.len()).max(1);
                        block.push(&rest[..taken], emit)?;
                        &rest[taken..]
                    }
                }
            };
        }
    }

    /// Ends the text: a block that is still open has no END.
    pub(super) fn finish(mut self, emit: &mut Emit<'_>) -> ControlFlow<()> {
        self.abandon(emit)
    }

    fn abandon(&mut self, emit: &mut Emit<'_>) -> ControlFlow<()> {
        match self.block.take() {
            None => ControlFlow::Continue(()),
            Some(block) if block.is_refused => ControlFlow::Continue(()),
            Some(Block { line, content: Content::Unwanted(skipped), .. }) => emit(line, Object::Skipped(skipped)),
            Some(block) => {
                let reason = format!("{} that begins here has no END line", block.noun());
                emit(block.line, Object::Refused(reason))
            }
        }
    }
}

impl Block {
    fn new(label: &[u8], before: &[u8], line: u64) -> Self {
        Block {
            line,
            label: label.to_vec(),
            content: Content::of(label),
            prefix: before.trim_ascii().to_vec(),
            body: Vec::new(),
            is_refused: false,
        }
    }

    /// Appends a piece of the body, and refuses the block when no object can be as large.
    fn push(&mut self, text: &[u8], emit: &mut Emit<'_>) -> ControlFlow<()> {
        if self.is_refused || matches!(self.content, Content::Unwanted(_)) {
            return ControlFlow::Continue(());
        }
        let mut text = text.trim_ascii();
        if !self.prefix.is_empty() {
            text = text.strip_prefix(self.prefix.as_slice()).unwrap_or(text);
        }
        // RFC 1421 headers, which some old programs write: `Proc-Type: …`, before the base64.
        if self.body.is_empty() && memchr::memchr(b':', text).is_some() {
            return ControlFlow::Continue(());
        }
        base64_text::push_clean(&mut self.body, text);
        let limit = match self.content {
            Content::Certificate => MAX_CERTIFICATE_BYTES,
            _ => MAX_OBJECT_BYTES,
        };
        if self.body.len() / 4 * 3 <= limit {
            return ControlFlow::Continue(());
        }
        self.is_refused = true;
        self.body = Vec::new();
        let reason = format!("{} that begins here is larger than {} MiB", self.noun(), limit >> 20);
        emit(self.line, Object::Refused(reason))
    }

    fn finish(self, end_label: &[u8], emit: &mut Emit<'_>) -> ControlFlow<()> {
        if self.is_refused {
            return ControlFlow::Continue(());
        }
        if let Content::Unwanted(skipped) = self.content {
            return emit(self.line, Object::Skipped(skipped));
        }
        let refuse = |fault: &str| Object::Refused(format!("{} that begins here {fault}", self.noun()));
        if end_label != self.label {
            return emit(self.line, refuse("ends with the END line of something else"));
        }
        if self.body.is_empty() {
            return emit(self.line, refuse("is empty"));
        }
        let Some(der) = base64_text::decode(&self.body) else {
            return emit(self.line, refuse("is not valid base64"));
        };
        let line = self.line;
        let mut emit_here = |object| emit(line, object);
        match self.content {
            Content::Certificate => {
                // What OpenSSL appends to trusted certificates is not part of them.
                let is_trusted = self.label.starts_with(b"TRUSTED");
                binary::certificate_block(der, is_trusted, &mut emit_here)
            }
            _ => binary::objects(&der, &mut emit_here),
        }
    }

    fn noun(&self) -> &'static str {
        match self.content {
            Content::Certificate => "the certificate",
            Content::RevocationList => "the CRL",
            Content::Bundle => "the PKCS#7 block",
            Content::Unwanted(_) => "the block",
        }
    }
}

impl Content {
    fn of(label: &[u8]) -> Content {
        let contains = |part: &[u8]| memchr::memmem::find(label, part).is_some();
        match label {
            b"CERTIFICATE" | b"X509 CERTIFICATE" | b"TRUSTED CERTIFICATE" | b"X.509 CERTIFICATE" => {
                Content::Certificate
            }
            b"X509 CRL" | b"CRL" => Content::RevocationList,
            b"PKCS7" | b"CMS" | b"PKCS #7 SIGNED DATA" | b"CERTIFICATE CHAIN" => Content::Bundle,
            _ if contains(b"PRIVATE KEY") => Content::Unwanted(Skipped::PrivateKey),
            _ if contains(b"CERTIFICATE REQUEST") => Content::Unwanted(Skipped::CertificateRequest),
            _ if contains(b"PUBLIC KEY") => Content::Unwanted(Skipped::PublicKey),
            _ if label.ends_with(b"PARAMETERS") => Content::Unwanted(Skipped::Parameters),
            _ => Content::Unwanted(Skipped::Other),
        }
    }
}

/// A BEGIN marker and what surrounds it.
struct Marker<'a> {
    before: &'a [u8],
    label: &'a [u8],
    after: &'a [u8],
}

/// The first complete BEGIN marker.
fn begin_marker(text: &[u8]) -> Option<Marker<'_>> {
    let mut from = memchr::memchr(b'-', text)?;
    loop {
        let position = from + memchr::memmem::find(&text[from..], BEGIN)?;
        if let Some((label, after)) = marker_here(&text[position..], BEGIN) {
            return Some(Marker { before: &text[..position], label, after });
        }
        from = position + BEGIN.len();
    }
}

/// The label of a complete marker at the start of a text, and what follows the marker.
fn marker_here<'a>(text: &'a [u8], start: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    const LONGEST_LABEL: usize = 64;
    let rest = text.strip_prefix(start)?;
    let is_label = |octet: &u8| octet.is_ascii_alphanumeric() || matches!(octet, b' ' | b'.' | b'#' | b'/' | b'_');
    let length = rest.iter().take(LONGEST_LABEL + 1).take_while(|octet| is_label(octet)).count();
    let after = rest[length..].strip_prefix(DASHES)?;
    (length <= LONGEST_LABEL).then_some((rest[..length].trim_ascii(), after))
}
