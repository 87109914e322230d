// Workgroups of one subgroup take blocks of ROWS rows as they come to them, until none is left. A driver on a processor gives
// each of its threads the same share of a dispatch's workgroups, and waits for the thread whose core does something else
// beside, a read for one; the blocks go to whichever thread has time. Grid: as many takers as grid::matmul says, over x.
struct Blocks {
    taken: atomic<u32>,
    finished: atomic<u32>,
}

// Zeros before a dispatch and after it.
@group(0) @binding(6) var<storage, read_write> blocks: Blocks;

@compute @workgroup_size(LANES)
fn matvec_taking(
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let of_token = (params.rows + ROWS - 1u) / ROWS;
    // A driver may leave loops after so many turns of all of them together.
    for (var left = max(BLOCK_TURNS / (params.chunks / LANES + TURNS_OF_SUMS), 1u); left > 0u; left -= 1u) {
        var block = 0u;
        if lane == 0u {
            block = atomicAdd(&blocks.taken, 1u);
        }
        block = subgroupBroadcastFirst(block);
        if block >= of_token * params.tokens {
            break;
        }
        matvec_block(block % of_token * ROWS, block / of_token, lane, lane);
    }
    if lane == 0u && atomicAdd(&blocks.finished, 1u) + 1u == groups.x {
        atomicStore(&blocks.taken, 0u);
        atomicStore(&blocks.finished, 0u);
    }
}
