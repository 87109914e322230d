// w = d * (t - 1): GGUF's 52 bytes of trits [P/256], d f16 [P/256] in plane 1.
//
// A byte is a fraction of 256 whose digits in base 3, the first the highest, belong to columns that lie 32 apart (in the
// first 32 bytes), 16 apart (in the next 16) or 4 apart (in the last four).
const POWERS = array<u32, 5>(1u, 3u, 9u, 27u, 81u);

// Digits of the four bytes of a word, those that `power` brings to the top.
fn trits(word: u32, power: u32) -> vec4<f32> {
    let bytes = (vec4<u32>(word) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(255u);
    return vec4<f32>((((bytes * power) & vec4<u32>(255u)) * 3u) >> vec4<u32>(8u)) - 1.0;
}

fn decode32(row: u32, chunk: u32) -> array<vec4<f32>, 8> {
    var w: array<vec4<f32>, 8>;
    let at = row * 4u + (chunk / 8u) * 13u;
    let sub = chunk % 8u;
    let d = half_at(row + params.plane1, chunk / 8u);
    // The words of the chunk: eight and one digit, or four and two, or four and one besides one word of four digits.
    for (var i = 0u; i < 8u; i++) {
        var word = at + i;
        var digit = sub;
        if sub >= 5u {
            word = at + 8u + i % 4u;
            digit = (sub - 5u) * 2u + i / 4u;
        }
        if sub == 7u && i >= 4u {
            word = at + 12u;
            digit = i - 4u;
        }
        w[i] = d * trits(weights1[word], POWERS[digit]);
    }
    return w;
}
