// w = d * CODE[q]: q u4 [P], d f32 [P/64] in plane 1. The numbers are encoding::codebook's.
const CODE = array<f32, 16>(
    -1.0, -0.6961928, -0.52507305, -0.3949175,
    -0.28444138, -0.18477343, -0.091050036, 0.0,
    0.0795803, 0.1609302, 0.2461123, 0.33791524,
    0.44070983, 0.562617, 0.72295684, 1.0,
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
