// w = (d * sc) * q - dmin * mn: q u4 [P], GGUF's 16-byte header [P/256] in plane 1.
fn decode32(row: u32, chunk: u32) -> array<vec4<f32>, 8> {
    var w: array<vec4<f32>, 8>;
    let q = weights_at(row + chunk);
    let s = k_scales(weights_at(row + params.plane1 + chunk / 8u), chunk % 8u);
    w[0] = s.x * vec4<f32>(nibbles(q.x, 0u)) - s.y;
    w[1] = s.x * vec4<f32>(nibbles(q.x, 16u)) - s.y;
    w[2] = s.x * vec4<f32>(nibbles(q.y, 0u)) - s.y;
    w[3] = s.x * vec4<f32>(nibbles(q.y, 16u)) - s.y;
    w[4] = s.x * vec4<f32>(nibbles(q.z, 0u)) - s.y;
    w[5] = s.x * vec4<f32>(nibbles(q.z, 16u)) - s.y;
    w[6] = s.x * vec4<f32>(nibbles(q.w, 0u)) - s.y;
    w[7] = s.x * vec4<f32>(nibbles(q.w, 16u)) - s.y;
    return w;
}
