//! SQLite by sqlx.

use futures_util::TryStreamExt;
use harness::sqlite::{
    BULK_ROWS, CACHE_KIB, CHECKPOINT_PAGES, CREATE, INSERT, INSERT_WITH_ID, SELECT, SELECT_ALL, Source, Sqlite, TEXT,
    text,
};
use harness::PATIENCE;
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

pub(crate) struct Database(SqlitePool);

impl Sqlite for Database {
    const ENCRYPTS: bool = false;

    async fn open(source: Source) -> Self {
        let options = SqliteConnectOptions::new()
            .filename(source.path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(PATIENCE)
            .pragma("cache_size", format!("-{CACHE_KIB}"))
            .pragma("wal_autocheckpoint", CHECKPOINT_PAGES.to_string());
        let size = source.connections as u32;
        let pool = SqlitePoolOptions::new().min_connections(size).max_connections(size).acquire_timeout(PATIENCE);
        let pool = pool.test_before_acquire(false).max_lifetime(None).connect_with(options).await;
        Database(pool.expect("the database opens"))
    }

    async fn create(&self) {
        sqlx::query(CREATE).execute(&self.0).await.expect("a table");
    }

    async fn insert(&self) {
        sqlx::query(INSERT).bind(TEXT).execute(&self.0).await.expect("a row");
    }

    async fn read(&self, id: i64, _: i64) -> String {
        sqlx::query_scalar(SELECT).bind(id).fetch_one(&self.0).await.expect("a row")
    }

    async fn stream(&self) -> i64 {
        let mut rows = sqlx::query_as::<_, (i64, String)>(SELECT_ALL).fetch(&self.0);
        let mut sum = 0;
        while let Some((id, text)) = rows.try_next().await.expect("a row") {
            assert!(!text.is_empty());
            sum += id;
        }
        sum
    }

    async fn bulk_insert(&self) {
        let mut transaction = self.0.begin().await.expect("a transaction");
        for id in 0..BULK_ROWS {
            sqlx::query(INSERT_WITH_ID).bind(id).bind(text(id)).execute(&mut *transaction).await.expect("a row");
        }
        transaction.commit().await.expect("a commit");
    }

    async fn close(&self) {
        self.0.close().await;
    }
}
