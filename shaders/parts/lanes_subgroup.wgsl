// Sums over the lanes of a group by shuffles; LANES is at most the subgroup size, and lanes of a group are neighbours.
fn sum_lanes(value: f32, index: u32) -> f32 {
    var sum = value;
    for (var step = LANES / 2u; step > 0u; step = step / 2u) {
        sum = sum + subgroupShuffleXor(sum, step);
    }
    return sum;
}

fn max_lanes(value: f32, index: u32) -> f32 {
    var top = value;
    for (var step = LANES / 2u; step > 0u; step = step / 2u) {
        top = max(top, subgroupShuffleXor(top, step));
    }
    return top;
}
