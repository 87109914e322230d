// Plain f32: eight vec4 a chunk.
fn decode32(row: u32, chunk: u32) -> array<vec4<f32>, 8> {
    var w: array<vec4<f32>, 8>;
    let at = row + chunk * 8u;
    w[0] = bitcast<vec4<f32>>(weights_at(at));
    w[1] = bitcast<vec4<f32>>(weights_at(at + 1u));
    w[2] = bitcast<vec4<f32>>(weights_at(at + 2u));
    w[3] = bitcast<vec4<f32>>(weights_at(at + 3u));
    w[4] = bitcast<vec4<f32>>(weights_at(at + 4u));
    w[5] = bitcast<vec4<f32>>(weights_at(at + 5u));
    w[6] = bitcast<vec4<f32>>(weights_at(at + 6u));
    w[7] = bitcast<vec4<f32>>(weights_at(at + 7u));
    return w;
}
