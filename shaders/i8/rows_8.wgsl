// Eight rows at once, for inputs of eight bits: the sum of a strand is one number.
alias Sums = Totals;

struct Weights {
    a: Packed,
    b: Packed,
    c: Packed,
    d: Packed,
    e: Packed,
    f: Packed,
    g: Packed,
    h: Packed,
}

fn weights_of(row: u32, chunk: u32) -> Weights {
    return Weights(
        packed32(row_base(row), chunk),
        packed32(row_base(row + 1u), chunk),
        packed32(row_base(row + 2u), chunk),
        packed32(row_base(row + 3u), chunk),
        packed32(row_base(row + 4u), chunk),
        packed32(row_base(row + 5u), chunk),
        packed32(row_base(row + 6u), chunk),
        packed32(row_base(row + 7u), chunk),
    );
}

fn add_chunk(w: Weights, at: u32, sums: Sums) -> Sums {
    let x = inputs_at(at);
    var s = sums;
    s[0].x = add_packed(w.a, x, s[0].x);
    s[0].y = add_packed(w.b, x, s[0].y);
    s[0].z = add_packed(w.c, x, s[0].z);
    s[0].w = add_packed(w.d, x, s[0].w);
    s[1].x = add_packed(w.e, x, s[1].x);
    s[1].y = add_packed(w.f, x, s[1].y);
    s[1].z = add_packed(w.g, x, s[1].z);
    s[1].w = add_packed(w.h, x, s[1].w);
    return s;
}

// Row by row: a row's weights are used up before the next row's are unpacked.
fn add_rows(row: u32, chunk: u32, x: Inputs, sums: Sums) -> Sums {
    var s = sums;
    s[0].x = add_packed(packed32(row_base(row), chunk), x, s[0].x);
    s[0].y = add_packed(packed32(row_base(row + 1u), chunk), x, s[0].y);
    s[0].z = add_packed(packed32(row_base(row + 2u), chunk), x, s[0].z);
    s[0].w = add_packed(packed32(row_base(row + 3u), chunk), x, s[0].w);
    s[1].x = add_packed(packed32(row_base(row + 4u), chunk), x, s[1].x);
    s[1].y = add_packed(packed32(row_base(row + 5u), chunk), x, s[1].y);
    s[1].z = add_packed(packed32(row_base(row + 6u), chunk), x, s[1].z);
    s[1].w = add_packed(packed32(row_base(row + 7u), chunk), x, s[1].w);
    return s;
}

fn totals(s: Sums) -> Totals {
    return s;
}
