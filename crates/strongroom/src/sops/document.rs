//! A file's content as a tree, in the order in which it is written: the MAC runs over the values in that order.

use super::{dotenv, json, yaml};

/// How deep maps and lists may be nested.
pub(super) const MAX_DEPTH: usize = 100;

/// A map's entries, in document order; no two have the same key.
pub(super) type Map = Vec<(String, Node)>;

/// A value of the file, as it stands there: encrypted ones are texts.
#[derive(Debug, PartialEq)]
pub(super) enum Node {
    Map(Map),
    List(Vec<Node>),
    Text(String),
    Int(i64),
    Float(f64),
    Bool(bool),
    /// A YAML timestamp, in the form in which it goes into the MAC (RFC 3339).
    Time(String),
    Null,
}

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Yaml,
    Json,
    Dotenv,
    /// JSON whose one key, `data`, is the whole content of some file.
    Binary,
}

/// A file that has been read, and not yet decrypted.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) format: Format,
    /// What the MAC runs over: each YAML document in turn, one map otherwise, without `sops`.
    pub(super) branches: Vec<Map>,
    /// The section `sops`.
    pub(super) metadata: Map,
}

impl Document {
    /// Reads a file. Its extension says the format; where it does not, the content does.
    pub(super) fn read(extension: Option<&str>, content: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(content)
            .map_err(|error| format!("is not UTF-8 (byte {}), so it is no SOPS file", error.valid_up_to()))?;
        match extension.map(str::to_ascii_lowercase).as_deref() {
            Some("yaml" | "yml") => Self::parse(Format::Yaml, text),
            Some("json") => Self::parse(Format::Json, text),
            Some("env") => Self::parse(Format::Dotenv, text),
            Some("ini") => {
                Err("is an ini file, which is not supported; expected yaml, json, dotenv or binary".to_owned())
            }
            _ => Self::sniff(text),
        }
    }

    pub(super) fn parse(format: Format, text: &str) -> Result<Self, String> {
        let (branches, metadata) = match format {
            Format::Yaml => take_metadata(yaml::read(text)?)?,
            Format::Json | Format::Binary => take_metadata(vec![json::read(text)?])?,
            Format::Dotenv => {
                let (branch, metadata) = dotenv::read(text)?;
                (vec![branch], metadata)
            }
        };
        let metadata =
            metadata.filter(|metadata| !metadata.is_empty()).ok_or("is not a SOPS file: it has no section sops")?;
        Ok(Document { format, branches, metadata })
    }

    fn sniff(text: &str) -> Result<Self, String> {
        if text.trim_start().starts_with('{') {
            let mut document = Self::parse(Format::Json, text)?;
            if let [branch] = document.branches.as_slice()
                && let [(key, Node::Text(_))] = branch.as_slice()
                && key == "data"
            {
                document.format = Format::Binary;
            }
            return Ok(document);
        }
        if text.lines().any(|line| line.starts_with("sops_") && line.contains('=')) {
            return Self::parse(Format::Dotenv, text);
        }
        if text.lines().any(|line| line.trim_end() == "[sops]") {
            return Err("is an ini file, which is not supported; expected yaml, json, dotenv or binary".to_owned());
        }
        Self::parse(Format::Yaml, text)
    }

    /// The value at a path: keys joined by dots. A key that has dots itself is found as well.
    pub(super) fn find(&self, path: &str) -> Result<&Node, String> {
        // As the Go program does: a name is looked for in the first document.
        let mut found = Vec::new();
        if let Some(branch) = self.branches.first() {
            collect(branch, path, &mut found);
        }
        match found.as_slice() {
            [Node::Map(map)] => {
                let keys: Vec<_> = map.iter().take(5).map(|(key, _)| key.escape_debug().to_string()).collect();
                let more = if map.len() > keys.len() { ", …" } else { "" };
                Err(format!(
                    "is a map, expected a value; go on with a dot and one of its keys: {}{more}",
                    keys.join(", ")
                ))
            }
            [Node::List(_)] => Err("is a list, expected a value".to_owned()),
            [node] => Ok(node),
            [] => Err("is not in the file".to_owned()),
            _ => Err("fits several keys, because some have dots themselves; rename one of them".to_owned()),
        }
    }
}

/// Every value that a path can mean.
fn collect<'n>(map: &'n Map, path: &str, found: &mut Vec<&'n Node>) {
    for (key, node) in map {
        match (path.strip_prefix(key.as_str()), node) {
            (Some(""), node) => found.push(node),
            (Some(rest), Node::Map(inner)) if rest.starts_with('.') => collect(inner, &rest[1..], found),
            _ => {}
        }
    }
}

/// Takes the key `sops` out of every branch; that of the first one counts.
fn take_metadata(mut branches: Vec<Map>) -> Result<(Vec<Map>, Option<Map>), String> {
    let mut metadata = None;
    for (index, branch) in branches.iter_mut().enumerate() {
        let Some(at) = branch.iter().position(|(key, _)| key == "sops") else { continue };
        let (_, section) = branch.remove(at);
        if index == 0 {
            let Node::Map(section) = section else {
                return Err("is not a SOPS file: its key sops holds no section".to_owned());
            };
            metadata = Some(section);
        }
    }
    Ok((branches, metadata))
}

/// Refuses a key that is given twice: programs differ in which one they take.
pub(super) fn unique(map: &Map) -> Result<(), String> {
    let mut keys: Vec<_> = map.iter().map(|(key, _)| key.as_str()).collect();
    keys.sort_unstable();
    match keys.windows(2).find(|pair| pair[0] == pair[1]) {
        None => Ok(()),
        Some(pair) => Err(format!("key {} is given twice", pair[0].escape_debug())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn yaml(text: &str) -> Document {
        Document::parse(Format::Yaml, &format!("{text}\nsops: {{version: 3.9.0}}\n")).unwrap()
    }

    #[test]
    fn a_path_walks_into_maps_and_finds_keys_with_dots() {
        let document = yaml("a: {b: {c: deep}}\ntls.key: flat\nd: {e.f: mixed}\nlist: [1]");
        for (path, value) in [("a.b.c", "deep"), ("tls.key", "flat"), ("d.e.f", "mixed")] {
            assert_eq!(document.find(path), Ok(&Node::Text(value.to_owned())), "{path}");
        }
        assert_eq!(document.find("a.b.x").unwrap_err(), "is not in the file");
        assert_eq!(document.find("sops.version").unwrap_err(), "is not in the file");
        assert_eq!(document.find("list").unwrap_err(), "is a list, expected a value");
        assert_eq!(
            document.find("a").unwrap_err(),
            "is a map, expected a value; go on with a dot and one of its keys: b"
        );
        let reason = yaml("a: {b: one}\na.b: two").find("a.b").unwrap_err();
        assert!(reason.starts_with("fits several keys"), "{reason}");
    }

    #[test]
    fn the_format_follows_from_the_extension_and_then_from_the_content() {
        let format = |extension, content: &str| Document::read(extension, content.as_bytes()).map(|read| read.format);
        let json = r#"{"data": "x", "sops": {"version": "3"}}"#;
        let env = "a=x\nsops_version=3\n";
        assert_eq!(format(Some("json"), json), Ok(Format::Json));
        assert_eq!(format(Some("pem"), json), Ok(Format::Binary));
        assert_eq!(format(None, json), Ok(Format::Binary));
        assert_eq!(format(Some("enc"), r#"{"a": "x", "sops": {"version": "3"}}"#), Ok(Format::Json));
        assert_eq!(format(Some("YML"), "a: x\nsops: {version: 3}"), Ok(Format::Yaml));
        assert_eq!(format(None, "a: x\nsops: {version: 3}"), Ok(Format::Yaml));
        assert_eq!(format(Some("env"), env), Ok(Format::Dotenv));
        assert_eq!(format(Some("txt"), env), Ok(Format::Dotenv));
        for (extension, content) in [(Some("ini"), ""), (None, "[a]\nb = c\n[sops]\nversion = 3\n")] {
            assert!(format(extension, content).unwrap_err().starts_with("is an ini file, which is not supported"));
        }
        for content in ["", "\0\0", "just text", "a: b", "{}", "- a", "sops: 1", "a=b"] {
            assert!(format(None, content).is_err(), "{content:?}");
        }
        assert!(Document::read(None, b"a: \xff").unwrap_err().starts_with("is not UTF-8 (byte 3)"));
    }
}
