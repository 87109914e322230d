// Counts the numbers of f16 that shader-f16 and unpack2x16float do not widen to the same bits. What is not a number may
// become any other that is none.
//
// Grid: one invocation a number.
struct Params {
    numbers: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> differing: atomic<u32>;

fn is_nan(bits: u32) -> bool {
    return (bits & 0x7fffffffu) > 0x7f800000u;
}

@compute @workgroup_size(64)
fn compare_halves(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x >= params.numbers {
        return;
    }
    // In both places of a word.
    let word = id.x | (id.x << 16u);
    let packed = bitcast<vec2<u32>>(unpack2x16float(word));
    let native = bitcast<vec2<u32>>(vec2<f32>(bitcast<vec2<f16>>(word)));
    let same_first = packed.x == native.x || (is_nan(packed.x) && is_nan(native.x));
    let same_second = packed.y == native.y || (is_nan(packed.y) && is_nan(native.y));
    if !(same_first && same_second) {
        atomicAdd(&differing, 1u);
    }
}
