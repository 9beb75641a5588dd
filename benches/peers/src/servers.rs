//! The servers that the peers are measured on: started once for all of them, gone when nobody needs them any more.

use std::io::Read;

use harness::Run;
use harness::postgres::{CREATE, CREATE_WRITTEN, ROWS, SERVERS, text};
use strongroom::params;
use test_servers::{Ca, IamKeys, Postgres, needs};

/// Starts them, says so, and keeps them until the input ends.
pub(crate) fn serve(run: &Run) {
    let ca = Ca::new();
    let scram = || Postgres::scram("app", "secret").durable().setting("shared_buffers", "256MB");
    let plain = scram().start();
    let tls = scram().tls(&ca.server()).start();
    let iam = needs::iam().then(|| Postgres::rds_iam("app", &keys(), &ca.server()).start());
    fill(&plain.url("app"));
    let verified = |server: &Postgres| {
        let url = server.url("app").replace("127.0.0.1", "localhost");
        format!("{url}?sslmode=verify-full&sslrootcert={}", ca.file().display())
    };
    let iam_url = iam.as_ref().map(&verified).unwrap_or_default();
    let urls = format!("{}\n{}\n{iam_url}\n", plain.url("app"), verified(&tls));
    std::fs::write(run.file(SERVERS), urls).expect("the folder is there");
    println!("ready 1");
    // Whoever asked for them holds the other end.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

fn fill(url: &str) {
    harness::runtime().block_on(async {
        let database = strongroom::Database::connect(url).await.expect("the server lets us in");
        database.execute(CREATE, params![]).await.expect("a table");
        database.execute(CREATE_WRITTEN, params![]).await.expect("a table");
        let rows = (0..ROWS).map(|id| params![id, text(id)]);
        database.copy_in("entry", &["id", "text"], rows).await.expect("rows");
        database.vacuum().await.expect("a maintained table");
        database.optimize().await.expect("statistics");
        database.close().await.expect("nothing is under way");
    });
}

/// Those that tokens are signed with.
fn keys() -> IamKeys {
    let of = |variable| std::env::var(variable).expect("`cargo xtask bench` sets it");
    IamKeys {
        access_key: of("AWS_ACCESS_KEY_ID"),
        secret_key: of("AWS_SECRET_ACCESS_KEY"),
        session_token: None,
        region: of("AWS_REGION"),
    }
}
