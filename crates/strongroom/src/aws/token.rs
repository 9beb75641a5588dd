//! Tokens that serve as passwords, signed on this machine.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::Account;
use super::signature::{Keys, Scope, presigned};
use crate::credential::{Cached, Credential, CredentialProvider, Login};
use crate::error::{Error, Result};
use crate::pool::clamp;
use crate::secret::{BoxFuture, Secret};

/// How long AWS accepts a token for new connections, in seconds. One that is open lives on.
const LIFETIME: u32 = 900;

/// The user that a DSQL cluster begins with.
const ADMIN: &str = "admin";

/// The longest that a token is kept: the server's clock and the way to it need the rest.
const LONGEST_KEPT: Duration = Duration::from_secs(870);

/// Logs in to RDS or Aurora PostgreSQL with an IAM token in the place of a password.
///
/// The token is signed here, in microseconds and without asking anybody, for each physical connection. It holds for 15
/// minutes, or as long as the identity that signed it. Host and port are those of the settings, and must be the instance's
/// own: a token for an alias or an address is refused by RDS. `docs/aws.md` has the policy that the identity needs.
///
/// ```no_run
/// # use strongroom::RdsIam;
/// let credentials = RdsIam::from_environment().region("eu-central-1");
/// ```
pub struct RdsIam {
    account: Account,
    user: Option<String>,
}

impl RdsIam {
    /// The identity is the SDK's default: environment variables, profile, web identity, container, EC2 metadata, in this
    /// order. The region is looked for in `AWS_REGION`, `AWS_DEFAULT_REGION`, the profile and EC2 metadata.
    pub fn from_environment() -> Self {
        RdsIam { account: Account::default(), user: None }
    }

    /// The region that the database is in. It is never guessed, also not from the host's name.
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.account = self.account.region(region.into());
        self
    }

    /// Uses this profile of the AWS configuration and no other identity: also not keys in environment variables, which
    /// come before `AWS_PROFILE`.
    pub fn profile(mut self, profile: impl Into<String>) -> Self {
        self.account = self.account.profile(profile.into());
        self
    }

    /// Logs in as `user`, whatever the settings say.
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Signs a new token only when the last one is older than `keep`, less up to a tenth. 1 s to 870 s; a value outside is
    /// moved to the nearest bound. Without this each physical connection gets its own.
    pub fn cached(self, keep: Duration) -> Cached<Self> {
        cached(self, keep)
    }
}

#[cfg(all(test, feature = "aws"))]
impl RdsIam {
    pub(super) fn with_account(account: Account) -> Self {
        RdsIam { account, user: None }
    }
}

impl CredentialProvider for RdsIam {
    fn credential<'a>(&'a self, login: &'a Login) -> BoxFuture<'a, Result<Credential>> {
        Box::pin(async move {
            let Some(user) = self.user.as_ref().or(login.user.as_ref()) else {
                return Err(Error::credential(self, "nothing names the user; name it in the URL"));
            };
            let (region, keys, time) = signer(&self.account, self, login).await?;
            let token = rds_token(&keys, region, &login.host, login.port, user, time);
            Ok(credential(user, token, &keys, time))
        })
    }

    fn refused(&self, _generation: u64) {
        self.account.forget();
    }
}

impl fmt::Display for RdsIam {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RDS IAM token")
    }
}

impl fmt::Debug for RdsIam {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RdsIam").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Logs in to Aurora DSQL with a token in the place of a password.
///
/// As with [`RdsIam`]; the user, which the token does not name, comes from the settings. User `admin` gets a token for
/// `DbConnectAdmin`, every other one a token for `DbConnect`.
pub struct Dsql {
    account: Account,
    is_admin: bool,
}

impl Dsql {
    /// As the user that the settings name. Identity and region as with [`RdsIam::from_environment`].
    pub fn from_environment() -> Self {
        Dsql { account: Account::default(), is_admin: false }
    }

    /// As `admin`, which the settings need not name then.
    pub fn admin() -> Self {
        Dsql { account: Account::default(), is_admin: true }
    }

    /// The region that the cluster is in. It is never guessed, also not from the host's name.
    pub fn region(mut self, region: impl Into<String>) -> Self {
        self.account = self.account.region(region.into());
        self
    }

    /// Uses this profile of the AWS configuration and no other identity, as [`RdsIam::profile`] does.
    pub fn profile(mut self, profile: impl Into<String>) -> Self {
        self.account = self.account.profile(profile.into());
        self
    }

    /// Signs a new token only when the last one is older than `keep`, as [`RdsIam::cached`] does.
    pub fn cached(self, keep: Duration) -> Cached<Self> {
        cached(self, keep)
    }
}

#[cfg(all(test, feature = "aws"))]
impl Dsql {
    pub(super) fn with_account(account: Account) -> Self {
        Dsql { account, is_admin: true }
    }
}

impl CredentialProvider for Dsql {
    fn credential<'a>(&'a self, login: &'a Login) -> BoxFuture<'a, Result<Credential>> {
        Box::pin(async move {
            let user = match &login.user {
                Some(user) if self.is_admin && user != ADMIN => {
                    return Err(Error::credential(self, format!("is for user {ADMIN}, and the settings name {user}")));
                }
                Some(user) => user,
                None if self.is_admin => ADMIN,
                None => return Err(Error::credential(self, "nothing names the user; name it in the URL")),
            };
            let (region, keys, time) = signer(&self.account, self, login).await?;
            let token = dsql_token(&keys, region, &login.host, user == ADMIN, time);
            Ok(credential(user, token, &keys, time))
        })
    }

    fn refused(&self, _generation: u64) {
        self.account.forget();
    }
}

impl fmt::Display for Dsql {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_admin { "DSQL admin token" } else { "DSQL token" })
    }
}

impl fmt::Debug for Dsql {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dsql").field("is_admin", &self.is_admin).finish_non_exhaustive()
    }
}

/// What botocore's `generate_db_auth_token` answers.
pub(super) fn rds_token(keys: &Keys, region: &str, host: &str, port: u16, user: &str, time: SystemTime) -> Secret {
    let scope = Scope { region, service: "rds-db", time };
    let endpoint = format!("{}:{port}", bracketed(host));
    let mut token = presigned(keys, scope, &endpoint, &[("Action", "connect"), ("DBUser", user)], LIFETIME);
    Secret::new(std::mem::take(&mut *token))
}

/// What botocore's `generate_db_connect_auth_token`, or `generate_db_connect_admin_auth_token`, answers.
pub(super) fn dsql_token(keys: &Keys, region: &str, host: &str, is_admin: bool, time: SystemTime) -> Secret {
    let scope = Scope { region, service: "dsql", time };
    let action = if is_admin { "DbConnectAdmin" } else { "DbConnect" };
    let mut token = presigned(keys, scope, &bracketed(host), &[("Action", action)], LIFETIME);
    Secret::new(std::mem::take(&mut *token))
}

/// What signs a token for the server of a login: in which region, with which keys, and when.
async fn signer<'a>(
    account: &'a Account,
    who: &(dyn fmt::Display + Sync),
    login: &Login,
) -> Result<(&'a str, Arc<Keys>, SystemTime)> {
    if login.host.is_empty() {
        return Err(Error::credential(who, "nothing names the server, for which a token is made; name the host"));
    }
    Ok((account.region_name(who).await?, account.keys(who).await?, SystemTime::now()))
}

/// An IPv6 address as it stands in a URL.
fn bracketed(host: &str) -> std::borrow::Cow<'_, str> {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]").into() } else { host.into() }
}

fn credential(user: &str, token: Secret, keys: &Keys, time: SystemTime) -> Credential {
    let end = time + Duration::from_secs(LIFETIME.into());
    let end = keys.end.map_or(end, |keys| keys.min(end));
    Credential::new(user, token, generation()).valid_until(end)
}

/// Each token is one of its own.
fn generation() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

fn cached<P: CredentialProvider>(provider: P, keep: Duration) -> Cached<P> {
    Cached::new(provider).keep(clamp("token kept", keep, Duration::from_secs(1), LONGEST_KEPT))
}
