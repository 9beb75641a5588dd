//! Tokens: what a program shows to a service on top of the register, to be let in.
//!
//! A token's text is `tl_`, its id in 32 hexadecimal digits, `_`, and its secret: 256 random bits in base64url. The id finds
//! the row by its key; of the secret, the ledger has the SHA-256.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Serialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use strongroom::{Batch, Row, Session, params};
use time::OffsetDateTime;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::Registry;
use super::event::{EventRow, action};
use super::row::damaged;
use crate::error::{Error, Result};
use crate::record::normal_text;
use crate::timestamp;

/// Bytes of a secret, and characters of its text.
const SECRET: usize = 32;
const SECRET_TEXT: usize = 43;

/// What a token allows. What that is in each case, the service says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Role {
    /// `reader`: to read.
    Reader,
    /// `registrar`: to register and annotate certificates, too.
    Registrar,
    /// `revoker`: to revoke certificates and lift holds, too.
    Revoker,
    /// `admin`: everything.
    Admin,
}

impl Role {
    /// All roles.
    pub const ALL: [Role; 4] = [Role::Reader, Role::Registrar, Role::Revoker, Role::Admin];

    /// The role as it is shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Reader => "reader",
            Role::Registrar => "registrar",
            Role::Revoker => "revoker",
            Role::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that is no role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is no role: reader, registrar, revoker or admin")]
pub struct UnknownRole {
    /// The text.
    pub found: String,
}

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let role = Role::ALL.into_iter().find(|role| role.as_str() == text);
        role.ok_or_else(|| UnknownRole { found: text.to_owned() })
    }
}

/// What the ledger knows of a token, which is not its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Token {
    /// A UUIDv7 of the moment when it was made.
    pub id: Uuid,
    /// Who presents it, as the audit trail shows it. No two live tokens have the same.
    pub name: String,
    /// What it allows.
    pub role: Role,
    /// When it was made.
    #[serde(serialize_with = "timestamp::serialize")]
    pub created_at: OffsetDateTime,
    /// Who made it.
    pub created_by: String,
    /// From when on it is not live; `None` is never.
    #[serde(serialize_with = "timestamp::option::serialize")]
    pub expires_at: Option<OffsetDateTime>,
    /// When it was revoked; `None` when it was not.
    #[serde(serialize_with = "timestamp::option::serialize")]
    pub revoked_at: Option<OffsetDateTime>,
    /// When it was last used, as far as [`note_token_uses`](Registry::note_token_uses) was told.
    #[serde(serialize_with = "timestamp::option::serialize")]
    pub last_used_at: Option<OffsetDateTime>,
}

impl Token {
    /// Whether it is neither revoked nor expired.
    pub fn is_live(&self, now: OffsetDateTime) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|expires_at| now < expires_at)
    }
}

/// The text of a token: whoever has it is let in. Its memory is overwritten when it is dropped, and `Debug` does not show it.
pub struct TokenText(Zeroizing<String>);

impl TokenText {
    /// The text itself. Whoever asks must take care of it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for TokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenText(…)")
    }
}

/// What a query for tokens begins with: its name and the columns in the order that [`token`] reads.
macro_rules! token_query {
    ($name:literal, $columns:literal, $rest:literal) => {
        concat!(
            "-- ",
            $name,
            "\n",
            "SELECT t.id, t.name, t.role, t.created_at, t.created_by, t.expires_at, t.revoked_at, t.last_used_at",
            $columns,
            " FROM token AS t ",
            $rest
        )
    };
}

const BY_ID: &str = token_query!("token by id", "", "WHERE t.id = $1");

/// What is looked up for every request that a service gets.
pub(super) const PRESENTED: &str = token_query!("token presented", ", t.secret_hash", "WHERE t.id = $1");

impl Registry {
    /// Makes a token that is live until `expires_at`, for ever if that is `None`. The text is in the answer and nowhere else.
    ///
    /// # Errors
    ///
    /// [`Error::TokenWithoutName`]; [`Error::TokenNameTaken`] while another live token has the name;
    /// [`Error::TokenExpiresInPast`]; [`Error::Random`]; [`Error::Database`].
    pub async fn create_token(
        &self,
        name: &str,
        role: Role,
        expires_at: Option<OffsetDateTime>,
    ) -> Result<(Token, TokenText)> {
        let now = self.now();
        let name = normal_text(name).ok_or(Error::TokenWithoutName)?;
        if let Some(expires_at) = expires_at.filter(|expires_at| *expires_at <= now) {
            return Err(Error::TokenExpiresInPast { expires_at, now });
        }
        let token = Token {
            id: Uuid::now_v7(),
            name,
            role,
            created_at: now,
            created_by: self.author.actor.clone(),
            expires_at,
            revoked_at: None,
            last_used_at: None,
        };
        let (text, hash) = new_text(token.id)?;
        self.transaction(|session| self.create_token_in(session, &token, hash)).await?;
        Ok((token, text))
    }

    async fn create_token_in(&self, mut session: Session, token: &Token, hash: [u8; 32]) -> Result<()> {
        const FREE: &str = "-- free name of expired token\n\
            UPDATE token SET taken_name = NULL WHERE taken_name = $1 AND expires_at <= $2";
        // Where another transaction takes the name at the same moment, one of the two begins anew.
        const INSERT: &str = "-- create token\n\
            INSERT INTO token (id, name, taken_name, role, secret_hash, created_at, created_by, expires_at) \
            VALUES ($1, $2, $2, $3, $4, $5, $6, $7) ON CONFLICT (taken_name) DO NOTHING";
        session.execute(FREE, params![token.name.as_str(), token.created_at]).await?;
        let row = params![
            token.id,
            token.name.as_str(),
            token.role.as_str(),
            hash,
            token.created_at,
            token.created_by.as_str(),
            token.expires_at
        ];
        if session.execute(INSERT, row).await? == 0 {
            return Err(Error::TokenNameTaken { name: token.name.clone() });
        }
        let event = EventRow {
            at: token.created_at,
            author: self.author.clone(),
            action: action::TOKEN_CREATED,
            object: token.id,
            before: None,
            after: Some(told(token)),
        };
        session.execute(EventRow::INSERT, event.params()).await?;
        Ok(())
    }

    /// Every token there ever was, newest first.
    ///
    /// # Errors
    ///
    /// [`Error::Database`].
    pub async fn tokens(&self) -> Result<Vec<Token>> {
        const SQL: &str = token_query!("tokens", "", "ORDER BY t.id DESC");
        self.db.fetch_all(SQL, params![]).await?.iter().map(token).collect()
    }

    /// Revokes a token, and answers with what is known of it; `None` when there is none. One that is revoked stays as it is.
    ///
    /// # Errors
    ///
    /// [`Error::Database`].
    pub async fn revoke_token(&self, id: Uuid) -> Result<Option<Token>> {
        self.transaction(|session| self.revoke_token_in(session, id)).await
    }

    async fn revoke_token_in(&self, mut session: Session, id: Uuid) -> Result<Option<Token>> {
        const SQL: &str = "-- revoke token\n\
            UPDATE token SET revoked_at = $2, taken_name = NULL WHERE id = $1 AND revoked_at IS NULL";
        let now = self.now();
        let is_revoked_now = session.execute(SQL, params![id, now]).await? == 1;
        let row = session.fetch_optional(BY_ID, params![id]).await?;
        let Some(token) = row.as_ref().map(token).transpose()? else { return Ok(None) };
        if is_revoked_now {
            let event = EventRow {
                at: now,
                author: self.author.clone(),
                action: action::TOKEN_REVOKED,
                object: id,
                before: Some(told(&token)),
                after: None,
            };
            session.execute(EventRow::INSERT, event.params()).await?;
        }
        Ok(Some(token))
    }

    /// The token with this text; `None` for any other text. Whether it is still [live](Token::is_live) is for the caller to
    /// ask.
    ///
    /// An id that is not there takes as long as a secret that is wrong.
    ///
    /// # Errors
    ///
    /// [`Error::Database`].
    pub async fn token(&self, presented: &str) -> Result<Option<Token>> {
        let Some((id, secret)) = parts(presented) else { return Ok(None) };
        let row = self.db.fetch_optional(PRESENTED, params![id]).await?;
        let expected: [u8; 32] = row.as_ref().map_or(Ok([0; 32]), |row| row.get(8))?;
        let is_same = openssl::memcmp::eq(&hash(secret), &expected);
        row.filter(|_| is_same).as_ref().map(token).transpose()
    }

    /// Notes when tokens were used: each one's last use becomes the latest of these, unless it is later already. Ids that are
    /// not there are passed over. No event is written.
    ///
    /// # Errors
    ///
    /// [`Error::Database`]: nothing is noted.
    pub async fn note_token_uses(&self, uses: &[(Uuid, OffsetDateTime)]) -> Result<()> {
        const SQL: &str = "-- note token use\n\
            UPDATE token SET last_used_at = $2 WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < $2)";
        // In the order of ids, so that two machines never wait for each other.
        let mut latest: BTreeMap<Uuid, OffsetDateTime> = BTreeMap::new();
        for (id, at) in uses {
            latest.entry(*id).and_modify(|known| *known = (*at).max(*known)).or_insert(*at);
        }
        if latest.is_empty() {
            return Ok(());
        }
        let rows = latest.into_iter().map(|(id, at)| params![id, at]);
        self.db.batch(Batch::new().then_many(SQL, rows)).await.map(drop).map_err(Into::into)
    }
}

fn token(row: &Row) -> Result<Token> {
    let id = row.get(0)?;
    Ok(Token {
        id,
        name: row.get(1)?,
        role: row.get::<String>(2)?.parse().map_err(|_| damaged("role", id))?,
        created_at: row.get(3)?,
        created_by: row.get(4)?,
        expires_at: row.get(5)?,
        revoked_at: row.get(6)?,
        last_used_at: row.get(7)?,
    })
}

/// What an event says of a token.
fn told(token: &Token) -> String {
    let expires_at = token.expires_at.map(timestamp::text);
    json!({ "name": token.name, "role": token.role, "expires_at": expires_at }).to_string()
}

/// A new text for this id, and the hash of its secret.
fn new_text(id: Uuid) -> Result<(TokenText, [u8; 32])> {
    let mut secret = Zeroizing::new([0; SECRET]);
    openssl::rand::rand_bytes(&mut *secret).map_err(Error::Random)?;
    // Long enough from the start: what grows leaves copies behind.
    let mut text = Zeroizing::new(String::with_capacity(128));
    text.push_str("tl_");
    text.push_str(id.simple().encode_lower(&mut Uuid::encode_buffer()));
    text.push('_');
    let begin = text.len();
    BASE64_URL_SAFE_NO_PAD.encode_string(*secret, &mut text);
    let hash = hash(&text[begin..]);
    Ok((TokenText(text), hash))
}

/// The id and the secret of a text that has the form of a token's.
fn parts(text: &str) -> Option<(Uuid, &str)> {
    let (id, secret) = text.strip_prefix("tl_")?.split_once('_')?;
    let is_secret = secret.len() == SECRET_TEXT
        && secret.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    let is_id = id.len() == 32 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (is_id && is_secret).then_some(())?;
    Some((Uuid::try_parse(id).ok()?, secret))
}

fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}
