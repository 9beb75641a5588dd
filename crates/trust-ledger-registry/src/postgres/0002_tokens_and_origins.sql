-- Tokens, by which a service knows who asks; and in events, from where a change was asked for.

-- step: tokens
CREATE TABLE token (
    -- UUIDv7 of the moment when it was made; part of the token's text.
    id uuid PRIMARY KEY,
    -- What the audit trail calls whoever presents it.
    name text COLLATE "C" NOT NULL,
    -- The name while it is taken; NULL once the token is revoked, or another took the name of one that had expired.
    taken_name text COLLATE "C" UNIQUE,
    -- What it allows: reader, registrar, revoker or admin.
    role text COLLATE "C" NOT NULL,
    -- SHA-256 of the text's secret part. That has 256 random bits, so there is nothing that a slow hash would protect.
    secret_hash bytea NOT NULL,
    -- When it was made.
    created_at timestamptz NOT NULL,
    -- Who made it, as in event.actor.
    created_by text COLLATE "C" NOT NULL,
    -- From when on it is good for nothing; NULL is never.
    expires_at timestamptz,
    -- When it was revoked; NULL when it was not.
    revoked_at timestamptz,
    -- When it was last let in, to within a minute or so; NULL when it never was.
    last_used_at timestamptz
);

-- step: origins of events
-- From where the change was asked for, such as a client's address; NULL when it was not asked for over a network.
ALTER TABLE event ADD COLUMN origin text COLLATE "C";

-- step: requests of events
-- The id of the request that the change answered; NULL when there was none.
ALTER TABLE event ADD COLUMN request text COLLATE "C";
