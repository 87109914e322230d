// w = d * (t - 1): GGUF's 52 bytes of trits [P/256], d f16 [P/256] in plane 1.
//
// A byte is a fraction of 256 whose digits in base 3, the first the highest, belong to columns that lie 32 apart (in the
// first 32 bytes), 16 apart (in the next 16) or 4 apart (in the last four).

// Digits of the four bytes of a word, those that `power` brings to the top.
fn trits(word: u32, power: u32) -> vec4<f32> {
    let bytes = (vec4<u32>(word) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(255u);
    return vec4<f32>((((bytes * power) & vec4<u32>(255u)) * 3u) >> vec4<u32>(8u)) - 1.0;
}

// 3^digit, digit 0 to 4. An index that only the shader knows into a table would be slow on a processor.
fn power_of_three(digit: u32) -> u32 {
    let low = select(1u, 3u, (digit & 1u) != 0u) * select(1u, 9u, (digit & 2u) != 0u);
    return select(low, 81u, digit == 4u);
}

// The four words of a vector that follows `a` by `words` (0 to 3) of the words that `a` and `b` have.
fn shifted(a: vec4<u32>, b: vec4<u32>, words: u32) -> vec4<u32> {
    let by_two = (words & 2u) != 0u;
    let p = select(a, vec4<u32>(a.zw, b.xy), by_two);
    let next = select(b.x, b.z, by_two);
    return select(p, vec4<u32>(p.yzw, next), (words & 1u) != 0u);
}

fn decode32(row: u32, chunk: u32) -> array<vec4<f32>, 8> {
    var w: array<vec4<f32>, 8>;
    let sub = chunk % 8u;
    let d = scale(row, chunk);
    // The words of the chunk: eight and one digit (the first five chunks), or four and two digits, or four and one digit
    // besides one word of four digits (the last). All lie within eight words, and those within three loads.
    let later = sub >= 5u;
    let last = sub == 7u;
    let at = (chunk / 8u) * 13u + select(0u, 8u, later);
    let b = weights_at(row + at / 4u + 1u);
    let first = shifted(weights_at(row + at / 4u), b, at % 4u);
    let second = shifted(b, weights_at(row + at / 4u + 2u), at % 4u);
    let words = select(select(second, first, later), vec4<u32>(second.x), last);
    let digit = select(sub, (sub - 5u) * 2u, later);
    let power = power_of_three(digit);
    let powers = select(vec4<u32>(power_of_three(digit + select(0u, 1u, later))), vec4<u32>(1u, 3u, 9u, 27u), last);
    w[0] = d * trits(first.x, power);
    w[1] = d * trits(first.y, power);
    w[2] = d * trits(first.z, power);
    w[3] = d * trits(first.w, power);
    w[4] = d * trits(words.x, powers.x);
    w[5] = d * trits(words.y, powers.y);
    w[6] = d * trits(words.z, powers.z);
    w[7] = d * trits(words.w, powers.w);
    return w;
}
