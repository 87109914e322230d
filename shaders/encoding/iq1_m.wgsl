// w = d * (2 sc + 1) * (grid ± 1/8): [P/8] low bytes of indices; in plane 1 [P/8] three high bits and the sign of the shift; in
// plane 2 [P/256] four numbers of 16 bits: four sc of three bits, and four bits of d f16.
fn fields(row: u32, chunk: u32) -> Fields {
    let low = bytes_of(weights1[row * 4u + chunk]);
    let h = vec4<u32>(weights1[(row + params.plane1) * 4u + chunk / 2u] >> ((chunk % 2u) * 16u)) >> vec4<u32>(0u, 4u, 8u, 12u);
    let head = (row + params.plane2) * 4u + (chunk / 8u) * 2u;
    let a = weights1[head];
    let b = weights1[head + 1u];
    let d = unpack2x16float(((a >> 12u) & 15u) | ((a >> 28u) << 4u) | (((b >> 12u) & 15u) << 8u) | ((b >> 28u) << 12u)).x;
    let sub = chunk % 8u;
    let sc = select(a, b, sub >= 4u) >> (((sub / 2u) % 2u) * 16u + (sub % 2u) * 6u);
    let scales = d * vec2<f32>((vec2<u32>(sc, sc >> 3u) & vec2<u32>(7u)) * 2u + 1u);
    return Fields(low | ((h & vec4<u32>(7u)) << vec4<u32>(8u)), shifts(h >> vec4<u32>(3u)), scales);
}
