// Counts the words whose two numbers of f16 shader-f16 and unpack2x16float do not widen to the same bits. What is not a
// number may become any other that is none.
//
// words, halves: the same bytes. Grid: one invocation a word.
struct Params {
    words: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> words: array<u32>;
@group(0) @binding(2) var<storage, read> halves: array<vec2<f16>>;
@group(0) @binding(3) var<storage, read_write> differing: atomic<u32>;

fn are_nan(bits: vec2<u32>) -> vec2<bool> {
    return (bits & vec2<u32>(0x7fffffffu)) > vec2<u32>(0x7f800000u);
}

@compute @workgroup_size(64)
fn compare_halves(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x >= params.words {
        return;
    }
    let packed = bitcast<vec2<u32>>(unpack2x16float(words[id.x]));
    let native = bitcast<vec2<u32>>(vec2<f32>(halves[id.x]));
    if !all((packed == native) | (are_nan(packed) & are_nan(native))) {
        atomicAdd(&differing, 1u);
    }
}
