-- Plans that stay good while an empty ledger grows large. A connection keeps the plans of its statements until the server
-- has looked at the tables again, a minute later at best, and by then an import has added some hundred thousand rows. Many
-- keys are looked up in a small table by reading all of it; by the same plan, thousands of statements read all of the large one.
-- So here each key is a lookup of its own, by index.

-- step: certificates of many fingerprints
CREATE FUNCTION known_certificates(fingerprints bytea[]) RETURNS TABLE (fingerprint bytea, id uuid)
LANGUAGE sql STABLE
SET enable_seqscan = off
AS $$
    SELECT c.fingerprint, c.id FROM unnest(fingerprints) AS k (fingerprint)
    CROSS JOIN LATERAL (SELECT o.fingerprint, o.id FROM certificate AS o WHERE o.fingerprint = k.fingerprint OFFSET 0) AS c
$$;

-- step: certificates of many serials
CREATE FUNCTION certificates_of_serials(of_issuer uuid, serials bytea[]) RETURNS TABLE (serial bytea, id uuid)
LANGUAGE sql STABLE
SET enable_seqscan = off
AS $$
    SELECT c.serial, c.id FROM unnest(serials) AS k (serial)
    CROSS JOIN LATERAL (
        SELECT o.serial, o.id FROM certificate AS o WHERE o.serial = k.serial AND o.issuer = of_issuer OFFSET 0) AS c
$$;

-- step: revocations of many serials
CREATE FUNCTION revocations_of_serials(of_issuer uuid, serials bytea[])
RETURNS TABLE (serial bytea, reason smallint, revoked_at timestamptz, checked smallint)
LANGUAGE sql STABLE
SET enable_seqscan = off
AS $$
    SELECT r.serial, r.reason, r.revoked_at, r.checked FROM unnest(serials) AS k (serial)
    CROSS JOIN LATERAL (
        SELECT o.serial, o.reason, o.revoked_at, o.checked FROM revocation AS o
        WHERE o.issuer = of_issuer AND o.serial = k.serial OFFSET 0) AS r
$$;

-- step: no machine code to follow new certificates
-- It looks up some rows of an index for each. For thousands at once the sum of their costs is above jit_above_cost, and to
-- compile takes as long as to run what is compiled, or longer.
ALTER FUNCTION certificates_inserted() SET jit = off;
