//! The section `sops`: who can decrypt the file, what is encrypted, and the MAC.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::document::{Map, Node};
use super::kms::KmsKey;
use super::rule::Rule;

/// What the section `sops` says.
#[derive(Debug)]
pub(super) struct Metadata {
    pub(super) keys: Keys,
    pub(super) rule: Rule,
    /// Encrypted; None when the file has none.
    pub(super) mac: Option<String>,
    /// When the file was written, as it stands there; authenticated with the MAC.
    pub(super) last_modified: String,
    /// Values that are not encrypted are not part of the MAC.
    pub(super) mac_only_encrypted: bool,
}

/// The keys for which the data key is encrypted: any of them opens the file.
#[derive(Debug, Default)]
pub(super) struct Keys {
    pub(super) age: Vec<AgeKey>,
    pub(super) kms: Vec<KmsKey>,
    /// Keys of kinds that are not supported, as messages name them: `PGP key 35C1…`.
    pub(super) foreign: Vec<String>,
}

/// The data key, encrypted for an age recipient.
#[derive(Debug)]
pub(super) struct AgeKey {
    /// `age1…`, or an SSH public key.
    pub(super) recipient: String,
    /// An armored age message.
    pub(super) enc: String,
}

/// Kinds of keys that are not supported: list, entry that names a key, what messages call it.
const FOREIGN: [(&str, &str, &str); 5] = [
    ("pgp", "fp", "PGP key"),
    ("gcp_kms", "resource_id", "GCP KMS key"),
    ("azure_kv", "vault_url", "Azure Key Vault"),
    ("hc_vault", "vault_address", "HashiCorp Vault"),
    ("hckms", "key_id", "Huawei Cloud KMS key"),
];

impl Metadata {
    pub(super) fn read(map: &Map) -> Result<Self, String> {
        let section = Section(map);
        let mac_only_encrypted = match section.get("mac_only_encrypted") {
            None => false,
            Some(Node::Bool(value)) => *value,
            Some(Node::Text(text)) if text == "true" || text == "false" => text == "true",
            Some(_) => return Err(unusable("mac_only_encrypted", "true or false")),
        };
        Ok(Metadata {
            keys: groups(section)?,
            rule: Rule::read(section)?,
            mac: section.text("mac")?.filter(|mac| !mac.is_empty()).map(str::to_owned),
            last_modified: section.text("lastmodified")?.unwrap_or_default().to_owned(),
            mac_only_encrypted,
        })
    }
}

/// As the Go program does: keys in the section itself are one group, and `key_groups` count when there are none. With
/// several groups the data key is always split, whatever the threshold.
fn groups(section: Section<'_>) -> Result<Keys, String> {
    let keys = Keys::read(section)?;
    if !keys.is_empty() {
        return Ok(keys);
    }
    let groups = section.sections("key_groups")?;
    let keys = match groups.as_slice() {
        [] => keys,
        [group] => Keys::read(*group)?,
        several => {
            let threshold = match section.get("shamir_threshold") {
                Some(Node::Int(threshold)) if *threshold > 0 => threshold.to_string(),
                Some(Node::Float(threshold)) if *threshold > 0.0 => threshold.to_string(),
                Some(Node::Text(threshold)) if !threshold.is_empty() => threshold.escape_debug().to_string(),
                _ => "all".to_owned(),
            };
            return Err(format!(
                "needs keys of {threshold} of its {} key groups (Shamir's secret sharing), which is not supported; \
                 encrypt it with one key group",
                several.len()
            ));
        }
    };
    match keys.is_empty() {
        false => Ok(keys),
        true => Err("is not a SOPS file: its section sops names no key".to_owned()),
    }
}

impl Keys {
    fn is_empty(&self) -> bool {
        self.age.is_empty() && self.kms.is_empty() && self.foreign.is_empty()
    }

    fn read(group: Section<'_>) -> Result<Self, String> {
        let mut keys = Keys::default();
        for key in group.sections("age")? {
            let recipient = key.text("recipient")?.unwrap_or("(not named)").to_owned();
            keys.age.push(AgeKey { recipient, enc: key.need("age enc", "enc")?.to_owned() });
        }
        for key in group.sections("kms")? {
            keys.kms.push(KmsKey {
                arn: key.need("kms arn", "arn")?.to_owned(),
                role: key.text("role")?.filter(|role| !role.is_empty()).map(str::to_owned),
                profile: key.text("aws_profile")?.filter(|profile| !profile.is_empty()).map(str::to_owned),
                context: context(key)?,
                enc: STANDARD.decode(key.need("kms enc", "enc")?).map_err(|_| unusable("kms enc", "base64"))?,
            });
        }
        for (list, name, kind) in FOREIGN {
            for key in group.sections(list)? {
                let name = key.text(name)?.unwrap_or("(not named)");
                keys.foreign.push(format!("{kind} {}", name.escape_debug()));
            }
        }
        Ok(keys)
    }
}

/// A KMS key's encryption context.
fn context(key: Section<'_>) -> Result<BTreeMap<String, String>, String> {
    let Some(node) = key.get("context") else { return Ok(BTreeMap::new()) };
    let Node::Map(map) = node else { return Err(unusable("kms context", "a map of texts")) };
    let entry = |(key, node): &(String, Node)| match node {
        Node::Text(text) => Ok((key.clone(), text.clone())),
        _ => Err(unusable("kms context", "a map of texts")),
    };
    map.iter().map(entry).collect()
}

/// A map of the metadata.
#[derive(Clone, Copy)]
pub(super) struct Section<'m>(pub(super) &'m Map);

impl<'m> Section<'m> {
    /// An entry, if it is there and not null.
    fn get(self, key: &str) -> Option<&'m Node> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, node)| node).filter(|node| **node != Node::Null)
    }

    pub(super) fn text(self, key: &str) -> Result<Option<&'m str>, String> {
        match self.get(key) {
            None => Ok(None),
            // YAML reads an unquoted `lastmodified` as a time.
            Some(Node::Text(text) | Node::Time(text)) => Ok(Some(text)),
            Some(_) => Err(unusable(key, "a text")),
        }
    }

    fn need(self, what: &str, key: &str) -> Result<&'m str, String> {
        self.text(key)?.filter(|text| !text.is_empty()).ok_or_else(|| unusable(what, "a text"))
    }

    fn sections(self, key: &str) -> Result<Vec<Section<'m>>, String> {
        match self.get(key) {
            None => Ok(Vec::new()),
            Some(Node::List(list)) => list
                .iter()
                .map(|node| match node {
                    Node::Map(map) => Ok(Section(map)),
                    _ => Err(unusable(key, "a list of maps")),
                })
                .collect(),
            Some(_) => Err(unusable(key, "a list of maps")),
        }
    }
}

fn unusable(what: &str, expected: &str) -> String {
    format!("has metadata that cannot be used: {what}, expected {expected}")
}

#[cfg(test)]
mod tests {
    use super::super::document::{Document, Format};
    use super::*;

    fn read(sops: &str) -> Result<Metadata, String> {
        let text = format!("a: 1\nsops: {{{sops}}}\n");
        Metadata::read(&Document::parse(Format::Yaml, &text).unwrap().metadata)
    }

    #[test]
    fn a_kms_key_is_read_with_role_profile_and_context() {
        let metadata = read(
            "kms: [{arn: 'arn:aws:kms:x', role: 'arn:aws:iam:r', aws_profile: '', context: {b: '1', a: '2'}, \
             enc: AQID}]",
        );
        let [key] = metadata.unwrap().keys.kms.try_into().unwrap();
        assert_eq!(
            key,
            KmsKey {
                arn: "arn:aws:kms:x".into(),
                role: Some("arn:aws:iam:r".into()),
                profile: None,
                context: [("a", "2"), ("b", "1")].map(|(key, text)| (key.into(), text.into())).into(),
                enc: vec![1, 2, 3],
            }
        );
    }

    #[test]
    fn one_group_of_keys_is_used_and_several_are_not_supported() {
        let age = "age: [{recipient: age1x, enc: E}]";
        assert_eq!(read(&format!("{age}, shamir_threshold: 2")).unwrap().keys.age[0].recipient, "age1x");
        assert_eq!(read(&format!("key_groups: [{{{age}}}], shamir_threshold: 2")).unwrap().keys.age.len(), 1);
        for (threshold, needs) in
            [("", "needs keys of all of its 2 key groups"), (", shamir_threshold: 1", "of 1 of its 2")]
        {
            let reason = read(&format!("key_groups: [{{{age}}}, {{{age}}}]{threshold}")).unwrap_err();
            assert!(reason.contains(needs) && reason.contains("Shamir"), "{reason}");
        }
        assert!(read("version: 3").unwrap_err().contains("names no key"));
    }

    #[test]
    fn keys_of_other_kinds_are_named() {
        let keys = read(
            "pgp: [{fp: 35C1, enc: x}], gcp_kms: [{resource_id: r}], azure_kv: [{vault_url: u}], \
             hc_vault: [{vault_address: v}], hckms: [{key_id: k}]",
        );
        assert_eq!(
            keys.unwrap().keys.foreign,
            ["PGP key 35C1", "GCP KMS key r", "Azure Key Vault u", "HashiCorp Vault v", "Huawei Cloud KMS key k"]
        );
    }

    #[test]
    fn metadata_of_the_wrong_shape_is_refused_by_name() {
        for (sops, name) in [
            ("age: 1", "age"),
            ("age: [1]", "age"),
            ("age: [{recipient: a}]", "age enc"),
            ("kms: [{enc: E}]", "kms arn"),
            ("kms: [{arn: a, enc: '!'}]", "kms enc"),
            ("kms: [{arn: a, enc: AQID, context: [1]}]", "kms context"),
            ("age: [{enc: E}], mac: [1]", "mac"),
            ("age: [{enc: E}], mac_only_encrypted: maybe", "mac_only_encrypted"),
        ] {
            let reason = read(sops).unwrap_err();
            assert!(reason.starts_with(&format!("has metadata that cannot be used: {name}, expected ")), "{reason}");
        }
    }
}
