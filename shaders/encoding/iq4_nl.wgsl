// w = d * IQ4[q]: q u4 [P], d f16 [P/32] in plane 1.
fn decode32(row: u32, chunk: u32) -> array<vec4<f32>, 8> {
    var w: array<vec4<f32>, 8>;
    let q = weights4[row + chunk];
    let d = half_at(row + params.plane1, chunk);
    w[0] = d * iq4(nibbles(q.x, 0u));
    w[1] = d * iq4(nibbles(q.x, 16u));
    w[2] = d * iq4(nibbles(q.y, 0u));
    w[3] = d * iq4(nibbles(q.y, 16u));
    w[4] = d * iq4(nibbles(q.z, 0u));
    w[5] = d * iq4(nibbles(q.z, 16u));
    w[6] = d * iq4(nibbles(q.w, 0u));
    w[7] = d * iq4(nibbles(q.w, 16u));
    return w;
}
