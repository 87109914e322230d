// Where keys and values lie: pages of PAGE_TOKENS positions, keys before values, one segment of pages bound.
const OTHER_SEGMENT = 0xffffffffu;

// First value of the keys (which = 0) or values (which = 1) of `page` in the bound segment, or OTHER_SEGMENT.
fn page_start(page: u32, which: u32) -> u32 {
    let local = page - params.segment_first_page;
    if local >= params.segment_pages {
        return OTHER_SEGMENT;
    }
    return PAGE_TOKENS * (local * (params.key_width + params.value_width) + which * params.key_width);
}
