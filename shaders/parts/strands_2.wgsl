// A lane has two strands of a row's sum, one after the other: the first step of the butterfly is its own.
fn strands(row: u32, at: u32, lane: u32) -> Totals {
    let a = strand(row, at, lane);
    return a + strand(row, at, lane + LANES);
}

fn block_strands(row: u32, at: vec4<u32>, lane: u32) -> Block {
    let a = block_strand(row, at, lane);
    return add_blocks(a, block_strand(row, at, lane + LANES));
}
