//! "Did you mean": the known name nearest to one that is not known.

/// The nearest name, if one is near: at most a third of it must be changed, or the last part is the same.
pub(super) fn nearest<'n>(name: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    // Longer than every known name; comparing it would only take time.
    if name.len() > 100 {
        return None;
    }
    let last = |path: &str| path.rsplit('.').next().map(str::to_owned);
    known
        .into_iter()
        .map(|candidate| match last(candidate) == last(name) {
            true => (1, candidate),
            false => (distance(name, candidate), candidate),
        })
        .filter(|(distance, candidate)| *distance * 3 <= candidate.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Letters to insert, leave out or replace (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[to.len()]
}
