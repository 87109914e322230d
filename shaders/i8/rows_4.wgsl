// Four rows at once, for inputs of eight bits: the sum of a strand is one number.
alias Sums = Totals;

struct Weights {
    a: Packed,
    b: Packed,
    c: Packed,
    d: Packed,
}

fn weights_of(row: u32, chunk: u32) -> Weights {
    return Weights(
        packed32(row_base(row), chunk),
        packed32(row_base(row + 1u), chunk),
        packed32(row_base(row + 2u), chunk),
        packed32(row_base(row + 3u), chunk),
    );
}

fn add_chunk(w: Weights, at: u32, sums: Sums) -> Sums {
    let x = inputs_at(at);
    var s = sums;
    s.x = add_packed(w.a, x, s.x);
    s.y = add_packed(w.b, x, s.y);
    s.z = add_packed(w.c, x, s.z);
    s.w = add_packed(w.d, x, s.w);
    return s;
}

// Row by row: a row's weights are used up before the next row's are unpacked.
fn add_rows(row: u32, chunk: u32, x: Inputs, sums: Sums) -> Sums {
    var s = sums;
    s.x = add_packed(packed32(row_base(row), chunk), x, s.x);
    s.y = add_packed(packed32(row_base(row + 1u), chunk), x, s.y);
    s.z = add_packed(packed32(row_base(row + 2u), chunk), x, s.z);
    s.w = add_packed(packed32(row_base(row + 3u), chunk), x, s.w);
    return s;
}

fn totals(s: Sums) -> Totals {
    return s;
}
