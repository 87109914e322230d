// Inputs as they are: 32 values of a chunk in eight vectors.
fn input_at(at: u32) -> vec4<f32> {
    return bitcast<vec4<f32>>(input_words(at));
}

const CHUNK_VECTORS = 8u;

alias Inputs = array<vec4<f32>, 8>;

fn inputs_at(at: u32) -> Inputs {
    var x: Inputs;
    x[0] = input_at(at);
    x[1] = input_at(at + 1u);
    x[2] = input_at(at + 2u);
    x[3] = input_at(at + 3u);
    x[4] = input_at(at + 4u);
    x[5] = input_at(at + 5u);
    x[6] = input_at(at + 6u);
    x[7] = input_at(at + 7u);
    return x;
}

// The sum of a strand.
fn total(sum4: vec4<f32>) -> f32 {
    return (sum4.x + sum4.y) + (sum4.z + sum4.w);
}

// A row's weights of a chunk times the input, in the order that all products have.
fn add_row(row: u32, chunk: u32, x: Inputs, sum: vec4<f32>) -> vec4<f32> {
    let w = decode32(row_base(row), chunk);
    var s = fma(w[0], x[0], sum);
    s = fma(w[1], x[1], s);
    s = fma(w[2], x[2], s);
    s = fma(w[3], x[3], s);
    s = fma(w[4], x[4], s);
    s = fma(w[5], x[5], s);
    s = fma(w[6], x[6], s);
    return fma(w[7], x[7], s);
}
