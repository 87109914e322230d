//! Answers as they come, for who holds the model: a view of its requests.

use crate::auto_model::AutoModel;
use crate::scheduler::{Event, Request, RequestId, TextDelta};
use crate::{Error, ErrorKind, Result};

/// Answers under way; [`Generation::next`] gives their texts as they come. What is not done when it is dropped ends.
pub struct Generation<'m> {
    model: &'m mut AutoModel,
    requests: Vec<RequestId>,
}

impl<'m> Generation<'m> {
    pub(crate) fn new(model: &'m mut AutoModel, requests: Vec<Request>) -> Result<Self> {
        let mut generation = Self { model, requests: Vec::with_capacity(requests.len()) };
        for request in requests {
            let id = generation.model.submit(request)?;
            generation.requests.push(id);
        }
        Ok(generation)
    }

    /// The requests, in the order in which they were given.
    pub fn requests(&self) -> &[RequestId] {
        &self.requests
    }

    /// The next delta of any of its requests; none when all are done. What comes of other requests of the model waits for
    /// [`AutoModel::next_event`].
    ///
    /// # Errors
    /// That of a request which failed: the others go on with the next call. A device that is lost is replaced first, and one
    /// that ran out of memory gets less to do; [`ErrorKind::DeviceLost`](crate::ErrorKind::DeviceLost) and
    /// [`ErrorKind::GpuMemory`](crate::ErrorKind::GpuMemory) come where that failed again and again. After
    /// [`ErrorKind::Cancelled`](crate::ErrorKind::Cancelled) the model can be used again.
    pub async fn next(&mut self) -> Result<Option<TextDelta>> {
        match self.model.next_event_of(&self.requests).await? {
            None => Ok(None),
            Some(Event::Delta(delta)) => Ok(Some(delta)),
            Some(Event::Values { .. }) => {
                Err(Error::new(ErrorKind::Argument, "a request for a vector among those for texts"))
            }
            Some(Event::Failed { error, .. }) => Err(error),
        }
    }

    /// How often the device failed and a new one went on.
    pub fn devices_lost(&self) -> u32 {
        self.model.devices_lost()
    }

    /// The model that answers.
    pub fn model(&mut self) -> &mut AutoModel {
        self.model
    }

    /// The same as a stream.
    pub fn into_stream(self) -> impl futures::Stream<Item = Result<TextDelta>> + 'm {
        futures::stream::unfold(Some(self), |generation| async {
            let mut generation = generation?;
            match generation.next().await {
                Ok(None) => None,
                Ok(Some(delta)) => Some((Ok(delta), Some(generation))),
                Err(error) => Some((Err(error), None)),
            }
        })
    }
}

impl Drop for Generation<'_> {
    fn drop(&mut self) {
        for id in std::mem::take(&mut self.requests) {
            self.model.cancel(id);
        }
    }
}
