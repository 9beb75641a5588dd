//! The registry judged from outside.

mod openssl_agrees;
