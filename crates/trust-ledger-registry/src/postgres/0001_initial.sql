-- The register of certificates, on PostgreSQL. Equal in meaning to the schema on SQLite: same tables, same columns.
--
-- Identifiers are UUIDs made by the client, times are timestamptz, text is ordered by its bytes (COLLATE "C"). Flags are
-- 0 or 1 here too, so that statements read the same on both engines. Text never holds NUL: what reads certificates escapes
-- it. The database's encoding must be UTF8.
--
-- Several processes write at once here. Two tables exist for that, claim and the parts of certificate_count.

-- step: issuers
CREATE TABLE issuer (
    -- UUIDv8: the first 122 bits of SHA-256 over the issuer's identity, so the same issuer has the same id in every
    -- ledger and a registration needs no lookup. Identity is (dn_key, public_key) once a certificate of the issuer is
    -- known, (dn_key, key_id) until then.
    id uuid PRIMARY KEY,
    -- SHA-256 of the distinguished name in its form for comparison (RFC 5280 section 7.1).
    dn_key bytea NOT NULL,
    -- The distinguished name as RFC 4514 text.
    name text COLLATE "C" NOT NULL,
    -- Subject key identifier of the issuer's certificate, or, while that is unknown, the authority key identifier its
    -- certificates name; NULL when there is none.
    key_id bytea,
    -- SubjectPublicKeyInfo, DER; NULL until a certificate of the issuer is known. Such rows are never deleted, so
    -- their number per dn_key is a version that only grows.
    public_key bytea,
    -- When the row was made.
    recorded_at timestamptz NOT NULL
);

-- step: issuers by name
CREATE INDEX issuer_dn ON issuer (dn_key);

-- step: certificates
CREATE TABLE certificate (
    -- UUIDv7 of the moment of registration: newest registered first is the order of ids.
    id uuid PRIMARY KEY,
    -- SHA-256 of der. Nothing else of a certificate is unique.
    fingerprint bytea NOT NULL UNIQUE,
    -- The issuer, by key when its certificate is known and the signature verifies, else by name.
    -- No foreign key: it would lock the issuer's row for every certificate, and issuers are never deleted.
    issuer uuid NOT NULL,
    -- Content octets of the INTEGER in minimal two's complement.
    serial bytea NOT NULL,
    -- Subject's distinguished name, RFC 4514.
    subject text COLLATE "C" NOT NULL,
    -- Issuer's distinguished name as this certificate spells it, RFC 4514.
    issuer_name text COLLATE "C" NOT NULL,
    -- Most specific common name; NULL when there is none.
    common_name text COLLATE "C",
    -- Subject alternative names as a JSON array of {"type", "value"}.
    names text COLLATE "C" NOT NULL,
    -- First moment of validity.
    not_before timestamptz NOT NULL,
    -- Last moment of validity; 9999-12-31T23:59:59Z means never.
    not_after timestamptz NOT NULL,
    -- 0 ca, 1 user, 2 service, 3 device, 4 internal.
    category smallint NOT NULL,
    -- Name of the public key's algorithm, or its OID.
    key_algorithm text COLLATE "C" NOT NULL,
    -- Size of the public key; NULL when the algorithm has none or is unknown.
    key_bits integer,
    -- Name of the signature's algorithm, or its OID.
    signature_algorithm text COLLATE "C" NOT NULL,
    -- 1 when basicConstraints says CA.
    is_ca smallint NOT NULL,
    -- 1 for a precertificate (RFC 6962 section 3.1).
    is_precertificate smallint NOT NULL,
    -- What is weak about the certificate alone: 1 its signature algorithm, 2 its key, 3 both.
    weak smallint NOT NULL,
    -- 1 while another certificate of the same issuer has the serial (a precertificate and its certificate may share).
    duplicate_serial smallint NOT NULL,
    -- 1 while the public key is also in a certificate of another holder.
    key_reused smallint NOT NULL,
    -- First 16 bytes of SHA-256 of the SubjectPublicKeyInfo.
    public_key_hash bytea NOT NULL,
    -- Whom a key may serve without being reused: 64 bits of a hash, for CAs over the subject (cross-signed and renewed
    -- CAs keep their key), else over issuer name and serial (a precertificate has its certificate's key).
    key_holder bigint NOT NULL,
    -- 16 bytes of a hash over the sorted set of names with the common name: what a renewal has in common with its
    -- predecessor.
    names_key bytea NOT NULL,
    -- Where the certificate came from, as the caller names it.
    source text COLLATE "C",
    -- Who answers for it.
    owner text COLLATE "C",
    -- Sorted JSON array of text.
    tags text COLLATE "C" NOT NULL,
    -- Free text.
    note text COLLATE "C",
    -- UUID of the files stored for it, if any.
    files uuid,
    -- issuer.dn_key of the subject when the certificate's key may sign CRLs: a CA's, or one with keyUsage cRLSign.
    list_signer bytea,
    -- issuer.dn_key of the cRLIssuer that its CRLDistributionPoints name (RFC 5280 section 4.2.1.13): whom the issuer
    -- lets revoke it; NULL when they name none.
    list_delegate bytea,
    -- When it was registered.
    registered_at timestamptz NOT NULL,
    -- Copy of the revocation's state, kept by triggers: 0 not revoked, 1 on hold, 2 revoked.
    revoked smallint NOT NULL,
    -- 1 once a writer has seen the certificate past its notAfter. Status is always computed from the clock; this only
    -- tells indexes where expired rows are, so that they are found in the order of ids. Either value may lag behind.
    lapsed smallint NOT NULL,
    -- The certificate, DER.
    der bytea NOT NULL
);

-- step: certificates are random bytes, which nothing compresses
ALTER TABLE certificate ALTER COLUMN der SET STORAGE EXTERNAL;

-- step: certificates by serial
CREATE INDEX certificate_serial ON certificate (serial, issuer, is_precertificate, duplicate_serial);

-- step: certificates by key, for keys used twice
CREATE INDEX certificate_public_key ON certificate (public_key_hash, key_reused, key_holder);

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
    name text COLLATE "C" NOT NULL,
    -- The certificate's notBefore, so that the current one of a name is the last before now.
    not_before timestamptz NOT NULL,
    -- The certificate. No foreign key: that would need one more index to check; deletion removes both.
    certificate uuid NOT NULL,
    PRIMARY KEY (name, not_before, certificate)
);

-- step: names to search by their end
CREATE TABLE certificate_name_reversed (
    -- A name with a dot or an @ in it, its labels turned around, so that *.example.com is a range.
    name text COLLATE "C" NOT NULL,
    -- The certificate, as in certificate_name.
    certificate uuid NOT NULL,
    PRIMARY KEY (name, certificate)
);

-- step: tags to search by
CREATE TABLE certificate_tag (
    -- One element of certificate.tags.
    tag text COLLATE "C" NOT NULL,
    -- The certificate, as in certificate_name.
    certificate uuid NOT NULL,
    PRIMARY KEY (tag, certificate)
);

-- step: revocations
CREATE TABLE revocation (
    -- The issuer that revoked.
    issuer uuid NOT NULL REFERENCES issuer (id),
    -- Serial of the revoked certificate, which need not be known and may be deleted.
    serial bytea NOT NULL,
    -- When it was revoked or put on hold.
    revoked_at timestamptz NOT NULL,
    -- CRLReason (RFC 5280 section 5.3.1): 0 to 6, 9 or 10.
    reason smallint NOT NULL,
    -- When the key is thought to have been compromised (RFC 5280 section 5.3.2).
    invalidity_date timestamptz,
    -- Where the revocation came from, as the caller names it.
    source text COLLATE "C",
    -- The CRL that says so, SHA-256 of its DER; NULL when a caller or a CA's database does.
    list bytea,
    -- 0 while only a CRL says so whose signature could not be checked.
    checked smallint NOT NULL,
    -- When this ledger first recorded it.
    recorded_at timestamptz NOT NULL,
    -- The certificate's notAfter when one was ever known: what says when a CRL may drop the entry.
    not_after timestamptz,
    PRIMARY KEY (issuer, serial)
);

-- step: revocations that nobody vouches for, by their CRL
CREATE INDEX revocation_unchecked ON revocation (list) WHERE checked = 0;

-- step: holds that a CRL set
CREATE INDEX revocation_hold ON revocation (issuer) WHERE reason = 6 AND list IS NOT NULL;

-- step: revocation lists
CREATE TABLE revocation_list (
    -- SHA-256 of the CRL's DER.
    fingerprint bytea NOT NULL,
    -- The issuer whose revocations it was taken for.
    issuer uuid NOT NULL REFERENCES issuer (id),
    -- Content octets of cRLNumber (RFC 5280 section 5.2.3); NULL when it has none.
    number bytea,
    -- thisUpdate.
    this_update timestamptz NOT NULL,
    -- Its issuingDistributionPoint (RFC 5280 section 5.2.5), DER; NULL when it has none. Only lists that have the same
    -- follow each other: the parts of a CRL say nothing about each other's certificates.
    scope bytea,
    -- Where it came from, as the caller names it.
    source text COLLATE "C" NOT NULL,
    -- 0 while its signature could not be checked.
    checked smallint NOT NULL,
    -- 0 when it has entries for issuers who had not delegated them: importing it again looks at these anew.
    whole smallint NOT NULL,
    -- The CRL while its signature could not be checked, DER; NULL when it is too large to keep.
    der bytea,
    -- When it was recorded to its last entry.
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (fingerprint, issuer)
);

-- step: revocation lists in their order
CREATE INDEX revocation_list_order ON revocation_list (issuer, this_update);

-- step: revocation lists kept until they can be checked
CREATE INDEX revocation_list_kept ON revocation_list (issuer) WHERE der IS NOT NULL;

-- step: forged revocation lists
CREATE TABLE forged_list (
    -- SHA-256 of the DER of a CRL that its issuer did not sign: it is evidence, and nothing that it says is believed.
    fingerprint bytea PRIMARY KEY,
    -- The issuer that it names.
    issuer uuid NOT NULL REFERENCES issuer (id),
    -- Where it came from, as the caller names it.
    source text COLLATE "C" NOT NULL,
    -- When it turned up first.
    recorded_at timestamptz NOT NULL
);

-- step: events
CREATE TABLE event (
    -- UUIDv7: the order of ids is the order of changes by one process.
    id uuid PRIMARY KEY,
    -- When the change was made.
    at timestamptz NOT NULL,
    -- Who made it, as the caller says.
    actor text COLLATE "C" NOT NULL,
    -- What was done, such as certificate.registered.
    action text COLLATE "C" NOT NULL,
    -- The certificate or issuer it was done to.
    object uuid NOT NULL,
    -- What was there before, JSON; NULL when nothing was.
    before text COLLATE "C",
    -- What is there now, JSON; NULL when nothing is.
    after text COLLATE "C"
);

-- step: events by object
CREATE INDEX event_object ON event (object, id);

-- step: claims
CREATE UNLOGGED TABLE claim (
    -- What a transaction decided something about: an issuer's serial (16 bytes of the issuer's id, then the serial) or a
    -- public key (certificate.public_key_hash). Whoever adds, moves or removes a certificate or a revocation looks at the
    -- others with its serial and key, and a transaction does not see what another is just adding. So each writes here what
    -- it looks at, before it looks: of two that look at the same, the second waits, and then sees what the first did
    -- (READ COMMITTED) or is to be done again (40001 under REPEATABLE READ).
    -- Unlogged: claims matter to transactions that run at the same time, and none survives a crash.
    subject bytea PRIMARY KEY,
    -- When it was claimed; removed when no transaction can be left from then.
    at timestamptz NOT NULL
);

-- step: counts
CREATE TABLE certificate_count (
    -- The nil UUID for sums. Every change appends rows of its own, with a random UUID, since writers that count up the same
    -- row would wait for each other; now and then these are added to the sums. A count is always the sum over the parts.
    part uuid NOT NULL,
    -- As in certificate.
    issuer uuid NOT NULL,
    -- As in certificate.
    category smallint NOT NULL,
    -- As in certificate.
    revoked smallint NOT NULL,
    -- Day of not_after, in days since 1970-01-01.
    expiry_day integer NOT NULL,
    -- How many more certificates of this kind there are; may be 0 or less.
    n integer NOT NULL,
    PRIMARY KEY (part, issuer, category, revoked, expiry_day)
);

-- step: what the planner is to expect of an issuer
INSERT INTO issuer (id, dn_key, name, recorded_at)
SELECT md5('issuer ' || i)::uuid, sha256(('issuer ' || i)::bytea), 'issuer ' || i, now() FROM generate_series(0, 19) AS i;

-- step: … of certificates
INSERT INTO certificate (id, fingerprint, issuer, serial, subject, issuer_name, common_name, names,
    not_before, not_after, category, key_algorithm, key_bits, signature_algorithm, is_ca, is_precertificate, weak,
    public_key_hash, key_holder, names_key, source, owner, tags, registered_at, lapsed, der,
    duplicate_serial, key_reused, revoked)
SELECT md5('certificate ' || i)::uuid, sha256(('certificate ' || i)::bytea), md5('issuer ' || i % 20)::uuid,
    decode(md5('serial ' || i), 'hex'), 'subject ' || i, 'issuer ' || i % 20, 'name ' || i, '[]',
    now() - i * INTERVAL '10 hours', now() + (500 - i) * INTERVAL '10 hours', i % 5, 'algorithm', 256, 'algorithm', 0, 0, 0,
    decode(md5('key ' || i), 'hex'), i, decode(md5('names ' || i), 'hex'), 'source ' || i % 10, 'owner ' || i % 10, '[]',
    now(), i / 501, 'certificate', 0, 0, 2 * (1 - least(i % 100, 1))
FROM generate_series(1, 1000) AS i;

-- step: … of names
INSERT INTO certificate_name (name, not_before, certificate) SELECT common_name, not_before, id FROM certificate;

-- step: … of reversed names
INSERT INTO certificate_name_reversed (name, certificate) SELECT common_name, id FROM certificate;

-- step: … of tags
INSERT INTO certificate_tag (tag, certificate) SELECT 'tag ' || key_holder % 10, id FROM certificate;

-- step: … of revocations
INSERT INTO revocation (issuer, serial, revoked_at, reason, checked, recorded_at, not_after)
SELECT issuer, serial, now(), key_holder % 6, 1, now(), not_after FROM certificate;

-- step: … of events
INSERT INTO event (id, at, actor, action, object) SELECT id, now(), 'ledger', 'registered', id FROM certificate;

-- step: let the planner look
-- Without statistics, an index by issuer is as good to it as one by serial, and the plans that a service makes in its first
-- minute would read all of an issuer's certificates for each. It keeps these until there are some of the ledger itself.
ANALYZE issuer, certificate, certificate_name, certificate_name_reversed, certificate_tag, revocation, event;

-- step: remove what it has looked at
TRUNCATE issuer, certificate, certificate_name, certificate_name_reversed, certificate_tag, revocation, revocation_list,
    forged_list, event;

-- step: day of expiry
CREATE FUNCTION expiry_day(not_after timestamptz) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (not_after AT TIME ZONE 'UTC')::date - DATE '1970-01-01';

-- step: follow new certificates
CREATE FUNCTION certificates_inserted() RETURNS trigger
LANGUAGE plpgsql
-- Rows are found by index whatever the tables' sizes were when these statements were planned: plans are kept while an
-- empty ledger grows large.
SET enable_seqscan = off
AS $$
DECLARE
    entry record;
BEGIN
    -- Subjects in one order, so that two never wait for each other.
    WITH claimed AS (
        INSERT INTO claim (subject, at)
        SELECT uuid_send(i.issuer) || i.serial AS subject, now() FROM inserted AS i
        UNION SELECT i.public_key_hash, now() FROM inserted AS i ORDER BY subject
        ON CONFLICT (subject) DO UPDATE SET at = excluded.at)
    INSERT INTO certificate_count (part, issuer, category, revoked, expiry_day, n)
    SELECT gen_random_uuid(), i.issuer, i.category, i.revoked, expiry_day(i.not_after), count(*)
    FROM inserted AS i GROUP BY i.issuer, i.category, i.revoked, expiry_day(i.not_after);

    -- Few have anything to do with others.
    FOR entry IN
        SELECT * FROM (
            SELECT i.id, i.issuer, i.serial, i.is_precertificate, i.public_key_hash, i.not_after,
                (SELECT true FROM certificate AS o
                 WHERE o.serial = i.serial AND o.issuer = i.issuer AND o.is_precertificate = i.is_precertificate
                   AND o.id <> i.id LIMIT 1) AS shares_serial,
                coalesce(
                    (SELECT true FROM certificate AS o
                     WHERE o.public_key_hash = i.public_key_hash AND o.key_reused IN (0, 1)
                       AND o.key_holder < i.key_holder LIMIT 1),
                    (SELECT true FROM certificate AS o
                     WHERE o.public_key_hash = i.public_key_hash AND o.key_reused IN (0, 1)
                       AND o.key_holder > i.key_holder LIMIT 1)) AS shares_key,
                (SELECT r.reason FROM revocation AS r WHERE r.issuer = i.issuer AND r.serial = i.serial) AS reason
            FROM inserted AS i) AS found
        WHERE found.shares_serial OR found.shares_key OR found.reason IS NOT NULL
    LOOP
        -- Those that share a serial are all marked, and those that share a key with another holder.
        IF entry.shares_serial THEN
            UPDATE certificate SET duplicate_serial = 1
            WHERE serial = entry.serial AND issuer = entry.issuer AND is_precertificate = entry.is_precertificate
              AND duplicate_serial = 0;
        END IF;
        IF entry.shares_key THEN
            UPDATE certificate SET key_reused = 1 WHERE public_key_hash = entry.public_key_hash AND key_reused = 0;
        END IF;
        -- A revocation that was known before marks its certificate, and learns how long that lives.
        IF entry.reason IS NOT NULL THEN
            UPDATE certificate SET revoked = CASE entry.reason WHEN 6 THEN 1 ELSE 2 END WHERE id = entry.id;
            UPDATE revocation SET not_after = entry.not_after
            WHERE issuer = entry.issuer AND serial = entry.serial AND (not_after IS NULL OR not_after < entry.not_after);
        END IF;
    END LOOP;
    RETURN NULL;
END
$$;

-- step: follow each insert
CREATE TRIGGER certificate_insert AFTER INSERT ON certificate
REFERENCING NEW TABLE AS inserted
FOR EACH STATEMENT EXECUTE FUNCTION certificates_inserted();

-- step: follow a deleted certificate
CREATE FUNCTION certificate_deleted() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    INSERT INTO claim (subject, at) VALUES (uuid_send(OLD.issuer) || OLD.serial, now()), (OLD.public_key_hash, now())
    ON CONFLICT (subject) DO UPDATE SET at = excluded.at;

    INSERT INTO certificate_count (part, issuer, category, revoked, expiry_day, n)
    VALUES (gen_random_uuid(), OLD.issuer, OLD.category, OLD.revoked, expiry_day(OLD.not_after), -1);

    -- The last certificate with a serial shares it no more.
    IF OLD.duplicate_serial = 1 THEN
        UPDATE certificate SET duplicate_serial = 0
        WHERE serial = OLD.serial AND issuer = OLD.issuer AND is_precertificate = OLD.is_precertificate
          AND (SELECT count(*) FROM (
              SELECT FROM certificate AS o
              WHERE o.serial = OLD.serial AND o.issuer = OLD.issuer AND o.is_precertificate = OLD.is_precertificate
              LIMIT 2) AS sharing) = 1;
    END IF;

    -- Nor does the last holder of a key.
    IF OLD.key_reused = 1 THEN
        UPDATE certificate SET key_reused = 0
        WHERE public_key_hash = OLD.public_key_hash AND key_reused = 1
          AND (SELECT min(o.key_holder) = max(o.key_holder) FROM certificate AS o
               WHERE o.public_key_hash = OLD.public_key_hash);
    END IF;
    RETURN NULL;
END
$$;

-- step: follow each deletion
CREATE TRIGGER certificate_delete AFTER DELETE ON certificate
FOR EACH ROW EXECUTE FUNCTION certificate_deleted();

-- step: count a changed certificate
CREATE FUNCTION certificate_recounted() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    INSERT INTO certificate_count (part, issuer, category, revoked, expiry_day, n)
    VALUES (gen_random_uuid(), OLD.issuer, OLD.category, OLD.revoked, expiry_day(OLD.not_after), -1),
           (gen_random_uuid(), NEW.issuer, NEW.category, NEW.revoked, expiry_day(NEW.not_after), 1);
    RETURN NULL;
END
$$;

-- step: count each changed certificate
CREATE TRIGGER certificate_count_update AFTER UPDATE OF issuer, category, revoked, not_after ON certificate
FOR EACH ROW WHEN ((OLD.issuer, OLD.category, OLD.revoked, OLD.not_after)
    IS DISTINCT FROM (NEW.issuer, NEW.category, NEW.revoked, NEW.not_after))
EXECUTE FUNCTION certificate_recounted();

-- step: follow a certificate to its issuer
CREATE FUNCTION certificate_moved() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    INSERT INTO claim (subject, at)
    VALUES (uuid_send(OLD.issuer) || OLD.serial, now()), (uuid_send(NEW.issuer) || NEW.serial, now())
    ON CONFLICT (subject) DO UPDATE SET at = excluded.at;

    UPDATE certificate AS c SET duplicate_serial = shared.by_several
    FROM (VALUES (OLD.issuer), (NEW.issuer)) AS of (issuer)
    CROSS JOIN LATERAL (
        SELECT CASE WHEN count(*) > 1 THEN 1 ELSE 0 END AS by_several FROM (
            SELECT FROM certificate AS o
            WHERE o.serial = NEW.serial AND o.issuer = of.issuer AND o.is_precertificate = NEW.is_precertificate
            LIMIT 2) AS sharing) AS shared
    WHERE c.serial = NEW.serial AND c.issuer = of.issuer AND c.is_precertificate = NEW.is_precertificate
      AND c.duplicate_serial <> shared.by_several;
    RETURN NULL;
END
$$;

-- step: follow each certificate to its issuer
CREATE TRIGGER certificate_move AFTER UPDATE OF issuer ON certificate
FOR EACH ROW WHEN (OLD.issuer <> NEW.issuer) EXECUTE FUNCTION certificate_moved();

-- step: mark the certificates of a revocation
CREATE FUNCTION revocation_changed() RETURNS trigger
LANGUAGE plpgsql
AS $$
DECLARE
    -- What there was, where there is nothing any more.
    said revocation := CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
    state smallint := CASE WHEN TG_OP = 'DELETE' THEN 0 WHEN said.reason = 6 THEN 1 ELSE 2 END;
BEGIN
    INSERT INTO claim (subject, at) VALUES (uuid_send(said.issuer) || said.serial, now())
    ON CONFLICT (subject) DO UPDATE SET at = excluded.at;
    UPDATE certificate SET revoked = state WHERE serial = said.serial AND issuer = said.issuer AND revoked <> state;
    RETURN NULL;
END
$$;

-- step: mark the certificates of each revocation
CREATE TRIGGER revocation_change AFTER INSERT OR DELETE OR UPDATE OF reason ON revocation
FOR EACH ROW EXECUTE FUNCTION revocation_changed();
