//! Walks the steps of a layer or of the head.

use super::executor::{Executor, Vectors};
use super::program::{Program, Step, StepKind};
use crate::Result;
use crate::shard::Model;

impl Executor {
    /// Executes the steps of a layer for `rows` rows, `first` being the first one of a list. `experts` is the section of the
    /// layer's first expert.
    pub(super) async fn walk(
        &mut self,
        (program, model): (&Program, &Model),
        (layer, steps): (usize, &[Step]),
        (rows, first): (u32, u32),
        vectors: Vectors,
        experts: usize,
    ) -> Result<()> {
        for Step { op, kind } in steps {
            self.make_room(1).await?;
            self.recorder.set_place(layer, *op);
            match kind {
                StepKind::Dispatch(dispatch) => self.dispatch(dispatch, rows, first, vectors)?,
                StepKind::Product(product) => self.product(product, rows, vectors).await?,
                StepKind::KvWrite(step) => self.kv_write(program, step, rows).await?,
                StepKind::Attention(step) => self.attention(program, step, rows, vectors).await?,
                StepKind::Route(step) => self.route(program, model, step, rows, experts).await?,
                StepKind::Experts(step) => self.experts(step).await?,
            }
        }
        self.cancel.check()
    }
}
