//! The service, through its router and through its sockets, on each engine.

mod audit;
mod auth;
mod bulk;
mod certificates;
mod connections;
mod description;
mod limits;
mod mounted;
mod operation;
mod revocations;
mod schemathesis;
mod support;
