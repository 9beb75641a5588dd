//! Ours on a server.

use harness::PATIENCE;
use harness::postgres::{INSERT, Postgres, SELECT, TEXT};
use strongroom::{Config, RdsIam, params};

pub(crate) struct Server(strongroom::Database);

impl Postgres for Server {
    async fn open(url: String, connections: usize) -> Self {
        let config = Config::from_url(&url).expect("a URL").acquire_timeout(PATIENCE);
        let config = config.pool_min_size(connections).pool_max_size(connections);
        Server(config.connect().await.expect("the server lets us in"))
    }

    async fn read(&self, id: i64, _: usize) -> String {
        self.0.fetch_one(SELECT, params![id]).await.expect("a row").get(0).expect("a text")
    }

    async fn insert(&self, _: usize) {
        let mut session = self.0.session().await.expect("a session");
        session.execute(INSERT, params![TEXT]).await.expect("a row");
        session.commit().await.expect("a commit");
    }

    async fn connect(url: &str) {
        let mut config = Config::from_url(url).expect("a URL");
        if !url.contains(":secret@") {
            // Signed anew for each connection.
            config = config.credentials(RdsIam::from_environment());
        }
        drop(config.connect_one().await.expect("the server lets us in"));
    }
}
