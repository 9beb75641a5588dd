-- What replaces a certificate is looked for with each record that is read. The index now holds all that the search
-- orders by, and the id that tells a certificate from itself: nothing is sorted, and of a certificate whose names
-- nobody else has no second row is read.

-- step: certificates by their set of names, in the order of replacements
CREATE INDEX certificate_replacement ON certificate (names_key, not_before, id);

-- step: certificates by their set of names alone
DROP INDEX certificate_names;
