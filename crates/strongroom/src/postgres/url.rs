//! `postgres://` URLs and texts of keys and values, as libpq reads them (PostgreSQL manual, 34.1.1 and 34.1.2).
//!
//! Both are taken apart into keys and values first; what each key means is in `parameters`.
//!
//! No error shows a piece of the text that might belong to a password: when the text is malformed, that can be any
//! piece of which it is not certain what it is. So `@` is refused where it is not expected: whatever is before it may
//! be the rest of a password that was not percent-encoded.

mod parameters;

use zeroize::Zeroizing;

use self::parameters::Parameters;
use super::settings::Settings;
use crate::error::{Error, Result};
use crate::secret::Secret;

/// The settings that a text names, and its password.
pub(super) fn parse(text: &str) -> Result<(Settings, Option<Secret>)> {
    let rest = ["postgres://", "postgresql://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    let parameters = match rest {
        Some(rest) => from_url(rest),
        None => from_keys_and_values(text),
    };
    parameters.and_then(Parameters::settings).map_err(|reason| Error::config("url", reason))
}

/// What follows the scheme: `[user[:password]@][host[:port]][,…][/database][?key=value[&…]]`.
fn from_url(text: &str) -> Result<Parameters, String> {
    let mut parameters = Parameters::default();
    // libpq: user and password are there if an @ comes before the first slash; the password may hold anything but these
    // two.
    let (login, rest) = match text.find(['@', '/']) {
        Some(at) if text[at..].starts_with('@') => (Some(&text[..at]), &text[at + 1..]),
        _ => (None, text),
    };
    if rest.contains('@') {
        return Err(
            "holds an @ where none is expected; in a user, password or database it is written %40, and / is %2F"
                .to_owned(),
        );
    }
    if let Some(login) = login {
        let (user, password) = login.split_once(':').map_or((login, None), |(user, password)| (user, Some(password)));
        // `postgres://:secret@host` names no user.
        if !user.is_empty() {
            parameters.set("user", decode(user, "the user")?)?;
        }
        if let Some(password) = password.filter(|password| !password.is_empty()) {
            parameters.set("password", decode(password, "the password")?)?;
        }
    }
    let (rest, query) = rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
    let (servers, database) = rest.split_once('/').map_or((rest, None), |(servers, name)| (servers, Some(name)));
    if !servers.is_empty() {
        for server in servers.split(',') {
            let (host, port) = split_server(server)?;
            parameters.add_server(&decode(host, "a host")?, &decode(port, "a port")?)?;
        }
    }
    if let Some(database) = database.filter(|name| !name.is_empty()) {
        parameters.set("dbname", decode(database, "the database")?)?;
    }
    for pair in query.into_iter().flat_map(|query| query.split('&')).filter(|pair| !pair.is_empty()) {
        let Some((key, value)) = pair.split_once('=') else {
            return Err("has a parameter without = after the ?; expected ?key=value&key=value".to_owned());
        };
        let key = decode(key, "a parameter's key")?;
        let value = decode(value, "a parameter's value")?;
        // JDBC's spelling, which libpq takes in URLs.
        match (key.as_str(), value.as_str()) {
            ("ssl", "true") => parameters.set("sslmode", "require".to_owned().into())?,
            _ => parameters.set(&key, value)?,
        }
    }
    Ok(parameters)
}

/// Host and port of `host`, `host:port`, `[address]`, `[address]:port` or `:port`.
fn split_server(server: &str) -> Result<(&str, &str), String> {
    if let Some(rest) = server.strip_prefix('[') {
        let (address, rest) = rest.split_once(']').ok_or("has a [ without ]; expected [IPv6 address]:port")?;
        return match rest.strip_prefix(':') {
            Some(port) => Ok((address, port)),
            None if rest.is_empty() => Ok((address, "")),
            None => Err("has something other than :port after the ]".to_owned()),
        };
    }
    match server.split_once(':') {
        Some((_, port)) if port.contains(':') => {
            Err("has more than one : in a host; an IPv6 address is written in brackets, [::1]:5432".to_owned())
        }
        Some((host, port)) => Ok((host, port)),
        None => Ok((server, "")),
    }
}

/// Takes percent-encoding out. A `+` stays one, as in libpq.
fn decode(text: &str, what: &str) -> Result<Zeroizing<String>, String> {
    // As long as the text at most, so that no reallocation leaves a copy of a password behind.
    let mut decoded = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|byte| char::from(byte).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err(format!("has in {what} a % without two hexadecimal digits; a % itself is written %25"));
        };
        match (high * 16 + low) as u8 {
            0 => return Err(format!("has in {what} a %00, which is forbidden")),
            byte => decoded.push(byte),
        }
    }
    match std::str::from_utf8(&decoded) {
        Ok(decoded) => Ok(decoded.to_owned().into()),
        Err(_) => Err(format!("has in {what} percent-encoded bytes that are no UTF-8")),
    }
}

/// `key = value key='value with spaces, \' and \\'`.
fn from_keys_and_values(text: &str) -> Result<Parameters, String> {
    let mut parameters = Parameters::default();
    let mut rest = text.trim_start();
    let mut last: Option<&str> = None;
    while !rest.is_empty() {
        let end = rest.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(rest.len());
        let key = &rest[..end];
        let Some(value) = rest[end..].trim_start().strip_prefix('=') else {
            return Err(match last {
                Some(last) => format!("has no = after what follows the value of {last}; a value with spaces is quoted"),
                None => "is neither a URL, postgres://user@host:port/database, nor text of key=value".to_owned(),
            });
        };
        // What follows a password that is not quoted may be a part of it.
        if let Some(last @ ("password" | "sslpassword")) = last
            && !parameters::is_known(key)
        {
            return Err(format!("has an unknown key after {last}; a value with spaces is quoted, '…'"));
        }
        let (value, after) = read_value(value.trim_start()).map_err(|reason| match parameters::is_known(key) {
            true => format!("{reason} in the value of {key}"),
            false => reason.to_owned(),
        })?;
        parameters.set(key, value)?;
        last = Some(key);
        rest = after.trim_start();
    }
    Ok(parameters)
}

/// Reads one value; answers it and what follows.
fn read_value(text: &str) -> Result<(Zeroizing<String>, &str), &'static str> {
    // As long as the text at most, so that no reallocation leaves a copy of a password behind.
    let mut value = Zeroizing::new(String::with_capacity(text.len()));
    let quoted = text.starts_with('\'');
    let text = text.strip_prefix('\'').unwrap_or(text);
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\'' if quoted => return Ok((value, &text[at + 1..])),
            c if !quoted && c.is_whitespace() => return Ok((value, &text[at..])),
            // libpq drops a backslash that ends an unquoted value.
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            c => value.push(c),
        }
    }
    match quoted {
        true => Err("has a quote that is not closed"),
        false => Ok((value, "")),
    }
}

#[cfg(test)]
mod tests;
