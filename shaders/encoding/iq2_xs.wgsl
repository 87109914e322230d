// w = d * (sc + 1/2) / 4 * ±grid: [P/8] nine bits of index and seven signs; sc u4 [P/16] in plane 1; d f16 [P/256] in plane 2.
fn fields(row: u32, chunk: u32) -> Fields {
    let at = row * 4u + chunk * 2u;
    let a = weights1[at];
    let b = weights1[at + 1u];
    let four = vec4<u32>(a, a >> 16u, b, b >> 16u);
    let two = weights1[(row + params.plane1) * 4u + chunk / 4u] >> ((chunk % 4u) * 8u);
    let d = half_at(row + params.plane2, chunk / 8u);
    let scales = d * (vec2<f32>(vec2<u32>(two, two >> 4u) & vec2<u32>(15u)) + 0.5) * 0.25;
    return Fields(four & vec4<u32>(511u), even_signs(four >> vec4<u32>(9u)), scales);
}
