// The grids of GGML's i-quants, of two entries a word (part `grids_storage` or `grids_uniform`): see encoding::grids. GRID is
// where that of the encoding begins.
fn grid_entry(index: u32) -> u32 {
    let at = GRID + index;
    return grid_word(at / 2u) >> ((at & 1u) * 16u);
}

// Four entries, of which only the low 16 bits count.
fn grid_entries(indices: vec4<u32>) -> vec4<u32> {
    return vec4<u32>(
        grid_entry(indices.x),
        grid_entry(indices.y),
        grid_entry(indices.z),
        grid_entry(indices.w),
    );
}

fn bytes_of(word: u32) -> vec4<u32> {
    return (vec4<u32>(word) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(255u);
}

// Four times seven signs, to each of which an eighth comes that makes the number of negative ones even.
fn even_signs(packed: vec4<u32>) -> u32 {
    let seven = packed & vec4<u32>(127u);
    let eight = (seven | ((countOneBits(seven) & vec4<u32>(1u)) << vec4<u32>(7u))) << vec4<u32>(0u, 8u, 16u, 24u);
    return eight.x | eight.y | eight.z | eight.w;
}

// Four magnitudes with the signs that four bits of `word` are, from bit `shift` on.
fn with_single_signs(magnitude: vec4<f32>, word: u32, shift: u32) -> vec4<f32> {
    let w = word >> shift;
    let signs = vec4<u32>(w << 31u, w << 30u, w << 29u, w << 28u) & vec4<u32>(0x80000000u);
    return bitcast<vec4<f32>>(bitcast<vec4<u32>>(magnitude) | signs);
}
