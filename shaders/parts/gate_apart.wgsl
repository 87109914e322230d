// What the values are multiplied with is another buffer.
@group(0) @binding(1) var<storage, read> up: array<f32>;
@group(0) @binding(2) var<storage, read_write> values: array<f32>;

fn up_value(index: u32) -> f32 {
    return up[index];
}
