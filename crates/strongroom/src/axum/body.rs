//! A response's body that keeps the request's read session until it ends.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum_core::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::read_session::EndOnDrop;

pub(super) struct HoldingBody {
    pub(super) body: Body,
    /// None once the body has ended: hyper may keep a finished body for a while.
    pub(super) reading: Option<EndOnDrop>,
}

impl http_body::Body for HoldingBody {
    type Data = Bytes;
    type Error = axum_core::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum_core::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if !matches!(frame, Some(Ok(_))) || self.body.is_end_stream() {
            self.reading = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
