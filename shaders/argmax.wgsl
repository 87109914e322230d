// result[result_offset + r] = (argmax_i logits[r, i], bits of that value, how many values are not finite, 0)
//
// logits [rows, stride] f32, `width` values of each row; the lowest id wins ties; values that are not finite never win.
// Grid: one workgroup of LANES a row (x). CPU twin: reference::argmax.
struct Params {
    rows: u32,
    width: u32,
    stride: u32,
    result_offset: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read_write> result: array<vec4<u32>>;

var<workgroup> best_values: array<f32, LANES>;
var<workgroup> best_ids: array<u32, LANES>;
var<workgroup> broken_counts: array<u32, LANES>;

@compute @workgroup_size(LANES)
fn argmax(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let start = group.x * params.stride;
    var best = 0.0;
    var best_id = 0xffffffffu;
    var broken = 0u;
    for (var i = lane; i < params.width; i += LANES) {
        let value = logits[start + i];
        // By bits: shaders may assume that numbers are finite.
        if (bitcast<u32>(value) & 0x7f800000u) == 0x7f800000u {
            broken += 1u;
        } else if best_id == 0xffffffffu || value > best {
            best = value;
            best_id = i;
        }
    }
    best_values[lane] = best;
    best_ids[lane] = best_id;
    broken_counts[lane] = broken;
    workgroupBarrier();
    if lane != 0u {
        return;
    }
    for (var other = 1u; other < LANES; other++) {
        broken += broken_counts[other];
        let id = best_ids[other];
        let value = best_values[other];
        if id != 0xffffffffu && (best_id == 0xffffffffu || value > best || (value == best && id < best_id)) {
            best = value;
            best_id = id;
        }
    }
    result[params.result_offset + group.x] = vec4<u32>(best_id, bitcast<u32>(best), broken, 0u);
}
