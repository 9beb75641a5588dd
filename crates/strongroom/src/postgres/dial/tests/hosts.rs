//! Which of several hosts is taken.
