//! A case's number beside a peer's.

use std::fmt;

use super::cases::{Better, Case};

#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) case: &'static Case,
    pub(super) ours: f64,
    pub(super) peer: f64,
    pub(super) peer_name: &'static str,
    /// The ratio that is aimed at.
    pub(super) ratio_bound: Option<f64>,
}

impl Outcome {
    /// The table's first line.
    pub(super) const HEAD: &str =
        "case                 unit         ours        peer     ratio  peer              target";

    /// Above 1, ours is better.
    pub(super) fn ratio(&self) -> f64 {
        match self.case.better {
            Better::More => self.ours / self.peer,
            Better::Less => self.peer / self.ours,
        }
    }

    pub(super) fn to_json(&self) -> String {
        // No name holds a character that JSON escapes.
        format!(
            "{{\"case\":\"{}\",\"unit\":\"{}\",\"ours\":{},\"peer\":{},\"peer_name\":\"{}\",\"ratio\":{:.4}}}",
            self.case.name,
            self.case.unit,
            self.ours,
            self.peer,
            self.peer_name,
            self.ratio()
        )
    }

    /// What was aimed at and not reached.
    pub(super) fn missed(&self) -> Vec<String> {
        let Case { name, unit, better, bound, .. } = self.case;
        let mut missed = Vec::new();
        let falls_short = |bound: f64| match better {
            Better::More => self.ours < bound,
            Better::Less => self.ours > bound,
        };
        if bound.is_some_and(falls_short) {
            let target = self.case.target().unwrap_or_default();
            missed.push(format!("{name} is {} {unit}, to be {target}", Figure(self.ours)));
        }
        if let Some(bound) = self.ratio_bound.filter(|bound| self.ratio() < *bound) {
            missed.push(format!("{name} is {:.2} times {}, to be at least {bound:.2}", self.ratio(), self.peer_name));
        }
        missed
    }
}

/// A line of the table.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = self.ratio_bound.map(|bound| format!("at least {bound:.2}")).unwrap_or_default();
        let line = format!(
            "{:<20} {:<4} {:>12} {:>11} {:>9}  {:<17} {target}",
            self.case.name,
            self.case.unit,
            Figure(self.ours).to_string(),
            Figure(self.peer).to_string(),
            format!("{:.2}", self.ratio()),
            self.peer_name,
        );
        f.write_str(line.trim_end())
    }
}

/// Three digits or more, thousands apart.
struct Figure(f64);

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = match self.0.abs() {
            ..10.0 => 2,
            ..100.0 => 1,
            _ => 0,
        };
        let text = format!("{:.decimals$}", self.0);
        let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
        for (i, digit) in whole.chars().enumerate() {
            if i > 0 && (whole.len() - i).is_multiple_of(3) {
                f.write_str(",")?;
            }
            write!(f, "{digit}")?;
        }
        f.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::super::cases::CASES;
    use super::*;

    fn outcome(name: &str, ours: f64, peer: f64) -> Outcome {
        let case = CASES.iter().find(|case| case.name == name).expect("it is a case");
        let (peer_name, ratio_bound) = case.peers[0];
        Outcome { case, ours, peer, peer_name, ratio_bound }
    }

    /// Whether more or less is better, a ratio above 1 means that ours is.
    #[test]
    fn a_ratio_above_one_is_ours() {
        assert_eq!(outcome("checkout-1", 100.0, 250.0).ratio(), 2.5);
        assert_eq!(outcome("commits-64", 100.0, 250.0).ratio(), 0.4);
    }

    /// Both what ours should reach and the ratio are watched; what is reached is not named.
    #[test]
    fn what_falls_short_is_named() {
        assert!(outcome("commits-64", 20_000.0, 300.0).missed().is_empty());
        let missed = outcome("commits-64", 9_000.0, 300.0).missed();
        assert_eq!(missed[0], "commits-64 is 9,000 /s, to be at least 10000 /s");
        assert_eq!(missed[1], "commits-64 is 30.00 times rusqlite-16, to be at least 40.00");
    }

    /// A line of the table fits 100 columns, however long its words and numbers.
    #[test]
    fn lines_fit_a_hundred_columns() {
        assert!(Outcome::HEAD.chars().count() <= 100);
        for case in CASES {
            for &(peer_name, _) in case.peers {
                let outcome = Outcome { case, ours: 1e9, peer: 12_345_678.0, peer_name, ratio_bound: Some(1e3) };
                let line = outcome.to_string();
                assert!(line.chars().count() <= 100, "{line}");
            }
        }
    }

    /// The line's form is what other programs rely on.
    #[test]
    fn json_names_case_unit_and_both_sides() {
        let json = outcome("commits-64", 20_000.0, 250.5).to_json();
        let expected =
            r#"{"case":"commits-64","unit":"/s","ours":20000,"peer":250.5,"peer_name":"rusqlite-16","ratio":79.8403}"#;
        assert_eq!(json, expected);
    }
}
