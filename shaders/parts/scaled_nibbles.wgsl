// w = scale * numbers[q]: q u4 [P]; the encoding says what four nibbles stand for, and its scale.
fn decode32(row: u32, chunk: u32) -> array<vec4<f32>, 8> {
    var w: array<vec4<f32>, 8>;
    let q = weights_at(row + chunk);
    let d = scale(row, chunk);
    w[0] = d * numbers(q.x, 0u);
    w[1] = d * numbers(q.x, 16u);
    w[2] = d * numbers(q.y, 0u);
    w[3] = d * numbers(q.y, 16u);
    w[4] = d * numbers(q.z, 0u);
    w[5] = d * numbers(q.z, 16u);
    w[6] = d * numbers(q.w, 0u);
    w[7] = d * numbers(q.w, 16u);
    return w;
}
