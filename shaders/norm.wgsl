// output[r, g, i] (+)= scale * (normal(input[r, g, :])[i] * weight[g, i] + bias[g, i]), with FACTOR times
// vectors[factor_offset]
//
// normal(x) = x / sqrt(mean(x^2) + epsilon), or with LAYER (x - mean(x)) / sqrt(variance(x) + epsilon)
//
// input [rows, input_stride], output [rows, output_stride] f32; a row holds, from `first` on in the input and from
// `output_first` on in the output, `groups` groups of `width` values, each normalized alone. Weight and bias are there where their flag says so; with a weight_stride of 0 one serves all groups;
// from group `later` on the weight is the one at later_offset.
// Bindings, and `input_value`, are in the parts: input and output are two buffers or one.
// Grid: one workgroup of LANES a group, folded over x and y. CPU twin: reference::norm.
struct Params {
    rows: u32,
    groups: u32,
    width: u32,
    input_stride: u32,
    output_stride: u32,
    weight_offset: u32,
    bias_offset: u32,
    weight_stride: u32,
    epsilon: f32,
    scale: f32,
    flags: u32,
    first: u32,
    later: u32,
    later_offset: u32,
    output_first: u32,
    factor_offset: u32,
}

@group(0) @binding(0) var<uniform> params: Params;

const ACCUMULATE = 1u;
const BIAS = 2u;
const WEIGHT = 4u;
const LAYER = 8u;
const FACTOR = 16u;

@compute @workgroup_size(LANES)
fn norm(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = group.y * groups.x + group.x;
    let exists = index < params.rows * params.groups;
    // Workgroups past the end take part in the sums of a group that is there, and write nothing.
    let row = select(0u, index / params.groups, exists);
    let part = select(0u, index % params.groups, exists);
    let from_group = row * params.input_stride + params.first + part * params.width;
    var mean = 0.0;
    if (params.flags & LAYER) != 0u {
        var sum = 0.0;
        for (var i = lane; i < params.width; i += LANES) {
            sum = sum + input_value(from_group + i);
        }
        mean = sum_lanes(sum, lane) / f32(params.width);
    }
    var squares = 0.0;
    for (var i = lane; i < params.width; i += LANES) {
        let value = input_value(from_group + i) - mean;
        squares = fma(value, value, squares);
    }
    let mean_square = sum_lanes(squares, lane) / f32(params.width);
    let normal = 1.0 / sqrt(mean_square + params.epsilon);
    if !exists {
        return;
    }
    let to_group = row * params.output_stride + params.output_first + part * params.width;
    let vector = part * params.weight_stride;
    var weight_at = params.weight_offset + vector;
    if part >= params.later {
        weight_at = params.later_offset + (part - params.later) * params.weight_stride;
    }
    for (var i = lane; i < params.width; i += LANES) {
        var value = (input_value(from_group + i) - mean) * normal;
        if (params.flags & WEIGHT) != 0u {
            value = value * vectors[weight_at + i];
        }
        if (params.flags & BIAS) != 0u {
            value = value + vectors[params.bias_offset + vector + i];
        }
        value = value * params.scale;
        if (params.flags & ACCUMULATE) != 0u {
            value = output[to_group + i] + value;
        }
        if (params.flags & FACTOR) != 0u {
            value = value * vectors[params.factor_offset];
        }
        output[to_group + i] = value;
    }
}
