// Eight rows at once: their sums, each of one number, and where they go.
const ROWS = 8u;

alias Totals = mat2x4<f32>;

fn write_rows(row: u32, token: u32, lane: u32, index: u32, t: Totals) {
    write(row, token, lane, index, t[0].x);
    write(row + 1u, token, lane, index, t[0].y);
    write(row + 2u, token, lane, index, t[0].z);
    write(row + 3u, token, lane, index, t[0].w);
    write(row + 4u, token, lane, index, t[1].x);
    write(row + 5u, token, lane, index, t[1].y);
    write(row + 6u, token, lane, index, t[1].z);
    write(row + 7u, token, lane, index, t[1].w);
}
