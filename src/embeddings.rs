//! Vectors of texts, which a search compares, and judgements of texts.

use crate::auto_model::AutoModel;
use crate::handle::ModelHandle;
use crate::scheduler::{Event, Pooling, Request};
use crate::{Error, ErrorKind, Result};

impl AutoModel {
    /// A vector for each of the texts, which share sweeps: their hidden states (`[hidden]`) in one, not normalized.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for an empty text, or one that is too long; those of reads and of the GPU.
    pub async fn embed(&mut self, texts: Vec<Vec<u32>>, pooling: Pooling) -> Result<Vec<Vec<f32>>> {
        let mut ids = Vec::with_capacity(texts.len());
        let mut result = Ok(());
        for text in texts {
            match self.submit(Request::embedding(text, pooling)) {
                Ok(id) => ids.push(id),
                Err(error) => result = Err(error),
            }
        }
        let mut vectors: Vec<Vec<f32>> = vec![Vec::new(); ids.len()];
        while result.is_ok() {
            match self.next_event_of(&ids).await {
                Ok(Some(Event::Values { request, values })) => {
                    if let Some(place) = ids.iter().position(|id| *id == request) {
                        vectors[place] = values;
                    }
                }
                Ok(Some(Event::Failed { error, .. })) | Err(error) => result = Err(error),
                Ok(Some(Event::Delta(_))) => {}
                Ok(None) => break,
            }
        }
        ids.into_iter().for_each(|id| self.cancel(id));
        result.map(|()| vectors)
    }
}

impl ModelHandle {
    /// A vector of a text: its hidden states (`[hidden]`) in one, not normalized. It shares the sweeps of all that is asked.
    ///
    /// # Errors
    /// As [`AutoModel::embed`]; [`ErrorKind::Cancelled`] where the model is gone.
    pub async fn embed(&self, text: Vec<u32>, pooling: Pooling) -> Result<Vec<f32>> {
        self.values(Request::embedding(text, pooling)).await
    }

    /// How likely each of the `ids` is to follow a text: natural logarithms, `[ids]`. The text is read once for all of them.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for an id that the model does not have; those of [`ModelHandle::embed`].
    pub async fn next_logprobs(&self, text: Vec<u32>, ids: Vec<u32>) -> Result<Vec<f32>> {
        self.values(Request::next_logprobs(text, ids)).await
    }

    async fn values(&self, request: Request) -> Result<Vec<f32>> {
        match self.submit(request)?.next_event().await? {
            Some(Event::Values { values, .. }) => Ok(values),
            _ => Err(Error::new(ErrorKind::Internal, "a request for values ended without them")),
        }
    }
}
