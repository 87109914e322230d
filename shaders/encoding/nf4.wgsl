// w = d * CODE[q]: q u4 [P], d f32 [P/64] in plane 1. The numbers are encoding::codebook's.
const CODE = array<f32, 16>(
    -1.0, -0.6961928, -0.52507305, -0.3949175,
    -0.28444138, -0.18477343, -0.091050036, 0.0,
    0.0795803, 0.1609302, 0.2461123, 0.33791524,
    0.44070983, 0.562617, 0.72295684, 1.0,
);

// By selection: an index that only the shader knows into an array in memory is slow on a processor.
fn numbers(word: u32, shift: u32) -> vec4<f32> {
    let q = nibbles(word, shift);
    let a = (q & vec4<u32>(1u)) != vec4<u32>(0u);
    let b = (q & vec4<u32>(2u)) != vec4<u32>(0u);
    let c = (q & vec4<u32>(4u)) != vec4<u32>(0u);
    let d = (q & vec4<u32>(8u)) != vec4<u32>(0u);
    let n0 = select(two(CODE[0], CODE[1], a), two(CODE[2], CODE[3], a), b);
    let n4 = select(two(CODE[4], CODE[5], a), two(CODE[6], CODE[7], a), b);
    let n8 = select(two(CODE[8], CODE[9], a), two(CODE[10], CODE[11], a), b);
    let n12 = select(two(CODE[12], CODE[13], a), two(CODE[14], CODE[15], a), b);
    return select(select(n0, n4, c), select(n8, n12, c), d);
}

fn two(even: f32, odd: f32, is_odd: vec4<bool>) -> vec4<f32> {
    return select(vec4<f32>(even), vec4<f32>(odd), is_odd);
}
