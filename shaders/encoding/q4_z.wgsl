// w = d * (q - z): q u4 [P], (d, z) in plane 1 (part `pair_f16` or `pair_bf16`), one pair for SCALE_CHUNKS chunks, z a whole
// number.
fn decode32(row: u32, chunk: u32) -> array<vec4<f32>, 8> {
    var w: array<vec4<f32>, 8>;
    let q = weights_at(row + chunk);
    let dz = pair_of(weights1[(row + params.plane1) * 4u + chunk / SCALE_CHUNKS]);
    w[0] = dz.x * (vec4<f32>(nibbles(q.x, 0u)) - dz.y);
    w[1] = dz.x * (vec4<f32>(nibbles(q.x, 16u)) - dz.y);
    w[2] = dz.x * (vec4<f32>(nibbles(q.y, 0u)) - dz.y);
    w[3] = dz.x * (vec4<f32>(nibbles(q.y, 16u)) - dz.y);
    w[4] = dz.x * (vec4<f32>(nibbles(q.z, 0u)) - dz.y);
    w[5] = dz.x * (vec4<f32>(nibbles(q.z, 16u)) - dz.y);
    w[6] = dz.x * (vec4<f32>(nibbles(q.w, 0u)) - dz.y);
    w[7] = dz.x * (vec4<f32>(nibbles(q.w, 16u)) - dz.y);
    return w;
}
