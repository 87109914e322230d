// w = d * f: f e4m3 [P] (no infinities; NaNs are refused before), d f32 [P/128] in plane 1.
//
// The seven bits below the sign, moved to where an f32 has its exponent, are 2^-120 of the value. They are brought up by
// adding to the exponent, not by a product, because a subnormal f32 may be flushed to zero on the way; numbers whose
// exponent is zero then have a one before the point that they should not have, and it is taken off.
fn numbers(word: u32) -> vec4<f32> {
    let bytes = vec4<u32>(word, word >> 8u, word >> 16u, word >> 24u);
    let magnitude = (bytes & vec4<u32>(127u)) << vec4<u32>(20u);
    let raised = bitcast<vec4<f32>>(magnitude + vec4<u32>(120u << 23u));
    let value = select(raised, 2.0 * raised - 0.015625, magnitude < vec4<u32>(1u << 23u));
    return bitcast<vec4<f32>>(bitcast<vec4<u32>>(value) | ((bytes & vec4<u32>(128u)) << vec4<u32>(24u)));
}
