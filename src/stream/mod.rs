//! When bytes arrive and leave: the tile table, which tiles stay, and the pipeline that brings the others in time.
//! Knows byte ranges and windows; no architectures, no file formats, no shaders.

pub mod lfu;
pub mod pipeline;
pub mod profile;
pub mod tiles;

pub use pipeline::{
    AWAY, IN_RAM, IN_RING, PINNED, Placement, SectionSpec, StreamOptions, TileSource, TileStates, TileStream,
};
pub use profile::{Brought, Event, Figures, Profile, Stage, Uses};
pub use tiles::{RowRun, Tile, TileTable};
