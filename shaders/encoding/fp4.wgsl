// w = d * CODE[q]: q u4 [P], d f32 [P/64] in plane 1. The numbers are encoding::codebook's: a sign, and 0, 1, 128, 192,
// 64, 96, 32 or 48 of 192 parts.
fn numbers(word: u32, shift: u32) -> vec4<f32> {
    let q = nibbles(word, shift);
    let bytes = select(vec4<u32>(0x000180c0u), vec4<u32>(0x40602030u), (q & vec4<u32>(4u)) != vec4<u32>(0u));
    let magnitude = (bytes << ((q << vec4<u32>(3u)) & vec4<u32>(24u))) >> vec4<u32>(24u);
    return with_signs(vec4<f32>(magnitude) * (1.0 / 192.0), word, shift);
}
