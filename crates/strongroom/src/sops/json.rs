//! JSON, in document order.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::document::{Map, Node, unique};

/// The file's object. Nested at most 127 deep, serde_json's own bound.
pub(super) fn read(text: &str) -> Result<Map, String> {
    match serde_json::from_str(text) {
        Ok(Node::Map(map)) => Ok(map),
        Ok(_) => Err("is not a SOPS file: expected a JSON object".to_owned()),
        // Its messages hold no content: every value is taken, and of keys only a repeated one is named.
        Err(error) => Err(format!("cannot be read as JSON: {error}")),
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    // The Go program reads every number of a JSON file as a float, and so it goes into the MAC.
    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Float(value as f64))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Float(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Node, E> {
        Ok(Node::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut map = Map::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        unique(&map).map_err(A::Error::custom)?;
        Ok(Node::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_kept_and_numbers_are_floats() {
        let read = read(r#"{"b": [1, -2.5, true, null], "a": "\ud83d\ude00\/"}"#).unwrap();
        let list = vec![Node::Float(1.0), Node::Float(-2.5), Node::Bool(true), Node::Null];
        assert_eq!(read, [("b".to_owned(), Node::List(list)), ("a".to_owned(), Node::Text("😀/".to_owned()))]);
    }

    #[test]
    fn what_is_no_json_object_is_refused_with_line_and_column_and_without_content() {
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        for (text, expected) in [
            (r#"{"a": 1, "a": 2}"#, "key a is given twice at line 1 column 16"),
            (r#"{"a": {"b": 1, "b": 2}}"#, "key b is given twice"),
            (r#"{"a": "canary"#, "EOF while parsing a string at line 1"),
            ("{\"a\": \"canary\"\n", "EOF while parsing an object at line 2"),
            (r#"{"a": canary}"#, "expected value at line 1 column 7"),
            (r#"{"a": "\ud800"}"#, "line 1"),
            (r#"{} canary"#, "trailing characters at line 1"),
            ("[1]", "expected a JSON object"),
            (&deep, "recursion limit exceeded"),
        ] {
            let reason = read(text).unwrap_err();
            assert!(reason.contains(expected) && !reason.contains("canary"), "{text}: {reason}");
        }
    }
}
