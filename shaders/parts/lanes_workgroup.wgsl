// Sums over the lanes of a group through workgroup memory; every lane gets the sum. The tree is that of
// lanes_subgroup.wgsl, so both give the same bits.
var<workgroup> lane_scratch: array<f32, LANES * GROUPS>;

fn sum_lanes(value: f32, index: u32) -> f32 {
    var sum = value;
    for (var step = LANES / 2u; step > 0u; step = step / 2u) {
        lane_scratch[index] = sum;
        workgroupBarrier();
        sum = sum + lane_scratch[index ^ step];
        workgroupBarrier();
    }
    return sum;
}

fn max_lanes(value: f32, index: u32) -> f32 {
    var top = value;
    for (var step = LANES / 2u; step > 0u; step = step / 2u) {
        lane_scratch[index] = top;
        workgroupBarrier();
        top = max(top, lane_scratch[index ^ step]);
        workgroupBarrier();
    }
    return top;
}
