// Four rows at once: their sums, each of one number, and where they go.
const ROWS = 4u;

alias Totals = vec4<f32>;

fn write_rows(row: u32, token: u32, lane: u32, index: u32, t: Totals) {
    write(row, token, lane, index, t.x);
    write(row + 1u, token, lane, index, t.y);
    write(row + 2u, token, lane, index, t.z);
    write(row + 3u, token, lane, index, t.w);
}
