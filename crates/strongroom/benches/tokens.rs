//! What a token costs, and what botocore takes for the same: `cargo bench -p strongroom --features aws --bench tokens`.
//!
//! Ours goes the whole way of a provider: the kept identity is looked up, the token signed. botocore runs when
//! `TRUST_LEDGER_PYTHON` names a Python that has boto3. Each side is measured in ten rounds, and the best and the middle
//! one are printed, so that other work on the machine weighs less.

#[cfg(feature = "aws")]
fn main() {
    aws::main();
}

#[cfg(not(feature = "aws"))]
fn main() {
    println!("skipped: needs the feature aws");
}

#[cfg(feature = "aws")]
mod aws {
    use std::process::Command;
    use std::time::Instant;

    use strongroom::{CredentialProvider, Dsql, Login, RdsIam};

    const ROUNDS: usize = 10;
    const TOKENS: u32 = 5_000;

    /// As long as STS writes them.
    const SESSION_TOKEN_LEN: usize = 900;

    const BOTOCORE: &str = r#"
import os, time, boto3
session = boto3.Session(region_name="eu-central-1")
rds, dsql = session.client("rds"), session.client("dsql")
for one in (lambda: rds.generate_db_auth_token("db.example.com", 5432, "app"),
            lambda: dsql.generate_db_connect_auth_token("db.example.com")):
    rounds = []
    for _ in range(10):
        begun = time.perf_counter()
        for _ in range(200): one()
        rounds.append((time.perf_counter() - begun) / 200 * 1e6)
    print(*rounds)
"#;

    pub(super) fn main() {
        if std::env::var_os("AWS_SESSION_TOKEN").is_none() {
            // Variables are the whole process's, so they are given to another one.
            let status = Command::new(std::env::current_exe().unwrap())
                .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
                .env("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
                .env("AWS_SESSION_TOKEN", "s/+=".repeat(SESSION_TOKEN_LEN / 4))
                .status();
            std::process::exit(status.unwrap().code().unwrap_or(1));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let login = Login::new("db.example.com", 5432, Some("app".to_owned()));
        let ours = runtime.block_on(async {
            [
                rounds(&RdsIam::from_environment().region("eu-central-1"), &login).await,
                rounds(&Dsql::from_environment().region("eu-central-1"), &login).await,
            ]
        });
        let theirs = botocore();
        println!("microseconds a token       best    middle");
        for (at, (name, ours)) in ["RDS IAM", "DSQL"].into_iter().zip(ours).enumerate() {
            let (best, middle) = best_and_middle(ours);
            println!("{name:<8} strongroom  {best:>10.1} {middle:>9.1}");
            if let Some(theirs) = theirs.as_ref().and_then(|all| all.get(at)) {
                let theirs = best_and_middle(theirs.clone());
                println!("{name:<8} botocore    {:>10.1} {:>9.1}", theirs.0, theirs.1);
                println!("{name:<8} ratio       {:>10.0} {:>9.0}", theirs.0 / best, theirs.1 / middle);
            }
        }
    }

    async fn rounds(provider: &dyn CredentialProvider, login: &Login) -> Vec<f64> {
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            let begun = Instant::now();
            for _ in 0..TOKENS {
                std::hint::black_box(provider.credential(login).await.unwrap());
            }
            rounds.push(begun.elapsed().as_secs_f64() / f64::from(TOKENS) * 1e6);
        }
        rounds
    }

    fn botocore() -> Option<Vec<Vec<f64>>> {
        let python = std::env::var_os("TRUST_LEDGER_PYTHON")?;
        let output = Command::new(python).args(["-I", "-c", BOTOCORE]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        Some(text.lines().map(|line| line.split(' ').map(|number| number.parse().unwrap()).collect()).collect())
    }

    fn best_and_middle(mut rounds: Vec<f64>) -> (f64, f64) {
        rounds.sort_by(f64::total_cmp);
        (rounds[0], rounds[rounds.len() / 2])
    }
}
