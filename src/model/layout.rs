//! Where each tensor of the plan lies in the model's files, as pieces in sweep order.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::encoding::Encoding;
use crate::gpu::measure::Product;
use crate::plan::{self, LayerSpec, MatrixId, MatrixSpec, ModelSpec, PerLayerSpec};
use crate::shard::{Model, StoredTensor};
use crate::stream::RowRun;
use crate::{Error, ErrorKind, Result};

/// A matrix: its pieces, in row order.
#[derive(Clone, Debug)]
pub struct MatrixLayout {
    pub encoding: Encoding,
    pub rows: u64,
    pub columns: u64,
    /// Index of the first piece in [`ModelLayout::pieces`], and for each piece its first row.
    pub first_piece: usize,
    pub first_rows: Vec<u64>,
}

impl MatrixLayout {
    /// The pieces of the matrix.
    pub fn pieces(&self) -> Range<usize> {
        self.first_piece..self.first_piece + self.first_rows.len()
    }

    /// Takes in the matrix `next` where its rows go on as if they were this one's; else gives it back.
    fn append(&mut self, next: Self) -> Option<Self> {
        let alike = (self.encoding, self.columns) == (next.encoding, next.columns);
        let first = |matrix: &Self| matrix.first_rows.first().copied().unwrap_or(0);
        let follows = self.pieces().end == next.first_piece && first(self) + self.rows == first(&next);
        if !alike || !follows {
            return Some(next);
        }
        self.rows += next.rows;
        self.first_rows.extend(next.first_rows);
        None
    }
}

/// Matrices that are multiplied as one; where their rows begin are values of an output row.
#[derive(Clone, Debug)]
pub struct Stack {
    pub matrix: MatrixLayout,
    /// Offset in floats of what is added to value 0 of an output row; less than nothing (wrapping) where that has no bias.
    pub bias: Option<u32>,
}

/// The products of one input by matrices, each with the offset of its bias and the value of an output row where its own
/// begin: as few as can be.
pub fn stacks<'a>(parts: impl Iterator<Item = (&'a MatrixLayout, Option<u32>, u32)>) -> Vec<Stack> {
    let mut stacks: Vec<Stack> = Vec::new();
    for (matrix, bias, first) in parts {
        let mut matrix = matrix.clone();
        matrix.first_rows.iter_mut().for_each(|row| *row += u64::from(first));
        let bias = bias.map(|offset| offset.wrapping_sub(first));
        let left = match stacks.last_mut().filter(|last| last.bias == bias) {
            Some(last) => last.matrix.append(matrix),
            None => Some(matrix),
        };
        stacks.extend(left.map(|matrix| Stack { matrix, bias }));
    }
    stacks
}

/// The vectors of a layer: one piece of one row, and where each vector starts in it.
#[derive(Clone, Debug, Default)]
pub struct VectorLayout {
    /// Index of the piece; none where the layer has no vectors.
    pub piece: Option<usize>,
    /// Offset of each vector in floats, in the order of [`LayerSpec::vectors`].
    pub offsets: Vec<u32>,
    /// Bytes of all of them.
    pub len_bytes: u64,
}

/// A layer's tensors in the files.
#[derive(Clone, Debug)]
pub struct LayerLayout {
    pub vectors: VectorLayout,
    pub matrices: Vec<MatrixLayout>,
    pub experts: Vec<ExpertLayout>,
}

/// An expert's tensors in the files.
#[derive(Clone, Debug)]
pub struct ExpertLayout {
    /// The biases of gate, up and down, where it has them.
    pub vectors: VectorLayout,
    /// Gate, up and down.
    pub matrices: [MatrixLayout; 3],
}

impl ExpertLayout {
    /// Products by some of its matrices, each by its index and where in the output it goes.
    pub fn stacks(&self, parts: &[(usize, u32)]) -> Vec<Stack> {
        let bias = |index: usize| self.vectors.offsets.get(index).copied();
        stacks(parts.iter().map(|(index, first)| (&self.matrices[*index], bias(*index), *first)))
    }

    /// Its pieces, which follow each other.
    fn pieces(&self) -> Range<usize> {
        let [gate, _, down] = &self.matrices;
        self.vectors.piece.unwrap_or(gate.first_piece)..down.pieces().end
    }
}

impl LayerLayout {
    /// The layout of a matrix of the plan.
    pub fn matrix(&self, id: MatrixId) -> &MatrixLayout {
        &self.matrices[usize::from(id.0)]
    }
}

/// All that a sweep brings, in order: the layers, then the final norm and the head.
#[derive(Clone, Debug)]
pub struct ModelLayout {
    pub pieces: Vec<RowRun>,
    pub layers: Vec<LayerLayout>,
    /// Final norm (one vector) and head (one matrix).
    pub head: LayerLayout,
    /// Pieces of the layers and of the head's vectors: every sweep brings them.
    pub layer_pieces: Range<usize>,
    /// The matrix that embeddings are gathered from.
    pub embeddings: StoredTensor,
}

impl ModelLayout {
    /// Finds every tensor of `spec` in `model`, with its shape.
    ///
    /// # Errors
    /// [`ErrorKind::Missing`] or [`ErrorKind::Malformed`], naming the tensor.
    pub fn new(spec: &ModelSpec, model: &Model) -> Result<Self> {
        Self::find(spec, &|name| model.tensor(name))
    }

    /// The same of a model of which no more is known than where its tensors lie.
    ///
    /// # Errors
    /// Those of `tensor`, and [`ErrorKind::Malformed`], naming the tensor.
    pub fn find<'a>(spec: &ModelSpec, tensor: &'a dyn Fn(&str) -> Result<&'a StoredTensor>) -> Result<Self> {
        let mut builder = Builder { tensor, pieces: Vec::new() };
        let mut layers = Vec::with_capacity(spec.layers.len());
        for (index, layer) in spec.layers.iter().enumerate() {
            layers.push(builder.layer(index, layer)?);
        }
        let vectors: Vec<_> = spec.head.vectors.iter().map(|v| (v.name.clone(), u64::from(v.len))).collect();
        let vectors = builder.vectors(&vectors)?;
        let layer_pieces = 0..builder.pieces.len();
        let name = if spec.head.tied { plan::EMBEDDINGS } else { plan::HEAD };
        let shape = (u64::from(spec.vocab), u64::from(spec.hidden));
        let matrices = vec![builder.matrix(name, shape)?];
        let embeddings = tensor(plan::EMBEDDINGS)?.clone();
        check_shape(plan::EMBEDDINGS, &embeddings, &[shape.0, shape.1])?;
        if let Some(PerLayerSpec { rows, width, .. }) = spec.per_layer {
            let name = plan::PER_LAYER_EMBEDDINGS;
            check_shape(name, tensor(name)?, &[u64::from(rows), u64::from(width)])?;
        }
        let head = LayerLayout { vectors, matrices, experts: Vec::new() };
        Ok(Self { pieces: builder.pieces, layers, head, layer_pieces, embeddings })
    }

    /// Every matrix, experts and head included.
    pub fn matrices(&self) -> impl Iterator<Item = &MatrixLayout> {
        let layers = self.layers.iter().chain([&self.head]);
        layers.flat_map(|layer| {
            let of_experts = layer.experts.iter().flat_map(|expert| &expert.matrices);
            layer.matrices.iter().chain(of_experts)
        })
    }

    /// For each encoding the shape that most of its bytes have, the encoding with the most bytes first.
    pub fn products(&self) -> Vec<Product> {
        let mut bytes: BTreeMap<(Encoding, u64, u64), u64> = BTreeMap::new();
        for matrix in self.matrices() {
            let of_matrix = matrix.encoding.row_stride(matrix.columns) * matrix.rows;
            *bytes.entry((matrix.encoding, matrix.rows, matrix.columns)).or_default() += of_matrix;
        }
        let mut by_bytes: Vec<_> = bytes.into_iter().collect();
        by_bytes.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        let mut products: Vec<Product> = Vec::new();
        for ((encoding, rows, columns), _) in by_bytes {
            if products.iter().all(|product| product.encoding != encoding) {
                products.push(Product { encoding, rows: rows as u32, columns: columns as u32 });
            }
        }
        products
    }

    /// Pieces of a layer's experts, one run for each.
    pub fn expert_pieces(layer: &LayerLayout) -> impl Iterator<Item = Range<usize>> + '_ {
        layer.experts.iter().map(ExpertLayout::pieces)
    }

    /// Bytes of the largest row: no window can be smaller.
    pub fn largest_row_bytes(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.stride_bytes).max().unwrap_or(0)
    }

    /// Bytes of the most vectors that are needed at once: a layer's, with those of one of its experts.
    pub fn largest_vectors_bytes(&self) -> u64 {
        let of_expert = |expert: &ExpertLayout| expert.vectors.len_bytes;
        let of_layer =
            |layer: &LayerLayout| layer.vectors.len_bytes + layer.experts.iter().map(of_expert).max().unwrap_or(0);
        self.layers.iter().chain([&self.head]).map(of_layer).max().unwrap_or(0)
    }
}

struct Builder<'a> {
    tensor: &'a dyn Fn(&str) -> Result<&'a StoredTensor>,
    pieces: Vec<RowRun>,
}

impl Builder<'_> {
    fn layer(&mut self, index: usize, layer: &LayerSpec) -> Result<LayerLayout> {
        let full = |name: &str| plan::layer_tensor(index, name);
        let vectors: Vec<_> = layer.vectors.iter().map(|vector| (full(&vector.name), u64::from(vector.len))).collect();
        let vectors = self.vectors(&vectors)?;
        let mut matrices = Vec::with_capacity(layer.matrices.len());
        for matrix in &layer.matrices {
            matrices.push(self.matrix(&full(&matrix.name), (u64::from(matrix.rows), u64::from(matrix.columns)))?);
        }
        let mut experts = Vec::new();
        if let Some(spec) = &layer.experts {
            for expert in 0..spec.count {
                let vectors: Vec<_> =
                    spec.vectors(expert).into_iter().map(|v| (full(&v.name), u64::from(v.len))).collect();
                let vectors = self.vectors(&vectors)?;
                let [gate, up, down] = spec.matrices(expert);
                let mut place = |matrix: MatrixSpec| {
                    self.matrix(&full(&matrix.name), (u64::from(matrix.rows), u64::from(matrix.columns)))
                };
                let matrices = [place(gate)?, place(up)?, place(down)?];
                experts.push(ExpertLayout { vectors, matrices });
            }
        }
        Ok(LayerLayout { vectors, matrices, experts })
    }

    /// Vectors lie together in one file, so that they travel as one tile.
    fn vectors(&mut self, vectors: &[(String, u64)]) -> Result<VectorLayout> {
        let mut places = Vec::with_capacity(vectors.len());
        for (name, len) in vectors {
            let stored = (self.tensor)(name)?;
            check_shape(name, stored, &[*len])?;
            let [part] = stored.parts.as_slice() else { return Err(scattered(name)) };
            if stored.encoding()? != Encoding::F32 {
                return Err(malformed(name, format!("a vector is stored as {}, not f32", stored.encoding)));
            }
            places.push((name, part.file, part.offset_bytes, part.offset_bytes + len * 4));
        }
        let Some(&(_, file, ..)) = places.first() else { return Ok(VectorLayout::default()) };
        let start = places.iter().map(|place| place.2).min().unwrap_or(0);
        let end = places.iter().map(|place| place.3).max().unwrap_or(0);
        let mut offsets = Vec::with_capacity(places.len());
        for (name, its_file, offset, _) in &places {
            let distance = u32::try_from(offset - start).ok().filter(|bytes| *its_file == file && bytes % 4 == 0);
            offsets.push(distance.ok_or_else(|| scattered(name))? / 4);
        }
        let most = vectors.iter().map(|(_, len)| len * 4 + 4096).sum();
        if end - start > most || start % 4 != 0 {
            return Err(scattered(places[0].0));
        }
        self.pieces.push(RowRun { file, offset_bytes: start, rows: 1, stride_bytes: end - start });
        Ok(VectorLayout { piece: Some(self.pieces.len() - 1), offsets, len_bytes: end - start })
    }

    fn matrix(&mut self, name: &str, (rows, columns): (u64, u64)) -> Result<MatrixLayout> {
        let stored = (self.tensor)(name)?;
        check_shape(name, stored, &[rows, columns])?;
        let encoding = stored.encoding()?;
        let stride_bytes = encoding.row_stride(columns);
        let first_piece = self.pieces.len();
        let mut first_rows = Vec::with_capacity(stored.parts.len());
        let mut next = 0;
        for part in &stored.parts {
            first_rows.push(next);
            next += part.rows;
            let (file, offset_bytes) = (part.file, part.offset_bytes);
            self.pieces.push(RowRun { file, offset_bytes, rows: part.rows, stride_bytes });
        }
        if next != rows {
            return Err(malformed(name, format!("its parts hold {next} rows of {rows}")));
        }
        Ok(MatrixLayout { encoding, rows, columns, first_piece, first_rows })
    }
}

fn check_shape(name: &str, stored: &StoredTensor, shape: &[u64]) -> Result<()> {
    if stored.shape == shape {
        return Ok(());
    }
    Err(malformed(name, format!("its shape is {:?}, but the config asks for {shape:?}", stored.shape)))
}

fn malformed(name: &str, message: String) -> Error {
    Error::new(ErrorKind::Malformed, message).tensor(name).remedy("split the model again")
}

fn scattered(name: &str) -> Error {
    malformed(name, "the vectors of its layer do not lie together".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(encoding: Encoding, first_piece: usize, first_rows: &[u64], rows: u64) -> MatrixLayout {
        MatrixLayout { encoding, rows, columns: 64, first_piece, first_rows: first_rows.to_vec() }
    }

    /// Pieces and first rows of each stack, and its bias.
    fn stacked(parts: &[(MatrixLayout, Option<u32>, u32)]) -> Vec<(Range<usize>, Vec<u64>, Option<u32>)> {
        let parts = parts.iter().map(|(matrix, bias, first)| (matrix, *bias, *first));
        let shown = |stack: Stack| (stack.matrix.pieces(), stack.matrix.first_rows, stack.bias);
        stacks(parts).into_iter().map(shown).collect()
    }

    #[test]
    fn matrices_are_stacked_where_rows_outputs_and_biases_follow_each_other() {
        let (q, k) = (matrix(Encoding::BF16, 3, &[0, 5], 8), matrix(Encoding::BF16, 5, &[0], 4));
        let one = |bias| vec![(3..6, vec![0, 5, 8], bias)];
        assert_eq!(stacked(&[(q.clone(), None, 0), (k.clone(), None, 8)]), one(None));
        assert_eq!(stacked(&[(q.clone(), Some(20), 0), (k.clone(), Some(28), 8)]), one(Some(20)));
        let two = |first, bias, other| vec![(3..5, vec![0, 5], bias), (5..6, vec![first], other)];
        assert_eq!(stacked(&[(q.clone(), None, 0), (k.clone(), None, 32)]), two(32, None, None), "a gap in the output");
        let apart = [(q.clone(), Some(20), 0), (k.clone(), Some(32), 8)];
        assert_eq!(stacked(&apart), two(8, Some(20), Some(24)), "a gap between biases");
        let before = [(q.clone(), Some(20), 0), (k.clone(), Some(5), 8)];
        assert_eq!(stacked(&before), two(8, Some(20), Some(5_u32.wrapping_sub(8))), "the bias of an earlier place");
        let other = MatrixLayout { encoding: Encoding::F16, ..k.clone() };
        assert_eq!(stacked(&[(q.clone(), None, 0), (other, None, 8)]), two(8, None, None), "another encoding");
        let narrow = MatrixLayout { columns: 32, ..k.clone() };
        assert_eq!(stacked(&[(q.clone(), None, 0), (narrow, None, 8)]), two(8, None, None), "another input");
        let far = MatrixLayout { first_piece: 6, ..k };
        assert_eq!(stacked(&[(q, None, 0), (far, None, 8)]).len(), 2, "another tensor between them");
    }
}
