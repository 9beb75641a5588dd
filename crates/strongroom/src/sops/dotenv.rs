//! Dotenv files: a variable in each line, the section `sops` flattened into variables `sops_…`.
//!
//! As the Go program reads them: no quoting, no spaces taken off, `\n` means a newline, `#` begins a comment at the
//! beginning of a line only. `sops_age__list_0__map_enc` is the entry `enc` of the first item of the list `age`.

use super::document::{MAX_DEPTH, Map, Node, unique};

/// The most items of a list in the metadata.
const MAX_ITEMS: usize = 1000;

/// The most items of all lists in the metadata together: a short line can ask for many, in lists within lists.
const MAX_ALL_ITEMS: usize = 10_000;

/// The most variables `sops_…`: each is looked up among all before it.
const MAX_FLATTENED: usize = 5_000;

/// The variables, and the section `sops` if there is one.
pub(super) fn read(text: &str) -> Result<(Map, Option<Map>), String> {
    let mut variables = Map::new();
    let mut flattened = Map::new();
    for (number, line) in text.split('\n').enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((key, value)) = line.split_once('=') else {
            return Err(format!("cannot be read as dotenv: line {} is no NAME=VALUE", number + 1));
        };
        let value = Node::Text(value.replace("\\n", "\n"));
        match key.strip_prefix("sops_") {
            Some(key) => flattened.push((key.to_owned(), value)),
            None => variables.push((key.to_owned(), value)),
        }
    }
    unique(&variables)
        .and_then(|()| unique(&flattened))
        .map_err(|reason| format!("cannot be read as dotenv: {reason}"))?;
    if flattened.len() > MAX_FLATTENED {
        return Err(format!("has metadata that cannot be read: more than {MAX_FLATTENED} variables sops_…"));
    }
    let mut metadata = Map::new();
    let mut room = MAX_ALL_ITEMS;
    for (key, value) in flattened {
        let unusable = || format!("has metadata that cannot be read: sops_{}", key.escape_debug());
        let steps = steps(&key).ok_or_else(unusable)?;
        insert(&mut metadata, &steps, value, &mut room).ok_or_else(unusable)?;
    }
    Ok((variables, (!metadata.is_empty()).then_some(metadata)))
}

enum Step<'k> {
    Key(&'k str),
    Item(usize),
}

/// Splits a flattened key: `a__list_0__map_b`.
fn steps(key: &str) -> Option<Vec<Step<'_>>> {
    const MAP: &str = "__map_";
    const LIST: &str = "__list_";
    let end = |text: &str| [text.find(MAP), text.find(LIST)].into_iter().flatten().min().unwrap_or(text.len());
    let (first, mut rest) = key.split_at(end(key));
    let mut steps = vec![Step::Key(first)];
    while !rest.is_empty() {
        let (is_list, text) = match (rest.strip_prefix(MAP), rest.strip_prefix(LIST)) {
            (Some(text), _) => (false, text),
            (_, Some(text)) => (true, text),
            (None, None) => return None,
        };
        let (step, tail) = text.split_at(end(text));
        steps.push(match is_list {
            true => Step::Item(step.parse().ok().filter(|&item| item < MAX_ITEMS)?),
            false => Step::Key(step),
        });
        rest = tail;
        if steps.len() > MAX_DEPTH {
            return None;
        }
    }
    Some(steps)
}

/// Puts a value where its steps lead; None when another value is in the way, or lists have no `room` for more items.
fn insert(map: &mut Map, steps: &[Step<'_>], value: Node, room: &mut usize) -> Option<()> {
    let [Step::Key(key), rest @ ..] = steps else { return None };
    let at = map.iter().position(|(name, _)| name == key).unwrap_or_else(|| {
        map.push(((*key).to_owned(), Node::Null));
        map.len() - 1
    });
    place(&mut map[at].1, rest, value, room)
}

fn place(node: &mut Node, steps: &[Step<'_>], value: Node, room: &mut usize) -> Option<()> {
    match (steps, &mut *node) {
        ([], Node::Null) => *node = value,
        ([Step::Key(_), ..], Node::Map(map)) => return insert(map, steps, value, room),
        ([Step::Key(_), ..], Node::Null) => {
            *node = Node::Map(Map::new());
            return place(node, steps, value, room);
        }
        ([Step::Item(item), rest @ ..], Node::List(list)) => {
            while list.len() <= *item {
                *room = room.checked_sub(1)?;
                list.push(Node::Null);
            }
            return place(&mut list[*item], rest, value, room);
        }
        ([Step::Item(_), ..], Node::Null) => {
            *node = Node::List(Vec::new());
            return place(node, steps, value, room);
        }
        _ => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_taken_as_they_are_and_the_metadata_is_unfolded() {
        let text =
            "#comment\nA= a=b # c\\nd \n\nsops_age__list_1__map_enc=E\nsops_age__list_0__map_enc=F\nsops_mac=M\n";
        let (variables, metadata) = read(text).unwrap();
        assert_eq!(variables, [("A".to_owned(), Node::Text(" a=b # c\nd ".to_owned()))]);
        let item = |text: &str| Node::Map(vec![("enc".to_owned(), Node::Text(text.to_owned()))]);
        let expected = [
            ("age".to_owned(), Node::List(vec![item("F"), item("E")])),
            ("mac".to_owned(), Node::Text("M".to_owned())),
        ];
        assert_eq!(metadata.unwrap(), expected);
    }

    #[test]
    fn unusable_lines_are_refused_without_their_content() {
        let deep = format!("sops_a{}=canary", "__map_a".repeat(200));
        for (text, expected) in [
            ("A=1\ncanary", "line 2 is no NAME=VALUE"),
            ("A=1\nA=canary", "key A is given twice"),
            ("sops_a__list_x=canary", "sops_a__list_x"),
            ("sops_a__list_1000000000=canary", "sops_a__list_1000000000"),
            ("sops_a=canary\nsops_a__map_b=canary", "sops_a__map_b"),
            (&deep, "sops_a__map_a"),
        ] {
            let reason = read(text).unwrap_err();
            assert!(reason.contains(expected) && !reason.contains("canary"), "{text}: {reason}");
        }
    }

    /// 4 MiB of such lines would take minutes, or gigabytes.
    #[test]
    fn metadata_that_would_grow_far_beyond_the_file_is_refused() {
        let lists: String = (0..50).map(|line| format!("sops_a{line}{}=\n", "__list_999".repeat(20))).collect();
        assert_eq!(
            read(&lists).unwrap_err(),
            format!("has metadata that cannot be read: sops_a0{}", "__list_999".repeat(20))
        );
        let many: String = (0..=MAX_FLATTENED).map(|line| format!("sops_{line}=\n")).collect();
        assert_eq!(read(&many).unwrap_err(), "has metadata that cannot be read: more than 5000 variables sops_…");
    }
}
