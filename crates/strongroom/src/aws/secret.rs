//! AWS Secrets Manager.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use zeroize::Zeroizing;

use super::json::{Member, Object, quoted};
use super::{Account, Operation};
use crate::credential::{Cached, Credential, CredentialProvider, Login, Server};
use crate::error::{Error, Result};
use crate::secret::{BoxFuture, Secret, SecretProvider};

/// How Secrets Manager is asked, and what the identity needs.
const GET: Operation = Operation {
    service: "secretsmanager",
    variable: "SECRETS_MANAGER",
    target: "secretsmanager.GetSecretValue",
    permission: "secretsmanager:GetSecretValue (and kms:Decrypt on its key, if that is one of your own)",
};

/// A rotation sets the password in the database and then makes it the current one: for this long after a refusal the secret
/// is asked again.
const PATIENCE: Duration = Duration::from_secs(5);

/// A secret in AWS Secrets Manager, in its current version (stage `AWSCURRENT`).
///
/// - As a *credential provider* it is JSON as RDS writes it: `username` and `password`, which are always taken together,
///   and where the server is (`host`, `port`, `dbname`), which fills what the settings leave out. It is kept for 300 s, less
///   up to a tenth; fetched at once when the server refuses it; and served on while AWS does not answer. See [`Cached`].
/// - As a *secret provider*, for the key of a file, it is the whole string, or one [`field`](Self::field) of its JSON.
///
/// Identity and region are found as with [`RdsIam::from_environment`](crate::RdsIam::from_environment); an ARN names its
/// region itself. `docs/aws.md` has the policy that the identity needs.
///
/// ```no_run
/// # use strongroom::AwsSecret;
/// let credentials = AwsSecret::new("app/db").region("eu-central-1");
/// ```
pub struct AwsSecret(Cached<Asked>);

/// The secret itself, asked each time.
struct Asked {
    id: String,
    field: Option<String>,
    account: Account,
    /// Numbers what is answered. Its keys are this process's own, so that a number tells nobody a password.
    numbering: RandomState,
}

impl AwsSecret {
    /// By name or ARN.
    pub fn new(id: impl Into<String>) -> Self {
        let id = id.into();
        let mut account = Account::default();
        if let Some(region) = region_of(&id) {
            account = account.region(region.to_owned());
        }
        AwsSecret(Cached::new(Asked { id, field: None, account, numbering: RandomState::new() }))
    }

    /// Takes one member of the secret's JSON, a string or a number, as the key or password.
    pub fn field(self, name: impl Into<String>) -> Self {
        self.with(|asked| asked.field = Some(name.into()))
    }

    /// The region to ask in. It is never guessed.
    pub fn region(self, region: impl Into<String>) -> Self {
        self.account(|account| account.region(region.into()))
    }

    /// Uses this profile of the AWS configuration and no other identity, as
    /// [`RdsIam::profile`](crate::RdsIam::profile) does.
    pub fn profile(self, profile: impl Into<String>) -> Self {
        self.account(|account| account.profile(profile.into()))
    }

    /// Asks this service instead of AWS's own: `https://HOST:PORT`, or `http://` on this machine. Default: what
    /// `AWS_ENDPOINT_URL_SECRETS_MANAGER` or `AWS_ENDPOINT_URL` says, else AWS.
    pub fn endpoint_url(self, url: impl Into<String>) -> Self {
        self.account(|account| account.endpoint(url.into()))
    }

    /// How long a credential is kept. Default 300 s, less up to a tenth; 1 s to a day.
    pub fn keep(self, keep: Duration) -> Self {
        AwsSecret(self.0.keep(keep))
    }

    pub(super) fn account(self, change: impl FnOnce(Account) -> Account) -> Self {
        self.with(|asked| asked.account = change(std::mem::take(&mut asked.account)))
    }

    fn with(mut self, change: impl FnOnce(&mut Asked)) -> Self {
        change(self.0.provider_mut());
        self
    }
}

impl CredentialProvider for AwsSecret {
    fn credential<'a>(&'a self, _login: &'a Login) -> BoxFuture<'a, Result<Credential>> {
        // The secret is the same for everybody who logs in with it.
        static ANYBODY: Login = Login { host: String::new(), port: 0, user: None };
        self.0.credential(&ANYBODY)
    }

    fn refused(&self, generation: u64) {
        self.0.refused(generation);
    }

    fn patience(&self) -> Duration {
        self.0.patience()
    }
}

impl SecretProvider for AwsSecret {
    fn secret(&self) -> BoxFuture<'_, Result<Secret>> {
        Box::pin(self.0.provider().secret())
    }
}

impl fmt::Display for AwsSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)?;
        match &self.0.provider().field {
            Some(field) => write!(f, ", field {field}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for AwsSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AwsSecret({self})")
    }
}

impl Asked {
    /// The secret's current value.
    async fn value(&self) -> Result<Zeroizing<Vec<u8>>> {
        let body = format!("{{\"SecretId\":{},\"VersionStage\":\"AWSCURRENT\"}}", quoted(&self.id));
        let answer = self.account.call(self, &GET, body.as_bytes()).await?;
        let answer = Object::parse(&answer).map_err(|reason| self.failed(format!("AWS answered no JSON: {reason}")))?;
        let binary = || answer.text("SecretBinary").and_then(|text| openssl::base64::decode_block(text).ok());
        match answer.text("SecretString") {
            Some(text) => Ok(Zeroizing::new(text.as_bytes().to_vec())),
            None => binary().map(Zeroizing::new).ok_or_else(|| self.failed("AWS answered without its value")),
        }
    }

    async fn secret(&self) -> Result<Secret> {
        let value = self.value().await?;
        let Some(field) = &self.field else { return Ok(value.into()) };
        let object = self.object(&value)?;
        self.wanted(&object, field).map(|text| Secret::new(text.as_bytes()))
    }

    fn object(&self, value: &[u8]) -> Result<Object> {
        Object::parse(value).map_err(|reason| self.failed(format!("is not a JSON object: {reason}")))
    }

    /// A member that must be there.
    fn wanted<'a>(&self, object: &'a Object, name: &str) -> Result<&'a str> {
        match object.get(name) {
            Some(Member::Text(text) | Member::Number(text)) if !text.is_empty() => Ok(text),
            Some(Member::Text(_)) => Err(self.failed(format!("its {name} is empty"))),
            Some(other) => Err(self.failed(format!("its {name} is {}, expected a string", other.kind()))),
            None => Err(self.failed(format!("its JSON has no {name}"))),
        }
    }

    fn given<'a>(&self, object: &'a Object, name: &str) -> Result<Option<&'a str>> {
        match object.get(name) {
            None | Some(Member::Other("null")) => Ok(None),
            Some(_) => self.wanted(object, name).map(Some),
        }
    }

    async fn login(&self) -> Result<Credential> {
        let value = self.value().await?;
        let object = self.object(&value)?;
        if let Some(engine) = self.given(&object, "engine")?.filter(|engine| !is_postgres(engine)) {
            return Err(self.failed(format!("is for engine {engine:?}, expected postgres")));
        }
        let user = self.wanted(&object, "username")?;
        let password = self.wanted(&object, self.field.as_deref().unwrap_or("password"))?;
        let port = match self.given(&object, "port")?.map(str::parse::<u16>) {
            None => None,
            Some(Ok(port)) if port > 0 => Some(port),
            Some(_) => return Err(self.failed("its port is not a number from 1 to 65535")),
        };
        let (host, database) = (self.given(&object, "host")?, self.given(&object, "dbname")?);
        let server = Server { host: host.map(str::to_owned), port, database: database.map(str::to_owned) };
        let generation = self.numbering.hash_one((user, password));
        Ok(Credential::new(user, Secret::new(password), generation).at(server))
    }

    fn failed(&self, reason: impl Into<String>) -> Error {
        Error::credential(self, reason)
    }
}

impl CredentialProvider for Asked {
    fn credential<'a>(&'a self, _login: &'a Login) -> BoxFuture<'a, Result<Credential>> {
        Box::pin(self.login())
    }

    fn patience(&self) -> Duration {
        PATIENCE
    }
}

/// The account's number, which an ARN holds, is no secret.
impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AWS secret {}", self.id)
    }
}

/// `arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME`.
fn region_of(id: &str) -> Option<&str> {
    let mut parts = id.split(':');
    let is_arn = parts.next() == Some("arn") && parts.nth(1) == Some("secretsmanager");
    parts.next().filter(|region| is_arn && !region.is_empty())
}

/// RDS writes `postgres`; other engines that it has cannot be meant.
fn is_postgres(engine: &str) -> bool {
    matches!(engine, "postgres" | "postgresql" | "aurora-postgresql" | "aurora-postgres")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_names_its_region_and_a_name_does_not() {
        let arn = "arn:aws-cn:secretsmanager:cn-north-1:123456789012:secret:app/db-AbCdEf";
        assert_eq!(region_of(arn), Some("cn-north-1"));
        for id in ["app/db", "arn:aws:kms:eu-west-1:1:key/x", "arn:aws:secretsmanager::1:secret:x", "arn", ""] {
            assert_eq!(region_of(id), None, "{id}");
        }
    }
}
