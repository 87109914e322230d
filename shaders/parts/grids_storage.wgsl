// The grids of GGML's i-quants in a storage buffer, whose loads a GPU takes from its cache.
@group(0) @binding(7) var<storage, read> grids: array<u32>;

fn grid_word(at: u32) -> u32 {
    return grids[at];
}
