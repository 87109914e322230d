// Inputs of eight bits, as quantize_rows.wgsl writes them: a chunk is 32 whole numbers, which stand twice, in natural order
// and with the even ones of eight columns before the odd ones; and what they are multiplied with.
const CHUNK_VECTORS = 5u;

struct Inputs {
    a: vec4<u32>,
    b: vec4<u32>,
    // The scale; the scale times the sum of all numbers, of the first sixteen, of the others.
    factors: vec4<f32>,
}

fn inputs_at(at: u32) -> Inputs {
    return Inputs(input_words(at + ORDER), input_words(at + ORDER + 1u), bitcast<vec4<f32>>(input_words(at + 4u)));
}

fn dot16(a: vec4<u32>, b: vec4<u32>) -> i32 {
    return dot4I8Packed(a.x, b.x) + dot4I8Packed(a.y, b.y) + dot4I8Packed(a.z, b.z) + dot4I8Packed(a.w, b.w);
}
