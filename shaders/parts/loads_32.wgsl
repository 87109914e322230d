// Sixteen bytes are loaded as four words: GPUs take them with one instruction.
alias Sixteen = vec4<u32>;

fn words(bytes: Sixteen) -> vec4<u32> {
    return bytes;
}
