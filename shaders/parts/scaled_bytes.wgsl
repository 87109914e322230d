// w = scale * q: q four bytes a word; the encoding says what they stand for, and its scale.
fn decode32(row: u32, chunk: u32) -> array<vec4<f32>, 8> {
    var w: array<vec4<f32>, 8>;
    let d = scale(row, chunk);
    let a = weights_at(row + chunk * 2u);
    let b = weights_at(row + chunk * 2u + 1u);
    w[0] = d * numbers(a.x);
    w[1] = d * numbers(a.y);
    w[2] = d * numbers(a.z);
    w[3] = d * numbers(a.w);
    w[4] = d * numbers(b.x);
    w[5] = d * numbers(b.y);
    w[6] = d * numbers(b.z);
    w[7] = d * numbers(b.w);
    return w;
}
