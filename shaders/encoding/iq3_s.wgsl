// w = d * (2 sc + 1) * ±grid: [P/4] low bytes of indices; in plane 1 [P/256] eight bytes of their high bits, eight words of
// signs and a word of eight sc of four bits; d f16 [P/256] in plane 2.
fn fields(row: u32, chunk: u32) -> Fields {
    let at = row * 4u + chunk * 2u;
    let sub = chunk % 8u;
    let head = (row + params.plane1) * 4u + (chunk / 8u) * 11u;
    let high = vec4<u32>(weights1[head + sub / 4u] >> ((sub % 4u) * 8u));
    let first = bytes_of(weights1[at]) | ((high << vec4<u32>(8u, 7u, 6u, 5u)) & vec4<u32>(256u));
    let second = bytes_of(weights1[at + 1u]) | ((high << vec4<u32>(4u, 3u, 2u, 1u)) & vec4<u32>(256u));
    let sc = (weights1[head + 10u] >> (sub * 4u)) & 15u;
    let d = half_at(row + params.plane2, chunk / 8u) * f32(sc * 2u + 1u);
    return Fields(first, second, weights1[head + 2u + sub], d);
}

// The odd numbers.
fn magnitudes(level: vec4<u32>) -> vec4<f32> {
    return vec4<f32>(level * 2u + 1u);
}
