// A lane has one strand of a row's sum.
fn strands(row: u32, at: u32, lane: u32) -> Totals {
    return strand(row, at, lane);
}

fn block_strands(row: u32, at: vec4<u32>, lane: u32) -> Block {
    return block_strand(row, at, lane);
}
