//! What failed, once more at the end: the output of a long run is often cut at its beginning, and a failed test's own words
//! stand in the middle, before those of all later crates.

use std::io::{self, BufRead, BufReader, Read, Write};

/// Lines of one test program's account that are repeated; what is left out is said.
const MOST_LINES: usize = 60;

/// Passes a test run's standard output on as it comes, and answers the accounts of what failed in it, one for each test
/// program.
pub(super) fn pass_on(output: impl Read, to: &mut impl Write) -> io::Result<Vec<String>> {
    let mut accounts = Vec::new();
    let mut account: Option<Vec<String>> = None;
    for line in BufReader::new(output).split(b'\n') {
        let line = line?;
        to.write_all(&line)?;
        to.write_all(b"\n")?;
        let line = String::from_utf8_lossy(&line).into_owned();
        match &mut account {
            None if line == "failures:" => account = Some(Vec::new()),
            None => {}
            // The second time the word begins the list of names, which the end of the account is.
            Some(lines) if line.starts_with("test result: ") => {
                accounts.push(shortened(lines));
                account = None;
            }
            Some(lines) => lines.push(line),
        }
    }
    to.flush()?;
    // A test program that died in the middle of its account.
    accounts.extend(account.map(|lines| shortened(&lines)));
    Ok(accounts)
}

fn shortened(lines: &[String]) -> String {
    let (head, tail) = lines.split_at(lines.len().min(MOST_LINES));
    match tail.len() {
        0 => head.join("\n"),
        more => format!("{}\n… {more} more lines, above", head.join("\n")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &str = "\
running 2 tests
test good ... ok
test bad ... FAILED

failures:

---- bad stdout ----
assertion failed: it is not so

failures:
    bad

test result: FAILED. 1 passed; 1 failed; 0 ignored
running 1 test
test fine ... ok

test result: ok. 1 passed; 0 failed
";

    #[test]
    fn everything_is_passed_on_and_what_failed_is_kept() {
        let mut passed_on = Vec::new();
        let failed = pass_on(RUN.as_bytes(), &mut passed_on).unwrap();
        assert_eq!(String::from_utf8(passed_on).unwrap(), RUN);
        assert_eq!(failed, ["\n---- bad stdout ----\nassertion failed: it is not so\n\nfailures:\n    bad\n"]);
    }

    #[test]
    fn a_long_account_is_cut_and_one_without_an_end_kept() {
        let long = format!("failures:\n{}", "a line\n".repeat(MOST_LINES + 2));
        let failed = pass_on(long.as_bytes(), &mut io::sink()).unwrap();
        assert!(failed[0].ends_with("a line\n… 2 more lines, above"), "{failed:?}");
    }
}
