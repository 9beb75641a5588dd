//! Each server starts, answers and is gone afterwards.

mod client;
mod iam;
mod postgres;
mod proxy;
