//! Times of dispatches, for who asks for them.

use super::engine::Engine;
use crate::gpu::timeline::Timeline;
use crate::{ErrorKind, Result};

impl Engine {
    /// When the GPU computed what, once [`Timeline::keep`] asks for it: from the next sweep on.
    pub fn timeline(&self) -> &Timeline {
        self.recorder.timeline()
    }

    /// Times the dispatches of the sweep that begins, where that is wanted. Where they cannot be timed the timeline says why.
    ///
    /// # Errors
    /// [`ErrorKind::GpuMemory`].
    pub(super) async fn time_dispatches(&mut self) -> Result<()> {
        if !self.recorder.lacks_timer() {
            return Ok(());
        }
        match self.recorder.start_timer().await {
            Err(error) if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::Budget) => {
                self.recorder.timeline().give_up(error.to_string());
                Ok(())
            }
            other => other,
        }
    }
}
