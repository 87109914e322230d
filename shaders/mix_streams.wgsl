// s_i[r, :] += sum_j coefs[r, 4 i + j] s_j[r, :], i and j from 0 to 3; with CORRECT instead
// s_i[r, :] += (coefs[r, i] + 1) (activated[r, :] - s_0[r, :]), each s being the one before; in place.
//
// Four streams of a residual (AltUp, Baykal et al. 2023): predicted from each other, or corrected by what a layer made of the
// first. Streams and activated [rows, stride] f32, `width` values of each row; coefs [rows, coef_stride]. Grid: one
// invocation a value of a stream, folded over x and y. CPU twin: reference::mix_streams.
struct Params {
    rows: u32,
    width: u32,
    stride: u32,
    coef_stride: u32,
    flags: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> coefs: array<f32>;
@group(0) @binding(2) var<storage, read> activated: array<f32>;
@group(0) @binding(3) var<storage, read_write> first: array<f32>;
@group(0) @binding(4) var<storage, read_write> second: array<f32>;
@group(0) @binding(5) var<storage, read_write> third: array<f32>;
@group(0) @binding(6) var<storage, read_write> fourth: array<f32>;

const CORRECT = 1u;

@compute @workgroup_size(64)
fn mix_streams(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = (group.y * groups.x + group.x) * 64u + lane;
    let row = index / params.width;
    if row >= params.rows {
        return;
    }
    let at = row * params.stride + index % params.width;
    let own = row * params.coef_stride;
    let before = vec4<f32>(first[at], second[at], third[at], fourth[at]);
    var added = vec4<f32>();
    if (params.flags & CORRECT) != 0u {
        let factors = vec4<f32>(coefs[own], coefs[own + 1u], coefs[own + 2u], coefs[own + 3u]);
        added = (factors + 1.0) * (activated[at] - before.x);
    } else {
        // Column j of the coefficients times stream j.
        for (var j = 0u; j < 4u; j++) {
            let column = own + j;
            let factors = vec4<f32>(coefs[column], coefs[column + 4u], coefs[column + 8u], coefs[column + 12u]);
            added = fma(factors, vec4<f32>(before[j]), added);
        }
    }
    let after = before + added;
    first[at] = after.x;
    second[at] = after.y;
    third[at] = after.z;
    fourth[at] = after.w;
}
