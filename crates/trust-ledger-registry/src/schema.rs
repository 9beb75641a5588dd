//! The ledger's schema.
//!
//! The statements are in one folder per SQL dialect; where PostgreSQL has no file of its own, SQLite's is good for both.
//! Steps are only ever appended; a released file never changes.

use strongroom::{Migration, Migrations};

/// The ledger's schema on either engine, for [`Config::migrations`](strongroom::Config::migrations).
///
/// ```
/// # async fn open() -> strongroom::Result<()> {
/// let db = strongroom::Config::memory().migrations(&trust_ledger_registry::MIGRATIONS).migrate(true).connect().await?;
/// # Ok(()) }
/// ```
pub static MIGRATIONS: Migrations = Migrations::new(&[
    Migration::new(1, "initial", include_str!("sqlite/0001_initial.sql"))
        .on_postgres(include_str!("postgres/0001_initial.sql")),
    Migration::new(2, "tokens and origins", include_str!("sqlite/0002_tokens_and_origins.sql"))
        .on_postgres(include_str!("postgres/0002_tokens_and_origins.sql")),
    Migration::new(3, "plans of a load", "").on_postgres(include_str!("postgres/0003_plans_of_a_load.sql")),
    Migration::new(4, "replacements in order", include_str!("sqlite/0004_replacements_in_order.sql")),
]);

/// The page cache that a ledger wants for each connection, in KiB (64 MiB), for [`strongroom::Config::cache_kib`]. With
/// less, imports beyond some 100,000 certificates read pages of their indexes again and again.
pub const CACHE_KIB: u32 = 64 * 1024;
