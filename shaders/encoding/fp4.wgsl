// w = d * CODE[q]: q u4 [P], d f32 [P/64] in plane 1. The numbers are encoding::codebook's.
const CODE = array<f32, 16>(
    0.0, 0.0052083335, 0.6666667, 1.0,
    0.33333334, 0.5, 0.16666667, 0.25,
    0.0, -0.0052083335, -0.6666667, -1.0,
    -0.33333334, -0.5, -0.16666667, -0.25,
);

fn numbers(q: vec4<u32>) -> vec4<f32> {
    return of_sixteen(CODE, q);
}

fn decode32(row: u32, chunk: u32) -> array<vec4<f32>, 8> {
    var w: array<vec4<f32>, 8>;
    let q = weights4[row + chunk];
    let d = bitcast<f32>(weights1[(row + params.plane1) * 4u + chunk / 2u]);
    w[0] = d * numbers(nibbles(q.x, 0u));
    w[1] = d * numbers(nibbles(q.x, 16u));
    w[2] = d * numbers(nibbles(q.y, 0u));
    w[3] = d * numbers(nibbles(q.y, 16u));
    w[4] = d * numbers(nibbles(q.z, 0u));
    w[5] = d * numbers(nibbles(q.z, 16u));
    w[6] = d * numbers(nibbles(q.w, 0u));
    w[7] = d * numbers(nibbles(q.w, 16u));
    return w;
}
