//! Batches: several statements that take effect together or not at all.

use std::sync::Arc;

use crate::row::Row;
use crate::value::Params;

/// Several statements that are run in order as one unit: all of them, or none.
///
/// A batch is one trip to the writer and shares the next durable commit with whatever else is waiting, so it is the
/// fastest way to write several rows that belong together. It needs no decision between its statements; where one
/// depends on what another read, use a [`Session`](crate::Session).
///
/// ```
/// use strongroom::{params, Batch};
///
/// let batch = Batch::new()
///     .then("INSERT INTO account (id, balance) VALUES ($1, $2)", params![1, 100])
///     .then_many("INSERT INTO entry (account, amount) VALUES ($1, $2)", [params![1, 60], params![1, 40]]);
/// assert_eq!(batch.len(), 2);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub(crate) steps: Vec<Step>,
}

/// One statement with the parameter sets it is run with, in order.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) sql: Arc<str>,
    pub(crate) params: ParamSets,
}

/// One parameter set without an allocation of its own, or many.
#[derive(Clone, Debug)]
pub(crate) enum ParamSets {
    One(Params),
    Many(Vec<Params>),
    /// The text is a script: several statements, without parameters.
    Script,
}

/// Which of a statement's rows are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// None, only the count of rows changed.
    Count,
    /// The first so many. A statement that writes is run to its end all the same.
    Rows { at_most: usize },
}

/// What one statement did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    /// Rows inserted, updated or deleted by the statement itself (not by triggers).
    pub(crate) affected: u64,
    pub(crate) rows: Vec<Row>,
}

impl ParamSets {
    pub(crate) fn as_slice(&self) -> &[Params] {
        match self {
            ParamSets::One(params) => std::slice::from_ref(params),
            ParamSets::Many(sets) => sets,
            ParamSets::Script => &[],
        }
    }
}

impl Step {
    pub(crate) fn one(sql: &str, params: Params) -> Self {
        Step { sql: Arc::from(sql), params: ParamSets::One(params) }
    }

    pub(crate) fn script(sql: &str) -> Self {
        Step { sql: Arc::from(sql), params: ParamSets::Script }
    }

    pub(crate) fn is_script(&self) -> bool {
        matches!(self.params, ParamSets::Script)
    }

    pub(crate) fn many(sql: &str, sets: Vec<Params>) -> Self {
        Step { sql: Arc::from(sql), params: ParamSets::Many(sets) }
    }
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Batch::default()
    }

    /// Adds a statement.
    #[must_use = "then returns the batch"]
    pub fn then(mut self, sql: &str, params: impl Into<Params>) -> Self {
        self.push(sql, params);
        self
    }

    /// Adds a statement that is run once for each of `rows`.
    #[must_use = "then_many returns the batch"]
    pub fn then_many(mut self, sql: &str, rows: impl IntoIterator<Item = Params>) -> Self {
        self.push_many(sql, rows);
        self
    }

    /// Adds a statement in place.
    pub fn push(&mut self, sql: &str, params: impl Into<Params>) {
        self.steps.push(Step::one(sql, params.into()));
    }

    /// Adds a statement that is run once for each of `rows`, in place.
    pub fn push_many(&mut self, sql: &str, rows: impl IntoIterator<Item = Params>) {
        self.steps.push(Step::many(sql, rows.into_iter().collect()));
    }

    /// How many statements there are.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}
