//! qorb, which tests in the background: every 30 s, so never here. What it calls at a checkout and a return does nothing.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use harness::pool::Connection;
use harness::{CONNECTIONS, PATIENCE};
use qorb::backend::{self, Backend};
use qorb::policy::{Policy, SetConfig};
use qorb::resolvers::fixed::FixedResolver;

pub(crate) struct Pool(qorb::pool::Pool<Connection>);

struct Connector;

#[async_trait::async_trait]
impl backend::Connector for Connector {
    type Connection = Connection;

    async fn connect(&self, _: &Backend) -> Result<Connection, backend::Error> {
        Ok(Connection)
    }
}

impl harness::pool::Pool for Pool {
    async fn new() -> Self {
        let policy = Policy {
            spares_wanted: CONNECTIONS,
            max_slots: CONNECTIONS,
            claim_timeout: PATIENCE,
            set_config: SetConfig { max_count: CONNECTIONS, ..SetConfig::default() },
            ..Policy::default()
        };
        // Nobody listens there, and nobody calls.
        let resolver = FixedResolver::new([SocketAddr::from((Ipv4Addr::LOCALHOST, 1))]);
        let pool = qorb::pool::Pool::new("no-op".to_owned(), Box::new(resolver), Arc::new(Connector), policy);
        let pool = Pool(pool.unwrap_or_else(|_| unreachable!("without probes there is nothing to register")));
        // The first claim waits until the resolver has answered.
        drop(harness::pool::Pool::checkout(&pool).await);
        pool
    }

    async fn checkout(&self) -> impl Send {
        self.0.claim().await.expect("a connection")
    }
}
