//! What the fuzz targets run (`fuzz/`), and the tests with inputs of their own.

use super::age::{Identity, Message};
use super::contents;
use super::document::{Document, Format};
use super::metadata::Metadata;

/// The seeds: a file of each format, and the value that it gives.
pub const SEEDS: [(&str, &[u8], &[u8]); 4] = [
    ("yaml", include_bytes!("../../tests/fixtures/sops/types.yaml"), b"canary passphrase"),
    ("json", include_bytes!("../../tests/fixtures/sops/types.json"), b"canary passphrase"),
    ("dotenv", include_bytes!("../../tests/fixtures/sops/variables.env"), b"canary passphrase"),
    ("binary", include_bytes!("../../tests/fixtures/sops/blob.bin"), b"canary \0\xff content\n"),
];

/// Reads a file of this format that may be anything. It is refused, or gives the seed's value: whoever has no key makes
/// no file that gives another. Whether it gave the value.
///
/// # Panics
///
/// When it gives another value.
pub fn read(format: &str, content: &[u8]) -> bool {
    let (_, _, expected) = SEEDS.iter().find(|(name, ..)| *name == format).expect("one of the four formats");
    let (format, name) = match format {
        "yaml" => (Format::Yaml, "db_key"),
        "json" => (Format::Json, "db_key"),
        "dotenv" => (Format::Dotenv, "db_key"),
        _ => (Format::Binary, "data"),
    };
    let Ok(text) = std::str::from_utf8(content) else { return false };
    match decrypt(format, name, text) {
        Ok(secret) => {
            assert!(*secret == **expected, "a forged file was accepted");
            true
        }
        Err(reason) => {
            // A key may have that name; values are only in what is encrypted.
            assert!(!reason.contains("canary") || text.contains("canary"), "a reason holds a value");
            false
        }
    }
}

fn decrypt(format: Format, name: &str, text: &str) -> Result<zeroize::Zeroizing<Vec<u8>>, String> {
    const KEYS: &str = include_str!("../../tests/fixtures/sops/keys/age.txt");
    let document = Document::parse(format, text)?;
    let wanted = document.find(name)?;
    let metadata = Metadata::read(&document.metadata)?;
    metadata.mac.as_ref().ok_or("has no MAC")?;
    let identity = KEYS.lines().find_map(Identity::parse).expect("the fixtures' key");
    let open = |enc: &str| Message::parse(enc)?.open(&identity);
    let data_key = metadata.keys.age.iter().find_map(|key| open(&key.enc)).ok_or("no key")??;
    if data_key.len() != 32 {
        return Err("no key".to_owned());
    }
    contents::read(&document, &metadata, &data_key, wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mutated seeds, the same ones each time. More of them: `STRONGROOM_FUZZ_ROUNDS`.
    #[test]
    fn a_mutated_file_is_refused_or_gives_its_value() {
        let rounds = std::env::var("STRONGROOM_FUZZ_ROUNDS").map_or(3_000, |rounds| rounds.parse().unwrap());
        for (format, seed, _) in SEEDS {
            assert!(read(format, seed), "{format}");
            let mut random = Random(0x9e37_79b9_7f4a_7c15);
            let mut accepted = 0;
            for _ in 0..rounds {
                let mut content = seed.to_vec();
                for _ in 0..=random.below(3) {
                    random.mutate(&mut content);
                }
                accepted += usize::from(read(format, &content));
            }
            // Some mutations mean nothing, such as those in keys of other recipients; most must be seen.
            assert!(accepted * 2 < rounds, "{format}: {accepted} of {rounds} mutated files were accepted");
        }
    }

    /// Xorshift: enough to choose mutations, and the same everywhere.
    struct Random(u64);

    impl Random {
        fn below(&mut self, end: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            usize::try_from(self.0 >> 33).unwrap() % end.max(1)
        }

        fn mutate(&mut self, content: &mut Vec<u8>) {
            const TOKENS: [&str; 16] = [
                "\n",
                ": ",
                "- ",
                "{",
                "}",
                "[",
                "]",
                "\"",
                "#",
                "---\n",
                "db_key: x\n",
                "&a ",
                "*a",
                "!!str ",
                "ENC[",
                "=",
            ];
            let at = self.below(content.len());
            let end = (at + 1 + self.below(64)).min(content.len());
            let elsewhere = self.below(content.len());
            match self.below(6) {
                0 if at < content.len() => content[at] ^= 1 << self.below(7),
                1 => drop(content.drain(at..end)),
                2 => {
                    let part = content[at..end].to_vec();
                    content.splice(elsewhere..elsewhere, part);
                }
                3 => drop(content.splice(at..at, TOKENS[self.below(TOKENS.len())].bytes())),
                4 => {
                    // Lines change places.
                    let mut lines: Vec<_> =
                        content.split_inclusive(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
                    let (one, two) = (self.below(lines.len()), self.below(lines.len()));
                    if !lines.is_empty() {
                        lines.swap(one, two);
                    }
                    *content = lines.concat();
                }
                _ => content.truncate(content.len() - self.below(content.len() / 8)),
            }
        }
    }
}
