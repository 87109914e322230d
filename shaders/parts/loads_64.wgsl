// Sixteen bytes are loaded as two numbers of 64 bits: Mesa's llvmpipe loads number by number and invocation by
// invocation, through memory, so that half as many take little more than half the time.
alias Sixteen = vec2<u64>;

fn words(bytes: Sixteen) -> vec4<u32> {
    let low = vec2<u32>(u32(bytes.x & 0xfffffffflu), u32(bytes.y & 0xfffffffflu));
    let high = vec2<u32>(u32(bytes.x >> 32u), u32(bytes.y >> 32u));
    return vec4<u32>(low.x, high.x, low.y, high.y);
}
