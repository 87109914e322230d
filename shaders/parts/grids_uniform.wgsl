// The same in a uniform buffer: Mesa's llvmpipe loads from it without a detour through memory.
@group(0) @binding(7) var<uniform> grids: array<vec4<u32>, GRID_VECTORS>;

fn grid_word(at: u32) -> u32 {
    return grids[at / 4u][at % 4u];
}
