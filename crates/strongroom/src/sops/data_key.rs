//! Obtaining the data key: from an age identity, else from AWS KMS.

use std::fmt;

use zeroize::Zeroizing;

use super::age::Message;
use super::identities::{self, KEY_CMD, Looked, SSH_KEY_CMD, Surroundings};
use super::kms;
use super::metadata::{AgeKey, Keys};
use crate::error::{Error, Result};
use crate::key::{KeySource, run_command};
use crate::secret::{Secret, off_the_runtime};

/// Length of a data key, in bytes.
const LEN: usize = 32;

/// Where age identities come from.
pub(super) enum Identities {
    /// The places that the environment names.
    From(Surroundings),
    /// This one alone.
    Only(KeySource),
}

/// Decrypts the data key with the first key that serves. No command is run and no network used when a file or variable
/// has the identity. `who` is blamed when there is none.
pub(super) async fn obtain(
    who: &(dyn fmt::Display + Sync),
    keys: &Keys,
    identities: Identities,
) -> Result<Zeroizing<Vec<u8>>> {
    let mut search = Search { who, ages: Vec::new(), looked: Vec::new() };
    for key in &keys.age {
        search.ages.push((key, Message::parse(&key.enc)));
    }
    if !keys.age.is_empty()
        && let Some(data_key) = search.age(identities).await?
    {
        return Ok(data_key);
    }
    let mut cause = None;
    for key in &keys.kms {
        match kms::unwrap(key).await {
            Ok(data_key) => return search.checked(data_key),
            Err(error) => cause = Some(error),
        }
    }
    Err(search.failure(keys, cause))
}

struct Search<'k> {
    who: &'k (dyn fmt::Display + Sync),
    /// None where the age message is damaged.
    ages: Vec<(&'k AgeKey, Option<Message>)>,
    looked: Vec<Looked>,
}

impl Search<'_> {
    async fn age(&mut self, identities: Identities) -> Result<Option<Zeroizing<Vec<u8>>>> {
        let surroundings = match identities {
            Identities::From(surroundings) => surroundings,
            Identities::Only(source) => {
                let text = source.secret().await.map_err(|error| {
                    let failed = Error::credential(self.who, "the age identity that was named for it cannot be had");
                    let failed = if error.is_passing() { failed.passing() } else { failed };
                    failed.caused_by(error)
                })?;
                return self.try_identities(vec![Looked::at_any(source.to_string(), &text)]);
            }
        };
        let (looked, surroundings) =
            off_the_runtime(move || Ok((identities::look(&surroundings), surroundings))).await?;
        if let Some(data_key) = self.try_identities(looked)? {
            return Ok(Some(data_key));
        }
        match surroundings.command(SSH_KEY_CMD) {
            Some(line) => {
                let looked = self.run(SSH_KEY_CMD, line, &[]).await;
                let looked = looked.map(|text| Looked::at_ssh_key(SSH_KEY_CMD, &text));
                if let Some(data_key) = self.try_identities(vec![looked.unwrap_or_else(|looked| looked)])? {
                    return Ok(Some(data_key));
                }
            }
            None => self.looked.push(Looked::unset(SSH_KEY_CMD)),
        }
        let Some(line) = surroundings.command(KEY_CMD) else {
            self.looked.push(Looked::unset(KEY_CMD));
            return Ok(None);
        };
        // Once for each recipient, because the command may look up what it is asked for.
        for recipient in self.ages.iter().map(|(key, _)| key.recipient.clone()).collect::<Vec<_>>() {
            let looked = self.run(KEY_CMD, line, &[("SOPS_AGE_RECIPIENT", &recipient)]).await;
            let looked = looked.map(|text| Looked::at_age_keys(KEY_CMD, &text));
            if let Some(data_key) = self.try_identities(vec![looked.unwrap_or_else(|looked| looked)])? {
                return Ok(Some(data_key));
            }
        }
        Ok(None)
    }

    async fn run(&self, name: &str, line: &str, environment: &[(&str, &str)]) -> Result<Secret, Looked> {
        match run_command(&name, line, environment).await {
            Ok(text) => Ok(text.into()),
            Err(Error::Credential { reason, .. }) => Err(Looked::new(name, Err(reason))),
            Err(error) => Err(Looked::new(name, Err(error.to_string()))),
        }
    }

    fn try_identities(&mut self, looked: Vec<Looked>) -> Result<Option<Zeroizing<Vec<u8>>>> {
        for identity in looked.iter().flat_map(|looked| &looked.identities) {
            for (key, message) in &self.ages {
                if let Some(opened) = message.as_ref().and_then(|message| message.open(identity)) {
                    let failed = |reason| {
                        let recipient = key.recipient.escape_debug();
                        Error::credential(self.who, format!("has no usable data key for {recipient}: {reason}"))
                    };
                    return self.checked(opened.map_err(failed)?).map(Some);
                }
            }
        }
        self.looked.extend(looked);
        Ok(None)
    }

    fn checked(&self, data_key: Zeroizing<Vec<u8>>) -> Result<Zeroizing<Vec<u8>>> {
        match data_key.len() {
            LEN => Ok(data_key),
            other => Err(Error::credential(self.who, format!("has a data key of {other} bytes, expected {LEN}"))),
        }
    }

    /// What was looked for and where.
    fn failure(&self, keys: &Keys, cause: Option<Error>) -> Error {
        let mut parts = Vec::new();
        let mut needed = Vec::new();
        for (key, message) in &self.ages {
            let recipient = key.recipient.escape_debug();
            match message {
                None => parts.push(format!("the age message for {recipient} is damaged")),
                Some(message) => match message.foreign() {
                    None => needed.push(recipient.to_string()),
                    Some("mlkem768x25519") => parts.push(format!(
                        "post-quantum age is not supported ({}…)",
                        recipient.to_string().chars().take(16).collect::<String>()
                    )),
                    Some(kind) => {
                        let kind = kind.escape_debug();
                        parts.push(format!("age recipients of kind {kind} are not supported ({recipient})"));
                    }
                },
            }
        }
        if !needed.is_empty() {
            let looked: Vec<_> = self.looked.iter().map(ToString::to_string).collect();
            parts.insert(
                0,
                format!("no age identity for {} was found; looked at {}", needed.join(", "), looked.join("; ")),
            );
        }
        parts.extend(keys.kms.iter().map(|key| format!("AWS KMS key {} did not decrypt it", key.arn.escape_debug())));
        if !keys.foreign.is_empty() {
            parts.push(format!("not supported: {}", keys.foreign.join(", ")));
        }
        let error = Error::credential(self.who, format!("cannot be decrypted: {}", parts.join("; ")));
        match cause {
            Some(cause) if cause.is_passing() => error.passing().caused_by(cause),
            Some(cause) => error.caused_by(cause),
            None => error,
        }
    }
}
