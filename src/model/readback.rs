//! Brings results of a sweep back: the best ids, whole rows of logits, or hidden states.

use super::inputs::Want;
use super::lower::BEST_BYTES;
use crate::gpu::{CountedBuffer, Gpu};
use crate::words::Term;
use crate::{Error, ErrorKind, Result};

/// What a sweep gave for a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    Best(u32),
    /// `[vocab]`.
    Logits(Vec<f32>),
    /// `[hidden]`.
    Hidden(Vec<f32>),
}

/// Results on their way: argmax results, then for each row what it wants of logits or hidden states.
pub(super) struct Readback<'a> {
    pub(super) best: &'a CountedBuffer,
    pub(super) logits: &'a CountedBuffer,
    /// Rows of hidden states, so many floats from one to the next.
    pub(super) hidden: (&'a CountedBuffer, u64),
    pub(super) mapped: &'a CountedBuffer,
    pub(super) vocab: u64,
    pub(super) hidden_len: u64,
}

impl Readback<'_> {
    /// Bytes between the rows' places behind the argmax results.
    fn stride_bytes(&self) -> u64 {
        self.vocab.max(self.hidden.1) * 4
    }

    /// The copies to record at the end of a pass over rows that want this.
    pub(super) fn copies(&self, wants: &[Want]) -> impl FnOnce(&mut wgpu::CommandEncoder) + use<> {
        let buffer = |buffer: &CountedBuffer| wgpu::Buffer::clone(buffer);
        let (best, logits, hidden) = (buffer(self.best), buffer(self.logits), buffer(self.hidden.0));
        let (mapped, wants) = (buffer(self.mapped), wants.to_vec());
        let (start, stride) = (wants.len() as u64 * BEST_BYTES, self.stride_bytes());
        let (vocab_bytes, hidden_bytes, hidden_stride) = (self.vocab * 4, self.hidden_len * 4, self.hidden.1 * 4);
        move |encoder| {
            if wants.iter().any(|want| *want != Want::Hidden) {
                encoder.copy_buffer_to_buffer(&best, 0, &mapped, 0, start);
            }
            for (row, want) in (0..).zip(&wants) {
                let to = start + row * stride;
                match want {
                    Want::Logits => encoder.copy_buffer_to_buffer(&logits, row * vocab_bytes, &mapped, to, vocab_bytes),
                    Want::Hidden => {
                        encoder.copy_buffer_to_buffer(&hidden, row * hidden_stride, &mapped, to, hidden_bytes);
                    }
                    _ => {}
                }
            }
        }
    }

    /// Waits for the copies and gives each row's result. A row whose logits are not finite has an error of its own: the
    /// weights or a kernel are broken, and any token would be a guess.
    ///
    /// # Errors
    /// [`ErrorKind::DeviceLost`].
    pub(super) async fn finish(
        &self,
        gpu: &Gpu,
        after: wgpu::SubmissionIndex,
        wants: &[Want],
    ) -> Result<Vec<Result<Output>>> {
        gpu.map(self.mapped, wgpu::MapMode::Read, after).ready().await?;
        let result = self.read(wants);
        self.mapped.unmap();
        result
    }

    fn read(&self, wants: &[Want]) -> Result<Vec<Result<Output>>> {
        let unmapped = |error| Error::new(ErrorKind::Internal, "results are not mapped").source(error);
        let view = self.mapped.get_mapped_range(..).map_err(unmapped)?;
        let start = wants.len() * BEST_BYTES as usize;
        let best: &[[u32; 4]] = bytemuck::cast_slice(&view[..start]);
        let values = |row: usize, len: u64| {
            let at = start + row * self.stride_bytes() as usize;
            bytemuck::pod_collect_to_vec::<u8, f32>(&view[at..at + len as usize * 4])
        };
        let output = |(row, want): (usize, &Want)| {
            let [id, _, broken, _] = best[row];
            match want {
                Want::Hidden => {
                    let hidden = values(row, self.hidden_len);
                    let broken = hidden.iter().filter(|value| !value.is_finite()).count();
                    match broken {
                        0 => Ok(Output::Hidden(hidden)),
                        _ => Err(not_finite(format!("{broken} values of a hidden state are not finite numbers"))),
                    }
                }
                _ if broken != 0 => {
                    let them = format!("{broken} logits are not finite numbers (the best of the others is token {id})");
                    Err(not_finite(them))
                }
                Want::Logits => Ok(Output::Logits(values(row, self.vocab))),
                _ => Ok(Output::Best(id)),
            }
        };
        Ok(wants.iter().enumerate().map(output).collect())
    }
}

fn not_finite(what: String) -> Error {
    Error::new(ErrorKind::NotFinite, what)
        .remedy("run " + Term::Verify + " on the model; if it is sound, try another adapter")
}
