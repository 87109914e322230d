// w = d * (sc - 32) * IQ4[q]: q u4 [P]; in plane 1 [P/256] GGUF's 8 bytes: f16 d, two high bits and then four low ones of
// eight scales.
fn decode32(row: u32, chunk: u32) -> array<vec4<f32>, 8> {
    var w: array<vec4<f32>, 8>;
    let q = weights4[row + chunk];
    let at = (row + params.plane1) * 4u + (chunk / 8u) * 2u;
    let head = weights1[at];
    let sub = chunk % 8u;
    let low = (weights1[at + 1u] >> (sub * 4u)) & 15u;
    let high = (head >> (16u + sub * 2u)) & 3u;
    let d = unpack2x16float(head).x * (f32(low | (high << 4u)) - 32.0);
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
