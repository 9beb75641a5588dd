//! Who we are to AWS: the providers of the SDK's default chain in its order, one after another.
//!
//! The SDK's own chain says of a failure only that there was one. This one says what each provider missed, gives each a time
//! limit, and keeps what was found until it ends.

use std::fmt::Display;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_config::ecs::EcsCredentialsProvider;
use aws_config::environment::{EnvironmentVariableCredentialsProvider, EnvironmentVariableRegionProvider};
use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_config::imds::region::ImdsRegionProvider;
use aws_config::meta::region::ProvideRegion;
use aws_config::profile::{ProfileFileCredentialsProvider, ProfileFileRegionProvider};
use aws_config::provider_config::ProviderConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::web_identity_token::WebIdentityTokenCredentialsProvider;
use aws_config::{BehaviorVersion, Region, SdkConfig, imds};
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_async::time::SystemTimeSource;
use tracing::instrument::WithSubscriber;
use tracing::subscriber::NoSubscriber;
use zeroize::Zeroizing;

use super::http;
use super::signature::Keys;
use crate::error::{Error, Result};

/// The longest that the container's service and EC2's metadata service, which are on this machine, may take.
const NEAR: Duration = Duration::from_secs(2);

/// The longest that a profile or a web identity may take: they may start a program, or ask STS.
const FAR: Duration = Duration::from_secs(10);

/// Keys are renewed this long before they end, and used no longer than `UNUSABLE` before.
const RENEWED: Duration = Duration::from_secs(300);
const UNUSABLE: Duration = Duration::from_secs(10);

/// Where an identity comes from.
#[derive(Clone, Default)]
pub(super) struct Source {
    /// The one profile to use. Without it, everything is asked.
    pub(super) profile: Option<String>,
    /// A role that is taken on.
    pub(super) role: Option<String>,
}

/// The keys that were found, until they end.
#[derive(Default)]
pub(super) struct Identity {
    kept: Mutex<Option<Kept>>,
    /// Locked while keys are looked for. What it holds is why that failed the last time, if it did.
    looking: tokio::sync::Mutex<Option<Error>>,
    /// How many times they have been looked for.
    rounds: AtomicU64,
}

#[derive(Clone)]
struct Kept {
    keys: Arc<Keys>,
    renew_at: Option<SystemTime>,
}

impl Identity {
    #[cfg(test)]
    pub(super) fn of(keys: Keys) -> Self {
        let identity = Identity::default();
        identity.keep(Kept { keys: Arc::new(keys), renew_at: None });
        identity
    }

    /// The keys, looked for when there are none or their end is near. Who asks meanwhile gets the old ones while they hold,
    /// or waits for that search.
    ///
    /// # Errors
    ///
    /// What each provider missed. It may pass when keys have been found before, or when a service that had to be asked
    /// failed.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the next one who asks begins anew.
    pub(super) async fn keys(&self, who: &(dyn Display + Sync), source: &Source, region: &str) -> Result<Arc<Keys>> {
        let round = self.rounds.load(Ordering::Acquire);
        let usable = match self.kept(SystemTime::now()) {
            Some(kept) if kept.is_fresh => return Ok(kept.keys),
            usable => usable,
        };
        let mut failure = match (&usable, self.looking.try_lock()) {
            (_, Ok(looking)) => looking,
            (Some(usable), Err(_)) => return Ok(Arc::clone(&usable.keys)),
            (None, Err(_)) => self.looking.lock().await,
        };
        if self.rounds.load(Ordering::Acquire) != round {
            if let Some(kept) = self.kept(SystemTime::now()) {
                return Ok(kept.keys);
            }
            if let Some(failure) = &*failure {
                return Err(failure.clone());
            }
        }
        let found = find(who, source, region).await;
        self.rounds.fetch_add(1, Ordering::Release);
        match (found, usable) {
            (Ok(keys), _) => {
                *failure = None;
                let keys = Arc::new(keys);
                self.keep(Kept { keys: Arc::clone(&keys), renew_at: keys.end.map(renewal) });
                Ok(keys)
            }
            (Err(error), Some(usable)) => {
                let error = &error as &(dyn std::error::Error + 'static);
                tracing::warn!(error, "the AWS identity could not be renewed; it serves until it ends");
                let again = usable.keys.end.map(renewal);
                self.keep(Kept { keys: Arc::clone(&usable.keys), renew_at: again });
                Ok(usable.keys)
            }
            (Err(error), None) => {
                let had_one = self.kept.lock().unwrap_or_else(PoisonError::into_inner).is_some();
                let error = if had_one { error.passing() } else { error };
                *failure = Some(error.clone());
                Err(error)
            }
        }
    }

    /// AWS, or the server that was logged in to, does not accept these keys: files and variables may have new ones.
    pub(super) fn forget(&self) {
        if let Some(kept) = &mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner) {
            kept.renew_at = Some(SystemTime::UNIX_EPOCH);
        }
    }

    fn keep(&self, kept: Kept) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
    }

    fn kept(&self, now: SystemTime) -> Option<Usable> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = kept.as_ref().filter(|kept| kept.keys.end.is_none_or(|end| now + UNUSABLE < end))?;
        Some(Usable { is_fresh: kept.renew_at.is_none_or(|at| now < at), keys: Arc::clone(&kept.keys) })
    }
}

struct Usable {
    keys: Arc<Keys>,
    is_fresh: bool,
}

/// When keys that end at `end` are renewed: some minutes before, and with less than that left after half of it, so that a
/// source which still gives the same ones is not asked all the time.
fn renewal(end: SystemTime) -> SystemTime {
    let left = end.duration_since(SystemTime::now()).unwrap_or_default();
    end - RENEWED.min(left / 2)
}

/// Asks one provider after another.
async fn find(who: &(dyn Display + Sync), source: &Source, region: &str) -> Result<Keys> {
    let region = Region::new(region.to_owned());
    let config = config().with_region(Some(region.clone()));
    let Some(role) = &source.role else { return find_own(who, source, &config).await };
    let own = find_own(who, source, &config).await?;
    let end = own.end;
    let text = |text: &Zeroizing<String>| text.to_string();
    let own = Credentials::new(&own.id, text(&own.secret), own.session_token.as_ref().map(text), end, "strongroom");
    let sdk = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(http::Client)
        .sleep_impl(TokioSleep::new())
        .time_source(SystemTimeSource::new())
        .region(region.clone());
    let sdk = match super::account::endpoint_variable("STS") {
        Some(url) => sdk.endpoint_url(url),
        None => sdk,
    };
    let taken = AssumeRoleProvider::builder(role).configure(&sdk.build()).region(region).session_name("strongroom");
    let taken = taken.build_from_provider(own).await;
    match tokio::time::timeout(FAR, quietly(taken.provide_credentials())).await {
        Ok(Ok(credentials)) => Ok(keys(&credentials)),
        Ok(Err(error)) => {
            Err(failed(who, &error, format!("the identity could not take on role {role} (sts:AssumeRole)")))
        }
        Err(_) => {
            Err(Error::credential(who, format!("STS did not answer within {} s for role {role}", FAR.as_secs()))
                .passing())
        }
    }
}

async fn find_own(who: &(dyn Display + Sync), source: &Source, config: &ProviderConfig) -> Result<Keys> {
    let mut profile = ProfileFileCredentialsProvider::builder().configure(config);
    if let Some(name) = &source.profile {
        profile = profile.profile_name(name);
    }
    let profile = profile.build();
    if let Some(name) = &source.profile {
        let outcome = tokio::time::timeout(FAR, quietly(profile.provide_credentials())).await;
        return match outcome {
            Ok(Ok(credentials)) => Ok(keys(&credentials)),
            Ok(Err(error)) => Err(failed(who, &error, format!("profile {name} gives no AWS identity{}", why(&error)))),
            Err(_) => {
                let reason = format!("profile {name} gave no AWS identity within {} s", FAR.as_secs());
                Err(Error::credential(who, reason).passing())
            }
        };
    }
    let environment = EnvironmentVariableCredentialsProvider::new();
    let web_identity = WebIdentityTokenCredentialsProvider::builder().configure(config).build();
    let container = EcsCredentialsProvider::builder().configure(config).build();
    let instance = ImdsCredentialsProvider::builder().configure(config).imds_client(metadata(config)).build();
    let chain: [(&str, Duration, &dyn ProvideCredentials); 5] = [
        ("environment", FAR, &environment),
        ("profile", FAR, &profile),
        ("web identity", FAR, &web_identity),
        ("container", NEAR, &container),
        ("EC2 metadata", NEAR, &instance),
    ];
    let mut tried = String::new();
    for (name, limit, provider) in chain {
        if name == "container" {
            check_container_token(who)?;
        }
        let missed = match tokio::time::timeout(limit, quietly(provider.provide_credentials())).await {
            Ok(Ok(credentials)) => {
                tracing::debug!(identity = name, "AWS identity found");
                return Ok(keys(&credentials));
            }
            Ok(Err(error @ CredentialsError::CredentialsNotLoaded(_))) => why(&error),
            Ok(Err(error)) => {
                let reason = format!("the AWS identity of source `{name}` cannot be had{}", why(&error));
                return Err(failed(who, &error, reason));
            }
            Err(_) if name == "EC2 metadata" => format!(": no answer within {} s", limit.as_secs()),
            Err(_) => {
                let reason = format!(
                    "the AWS identity of source `{name}` cannot be had: no answer within {} s",
                    limit.as_secs()
                );
                return Err(Error::credential(who, reason).passing());
            }
        };
        tried.push_str(if tried.is_empty() { "" } else { "; " });
        tried.push_str(name);
        tried.push_str(&missed);
    }
    Err(Error::credential(who, format!("there is no AWS identity; tried in this order: {tried}")))
}

/// Where the region comes from when the settings name none, in the SDK's order; `None` when nothing names it.
pub(super) async fn region(profile: Option<&str>) -> Option<String> {
    let config = config();
    let mut of_profile = ProfileFileRegionProvider::builder().configure(&config);
    if let Some(name) = profile {
        of_profile = of_profile.profile_name(name);
    }
    let (environment, of_profile) = (EnvironmentVariableRegionProvider::new(), of_profile.build());
    let instance = ImdsRegionProvider::builder().configure(&config).imds_client(metadata(&config)).build();
    let chain: [&dyn ProvideRegion; 3] = [&environment, &of_profile, &instance];
    for provider in chain {
        if let Ok(Some(region)) = tokio::time::timeout(NEAR, quietly(provider.region())).await {
            return Some(region.to_string());
        }
    }
    None
}

fn config() -> ProviderConfig {
    ProviderConfig::without_region().with_http_client(http::Client).with_sleep_impl(TokioSleep::new())
}

/// EC2's metadata service, asked twice at most.
fn metadata(config: &ProviderConfig) -> imds::Client {
    let second = Duration::from_secs(1);
    imds::Client::builder().configure(config).max_attempts(2).connect_timeout(second).read_timeout(second).build()
}

/// The SDK shows a token that it cannot send, in its log and its error; so it does not get one.
fn check_container_token(who: &(dyn Display + Sync)) -> Result<()> {
    let is_bad = |token: &[u8]| hyper::header::HeaderValue::from_bytes(token).is_err();
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    if variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI").or(variable("AWS_CONTAINER_CREDENTIALS_FULL_URI")).is_none() {
        return Ok(());
    }
    let name = "AWS_CONTAINER_AUTHORIZATION_TOKEN";
    let token = match variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") {
        Some(file) => std::fs::read(file).map(Zeroizing::new).unwrap_or_default(),
        None => Zeroizing::new(variable(name).unwrap_or_default().into_encoded_bytes()),
    };
    if !is_bad(&token) {
        return Ok(());
    }
    let reason = format!(
        "the AWS identity of source `container` cannot be had: {name}, or what its _FILE holds, has a \
         character that no header may have, such as a newline"
    );
    Err(Error::credential(who, reason))
}

/// Keeps the SDK from logging: at TRACE it shows requests whole, with the tokens in them.
fn quietly<F: Future>(work: F) -> impl Future<Output = F::Output> {
    work.with_subscriber(NoSubscriber::default())
}

/// Why a provider has nothing: `: ` and the words of its error's innermost cause.
fn why(error: &CredentialsError) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    format!(": {innermost}")
}

fn failed(who: &(dyn Display + Sync), error: &CredentialsError, reason: String) -> Error {
    let failed = Error::credential(who, reason);
    match error {
        CredentialsError::ProviderTimedOut(_) | CredentialsError::ProviderError(_) => failed.passing(),
        _ => failed,
    }
}

fn keys(credentials: &Credentials) -> Keys {
    let secret = |text: &str| Zeroizing::new(text.to_owned());
    Keys {
        id: credentials.access_key_id().to_owned(),
        secret: secret(credentials.secret_access_key()),
        session_token: credentials.session_token().map(secret),
        end: credentials.expiry(),
    }
}
