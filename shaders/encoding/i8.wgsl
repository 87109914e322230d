// w = d * q: q i8 [P], d one f32 for the row in plane 1.
fn signed_bytes(word: u32) -> vec4<f32> {
    let shifted = vec4<u32>(word << 24u, word << 16u, word << 8u, word);
    return vec4<f32>(bitcast<vec4<i32>>(shifted) >> vec4<u32>(24u));
}

fn decode32(row: u32, chunk: u32) -> array<vec4<f32>, 8> {
    var w: array<vec4<f32>, 8>;
    let d = bitcast<f32>(weights1[(row + params.plane1) * 4u]);
    let a = weights4[row + chunk * 2u];
    let b = weights4[row + chunk * 2u + 1u];
    w[0] = d * signed_bytes(a.x);
    w[1] = d * signed_bytes(a.y);
    w[2] = d * signed_bytes(a.z);
    w[3] = d * signed_bytes(a.w);
    w[4] = d * signed_bytes(b.x);
    w[5] = d * signed_bytes(b.y);
    w[6] = d * signed_bytes(b.z);
    w[7] = d * signed_bytes(b.w);
    return w;
}
