//! Records: what the ledger knows of a certificate, and what a caller adds to it.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::certificate::Category;
use crate::name::Name;
use crate::revocation_reason::RevocationReason;
use crate::serial::Serial;
use crate::timestamp;

mod finding;
mod status;

pub use finding::Finding;
pub(crate) use finding::weak_column;
pub(crate) use status::{ON_HOLD, REVOKED};
pub use status::{Status, UnknownStatus};

/// A certificate as the ledger holds it, without its DER.
///
/// Serialises to the fields and names of the ledger's JSON, in this order; fields may be added and never change. Its
/// [`status`](Record::status), [`replaced_by`](Record::replaced_by) and [`findings`](Record::findings) are computed
/// when it is read.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct Record {
    /// The ledger's id for the certificate: a UUIDv7 of its registration.
    pub id: Uuid,
    /// The serial in minimal lower-case hex, `-` in front when it is negative.
    pub serial: String,
    /// The serial in decimal.
    pub serial_decimal: String,
    /// The subject's most specific common name.
    pub common_name: Option<String>,
    /// The subject, RFC 4514.
    pub subject: String,
    /// The issuer as this certificate spells it, RFC 4514.
    pub issuer: String,
    /// The issuer's id in every ledger; changes once, when a certificate of the issuer becomes known.
    pub issuer_id: Uuid,
    /// Subject alternative names, in the order of the certificate.
    pub names: Vec<Name>,
    /// First moment of validity.
    #[serde(serialize_with = "timestamp::serialize")]
    pub not_before: OffsetDateTime,
    /// Last moment of validity; 9999-12-31T23:59:59Z means never.
    #[serde(serialize_with = "timestamp::serialize")]
    pub not_after: OffsetDateTime,
    /// The status at the moment of reading.
    pub status: Status,
    /// What the certificate is used for.
    pub category: Category,
    /// The public key's algorithm, or its OID.
    pub key_algorithm: String,
    /// Size of the public key in bits, where that means something.
    pub key_bits: Option<u32>,
    /// The signature's algorithm, or its OID.
    pub signature_algorithm: String,
    /// Whether basicConstraints says CA.
    pub is_ca: bool,
    /// SHA-256 of the DER in lower-case hex.
    pub fingerprint_sha256: String,
    /// When it was revoked or put on hold.
    #[serde(serialize_with = "timestamp::option::serialize")]
    pub revoked_at: Option<OffsetDateTime>,
    /// Why it was revoked.
    pub revocation_reason: Option<RevocationReason>,
    /// False while only a CRL says that it is revoked whose signature could not be checked, because its issuer is not
    /// known; `None` when it is not revoked.
    pub revocation_checked: Option<bool>,
    /// Where the certificate came from.
    pub source: Option<String>,
    /// Who answers for it.
    pub owner: Option<String>,
    /// Tags, sorted.
    pub tags: Vec<String>,
    /// Free text.
    pub note: Option<String>,
    /// The newest certificate that took its place: same issuer, category and names, later notBefore but not
    /// after this one's end, notAfter not earlier, not revoked. A precertificate is replaced by its certificate and replaces nothing.
    pub replaced_by: Option<Uuid>,
    /// What is wrong with it.
    pub findings: Vec<Finding>,
    /// When it was registered.
    #[serde(serialize_with = "timestamp::serialize")]
    pub registered_at: OffsetDateTime,
    /// UUID of the files stored for it; left out of JSON when there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<Uuid>,
}

impl Record {
    /// The name for people: the common name, else the first alternative name (a U-label where there is one), else the
    /// subject, else the fingerprint. May hold any character but NUL; escape it before it goes to a terminal.
    pub fn display_name(&self) -> String {
        let common_name = self.common_name.clone().filter(|name| !name.trim().is_empty());
        let alternative = || self.names.iter().map(Name::display).find(|name| !name.trim().is_empty());
        let subject = || Some(self.subject.clone()).filter(|subject| !subject.is_empty());
        common_name.or_else(alternative).or_else(subject).unwrap_or_else(|| self.fingerprint_sha256.clone())
    }
}

/// What a caller says about certificates it registers.
///
/// Text is trimmed, NUL becomes `\00`, and empty text counts as none. Of a certificate already known nothing is changed:
/// see [`Registry::annotate`](crate::Registry::annotate).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Annotations {
    /// Where the certificates come from, such as `vault` or a file's name.
    pub source: Option<String>,
    /// Who answers for them.
    pub owner: Option<String>,
    /// Tags; order and repetition do not matter.
    pub tags: Vec<String>,
    /// What they are used for; by default what each says about itself
    /// ([`Certificate::default_category`](crate::Certificate::default_category)).
    pub category: Option<Category>,
    /// Free text.
    pub note: Option<String>,
    /// UUID of the files stored for them.
    pub files: Option<Uuid>,
}

impl Annotations {
    /// The form in which they are stored.
    pub(crate) fn normal(&self) -> Annotations {
        let text = |text: &Option<String>| text.as_deref().and_then(normal_text);
        Annotations {
            source: text(&self.source),
            owner: text(&self.owner),
            tags: normal_tags(&self.tags),
            category: self.category,
            note: text(&self.note),
            files: self.files,
        }
    }
}

/// Text as it is stored: trimmed, without NUL; `None` when nothing is left.
pub(crate) fn normal_text(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty()).then(|| without_nul(text))
}

/// Text in which nothing is that PostgreSQL cannot take, as it is stored and looked for.
pub(crate) fn without_nul(text: &str) -> String {
    text.replace('\0', "\\00")
}

/// Tags as they are stored: sorted, each once.
pub(crate) fn normal_tags(tags: &[String]) -> Vec<String> {
    let mut tags: Vec<String> = tags.iter().filter_map(|tag| normal_text(tag)).collect();
    tags.sort();
    tags.dedup();
    tags
}

/// What became of a certificate that was registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registration {
    /// It is new and now durable, under this id.
    Registered(Uuid),
    /// The ledger had it before, under this id; nothing was changed.
    AlreadyKnown(Uuid),
}

impl Registration {
    /// The certificate's id, new or not.
    pub fn id(self) -> Uuid {
        match self {
            Registration::Registered(id) | Registration::AlreadyKnown(id) => id,
        }
    }
}

/// A revocation as the ledger holds it, with or without a certificate.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct Revocation {
    /// The issuer that revoked.
    pub issuer_id: Uuid,
    /// The revoked serial, in minimal hex.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub serial: Serial,
    /// When it was revoked or put on hold.
    #[serde(serialize_with = "timestamp::serialize")]
    pub revoked_at: OffsetDateTime,
    /// Why.
    pub reason: RevocationReason,
    /// When the key is thought to have been compromised.
    #[serde(serialize_with = "timestamp::option::serialize")]
    pub invalidity_date: Option<OffsetDateTime>,
    /// Where the revocation came from.
    pub source: Option<String>,
    /// False while only a CRL says so whose signature could not be checked.
    pub checked: bool,
    /// When this ledger recorded it.
    #[serde(serialize_with = "timestamp::serialize")]
    pub recorded_at: OffsetDateTime,
}

/// An issuer with certificates or revocations in the ledger.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct Issuer {
    /// Its id, the same in every ledger.
    pub id: Uuid,
    /// Its distinguished name, RFC 4514.
    pub name: String,
    /// Its key identifier in lower-case hex, when one is known.
    pub key_id: Option<String>,
    /// Whether a certificate of the issuer is known, so that signatures are checked.
    pub known: bool,
}

/// Who a certificate's category is: its code in the database.
pub(crate) fn category_code(category: Category) -> i64 {
    match category {
        Category::Ca => 0,
        Category::User => 1,
        Category::Service => 2,
        Category::Device => 3,
        Category::Internal => 4,
    }
}

pub(crate) fn category_of(code: i64) -> Option<Category> {
    Category::ALL.into_iter().find(|category| category_code(*category) == code)
}

/// A change to what callers said about a certificate. What is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnnotationChange {
    /// The new owner; empty text removes it.
    pub owner: Option<String>,
    /// The tags, in the place of those that are there; the two lists below are applied to them.
    #[serde(default)]
    pub tags: Option<Vec<String>>,
    /// Tags to add.
    pub add_tags: Vec<String>,
    /// Tags to remove; a tag in both lists is added.
    pub remove_tags: Vec<String>,
    /// The new note; empty text removes it.
    pub note: Option<String>,
    /// The new category.
    pub category: Option<Category>,
    /// The new source; empty text removes it.
    pub source: Option<String>,
}
