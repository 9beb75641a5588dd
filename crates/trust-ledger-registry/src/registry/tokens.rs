//! Tokens: who may use the ledger through the service, and for what.
//!
//! A token's text is `tl_`, its id in hex, `_`, and a secret of 256 random bits in base64url. The ledger has SHA-256 of the
//! secret and nothing else of it: a hash that is slow, as for passwords, would protect no better what nobody can guess.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
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

const PREFIX: &str = "tl_";

/// Bytes of a secret.
const SECRET: usize = 32;

/// Tokens that are listed at most.
const MOST: u32 = 10_000;

/// What a token may be used for. Every role may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Role {
    /// `reader`: to read.
    Reader,
    /// `registrar`: to register certificates, and to change what is said about them.
    Registrar,
    /// `revoker`: to record revocations and CRLs, and to lift holds.
    Revoker,
    /// `admin`: for everything, the audit trail and pruning included.
    Admin,
}

impl Role {
    /// Every role.
    pub const ALL: [Role; 4] = [Role::Reader, Role::Registrar, Role::Revoker, Role::Admin];

    /// The role as it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Reader => "reader",
            Role::Registrar => "registrar",
            Role::Revoker => "revoker",
            Role::Admin => "admin",
        }
    }

    fn code(self) -> i64 {
        match self {
            Role::Reader => 0,
            Role::Registrar => 1,
            Role::Revoker => 2,
            Role::Admin => 3,
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

/// A token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Token {
    /// Its id.
    pub id: Uuid,
    /// Its name: the actor of what it is used for.
    pub name: String,
    /// What it may be used for.
    pub role: Role,
    /// When it was made.
    #[serde(serialize_with = "timestamp::serialize")]
    pub created_at: OffsetDateTime,
    /// Who made it.
    pub created_by: String,
    /// From when on it is refused; `None` when it does not expire.
    #[serde(serialize_with = "timestamp::option::serialize")]
    pub expires_at: Option<OffsetDateTime>,
    /// When it was revoked.
    #[serde(serialize_with = "timestamp::option::serialize")]
    pub revoked_at: Option<OffsetDateTime>,
    /// When it was last used, to a minute or so.
    #[serde(serialize_with = "timestamp::option::serialize")]
    pub last_used_at: Option<OffsetDateTime>,
}

impl Token {
    /// Whether it is neither revoked nor expired.
    pub fn is_live(&self, now: OffsetDateTime) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|expires_at| now < expires_at)
    }
}

/// The text of a token, secret included: told once, when it is made. `Debug` does not show it, and it is overwritten when
/// dropped.
pub struct TokenText(Zeroizing<String>);

impl TokenText {
    /// The text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for TokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenText(…)")
    }
}

pub(super) const TOKEN: &str = "-- token\n\
    SELECT id, name, role, created_at, created_by, expires_at, revoked_at, last_used_at, hash FROM token WHERE id = $1";

impl Registry {
    /// Makes a token. Its text is told this once, and stored nowhere.
    ///
    /// # Errors
    ///
    /// [`Error::TokenName`] when the name is empty, or that of a token that is neither revoked nor expired: the audit trail
    /// could not tell them apart. [`Error::TokenExpired`] when it would have expired already. [`Error::Database`].
    pub async fn create_token(
        &self,
        name: &str,
        role: Role,
        expires_at: Option<OffsetDateTime>,
    ) -> Result<(Token, TokenText)> {
        let now = self.now();
        let name = normal_text(name).ok_or_else(|| Error::TokenName { name: String::new(), holder: None })?;
        if let Some(expires_at) = expires_at.filter(|expires_at| *expires_at <= now) {
            return Err(Error::TokenExpired { expires_at });
        }
        let mut secret = Zeroizing::new([0; SECRET]);
        openssl::rand::rand_bytes(&mut *secret).map_err(|_| Error::Worker { doing: "asking OpenSSL for a secret" })?;
        let token = Token {
            id: Uuid::now_v7(),
            name,
            role,
            created_at: now,
            created_by: self.author.actor.clone(),
            expires_at: expires_at.map(|at| at.replace_nanosecond(at.microsecond() * 1_000).unwrap_or(at)),
            revoked_at: None,
            last_used_at: None,
        };
        let hash: [u8; 32] = Sha256::digest(*secret).into();
        self.transaction(|session| self.insert_token(session, &token, hash)).await?;
        let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + 32 + 1 + 43));
        text.push_str(PREFIX);
        text.push_str(token.id.simple().encode_lower(&mut Uuid::encode_buffer()));
        text.push('_');
        URL_SAFE_NO_PAD.encode_string(*secret, &mut text);
        Ok((token, TokenText(text)))
    }

    async fn insert_token(&self, mut session: Session, token: &Token, hash: [u8; 32]) -> Result<()> {
        const SAME_NAME: &str = "-- token of a name\n\
            SELECT id FROM token WHERE name = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2) LIMIT 1";
        const INSERT: &str = "-- create_token\n\
            INSERT INTO token (id, name, role, hash, created_at, created_by, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7)";
        let holder: Option<Uuid> = session.fetch_value(SAME_NAME, params![&token.name, token.created_at]).await?;
        if holder.is_some() {
            return Err(Error::TokenName { name: token.name.clone(), holder });
        }
        let Token { id, name, role, created_at, created_by, expires_at, .. } = token;
        let row = params![*id, name, role.code(), hash, *created_at, created_by, *expires_at];
        let event = self.token_event(token, action::TOKEN_CREATED, *created_at, true);
        session.batch(Batch::new().then(INSERT, row).then(EventRow::INSERT, event.params())).await?;
        Ok(())
    }

    /// All tokens, newest first; at most 10,000.
    ///
    /// # Errors
    ///
    /// [`Error::Database`].
    pub async fn tokens(&self) -> Result<Vec<Token>> {
        const SQL: &str = "-- tokens\n\
            SELECT id, name, role, created_at, created_by, expires_at, revoked_at, last_used_at FROM token \
            ORDER BY id DESC LIMIT $1";
        self.db.fetch_all(SQL, params![MOST]).await?.iter().map(token).collect()
    }

    /// Revokes a token for good; `None` when there is none with this id. Of one that is revoked already nothing is changed.
    ///
    /// # Errors
    ///
    /// [`Error::Database`].
    pub async fn revoke_token(&self, id: Uuid) -> Result<Option<Token>> {
        self.transaction(|session| self.revoke_token_in(session, id)).await
    }

    async fn revoke_token_in(&self, mut session: Session, id: Uuid) -> Result<Option<Token>> {
        const UPDATE: &str = "-- revoke_token\nUPDATE token SET revoked_at = $2 WHERE id = $1";
        let Some(row) = session.fetch_optional(TOKEN, params![id]).await? else { return Ok(None) };
        let mut token = token(&row)?;
        if token.revoked_at.is_none() {
            let now = self.now();
            let event = self.token_event(&token, action::TOKEN_REVOKED, now, false);
            session.batch(Batch::new().then(UPDATE, params![id, now]).then(EventRow::INSERT, event.params())).await?;
            token.revoked_at = Some(now);
        }
        Ok(Some(token))
    }

    /// The token of this text, revoked and expired ones too: whoever lets somebody in asks [`Token::is_live`]. `None` when the
    /// text is none of this ledger's tokens.
    ///
    /// How long it takes tells nothing of the secret: it is hashed, and the hashes are compared in constant time.
    ///
    /// # Errors
    ///
    /// [`Error::Database`].
    pub async fn token(&self, presented: &str) -> Result<Option<Token>> {
        let Some((id, secret)) = parse(presented) else { return Ok(None) };
        let hash: [u8; 32] = Sha256::digest(secret.as_slice()).into();
        let row = self.db.fetch_optional(TOKEN, params![id]).await?;
        let stored: Option<Vec<u8>> = row.as_ref().map(|row| row.get(8)).transpose()?;
        // Also where there is no such token.
        let stored = stored.filter(|stored| stored.len() == hash.len()).unwrap_or_else(|| vec![0; hash.len()]);
        let is_same = openssl::memcmp::eq(&stored, &hash);
        row.filter(|_| is_same).map(|row| token(&row)).transpose()
    }

    /// Notes when tokens were used: the latest use of each is kept. No event tells it.
    ///
    /// # Errors
    ///
    /// [`Error::Database`].
    pub async fn note_token_uses(&self, uses: &[(Uuid, OffsetDateTime)]) -> Result<()> {
        const SQL: &str = "-- note_token_uses\n\
            UPDATE token SET last_used_at = $2 WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < $2)";
        // In one order, so that two never wait for each other.
        let mut uses = uses.to_vec();
        uses.sort_unstable();
        self.db.execute_many(SQL, uses.into_iter().map(|(id, at)| params![id, at]).collect::<Vec<_>>()).await?;
        Ok(())
    }

    fn token_event(&self, token: &Token, action: &'static str, at: OffsetDateTime, is_new: bool) -> EventRow {
        let said = serde_json::json!({
            "name": token.name,
            "role": token.role,
            "expires_at": token.expires_at.map(timestamp::text),
        });
        let (before, after) = if is_new { (None, Some(said.to_string())) } else { (Some(said.to_string()), None) };
        EventRow { at, author: self.author.clone(), action, object: token.id, before, after }
    }
}

/// The id and the secret in a token's text.
fn parse(text: &str) -> Option<(Uuid, Zeroizing<Vec<u8>>)> {
    let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
    let id = Uuid::try_parse(id).ok().filter(|_| id.len() == 32)?;
    let secret = Zeroizing::new(URL_SAFE_NO_PAD.decode(secret).ok()?);
    (secret.len() == SECRET).then_some((id, secret))
}

fn token(row: &Row) -> Result<Token> {
    let id = row.get(0)?;
    let code: i64 = row.get(2)?;
    let role = Role::ALL.into_iter().find(|role| role.code() == code).ok_or_else(|| damaged("role", id))?;
    Ok(Token {
        id,
        name: row.get(1)?,
        role,
        created_at: row.get(3)?,
        created_by: row.get(4)?,
        expires_at: row.get(5)?,
        revoked_at: row.get(6)?,
        last_used_at: row.get(7)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_token_is_taken_apart() {
        let (id, secret) = ("0198c2f55d0e70008000000000000001", "A".repeat(43));
        assert_eq!(parse(&format!("tl_{id}_{secret}")).unwrap().0, Uuid::try_parse(id).unwrap());
        for wrong in [
            String::new(),
            format!("tl_{id}"),
            format!("{id}_{secret}"),
            format!("tl_{id}_{secret}A"),
            format!("tl_{id}_{}", &secret[1..]),
            format!("tl_{id}_{}!", &secret[1..]),
            format!("tl_0198c2f5-5d0e-7000-8000-000000000001_{secret}"),
            format!("TL_{id}_{secret}"),
        ] {
            assert!(parse(&wrong).is_none(), "{wrong}");
        }
    }
}
