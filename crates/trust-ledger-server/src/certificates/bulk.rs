//! Registering a stream of certificates: a line in, a line out, in chunks that are read, checked and committed at once.
//!
//! One task reads lines and makes chunks of them; each chunk is taken apart and registered by a task of its own, a few at a
//! time; another one answers them in their order. Between them are channels of bounded length, so memory is bounded too. When
//! the client goes away, the answers have no taker any more, and all of them end; chunks that are under way are committed or
//! not, each as a whole.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, Bytes, BytesMut};
use futures_util::stream;
use http_body_util::BodyExt;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::Instrument;
use trust_ledger_registry::{Annotations, Category, Certificate, Registration, Registry};
use utoipa::ToSchema;
use uuid::Uuid;

use super::register::only_certificate;
use crate::body::broken_off;
use crate::problem::{Kind, Problem};
use crate::service::Service;

/// Lines of a chunk at most: registered in one transaction.
const TOGETHER: usize = 3_000;

/// Bytes of a chunk at most.
const TOGETHER_BYTES: usize = 16 << 20;

/// How long a chunk that is not full waits for further lines.
const LINGER: Duration = Duration::from_millis(20);

/// Chunks that wait to be answered, and are under way meanwhile.
const UNDER_WAY: usize = 2;

/// A line of the body: a certificate, and what is said about it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Line {
    /// The certificate as PEM; this or `der`.
    pem: Option<String>,
    /// The certificate as DER in base64; this or `pem`.
    der: Option<String>,
    /// Where it comes from.
    source: Option<String>,
    /// Who answers for it.
    owner: Option<String>,
    /// Tags.
    tags: Option<Vec<String>>,
    /// What it is used for.
    category: Option<Category>,
    /// Free text.
    note: Option<String>,
}

/// A line of the answer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Answer {
    /// The number of the line it answers, from 1; empty lines count and are not answered.
    line: u64,
    /// 201 new, 200 known; else what is wrong with the line, or what failed here.
    status: u16,
    /// The certificate's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Uuid>,
    /// SHA-256 of its DER, in hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    fingerprint_sha256: Option<String>,
    /// What is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

impl Answer {
    fn refused(line: u64, problem: &Problem) -> Answer {
        let detail = Some(problem.document().detail);
        Answer { line, status: problem.status().as_u16(), id: None, fingerprint_sha256: None, detail }
    }

    fn registered(line: u64, fingerprint: String, registration: Registration) -> Answer {
        let status = if matches!(registration, Registration::Registered(_)) { 201 } else { 200 };
        Answer { line, status, id: Some(registration.id()), fingerprint_sha256: Some(fingerprint), detail: None }
    }
}

/// Lines with their numbers.
type Chunk = Vec<(u64, Bytes)>;

/// The answers' body. `most` is the limit of a line in bytes.
///
/// The token is looked at again before each chunk: a stream may last for long, and is not to outlive it.
pub(super) fn register(
    service: Service,
    registry: Registry,
    annotations: Annotations,
    request: Request,
    most: usize,
) -> Body {
    let (head, body) = request.into_parts();
    let token = head.headers.get(AUTHORIZATION).map(|token| (AUTHORIZATION, token.clone()));
    let token: HeaderMap = token.into_iter().collect();
    let may_go_on = async move || service.tokens.authenticate(&token).await.map(drop);
    let (send_work, mut work) = mpsc::channel::<JoinHandle<Bytes>>(UNDER_WAY);
    let (send_answers, answers) = mpsc::channel::<Bytes>(UNDER_WAY);
    let span = tracing::Span::current();
    let register = {
        let span = span.clone();
        let annotations = Arc::new(annotations);
        move |chunk| tokio::spawn(register_chunk(registry.clone(), annotations.clone(), chunk).instrument(span.clone()))
    };
    tokio::spawn(read(body, most, send_work, may_go_on, register).instrument(span));
    tokio::spawn(async move {
        while let Some(under_way) = work.recv().await {
            // A chunk that panicked ends the answer in the middle: its lines are neither done nor refused.
            let Ok(answered) = under_way.await else { return };
            if send_answers.send(answered).await.is_err() {
                return;
            }
        }
    });
    Body::from_stream(stream::unfold(answers, async |mut answers| {
        let answered = answers.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(answered), answers))
    }))
}

/// Reads lines to the end, or to what cannot be read, and gives chunks of them away.
async fn read(
    body: Body,
    most: usize,
    work: mpsc::Sender<JoinHandle<Bytes>>,
    may_go_on: impl AsyncFn() -> Result<(), Problem>,
    register: impl Fn(Chunk) -> JoinHandle<Bytes>,
) {
    let mut lines = Lines { body, most, buffer: BytesMut::new(), searched: 0, number: 0, at_end: false };
    loop {
        let mut chunk = Chunk::new();
        let (mut size, mut end) = (0, None);
        while chunk.len() < TOGETHER && size < TOGETHER_BYTES {
            let next = if chunk.is_empty() {
                lines.next().await
            } else {
                match tokio::time::timeout(LINGER, lines.next()).await {
                    Ok(next) => next,
                    Err(_) => break,
                }
            };
            match next {
                Ok(Some((number, line))) => {
                    size += line.len();
                    chunk.push((number, line));
                }
                Ok(None) => {
                    end = Some(None);
                    break;
                }
                Err(problem) => {
                    end = Some(Some(Answer::refused(lines.number + 1, &problem)));
                    break;
                }
            }
        }
        if let Some((line, _)) = chunk.first()
            && let Err(problem) = may_go_on().await
        {
            let refused = written(&[Answer::refused(*line, &problem)]);
            let _ = work.send(tokio::spawn(async { refused })).await;
            return;
        }
        if !chunk.is_empty() && work.send(register(chunk)).await.is_err() {
            return;
        }
        if let Some(last) = end {
            if let Some(last) = last {
                let last = written(&[last]);
                let _ = work.send(tokio::spawn(async { last })).await;
            }
            return;
        }
    }
}

/// Lines as they come.
struct Lines {
    body: Body,
    most: usize,
    buffer: BytesMut,
    /// So many bytes of the buffer hold no line's end.
    searched: usize,
    /// Lines given out, empty ones included.
    number: u64,
    at_end: bool,
}

impl Lines {
    /// The next line that is not empty, with its number. Cancel safe: what was read stays in the buffer.
    async fn next(&mut self) -> Result<Option<(u64, Bytes)>, Problem> {
        loop {
            let end = memchr::memchr(b'\n', &self.buffer[self.searched..]).map(|end| self.searched + end);
            if end.unwrap_or(self.buffer.len()) > self.most {
                let detail = format!("the line is longer than {} bytes; nothing behind it was read", self.most);
                return Err(Problem::new(Kind::TooLarge, detail));
            }
            if let Some(end) = end {
                let line = self.buffer.split_to(end).freeze();
                self.buffer.advance(1);
                if let Some(line) = self.taken(line) {
                    return Ok(Some(line));
                }
                continue;
            }
            self.searched = self.buffer.len();
            if self.at_end {
                let line = self.buffer.split().freeze();
                return Ok(self.taken(line));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => return Err(broken_off(&error)),
                None => self.at_end = true,
            }
        }
    }

    fn taken(&mut self, line: Bytes) -> Option<(u64, Bytes)> {
        self.searched = 0;
        if line.is_empty() && self.at_end && self.buffer.is_empty() {
            return None;
        }
        self.number += 1;
        let is_blank = line.iter().all(u8::is_ascii_whitespace);
        (!is_blank).then_some((self.number, line))
    }
}

/// Registers a chunk; its answers, written.
async fn register_chunk(registry: Registry, annotations: Arc<Annotations>, chunk: Chunk) -> Bytes {
    let numbers: Vec<u64> = chunk.iter().map(|(number, _)| *number).collect();
    let parse = move || {
        let parsed = chunk.into_iter().map(|(number, line)| (number, parse(&line, &annotations)));
        parsed.collect::<Vec<_>>()
    };
    let parsed = match tokio::task::spawn_blocking(parse).await {
        Ok(parsed) => parsed,
        Err(error) => {
            let problem = Problem::internal(&error);
            return written(&numbers.iter().map(|line| Answer::refused(*line, &problem)).collect::<Vec<_>>());
        }
    };
    let mut answers = Vec::with_capacity(parsed.len());
    // Those that follow each other with the same annotations are registered together.
    let mut together: (Vec<u64>, Vec<Certificate>, Annotations) = Default::default();
    for (number, parsed) in parsed {
        match parsed {
            Ok((certificate, said)) => {
                if said != together.2 {
                    let ended = std::mem::replace(&mut together, (Vec::new(), Vec::new(), said));
                    register_together(&registry, ended, &mut answers).await;
                }
                together.0.push(number);
                together.1.push(certificate);
            }
            Err(problem) => answers.push(Answer::refused(number, &problem)),
        }
    }
    register_together(&registry, together, &mut answers).await;
    answers.sort_unstable_by_key(|answer| answer.line);
    written(&answers)
}

async fn register_together(
    registry: &Registry,
    (numbers, certificates, annotations): (Vec<u64>, Vec<Certificate>, Annotations),
    answers: &mut Vec<Answer>,
) {
    if certificates.is_empty() {
        return;
    }
    let fingerprints: Vec<String> = certificates.iter().map(Certificate::fingerprint_hex).collect();
    match registry.register_many(certificates, &annotations).await {
        Ok(registrations) => {
            let registered = numbers.into_iter().zip(fingerprints).zip(registrations);
            answers.extend(registered.map(|((line, print), done)| Answer::registered(line, print, done)));
        }
        Err(error) => {
            let problem = Problem::from(error);
            answers.extend(numbers.into_iter().map(|line| Answer::refused(line, &problem)));
        }
    }
}

fn parse(line: &[u8], usual: &Annotations) -> Result<(Certificate, Annotations), Problem> {
    // serde would take a list for an object without names.
    if line.trim_ascii_start().first() != Some(&b'{') {
        return Err(Problem::malformed("a line is a JSON object"));
    }
    let line: Line = serde_json::from_slice(line).map_err(|error| {
        let kind = if error.is_data() { Kind::Unprocessable } else { Kind::Malformed };
        // The line's number is the answer's; serde's is always 1.
        Problem::new(kind, error.to_string().replace(" at line 1 column", " at column"))
    })?;
    let certificate = match (&line.pem, &line.der) {
        (Some(pem), None) => only_certificate(pem.as_bytes())?,
        (None, Some(der)) => {
            let der = STANDARD.decode(der).map_err(|error| Problem::unprocessable(format!("der: {error}")))?;
            Certificate::from_der(&der).map_err(|error| Problem::unprocessable(error.to_string()))?
        }
        _ => return Err(Problem::unprocessable("a line has either pem or der")),
    };
    let usual = usual.clone();
    let annotations = Annotations {
        source: line.source.or(usual.source),
        owner: line.owner.or(usual.owner),
        tags: line.tags.unwrap_or(usual.tags),
        category: line.category.or(usual.category),
        note: line.note.or(usual.note),
        files: None,
    };
    Ok((certificate, annotations))
}

fn written(answers: &[Answer]) -> Bytes {
    let mut text = Vec::with_capacity(answers.len() * 160);
    for answer in answers {
        // A struct of texts and numbers always has a JSON form, and memory takes all of it.
        let _ = serde_json::to_writer(&mut text, answer);
        text.push(b'\n');
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines(pieces: &[&'static str], most: usize) -> (Vec<(u64, String)>, Option<u16>) {
        let pieces: Vec<_> =
            pieces.iter().map(|piece| Ok::<_, std::io::Error>(Bytes::from_static(piece.as_bytes()))).collect();
        let body = Body::from_stream(stream::iter(pieces));
        let mut lines = Lines { body, most, buffer: BytesMut::new(), searched: 0, number: 0, at_end: false };
        let mut found = Vec::new();
        loop {
            match lines.next().await {
                Ok(Some((number, line))) => found.push((number, String::from_utf8_lossy(&line).into_owned())),
                Ok(None) => return (found, None),
                Err(problem) => return (found, Some(problem.status().as_u16())),
            }
        }
    }

    #[tokio::test]
    async fn lines_are_found_however_they_are_cut_and_empty_ones_only_count() {
        let found =
            |expected: &[(u64, &str)]| expected.iter().map(|(n, text)| (*n, (*text).to_owned())).collect::<Vec<_>>();
        for pieces in [&["a\n\nb\r\n  \nc"][..], &["a", "\n", "\nb\r", "\n  \n", "c"], &["a\n\nb\r\n  \nc\n"]] {
            assert_eq!(lines(pieces, 10).await, (found(&[(1, "a"), (3, "b\r"), (5, "c")]), None), "{pieces:?}");
        }
        assert_eq!(lines(&[""], 10).await, (Vec::new(), None));
        assert_eq!(lines(&["\n\n"], 10).await, (Vec::new(), None));
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_ends_the_reading() {
        assert_eq!(lines(&["ok\n", "12345678901", "\nlater"], 10).await, (vec![(1, "ok".to_owned())], Some(413)));
    }
}
