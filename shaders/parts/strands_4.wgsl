// A lane has four strands of a row's sum, one after the other: the first two steps of the butterfly are its own.
fn strands(row: u32, at: u32, lane: u32) -> Totals {
    var pair = Totals();
    var first = Totals();
    for (var i = 0u; i < 4u; i++) {
        // In the order 0, 2, 1, 3.
        let sums = strand(row, at, lane + LANES * ((i >> 1u) | ((i & 1u) << 1u)));
        if i == 2u {
            first = pair;
        }
        if (i & 1u) == 0u {
            pair = sums;
        } else {
            pair = pair + sums;
        }
    }
    return first + pair;
}

fn block_strands(row: u32, at: vec4<u32>, lane: u32) -> Block {
    var pair = Block();
    var first = Block();
    for (var i = 0u; i < 4u; i++) {
        let sums = block_strand(row, at, lane + LANES * ((i >> 1u) | ((i & 1u) << 1u)));
        if i == 2u {
            first = pair;
        }
        if (i & 1u) == 0u {
            pair = sums;
        } else {
            pair = add_blocks(pair, sums);
        }
    }
    return add_blocks(first, pair);
}
