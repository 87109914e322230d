//! The cache grows for texts that it has no room for.

use crate::auto_model::Core;
use crate::gpu::kernels::PAGE_TOKENS;
use crate::model::batch::Sequence;
use crate::{ErrorKind, Result};

/// Tiles that stay make room for a crowd's pages as long as they are at most this part of what a sweep streams: so much longer is
/// each sweep then, and one request more rides it.
const UNPINNED_PART: u64 = 8;

/// Gives a sequence pages for so many positions, letting the cache grow where others share its sweeps. False where that costs too
/// much, or fails.
pub(super) async fn reserve_in_company(core: &mut Core, sequence: &mut Sequence, positions: u32) -> bool {
    let needed = core.engine.kv().pages_needed(&sequence.state, positions).into_iter().max().unwrap_or(0);
    let (pinned, streamed) = core.engine.residency();
    // Others will want more too; where they cannot have it, it is this one's turn.
    for pages in [needed.max(core.engine.kv_pages() / 4), needed] {
        let unpinned = core.engine.growth_unpins(pages);
        if unpinned <= pinned.min(streamed / UNPINNED_PART) && core.engine.grow_kv(pages).await.is_ok() {
            return core.engine.kv().reserve(&mut sequence.state, positions);
        }
    }
    false
}

/// Lets the cache grow for the only text. Growth gives up pinned tiles and starts the read-ahead anew, so it goes in steps.
pub(super) async fn grow(core: &mut Core, sequence: &Sequence) -> Result<()> {
    let positions = sequence.ids.len() as u32;
    let needed = core.engine.kv().pages_needed(&sequence.state, positions).into_iter().max().unwrap_or(0);
    let step = needed.max(u64::from(positions / PAGE_TOKENS / 4));
    match core.engine.grow_kv(step).await {
        Err(error) if error.kind() == ErrorKind::Budget && step > needed => core.engine.grow_kv(needed).await,
        other => other,
    }
}
