// Small fields of packed words. Elements stand least significant first.

// The f16 number `index` of the plane that starts at `plane` (16-byte units).
fn half_at(plane: u32, index: u32) -> f32 {
    return unpack2x16float(weights1[plane * 4u + index / 2u] >> ((index & 1u) * 16u)).x;
}

// Four nibbles of `word`, from bit `shift` on.
fn nibbles(word: u32, shift: u32) -> vec4<u32> {
    return (vec4<u32>(word) >> (vec4<u32>(0u, 4u, 8u, 12u) + shift)) & vec4<u32>(15u);
}

// Four pairs of bits of `word`, from bit `shift` on.
fn bit_pairs(word: u32, shift: u32) -> vec4<u32> {
    return (vec4<u32>(word) >> (vec4<u32>(0u, 2u, 4u, 6u) + shift)) & vec4<u32>(3u);
}

// What four nibbles stand for in IQ4: entry q of -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
// which are bytes of four words here; choosing among words needs no memory that can be indexed.
fn iq4(q: vec4<u32>) -> vec4<f32> {
    let odd = (q & vec4<u32>(4u)) != vec4<u32>(0u);
    let low = select(vec4<u32>(0xbfad9881u), vec4<u32>(0xf6eaddcfu), odd);
    let high = select(vec4<u32>(0x26190d01u), vec4<u32>(0x71594535u), odd);
    let word = select(low, high, (q & vec4<u32>(8u)) != vec4<u32>(0u));
    let top = word << (vec4<u32>(24u) - (q & vec4<u32>(3u)) * 8u);
    return vec4<f32>(bitcast<vec4<i32>>(top) >> vec4<u32>(24u));
}

// `magnitude` with the sign bits of four nibbles of `word`, from bit `shift` on.
fn with_signs(magnitude: vec4<f32>, word: u32, shift: u32) -> vec4<f32> {
    let w = word >> shift;
    let signs = vec4<u32>(w << 28u, w << 24u, w << 20u, w << 16u) & vec4<u32>(0x80000000u);
    return bitcast<vec4<f32>>(bitcast<vec4<u32>>(magnitude) | signs);
}

// Four single bits of `word`, from bit `shift` on, as the fifth bit of four quants.
fn fifth_bits(word: u32, shift: u32) -> vec4<u32> {
    return (vec4<u32>(word >> shift) << vec4<u32>(4u, 3u, 2u, 1u)) & vec4<u32>(16u);
}

// (d * sc, dmin * mn) of sub-block `sub` (0 to 7) from a K-quant header: f16 d, f16 dmin, twelve bytes that hold eight
// 6-bit scales and minima. The first four pairs lie in the low bits of bytes 0-7; the others take their low nibbles
// from bytes 8-11 and their top two bits from bytes 0-7.
fn k_scales(header: vec4<u32>, sub: u32) -> vec2<f32> {
    let d = unpack2x16float(header.x);
    let shift = (sub & 3u) * 8u;
    let a = header.y >> shift;
    let b = header.z >> shift;
    let c = header.w >> shift;
    let first = vec2<u32>(a & 63u, b & 63u);
    let second = vec2<u32>(
        (c & 15u) | (((a >> 6u) & 3u) << 4u),
        ((c >> 4u) & 15u) | (((b >> 6u) & 3u) << 4u),
    );
    return d * vec2<f32>(select(first, second, sub >= 4u));
}
