//! Each server starts, answers and is gone afterwards.

mod client;
mod iam;
mod moto;
mod pgbouncer;
mod postgres;
mod proxy;
