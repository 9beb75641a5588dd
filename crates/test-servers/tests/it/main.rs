//! Each server starts, answers and is gone afterwards.

mod postgres;
mod proxy;
