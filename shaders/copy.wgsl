// output[i] = input[i]: what memory gives a shader at best, to measure others by.
//
// input, output [vectors] of 16 bytes. Grid: x and y folded over workgroups of 64, an invocation for each. CPU twin: none, bytes are compared.
struct Params {
    vectors: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<Sixteen>;
@group(0) @binding(2) var<storage, read_write> output: array<Sixteen>;

@compute @workgroup_size(64)
fn copy(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let at = (group.y * groups.x + group.x) * 64u + index;
    if at < params.vectors {
        output[at] = input[at];
    }
}
