//! What a statement is, by its first words; and where the statements of a script end.
//!
//! The first words are enough for what is refused: the extended protocol takes one statement at a time, so nothing hides
//! behind a semicolon. A script that is cut in a wrong place is refused by the server for the same reason.

use crate::error::{Error, QueryErrorKind, Result};

/// What kind of statement it is, as far as that must be known before it is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// It answers rows and, unless a function in it does, changes nothing.
    Reads,
    /// It changes rows, and may answer some.
    Changes,
    /// It leaves something behind on the connection, for whoever gets that next.
    Stateful,
    Other,
}

impl Class {
    /// Looks at the first words.
    ///
    /// # Errors
    ///
    /// For what is not run as SQL; the message says what to call instead.
    pub(crate) fn of(sql: &str) -> Result<Self> {
        let mut words = Words(sql);
        let first = words.next().unwrap_or_default();
        Ok(match first.as_str() {
            "SELECT" | "VALUES" | "TABLE" | "SHOW" => Class::Reads,
            "INSERT" | "UPDATE" | "DELETE" | "MERGE" | "CALL" | "DO" | "TRUNCATE" => Class::Changes,
            "BEGIN" | "START" | "COMMIT" | "END" | "ROLLBACK" | "ABORT" | "SAVEPOINT" | "RELEASE" => {
                return Err(transaction_control());
            }
            "PREPARE" if words.next().as_deref() == Some("TRANSACTION") => return Err(transaction_control()),
            "PREPARE" | "EXECUTE" | "DEALLOCATE" | "DISCARD" => {
                return Err(refused(
                    "PREPARE, EXECUTE, DEALLOCATE and DISCARD are not run as SQL: strongroom prepares \
                                    statements by itself, and cleans a connection when it comes home",
                ));
            }
            "COPY" if Words(sql).any(|word| word == "STDIN" || word == "STDOUT") => {
                return Err(refused(
                    "COPY from or to the client is not run as SQL; use Database::copy_in, \
                                    and Database::fetch to read",
                ));
            }
            "SET" => match (words.next().as_deref(), words.next().as_deref()) {
                (Some("LOCAL" | "CONSTRAINTS"), _) => Class::Other,
                (Some("TRANSACTION"), _) | (Some("SESSION"), Some("CHARACTERISTICS")) => {
                    return Err(transaction_control());
                }
                _ => Class::Stateful,
            },
            "RESET" | "LISTEN" | "UNLISTEN" | "LOAD" => Class::Stateful,
            "CREATE" => {
                let mut next = words.find(|word| !matches!(word.as_str(), "OR" | "REPLACE" | "LOCAL" | "GLOBAL"));
                match next.take().as_deref() {
                    Some("TEMP" | "TEMPORARY") => Class::Stateful,
                    _ => Class::Other,
                }
            }
            _ => Class::Other,
        })
    }
}

fn transaction_control() -> Error {
    Error::transaction(
        "BEGIN, COMMIT, ROLLBACK, SAVEPOINT, RELEASE and SET TRANSACTION are not run as SQL; \
         use Database::session, Database::transaction and Session::savepoint",
    )
}

fn refused(reason: &str) -> Error {
    Error::query(QueryErrorKind::Other, reason)
}

/// The error for a statement that only a connection's sole user may run.
pub(crate) fn belongs_to_a_connection() -> Error {
    refused(
        "SET, LISTEN, LOAD and TEMP objects stay with one connection, which others get after you; \
         use SET LOCAL in a session, or Database::connection",
    )
}

/// The words of a statement in capitals, without comments, parentheses and semicolons between them. Quoted pieces are
/// words too, as they are, and never in capitals.
struct Words<'s>(&'s str);

impl Iterator for Words<'_> {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        loop {
            let (token, length) = Token::first(self.0)?;
            let (text, rest) = self.0.split_at(length);
            self.0 = rest;
            match token {
                Token::Word => return Some(text.to_ascii_uppercase()),
                Token::Quoted => return Some(String::new()),
                Token::Blank | Token::Other => {}
            }
        }
    }
}

/// The statements of a script, in order.
pub(crate) fn statements(script: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let (mut begin, mut at) = (0, 0);
    let (mut is_empty, mut parentheses) = (true, 0_usize);
    // A function's body in SQL, `BEGIN ATOMIC … END`, has semicolons of its own.
    let (mut words, mut bodies) = (Vec::new(), 0_usize);
    while let Some((token, length)) = Token::first(&script[at..]) {
        let text = &script[at..at + length];
        at += length;
        match token {
            Token::Blank => continue,
            Token::Other if text == ";" && parentheses == 0 && bodies == 0 => {
                if !is_empty {
                    found.push(script[begin..at - 1].trim());
                }
                (begin, is_empty) = (at, true);
                words.clear();
                continue;
            }
            Token::Other if text == "(" => parentheses += 1,
            Token::Other if text == ")" => parentheses = parentheses.saturating_sub(1),
            Token::Word => {
                let word = text.to_ascii_uppercase();
                match word.as_str() {
                    "BEGIN" if makes_routine(&words) => bodies += 1,
                    "CASE" if bodies > 0 => bodies += 1,
                    "END" => bodies = bodies.saturating_sub(1),
                    _ => {}
                }
                if words.len() < 4 {
                    words.push(word);
                }
            }
            Token::Other | Token::Quoted => {}
        }
        is_empty = false;
    }
    if !is_empty {
        found.push(script[begin..].trim());
    }
    found
}

/// As psql decides it.
fn makes_routine(words: &[String]) -> bool {
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    matches!(
        words.as_slice(),
        ["CREATE", "FUNCTION" | "PROCEDURE", ..] | ["CREATE", "OR", "REPLACE", "FUNCTION" | "PROCEDURE", ..]
    )
}

/// A piece of SQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    /// White space, or a comment.
    Blank,
    Word,
    /// A string or a name in quotes.
    Quoted,
    /// One character of anything else.
    Other,
}

impl Token {
    /// The first piece, and its length in bytes.
    ///
    /// <https://www.postgresql.org/docs/current/sql-syntax-lexical.html>
    fn first(sql: &str) -> Option<(Token, usize)> {
        let first = sql.chars().next()?;
        let end_of = |length: Option<usize>| length.unwrap_or(sql.len());
        let is_part = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == '$';
        let is_start = |letter: char| letter.is_alphabetic() || letter == '_';
        Some(match first {
            _ if first.is_whitespace() => (Token::Blank, end_of(sql.find(|letter: char| !letter.is_whitespace()))),
            '-' if sql.starts_with("--") => (Token::Blank, end_of(sql.find('\n'))),
            '/' if sql.starts_with("/*") => (Token::Blank, comment(sql)),
            '\'' => (Token::Quoted, quoted(sql, '\'', false)),
            '"' => (Token::Quoted, quoted(sql, '"', false)),
            'e' | 'E' if sql[1..].starts_with('\'') => (Token::Quoted, 1 + quoted(&sql[1..], '\'', true)),
            '$' => match sql[1..].find('$') {
                // A tag has the letters of a name, and does not begin with a digit: `$1` is a parameter.
                Some(length)
                    if sql[1..=length].chars().all(|letter| letter.is_alphanumeric() || letter == '_')
                        && !sql[1..].starts_with(|letter: char| letter.is_ascii_digit()) =>
                {
                    let tag = &sql[..length + 2];
                    (Token::Quoted, end_of(sql[tag.len()..].find(tag).map(|at| at + 2 * tag.len())))
                }
                _ => (Token::Other, 1),
            },
            _ if is_start(first) => (Token::Word, end_of(sql.find(|letter| !is_part(letter)))),
            // Digits, and the letters that follow them, so that those do not pass for a word.
            _ if first.is_ascii_digit() => (Token::Other, end_of(sql.find(|letter| !is_part(letter)))),
            _ => (Token::Other, first.len_utf8()),
        })
    }
}

/// Where a comment in `/* … */`, which may hold others, ends.
fn comment(sql: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    let bytes = sql.as_bytes();
    while at < bytes.len() {
        match &bytes[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    sql.len()
}

/// Where what begins with a quote ends. A doubled quote does not end it; in an `E'…'` neither does one after a backslash.
fn quoted(sql: &str, quote: char, escapes: bool) -> usize {
    let mut letters = sql.char_indices().skip(1).peekable();
    while let Some((at, letter)) = letters.next() {
        if escapes && letter == '\\' {
            letters.next();
        } else if letter == quote && letters.next_if(|(_, next)| *next == quote).is_none() {
            return at + 1;
        }
    }
    sql.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transaction_control_is_refused_whatever_stands_before_it() {
        for sql in [
            "BEGIN",
            " \n commit",
            "-- a comment\nROLLBACK",
            "/* a /* nested */ one */ savepoint a",
            "; ;END",
            "RELEASE a",
            "start transaction",
            "abort",
            "prepare transaction 'a'",
            "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        ] {
            assert!(matches!(Class::of(sql), Err(Error::Transaction { .. })), "{sql}");
        }
    }

    #[test]
    fn what_stays_with_the_connection_is_told_from_what_does_not() {
        for (sql, class) in [
            ("SET search_path = a", Class::Stateful),
            ("SET SESSION search_path = a", Class::Stateful),
            ("SET LOCAL search_path = a", Class::Other),
            ("SET CONSTRAINTS ALL DEFERRED", Class::Other),
            ("create or replace temp view a as select 1", Class::Stateful),
            ("CREATE GLOBAL TEMPORARY TABLE a (b int)", Class::Stateful),
            ("CREATE TABLE temp (b int)", Class::Other),
            ("LISTEN a", Class::Stateful),
            ("(SELECT 1) UNION (SELECT 2)", Class::Reads),
            ("WITH a AS (SELECT 1) SELECT 1", Class::Other),
            ("INSERT INTO a VALUES (1)", Class::Changes),
            ("\"begin\"", Class::Other),
            ("", Class::Other),
        ] {
            assert_eq!(Class::of(sql).unwrap(), class, "{sql}");
        }
    }

    #[test]
    fn a_copy_that_talks_to_the_client_is_refused_and_one_of_the_servers_files_is_not() {
        assert!(Class::of("COPY a FROM STDIN").is_err());
        assert!(Class::of("copy (select 1) to stdout").is_err());
        assert_eq!(Class::of("COPY a FROM '/stdin'").unwrap(), Class::Other);
    }

    #[test]
    fn a_script_is_cut_between_statements_and_nowhere_else() {
        let script = "CREATE TABLE a (b text DEFAULT ';'); -- one; comment
            /* another; /* nested; */ */
            INSERT INTO a VALUES ('it''s;'), (E'\\';'), ($$;$$), ($tag$ ; $$ ; $tag$);;
            CREATE RULE r AS ON INSERT TO a DO ALSO (SELECT 1; SELECT 2);
            CREATE OR REPLACE FUNCTION f(x int) RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END;
            SELECT \";\" FROM a WHERE b = $1 AND c = $2 ;
            ";
        let found = statements(script);
        assert_eq!(found.len(), 5, "{found:#?}");
        assert_eq!(found[0], "CREATE TABLE a (b text DEFAULT ';')");
        assert!(found[1].ends_with("$tag$ ; $$ ; $tag$)"));
        assert!(found[2].ends_with("(SELECT 1; SELECT 2)"));
        assert!(found[3].ends_with("END"));
        assert!(found[4].ends_with("$2"));
        assert_eq!(statements(" ; -- nothing\n ;"), Vec::<&str>::new());
        assert_eq!(statements("SELECT 1"), ["SELECT 1"]);
        assert_eq!(statements("SELECT 'open; end").len(), 1);
    }
}
