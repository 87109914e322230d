// output[i] = input[i]: what memory gives a shader at best, to measure others by.
//
// input, output [words4] of 16 bytes. Grid: x and y folded over workgroups of 64, an invocation a word. CPU twin: none, bytes are compared.
struct Params {
    words4: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> output: array<vec4<u32>>;

@compute @workgroup_size(64)
fn copy(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let at = (group.y * groups.x + group.x) * 64u + index;
    if at < params.words4 {
        output[at] = input[at];
    }
}
