//! The object-safe twins of the author's traits, so that the runtime holds connectors of all kinds side by side.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::{
    Batch, Call, Definition, Emitter, Finding, Growing, Heard, Incarnation, LaneProgress, Limits,
    Need, Noticed, Page, Reader, Receipt, Sink, Source,
};
use crate::error::Result;
use crate::position::Position;
use crate::shape::{Column, Row, Shape};
use crate::value::Value;

/// A future behind a pointer.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// [`Source`] behind a pointer.
pub trait DynSource: Send + 'static {
    /// See [`Source::discover`].
    fn discover(&self) -> Boxed<'_, Result<Vec<Arc<Shape>>>>;
    /// See [`Source::check`].
    fn check<'a>(&'a self, needs: &'a [Need]) -> Boxed<'a, Result<Vec<Finding>>>;
    /// See [`Source::run`].
    fn run(self: Box<Self>, resume: Option<Position>, out: Emitter) -> Boxed<'static, Result<()>>;
}

impl<S: Source + Sync> DynSource for S {
    fn discover(&self) -> Boxed<'_, Result<Vec<Arc<Shape>>>> {
        Box::pin(Source::discover(self))
    }

    fn check<'a>(&'a self, needs: &'a [Need]) -> Boxed<'a, Result<Vec<Finding>>> {
        Box::pin(Source::check(self, needs))
    }

    fn run(self: Box<Self>, resume: Option<Position>, out: Emitter) -> Boxed<'static, Result<()>> {
        Box::pin(Source::run(*self, resume, out))
    }
}

/// [`Sink`] behind a pointer.
pub trait DynSink: Send + Sync + 'static {
    /// See [`Sink::discover`].
    fn discover(&self) -> Boxed<'_, Result<Vec<Arc<Shape>>>>;
    /// See [`Sink::check`].
    fn check<'a>(&'a self, targets: &'a [Arc<Shape>]) -> Boxed<'a, Result<Vec<Finding>>>;
    /// See [`Sink::prepare`].
    fn prepare<'a>(&'a self, targets: &'a [Arc<Shape>]) -> Boxed<'a, Result<()>>;
    /// See [`Sink::add_columns`].
    fn add_columns<'a>(&'a self, table: &'a str, columns: &'a [Column]) -> Boxed<'a, Result<()>>;
    /// See [`Sink::incarnation`].
    fn incarnation<'a>(&'a self, table: &'a str) -> Boxed<'a, Result<Option<Incarnation>>>;
    /// See [`Sink::missing`].
    fn missing(&self) -> Boxed<'_, Result<Vec<String>>>;
    /// See [`Sink::create_table`].
    fn create_table<'a>(&'a self, table: &'a Shape) -> Boxed<'a, Result<()>>;
    /// See [`Sink::progress`].
    fn progress<'a>(&'a self, flow: &'a str) -> Boxed<'a, Result<Vec<LaneProgress>>>;
    /// See [`Sink::apply`].
    fn apply<'a>(&'a self, batch: &'a Batch) -> Boxed<'a, Result<Receipt>>;
    /// See [`Sink::limits`].
    fn limits(&self) -> Limits;
}

impl<S: Sink> DynSink for S {
    fn discover(&self) -> Boxed<'_, Result<Vec<Arc<Shape>>>> {
        Box::pin(Sink::discover(self))
    }

    fn check<'a>(&'a self, targets: &'a [Arc<Shape>]) -> Boxed<'a, Result<Vec<Finding>>> {
        Box::pin(Sink::check(self, targets))
    }

    fn prepare<'a>(&'a self, targets: &'a [Arc<Shape>]) -> Boxed<'a, Result<()>> {
        Box::pin(Sink::prepare(self, targets))
    }

    fn add_columns<'a>(&'a self, table: &'a str, columns: &'a [Column]) -> Boxed<'a, Result<()>> {
        Box::pin(Sink::add_columns(self, table, columns))
    }

    fn incarnation<'a>(&'a self, table: &'a str) -> Boxed<'a, Result<Option<Incarnation>>> {
        Box::pin(Sink::incarnation(self, table))
    }

    fn missing(&self) -> Boxed<'_, Result<Vec<String>>> {
        Box::pin(Sink::missing(self))
    }

    fn create_table<'a>(&'a self, table: &'a Shape) -> Boxed<'a, Result<()>> {
        Box::pin(Sink::create_table(self, table))
    }

    fn progress<'a>(&'a self, flow: &'a str) -> Boxed<'a, Result<Vec<LaneProgress>>> {
        Box::pin(Sink::progress(self, flow))
    }

    fn apply<'a>(&'a self, batch: &'a Batch) -> Boxed<'a, Result<Receipt>> {
        Box::pin(Sink::apply(self, batch))
    }

    fn limits(&self) -> Limits {
        Sink::limits(self)
    }
}

/// [`Reader`] behind a pointer.
pub trait DynReader: Send + Sync + 'static {
    /// See [`Reader::discover`].
    fn discover(&self) -> Boxed<'_, Result<Vec<Arc<Shape>>>>;
    /// See [`Reader::definition`].
    fn definition<'a>(&'a self, table: &'a str) -> Boxed<'a, Result<Option<Definition>>>;
    /// See [`Reader::growing`].
    fn growing(&self, table: &str) -> Option<Growing>;
    /// See [`Reader::has_journal`].
    fn has_journal(&self) -> bool;
    /// See [`Reader::noticed`].
    fn noticed<'a>(&'a self, cursor: Option<&'a str>) -> Boxed<'a, Result<Noticed>>;
    /// See [`Reader::hear`].
    fn hear(&self, call: &Call) -> Result<Heard>;
    /// See [`Reader::check`].
    fn check(&self) -> Boxed<'_, Result<Vec<Finding>>>;
    /// See [`Reader::scan`].
    fn scan<'a>(&'a self, page: Page<'a>) -> Boxed<'a, Result<Vec<Row>>>;
    /// See [`Reader::fetch`].
    fn fetch<'a>(
        &'a self,
        table: &'a str,
        columns: &'a [String],
        key: &'a [String],
        keys: &'a [Vec<Value>],
    ) -> Boxed<'a, Result<Vec<Row>>>;
}

impl<R: Reader> DynReader for R {
    fn discover(&self) -> Boxed<'_, Result<Vec<Arc<Shape>>>> {
        Box::pin(Reader::discover(self))
    }

    fn definition<'a>(&'a self, table: &'a str) -> Boxed<'a, Result<Option<Definition>>> {
        Box::pin(Reader::definition(self, table))
    }

    fn growing(&self, table: &str) -> Option<Growing> {
        Reader::growing(self, table)
    }

    fn has_journal(&self) -> bool {
        Reader::has_journal(self)
    }

    fn noticed<'a>(&'a self, cursor: Option<&'a str>) -> Boxed<'a, Result<Noticed>> {
        Box::pin(Reader::noticed(self, cursor))
    }

    fn hear(&self, call: &Call) -> Result<Heard> {
        Reader::hear(self, call)
    }

    fn check(&self) -> Boxed<'_, Result<Vec<Finding>>> {
        Box::pin(Reader::check(self))
    }

    fn scan<'a>(&'a self, page: Page<'a>) -> Boxed<'a, Result<Vec<Row>>> {
        Box::pin(Reader::scan(self, page))
    }

    fn fetch<'a>(
        &'a self,
        table: &'a str,
        columns: &'a [String],
        key: &'a [String],
        keys: &'a [Vec<Value>],
    ) -> Boxed<'a, Result<Vec<Row>>> {
        Box::pin(Reader::fetch(self, table, columns, key, keys))
    }
}
