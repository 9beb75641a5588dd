//! PEM.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Characters of a line (RFC 7468 §2).
const LINE: usize = 64;

/// A certificate in PEM (RFC 7468 §5).
pub fn pem(der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut text = String::with_capacity(body.len() + body.len() / LINE + 64);
    text.push_str("-----BEGIN CERTIFICATE-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        // Base64 is ASCII, so any place is a character's boundary.
        let (line, after) = rest.split_at(rest.len().min(LINE));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pem_has_lines_of_64_characters_and_holds_what_was_put_in() {
        for length in [1, 47, 48, 49, 1_000] {
            let content: Vec<u8> = (0..length).map(|byte| (byte % 251) as u8).collect();
            let text = pem(&content);
            let body: String = text.lines().filter(|line| !line.starts_with('-')).collect();
            assert_eq!(openssl::base64::decode_block(&body).unwrap(), content);
            assert!(text.lines().all(|line| line.len() <= LINE), "{text}");
        }
    }
}
