//! Experts: a router's scores come back, the chosen ones are fetched, and each is computed once for all of its rows.

use std::collections::hash_map::Entry;

use super::executor::{Executor, Vectors};
use super::program::{ExpertBuffers, Experts, Program, Route, StepKind};
use super::routing::{Choice, Group, RouterLists};
use crate::shard::Model;
use crate::store::Window;
use crate::{Error, ErrorKind, Result};

impl Executor {
    /// Reads the router's scores of `rows` rows back, chooses, and has the chosen experts' tiles fetched; `first` is the
    /// section of the layer's first expert.
    pub(super) async fn route(
        &mut self,
        program: &Program,
        model: &Model,
        step: &Route,
        rows: u32,
        first: usize,
    ) -> Result<()> {
        let lists = program.common.experts.ok_or_else(no_lists)?;
        if let Entry::Vacant(unknown) = self.chosen.lists.entry(step.layer) {
            unknown.insert(router_lists(model, step).await?);
        }
        let bytes = u64::from(rows) * step.stride * 4;
        let from = wgpu::Buffer::clone(self.buffer(step.scores));
        let to = wgpu::Buffer::clone(self.buffer(lists.scores));
        let after = self.submit_with(|encoder| encoder.copy_buffer_to_buffer(&from, 0, &to, 0, bytes)).await?;
        self.gpu.map(&to, wgpu::MapMode::Read, after).ready().await?;
        let unmapped = |error| Error::new(ErrorKind::Internal, "the router's scores are not mapped").source(error);
        let own = &self.chosen.lists[&step.layer];
        let choice = to
            .get_mapped_range(..bytes)
            .map_err(unmapped)
            .and_then(|view| Choice::new(bytemuck::cast_slice(&view), step.stride as usize, own, &step.routing));
        to.unmap();
        self.chosen.choice = choice?;
        self.send_lists(lists).await?;
        let chosen = self.chosen.choice.groups.iter().map(|group| (first + group.expert, group.len as u32));
        self.stream.bring_sections(&chosen.collect::<Vec<_>>(), first..first + step.count as usize);
        Ok(())
    }

    /// Brings the rows and factors of the choice to the GPU.
    async fn send_lists(&mut self, lists: ExpertBuffers) -> Result<()> {
        if let Some(mapping) = self.chosen.mapping.take() {
            mapping.ready().await?;
        }
        let buffer = |index| wgpu::Buffer::clone(self.buffer(index));
        let (rows, factors, staging) = (buffer(lists.rows), buffer(lists.factors), buffer(lists.staging));
        let choice = &self.chosen.choice;
        let (len, second) = (choice.rows.len() * 4, (choice.rows.len() * 4).next_multiple_of(16));
        match staging.get_mapped_range_mut(..) {
            Ok(mut view) => {
                view.slice(..len).copy_from_slice(bytemuck::cast_slice(&choice.rows));
                view.slice(second..second + len).copy_from_slice(bytemuck::cast_slice(&choice.factors));
            }
            Err(error) => {
                return Err(Error::new(ErrorKind::Internal, "the experts' staging is not mapped").source(error));
            }
        }
        staging.unmap();
        self.recorder.copy(&staging, 0, &rows, 0, len as u64);
        self.recorder.copy(&staging, second as u64, &factors, 0, len as u64);
        // Nothing else is recorded yet: the copies run now, and the staging can be mapped again.
        let after = self.submit().await?;
        self.chosen.mapping = Some(self.gpu.map(&staging, wgpu::MapMode::Write, after));
        Ok(())
    }

    /// Computes the chosen experts, one after the other, each for its rows.
    pub(super) async fn experts(&mut self, step: &Experts) -> Result<()> {
        for index in 0..self.chosen.choice.groups.len() {
            self.cancel.check()?;
            let group = self.chosen.choice.groups[index].clone();
            self.expert(step, &group).await?;
        }
        Ok(())
    }

    /// One expert for its rows: gathered, computed, and added with their factors.
    async fn expert(&mut self, step: &Experts, group: &Group) -> Result<()> {
        let expert = &step.experts[group.expert];
        let (rows, first) = (group.len as u32, group.first as u32);
        let vectors = self.bring_vectors(expert.vectors, step.vectors_at_bytes).await?;
        self.make_room(1).await?;
        self.dispatch(&step.gather, rows, first, vectors)?;
        self.products(&expert.gate_up, rows, vectors).await?;
        self.make_room(1).await?;
        self.dispatch(&step.gate, rows, first, vectors)?;
        self.products(&expert.down, rows, vectors).await?;
        self.make_room(1).await?;
        self.dispatch(&step.scatter, rows, first, vectors)
    }

    /// Products, and what rounds their inputs.
    async fn products(&mut self, steps: &[StepKind], rows: u32, vectors: Vectors) -> Result<()> {
        for step in steps {
            match step {
                StepKind::Product(product) => self.product(product, rows, vectors).await?,
                StepKind::Dispatch(dispatch) => {
                    self.make_room(1).await?;
                    self.dispatch(dispatch, rows, 0, vectors)?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// What a router has of each expert.
async fn router_lists(model: &Model, step: &Route) -> Result<RouterLists> {
    let mut lists = RouterLists::plain(step.count as usize);
    for (name, values) in [(&step.bias, &mut lists.bias), (&step.factors, &mut lists.factors)] {
        if let Some(name) = name {
            let mut window = Window::from_slice(bytemuck::cast_slice_mut(values));
            model.read_rows(name, 0..1, &mut window).await?;
        }
    }
    Ok(lists)
}

fn no_lists() -> Error {
    Error::new(ErrorKind::Internal, "experts without their lists")
}
