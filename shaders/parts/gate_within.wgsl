// What the values are multiplied with lies behind them in the same rows: a buffer cannot be bound for reading and writing
// at once.
@group(0) @binding(1) var<storage, read_write> values: array<f32>;

fn up_value(index: u32) -> f32 {
    return values[index];
}
