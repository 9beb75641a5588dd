//! Help, and the form of errors.

use crate::home::{Home, assert_golden};

#[test]
fn the_help_of_the_top_level_is_what_a_newcomer_reads_first() {
    let home = Home::new();
    assert_golden("help.txt", &home.run(["--help"]).expect(0).stdout);
    assert!(home.run(["--version"]).expect(0).stdout.starts_with("trust-ledger "));
    assert!(!home.ledger().exists(), "help opens no ledger");
}

#[test]
fn examples_fit_a_terminal_of_80_columns() {
    let home = Home::new();
    let help = home.run(["--help"]).expect(0).stdout;
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let mut examples = 0;
    for command in commands.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help") {
        let help = home.run([command, "--help"]).expect(0).stdout;
        let lines = help.lines().skip_while(|line| *line != "Examples:").skip(1).take_while(|line| !line.is_empty());
        for line in lines {
            assert!(line.starts_with("  ") && line.chars().count() <= 80, "{command}: {line}");
            examples += 1;
        }
    }
    assert!(examples > 30, "{examples}");
}

#[test]
fn wrong_usage_has_exit_code_2_and_begins_with_the_programs_name() {
    let home = Home::new();
    for arguments in [&["lsit"][..], &["list", "--nonsense"], &["show"], &["import", "-v", "-q", "x"]] {
        let run = home.run(arguments).expect(2);
        assert!(run.stderr.starts_with("trust-ledger: ") && run.stdout.is_empty(), "{}", run.stderr);
    }
    assert!(home.run(["lsit"]).stderr.contains("list"), "a similar command is named");
    home.run::<&str>([]).expect(2);
    assert!(!home.ledger().exists());
}

#[test]
fn completions_name_the_commands() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish"] {
        let run = home.run(["completions", shell]).expect(0);
        assert!(run.stdout.contains("crl-entries") && run.stdout.contains("lift-hold"), "{shell}");
    }
    assert!(!home.ledger().exists(), "completions open no ledger");
}

#[test]
fn global_options_stand_before_or_after_the_command() {
    let home = Home::new();
    home.run(["--db", "a.db", "init"]).expect(0);
    home.run(["list", "--db", "a.db", "--json"]).expect(0);
    home.run(["--json", "--db", "a.db", "list"]).expect(0);
}
