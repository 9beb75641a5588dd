-- The register of certificates.
--
-- Times are microseconds since 1970-01-01T00:00:00Z; identifiers are UUIDs of 16 bytes made by the client. Text never
-- holds NUL: what reads certificates escapes it.

-- step: issuers
CREATE TABLE issuer (
    -- UUIDv8: the first 122 bits of SHA-256 over the issuer's identity, so the same issuer has the same id in every
    -- ledger and a registration needs no lookup. Identity is (dn_key, public_key) once a certificate of the issuer is
    -- known, (dn_key, key_id) until then.
    id BLOB PRIMARY KEY NOT NULL,
    -- SHA-256 of the distinguished name in its form for comparison (RFC 5280 section 7.1).
    dn_key BLOB NOT NULL,
    -- The distinguished name as RFC 4514 text.
    name TEXT NOT NULL,
    -- Subject key identifier of the issuer's certificate, or, while that is unknown, the authority key identifier its
    -- certificates name; NULL when there is none.
    key_id BLOB,
    -- SubjectPublicKeyInfo, DER; NULL until a certificate of the issuer is known. Such rows are never deleted, so
    -- their number per dn_key is a version that only grows.
    public_key BLOB,
    -- When the row was made.
    recorded_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- step: issuers by name
CREATE INDEX issuer_dn ON issuer (dn_key);

-- step: certificates
CREATE TABLE certificate (
    -- UUIDv7 of the moment of registration: newest registered first is the order of ids.
    id BLOB PRIMARY KEY NOT NULL,
    -- SHA-256 of der. Nothing else of a certificate is unique.
    fingerprint BLOB NOT NULL UNIQUE,
    -- The issuer, by key when its certificate is known and the signature verifies, else by name.
    -- Deferred to the end of the unit, which spares a copy of every page that the insert changes.
    issuer BLOB NOT NULL REFERENCES issuer (id) DEFERRABLE INITIALLY DEFERRED,
    -- Content octets of the INTEGER in minimal two's complement.
    serial BLOB NOT NULL,
    -- Subject's distinguished name, RFC 4514.
    subject TEXT NOT NULL,
    -- Issuer's distinguished name as this certificate spells it, RFC 4514.
    issuer_name TEXT NOT NULL,
    -- Most specific common name; NULL when there is none.
    common_name TEXT,
    -- Subject alternative names as a JSON array of {"type", "value"}.
    names TEXT NOT NULL,
    -- First moment of validity.
    not_before INTEGER NOT NULL,
    -- Last moment of validity; 9999-12-31T23:59:59Z means never.
    not_after INTEGER NOT NULL,
    -- 0 ca, 1 user, 2 service, 3 device, 4 internal.
    category INTEGER NOT NULL,
    -- Name of the public key's algorithm, or its OID.
    key_algorithm TEXT NOT NULL,
    -- Size of the public key; NULL when the algorithm has none or is unknown.
    key_bits INTEGER,
    -- Name of the signature's algorithm, or its OID.
    signature_algorithm TEXT NOT NULL,
    -- 1 when basicConstraints says CA.
    is_ca INTEGER NOT NULL,
    -- 1 for a precertificate (RFC 6962 section 3.1).
    is_precertificate INTEGER NOT NULL,
    -- What is weak about the certificate alone: 1 its signature algorithm, 2 its key, 3 both.
    weak INTEGER NOT NULL,
    -- 1 while another certificate of the same issuer has the serial (a precertificate and its certificate may share).
    duplicate_serial INTEGER NOT NULL,
    -- 1 while the public key is also in a certificate of another holder.
    key_reused INTEGER NOT NULL,
    -- First 16 bytes of SHA-256 of the SubjectPublicKeyInfo.
    public_key_hash BLOB NOT NULL,
    -- Whom a key may serve without being reused: 64 bits of a hash, for CAs over the subject (cross-signed and renewed
    -- CAs keep their key), else over issuer name and serial (a precertificate has its certificate's key).
    key_holder INTEGER NOT NULL,
    -- 16 bytes of a hash over the sorted set of names with the common name: what a renewal has in common with its
    -- predecessor.
    names_key BLOB NOT NULL,
    -- Where the certificate came from, as the caller names it.
    source TEXT,
    -- Who answers for it.
    owner TEXT,
    -- Sorted JSON array of text.
    tags TEXT NOT NULL,
    -- Free text.
    note TEXT,
    -- UUID of the files stored for it, if any.
    files BLOB,
    -- issuer.dn_key of the subject when the certificate's key may sign CRLs: a CA's, or one with keyUsage cRLSign.
    list_signer BLOB,
    -- issuer.dn_key of the cRLIssuer that its CRLDistributionPoints name (RFC 5280 section 4.2.1.13): whom the issuer
    -- lets revoke it; NULL when they name none.
    list_delegate BLOB,
    -- When it was registered.
    registered_at INTEGER NOT NULL,
    -- Copy of the revocation's state, kept by triggers: 0 not revoked, 1 on hold, 2 revoked.
    revoked INTEGER NOT NULL,
    -- 1 once a writer has seen the certificate past its notAfter. Status is always computed from the clock; this only
    -- tells indexes where expired rows are, so that they are found in the order of ids. Either value may lag behind.
    lapsed INTEGER NOT NULL,
    -- The certificate, DER.
    der BLOB NOT NULL
) STRICT;

-- step: certificates by serial
CREATE INDEX certificate_serial ON certificate (serial, issuer, is_precertificate);

-- step: certificates by key, for keys used twice
CREATE INDEX certificate_public_key ON certificate (public_key_hash, key_holder);

-- step: certificates by their set of names, for replacements
CREATE INDEX certificate_names ON certificate (names_key, not_before);

-- step: certificates by issuer
CREATE INDEX certificate_issuer ON certificate (issuer, id);

-- step: certificates by category
CREATE INDEX certificate_category ON certificate (category, id);

-- step: certificates by owner
CREATE INDEX certificate_owner ON certificate (owner, id) WHERE owner IS NOT NULL;

-- step: certificates by source
CREATE INDEX certificate_source ON certificate (source, id) WHERE source IS NOT NULL;

-- step: certificates by stored files
CREATE INDEX certificate_files ON certificate (files) WHERE files IS NOT NULL;

-- step: certificates whose keys may sign CRLs
CREATE INDEX certificate_list_signer ON certificate (list_signer, issuer) WHERE list_signer IS NOT NULL;

-- step: certificates whose CRLs another signs
CREATE INDEX certificate_list_delegate ON certificate (list_delegate, issuer) WHERE list_delegate IS NOT NULL;

-- step: certificates by end of validity
CREATE INDEX certificate_expiry ON certificate (lapsed, not_after, revoked, id);

-- step: valid and expired certificates, newest registered first
CREATE INDEX certificate_unrevoked ON certificate (lapsed, id) WHERE revoked = 0;

-- step: revoked and held certificates, newest registered first
CREATE INDEX certificate_revoked ON certificate (revoked, id) WHERE revoked > 0;

-- step: certificates registered before their validity began
CREATE INDEX certificate_postdated ON certificate (not_before, id) WHERE not_before > registered_at;

-- step: certificates with findings
CREATE INDEX certificate_finding ON certificate (id) WHERE weak + duplicate_serial + key_reused > 0;

-- step: names to search by
CREATE TABLE certificate_name (
    -- Common name or subject alternative name in its form for search, at most 255 bytes.
    name TEXT NOT NULL,
    -- The certificate's notBefore, so that the current one of a name is the last before now.
    not_before INTEGER NOT NULL,
    -- The certificate. No foreign key: that would need one more index to check; deletion removes both.
    certificate BLOB NOT NULL,
    PRIMARY KEY (name, not_before, certificate)
) STRICT, WITHOUT ROWID;

-- step: names to search by their end
CREATE TABLE certificate_name_reversed (
    -- A name with a dot or an @ in it, its labels turned around, so that *.example.com is a range.
    name TEXT NOT NULL,
    -- The certificate, as in certificate_name.
    certificate BLOB NOT NULL,
    PRIMARY KEY (name, certificate)
) STRICT, WITHOUT ROWID;

-- step: tags to search by
CREATE TABLE certificate_tag (
    -- One element of certificate.tags.
    tag TEXT NOT NULL,
    -- The certificate, as in certificate_name.
    certificate BLOB NOT NULL,
    PRIMARY KEY (tag, certificate)
) STRICT, WITHOUT ROWID;

-- step: revocations
CREATE TABLE revocation (
    -- The issuer that revoked.
    issuer BLOB NOT NULL REFERENCES issuer (id),
    -- Serial of the revoked certificate, which need not be known and may be deleted.
    serial BLOB NOT NULL,
    -- When it was revoked or put on hold.
    revoked_at INTEGER NOT NULL,
    -- CRLReason (RFC 5280 section 5.3.1): 0 to 6, 9 or 10.
    reason INTEGER NOT NULL,
    -- When the key is thought to have been compromised (RFC 5280 section 5.3.2).
    invalidity_date INTEGER,
    -- Where the revocation came from, as the caller names it.
    source TEXT,
    -- The CRL that says so, SHA-256 of its DER; NULL when a caller or a CA's database does.
    list BLOB,
    -- 0 while only a CRL says so whose signature could not be checked.
    checked INTEGER NOT NULL,
    -- When this ledger first recorded it.
    recorded_at INTEGER NOT NULL,
    -- The certificate's notAfter when one was ever known: what says when a CRL may drop the entry.
    not_after INTEGER,
    PRIMARY KEY (issuer, serial)
) STRICT, WITHOUT ROWID;

-- step: revocations that nobody vouches for, by their CRL
CREATE INDEX revocation_unchecked ON revocation (list) WHERE checked = 0;

-- step: holds that a CRL set
CREATE INDEX revocation_hold ON revocation (issuer) WHERE reason = 6 AND list IS NOT NULL;

-- step: revocation lists
CREATE TABLE revocation_list (
    -- SHA-256 of the CRL's DER.
    fingerprint BLOB NOT NULL,
    -- The issuer whose revocations it was taken for.
    issuer BLOB NOT NULL REFERENCES issuer (id),
    -- Content octets of cRLNumber (RFC 5280 section 5.2.3); NULL when it has none.
    number BLOB,
    -- thisUpdate.
    this_update INTEGER NOT NULL,
    -- Its issuingDistributionPoint (RFC 5280 section 5.2.5), DER; NULL when it has none. Only lists that have the same
    -- follow each other: the parts of a CRL say nothing about each other's certificates.
    scope BLOB,
    -- Where it came from, as the caller names it.
    source TEXT NOT NULL,
    -- 0 while its signature could not be checked.
    checked INTEGER NOT NULL,
    -- 0 when it has entries for issuers who had not delegated them: importing it again looks at these anew.
    whole INTEGER NOT NULL,
    -- The CRL while its signature could not be checked, DER; NULL when it is too large to keep.
    der BLOB,
    -- When it was recorded to its last entry.
    recorded_at INTEGER NOT NULL,
    PRIMARY KEY (fingerprint, issuer)
) STRICT;

-- step: revocation lists in their order
CREATE INDEX revocation_list_order ON revocation_list (issuer, this_update);

-- step: revocation lists kept until they can be checked
CREATE INDEX revocation_list_kept ON revocation_list (issuer) WHERE der IS NOT NULL;

-- step: forged revocation lists
CREATE TABLE forged_list (
    -- SHA-256 of the DER of a CRL that its issuer did not sign: it is evidence, and nothing that it says is believed.
    fingerprint BLOB PRIMARY KEY NOT NULL,
    -- The issuer that it names.
    issuer BLOB NOT NULL REFERENCES issuer (id),
    -- Where it came from, as the caller names it.
    source TEXT NOT NULL,
    -- When it turned up first.
    recorded_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- step: events
CREATE TABLE event (
    -- UUIDv7: the order of ids is the order of changes by one process.
    id BLOB PRIMARY KEY NOT NULL,
    -- When the change was made.
    at INTEGER NOT NULL,
    -- Who made it, as the caller says.
    actor TEXT NOT NULL,
    -- What was done, such as certificate.registered.
    action TEXT NOT NULL,
    -- The certificate or issuer it was done to.
    object BLOB NOT NULL,
    -- What was there before, JSON; NULL when nothing was.
    before TEXT,
    -- What is there now, JSON; NULL when nothing is.
    after TEXT
) STRICT, WITHOUT ROWID;

-- step: events by object
CREATE INDEX event_object ON event (object, id);

-- step: counts
CREATE TABLE certificate_count (
    -- As in certificate.
    issuer BLOB NOT NULL,
    -- As in certificate.
    category INTEGER NOT NULL,
    -- As in certificate.
    revoked INTEGER NOT NULL,
    -- Day of not_after, in days since 1970-01-01.
    expiry_day INTEGER NOT NULL,
    -- How many certificates there are of this kind; may be 0.
    n INTEGER NOT NULL,
    PRIMARY KEY (issuer, category, revoked, expiry_day)
) STRICT, WITHOUT ROWID;

-- step: count a new certificate
CREATE TRIGGER certificate_count_insert AFTER INSERT ON certificate
BEGIN
    -- Not as an upsert: its update could abort, for which every page that the insert changes would be copied.
    INSERT INTO certificate_count (issuer, category, revoked, expiry_day, n)
    SELECT NEW.issuer, NEW.category, NEW.revoked, NEW.not_after / 86400000000 - (NEW.not_after % 86400000000 < 0), 0
    WHERE NOT EXISTS (
        SELECT 1 FROM certificate_count
        WHERE issuer = NEW.issuer AND category = NEW.category AND revoked = NEW.revoked
          AND expiry_day = NEW.not_after / 86400000000 - (NEW.not_after % 86400000000 < 0));
    UPDATE certificate_count SET n = n + 1
    WHERE issuer = NEW.issuer AND category = NEW.category AND revoked = NEW.revoked
      AND expiry_day = NEW.not_after / 86400000000 - (NEW.not_after % 86400000000 < 0);
END;

-- step: count a deleted certificate
CREATE TRIGGER certificate_count_delete AFTER DELETE ON certificate
BEGIN
    UPDATE certificate_count SET n = n - 1
    WHERE issuer = OLD.issuer AND category = OLD.category AND revoked = OLD.revoked
      AND expiry_day = OLD.not_after / 86400000000 - (OLD.not_after % 86400000000 < 0);
END;

-- step: count a changed certificate
CREATE TRIGGER certificate_count_update AFTER UPDATE OF issuer, category, revoked, not_after ON certificate
BEGIN
    UPDATE certificate_count SET n = n - 1
    WHERE issuer = OLD.issuer AND category = OLD.category AND revoked = OLD.revoked
      AND expiry_day = OLD.not_after / 86400000000 - (OLD.not_after % 86400000000 < 0);
    INSERT INTO certificate_count (issuer, category, revoked, expiry_day, n)
    VALUES (NEW.issuer, NEW.category, NEW.revoked,
            NEW.not_after / 86400000000 - (NEW.not_after % 86400000000 < 0), 1)
    ON CONFLICT (issuer, category, revoked, expiry_day) DO UPDATE SET n = n + 1;
END;

-- step: mark the certificate a new one shares its serial with
CREATE TRIGGER certificate_duplicate_insert AFTER INSERT ON certificate WHEN NEW.duplicate_serial = 1
BEGIN
    -- Those that share a serial are marked all or, while there is only one, not at all: so one to mark is enough.
    UPDATE certificate SET duplicate_serial = 1
    WHERE duplicate_serial = 0 AND id = (
        SELECT other.id FROM certificate AS other
        WHERE other.serial = NEW.serial AND other.issuer = NEW.issuer
          AND other.is_precertificate = NEW.is_precertificate AND other.id <> NEW.id
        LIMIT 1);
END;

-- step: mark the certificates a new one shares its key with
CREATE TRIGGER certificate_key_insert AFTER INSERT ON certificate
WHEN NEW.key_reused = 1 AND (
    SELECT other.key_reused FROM certificate AS other
    WHERE other.public_key_hash = NEW.public_key_hash AND other.id <> NEW.id LIMIT 1) = 0
BEGIN
    UPDATE certificate SET key_reused = 1 WHERE public_key_hash = NEW.public_key_hash AND key_reused = 0;
END;

-- step: unmark the last certificate with a serial
CREATE TRIGGER certificate_duplicate_delete AFTER DELETE ON certificate WHEN OLD.duplicate_serial = 1
BEGIN
    UPDATE certificate SET duplicate_serial = 0
    WHERE serial = OLD.serial AND issuer = OLD.issuer AND is_precertificate = OLD.is_precertificate
      AND (SELECT count(*) FROM (
          SELECT 1 FROM certificate AS other
          WHERE other.serial = OLD.serial AND other.issuer = OLD.issuer
            AND other.is_precertificate = OLD.is_precertificate
          LIMIT 2)) = 1;
END;

-- step: unmark the certificates of a key's last holder
CREATE TRIGGER certificate_key_delete AFTER DELETE ON certificate
WHEN OLD.key_reused = 1
    AND (SELECT min(other.key_holder) FROM certificate AS other WHERE other.public_key_hash = OLD.public_key_hash)
      = (SELECT max(other.key_holder) FROM certificate AS other WHERE other.public_key_hash = OLD.public_key_hash)
BEGIN
    UPDATE certificate SET key_reused = 0 WHERE public_key_hash = OLD.public_key_hash AND key_reused = 1;
END;

-- step: mark shared serials anew when an issuer becomes known
CREATE TRIGGER certificate_duplicate_issuer AFTER UPDATE OF issuer ON certificate
BEGIN
    UPDATE certificate SET duplicate_serial = (
        SELECT count(*) > 1 FROM (
            SELECT 1 FROM certificate AS other
            WHERE other.serial = OLD.serial AND other.issuer = OLD.issuer
              AND other.is_precertificate = OLD.is_precertificate
            LIMIT 2))
    WHERE serial = OLD.serial AND issuer = OLD.issuer AND is_precertificate = OLD.is_precertificate;
    UPDATE certificate SET duplicate_serial = (
        SELECT count(*) > 1 FROM (
            SELECT 1 FROM certificate AS other
            WHERE other.serial = NEW.serial AND other.issuer = NEW.issuer
              AND other.is_precertificate = NEW.is_precertificate
            LIMIT 2))
    WHERE serial = NEW.serial AND issuer = NEW.issuer AND is_precertificate = NEW.is_precertificate;
END;

-- step: tell a known revocation how long its new certificate lives
CREATE TRIGGER certificate_revoked_insert AFTER INSERT ON certificate WHEN NEW.revoked > 0
BEGIN
    UPDATE revocation SET not_after = NEW.not_after
    WHERE issuer = NEW.issuer AND serial = NEW.serial AND (not_after IS NULL OR not_after < NEW.not_after);
END;

-- step: mark a certificate as revoked
CREATE TRIGGER revocation_insert AFTER INSERT ON revocation
BEGIN
    UPDATE certificate SET revoked = CASE NEW.reason WHEN 6 THEN 1 ELSE 2 END
    WHERE serial = NEW.serial AND issuer = NEW.issuer;
END;

-- step: mark a certificate whose revocation changed
CREATE TRIGGER revocation_update AFTER UPDATE OF reason ON revocation
BEGIN
    UPDATE certificate SET revoked = CASE NEW.reason WHEN 6 THEN 1 ELSE 2 END
    WHERE serial = NEW.serial AND issuer = NEW.issuer;
END;

-- step: mark a certificate whose hold was lifted
CREATE TRIGGER revocation_delete AFTER DELETE ON revocation
BEGIN
    UPDATE certificate SET revoked = 0 WHERE serial = OLD.serial AND issuer = OLD.issuer;
END;
