//! The way to AWS: an identity in a region, and calls that it signs.

use std::fmt::{self, Display};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Request, Uri};
use zeroize::Zeroizing;

use super::Operation;
use super::http::{self, Answer, Failure, Limits};
use super::identity::{self, Identity, Source};
use super::json::Object;
use super::signature::{Keys, Scope, signed_headers};
use crate::error::{Error, Result};
use crate::random;

/// How long one request may take.
const LIMITS: Limits = Limits { connect: Duration::from_secs(2), answer: Duration::from_secs(3) };

/// How often a request is sent, when the failure may pass.
const ATTEMPTS: u32 = 3;

/// Pause before the second attempt, doubled for the third.
const PAUSE: Duration = Duration::from_millis(200);

/// AWS accepts signatures of clocks that are off by five minutes.
const SKEW: Duration = Duration::from_secs(240);

/// Who asks AWS, and where. Nothing is looked for before the first question.
#[derive(Default)]
pub(super) struct Account {
    source: Source,
    region: Option<String>,
    endpoint: Option<String>,
    identity: Identity,
    found_region: tokio::sync::OnceCell<String>,
}

impl Account {
    pub(super) fn region(mut self, region: String) -> Self {
        self.region = Some(region);
        self
    }

    pub(super) fn profile(mut self, profile: String) -> Self {
        self.source.profile = Some(profile);
        self
    }

    pub(super) fn role(mut self, role: String) -> Self {
        self.source.role = Some(role);
        self
    }

    pub(super) fn endpoint(mut self, url: String) -> Self {
        self.endpoint = Some(url);
        self
    }

    #[cfg(test)]
    pub(super) fn with_keys(mut self, keys: Keys) -> Self {
        self.identity = Identity::of(keys);
        self
    }

    /// What signs.
    pub(super) async fn keys(&self, who: &(dyn Display + Sync)) -> Result<Arc<Keys>> {
        let region = self.region_name(who).await?;
        self.identity.keys(who, &self.source, region).await
    }

    /// The region, looked for once.
    pub(super) async fn region_name(&self, who: &(dyn Display + Sync)) -> Result<&str> {
        if let Some(region) = &self.region {
            return checked_region(who, region);
        }
        let found = self.found_region.get_or_try_init(|| async {
            identity::region(self.source.profile.as_deref()).await.ok_or_else(|| {
                Error::credential(
                    who,
                    "no region: name it in the settings or in AWS_REGION; AWS_DEFAULT_REGION, the profile and EC2 metadata \
                     do not name one either",
                )
            })
        });
        checked_region(who, found.await?)
    }

    /// What the server that was logged in to thinks of the keys may be right.
    pub(super) fn forget(&self) {
        self.identity.forget();
    }

    /// Calls an operation with a JSON body and answers with AWS's JSON. What may pass is tried three times, 15 s at most.
    ///
    /// # Errors
    ///
    /// [`Credential`](Error::Credential), passing when AWS is out of reach, slow, throttles or fails, and when this
    /// machine's clock is wrong.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the connection is closed.
    pub(super) async fn call(
        &self,
        who: &(dyn Display + Sync),
        operation: &Operation,
        body: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>> {
        let region = self.region_name(who).await?;
        let endpoint = self.endpoint_of(who, operation, region)?;
        let mut renewed = false;
        let mut attempt = 0;
        loop {
            let keys = self.keys(who).await?;
            let request = signed_request(&keys, operation, region, &endpoint, body)
                .map_err(|error| Error::credential(who, "the request could not be made").caused_by(error))?;
            let problem = match http::send(request, LIMITS).await {
                Ok(answer) if answer.status == 200 => return Ok(answer.body),
                Ok(answer) => Problem::of(&answer),
                Err(failure) => Problem::NoAnswer(failure),
            };
            attempt += 1;
            if problem.is_of_identity() && !renewed {
                renewed = true;
                self.forget();
            } else if !problem.is_worth_repeating() || attempt >= ATTEMPTS {
                return Err(problem.into_error(who, operation, region, &endpoint));
            } else {
                let pause = PAUSE * 2_u32.pow(attempt - 1);
                tokio::time::sleep(pause - random::up_to(pause / 2)).await;
            }
        }
    }

    fn endpoint_of(&self, who: &(dyn Display + Sync), operation: &Operation, region: &str) -> Result<Uri> {
        let given = self.endpoint.clone().or_else(|| endpoint_variable(operation.variable));
        let Some(given) = given else {
            let host = format!("{}{}.{region}.{}", operation.service, fips(), suffix(region));
            return format!("https://{host}/").parse().map_err(|error: hyper::http::uri::InvalidUri| {
                Error::credential(who, format!("region {region:?} makes no host's name")).caused_by(error)
            });
        };
        let refused = |reason: &str| Error::credential(who, format!("the endpoint's URL {reason}"));
        // A URL may hold a password, so it is not shown.
        let uri: Uri = given.parse().map_err(|error: hyper::http::uri::InvalidUri| {
            refused("cannot be read; expected https://HOST:PORT").caused_by(error)
        })?;
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let is_loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        match uri.scheme_str() {
            Some("https") => {}
            Some("http") if is_loopback => {}
            Some("http") => {
                return Err(refused("is http:// and not on this machine: the secret would travel in the open"));
            }
            _ => return Err(refused("has no scheme; expected https://HOST:PORT")),
        }
        if uri.path() != "/" || uri.query().is_some() || uri.authority().is_some_and(|all| all.as_str().contains('@')) {
            return Err(refused("has more than a host and a port; expected https://HOST:PORT"));
        }
        Ok(uri)
    }
}

/// A region goes into a host's name.
fn checked_region<'a>(who: &(dyn Display + Sync), region: &'a str) -> Result<&'a str> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !region.is_empty() && region.bytes().all(is_plain) {
        return Ok(region);
    }
    Err(Error::credential(who, format!("region {region:?} is none; expected one such as eu-central-1")))
}

/// What the SDKs' variables name as a service's URL.
pub(super) fn endpoint_variable(service: &str) -> Option<String> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if variable("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return None;
    }
    variable(&format!("AWS_ENDPOINT_URL_{service}")).or_else(|| variable("AWS_ENDPOINT_URL"))
}

fn fips() -> &'static str {
    let wanted = std::env::var("AWS_USE_FIPS_ENDPOINT").is_ok_and(|value| value.eq_ignore_ascii_case("true"));
    if wanted { "-fips" } else { "" }
}

/// The domain of a region's partition.
fn suffix(region: &str) -> &'static str {
    match region.split('-').next() {
        Some("cn") => "amazonaws.com.cn",
        Some("eusc") => "amazonaws.eu",
        _ if region.starts_with("us-iso-") => "c2s.ic.gov",
        _ if region.starts_with("us-isob-") => "sc2s.sgov.gov",
        _ if region.starts_with("us-isof-") => "csp.hci.ic.gov",
        _ if region.starts_with("eu-isoe-") => "cloud.adc-e.uk",
        _ => "amazonaws.com",
    }
}

fn signed_request(
    keys: &Keys,
    operation: &Operation,
    region: &str,
    endpoint: &Uri,
    body: &[u8],
) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
    let scope = Scope { region, service: operation.service, time: SystemTime::now() };
    let host = endpoint.authority().map_or("", |authority| authority.as_str());
    let headers = [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", operation.target)];
    let mut request = Request::post(endpoint);
    for (name, value) in signed_headers(keys, scope, host, &headers, body) {
        let mut value = hyper::header::HeaderValue::from_str(&value)?;
        value.set_sensitive(true);
        request = request.header(name, value);
    }
    request.body(Full::new(Bytes::copy_from_slice(body)))
}

/// Why an operation gave nothing.
enum Problem {
    NoAnswer(Failure),
    Refused { refusal: Refusal, ahead: Option<Skew> },
}

/// What AWS said instead.
#[derive(Debug)]
struct Refusal {
    status: u16,
    /// Such as `ResourceNotFoundException`.
    code: String,
    message: String,
}

/// How far this machine's clock is from that of AWS.
struct Skew {
    by: Duration,
    is_ahead: bool,
}

impl Problem {
    fn of(answer: &Answer) -> Self {
        let object = Object::parse(&answer.body).ok();
        let text = |name: &str| object.as_ref().and_then(|object| object.text(name)).unwrap_or_default();
        // `prefix#Code`, or `Code:url`.
        let code = text("__type").rsplit('#').next().unwrap_or_default().split(':').next().unwrap_or_default();
        let message = Some(text("message")).filter(|message| !message.is_empty()).unwrap_or(text("Message"));
        // In what it says of a wrong signature AWS repeats the request, with the session token in it.
        let message = if is_of_signature(code) { "" } else { message };
        let message = message.chars().map(|found| if found.is_control() { ' ' } else { found }).take(300).collect();
        let now = SystemTime::now();
        let ahead = answer.date.and_then(|date| match now.duration_since(date) {
            Ok(by) => (by > SKEW).then_some(Skew { by, is_ahead: true }),
            Err(error) => (error.duration() > SKEW).then_some(Skew { by: error.duration(), is_ahead: false }),
        });
        Problem::Refused { refusal: Refusal { status: answer.status, code: code.to_owned(), message }, ahead }
    }

    /// The keys are not, or no longer, known to AWS.
    fn is_of_identity(&self) -> bool {
        let Problem::Refused { refusal, ahead: None } = self else { return false };
        matches!(
            refusal.code.as_str(),
            "UnrecognizedClientException" | "InvalidClientTokenId" | "ExpiredTokenException" | "ExpiredToken"
        )
    }

    fn is_worth_repeating(&self) -> bool {
        match self {
            Problem::NoAnswer(_) => true,
            Problem::Refused { refusal, .. } => refusal.is_of_load() || refusal.status >= 500,
        }
    }

    fn into_error(self, who: &(dyn Display + Sync), operation: &Operation, region: &str, endpoint: &Uri) -> Error {
        let failed = |reason: String| Error::credential(who, reason);
        let (refusal, ahead) = match self {
            Problem::NoAnswer(failure) => {
                let host = endpoint.host().unwrap_or_default();
                let error = failed(format!("{host} {failure}")).passing();
                return match failure {
                    Failure::Connect(cause) => error.caused_by(cause),
                    Failure::Exchange(cause) => error.caused_by(io::Error::other(cause)),
                    Failure::TimedOut(..) | Failure::TooLong => error,
                };
            }
            Problem::Refused { refusal, ahead } => (refusal, ahead),
        };
        let is_of_clock = is_of_signature(&refusal.code) || is_of_time(&refusal.code);
        let error = match (refusal.code.as_str(), ahead) {
            (_, Some(Skew { by, is_ahead })) if is_of_clock => {
                let (minutes, where_) = (by.as_secs().div_ceil(60), if is_ahead { "ahead of" } else { "behind" });
                failed(format!("this machine's clock is {minutes} min {where_} that of AWS; set it (NTP)")).passing()
            }
            (code, _) if is_of_time(code) => {
                failed("AWS finds the request's time wrong: look at this machine's clock".to_owned()).passing()
            }
            (code, _) if is_of_signature(code) => {
                failed("AWS does not accept the signature: the secret access key is wrong".to_owned())
            }
            ("ResourceNotFoundException" | "NotFoundException", _) => {
                failed(format!("there is none in region {region}; look at name and region"))
            }
            ("InvalidRequestException", _) => failed("it was deleted, or has no current version".to_owned()),
            ("AccessDeniedException" | "AccessDenied", _) => {
                failed(format!("the AWS identity may not do this; its policy must allow {}", operation.permission))
            }
            ("InvalidCiphertextException", _) => {
                failed("what is to be decrypted, or its encryption context, is not what was encrypted".to_owned())
            }
            _ if refusal.is_of_load() => failed("AWS throttles the requests".to_owned()).passing(),
            _ if refusal.status >= 500 => failed("AWS failed".to_owned()).passing(),
            _ if matches!(refusal.code.as_str(), "ExpiredTokenException" | "ExpiredToken") => {
                failed("the AWS identity has ended; renew it".to_owned())
            }
            ("UnrecognizedClientException" | "InvalidClientTokenId", _) => {
                failed("AWS does not know the access key's id".to_owned())
            }
            _ => failed("AWS refused".to_owned()),
        };
        error.caused_by(refusal)
    }
}

impl Refusal {
    fn is_of_load(&self) -> bool {
        let is_named = ["Throttl", "TooManyRequests", "RequestLimitExceeded", "SlowDown"];
        self.status == 429 || is_named.iter().any(|name| self.code.contains(name))
    }
}

fn is_of_signature(code: &str) -> bool {
    matches!(code, "SignatureDoesNotMatch" | "InvalidSignatureException" | "IncompleteSignatureException")
        || code == "IncompleteSignature"
}

fn is_of_time(code: &str) -> bool {
    matches!(code, "RequestExpired" | "RequestTimeTooSkewed" | "RequestInTheFuture")
}

impl Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = if self.code.is_empty() { "no JSON" } else { &self.code };
        write!(f, "AWS answered {} ({code})", self.status)?;
        if self.message.is_empty() { Ok(()) } else { write!(f, ": {}", self.message) }
    }
}

impl std::error::Error for Refusal {}
