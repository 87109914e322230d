// A norm in place: a buffer cannot be bound for reading and writing at once.
@group(0) @binding(1) var<storage, read> vectors: array<f32>;
@group(0) @binding(2) var<storage, read_write> output: array<f32>;

fn input_value(index: u32) -> f32 {
    return output[index];
}
